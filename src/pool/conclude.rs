//! What a build's end means: its state, its sentence, and whether it is tried again by itself. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::buildctl::job::{Outcome, RunResult};
use crate::domain::build::{Build, BuildState, RetryCause};
use crate::domain::config::PoolConfig;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::reason::{Reason, joined, reason};

/// How a runner ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It left a result.
    Result(RunResult),
    /// It died without one.
    Died,
    /// It could not even be started.
    NotStarted(Failure),
}

/// What becomes of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// Its final state.
    pub state: BuildState,
    /// One sentence: why, and what can be done.
    pub reason: Reason,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// It is tried again, not before this.
    pub retry: Option<(RetryCause, DateTime<Utc>)>,
}

/// Decides what becomes of a build whose runner ended. Where the source's server `lags` behind the webhook of the push,
/// a commit that is not there yet is the machinery's failure.
pub fn conclude(build: &Build, ended: &Ended, config: &PoolConfig, lags: bool, now: DateTime<Utc>) -> Conclusion {
    let conclusion = |state, reason: Reason| Conclusion { state, reason, failure: None, retry: None };
    let id = build.id.0;
    match ended {
        Ended::Result(result) => match result.outcome {
            Outcome::Succeeded => {
                let names: Vec<&str> = result.images.iter().map(|image| image.name.as_str()).collect();
                conclusion(BuildState::Succeeded, reason!("build.published", images = joined(names)))
            }
            Outcome::Refused => {
                let why = result.failure.as_ref().map_or_else(Reason::default, |failure| failure.reason.clone());
                Conclusion { failure: result.failure.clone(), ..conclusion(BuildState::Refused, why) }
            }
            Outcome::TimedOut => {
                let limit = build.settings.timeout.unwrap_or(config.timeout);
                let reason = reason!("build.timed_out", limit, id);
                Conclusion { failure: result.failure.clone(), ..conclusion(BuildState::TimedOut, reason) }
            }
            Outcome::Stopped => stopped(build, now),
            Outcome::Failed => match &result.failure {
                Some(failure) => failed(build, failure, config, lags, now),
                None => conclusion(BuildState::Failed, reason!("build.failed", id)),
            },
        },
        Ended::Died => stopped(build, now),
        Ended::NotStarted(failure) => failed(build, failure, config, lags, now),
    }
}

/// The runner was stopped: by a person, or by something else, which is an interruption.
fn stopped(build: &Build, now: DateTime<Utc>) -> Conclusion {
    if let Some(cancel) = &build.cancel {
        let (state, reason) = cancel.conclusion(build.id, false);
        return Conclusion { state, reason, failure: None, retry: None };
    }
    let again = build.retry_cause != Some(RetryCause::Interrupted);
    let reason = if again { reason!("build.runner_died") } else { reason!("build.runner_died_again", id = build.id.0) };
    let retry = again.then_some((RetryCause::Interrupted, now));
    Conclusion { state: BuildState::Interrupted, reason, failure: None, retry }
}

fn failed(build: &Build, failure: &Failure, config: &PoolConfig, lags: bool, now: DateTime<Utc>) -> Conclusion {
    let id = build.id.0;
    let is_machinery = failure.kind.is_machinery() || failure.kind == FailureKind::NoCommit && lags;
    if build.cancel.is_some() && is_machinery {
        // What fails while it is stopped was stopped; a failure of the Dockerfile came first.
        return stopped(build, now);
    }
    let retry = (is_machinery && build.attempt < config.retries).then(|| {
        // Doubling from the first wait; sixteen doublings are more than a day of any useful wait.
        let factor = 1i32 << build.attempt.min(16);
        let wait = TimeDelta::from_std(config.retry_delay.0).unwrap_or(TimeDelta::MAX).checked_mul(factor);
        (RetryCause::Machinery, now + wait.unwrap_or(TimeDelta::days(1)).min(TimeDelta::days(1)))
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
    Conclusion { state: BuildState::Failed, reason, failure: Some(failure.clone()), retry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{CancelRequest, sample};
    use crate::domain::failure::FailureKind;
    use crate::domain::requester::Requester;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn not_started(build: &Build, kind: FailureKind) -> Conclusion {
        let ended = Ended::NotStarted(Failure::new(kind, "no route to it"));
        conclude(build, &ended, &PoolConfig::default(), false, now())
    }

    #[test]
    fn a_failure_of_the_machinery_is_tried_again_until_the_retries_are_used_up() {
        let mut build = sample();
        let conclusion = not_started(&build, FailureKind::Network);
        assert_eq!(conclusion.state, BuildState::Failed);
        assert!(matches!(conclusion.retry, Some((RetryCause::Machinery, at)) if at > now()));
        build.attempt = PoolConfig::default().retries;
        assert_eq!(not_started(&build, FailureKind::Network).retry, None);
    }

    #[test]
    fn a_build_that_fails_while_it_is_cancelled_is_cancelled_and_not_tried_again() {
        let cancel = Some(CancelRequest::of(Requester::part("ann"), now()));
        let build = Build { cancel, ..sample() };
        let conclusion = not_started(&build, FailureKind::Daemon);
        assert_eq!((conclusion.state, conclusion.retry), (BuildState::Cancelled, None));
    }

    #[test]
    fn a_build_whose_runner_died_is_tried_again_once() {
        let build = sample();
        let conclusion = conclude(&build, &Ended::Died, &PoolConfig::default(), false, now());
        assert_eq!(conclusion.state, BuildState::Interrupted);
        let again = build.again(crate::domain::build::BuildId(8), conclusion.retry.unwrap().0, now());
        assert_eq!(conclude(&again, &Ended::Died, &PoolConfig::default(), false, now()).retry, None);
    }

    #[test]
    fn a_commit_that_is_not_there_yet_is_asked_for_again_and_one_that_is_gone_is_not() {
        let failure = Failure::new(FailureKind::NoCommit, "reference is not a tree");
        let retry = |lags| {
            let ended = Ended::NotStarted(failure.clone());
            conclude(&sample(), &ended, &PoolConfig::default(), lags, now()).retry.is_some()
        };
        assert!(retry(true) && !retry(false));
    }
}
