//! A message: what is sent, and where.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::build::{BuildId, BuildState};
use crate::domain::commit_status::CommitStatus;
use crate::domain::notification::Event;
use crate::domain::push::CommitId;

/// A place that messages are sent to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// A `[[notify]]` of config.toml, by its name.
    Notification(String),
    /// A source platform, by its name.
    Platform(String),
}

impl std::fmt::Display for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Receiver::Notification(name) => write!(f, "the notification {name:?}"),
            Receiver::Platform(name) => write!(f, "the platform {name:?}"),
        }
    }
}

/// A message that is to be delivered once: `outbox/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Idempotency key: the same in every repetition.
    pub id: String,
    /// When it came about.
    pub at: DateTime<Utc>,
    /// The build that it is about.
    pub build: BuildId,
    /// The build's repository.
    pub repository: String,
    /// The state that the build came to.
    pub state: BuildState,
    /// The content, and the receiver.
    pub content: Content,
}

/// The content of a message, and its receiver.
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
    /// A place that messages are sent to.
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
    pub fn what(&self) -> String {
        match &self.content {
            Content::Notification { event, .. } => format!("{} of build {}", event.word(), self.build),
            Content::Status { .. } => format!("the status of build {}", self.build),
        }
    }

    /// Whether it makes an earlier one superfluous: a commit has one status of each context.
    pub(super) fn replaces(&self, earlier: &Message) -> bool {
        match (&self.content, &earlier.content) {
            (
                Content::Status { source, commit, status, .. },
                Content::Status { source: other_source, commit: other_commit, status: other_status, .. },
            ) => source == other_source && commit == other_commit && status.context == other_status.context,
            _ => false,
        }
    }
}
