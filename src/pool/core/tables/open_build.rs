//! An open build: from the record to the end. Each stage holds the handle that allows its transitions.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::pending_write::BuildWrites;
use crate::domain::backoff::Deadline;
use crate::domain::build::{Build, EndBeforeStart, EndOfRun, Ending, FinalBuild, RunningBuild, WaitingBuild};
use crate::domain::builder::labels_asked;
use crate::pool::core::event::{PastOfBuild, SubmissionId};
use crate::pool::core::schedule::{AwaitedAttempt, Waiting};
use crate::sys::process::ProcessId;

/// An open build.
#[derive(Debug)]
pub struct OpenBuild {
    pub stage: Stage,
    pub writes: BuildWrites,
}

/// Where an open build stands.
#[derive(Debug)]
pub enum Stage {
    /// Its record is being written for the first time; clients do not see it yet.
    Recording { build: WaitingBuild, waiters: Vec<Waiter> },
    /// It is refused, and its record is being written.
    Refusing { build: FinalBuild, waiters: Vec<Waiter> },
    /// It waits.
    Waiting(WaitingBuild),
    /// Its runner is being started on these builders.
    Starting { build: WaitingBuild, builders: Vec<String> },
    /// Its runner works. After a cancel it is killed at a time.
    Running { build: RunningBuild, runner: Option<ProcessId>, kill: Option<Deadline> },
    /// Its attempt failed, and the record that says so is being written; clients see it as it was before.
    Retrying { build: WaitingBuild, shown: Arc<Build> },
    /// How it ends is decided; the builds before it are being read.
    Ending(Box<PendingEnd>),
    /// Its final record is being written; clients see it as it was before.
    Closing { build: FinalBuild, shown: Arc<Build> },
}

/// Who goes on once a build is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    /// Who asked for it.
    Submission(SubmissionId),
    /// Who asked for the same, while it was being recorded.
    Twin(SubmissionId),
}

/// A build that is about to be closed.
#[derive(Debug)]
pub struct PendingEnd {
    pub end: End,
    pub ending: Ending,
    pub at: DateTime<Utc>,
    pub past: PastState,
}

/// What the builds before one say of its end, which others are told by.
#[derive(Debug)]
pub enum PastState {
    /// It is to be read where it matters.
    Unknown,
    /// It is being read.
    Asked,
    Known(Box<PastOfBuild>),
}

#[derive(Debug)]
pub enum End {
    BeforeStart(WaitingBuild, EndBeforeStart),
    OfRun(RunningBuild, EndOfRun),
    /// An earlier pool wrote its final record, and did not come to tell others.
    Recorded(FinalBuild),
}

impl End {
    pub fn record(&self) -> &Arc<Build> {
        match self {
            End::BeforeStart(build, _) => build.record(),
            End::OfRun(build, _) => build.record(),
            End::Recorded(build) => build.record(),
        }
    }
}

impl OpenBuild {
    pub fn at(stage: Stage) -> OpenBuild {
        OpenBuild { stage, writes: BuildWrites::default() }
    }

    /// The record as it is now.
    pub fn record(&self) -> &Arc<Build> {
        match &self.stage {
            Stage::Recording { build, .. }
            | Stage::Waiting(build)
            | Stage::Starting { build, .. }
            | Stage::Retrying { build, .. } => build.record(),
            Stage::Running { build, .. } => build.record(),
            Stage::Ending(pending) => pending.end.record(),
            Stage::Refusing { build, .. } | Stage::Closing { build, .. } => build.record(),
        }
    }

    /// The record as clients see it: on disk, or as it was on disk last.
    pub fn shown(&self) -> Option<&Arc<Build>> {
        match &self.stage {
            Stage::Recording { .. } | Stage::Refusing { .. } => None,
            Stage::Retrying { shown, .. } | Stage::Closing { shown, .. } => Some(shown),
            Stage::Waiting(_) | Stage::Starting { .. } | Stage::Running { .. } | Stage::Ending(_) => {
                Some(self.record())
            }
        }
    }

    /// Whether another build of the same rule and commit would be one too many. One that is being stopped makes no
    /// image.
    pub fn goes_on(&self) -> bool {
        self.is_not_ended() && self.record().cancel.is_none()
    }

    /// What it will have made is not known yet.
    pub fn is_not_ended(&self) -> bool {
        !matches!(self.stage, Stage::Refusing { .. } | Stage::Ending(_) | Stage::Closing { .. })
    }

    pub fn is_recording(&self) -> bool {
        matches!(self.stage, Stage::Recording { .. })
    }

    pub fn wait_for_record(&mut self, waiter: Waiter) {
        if let Stage::Recording { waiters, .. } | Stage::Refusing { waiters, .. } = &mut self.stage {
            waiters.push(waiter);
        }
    }

    /// The builders whose slots it takes.
    pub fn occupies(&self) -> &[String] {
        match &self.stage {
            Stage::Starting { builders, .. } => builders,
            Stage::Running { build, .. } => &build.record().builders,
            _ => &[],
        }
    }

    /// A runner works on it, or is being started.
    pub fn is_underway(&self) -> bool {
        matches!(self.stage, Stage::Starting { .. } | Stage::Running { .. })
    }

    /// Until when it waits for its next attempt, or for its commit.
    pub fn wait(&self) -> Option<Deadline> {
        match &self.stage {
            Stage::Waiting(build) => not_before(build.record()),
            _ => None,
        }
    }

    /// When its runner is killed, which was told to stop.
    pub fn kill(&self) -> Option<Deadline> {
        match &self.stage {
            Stage::Running { kill, .. } => *kill,
            _ => None,
        }
    }

    /// As the scheduler sees it, where it waits.
    pub fn waiting(&self) -> Option<Waiting> {
        let Stage::Waiting(build) = &self.stage else { return None };
        let build = build.record();
        Some(Waiting {
            id: build.id,
            repository: build.path().to_string(),
            platforms: build.rule.platforms.clone(),
            labels: labels_asked(&build.settings),
            builder: Some(build.settings.builder.clone()).filter(|name| !name.is_empty()),
            not_before: not_before(build),
            retry: build.past_attempts.last().map(|past| AwaitedAttempt {
                number: build.present_attempt(),
                most: build.most_attempts.unwrap_or_else(|| build.present_attempt()),
                why: past.reason.clone(),
            }),
            awaited: build.awaits_commit().cloned(),
        })
    }
}

/// The wait of a build: for another attempt since the last one failed, or for its commit since it was queued.
pub fn not_before(build: &Build) -> Option<Deadline> {
    let since = match build.past_attempts.last() {
        Some(past) => past.finished_at,
        None if build.awaits_commit().is_some() => build.queued_at,
        // Versions up to 0.1 queued a build to try another one again.
        None => return None,
    };
    build.not_before.map(|at| Deadline::between(since, at))
}

impl PendingEnd {
    /// The record as it will be, as far as it matters for what others are told.
    pub fn as_ended(&self) -> Build {
        let state = match &self.end {
            End::BeforeStart(_, state) => (*state).into(),
            End::OfRun(_, state) => (*state).into(),
            End::Recorded(build) => return Build::clone(build.record()),
        };
        Build { state, failure: self.ending.failure.clone(), ..Build::clone(self.end.record()) }
    }
}
