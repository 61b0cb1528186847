//! The forms: what is configured, page by page, checked as it is typed, shown as the TOML that it will be before it is
//! saved.

mod beside;
mod content;
mod draw;
mod field;
mod grants;
mod kind;
mod open;
mod outline;
mod output;
mod page;
mod pick_source;
mod picker;
mod platform;
mod reader;
mod rule;
mod saving;
mod state;

use chrono::{DateTime, Utc};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Position;

pub use field::{Field, Value};
pub use kind::Kind;
pub use page::Page;
pub use state::{Form, Refs};

use super::effect::Effect;
use crate::domain::grant_keys::MOST_SECRETS;
use crate::domain::rule::MOST_ARGS;
use crate::domain::rule_output::MOST_LABELS;

/// What became of a key.
#[derive(Debug)]
pub enum Answer {
    /// The form stays.
    Open(Vec<Effect>),
    /// It is left.
    Closed,
}

impl Form {
    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent, now: DateTime<Utc>) -> Answer {
        if self.saving {
            // What was sent can't be taken back; the answer comes soon.
            return if key.code == KeyCode::Esc { Answer::Closed } else { Answer::Open(Vec::new()) };
        }
        if let Some(effects) = self.picker_key(key) {
            return Answer::Open(effects);
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let mut effects = match key.code {
            KeyCode::Esc if self.diff.take().is_some() => Vec::new(),
            KeyCode::Esc | KeyCode::F(4) if self.shows_beside => {
                self.shows_beside = false;
                Vec::new()
            }
            KeyCode::Esc => return Answer::Closed,
            KeyCode::Enter | KeyCode::F(2) if self.diff.is_some() => self.save(),
            _ if self.diff.is_some() => {
                // How far it goes is seen when it is drawn.
                self.offset = beside::scrolled(self.offset, key.code, self.page_rows);
                Vec::new()
            }
            KeyCode::F(2) => {
                self.shows_beside = false;
                self.submit()
            }
            _ if self.shows_beside => {
                self.scroll_beside(key.code);
                Vec::new()
            }
            KeyCode::Enter if control => self.submit(),
            KeyCode::F(3) if matches!(self.kind, Kind::Repository { .. }) => match self.open_picker() {
                Ok(effect) => vec![effect],
                Err(why) => {
                    self.error = Some(why.into());
                    Vec::new()
                }
            },
            KeyCode::F(3) => {
                match self.take_offer() {
                    Ok(()) => self.changed(now),
                    Err(why) => self.error = Some(why.into()),
                }
                Vec::new()
            }
            KeyCode::F(4) => {
                self.shows_beside = self.has_beside();
                Vec::new()
            }
            KeyCode::Enter => self.enter(),
            KeyCode::Tab | KeyCode::Down => {
                self.turn(true);
                Vec::new()
            }
            KeyCode::BackTab | KeyCode::Up => {
                self.turn(false);
                Vec::new()
            }
            KeyCode::PageDown => {
                self.go_to_page(self.page + 1);
                Vec::new()
            }
            KeyCode::PageUp => {
                self.go_to_page(self.page.saturating_sub(1));
                Vec::new()
            }
            _ => {
                if self.focused().is_some_and(|field| field.key(key)) {
                    self.changed(now);
                }
                Vec::new()
            }
        };
        effects.extend(self.ask_outline());
        Answer::Open(effects)
    }

    /// Takes what was pasted.
    pub fn paste(&mut self, text: &str, now: DateTime<Utc>) -> Vec<Effect> {
        if let Some(effects) = self.picker_paste(text) {
            return effects;
        }
        if !self.saving
            && self.diff.is_none()
            && !self.shows_beside
            && let Some(field) = self.focused()
        {
            field.paste(text);
            self.changed(now);
        }
        Vec::new()
    }

    fn changed(&mut self, now: DateTime<Utc>) {
        self.touched = true;
        self.error = None;
        self.add_lines();
        self.mask_secrets();
        self.check();
        self.look_at_refs(now);
    }

    /// There is always an empty line for one more argument, secret, label and annotation.
    fn add_lines(&mut self) {
        for (title, key, most) in [
            ("form.page.arguments", "arg", MOST_ARGS),
            (grants::PAGE, reader::SECRET, MOST_SECRETS),
            (output::PAGE, output::LABEL, MOST_LABELS),
            (output::PAGE, output::ANNOTATION, MOST_LABELS),
        ] {
            let Some(page) = self.pages.iter_mut().find(|page| page.title == title) else { continue };
            let lines: Vec<&Field> = page.fields.iter().filter(|field| field.key == key).collect();
            let full = lines.last().is_some_and(|field| !field.content().is_empty());
            let number = lines.len();
            if full && number < most {
                let after =
                    page.fields.iter().rposition(|field| field.key == key).map_or(page.fields.len(), |last| last + 1);
                page.fields.insert(after, Field::text(key, "").numbered(number));
            }
        }
    }

    /// The next field; after the last one the next page, and from there to saving.
    fn enter(&mut self) -> Vec<Effect> {
        let last_field = self.focus + 1 >= self.pages[self.page].fields.len();
        if !last_field {
            self.focus += 1;
            return Vec::new();
        }
        if self.page + 1 < self.pages.len() {
            self.go_to_page(self.page + 1);
            return Vec::new();
        }
        self.submit()
    }

    fn turn(&mut self, forwards: bool) {
        let count = self.pages[self.page].fields.len().max(1);
        if forwards && self.focus + 1 < count {
            self.focus += 1;
        } else if forwards && self.page + 1 < self.pages.len() {
            self.go_to_page(self.page + 1);
        } else if !forwards && self.focus > 0 {
            self.focus -= 1;
        } else if !forwards && self.page > 0 {
            self.go_to_page(self.page - 1);
            self.focus = self.pages[self.page].fields.len().saturating_sub(1);
        }
    }

    /// Where the cursor belongs.
    pub fn cursor(&self) -> Option<Position> {
        if self.picker.is_some() { self.picker_cursor() } else { self.cursor }
    }
}
