//! The short form of a build that lists show.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::build::{AttemptProgress, Build, BuildId, BuildState, Image, Trigger};
use super::name::RepositoryPath;
use super::push::{CommitId, Ref};
use super::reason::Reason;

/// A build as lists show it: small, for there may be a million.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSummary {
    /// Its number.
    pub id: BuildId,
    /// Its repository.
    pub path: RepositoryPath,
    /// Its rule's name.
    pub rule: String,
    /// Where it stands.
    pub state: BuildState,
    /// One sentence: why it stands there, and what can be done.
    pub reason: Reason,
    /// How far it is, where it is attempted more than once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptProgress>,
    /// The ref that is built.
    pub reference: Ref,
    /// Its commit.
    pub commit: CommitId,
    /// What its image is to be called.
    pub tags: Vec<String>,
    /// Why it exists.
    pub trigger: Trigger,
    /// Who asked for it.
    pub asked_by: String,
    /// When it was asked for.
    pub queued_at: DateTime<Utc>,
    /// When its runner started.
    pub started_at: Option<DateTime<Utc>>,
    /// When its state became final.
    pub finished_at: Option<DateTime<Utc>>,
    /// Where it runs, or ran.
    pub builders: Vec<String>,
    /// The images that it published.
    pub images: Vec<Image>,
}

impl From<&Build> for BuildSummary {
    fn from(build: &Build) -> BuildSummary {
        BuildSummary {
            id: build.id,
            path: build.path(),
            rule: build.rule.name.clone(),
            state: build.state,
            reason: build.why().clone(),
            attempt: build.attempt_progress(),
            reference: build.reference.clone(),
            commit: build.commit.clone(),
            tags: build.tags.iter().map(ToString::to_string).collect(),
            trigger: build.trigger,
            asked_by: build.asked_by.to_string(),
            queued_at: build.queued_at,
            started_at: build.started_at,
            finished_at: build.finished_at,
            builders: build.builders.clone(),
            images: build.images.clone(),
        }
    }
}

impl BuildSummary {
    /// Whether a person can have it built again, or its next attempt started.
    pub fn can_be_retried(&self) -> bool {
        self.state.is_final() || self.attempt.is_some_and(|attempt| attempt.next_at.is_some())
    }

    /// The number of its newest attempt.
    pub fn newest_attempt(&self) -> u32 {
        self.attempt.map_or(1, |attempt| attempt.number)
    }

    /// How long it has run, or ran; none before it started.
    pub fn duration(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        Some(self.finished_at.unwrap_or(now) - self.started_at?)
    }
}
