//! Names: of namespaces, repositories, rules, builders and registries' files.
//!
//! The limits are the seed's (design, section 4); what OCI registries refuse on top of them is refused here, too, so
//! that no repository exists that can't be pushed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::reason::{AsReason, Reason, argument_by_name, display_as_reason, quoted, reason};

/// What a name is for; it decides the allowed length and characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// 2 to 120 of `a-z 0-9 . _ -`.
    Namespace,
    /// 2 to 64 of `a-z 0-9 . _ -`.
    Repository,
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`: a rule's name is also a directory's.
    Rule,
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`: a builder's name is also a file's.
    Builder,
    /// A source platform.
    Platform,
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`: a notification's name is part of a file's.
    Notification,
}

impl NameKind {
    fn limits(self) -> (usize, usize) {
        match self {
            NameKind::Namespace => (2, 120),
            NameKind::Repository => (2, 64),
            NameKind::Rule | NameKind::Builder | NameKind::Platform | NameKind::Notification => (1, 64),
        }
    }

    fn lower_case_only(self) -> bool {
        matches!(self, NameKind::Namespace | NameKind::Repository)
    }
}

display_as_reason!(NameKind);

impl AsReason for NameKind {
    fn reason(&self) -> Reason {
        match self {
            NameKind::Namespace => reason!("name_kind.namespace"),
            NameKind::Repository => reason!("name_kind.repository"),
            NameKind::Rule => reason!("name_kind.rule"),
            NameKind::Builder => reason!("name_kind.builder"),
            NameKind::Platform => reason!("name_kind.platform"),
            NameKind::Notification => reason!("name_kind.notification"),
        }
    }
}

/// Why a name is refused; the text names it and says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Too short or too long.
    Length {
        /// What the name is for.
        kind: NameKind,
        /// The name.
        name: String,
        /// Its length in characters.
        length: usize,
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
    },
    /// A character that is not allowed.
    Character {
        /// What the name is for.
        kind: NameKind,
        /// The name.
        name: String,
        /// The first bad character.
        character: char,
        /// Its position, from 1.
        position: usize,
        /// The allowed characters, for people.
        allowed: &'static str,
    },
    /// `.`, `_` or `-` at an end.
    Separator {
        /// What the name is for.
        kind: NameKind,
        /// The name.
        name: String,
    },
    /// A run of separators that no OCI registry accepts in a repository's name.
    SeparatorRun {
        /// What the name is for.
        kind: NameKind,
        /// The name.
        name: String,
        /// The run.
        run: String,
    },
    /// `namespace/repository` was expected.
    NotAPath {
        /// What was given.
        text: String,
    },
}

display_as_reason!(NameError);

impl AsReason for NameError {
    fn reason(&self) -> Reason {
        match self {
            NameError::Length { kind, name, length, min, max } => {
                reason!("name.length", kind, name = quoted(name), length, min, max)
            }
            NameError::Character { kind, name, character, position, allowed } => {
                reason!("name.character", kind, name = quoted(name), character = quoted(character), position, allowed)
            }
            NameError::Separator { kind, name } => reason!("name.separator", kind, name = quoted(name)),
            NameError::SeparatorRun { kind, name, run } => {
                reason!("name.separator_run", kind, name = quoted(name), run = quoted(run))
            }
            NameError::NotAPath { text } => reason!("name.no_repository_path", text = quoted(text)),
        }
    }
}

/// Checks a name.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(kind: NameKind, name: &str) -> Result<(), NameError> {
    let (min, max) = kind.limits();
    let length = name.chars().count();
    if length < min || length > max {
        return Err(NameError::Length { kind, name: name.into(), length, min, max });
    }
    let lower_case_only = kind.lower_case_only();
    let allowed = |c: char| {
        c.is_ascii_lowercase()
            || c.is_ascii_digit()
            || matches!(c, '.' | '_' | '-')
            || !lower_case_only && c.is_ascii_uppercase()
    };
    if let Some((index, character)) = name.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        let allowed = if lower_case_only { "a-z 0-9 . _ -" } else { "A-Z a-z 0-9 . _ -" };
        return Err(NameError::Character { kind, name: name.into(), character, position: index + 1, allowed });
    }
    let separator = |c: char| matches!(c, '.' | '_' | '-');
    if name.starts_with(separator) || name.ends_with(separator) {
        return Err(NameError::Separator { kind, name: name.into() });
    }
    // The OCI distribution specification: components are joined by `.`, `_`, `__` or any number of `-`.
    let bad_run =
        name.split(|c| !separator(c)).find(|run| run.len() > 1 && *run != "__" && run.chars().any(|c| c != '-'));
    match bad_run {
        Some(run) if lower_case_only => Err(NameError::SeparatorRun { kind, name: name.into(), run: run.into() }),
        _ => Ok(()),
    }
}

/// `namespace/repository`, both checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryPath {
    /// The namespace's name.
    pub namespace: String,
    /// The repository's name within it.
    pub repository: String,
}

impl FromStr for RepositoryPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, repository) =
            text.split_once('/').ok_or_else(|| NameError::NotAPath { text: text.to_owned() })?;
        check(NameKind::Namespace, namespace)?;
        check(NameKind::Repository, repository)?;
        Ok(RepositoryPath { namespace: namespace.into(), repository: repository.into() })
    }
}

impl fmt::Display for RepositoryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.repository)
    }
}

argument_by_name!(RepositoryPath);

impl TryFrom<String> for RepositoryPath {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RepositoryPath> for String {
    fn from(path: RepositoryPath) -> String {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_lengths_of_the_seed() {
        for (kind, min, max) in [(NameKind::Namespace, 2, 120), (NameKind::Repository, 2, 64)] {
            assert!(check(kind, &"a".repeat(min - 1)).is_err());
            assert!(check(kind, &"a".repeat(min)).is_ok());
            assert!(check(kind, &"a".repeat(max)).is_ok());
            assert!(check(kind, &"a".repeat(max + 1)).is_err());
        }
    }

    #[test]
    fn a_name_neither_begins_nor_ends_with_a_separator() {
        for name in [".ab", "ab.", "-ab", "ab-", "_ab", "ab_", "..", "--"] {
            assert!(
                matches!(check(NameKind::Repository, name), Err(NameError::Separator { .. })),
                "{name} should be refused"
            );
        }
    }

    #[test]
    fn a_bad_character_is_named_with_its_position() {
        let error = check(NameKind::Repository, "apI").unwrap_err();
        assert_eq!(error.to_string(), r#"repository name "apI" has 'I' at position 3; allowed are a-z 0-9 . _ -"#);
        assert!(check(NameKind::Repository, "a/b").is_err());
        assert!(check(NameKind::Repository, "版本").is_err());
    }

    #[test]
    fn a_run_of_separators_that_registries_refuse_is_refused() {
        assert!(check(NameKind::Repository, "a..b").is_err());
        assert!(check(NameKind::Repository, "a._b").is_err());
        assert!(check(NameKind::Repository, "a__b").is_ok());
        assert!(check(NameKind::Repository, "a---b").is_ok());
        assert!(check(NameKind::Repository, "a___b").is_err());
    }

    #[test]
    fn a_repository_is_named_with_its_namespace() {
        let path: RepositoryPath = "acme/api".parse().unwrap();
        assert_eq!((path.namespace.as_str(), path.repository.as_str()), ("acme", "api"));
        assert!("acme".parse::<RepositoryPath>().is_err());
        assert!("acme/api/x".parse::<RepositoryPath>().is_err());
    }
}
