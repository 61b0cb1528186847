//! Builds and their steps as clients get them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::build::{Build, BuildId};
use crate::domain::build_summary::BuildSummary;
use crate::domain::reason::Reason;
use crate::domain::step::StepsFile;

/// A build as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildDetail {
    /// Its record, as the pool has it.
    pub build: Build,
    /// The steps of its newest attempt that has output, and the frontend's warnings, as far as its runner has written them.
    pub steps: StepsFile,
    /// Where the log of that attempt is on the pool's host.
    pub log: PathBuf,
    /// Where the logs of all attempts are, by their numbers; one that had no output has no file there.
    pub logs: BTreeMap<u32, PathBuf>,
}

/// Builds that a query found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPage {
    /// Newest first.
    pub builds: Vec<BuildSummary>,
    /// Records that can't be read, each with the reason; only in answers to queries without a filter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<(BuildId, Reason)>,
    /// The `before` of the next page; none: no older build matches. A page may be short, even empty, and still have a
    /// next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<BuildId>,
    /// At most this many builds are older than this page, whether the query matches them or not.
    pub older: usize,
}
