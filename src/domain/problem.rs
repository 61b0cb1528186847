//! Problems of a pool: things that people should see to, as the pool shows them to its clients.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::build::BuildId;
use super::journal::PushId;
use super::name::RepositoryPath;
use super::outbox::Receiver;
use super::reason::{AsReason, Reason, use_as_reason};

/// A thing that is out of order, and why. It stays in the pool's status until it is in order again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The thing.
    pub topic: Topic,
    /// One sentence that names the thing, why it is out of order and what fixes it.
    pub reason: Reason,
}

use_as_reason!(Problem);

impl AsReason for Problem {
    fn reason(&self) -> Reason {
        self.reason.clone()
    }
}

/// A thing that can be out of order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A settings file that could not be taken over; the last good state stays in force.
    File(PathBuf),
    /// The refs of a repository's source.
    Source(RepositoryPath),
    /// The name of a repository's source.
    SourceName(RepositoryPath),
    /// `watch.toml`, which records the refs seen.
    RefsSeen,
    /// The webhook listener.
    Webhooks,
    /// The webhooks of a platform.
    PlatformWebhooks(String),
    /// The schedule of a rule.
    Schedule(RepositoryPath, String),
    /// A rule whose builds are refused.
    Rule(RepositoryPath, String),
    /// A base image.
    BaseImage(String),
    /// The audit log.
    AuditLog,
    /// The record of a build.
    Build(BuildId),
    /// A push of which a rule's build can't be queued.
    Push(PushId),
    /// The journal's file of a push.
    Journal(PushId),
    /// What is told to a receiver of builds of one repository; "": of all.
    Deliveries(Receiver, String),
}
