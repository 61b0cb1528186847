//! What platforms are told of a build: the status that they show beside a commit. Pure.

use serde::{Deserialize, Serialize};

use super::build::{Build, BuildState};
use super::duration::HumanDuration;
use super::failure::FailureKind;

/// GitHub's limit on a description, in characters: the smallest.
const LONGEST_DESCRIPTION: usize = 140;

/// How a build stands, as platforms tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitState {
    /// It waits or runs.
    Pending,
    /// Its image is there.
    Success,
    /// It is at its end without an image, because of the commit.
    Failure,
    /// It is at its end without an image, for another reason.
    Error,
}

/// The status of one rule's build of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// How it stands.
    pub state: CommitState,
    /// Whose status it is, such as `slipway/acme/api/main`: a later one of the same name takes its place.
    pub context: String,
    /// One line with the build's number, at most 140 characters: GitHub's limit, the smallest.
    pub description: String,
    /// Short name of the branch or tag that was built; absent in messages of an earlier slipway.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl CommitStatus {
    /// How a build stands.
    pub fn of(build: &Build) -> CommitStatus {
        let (state, text) = match build.state {
            BuildState::Queued | BuildState::Held => (CommitState::Pending, "is queued".to_owned()),
            BuildState::Running => (CommitState::Pending, "is running".to_owned()),
            BuildState::Succeeded => (CommitState::Success, succeeded(build)),
            BuildState::Failed => failed(build),
            BuildState::Cancelled | BuildState::Superseded | BuildState::Interrupted | BuildState::Refused => {
                (CommitState::Error, format!("was {}", build.state))
            }
            BuildState::TimedOut => (CommitState::Error, "took longer than it may".to_owned()),
        };
        CommitStatus {
            state,
            context: format!("slipway/{}/{}", build.path(), build.rule.name),
            description: one_line(&format!("{} {text}", build.id)),
            reference: Some(build.reference.name.clone()),
        }
    }
}

/// `succeeded in 1m20s: latest`
fn succeeded(build: &Build) -> String {
    let seconds = build.finished_at.and_then(|end| build.duration(end)).map_or(0, |duration| duration.num_seconds());
    let took = HumanDuration::seconds(u64::try_from(seconds).unwrap_or(0).max(1));
    let tags: Vec<String> = build.tags.iter().map(ToString::to_string).collect();
    format!("succeeded in {took}: {}", tags.join(", "))
}

/// Whether it is the commit's fault, and why.
fn failed(build: &Build) -> (CommitState, String) {
    let Some(failure) = &build.failure else { return (CommitState::Failure, format!("failed: {}", build.reason)) };
    let state = match failure.kind {
        FailureKind::Dockerfile
        | FailureKind::Source
        | FailureKind::NoCommit
        | FailureKind::LogLimit
        | FailureKind::DiskLimit
        | FailureKind::Unknown => CommitState::Failure,
        FailureKind::Credentials
        | FailureKind::Settings
        | FailureKind::Certificate
        | FailureKind::Platform
        | FailureKind::Network
        | FailureKind::Registry
        | FailureKind::RegistryRefused
        | FailureKind::Disk
        | FailureKind::Host
        | FailureKind::Daemon
        | FailureKind::Timeout
        | FailureKind::Cancelled => CommitState::Error,
    };
    // What the machinery says names hosts, commands and people that are nobody else's business.
    let why = if state == CommitState::Error { failure.kind.to_string() } else { failure.reason.to_string() };
    (state, format!("failed: {why}"))
}

/// The text on one line, cut where a platform would refuse it.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST_DESCRIPTION {
        return line;
    }
    let kept: String = line.chars().take(LONGEST_DESCRIPTION - 1).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::build::sample;
    use crate::domain::failure::Failure;
    use crate::domain::reason::Reason;

    fn told(build: &Build) -> (CommitState, String) {
        let status = CommitStatus::of(build);
        assert_eq!(status.context, "slipway/acme/api/main");
        (status.state, status.description)
    }

    fn failed(kind: FailureKind, message: &str) -> Build {
        Build { state: BuildState::Failed, failure: Some(Failure::new(kind, Reason::verbatim(message))), ..sample() }
    }

    #[test]
    fn a_build_that_waits_or_runs_is_pending() {
        for state in [BuildState::Queued, BuildState::Held, BuildState::Running] {
            assert_eq!(told(&Build { state, ..sample() }).0, CommitState::Pending, "{state}");
        }
        assert_eq!(told(&sample()).1, "#7 is queued");
    }

    #[test]
    fn a_success_says_how_long_it_took_and_what_it_made() {
        let start = sample().queued_at;
        let ran = |seconds| Build {
            state: BuildState::Succeeded,
            started_at: Some(start),
            finished_at: Some(start + TimeDelta::seconds(seconds)),
            ..sample()
        };
        assert_eq!(told(&ran(80)), (CommitState::Success, "#7 succeeded in 1m20s: latest".into()));
        assert_eq!(told(&ran(0)).1, "#7 succeeded in 1s: latest");
    }

    #[test]
    fn the_commit_fails_where_it_is_at_fault_and_has_an_error_where_the_machinery_is() {
        assert_eq!(
            told(&failed(FailureKind::Dockerfile, "RUN make: exit status 2")),
            (CommitState::Failure, "#7 failed: RUN make: exit status 2".into())
        );
        assert_eq!(told(&failed(FailureKind::Registry, "502")).0, CommitState::Error);
        for state in [BuildState::Cancelled, BuildState::TimedOut, BuildState::Refused, BuildState::Superseded] {
            assert_eq!(told(&Build { state, ..sample() }).0, CommitState::Error, "{state}");
        }
    }

    #[test]
    fn a_description_is_one_line_that_every_platform_takes() {
        let (_, description) = told(&failed(FailureKind::Dockerfile, &"版本\n".repeat(200)));
        assert_eq!(description.chars().count(), LONGEST_DESCRIPTION);
        assert!(description.ends_with('…') && !description.contains('\n'), "{description}");
    }
}
