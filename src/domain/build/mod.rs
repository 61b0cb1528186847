//! Builds: one run of a rule for one commit, and the states it goes through.

mod attempt;
mod lifecycle;
mod state;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use attempt::{Attempt, AttemptOutcome, AttemptProgress, PastAttempt, Retry};
pub use lifecycle::{EndBeforeStart, EndOfRun, Ending, FinalBuild, RunningBuild, StagedBuild, WaitingBuild};
pub use state::{BuildState, UnknownState};

use super::failure::{Failure, FailureKind};
use super::name::RepositoryPath;
use super::push::{CommitId, Push, PushId, Ref};
use super::repository::{BuildSettings, Fetch};
use super::requester::Requester;
use super::rule::Rule;
use super::tag::Tag;
use crate::domain::reason::{AsReason, Reason, argument_by_name, display_as_reason, quoted, reason, use_as_reason};

/// A build's number; it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildId(pub u64);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

argument_by_name!(BuildId);

/// A text that is no build's number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BuildIdError {
    /// What was given.
    pub text: String,
}

display_as_reason!(BuildIdError);

impl AsReason for BuildIdError {
    fn reason(&self) -> Reason {
        reason!("build.no_number", text = quoted(&self.text))
    }
}

impl FromStr for BuildId {
    type Err = BuildIdError;

    fn from_str(text: &str) -> Result<BuildId, BuildIdError> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        digits.parse().map(BuildId).map_err(|_| BuildIdError { text: text.into() })
    }
}

/// Why a build exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A ref moved.
    Push,
    /// "Build now".
    Manual,
    /// A person wants an earlier build again, with the rule and the push time as they were.
    Retry,
    /// A rule for a chosen ref as though it had just been pushed.
    Replay,
    /// A time came.
    Schedule,
    /// A base image's digest changed.
    BaseImage,
}

impl Trigger {
    /// As it is written in TOML and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Trigger::Push => "push",
            Trigger::Manual => "manual",
            Trigger::Retry => "retry",
            Trigger::Replay => "replay",
            Trigger::Schedule => "schedule",
            Trigger::BaseImage => "base_image",
        }
    }

    /// Whether a person chose what is built, and so may move a tag back to an older commit.
    pub fn asked_by_person(self) -> bool {
        matches!(self, Trigger::Manual | Trigger::Replay)
    }
}

use_as_reason!(Trigger);

impl AsReason for Trigger {
    fn reason(&self) -> Reason {
        match self {
            Trigger::Push => reason!("trigger.push"),
            Trigger::Manual => reason!("trigger.manual"),
            Trigger::Retry => reason!("trigger.retry"),
            Trigger::Replay => reason!("trigger.replay"),
            Trigger::Schedule => reason!("trigger.schedule"),
            Trigger::BaseImage => reason!("trigger.base_image"),
        }
    }
}

/// An image that a build published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// With its tag: `acme/api:v1`.
    pub name: String,
    /// `sha256:…`, of the index.
    pub digest: String,
    /// What the index holds.
    pub platforms: Vec<String>,
}

/// Who asked to stop a build, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// The user; nobody where a newer push asked.
    pub by: Requester,
    /// When.
    pub at: DateTime<Utc>,
    /// The build of a newer push that makes this one superfluous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<BuildId>,
}

impl CancelRequest {
    /// A person asks.
    pub fn of(by: Requester, at: DateTime<Utc>) -> CancelRequest {
        CancelRequest { by, at, superseded_by: None }
    }

    /// Why a build ends that was running.
    pub fn reason(&self, build: &Build) -> Reason {
        let id = build.id.0;
        match self.superseded_by {
            Some(newer) => reason!("build.superseded", newer, id),
            None => reason!("build.cancelled", by = self.by, id),
        }
    }

    /// Why a build ends that was waiting, for its start or for another attempt.
    pub fn reason_while_waiting(&self, build: &Build) -> Reason {
        let (id, attempt) = (build.id.0, build.present_attempt());
        match (self.superseded_by, attempt) {
            (Some(newer), 1) => reason!("build.superseded_before_start", newer, id),
            (Some(newer), _) => reason!("build.superseded_before_attempt", newer, attempt, id),
            (None, 1) => reason!("build.cancelled_before_start", by = self.by, id),
            (None, _) => reason!("build.cancelled_before_attempt", by = self.by, attempt, id),
        }
    }
}

/// The record of a build: `builds/<id>/build.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its number.
    pub id: BuildId,
    /// The namespace of its repository.
    pub namespace: String,
    /// The repository's name in it.
    pub repository: String,
    /// The ref that is built.
    #[serde(rename = "ref")]
    pub reference: Ref,
    /// Its commit.
    pub commit: CommitId,
    /// When the ref was pushed there; a retry keeps it.
    pub pushed_at: DateTime<Utc>,
    /// Why the build exists.
    pub trigger: Trigger,
    /// Who asked for it; empty where nobody did.
    #[serde(default, skip_serializing_if = "Requester::is_nobody")]
    pub asked_by: Requester,
    /// Where it stands.
    pub state: BuildState,
    /// Why it stands there, and what can be done.
    #[serde(default)]
    pub reason: Reason,
    /// When it was asked for.
    pub queued_at: DateTime<Utc>,
    /// When the runner of its newest attempt started; none while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When its state became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// Not started before: the wait for another attempt, or for a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
    /// What its image is to be called.
    pub tags: Vec<Tag>,
    /// The builders of its newest attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builders: Vec<String>,
    /// The build that this one tries again because a person asked; until version 0.1 also by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<BuildId>,
    /// The build that tries this one again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_as: Option<BuildId>,
    /// The push that it was started by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushId>,
    /// How many attempts it gets at most, as was decided when the last one failed; none: it is attempted for the first
    /// time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_attempts: Option<u32>,
    /// Who asked to stop it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelRequest>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What people should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Reason>,
    /// Where its images go: `local`, or a registry.
    pub registry: String,
    /// The source's URL, as it was.
    pub source: String,
    /// The platform whose credentials read the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Who fetches it.
    #[serde(default, skip_serializing_if = "Fetch::is_by_slipway")]
    pub fetch: Fetch,
    /// The repository's tags are never overwritten, as it was.
    #[serde(default)]
    pub immutable: bool,
    /// A lazily loadable image is published, too, as it was.
    #[serde(default)]
    pub accelerate: bool,
    /// How the repository was built, as it was.
    pub settings: BuildSettings,
    /// The rule, as it was.
    pub rule: Rule,
    /// The images that it published.
    #[serde(default, rename = "image", skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// The attempts before the present one, the oldest first.
    #[serde(default, rename = "past_attempt", skip_serializing_if = "Vec::is_empty")]
    pub past_attempts: Vec<PastAttempt>,
}

impl Build {
    /// `namespace/repository`.
    pub fn path(&self) -> RepositoryPath {
        RepositoryPath { namespace: self.namespace.clone(), repository: self.repository.clone() }
    }

    /// The push that it builds.
    pub fn push(&self) -> Push {
        Push { reference: self.reference.clone(), commit: self.commit.clone(), at: self.pushed_at }
    }

    /// How long it has run, or ran; none before it started.
    pub fn duration(&self, now: DateTime<Utc>) -> Option<chrono::TimeDelta> {
        Some(self.finished_at.unwrap_or(now) - self.started_at?)
    }

    /// The commit that its source did not have when it was to start, while it waits for it.
    pub fn awaits_commit(&self) -> Option<&CommitId> {
        let failed = self.failure.as_ref().filter(|failure| failure.kind == FailureKind::NoCommit);
        failed.filter(|_| !self.state.is_final()).map(|_| &self.commit)
    }

    /// A build that tries this one again, as a person asks: the same commit, rule and push time.
    pub fn again(&self, id: BuildId, by: Requester, at: DateTime<Utc>) -> Build {
        Build {
            id,
            trigger: Trigger::Retry,
            asked_by: by,
            state: BuildState::Queued,
            reason: Reason::default(),
            queued_at: at,
            started_at: None,
            finished_at: None,
            not_before: None,
            builders: Vec::new(),
            retry_of: Some(self.id),
            retried_as: None,
            most_attempts: None,
            cancel: None,
            failure: None,
            images: Vec::new(),
            past_attempts: Vec::new(),
            ..self.clone()
        }
    }
}

/// A queued build of acme/api, for tests.
#[cfg(test)]
pub(crate) fn sample() -> Build {
    let at = |text: &str| text.parse().unwrap();
    Build {
        id: BuildId(7),
        namespace: "acme".into(),
        repository: "api".into(),
        reference: Ref::branch("main"),
        commit: "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa".parse().unwrap(),
        pushed_at: at("2020-10-15T08:25:00Z"),
        trigger: Trigger::Manual,
        asked_by: Requester::default(),
        state: BuildState::Queued,
        reason: Reason::default(),
        queued_at: at("2020-10-15T08:25:01Z"),
        started_at: None,
        finished_at: None,
        not_before: None,
        tags: vec![Tag::parse("latest").unwrap()],
        builders: vec!["managed".into()],
        retry_of: None,
        retried_as: None,
        push: None,
        most_attempts: None,
        cancel: None,
        failure: None,
        warnings: Vec::new(),
        registry: "local".into(),
        source: "https://git.example.com/acme/api.git".into(),
        platform: None,
        fetch: Fetch::default(),
        immutable: false,
        accelerate: false,
        settings: BuildSettings::default(),
        rule: Rule::starter("main"),
        images: Vec::new(),
        past_attempts: Vec::new(),
    }
}

/// The sample after its first attempt failed, waiting for the second.
#[cfg(test)]
pub(crate) fn sample_retried() -> Build {
    let at = |second: i64| sample().queued_at + chrono::TimeDelta::seconds(second);
    let retry = Retry {
        outcome: AttemptOutcome::Failed,
        reason: reason!("build.failure", kind = FailureKind::Network, reason = "no route to host"),
        failure: Some(Failure::new(FailureKind::Network, Reason::verbatim("no route to host"))),
        not_before: Some(at(17)),
        most: 4,
    };
    let waiting = WaitingBuild::new(sample()).start(vec!["managed".into()], at(2)).retry(retry, at(12));
    Build::clone(waiting.record())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builds_number_is_read_with_and_without_its_sign() {
        assert_eq!("#1042".parse(), Ok(BuildId(1042)));
        assert_eq!("1042".parse(), Ok(BuildId(1042)));
        assert!("x".parse::<BuildId>().is_err());
    }
}
