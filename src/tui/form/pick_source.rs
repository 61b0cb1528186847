//! Choosing the source of a repository from those of its platform.

use crossterm::event::KeyEvent;
use ratatui::layout::Position;

use super::field::Value;
use super::kind::Kind;
use super::picker::Picker;
use super::reader::Reader;
use super::state::Form;
use crate::domain::name::{self, NameKind};
use crate::domain::platform_account::{PlatformRepository, RepositoryPage};
use crate::domain::reason::{Phrase, Reason, phrase};
use crate::tui::effect::{Effect, RepositoryQuery};
use crate::tui::popup::Outcome;
use crate::tui::widget::input::Input;

impl Form {
    /// Whether a source can be picked: a platform is chosen, and its page is shown.
    pub(super) fn can_pick(&self) -> bool {
        self.platform_chosen().is_some()
            && self.pages.get(self.page).is_some_and(|page| page.fields.iter().any(|field| field.key == "url"))
    }

    fn platform_chosen(&self) -> Option<String> {
        if !matches!(self.kind, Kind::Repository { .. }) {
            return None;
        }
        Reader::new(&self.pages).optional("platform")
    }

    /// Offers the repositories of the platform that is chosen.
    ///
    /// # Errors
    /// Where none is.
    pub(super) fn open_picker(&mut self) -> Result<Effect, Phrase> {
        let Some(platform) = self.platform_chosen() else {
            return Err(phrase!("picker.choose_platform_first"));
        };
        let (picker, query) = Picker::open(&platform);
        self.picker = Some(Box::new(picker));
        Ok(Effect::ListRepositories(query))
    }

    /// Gives a key to the picker; none where it is not open.
    pub(super) fn picker_key(&mut self, key: KeyEvent) -> Option<Vec<Effect>> {
        let picker = self.picker.as_mut()?;
        match picker.key(key) {
            Outcome::Open => return Some(picker.ask().map(Effect::ListRepositories).into_iter().collect()),
            Outcome::Closed => self.picker = None,
            Outcome::Chosen(found) => {
                self.picker = None;
                self.take_source(&found);
            }
        }
        Some(Vec::new())
    }

    /// Gives what was pasted to the picker; what is to be asked then. None where it is not open.
    pub(super) fn picker_paste(&mut self, text: &str) -> Option<Vec<Effect>> {
        let picker = self.picker.as_mut()?;
        picker.paste(text);
        Some(picker.ask().map(Effect::ListRepositories).into_iter().collect())
    }

    /// Takes over what a platform answered.
    pub fn take_repositories(
        &mut self,
        query: &RepositoryQuery,
        answer: Result<RepositoryPage, Reason>,
    ) -> Option<Effect> {
        self.picker.as_mut()?.take(query, answer).map(Effect::ListRepositories)
    }

    /// Puts a repository of the platform into the source, and its name where none was given.
    fn take_source(&mut self, found: &PlatformRepository) {
        let own = found.name.rsplit('/').next().unwrap_or_default().to_lowercase();
        for field in self.pages.iter_mut().flat_map(|page| &mut page.fields) {
            let text = match field.key {
                "url" => found.url.as_str(),
                "name" if field.content().is_empty() && name::check(NameKind::Repository, &own).is_ok() => &own,
                _ => continue,
            };
            field.value = Value::Text(Box::new(Input::new(text)));
        }
        self.touched = true;
        self.error = None;
        self.check();
    }

    /// Where the cursor of the picker belongs; none where it is not open.
    pub(super) fn picker_cursor(&self) -> Option<Position> {
        self.picker.as_ref()?.cursor()
    }
}
