//! Something that is to be told to others, once.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::build::{BuildId, BuildState};
use crate::domain::commit_status::CommitStatus;
use crate::domain::notification::Event;
use crate::domain::push::CommitId;
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// A `[[notify]]` of config.toml, by its name.
    Notification(String),
    /// A source platform, by its name.
    Platform(String),
}

display_as_reason!(Receiver);

impl AsReason for Receiver {
    fn reason(&self) -> Reason {
        match self {
            Receiver::Notification(name) => reason!("receiver.notification", name = quoted(name)),
            Receiver::Platform(name) => reason!("receiver.platform", name = quoted(name)),
        }
    }
}

/// Something that is to be told once: `outbox/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same whenever the same is told again.
    pub id: String,
    /// When it came about.
    pub at: DateTime<Utc>,
    /// The build that it is about.
    pub build: BuildId,
    /// The build's repository.
    pub repository: String,
    /// The state that the build came to.
    pub state: BuildState,
    /// What is told, and to whom.
    pub content: Content,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// An event, to a notification.
    Notification {
        /// The notification's name.
        to: String,
        /// The event.
        event: Event,
        /// The JSON.
        body: String,
    },
    /// The status of a commit, to its platform.
    Status {
        /// The platform's name.
        to: String,
        /// The source's URL.
        source: String,
        /// The commit.
        commit: CommitId,
        /// The status.
        status: CommitStatus,
    },
}

impl Message {
    /// Who is told.
    pub fn receiver(&self) -> Receiver {
        match &self.content {
            Content::Notification { to, .. } => Receiver::Notification(to.clone()),
            Content::Status { to, .. } => Receiver::Platform(to.clone()),
        }
    }

    /// Its name among the files of the outbox: the same whenever the same is to be told.
    pub fn name(&self) -> String {
        match &self.content {
            Content::Notification { to, event, .. } => format!("{}-{}-{to}", self.build.0, event.word()),
            // A platform's name may be that of a notification.
            Content::Status { .. } => format!("status-{}-{}", self.build.0, self.state.word()),
        }
    }

    /// What it is, for people.
    pub fn what(&self) -> Reason {
        match &self.content {
            Content::Notification { event, .. } => {
                reason!("delivery.event", event = event.word(), build = self.build)
            }
            Content::Status { .. } => reason!("delivery.status", build = self.build),
        }
    }

    /// The lane that it goes out in.
    pub(super) fn lane(&self) -> LaneKey {
        let subject = match &self.content {
            Content::Notification { .. } => None,
            Content::Status { source, commit, status, .. } => {
                Some((source.clone(), commit.clone(), status.context.clone()))
            }
        };
        LaneKey { receiver: self.receiver(), subject }
    }

    /// Whether it makes an earlier one of its lane superfluous: a commit has one status of each context.
    pub(super) fn replaces(&self, earlier: &Message) -> bool {
        let are_statuses = [self, earlier].iter().all(|message| matches!(message.content, Content::Status { .. }));
        are_statuses && self.lane() == earlier.lane()
    }
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.what(), self.receiver())
    }
}

/// What waits for what: the notifications of one receiver for each other, a status for the earlier ones of the same
/// commit and context. A commit that a platform does not take a status of holds up no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub receiver: Receiver,
    pub subject: Option<(String, CommitId, String)>,
}
