//! How everything is drawn: what every view is given besides its own state.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset, Utc};
use ratatui::style::Style;

use super::glyphs::Glyphs;
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
}

impl Look<'_> {
    /// The style of a role.
    pub fn style(&self, role: Role) -> Style {
        self.theme.style(role)
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
