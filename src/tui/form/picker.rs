//! The repositories of a platform, to choose a source from: filtered as it is typed, a page at a time.
//!
//! One question is in flight at a time. What is typed meanwhile filters what is there; the platform is asked again only
//! where that is not everything.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget, Wrap};
use rust_i18n::t;

use crate::domain::platform_account::{PlatformRepository, RepositoryPage};
use crate::domain::reason::Reason;
use crate::log::sanitize::printable;
use crate::tui::effect::RepositoryQuery;
use crate::tui::look::Look;
use crate::tui::popup::{self, Outcome};
use crate::tui::theme::Role;
use crate::tui::widget::input::Input;
use crate::tui::widget::text::{fit, fit_middle, pad, width};
use crate::tui::widget::wrap::rows;

/// The next page is asked for when fewer rows than this are below the selected one: more than a screen holds.
const AHEAD: usize = 50;
/// A page up or down, in rows.
const PAGE: usize = 10;

/// The repositories of a platform.
#[derive(Debug, Clone)]
pub(super) struct Picker {
    platform: String,
    input: Input,
    /// What `found` was asked for with.
    filter: String,
    found: Vec<PlatformRepository>,
    /// What asks for more of them.
    next: Option<String>,
    /// Nothing is missing.
    whole: bool,
    /// What is not answered yet.
    asked: Option<RepositoryQuery>,
    failed: Option<Reason>,
    selected: usize,
    offset: usize,
}

impl Picker {
    /// Nothing yet, and what to ask.
    pub(super) fn open(platform: &str) -> (Picker, RepositoryQuery) {
        let query = RepositoryQuery { platform: platform.to_owned(), filter: String::new(), page: None };
        let picker = Picker {
            platform: platform.to_owned(),
            input: Input::new(""),
            filter: String::new(),
            found: Vec::new(),
            next: None,
            whole: false,
            asked: Some(query.clone()),
            failed: None,
            selected: 0,
            offset: 0,
        };
        (picker, query)
    }

    /// Those that what is typed lets through.
    fn shown(&self) -> impl Iterator<Item = &PlatformRepository> {
        let wanted = self.input.text().to_lowercase();
        self.found.iter().filter(move |found| {
            let name = found.name.to_lowercase();
            wanted.split_whitespace().all(|word| name.contains(word))
        })
    }

    /// What to ask now, if anything.
    pub(super) fn ask(&mut self) -> Option<RepositoryQuery> {
        if self.asked.is_some() || self.failed.is_some() {
            return None;
        }
        // Platforms look for one text: the longest word lets the fewest others through.
        let typed = self.input.text().split_whitespace().max_by_key(|word| word.len()).unwrap_or_default();
        // Of everything that the old filter let through, what is typed can be found here.
        if self.whole && typed.to_lowercase().contains(&self.filter.to_lowercase()) {
            return None;
        }
        let page = self.next.clone().filter(|_| typed == self.filter);
        if page.is_some() && self.shown().count() > self.selected + AHEAD {
            return None;
        }
        let query = RepositoryQuery { platform: self.platform.clone(), filter: typed.to_owned(), page };
        self.asked = Some(query.clone());
        Some(query)
    }

    /// Takes over what a platform answered, if it is still what was asked; what to ask next.
    pub(super) fn take(
        &mut self,
        query: &RepositoryQuery,
        answer: Result<RepositoryPage, Reason>,
    ) -> Option<RepositoryQuery> {
        if self.asked.as_ref() != Some(query) {
            return None;
        }
        self.asked = None;
        match answer {
            Ok(page) => {
                if query.page.is_none() {
                    self.found.clear();
                    self.filter.clone_from(&query.filter);
                }
                self.found.extend(page.repositories);
                // A platform that names the same page again would never end.
                self.next = page.next.filter(|next| query.page.as_ref() != Some(next));
                self.whole = self.next.is_none();
                self.selected = self.selected.min(self.shown().count().saturating_sub(1));
            }
            Err(why) => self.failed = Some(why),
        }
        self.ask()
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Outcome<PlatformRepository> {
        let last = self.shown().count().saturating_sub(1);
        match key.code {
            KeyCode::Esc => return Outcome::Closed,
            KeyCode::Enter => {
                return self.shown().nth(self.selected).cloned().map_or(Outcome::Open, Outcome::Chosen);
            }
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => self.selected = (self.selected + 1).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(PAGE),
            KeyCode::PageDown => self.selected = (self.selected + PAGE).min(last),
            // What failed is asked again.
            KeyCode::F(3) => self.failed = None,
            _ => {
                if self.input.key(key) {
                    self.typed();
                }
            }
        }
        Outcome::Open
    }

    /// Takes what was pasted.
    pub(super) fn paste(&mut self, text: &str) {
        self.input.paste(text);
        self.typed();
    }

    fn typed(&mut self) {
        self.failed = None;
        (self.selected, self.offset) = (0, 0);
    }

    /// Where the cursor belongs.
    pub(super) fn cursor(&self) -> Option<Position> {
        self.input.cursor()
    }

    /// Draws it.
    pub(super) fn render(&mut self, screen: Rect, buf: &mut Buffer, look: &Look) {
        let title = t!("form.picker.title", locale = look.lang.code(), name = self.platform);
        let inner = popup::frame(screen, (84, 28), &title, buf, look);
        if inner.height < 3 {
            return;
        }
        buf.set_string(inner.x, inner.y, "/", look.style(Role::Key));
        let field = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1).max(1), height: 1, ..inner };
        self.input.render(field, buf, look.style(Role::FieldFocus));
        let (state, role) = self.state(look);
        let columns = usize::from(inner.width);
        let rows = u16::try_from(rows(&state, columns)).unwrap_or(1).min(inner.height - 2);
        let foot = Rect { y: inner.bottom() - rows, height: rows, ..inner };
        Paragraph::new(state).style(look.style(role)).wrap(Wrap { trim: true }).render(foot, buf);
        let list = Rect { y: inner.y + 1, height: inner.height - 1 - rows, ..inner };
        self.offset = popup::scrolled(self.offset, self.selected, usize::from(list.height));
        let shown = self.shown().enumerate().skip(self.offset);
        for ((row, found), y) in shown.zip(list.y..list.bottom()) {
            let area = Rect { y, height: 1, ..list };
            line(found, columns, look).render(area, buf);
            if row == self.selected {
                buf.set_style(area, look.style(Role::Selection));
            }
        }
    }

    /// How it stands, in a sentence.
    fn state(&self, look: &Look) -> (String, Role) {
        let count = self.shown().count();
        let said = |key: &str| t!(key, locale = look.lang.code(), count = count).into_owned();
        match (&self.failed, &self.asked, &self.next) {
            (Some(why), ..) => {
                let text = t!("form.picker.failed", locale = look.lang.code(), why = printable(&look.say(why)));
                (text.into_owned(), Role::FieldError)
            }
            (None, Some(_), _) => (said("form.picker.asked"), Role::StatusWait),
            (None, None, None) if count == 0 => (said("form.picker.none"), Role::Muted),
            (None, None, None) => (said("form.picker.all"), Role::Muted),
            (None, None, Some(_)) => (said("form.picker.more"), Role::Muted),
        }
    }
}

/// A repository: its name, whether everyone may read it, its default branch.
fn line(found: &PlatformRepository, columns: usize, look: &Look) -> Line<'static> {
    let visibility = look.text(if found.private { "form.picker.private" } else { "form.picker.public" });
    let branch = fit(found.default_branch.as_deref().unwrap_or("-"), columns / 5).into_owned();
    let detail = format!("{visibility}  {}", pad(&printable(&branch), columns / 5));
    let room = columns.saturating_sub(width(&detail) + 2);
    Line::from(vec![
        Span::raw(pad(&fit_middle(&printable(&found.name), room), room)),
        Span::styled(format!("  {detail}"), look.style(Role::Muted)),
    ])
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyModifiers;

    use super::*;

    fn page(names: &[&str], next: Option<&str>) -> RepositoryPage {
        let found = |name: &&str| PlatformRepository {
            name: (*name).to_owned(),
            url: format!("https://git.example.com/{name}.git"),
            default_branch: Some("main".into()),
            private: true,
        };
        RepositoryPage { repositories: names.iter().map(found).collect(), next: next.map(str::to_owned) }
    }

    fn typed(picker: &mut Picker, text: &str) -> Option<RepositoryQuery> {
        let mut asked = None;
        for c in text.chars() {
            picker.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
            asked = picker.ask().or(asked);
        }
        asked
    }

    fn names(picker: &Picker) -> Vec<&str> {
        picker.shown().map(|found| found.name.as_str()).collect()
    }

    #[test]
    fn a_list_that_is_whole_is_filtered_without_asking() {
        let (mut picker, query) = Picker::open("ours");
        assert_eq!(picker.take(&query, Ok(page(&["acme/api", "acme/web"], None))), None);
        assert_eq!(typed(&mut picker, "WEB"), None);
        assert_eq!(names(&picker), ["acme/web"]);
    }

    #[test]
    fn pages_are_asked_for_until_a_screen_is_full() {
        let (mut picker, query) = Picker::open("ours");
        let many: Vec<String> = (0..100).map(|number| format!("acme/r{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let second = picker.take(&query, Ok(page(&["acme/api"], Some("2")))).unwrap();
        assert_eq!(second.page.as_deref(), Some("2"));
        assert_eq!(picker.take(&second, Ok(page(&many, Some("3")))), None, "that is enough for now");
        picker.selected = 90;
        picker.key(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
        let third = picker.ask().unwrap();
        assert_eq!(third.page.as_deref(), Some("3"));
        assert_eq!(picker.take(&third, Ok(page(&["acme/z"], Some("3")))), None, "the same page again is the end");
        assert_eq!(picker.found.len(), 102);
    }

    #[test]
    fn what_is_typed_is_asked_for_where_there_is_more_and_once_the_answer_before_is_there() {
        let (mut picker, query) = Picker::open("ours");
        assert_eq!(typed(&mut picker, "web"), None, "one question at a time");
        let filtered = picker.take(&query, Ok(page(&["acme/api"], Some("2")))).unwrap();
        assert_eq!((filtered.filter.as_str(), filtered.page.as_ref()), ("web", None));
        assert_eq!(picker.take(&query, Ok(page(&["late"], None))), None, "it was answered before");
        assert_eq!(picker.take(&filtered, Ok(page(&["acme/web", "acme/webui"], None))), None);
        assert_eq!(typed(&mut picker, "ui"), None);
        assert_eq!(names(&picker), ["acme/webui"]);
        for _ in 0..5 {
            picker.key(KeyEvent::new(KeyCode::Backspace, KeyModifiers::NONE));
        }
        assert_eq!(picker.ask().map(|query| query.filter), Some(String::new()), "a wider filter needs more");
    }

    #[test]
    fn what_failed_is_asked_again_only_when_somebody_wants_it() {
        let (mut picker, query) = Picker::open("ours");
        assert_eq!(picker.take(&query, Err(Reason::verbatim("it timed out"))), None);
        assert_eq!(picker.ask(), None);
        assert_eq!(picker.key(KeyEvent::new(KeyCode::F(3), KeyModifiers::NONE)), Outcome::Open);
        assert!(picker.failed.is_none());
        assert_eq!(picker.ask(), Some(query), "what failed, once more");
    }
}
