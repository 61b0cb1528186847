//! Logs as clients get them: an open file on the pool's own host, ranges and search results elsewhere.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::build::BuildId;

/// The most bytes of one [`super::Reply::LogRange`].
pub const LONGEST_RANGE: u64 = 1024 * 1024;
/// The most lines of one [`super::Reply::LogFound`].
pub const MOST_HITS: usize = 1000;
/// The most places of one [`super::Reply::LogIndex`].
pub const MOST_PLACES: u64 = 100_000;

/// A file that grows by lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogName {
    /// The output of a build.
    Build(BuildLog),
    /// Which lines of a build's output came from standard error: pairs of 64-bit offsets, little-endian.
    Stderr(BuildLog),
    /// The pool's own log.
    Pool,
}

/// The output of one attempt of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildLog {
    /// The build.
    pub id: BuildId,
    /// The number of the attempt; none: the newest that has output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

impl BuildLog {
    /// That of the newest attempt.
    pub fn newest(id: BuildId) -> BuildLog {
        BuildLog { id, attempt: None }
    }

    /// That of an attempt.
    pub fn of(id: BuildId, attempt: u32) -> BuildLog {
        BuildLog { id, attempt: Some(attempt) }
    }
}

/// What comes with [`super::Reply::LogOpened`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedLog {
    /// The number of the attempt whose output it is.
    pub attempt: u32,
    /// Where the log is on the pool's host.
    pub path: PathBuf,
    /// Its size in bytes; none: there is no output yet.
    pub size: Option<u64>,
    /// Whether a descriptor of the log comes with the answer. Never through `slipway pool connect`.
    pub log: bool,
    /// Whether a descriptor of the list of stderr lines comes with it, after that of the log.
    pub stderr: bool,
}

/// A part of a log. Its bytes follow the line of the answer, as many as `length` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRange {
    /// Where the bytes begin in the log.
    pub offset: u64,
    /// How many bytes follow.
    pub length: u64,
    /// The log's size when it was read.
    pub size: u64,
    /// The attempt is over, so that nothing comes after `size`; of the pool's log never.
    pub is_final: bool,
}

/// How a log is divided into lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIndex {
    /// Its size in bytes when it was read.
    pub size: u64,
    /// How many lines it has; a last line without an end counts.
    pub lines: u64,
    /// Where the lines 0, `every`, 2 * `every`, … begin.
    pub places: Vec<u64>,
    /// The distance of the places in lines: what was asked for, or more where there were more than [`MOST_PLACES`].
    pub every: u64,
}

/// Which lines of a log are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSearch {
    /// A regular expression; without capital letters in it, case does not matter.
    pub pattern: String,
    /// Where the search begins: forwards with the line that begins here or next, backwards with the one before.
    pub from: u64,
    /// Towards the beginning.
    #[serde(default)]
    pub backwards: bool,
    /// At most this many lines, and at most [`MOST_HITS`].
    pub limit: usize,
}

/// Lines that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFound {
    /// In the order of the search.
    pub lines: Vec<FoundLine>,
    /// The `from` that goes on with the search; none: the search reached the end of the log, or its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// The log's size when it was searched.
    pub size: u64,
}

/// A line that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundLine {
    /// The byte at which it begins.
    pub start: u64,
    /// The byte after its end, its newline included.
    pub end: u64,
    /// What it says; bytes that are no UTF-8 are replaced.
    pub text: String,
}
