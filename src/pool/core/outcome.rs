//! What the end of a launch or of a runner means: the build is at its end, or it is attempted again. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::event::RunnerEnd;
use crate::buildctl::job::{Outcome, RunResult};
use crate::domain::backoff::Backoff;
use crate::domain::build::{AttemptOutcome, Build, CancelRequest, EndBeforeStart, EndOfRun, Ending, Retry};
use crate::domain::config::PoolConfig;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::reason::{Reason, joined, reason};

/// No wait before a retry is longer.
const LONGEST_WAIT: TimeDelta = TimeDelta::days(1);

/// What becomes of a build; `End` is the kind of end that its stage allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conclusion<End> {
    /// It is at its end.
    Ends(End, Ending),
    /// It is attempted again.
    Retries(Retry),
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
        return of_cancel(build, cancel);
    }
    failed(build, failure, EndBeforeStart::Failed, around)
}

/// What becomes of a build that was cancelled while it waited.
pub fn of_cancel(build: &Build, cancel: &CancelRequest) -> Conclusion<EndBeforeStart> {
    let state = if cancel.superseded_by.is_some() { EndBeforeStart::Superseded } else { EndBeforeStart::Cancelled };
    Conclusion::Ends(state, Ending { reason: cancel.reason_while_waiting(build), failure: None })
}

/// Decides what becomes of a build whose runner ended.
pub fn of_run(build: &Build, end: &RunnerEnd, around: Circumstances) -> Conclusion<EndOfRun> {
    match end {
        RunnerEnd::Result(result) => of_result(build, result, around),
        RunnerEnd::Died => stopped(build, around),
    }
}

fn of_result(build: &Build, result: &RunResult, around: Circumstances) -> Conclusion<EndOfRun> {
    let ends = |state, reason| Conclusion::Ends(state, Ending { reason, failure: result.failure.clone() });
    let id = build.id.0;
    match (result.outcome, &result.failure) {
        (Outcome::Succeeded, _) => {
            let names: Vec<&str> = result.images.iter().map(|image| image.name.as_str()).collect();
            let reason = reason!("build.published", images = joined(names));
            Conclusion::Ends(EndOfRun::Succeeded, Ending { reason, failure: None })
        }
        (Outcome::Refused, failure) => {
            let why = failure.as_ref().map_or_else(Reason::default, |failure| failure.reason.clone());
            ends(EndOfRun::Refused, why)
        }
        (Outcome::TimedOut, _) => {
            let limit = build.settings.timeout.unwrap_or(around.config.timeout);
            ends(EndOfRun::TimedOut, reason!("build.timed_out", limit, id))
        }
        (Outcome::Stopped, _) => stopped(build, around),
        // What fails while it is stopped was stopped; a failure of the Dockerfile came first.
        (Outcome::Failed, Some(failure)) if build.cancel.is_some() && is_machinery(failure, around) => {
            stopped(build, around)
        }
        (Outcome::Failed, Some(failure)) => failed(build, failure, EndOfRun::Failed, around),
        (Outcome::Failed, None) => ends(EndOfRun::Failed, reason!("build.failed", id)),
    }
}

/// The runner was stopped: by a person, or by something else, which is an interruption.
fn stopped(build: &Build, around: Circumstances) -> Conclusion<EndOfRun> {
    let ends = |state, reason| Conclusion::Ends(state, Ending { reason, failure: None });
    match &build.cancel {
        Some(cancel) if cancel.superseded_by.is_some() => ends(EndOfRun::Superseded, cancel.reason(build)),
        Some(cancel) => ends(EndOfRun::Cancelled, cancel.reason(build)),
        None if ended_as(build, AttemptOutcome::Interrupted) == 0 => Conclusion::Retries(Retry {
            outcome: AttemptOutcome::Interrupted,
            reason: reason!("build.runner_died"),
            failure: None,
            not_before: None,
            most: most_attempts(build, AttemptOutcome::Interrupted, around.config),
        }),
        None => ends(EndOfRun::Interrupted, reason!("build.runner_died_again", id = build.id.0)),
    }
}

fn is_machinery(failure: &Failure, around: Circumstances) -> bool {
    failure.kind.is_machinery() || failure.kind == FailureKind::NoCommit && around.lags
}

/// How many attempts before the present one ended so.
fn ended_as(build: &Build, outcome: AttemptOutcome) -> u32 {
    let attempts = build.past_attempts.iter().filter(|past| past.outcome == outcome).count();
    u32::try_from(attempts).unwrap_or(u32::MAX)
}

/// How many attempts a build gets at most whose present one ended so: an interruption does not use up a retry.
fn most_attempts(build: &Build, outcome: AttemptOutcome, config: &PoolConfig) -> u32 {
    let interrupted = ended_as(build, AttemptOutcome::Interrupted) + u32::from(outcome == AttemptOutcome::Interrupted);
    config.retries.saturating_add(1).saturating_add(interrupted)
}

/// An attempt failed: the build is attempted again, or fails.
fn failed<End>(build: &Build, failure: &Failure, end: End, around: Circumstances) -> Conclusion<End> {
    let Circumstances { config, now, .. } = around;
    let id = build.id.0;
    let is_machinery = is_machinery(failure, around);
    let failures = ended_as(build, AttemptOutcome::Failed);
    let why = match &failure.hint {
        Some(hint) => reason!("build.failure_hinted", kind = failure.kind, reason = failure.reason, hint),
        None => reason!("build.failure", kind = failure.kind, reason = failure.reason),
    };
    if is_machinery && failures < config.retries {
        let first = TimeDelta::from_std(config.retry_delay.0).unwrap_or(LONGEST_WAIT);
        let wait = Backoff { first, longest: LONGEST_WAIT }.wait(failures);
        return Conclusion::Retries(Retry {
            outcome: AttemptOutcome::Failed,
            reason: why,
            failure: Some(failure.clone()),
            not_before: (wait > TimeDelta::zero()).then(|| now + wait),
            most: most_attempts(build, AttemptOutcome::Failed, config),
        });
    }
    let fix_and_retry = || reason!("build.fix_and_retry", why = why.clone(), id);
    let reason = match failure.kind {
        _ if is_machinery && build.present_attempt() > 1 => {
            reason!("build.given_up", why, attempts = build.present_attempt(), id)
        }
        // No push changes what this machine's operator sets.
        FailureKind::Settings | FailureKind::RegistryRefused => fix_and_retry(),
        _ if is_machinery => fix_and_retry(),
        _ => reason!("build.fix_and_push", why, id),
    };
    Conclusion::Ends(end, Ending { reason, failure: Some(failure.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{WaitingBuild, sample};
    use crate::domain::requester::Requester;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn around(config: &PoolConfig, lags: bool) -> Circumstances<'_> {
        Circumstances { config, lags, now: now() }
    }

    fn not_started(build: &Build, kind: FailureKind) -> Conclusion<EndBeforeStart> {
        of_launch(build, &Failure::new(kind, Reason::verbatim("no route to it")), around(&PoolConfig::default(), false))
    }

    fn retry<End: std::fmt::Debug>(conclusion: Conclusion<End>) -> Retry {
        match conclusion {
            Conclusion::Retries(retry) => retry,
            ends @ Conclusion::Ends(..) => panic!("{ends:?}"),
        }
    }

    #[test]
    fn a_failure_of_the_machinery_is_attempted_again_until_the_retries_are_used_up() {
        let mut waiting = WaitingBuild::new(sample());
        let mut waits = Vec::new();
        for _ in 0..PoolConfig::default().retries {
            let next = retry(not_started(waiting.record(), FailureKind::Network));
            assert_eq!((next.outcome, next.most), (AttemptOutcome::Failed, 4));
            waits.push((next.not_before.unwrap() - now()).num_seconds());
            waiting = waiting.retry(Vec::new(), next, now());
        }
        assert_eq!(waits, [5, 10, 20]);
        let last = not_started(waiting.record(), FailureKind::Network);
        assert!(matches!(last, Conclusion::Ends(EndBeforeStart::Failed, _)), "{last:?}");
    }

    #[test]
    fn a_build_that_fails_while_it_is_cancelled_is_cancelled_and_not_tried_again() {
        let cancel = Some(CancelRequest::of(Requester::part("ann"), now()));
        let build = Build { cancel, ..sample() };
        let conclusion = not_started(&build, FailureKind::Daemon);
        assert!(matches!(conclusion, Conclusion::Ends(EndBeforeStart::Cancelled, _)), "{conclusion:?}");
    }

    #[test]
    fn a_build_whose_runner_died_is_attempted_again_once_and_keeps_its_retries() {
        let (running, config) = (WaitingBuild::new(sample()).start(Vec::new(), now()), PoolConfig::default());
        let died = retry(of_run(running.record(), &RunnerEnd::Died, around(&config, false)));
        assert_eq!((died.outcome, died.not_before, died.most), (AttemptOutcome::Interrupted, None, 5));
        let again = running.retry(died, now()).start(Vec::new(), now());
        assert_eq!(retry(not_started(again.record(), FailureKind::Network)).most, 5);
        let died = of_run(again.record(), &RunnerEnd::Died, around(&config, false));
        assert!(matches!(died, Conclusion::Ends(EndOfRun::Interrupted, _)), "{died:?}");
    }

    #[test]
    fn a_commit_that_is_not_there_yet_is_asked_for_again_and_one_that_is_gone_is_not() {
        let failure = Failure::new(FailureKind::NoCommit, Reason::verbatim("reference is not a tree"));
        let config = PoolConfig::default();
        let retries = |lags| matches!(of_launch(&sample(), &failure, around(&config, lags)), Conclusion::Retries(_));
        assert!(retries(true) && !retries(false));
    }
}
