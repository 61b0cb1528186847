//! What the end of a launch or of a runner means: the build's state, its sentence, and whether it is tried again by
//! itself. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::event::RunnerEnd;
use crate::buildctl::job::{Outcome, RunResult};
use crate::domain::backoff::Backoff;
use crate::domain::build::{Build, CancelRequest, EndBeforeStart, EndOfRun, RetryCause};
use crate::domain::config::PoolConfig;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::reason::{Reason, joined, reason};

/// No wait before a retry is longer.
const LONGEST_WAIT: TimeDelta = TimeDelta::days(1);

/// What becomes of a build; `End` is the kind of end that its stage allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion<End> {
    /// Its final state.
    pub state: End,
    /// One sentence: why, and what can be done.
    pub reason: Reason,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// It is tried again, not before this.
    pub retry: Option<(RetryCause, DateTime<Utc>)>,
}

/// The circumstances of an end.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The pool's settings.
    pub config: &'a PoolConfig,
    /// The source's server lags behind the webhook of the push: a commit that is not there yet is the machinery's
    /// failure.
    pub lags: bool,
    /// The time.
    pub now: DateTime<Utc>,
}

/// Decides what becomes of a build whose runner could not be started.
pub fn of_launch(build: &Build, failure: &Failure, around: Circumstances) -> Conclusion<EndBeforeStart> {
    let is_machinery = is_machinery(failure, around);
    if let Some(cancel) = build.cancel.as_ref().filter(|_| is_machinery) {
        // What fails while it is stopped was stopped; a failure of the Dockerfile came first.
        return of_cancel(build, cancel, true);
    }
    let (reason, retry) = failed(build, failure, around);
    Conclusion { state: EndBeforeStart::Failed, reason, failure: Some(failure.clone()), retry }
}

/// What becomes of a build that was cancelled before it started.
pub fn of_cancel(build: &Build, cancel: &CancelRequest, before_start: bool) -> Conclusion<EndBeforeStart> {
    let state = if cancel.superseded_by.is_some() { EndBeforeStart::Superseded } else { EndBeforeStart::Cancelled };
    let (_, reason) = cancel.conclusion(build.id, before_start);
    Conclusion { state, reason, failure: None, retry: None }
}

/// Decides what becomes of a build whose runner ended.
pub fn of_run(build: &Build, end: &RunnerEnd, around: Circumstances) -> Conclusion<EndOfRun> {
    match end {
        RunnerEnd::Result(result) => of_result(build, result, around),
        RunnerEnd::Died => stopped(build, around.now),
    }
}

fn of_result(build: &Build, result: &RunResult, around: Circumstances) -> Conclusion<EndOfRun> {
    let conclusion = |state, reason| Conclusion { state, reason, failure: result.failure.clone(), retry: None };
    let id = build.id.0;
    match (result.outcome, &result.failure) {
        (Outcome::Succeeded, _) => {
            let names: Vec<&str> = result.images.iter().map(|image| image.name.as_str()).collect();
            let reason = reason!("build.published", images = joined(names));
            Conclusion { failure: None, ..conclusion(EndOfRun::Succeeded, reason) }
        }
        (Outcome::Refused, failure) => {
            let why = failure.as_ref().map_or_else(Reason::default, |failure| failure.reason.clone());
            conclusion(EndOfRun::Refused, why)
        }
        (Outcome::TimedOut, _) => {
            let limit = build.settings.timeout.unwrap_or(around.config.timeout);
            let reason = reason!("build.timed_out", limit, id);
            conclusion(EndOfRun::TimedOut, reason)
        }
        (Outcome::Stopped, _) => stopped(build, around.now),
        (Outcome::Failed, Some(failure)) => {
            if build.cancel.is_some() && is_machinery(failure, around) {
                // What fails while it is stopped was stopped; a failure of the Dockerfile came first.
                return stopped(build, around.now);
            }
            let (reason, retry) = failed(build, failure, around);
            Conclusion { retry, ..conclusion(EndOfRun::Failed, reason) }
        }
        (Outcome::Failed, None) => conclusion(EndOfRun::Failed, reason!("build.failed", id)),
    }
}

/// The runner was stopped: by a person, or by something else, which is an interruption.
fn stopped(build: &Build, now: DateTime<Utc>) -> Conclusion<EndOfRun> {
    if let Some(cancel) = &build.cancel {
        let state = if cancel.superseded_by.is_some() { EndOfRun::Superseded } else { EndOfRun::Cancelled };
        let (_, reason) = cancel.conclusion(build.id, false);
        return Conclusion { state, reason, failure: None, retry: None };
    }
    let again = build.retry_cause != Some(RetryCause::Interrupted);
    let reason = if again { reason!("build.runner_died") } else { reason!("build.runner_died_again", id = build.id.0) };
    let retry = again.then_some((RetryCause::Interrupted, now));
    Conclusion { state: EndOfRun::Interrupted, reason, failure: None, retry }
}

fn is_machinery(failure: &Failure, around: Circumstances) -> bool {
    failure.kind.is_machinery() || failure.kind == FailureKind::NoCommit && around.lags
}

/// The sentence of a failure, and the retry where one is due.
fn failed(build: &Build, failure: &Failure, around: Circumstances) -> (Reason, Option<(RetryCause, DateTime<Utc>)>) {
    let Circumstances { config, now, .. } = around;
    let id = build.id.0;
    let is_machinery = is_machinery(failure, around);
    let retry = (is_machinery && build.attempt < config.retries).then(|| {
        let first = TimeDelta::from_std(config.retry_delay.0).unwrap_or(LONGEST_WAIT);
        (RetryCause::Machinery, now + Backoff { first, longest: LONGEST_WAIT }.wait(build.attempt))
    });
    let why = match &failure.hint {
        Some(hint) => reason!("build.failure_hinted", kind = failure.kind, reason = failure.reason, hint),
        None => reason!("build.failure", kind = failure.kind, reason = failure.reason),
    };
    let reason = match &retry {
        Some((_, at)) => {
            reason!("build.retried", why, at = *at, retry = build.attempt + 1, retries = config.retries)
        }
        None if is_machinery => reason!("build.given_up", why, attempts = build.attempt + 1, id),
        // No push changes what this machine's operator sets.
        None if matches!(failure.kind, FailureKind::Settings | FailureKind::RegistryRefused) => {
            reason!("build.fix_and_retry", why, id)
        }
        None => reason!("build.fix_and_push", why, id),
    };
    (reason, retry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::sample;
    use crate::domain::requester::Requester;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn around(config: &PoolConfig, lags: bool) -> Circumstances<'_> {
        Circumstances { config, lags, now: now() }
    }

    fn not_started(build: &Build, kind: FailureKind) -> Conclusion<EndBeforeStart> {
        of_launch(build, &Failure::new(kind, "no route to it"), around(&PoolConfig::default(), false))
    }

    #[test]
    fn a_failure_of_the_machinery_is_tried_again_until_the_retries_are_used_up() {
        let mut build = sample();
        let conclusion = not_started(&build, FailureKind::Network);
        assert_eq!(conclusion.state, EndBeforeStart::Failed);
        assert!(matches!(conclusion.retry, Some((RetryCause::Machinery, at)) if at > now()));
        build.attempt = PoolConfig::default().retries;
        assert_eq!(not_started(&build, FailureKind::Network).retry, None);
    }

    #[test]
    fn a_build_that_fails_while_it_is_cancelled_is_cancelled_and_not_tried_again() {
        let cancel = Some(CancelRequest::of(Requester::part("ann"), now()));
        let build = Build { cancel, ..sample() };
        let conclusion = not_started(&build, FailureKind::Daemon);
        assert_eq!((conclusion.state, conclusion.retry), (EndBeforeStart::Cancelled, None));
    }

    #[test]
    fn a_build_whose_runner_died_is_tried_again_once() {
        let (build, config) = (sample(), PoolConfig::default());
        let died = RunnerEnd::Died;
        let conclusion = of_run(&build, &died, around(&config, false));
        assert_eq!(conclusion.state, EndOfRun::Interrupted);
        let again = build.again(crate::domain::build::BuildId(8), conclusion.retry.unwrap().0, now());
        assert_eq!(of_run(&again, &died, around(&config, false)).retry, None);
    }

    #[test]
    fn a_commit_that_is_not_there_yet_is_asked_for_again_and_one_that_is_gone_is_not() {
        let failure = Failure::new(FailureKind::NoCommit, "reference is not a tree");
        let config = PoolConfig::default();
        let retry = |lags| of_launch(&sample(), &failure, around(&config, lags)).retry.is_some();
        assert!(retry(true) && !retry(false));
    }
}
