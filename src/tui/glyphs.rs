//! The signs for states. Every one is a single column wide, in terminals that are set up for Chinese, too.

use crate::domain::build::BuildState;
use crate::domain::config::GlyphSet;
use crate::domain::step::StepState;

/// A set of signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Glyphs {
    /// For terminals with a usual font.
    #[default]
    Unicode,
    /// For those without.
    Ascii,
}

impl Glyphs {
    /// What config.toml asks for, else ASCII where the locale is not of UTF-8 or the terminal is the console of Linux.
    pub fn choose_set(set: GlyphSet, variable: impl Fn(&str) -> Option<String>) -> Glyphs {
        let names = ["LC_ALL", "LC_CTYPE", "LANG"];
        let locale = names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
        let utf8 = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        match set {
            GlyphSet::Unicode => Glyphs::Unicode,
            GlyphSet::Ascii => Glyphs::Ascii,
            GlyphSet::Auto if utf8 && variable("TERM").as_deref() != Some("linux") => Glyphs::Unicode,
            GlyphSet::Auto => Glyphs::Ascii,
        }
    }

    /// The sign of a build's state; the shapes differ, so that colour is never needed.
    pub fn build(self, state: BuildState) -> &'static str {
        let (unicode, ascii) = match state {
            BuildState::Queued => (".", "."),
            BuildState::Held => ("=", "="),
            BuildState::Running => ("\u{21bb}", ">"),
            BuildState::Succeeded => ("\u{2713}", "+"),
            BuildState::Failed => ("\u{2717}", "X"),
            BuildState::Cancelled => ("x", "x"),
            BuildState::Superseded => ("^", "^"),
            BuildState::TimedOut => ("T", "T"),
            BuildState::Interrupted => ("?", "?"),
            BuildState::Refused => ("!", "!"),
        };
        self.choose(unicode, ascii)
    }

    /// The sign of a step's state.
    pub fn step(self, state: StepState) -> &'static str {
        let (unicode, ascii) = match state {
            StepState::Pending => (".", "."),
            StepState::Running => ("\u{21bb}", ">"),
            StepState::Done => ("\u{2713}", "+"),
            StepState::Cached => ("=", "="),
            StepState::Failed => ("\u{2717}", "X"),
            StepState::Cancelled => ("x", "x"),
        };
        self.choose(unicode, ascii)
    }

    /// One of two, by the set.
    pub fn choose<'a>(self, unicode: &'a str, ascii: &'a str) -> &'a str {
        match self {
            Glyphs::Unicode => unicode,
            Glyphs::Ascii => ascii,
        }
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn every_sign_is_one_column_wide_in_chinese_terminals_too() {
        for state in BuildState::ALL {
            let sign = Glyphs::Unicode.build(state);
            assert_eq!((sign.width(), sign.width_cjk()), (1, 1), "{state}");
        }
    }

    #[test]
    fn every_state_has_a_sign_of_its_own() {
        for glyphs in [Glyphs::Unicode, Glyphs::Ascii] {
            let signs: std::collections::BTreeSet<&str> = BuildState::ALL.map(|state| glyphs.build(state)).into();
            assert_eq!(signs.len(), BuildState::ALL.len());
        }
    }
}
