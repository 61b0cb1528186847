//! Builds, their steps, and pushes as clients get them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::build::Build;
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::step::StepsFile;

/// A build as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildDetail {
    /// Its record, as the pool has it.
    pub build: Build,
    /// Its steps and the frontend's warnings, as far as its runner has written them.
    pub steps: StepsFile,
    /// Where its log is on the pool's host.
    pub log: PathBuf,
}

/// Which pushes are asked for, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PushQuery {
    /// Only pushes to the source of this repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryPath>,
    /// Only pushes with a lower number than this: the `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<PushId>,
    /// Only pushes with a higher number than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<PushId>,
    /// At most this many, and at most [`PushQuery::LONGEST_PAGE`].
    pub limit: usize,
}

impl PushQuery {
    /// The most pushes of one page.
    pub const LONGEST_PAGE: usize = 500;

    /// How many pushes the page may hold.
    pub fn page_size(&self) -> usize {
        self.limit.min(PushQuery::LONGEST_PAGE)
    }
}

impl Default for PushQuery {
    fn default() -> PushQuery {
        PushQuery { repository: None, before: None, after: None, limit: 50 }
    }
}

/// Pushes that a query found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushPage {
    /// Newest first. Records that can't be read are left out: the pool's log names them.
    pub pushes: Vec<PushRecord>,
    /// The `before` of the next page; none: there are no older pushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PushId>,
    /// How many pushes are older than this page, whether the query matches them or not.
    pub older: usize,
}
