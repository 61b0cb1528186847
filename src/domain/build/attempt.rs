//! Attempts: a build whose machinery failed, or whose runner died, is attempted again by itself and stays the same build.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Build, BuildState};
use crate::domain::duration::HumanDuration;
use crate::domain::failure::Failure;
use crate::domain::reason::{Reason, reason};

/// How an attempt ended that another one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The machinery failed: daemon, network, registry, disk.
    Failed,
    /// Its runner died without a result.
    Interrupted,
}

impl From<AttemptOutcome> for BuildState {
    fn from(outcome: AttemptOutcome) -> BuildState {
        match outcome {
            AttemptOutcome::Failed => BuildState::Failed,
            AttemptOutcome::Interrupted => BuildState::Interrupted,
        }
    }
}

/// An attempt that another one follows: a `[[past_attempt]]` of a build's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastAttempt {
    /// Its number; the first is 1.
    pub number: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// One sentence: why.
    pub reason: Reason,
    /// The builders that it was started on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builders: Vec<String>,
    /// When its runner started; none: it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// The end of an attempt that another one follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// One sentence: why.
    pub reason: Reason,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The next attempt does not start before this; none: it starts at once.
    pub not_before: Option<DateTime<Utc>>,
    /// How many attempts the build gets at most.
    pub most: u32,
}

/// An attempt as it is shown, the present one included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number; the first is 1.
    pub number: u32,
    /// Where it stands.
    pub state: BuildState,
    /// One sentence: why it stands there.
    pub reason: Reason,
    /// The builders that it was started on.
    pub builders: Vec<String>,
    /// When its runner started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl From<&PastAttempt> for Attempt {
    fn from(past: &PastAttempt) -> Attempt {
        Attempt {
            number: past.number,
            state: past.outcome.into(),
            reason: past.reason.clone(),
            builders: past.builders.clone(),
            started_at: past.started_at,
            finished_at: Some(past.finished_at),
        }
    }
}

impl Attempt {
    /// How long it has run, or ran; none before it started.
    pub fn duration(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        Some(self.finished_at.unwrap_or(now) - self.started_at?)
    }
}

/// How far a build is that is attempted more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptProgress {
    /// The number of the newest attempt.
    pub number: u32,
    /// How many attempts the build gets at most.
    pub most: u32,
    /// When the next one starts, where the build waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<DateTime<Utc>>,
}

impl AttemptProgress {
    /// `attempt 2 of 4`, and while the next one is waited for `attempt 2 of 4, next in 8s`.
    pub fn told(&self, now: DateTime<Utc>) -> Reason {
        let AttemptProgress { number, most, next_at } = *self;
        let left = next_at.map(|at| (at - now).num_milliseconds()).filter(|left| *left > 0);
        match left.and_then(|left| u64::try_from(left).ok()) {
            Some(left) => {
                reason!("build.attempt_next", number, most, wait = HumanDuration::seconds(left.div_ceil(1000)))
            }
            None => reason!("build.attempt_of", number, most),
        }
    }
}

impl Build {
    /// The number of the attempt that runs, or is the next to run.
    pub fn present_attempt(&self) -> u32 {
        self.past_attempts.last().map_or(1, |past| past.number.saturating_add(1))
    }

    /// The number of the newest attempt that there is: while the build waits for another one, that of the last.
    pub fn newest_attempt(&self) -> u32 {
        let present = self.present_attempt();
        if self.is_between_attempts() { present.saturating_sub(1).max(1) } else { present }
    }

    /// Whether the build waits for another attempt, or ended while it did.
    fn is_between_attempts(&self) -> bool {
        let ended_waiting = matches!(self.state, BuildState::Cancelled | BuildState::Superseded);
        self.awaits_attempt() || !self.past_attempts.is_empty() && ended_waiting && self.started_at.is_none()
    }

    /// Whether an attempt failed and the next one has not begun.
    pub fn awaits_attempt(&self) -> bool {
        !self.past_attempts.is_empty() && self.state.is_waiting()
    }

    /// Every attempt, the oldest first.
    pub fn attempts(&self) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> = self.past_attempts.iter().map(Attempt::from).collect();
        if !self.is_between_attempts() {
            attempts.push(Attempt {
                number: self.present_attempt(),
                state: self.state,
                reason: self.reason.clone(),
                builders: self.builders.clone(),
                started_at: self.started_at,
                finished_at: self.finished_at,
            });
        }
        attempts
    }

    /// Why it stands where it stands; while it waits for another attempt, why the last one failed.
    pub fn why(&self) -> &Reason {
        let last = self.past_attempts.last().filter(|_| self.awaits_attempt() && self.not_before.is_some());
        last.map_or(&self.reason, |past| &past.reason)
    }

    /// How far it is; none for a build that was attempted once.
    pub fn attempt_progress(&self) -> Option<AttemptProgress> {
        let most = self.most_attempts?;
        let next_at = self.not_before.filter(|_| self.awaits_attempt());
        (!self.past_attempts.is_empty()).then_some(AttemptProgress { number: self.newest_attempt(), most, next_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{EndBeforeStart, EndOfRun, Ending, WaitingBuild, sample};
    use crate::domain::failure::FailureKind;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    fn retry(second: i64) -> Retry {
        Retry {
            outcome: AttemptOutcome::Failed,
            reason: Reason::verbatim("no route"),
            failure: Some(Failure::new(FailureKind::Network, Reason::verbatim("no route"))),
            not_before: Some(at(second)),
            most: 4,
        }
    }

    #[test]
    fn a_build_that_is_attempted_once_has_one_attempt_and_no_progress() {
        let build = sample();
        assert_eq!((build.newest_attempt(), build.attempts().len(), build.attempt_progress()), (1, 1, None));
    }

    #[test]
    fn a_build_that_waits_for_its_next_attempt_has_those_that_failed() {
        let running = WaitingBuild::new(sample()).start(vec!["b".into()], at(1));
        let waiting = running.retry(retry(18), at(10));
        let record = waiting.record();
        assert_eq!((record.state, record.started_at, &record.failure), (BuildState::Held, None, &None));
        assert_eq!((record.newest_attempt(), record.present_attempt()), (1, 2));
        let progress = AttemptProgress { number: 1, most: 4, next_at: Some(at(18)) };
        assert_eq!(record.attempt_progress(), Some(progress));
        let attempts = record.attempts();
        let first = &attempts[0];
        assert_eq!((attempts.len(), first.number, first.state), (1, 1, BuildState::Failed));
        assert_eq!((&*first.builders, first.duration(at(99))), (&["b".to_owned()][..], Some(TimeDelta::seconds(9))));
        let again = waiting.start(vec!["c".into()], at(18));
        let progress = AttemptProgress { number: 2, most: 4, next_at: None };
        assert_eq!((again.record().attempt_progress(), again.record().attempts().len()), (Some(progress), 2));
        let done = again.end(EndOfRun::Succeeded, Ending::default(), at(20));
        assert_eq!((done.record().newest_attempt(), done.record().not_before), (2, None));
    }

    #[test]
    fn the_wait_for_the_next_attempt_is_told_in_whole_seconds_and_over_when_it_is_due() {
        let progress = AttemptProgress { number: 1, most: 4, next_at: Some(at(8)) };
        assert_eq!(progress.told(at(0)).to_string(), "attempt 1 of 4, next in 8s");
        assert_eq!(progress.told(at(8)).to_string(), "attempt 1 of 4");
        let running = AttemptProgress { next_at: None, ..progress };
        assert_eq!(running.told(at(0)).to_string(), "attempt 1 of 4");
    }

    #[test]
    fn an_attempt_whose_runner_could_not_be_started_is_one() {
        let waiting = WaitingBuild::new(sample()).retry(vec!["b".into()], retry(5), at(1));
        let past = &waiting.record().past_attempts[0];
        assert_eq!((past.number, past.started_at, &*past.builders), (1, None, &["b".to_owned()][..]));
        let failed = waiting.end(EndBeforeStart::Failed, Ending::default(), at(9));
        assert_eq!((failed.record().newest_attempt(), failed.record().attempts().len()), (2, 2));
    }

    #[test]
    fn a_build_that_is_cancelled_while_it_waits_for_an_attempt_has_no_further_one() {
        let waiting = WaitingBuild::new(sample()).start(vec!["b".into()], at(1)).retry(retry(18), at(10));
        let cancelled = waiting.end(EndBeforeStart::Cancelled, Ending::default(), at(12));
        assert_eq!((cancelled.record().newest_attempt(), cancelled.record().attempts().len()), (1, 1));
    }
}
