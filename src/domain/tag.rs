//! An image tag, as the OCI distribution specification allows it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::reason::{AsReason, Reason, argument_by_name, display_as_reason, quoted, reason};

/// The longest tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}` (OCI distribution specification).
pub const LONGEST_TAG: usize = 128;

/// How the tags of build caches begin that slipway keeps beside a repository's images; no image has such a tag.
pub const CACHE_PREFIX: &str = "buildcache-";

/// How the tag of a lazily loadable image ends.
pub const ACCELERATED_SUFFIX: &str = "_accelerated";

/// A valid image tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

/// Why a text is no image tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Nothing is left of it.
    Empty,
    /// Over 128 characters.
    TooLong {
        /// The text.
        tag: String,
        /// Its length in characters.
        length: usize,
    },
    /// Begins with `-` or `.`.
    Start {
        /// The text.
        tag: String,
        /// Its first character.
        character: char,
    },
    /// Begins as the tags of build caches do.
    Reserved {
        /// The text.
        tag: String,
    },
    /// With the suffix of the lazily loadable image it is over 128 characters.
    TooLongAccelerated {
        /// The text.
        tag: String,
        /// Its length in characters, with the suffix.
        length: usize,
    },
    /// A character that no tag holds.
    Character {
        /// The text.
        tag: String,
        /// The first bad character.
        character: char,
    },
}

display_as_reason!(TagError);

impl AsReason for TagError {
    fn reason(&self) -> Reason {
        match self {
            TagError::Empty => reason!("tag.empty"),
            TagError::TooLong { tag, length } => reason!("tag.too_long", tag = quoted(tag), length, LONGEST_TAG),
            TagError::Start { tag, character } => {
                reason!("tag.start", tag = quoted(tag), character = quoted(character))
            }
            TagError::Reserved { tag } => reason!("tag.reserved", tag = quoted(tag), CACHE_PREFIX),
            TagError::TooLongAccelerated { tag, length } => {
                reason!("tag.too_long_accelerated", tag = quoted(tag), length, ACCELERATED_SUFFIX, LONGEST_TAG)
            }
            TagError::Character { tag, character } => {
                reason!("tag.character", tag = quoted(tag), character = quoted(character))
            }
        }
    }
}

/// Whether a tag may hold `c` anywhere but at its start.
pub fn holds(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

impl Tag {
    /// Checks a text.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Tag, TagError> {
        let Some(first) = text.chars().next() else {
            return Err(TagError::Empty);
        };
        if let Some(character) = text.chars().find(|c| !holds(*c)) {
            return Err(TagError::Character { tag: text.into(), character });
        }
        if matches!(first, '-' | '.') {
            return Err(TagError::Start { tag: text.into(), character: first });
        }
        if text.len() > LONGEST_TAG {
            return Err(TagError::TooLong { tag: text.into(), length: text.len() });
        }
        Ok(Tag(text.into()))
    }

    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks that a person's image may have the tag: those of build caches are slipway's.
    ///
    /// # Errors
    /// When it begins as they do.
    pub fn check_free(&self) -> Result<(), TagError> {
        if self.0.starts_with(CACHE_PREFIX) { Err(TagError::Reserved { tag: self.0.clone() }) } else { Ok(()) }
    }

    /// The tag of the lazily loadable image of this one.
    ///
    /// # Errors
    /// When it would be too long.
    pub fn accelerated(&self) -> Result<Tag, TagError> {
        let text = format!("{}{ACCELERATED_SUFFIX}", self.0);
        match text.len() {
            length if length > LONGEST_TAG => Err(TagError::TooLongAccelerated { tag: self.0.clone(), length }),
            _ => Ok(Tag(text)),
        }
    }

    /// `latest` may always be overwritten, even in an immutable repository (design, section 4).
    pub fn is_latest(&self) -> bool {
        self.0 == "latest"
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

argument_by_name!(Tag);

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Tag, TagError> {
        Tag::parse(&text)
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> String {
        tag.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tag_is_what_the_oci_specification_says() {
        for good in ["a", "_", "9", "v1.2_3-x", "latest", &"a".repeat(128)] {
            assert!(Tag::parse(good).is_ok(), "{good}");
        }
        assert_eq!(Tag::parse(""), Err(TagError::Empty));
        assert!(matches!(Tag::parse("-a"), Err(TagError::Start { .. })));
        assert!(matches!(Tag::parse(".a"), Err(TagError::Start { .. })));
        assert!(matches!(Tag::parse("a/b"), Err(TagError::Character { character: '/', .. })));
        assert!(matches!(Tag::parse("版"), Err(TagError::Character { .. })));
        assert!(matches!(Tag::parse(&"a".repeat(129)), Err(TagError::TooLong { length: 129, .. })));
    }

    #[test]
    fn the_tags_of_caches_are_slipways_and_the_suffix_of_an_accelerated_one_fits() {
        let tag = |text: &str| Tag::parse(text).unwrap();
        assert!(matches!(tag("buildcache-main").check_free(), Err(TagError::Reserved { .. })));
        assert_eq!(tag("buildcache").check_free(), Ok(()));
        assert_eq!(tag(&"a".repeat(116)).accelerated().unwrap().as_str().len(), 128);
        assert!(matches!(tag(&"a".repeat(117)).accelerated(), Err(TagError::TooLongAccelerated { length: 129, .. })));
    }

    proptest! {
        #[test]
        fn parsing_agrees_with_the_regular_expression_of_the_specification(text in "[ -~é]{0,130}") {
            let specification = regex::Regex::new(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z").unwrap();
            prop_assert_eq!(Tag::parse(&text).is_ok(), specification.is_match(&text));
        }
    }
}
