//! How everything is drawn: what every view is given besides its own state.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset, Utc};
use ratatui::style::Style;

use super::glyphs::Glyphs;
use super::keymap::{Action, Keymap};
use super::theme::{Role, Theme};
use crate::lang::{Lang, translate};

/// What a view needs to draw anything at all.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The colours.
    pub theme: &'a Theme,
    /// The signs.
    pub glyphs: Glyphs,
    /// The texts' language.
    pub lang: Lang,
    /// The time that ages and durations are told from.
    pub now: DateTime<Utc>,
    /// The zone that times are shown in.
    pub zone: FixedOffset,
    /// Which key does what.
    pub keymap: &'a Keymap,
}

impl Look<'_> {
    /// The style of a role.
    pub fn style(&self, role: Role) -> Style {
        self.theme.style(role)
    }

    /// The key that does something, as a person reads it; empty where none does.
    pub fn key(&self, action: Action) -> String {
        self.keymap.keys(action).first().map(ToString::to_string).unwrap_or_default()
    }

    /// An error or a reason, which are made in English.
    pub fn say(&self, text: &str) -> String {
        translate(text, self.lang).into_owned()
    }

    /// A text that has nothing to fill in.
    pub fn text<'k>(&self, key: &'k str) -> Cow<'k, str> {
        rust_i18n::t!(key, locale = self.lang.code())
    }
}
