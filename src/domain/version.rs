//! Versions: the templates that image tags are made from.
//!
//! A tag is `name`, then `-time`, then `-commit`, each where set (the seed, step 4; design, section 4).

use std::fmt;

use chrono::{DateTime, FixedOffset, Utc};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pattern::Captures;
use super::push::Push;
use super::tag::{self, Tag, TagError};
use super::template::{self, Piece, TemplateError};
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// A rule has one to three versions: one build, up to three names.
pub const MOST_VERSIONS: usize = 3;

/// One image-tag template of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Text and `${capture}`s.
    pub name: String,
    /// The time of the push, in UTC+8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeFormat>,
    /// The first digits of the commit id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitDigits>,
}

/// How a push's time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeFormat {
    /// `20201015`
    #[serde(rename = "yyyyMMdd")]
    Day,
    /// `202010151625`
    #[serde(rename = "yyyyMMddHHmm")]
    Minute,
}

impl TimeFormat {
    /// As it is written in TOML.
    pub fn word(self) -> &'static str {
        match self {
            TimeFormat::Day => "yyyyMMdd",
            TimeFormat::Minute => "yyyyMMddHHmm",
        }
    }

    /// The two formats of the seed, by their spelling.
    pub fn from_word(word: &str) -> Option<TimeFormat> {
        [TimeFormat::Day, TimeFormat::Minute].into_iter().find(|format| format.word() == word)
    }

    /// The time in UTC+8, whatever the host's zone.
    fn format(self, time: DateTime<Utc>) -> String {
        let china = FixedOffset::east_opt(8 * 60 * 60).expect("eight hours are less than a day");
        let format = match self {
            TimeFormat::Day => "%Y%m%d",
            TimeFormat::Minute => "%Y%m%d%H%M",
        };
        time.with_timezone(&china).format(format).to_string()
    }
}

/// How many digits of the commit id a tag takes: 6 to 40, 6 when written as `true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitDigits(u8);

impl CommitDigits {
    /// The default of the seed.
    pub const DEFAULT: CommitDigits = CommitDigits(6);

    /// None unless 6 to 40.
    pub fn new(digits: i64) -> Option<CommitDigits> {
        u8::try_from(digits).ok().filter(|digits| (6..=40).contains(digits)).map(CommitDigits)
    }

    /// The number of digits.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl Serialize for CommitDigits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for CommitDigits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DigitsVisitor;

        impl Visitor<'_> for DigitsVisitor {
            type Value = CommitDigits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("6 to 40 digits of the commit id, or true for 6")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<CommitDigits, E> {
                on.then_some(CommitDigits::DEFAULT).ok_or_else(|| {
                    E::custom("commit = false means nothing; leave commit out for a tag without the commit id")
                })
            }

            fn visit_i64<E: de::Error>(self, digits: i64) -> Result<CommitDigits, E> {
                CommitDigits::new(digits)
                    .ok_or_else(|| E::custom(format!("commit = {digits} is out of range; a tag takes 6 to 40 digits")))
            }

            fn visit_u64<E: de::Error>(self, digits: u64) -> Result<CommitDigits, E> {
                self.visit_i64(i64::try_from(digits).unwrap_or(i64::MAX))
            }
        }

        deserializer.deserialize_any(DigitsVisitor)
    }
}

/// Why a version can't be saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Nothing is written.
    Empty,
    /// `${` without `}`.
    Unclosed {
        /// The version's name.
        name: String,
    },
    /// A capture that the regex does not define.
    UnknownCapture {
        /// The version's name.
        name: String,
        /// The capture.
        capture: String,
        /// The captures that it defines; empty for a literal ref too.
        defined: Vec<String>,
    },
    /// Something in `${…}` that no capture can be called.
    CaptureName {
        /// The version's name.
        name: String,
        /// What stands there.
        capture: String,
    },
    /// A character that no tag holds.
    Character {
        /// The version's name.
        name: String,
        /// The first bad character.
        character: char,
    },
    /// The tag is bad whatever the push.
    Tag(#[from] TagError),
}

display_as_reason!(VersionError);

impl AsReason for VersionError {
    fn reason(&self) -> Reason {
        match self {
            VersionError::Empty => reason!("version.empty"),
            VersionError::Unclosed { name } => reason!("version.unclosed", name = quoted(name)),
            VersionError::UnknownCapture { name, capture, defined } if defined.is_empty() => {
                reason!("version.no_captures", name = quoted(name), capture)
            }
            VersionError::UnknownCapture { name, capture, defined } => {
                reason!("version.unknown_capture", name = quoted(name), capture, defined)
            }
            VersionError::CaptureName { name, capture } => {
                reason!("version.capture_name", name = quoted(name), capture)
            }
            VersionError::Character { name, character } => {
                reason!("version.character", name = quoted(name), character = quoted(character))
            }
            VersionError::Tag(error) => error.reason(),
        }
    }
}

/// What a version became for one push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion {
    /// The tag.
    pub tag: Tag,
    /// The captures that were changed to fit a tag: name, what it held, what it became.
    pub replaced: Vec<Replacement>,
}

/// A capture whose characters a tag can't hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The capture's name.
    pub capture: String,
    /// What the ref brought.
    pub from: String,
    /// What stands in the tag.
    pub to: String,
}

display_as_reason!(Replacement);

impl AsReason for Replacement {
    fn reason(&self) -> Reason {
        let Replacement { capture, from, to } = self;
        reason!("version.replaced", capture, from = quoted(from), to = quoted(to))
    }
}

impl Version {
    /// A version that is only a name.
    pub fn named(name: impl Into<String>) -> Version {
        Version { name: name.into(), time: None, commit: None }
    }

    /// Whether its tag is the same for every push, as "build now" needs.
    pub fn is_fixed(&self) -> bool {
        self.time.is_none() && self.commit.is_none()
    }

    /// Checks the version against the captures that its rule's pattern defines; on a literal ref there are none.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, captures: &[&str]) -> Result<(), VersionError> {
        let pieces = self.pieces()?;
        if pieces.is_empty() {
            return Err(VersionError::Empty);
        }
        for piece in &pieces {
            match piece {
                Piece::Text(text) => {
                    if let Some(character) = text.chars().find(|c| !tag::holds(*c)) {
                        return Err(VersionError::Character { name: self.name.clone(), character });
                    }
                }
                Piece::Capture(capture) if captures.contains(capture) => {}
                Piece::Capture(capture) => {
                    return Err(VersionError::UnknownCapture {
                        name: self.name.clone(),
                        capture: (*capture).into(),
                        defined: captures.iter().map(|name| (*name).to_owned()).collect(),
                    });
                }
            }
        }
        // Text alone is as long, and begins as it does, for every push.
        if pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
            let longest_suffix =
                self.time.map_or(0, |time| 1 + time.word().len()) + self.commit.map_or(0, |c| 1 + c.get());
            Tag::parse(&format!("{}{}", self.name, "0".repeat(longest_suffix)))?.check_free()?;
        }
        Ok(())
    }

    /// The tag for a push whose ref brought these captures.
    ///
    /// # Errors
    /// When the result is no tag: empty, too long, or beginning with `-` or `.`.
    pub fn expand(&self, captures: &Captures, push: &Push) -> Result<Expansion, VersionError> {
        let mut text = String::new();
        let mut replaced = Vec::new();
        for piece in self.pieces()? {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Capture(capture) => {
                    let from = captures.get(capture).cloned().unwrap_or_default();
                    let to: String = from.chars().map(|c| if tag::holds(c) { c } else { '-' }).collect();
                    text.push_str(&to);
                    if from != to {
                        replaced.push(Replacement { capture: capture.into(), from, to });
                    }
                }
            }
        }
        if let Some(time) = self.time {
            text = format!("{text}-{}", time.format(push.at));
        }
        if let Some(digits) = self.commit {
            text = format!("{text}-{}", push.commit.short(digits.get()));
        }
        let tag = Tag::parse(&text)?;
        tag.check_free()?;
        Ok(Expansion { tag, replaced })
    }

    fn pieces(&self) -> Result<Vec<Piece<'_>>, VersionError> {
        template::pieces(&self.name).map_err(|error| match error {
            TemplateError::Unclosed => VersionError::Unclosed { name: self.name.clone() },
            TemplateError::CaptureName(capture) => VersionError::CaptureName { name: self.name.clone(), capture },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::push::Ref;
    use proptest::prelude::*;

    fn push(at: &str) -> Push {
        Push {
            reference: Ref::branch("main"),
            commit: "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa".parse().unwrap(),
            at: at.parse().unwrap(),
        }
    }

    fn captures(pairs: &[(&str, &str)]) -> Captures {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_time_is_utc_plus_8_across_a_date_line() {
        let version = Version { time: Some(TimeFormat::Day), ..Version::named("v") };
        let tag = |at| version.expand(&Captures::new(), &push(at)).unwrap().tag.to_string();
        assert_eq!(tag("2020-12-31T15:59:00Z"), "v-20201231");
        assert_eq!(tag("2020-12-31T16:00:00Z"), "v-20210101");
    }

    #[test]
    fn several_captures_and_text_make_one_name() {
        let version = Version { commit: Some(CommitDigits::DEFAULT), ..Version::named("rel-${major}.${minor}") };
        version.check(&["major", "minor"]).unwrap();
        let expansion = version.expand(&captures(&[("major", "1"), ("minor", "2")]), &push("2020-01-01T00:00:00Z"));
        assert_eq!(expansion.unwrap().tag.as_str(), "rel-1.2-d4ef3d");
    }

    #[test]
    fn what_a_tag_cannot_hold_becomes_a_dash_and_is_said() {
        let expansion =
            Version::named("${ref}").expand(&captures(&[("ref", "feature/x")]), &push("2020-01-01T00:00:00Z")).unwrap();
        assert_eq!(expansion.tag.as_str(), "feature-x");
        assert_eq!(
            expansion.replaced[0].to_string(),
            r#"${ref} = "feature/x" became "feature-x": a tag can't hold the rest"#
        );
    }

    #[test]
    fn an_empty_or_dash_first_tag_is_refused() {
        let empty = captures(&[("x", "")]);
        let at = push("2020-01-01T00:00:00Z");
        let error = Version::named("${x}").expand(&empty, &at).unwrap_err();
        assert_eq!(error, VersionError::Tag(TagError::Empty));
        let timed = Version { time: Some(TimeFormat::Minute), ..Version::named("${x}") };
        assert!(matches!(timed.expand(&empty, &at), Err(VersionError::Tag(TagError::Start { character: '-', .. }))));
        let cache = captures(&[("x", "buildcache-main")]);
        assert!(matches!(
            Version::named("${x}").expand(&cache, &at),
            Err(VersionError::Tag(TagError::Reserved { .. }))
        ));
        let long = captures(&[("x", &"a".repeat(129))]);
        assert!(matches!(Version::named("${x}").expand(&long, &at), Err(VersionError::Tag(TagError::TooLong { .. }))));
    }

    #[test]
    fn a_version_that_could_never_make_a_tag_cannot_be_saved() {
        assert_eq!(Version::named("").check(&[]), Err(VersionError::Empty));
        assert!(matches!(Version::named("a b").check(&[]), Err(VersionError::Character { character: ' ', .. })));
        assert!(matches!(Version::named("v${x").check(&["x"]), Err(VersionError::Unclosed { .. })));
        assert!(matches!(Version::named("buildcache-x").check(&[]), Err(VersionError::Tag(TagError::Reserved { .. }))));
        assert!(matches!(Version::named("-v").check(&[]), Err(VersionError::Tag(TagError::Start { .. }))));
        let long = Version { commit: CommitDigits::new(40), ..Version::named("a".repeat(100)) };
        assert!(matches!(long.check(&[]), Err(VersionError::Tag(TagError::TooLong { length: 141, .. }))));
    }

    #[test]
    fn a_capture_that_is_not_defined_is_refused_with_those_that_are() {
        let error = Version::named("${imagetag}").check(&["imageTag"]).unwrap_err().to_string();
        assert_eq!(
            error,
            r#"the version "${imagetag}" uses ${imagetag}, which the regex does not define; it defines imageTag"#
        );
        let on_literal = Version::named("${imageTag}").check(&[]).unwrap_err().to_string();
        assert!(on_literal.ends_with("only a regex with named groups captures"), "{on_literal}");
    }

    #[test]
    fn commit_digits_are_6_to_40_and_6_when_written_without_a_number() {
        let digits = |toml: &str| {
            toml::from_str::<Version>(&format!("name = 'v'\ncommit = {toml}")).map(|v| v.commit.unwrap().get())
        };
        assert_eq!(digits("true").unwrap(), 6);
        assert_eq!(digits("30").unwrap(), 30);
        for bad in ["5", "41", "false", "'6'", "-1"] {
            assert!(digits(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_ref_brings_the_result_is_a_tag_or_a_refusal(
            name in "[a-z${}x.-]{0,20}", capture in "\\PC{0,140}", minute in any::<bool>(), digits in 6i64..=40,
        ) {
            let version = Version {
                name,
                time: Some(if minute { TimeFormat::Minute } else { TimeFormat::Day }),
                commit: CommitDigits::new(digits),
            };
            if version.check(&["x"]).is_ok()
                && let Ok(expansion) = version.expand(&captures(&[("x", &capture)]), &push("2020-10-15T08:25:00Z"))
            {
                prop_assert!(Tag::parse(expansion.tag.as_str()).is_ok_and(|tag| tag.check_free().is_ok()));
                prop_assert!(expansion.tag.as_str().ends_with(&"d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa"[..digits as usize]));
            }
        }
    }
}
