//! What a webhook says: the refs of a repository that were pushed.

use chrono::{DateTime, Utc};

use super::request::HookError;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::{Reason, reason};
use crate::domain::source_platform::PlatformKind;

/// The content of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// The platform, or a person with its test button, tries whether anybody listens.
    Ping,
    /// An event that is no push.
    Other(Reason),
    /// Refs of a repository that were pushed or deleted.
    Pushed {
        /// The repository.
        repository: RemoteRepository,
        /// The refs; those whose names slipway does not take are left out.
        pushed: Vec<Pushed>,
    },
}

/// A repository, by everything that its platform calls it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteRepository {
    /// The URLs that it is cloned from or shown at.
    pub urls: Vec<String>,
    /// Its paths on the platform, such as `acme/api`.
    pub paths: Vec<String>,
    /// The platform's own identifier, which stays when the repository is renamed.
    pub id: Option<String>,
}

/// A ref that was pushed or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The ref.
    pub reference: Ref,
    /// Where it pointed before.
    pub before: Side,
    /// Where it points now. A tag's commit may be the tag's own object.
    pub after: Side,
    /// When it was pushed, where the platform says so.
    pub at: Option<DateTime<Utc>>,
    /// The beginning of the commit's message, where the platform says it.
    pub message: Option<String>,
}

/// One side of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// The ref pointed there.
    Commit(CommitId),
    /// There was no such ref.
    Absent,
    /// The payload does not say: only the source can.
    Unsaid,
}

impl Side {
    /// Reads a commit's id; all zeros mean that the ref was not there.
    pub(super) fn of(text: Option<&str>) -> Side {
        match text {
            Some(text) if text.len() >= 40 && text.bytes().all(|digit| digit == b'0') => Side::Absent,
            Some(text) => text.parse().map_or(Side::Unsaid, Side::Commit),
            None => Side::Unsaid,
        }
    }

    /// The commit, where there is one.
    pub fn commit(&self) -> Option<&CommitId> {
        match self {
            Side::Commit(commit) => Some(commit),
            Side::Absent | Side::Unsaid => None,
        }
    }
}

/// The repository, where anything names it.
pub(super) fn named(kind: PlatformKind, repository: RemoteRepository) -> Result<RemoteRepository, HookError> {
    if repository.urls.is_empty() && repository.paths.is_empty() && repository.id.is_none() {
        return Err(malformed(kind, reason!("hook_malformed.no_repository")));
    }
    Ok(repository)
}

pub(super) fn malformed(kind: PlatformKind, reason: Reason) -> HookError {
    HookError::Malformed { platform: kind.title(), reason }
}
