//! Files that are being written, and what is done once they are on disk.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use crate::domain::backoff::Deadline;
use crate::domain::build::BuildId;
use crate::domain::journal::PushId;
use crate::domain::problem::Topic;
use crate::pool::core::command::File;
use crate::pool::core::event::RequestId;

/// Files that are being written, or will be again.
#[derive(Debug)]
pub struct PendingWrite {
    pub files: Vec<File>,
    pub then: AfterWrite,
    pub failures: u32,
    /// When it is tried again, after a failure.
    pub retry: Option<Deadline>,
}

impl PendingWrite {
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.retry.map(|retry| retry.at())
    }
}

/// What is done once files are on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterWrite {
    /// A new build waits, or is at its end because it was refused.
    Recorded(BuildId),
    /// A build's record says that it runs, or that it is to be stopped.
    Noted(BuildId),
    /// An attempt of a build failed, and it waits for the next one.
    Retrying(BuildId),
    /// A build is at its end, and others are told.
    Closed(BuildId),
    /// The rules are asked of pushes, and who announced them is answered.
    Journal {
        /// The pushes.
        pushes: Vec<PushId>,
        /// Webhooks that wait for them.
        announced: Option<RequestId>,
    },
    /// What was seen of the sources is kept.
    RefsSeen,
    /// The journal has the answers of rules to a push.
    Push(PushId),
    /// Nothing.
    Nothing,
}

impl AfterWrite {
    pub fn build(&self) -> Option<BuildId> {
        match self {
            AfterWrite::Recorded(id) | AfterWrite::Noted(id) | AfterWrite::Retrying(id) | AfterWrite::Closed(id) => {
                Some(*id)
            }
            AfterWrite::Journal { .. } | AfterWrite::RefsSeen | AfterWrite::Push(_) | AfterWrite::Nothing => None,
        }
    }

    /// What clients see as out of order while it fails.
    pub fn topic(&self) -> Option<Topic> {
        match self {
            AfterWrite::Recorded(id) | AfterWrite::Noted(id) | AfterWrite::Retrying(id) | AfterWrite::Closed(id) => {
                Some(Topic::Build(*id))
            }
            AfterWrite::Journal { pushes, .. } => pushes.first().map(|id| Topic::Journal(*id)),
            AfterWrite::Push(id) => Some(Topic::Journal(*id)),
            AfterWrite::RefsSeen => Some(Topic::RefsSeen),
            AfterWrite::Nothing => None,
        }
    }
}

/// The writes of one build, one after the other.
#[derive(Debug, Default)]
pub struct BuildWrites {
    pub running: bool,
    pub next: VecDeque<(Vec<File>, AfterWrite)>,
}
