//! Builds by the stage of their lives. A transition is a method that consumes the stage before it, so that an illegal
//! one can't be written; no other code changes the state of a record.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Build, BuildState, CancelRequest, Image, PastAttempt, Retry};
use crate::domain::failure::Failure;
use crate::domain::reason::{Reason, joined, reason};

/// A build that waits: `queued` or `held`.
#[derive(Debug, PartialEq, Eq)]
pub struct WaitingBuild(Arc<Build>);

/// A build that a runner works on.
#[derive(Debug, PartialEq, Eq)]
pub struct RunningBuild(Arc<Build>);

/// A build at its end.
#[derive(Debug, PartialEq, Eq)]
pub struct FinalBuild(Arc<Build>);

/// A record, by the stage that it is in.
#[derive(Debug, PartialEq, Eq)]
pub enum StagedBuild {
    /// It waits.
    Waiting(WaitingBuild),
    /// It runs.
    Running(RunningBuild),
    /// It ended.
    Final(FinalBuild),
}

/// The ways in which a build ends that has not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndBeforeStart {
    /// Its runner could not be started.
    Failed,
    /// A person stopped it.
    Cancelled,
    /// A newer push took its place.
    Superseded,
    /// A rule forbids it.
    Refused,
}

/// The ways in which a build ends that has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfRun {
    /// Its tags point at its image.
    Succeeded,
    /// The Dockerfile or the machinery failed.
    Failed,
    /// A person stopped it.
    Cancelled,
    /// A newer push took its place.
    Superseded,
    /// It ran longer than it may.
    TimedOut,
    /// Its runner died without a result.
    Interrupted,
    /// A rule forbids its tags.
    Refused,
}

/// What the record of a build says of its end besides the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// One sentence: why, and what can be done.
    pub reason: Reason,
    /// Why it failed.
    pub failure: Option<Failure>,
}

impl From<EndBeforeStart> for BuildState {
    fn from(end: EndBeforeStart) -> BuildState {
        match end {
            EndBeforeStart::Failed => BuildState::Failed,
            EndBeforeStart::Cancelled => BuildState::Cancelled,
            EndBeforeStart::Superseded => BuildState::Superseded,
            EndBeforeStart::Refused => BuildState::Refused,
        }
    }
}

impl From<EndOfRun> for BuildState {
    fn from(end: EndOfRun) -> BuildState {
        match end {
            EndOfRun::Succeeded => BuildState::Succeeded,
            EndOfRun::Failed => BuildState::Failed,
            EndOfRun::Cancelled => BuildState::Cancelled,
            EndOfRun::Superseded => BuildState::Superseded,
            EndOfRun::TimedOut => BuildState::TimedOut,
            EndOfRun::Interrupted => BuildState::Interrupted,
            EndOfRun::Refused => BuildState::Refused,
        }
    }
}

impl From<Build> for StagedBuild {
    fn from(build: Build) -> StagedBuild {
        match build.state {
            BuildState::Queued | BuildState::Held => StagedBuild::Waiting(WaitingBuild(Arc::new(build))),
            BuildState::Running => StagedBuild::Running(RunningBuild(Arc::new(build))),
            BuildState::Succeeded
            | BuildState::Failed
            | BuildState::Cancelled
            | BuildState::Superseded
            | BuildState::TimedOut
            | BuildState::Interrupted
            | BuildState::Refused => StagedBuild::Final(FinalBuild(Arc::new(build))),
        }
    }
}

fn end(mut record: Arc<Build>, state: BuildState, ending: Ending, at: DateTime<Utc>) -> FinalBuild {
    let build = Arc::make_mut(&mut record);
    build.state = state;
    build.reason = ending.reason;
    build.failure = ending.failure;
    build.not_before = None;
    // A clock that was set back ends no build before its beginning.
    build.finished_at = Some(at.max(build.started_at.unwrap_or(at)));
    FinalBuild(record)
}

/// The present attempt failed, and the build waits for the next one.
fn retry(mut record: Arc<Build>, builders: Vec<String>, retry: Retry, at: DateTime<Utc>) -> WaitingBuild {
    let build = Arc::make_mut(&mut record);
    let Retry { outcome, reason, failure, not_before, most } = retry;
    let next = build.present_attempt() + 1;
    build.reason = match not_before {
        Some(at) => reason!("wait.attempt", attempt = next, most, at, why = reason),
        None => reason!("wait.attempt_now", attempt = next, most, why = reason),
    };
    let number = build.present_attempt();
    let started_at = build.started_at.take();
    build.past_attempts.push(PastAttempt { number, outcome, reason, builders, started_at, finished_at: at, failure });
    build.state = BuildState::Held;
    (build.builders, build.images) = (Vec::new(), Vec::new());
    (build.failure, build.not_before, build.most_attempts) = (None, not_before, Some(most));
    WaitingBuild(record)
}

impl WaitingBuild {
    /// A build that was just asked for: whatever state `build` has, it waits.
    pub fn new(build: Build) -> WaitingBuild {
        WaitingBuild(Arc::new(Build { state: BuildState::Queued, ..build }))
    }

    /// The record.
    pub fn record(&self) -> &Arc<Build> {
        &self.0
    }

    /// It waits for a slot.
    pub fn queue(&mut self, reason: Reason) {
        self.wait_as(BuildState::Queued, reason);
    }

    /// It waits for something else than a slot.
    pub fn hold(&mut self, reason: Reason) {
        self.wait_as(BuildState::Held, reason);
    }

    fn wait_as(&mut self, state: BuildState, reason: Reason) {
        // A record that others hold is copied only when it changes.
        if self.0.state != state || self.0.reason != reason {
            let build = Arc::make_mut(&mut self.0);
            (build.state, build.reason) = (state, reason);
        }
    }

    /// A person or a newer push asks to stop it.
    pub fn request_cancel(&mut self, request: CancelRequest) {
        Arc::make_mut(&mut self.0).cancel = Some(request);
    }

    /// Its source did not have the commit yet; it is not started before `not_before`.
    pub fn await_commit(&mut self, failure: Failure, not_before: DateTime<Utc>) {
        let build = Arc::make_mut(&mut self.0);
        (build.failure, build.not_before) = (Some(failure), Some(not_before));
    }

    /// It waits no longer for its next attempt, or for its commit.
    pub fn bring_forward(&mut self) {
        if self.0.not_before.is_some() {
            Arc::make_mut(&mut self.0).not_before = None;
        }
    }

    /// Its runner could not be started on these builders; it is attempted again.
    pub fn retry(self, builders: Vec<String>, end: Retry, at: DateTime<Utc>) -> WaitingBuild {
        retry(self.0, builders, end, at)
    }

    /// What people should know besides.
    pub fn warn(&mut self, warnings: Vec<Reason>) {
        add_warnings(&mut self.0, warnings);
    }

    /// A runner works on it.
    pub fn start(mut self, builders: Vec<String>, at: DateTime<Utc>) -> RunningBuild {
        let build = Arc::make_mut(&mut self.0);
        build.state = BuildState::Running;
        build.reason = reason!("build.runs", builders = joined(&builders));
        build.builders = builders;
        build.started_at = Some(at);
        // Those that it waited through.
        (build.failure, build.not_before) = (None, None);
        RunningBuild(self.0)
    }

    /// It ends without having run.
    pub fn end(self, state: EndBeforeStart, ending: Ending, at: DateTime<Utc>) -> FinalBuild {
        end(self.0, state.into(), ending, at)
    }
}

impl RunningBuild {
    /// The record.
    pub fn record(&self) -> &Arc<Build> {
        &self.0
    }

    /// A person or a newer push asks to stop it.
    pub fn request_cancel(&mut self, request: CancelRequest) {
        let build = Arc::make_mut(&mut self.0);
        build.reason = match request.superseded_by {
            Some(newer) => reason!("build.superfluous", newer),
            None => reason!("build.cancel_requested", by = request.by),
        };
        build.cancel = Some(request);
    }

    /// What it runs on answers, or does not: where it is not being stopped, its reason says so.
    pub fn explain(&mut self, reason: Reason) {
        if self.0.cancel.is_none() && self.0.reason != reason {
            Arc::make_mut(&mut self.0).reason = reason;
        }
    }

    /// What its runner left: images, and what people should know besides.
    pub fn take_results(&mut self, images: &[Image], notes: &[Reason]) {
        Arc::make_mut(&mut self.0).images = images.to_vec();
        add_warnings(&mut self.0, notes.to_vec());
    }

    /// The attempt failed, and the build is attempted again.
    pub fn retry(self, end: Retry, at: DateTime<Utc>) -> WaitingBuild {
        let builders = self.0.builders.clone();
        retry(self.0, builders, end, at)
    }

    /// It ends.
    pub fn end(self, state: EndOfRun, ending: Ending, at: DateTime<Utc>) -> FinalBuild {
        end(self.0, state.into(), ending, at)
    }
}

impl FinalBuild {
    /// The record.
    pub fn record(&self) -> &Arc<Build> {
        &self.0
    }
}

fn add_warnings(record: &mut Arc<Build>, warnings: Vec<Reason>) {
    let new: Vec<Reason> = warnings.into_iter().filter(|warning| !record.warnings.contains(warning)).collect();
    if !new.is_empty() {
        Arc::make_mut(record).warnings.extend(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::sample;
    use crate::domain::failure::FailureKind;

    fn at() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    #[test]
    fn every_state_is_of_one_stage() {
        for state in BuildState::ALL {
            let staged = StagedBuild::from(Build { state, ..sample() });
            assert_eq!(matches!(staged, StagedBuild::Final(_)), state.is_final(), "{state}");
            assert_eq!(matches!(staged, StagedBuild::Running(_)), state == BuildState::Running, "{state}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_ends_no_build_before_it_began() {
        let running = WaitingBuild::new(sample()).start(vec!["big".into()], at());
        let ended = running.end(EndOfRun::Succeeded, Ending::default(), at() - chrono::TimeDelta::hours(1));
        assert_eq!(ended.record().duration(at()), Some(chrono::TimeDelta::zero()));
    }

    #[test]
    fn a_build_that_waited_for_its_commit_runs_without_that_failure() {
        let mut waiting = WaitingBuild::new(sample());
        waiting.await_commit(Failure::new(FailureKind::NoCommit, Reason::verbatim("not there yet")), at());
        waiting.hold(Reason::verbatim("waits"));
        let running = waiting.start(vec!["big".into()], at());
        let record = running.record();
        assert_eq!((record.state, record.failure.clone(), record.started_at), (BuildState::Running, None, Some(at())));
        let ended = running.end(EndOfRun::Interrupted, Ending::default(), at());
        assert_eq!((ended.record().state, ended.record().finished_at), (BuildState::Interrupted, Some(at())));
    }

    #[test]
    fn a_record_that_others_hold_is_copied_only_when_it_changes() {
        let mut waiting = WaitingBuild::new(sample());
        waiting.queue(Reason::verbatim("it is next"));
        let shown = waiting.record().clone();
        waiting.queue(Reason::verbatim("it is next"));
        assert!(Arc::ptr_eq(&shown, waiting.record()));
        waiting.queue(Reason::verbatim("1 ahead of it"));
        assert_eq!(
            (shown.reason.to_string(), waiting.record().reason.to_string()),
            ("it is next".to_owned(), "1 ahead of it".to_owned())
        );
    }
}
