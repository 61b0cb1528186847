//! Which refs a rule builds: a literal name, or a regular expression that must match the whole short name.

use std::collections::BTreeMap;
use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::reason::{AsReason, Reason, display_as_reason, output, quoted, reason};

/// What a rule's `branch` or `tag` says: a literal name, or `{ regex = "…" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Matches itself only; no character of it is special.
    Literal(String),
    /// Matches the whole short name; ASCII classes.
    Regex(String),
}

/// Why a pattern can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing to match.
    Empty,
    /// Not a regular expression.
    Syntax {
        /// The regular expression.
        text: String,
        /// Where, in characters from 1.
        column: usize,
        /// What the parser says of that place.
        reason: String,
        /// It names a Unicode class, which only `(?u)` allows.
        needs_unicode: bool,
    },
    /// It compiles, but not once it is anchored.
    NotAnchorable {
        /// The regular expression.
        text: String,
    },
    /// Too large once compiled.
    TooLarge {
        /// The regular expression.
        text: String,
        /// What the compiler said.
        reason: String,
    },
    /// A capture whose name can't be written as `${name}`.
    CaptureName {
        /// The capture's name.
        name: String,
    },
}

display_as_reason!(PatternError);

impl AsReason for PatternError {
    fn reason(&self) -> Reason {
        match self {
            PatternError::Empty => reason!("pattern.empty"),
            PatternError::Syntax { text, column, reason, needs_unicode: false } => {
                reason!("pattern.syntax", text, column, reason = output(reason))
            }
            PatternError::Syntax { text, column, reason, needs_unicode: true } => {
                reason!("pattern.needs_unicode", text, column, reason = output(reason))
            }
            PatternError::NotAnchorable { text } => reason!("pattern.not_anchorable", text = quoted(text)),
            PatternError::TooLarge { text, reason } => reason!("pattern.too_large", text = quoted(text), reason),
            PatternError::CaptureName { name } => reason!("pattern.capture_name", name = quoted(name)),
        }
    }
}

/// A pattern that is ready to match.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// A literal name.
    Literal(String),
    /// An anchored regular expression, and the one that the user wrote.
    Regex {
        /// `\A(?:…)\z`
        whole: Regex,
        /// As written, to say what nearly matched.
        part: Regex,
    },
}

/// What the named captures of a regex took from a ref name.
pub type Captures = BTreeMap<String, String>;

impl Pattern {
    /// Whether it is a regular expression.
    pub fn is_regex(&self) -> bool {
        matches!(self, Pattern::Regex(_))
    }

    /// What the user wrote.
    pub fn text(&self) -> &str {
        match self {
            Pattern::Literal(text) | Pattern::Regex(text) => text,
        }
    }

    /// Compiles the pattern: the user's text alone first, so that nothing in it can reach out of the anchors.
    ///
    /// # Errors
    /// When it is empty, does not compile (with the column), or has a capture that no version could use.
    pub fn compile(&self) -> Result<Matcher, PatternError> {
        let text = match self {
            Pattern::Literal(text) | Pattern::Regex(text) if text.is_empty() => return Err(PatternError::Empty),
            Pattern::Literal(text) => return Ok(Matcher::Literal(text.clone())),
            Pattern::Regex(text) => text,
        };
        check_syntax(text)?;
        let part = build(text).map_err(|error| too_large(text, &error))?;
        let whole = build(&format!(r"\A(?:{text})\z")).map_err(|error| match error {
            regex::Error::Syntax(_) => PatternError::NotAnchorable { text: text.clone() },
            error => too_large(text, &error),
        })?;
        match part.capture_names().flatten().find(|name| !is_capture_name(name)) {
            Some(name) => Err(PatternError::CaptureName { name: name.into() }),
            None => Ok(Matcher::Regex { whole, part }),
        }
    }
}

/// Whether a capture may have this name: what `${…}` can hold.
pub fn is_capture_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// ASCII classes, and `.` that may match any byte: that needs the engine on bytes.
fn build(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).unicode(false).build()
}

fn too_large(text: &str, error: &regex::Error) -> PatternError {
    PatternError::TooLarge { text: text.into(), reason: error.to_string() }
}

fn check_syntax(text: &str) -> Result<(), PatternError> {
    let parsed = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(text);
    let (column, reason) = match parsed {
        Ok(_) => return Ok(()),
        Err(regex_syntax::Error::Parse(error)) => {
            (column_at(text, error.span().start.offset), error.kind().to_string())
        }
        Err(regex_syntax::Error::Translate(error)) => {
            (column_at(text, error.span().start.offset), error.kind().to_string())
        }
        Err(other) => (1, other.to_string()),
    };
    // The kinds of errors are spread over several types; what all of them say is the same.
    let needs_unicode = reason.starts_with("Unicode not allowed");
    Err(PatternError::Syntax { text: text.into(), column, reason, needs_unicode })
}

fn column_at(text: &str, byte: usize) -> usize {
    text.char_indices().take_while(|(index, _)| *index < byte).count() + 1
}

impl Matcher {
    /// The captures of a name that matches as a whole; none where it doesn't. A group that took no part captures "".
    pub fn captures(&self, name: &str) -> Option<Captures> {
        match self {
            Matcher::Literal(text) => (text == name).then(Captures::new),
            Matcher::Regex { whole, .. } => {
                let found = whole.captures(name.as_bytes())?;
                let text =
                    |group| found.name(group).map_or(String::new(), |m| String::from_utf8_lossy(m.as_bytes()).into());
                Some(whole.capture_names().flatten().map(|group| (group.to_owned(), text(group))).collect())
            }
        }
    }

    /// The names of the captures that the pattern defines, in order.
    pub fn capture_names(&self) -> Vec<&str> {
        match self {
            Matcher::Literal(_) => Vec::new(),
            Matcher::Regex { whole, .. } => whole.capture_names().flatten().collect(),
        }
    }

    /// Says how a name that does not match comes near to matching; none where it doesn't come near.
    pub fn near_miss(&self, name: &str) -> Option<NearMiss> {
        match self {
            Matcher::Literal(text) if text == name => None,
            Matcher::Literal(text) if text.eq_ignore_ascii_case(name) => Some(NearMiss::Case),
            Matcher::Literal(text) => {
                (strsim::levenshtein(text, name) == 1 && text.len() > 3).then_some(NearMiss::OneCharacter)
            }
            Matcher::Regex { whole, .. } if whole.is_match(name.as_bytes()) => None,
            Matcher::Regex { whole, part } => {
                let any_case = RegexBuilder::new(whole.as_str()).unicode(false).case_insensitive(true).build();
                if any_case.is_ok_and(|regex| regex.is_match(name.as_bytes())) {
                    return Some(NearMiss::Case);
                }
                let found = part.find(name.as_bytes()).filter(|m| !m.is_empty())?;
                Some(NearMiss::Part(String::from_utf8_lossy(found.as_bytes()).into()))
            }
        }
    }
}

/// How a ref name nearly matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NearMiss {
    /// It differs in upper and lower case only.
    Case,
    /// It differs from the literal in one character.
    OneCharacter,
    /// The regex matches only this part of it.
    Part(String),
}

display_as_reason!(NearMiss);

impl AsReason for NearMiss {
    fn reason(&self) -> Reason {
        match self {
            NearMiss::Case => reason!("near_miss.case"),
            NearMiss::OneCharacter => reason!("near_miss.one_character"),
            NearMiss::Part(part) => reason!("near_miss.part", part = quoted(part)),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Pattern::Literal(text) => serializer.serialize_str(text),
            Pattern::Regex(text) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("regex", text)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PatternVisitor;

        impl<'de> Visitor<'de> for PatternVisitor {
            type Value = Pattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or { regex = \"…\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Pattern, E> {
                Ok(Pattern::Literal(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pattern, A::Error> {
                let mut regex = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "regex" => regex = Some(map.next_value()?),
                        other => return Err(de::Error::unknown_field(other, &["regex"])),
                    }
                }
                regex.map(Pattern::Regex).ok_or_else(|| de::Error::missing_field("regex"))
            }
        }

        deserializer.deserialize_any(PatternVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> Matcher {
        Pattern::Regex(text.into()).compile().unwrap()
    }

    fn image_tag(name: &str) -> Option<String> {
        regex(r"release-(?<imageTag>\w*)").captures(name).map(|captures| captures["imageTag"].clone())
    }

    #[test]
    fn a_regex_matches_the_whole_name_with_ascii_classes() {
        assert_eq!(image_tag("release-v1").as_deref(), Some("v1"));
        assert_eq!(image_tag("release-").as_deref(), Some(""));
        for name in
            ["release-v1.2", "release-v1/hot", "pre-release-v1", "release-v1-rc1", "release-版本", "release-v1\n"]
        {
            assert_eq!(image_tag(name), None, "{name:?}");
        }
    }

    #[test]
    fn both_spellings_of_a_named_capture_work_and_anchors_of_the_users_own_do_no_harm() {
        assert_eq!(regex(r"v(?P<major>\d+)").captures("v1").unwrap()["major"], "1");
        assert!(regex("^main$").captures("main").is_some());
        assert!(regex("a|ab").captures("ab").is_some());
        assert!(regex("(?i)MAIN").captures("main").is_some());
        assert!(regex("feature/.*").captures("feature/版本").is_some());
    }

    #[test]
    fn a_literal_is_never_a_regex() {
        let literal = Pattern::Literal("release-1.2".into()).compile().unwrap();
        assert!(literal.captures("release-1.2").is_some());
        assert!(literal.captures("release-1x2").is_none());
    }

    #[test]
    fn a_regex_that_does_not_compile_is_refused_with_its_column() {
        let column = |text: &str| match Pattern::Regex(text.into()).compile() {
            Err(PatternError::Syntax { column, .. }) => column,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(column("release-(\\w*"), 9);
        assert_eq!(column("a)|(?:b"), 2);
        assert_eq!(column("版本(?!x)"), 3);
        assert!(matches!(Pattern::Regex("(?x)a # c".into()).compile(), Err(PatternError::NotAnchorable { .. })));
        assert!(matches!(Pattern::Regex(String::new()).compile(), Err(PatternError::Empty)));
    }

    #[test]
    fn unicode_is_taken_where_it_is_asked_for() {
        for text in ["\\p{Han}+", "[功能]"] {
            let error = Pattern::Regex(text.into()).compile().unwrap_err().to_string();
            assert!(error.contains("(?u)"), "{error}");
            assert!(Pattern::Regex(format!("(?u){text}")).compile().is_ok());
        }
    }

    #[test]
    fn a_capture_that_a_version_could_not_name_is_refused() {
        assert!(matches!(Pattern::Regex("(?<版>a)".into()).compile(), Err(PatternError::CaptureName { .. })));
        assert!(matches!(Pattern::Regex("(?<_a>a)".into()).compile(), Err(PatternError::CaptureName { .. })));
    }

    #[test]
    fn a_name_that_nearly_matches_is_told_with_the_reason() {
        let release = regex(r"release-(?<imageTag>\w*)");
        assert_eq!(release.near_miss("release-v1.2"), Some(NearMiss::Part("release-v1".into())));
        assert_eq!(release.near_miss("Release-v1"), Some(NearMiss::Case));
        assert_eq!(release.near_miss("release-v1"), None);
        assert_eq!(release.near_miss("main"), None);
        let main = Pattern::Literal("main".into()).compile().unwrap();
        assert_eq!(main.near_miss("Main"), Some(NearMiss::Case));
        assert_eq!(main.near_miss("maim"), Some(NearMiss::OneCharacter));
        assert_eq!(main.near_miss("main"), None);
    }
}
