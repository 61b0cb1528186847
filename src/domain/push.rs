//! Pushes: a ref that moved to a commit at a time.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::reason::{AsReason, Reason, argument_by_name, display_as_reason, quoted, reason, use_as_reason};

/// A branch or a tag of a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ref {
    /// Whether it is a branch or a tag.
    pub kind: RefKind,
    /// The short name, without `refs/heads/` or `refs/tags/`.
    pub name: String,
}

/// The two kinds of refs that rules speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefKind {
    /// `refs/heads/…`
    Branch,
    /// `refs/tags/…`
    Tag,
}

impl RefKind {
    /// The word for it: `branch` or `tag`.
    pub fn word(self) -> &'static str {
        match self {
            RefKind::Branch => "branch",
            RefKind::Tag => "tag",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            RefKind::Branch => "refs/heads/",
            RefKind::Tag => "refs/tags/",
        }
    }
}

use_as_reason!(RefKind);

impl AsReason for RefKind {
    fn reason(&self) -> Reason {
        match self {
            RefKind::Branch => reason!("ref_kind.branch"),
            RefKind::Tag => reason!("ref_kind.tag"),
        }
    }
}

/// A text that names neither a branch nor a tag, or a commit that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Not `refs/heads/…` or `refs/tags/…`.
    Ref {
        /// What was given.
        text: String,
    },
    /// Not a full hexadecimal object id.
    Commit {
        /// What was given.
        text: String,
    },
}

display_as_reason!(PushError);

impl AsReason for PushError {
    fn reason(&self) -> Reason {
        match self {
            PushError::Ref { text } => reason!("push.ref", text = quoted(text)),
            PushError::Commit { text } => reason!("push.commit", text = quoted(text)),
        }
    }
}

impl Ref {
    /// A branch by its short name.
    pub fn branch(name: impl Into<String>) -> Ref {
        Ref { kind: RefKind::Branch, name: name.into() }
    }

    /// A tag by its short name.
    pub fn tag(name: impl Into<String>) -> Ref {
        Ref { kind: RefKind::Tag, name: name.into() }
    }
}

impl FromStr for Ref {
    type Err = PushError;

    fn from_str(text: &str) -> Result<Ref, PushError> {
        [RefKind::Branch, RefKind::Tag]
            .into_iter()
            .find_map(|kind| {
                let name = text.strip_prefix(kind.prefix()).filter(|name| is_ref_name(name))?;
                Some(Ref { kind, name: name.into() })
            })
            .ok_or_else(|| PushError::Ref { text: text.into() })
    }
}

/// The part of git-check-ref-format(1) that keeps a name from being read as something else. A name may begin with a
/// dash, which git takes in a whole ref: programs are given whole refs only.
fn is_ref_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('/')
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("//")
        && !name.contains("@{")
        && !name.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c))
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.prefix(), self.name)
    }
}

argument_by_name!(Ref);

impl TryFrom<String> for Ref {
    type Error = PushError;

    fn try_from(text: String) -> Result<Ref, PushError> {
        text.parse()
    }
}

impl From<Ref> for String {
    fn from(reference: Ref) -> String {
        reference.to_string()
    }
}

/// The number of a push: it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PushId(pub u64);

impl fmt::Display for PushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

argument_by_name!(PushId);

/// A commit's full object id, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    /// All of its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `digits` digits, or all where there are fewer.
    pub fn short(&self, digits: usize) -> &str {
        self.0.get(..digits).unwrap_or(&self.0)
    }
}

impl FromStr for CommitId {
    type Err = PushError;

    fn from_str(text: &str) -> Result<CommitId, PushError> {
        if matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(CommitId(text.to_ascii_lowercase()))
        } else {
            Err(PushError::Commit { text: text.into() })
        }
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

argument_by_name!(CommitId);

impl TryFrom<String> for CommitId {
    type Error = PushError;

    fn try_from(text: String) -> Result<CommitId, PushError> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(commit: CommitId) -> String {
        commit.0
    }
}

/// A ref that moved to a commit at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The ref.
    pub reference: Ref,
    /// Where it points now.
    pub commit: CommitId,
    /// When it was pushed; a retry keeps it.
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_is_read_with_its_kind() {
        assert_eq!("refs/heads/feature/x".parse(), Ok(Ref::branch("feature/x")));
        assert_eq!("refs/tags/v1".parse(), Ok(Ref::tag("v1")));
        assert_eq!("refs/heads/-dash".parse(), Ok(Ref::branch("-dash")));
        for bad in ["main", "refs/heads/", "refs/heads/a..b", "refs/pull/1/head", "refs/heads/a\n"] {
            assert!(bad.parse::<Ref>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_commit_is_a_whole_object_id() {
        assert!("d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa".parse::<CommitId>().is_ok());
        assert!("d4ef3d".parse::<CommitId>().is_err());
        assert!("g".repeat(40).parse::<CommitId>().is_err());
        assert_eq!("A".repeat(64).parse::<CommitId>().unwrap().short(3), "aaa");
    }
}
