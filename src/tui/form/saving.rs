//! From a filled form to what is saved: checked as a whole, shown as the TOML that it will be, sent to the pool.

use super::kind::Kind;
use super::state::Form;
use super::{content, platform};
use crate::domain::reason::{Reason, reason};
use crate::protocol::platforms::SavePreview;
use crate::protocol::{Entity, Request, SaveMode};
use crate::sys::secret::Secret;
use crate::tui::effect::{Effect, Purpose};

impl Form {
    /// Checks everything, and shows the change to the file; where something is wrong, goes there.
    pub(super) fn submit(&mut self) -> Vec<Effect> {
        self.tried = true;
        if let Kind::Delete { name, typed } = &self.kind {
            if self.pages[0].fields[0].content() != typed {
                self.pages[0].fields[0].error = Some(reason!("saving.typed", typed));
                return Vec::new();
            }
            let request = Box::new(Request::Delete(name.clone()));
            self.saving = true;
            return vec![Effect::Ask { request, purpose: Purpose::Form(self.id) }];
        }
        let (entity, problems) = content::read(&self.kind, &self.pages);
        self.check();
        if let Some((key, number, why)) = problems.first() {
            let place = self.pages.iter().enumerate().find_map(|(page, content)| {
                let at = content.fields.iter().position(|field| field.key == key && field.number == *number)?;
                Some((page, at))
            });
            match place {
                Some((page, at)) => {
                    self.go_to_page(page);
                    self.focus = at;
                }
                None => self.error = Some(why.into()),
            }
            return Vec::new();
        }
        self.saving = entity.is_some();
        let form = self.id;
        entity.map(|entity| Effect::PreviewToml { form, entity: Box::new(entity) }).into_iter().collect()
    }

    /// Takes over what saving would do; a change that is none is told as such.
    pub fn take_preview(&mut self, preview: Result<SavePreview, Reason>) {
        self.saving = false;
        match preview {
            Ok(SavePreview { diff, starter, warnings }) => {
                self.warnings = warnings;
                (self.diff, self.starter, self.offset) = (Some(diff), starter.map(|rule| *rule), 0);
            }
            Err(error) => self.error = Some(error),
        }
    }

    pub(super) fn save(&mut self) -> Vec<Effect> {
        let (Some(mut entity), _) = content::read(&self.kind, &self.pages) else { return Vec::new() };
        if self.is_new()
            && let Entity::Repository { value, .. } = &mut entity
        {
            value.rules.extend(self.starter.take());
        }
        let mode = if self.is_new() { SaveMode::Create } else { SaveMode::Edit };
        self.saving = true;
        if platform::wants_new_secret(&self.pages)
            && let Entity::Platform { name, value, token, .. } = entity
        {
            let token = token.map(Secret::new);
            return vec![Effect::SaveWithSecret { form: self.id, name, value: Box::new(value), token, mode }];
        }
        vec![Effect::Ask {
            request: Box::new(Request::Save { entity: Box::new(entity), mode }),
            purpose: Purpose::Form(self.id),
        }]
    }

    /// Whether it was sent to the pool, which has not answered yet.
    pub fn is_sent(&self) -> bool {
        self.saving && self.diff.is_some()
    }

    /// It is left: what saving would change is worked out anew when somebody comes back.
    pub fn set_aside(&mut self) {
        (self.saving, self.diff, self.starter) = (false, None, None);
    }

    /// The pool refused what was to be saved: the form stays, with the reason.
    pub fn refused(&mut self, why: Reason) {
        self.saving = false;
        self.diff = None;
        self.error = Some(why);
    }

    /// What was saved, for where to go next.
    pub fn saved(&self) -> Option<Entity> {
        content::read(&self.kind, &self.pages).0
    }
}
