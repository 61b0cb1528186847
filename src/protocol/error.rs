//! Why the pool did not do what a client asked for.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::reason::{AsReason, Reason, display_as_reason};

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct Error {
    /// Which of the exit statuses of the command line it is.
    pub kind: ErrorKind,
    /// The thing, why, and what to do.
    #[serde(alias = "message")]
    pub reason: Reason,
    /// When the same may work, where whoever refused it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<DateTime<Utc>>,
}

/// The kinds of errors that the command line tells apart by its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// It was tried and failed.
    Failed,
    /// What was asked makes no sense.
    Usage,
    /// There is no such thing.
    NotFound,
    /// A rule forbids it.
    Refused,
    /// The pool, a builder, a source or a registry cannot be reached.
    Unreachable,
}

display_as_reason!(Error);

impl AsReason for Error {
    fn reason(&self) -> Reason {
        self.reason.clone()
    }
}

impl Error {
    /// An error of that kind.
    pub fn new(kind: ErrorKind, reason: impl Into<Reason>) -> Error {
        Error { kind, reason: reason.into(), retry_at: None }
    }
}
