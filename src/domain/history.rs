//! What past builds say of the next: how long it will take, and when a waiting one will start. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::build::{BuildId, BuildState};
use super::name::RepositoryPath;

/// So many of a rule's last good builds are looked at: what was long ago says little.
const LAST: usize = 10;
/// What a build of which nothing is known is taken to last.
const UNKNOWN: TimeDelta = TimeDelta::seconds(60);

/// What is known of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its number.
    pub id: BuildId,
    /// Its repository.
    pub path: RepositoryPath,
    /// Its rule.
    pub rule: String,
    /// Where it stands.
    pub state: BuildState,
    /// When its runner started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl Past {
    fn duration(&self) -> Option<TimeDelta> {
        Some(self.finished_at? - self.started_at?)
    }
}

/// How long the next build of a rule will take: the median of its last good ones; none where there are none.
pub fn expected_duration<'a>(newest_first: impl Iterator<Item = &'a Past>) -> Option<TimeDelta> {
    let good = newest_first.filter(|past| past.state == BuildState::Succeeded);
    let mut durations: Vec<TimeDelta> = good.filter_map(Past::duration).take(LAST).collect();
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied()
}

/// When each waiting build will start, in the order that they were asked for, where so many run at once.
pub fn expected_starts(newest_first: &[Past], slots: u32, now: DateTime<Utc>) -> BTreeMap<BuildId, DateTime<Utc>> {
    let duration = |path: &RepositoryPath, rule: &str| {
        let of_rule = newest_first.iter().filter(|past| past.path == *path && past.rule == rule);
        expected_duration(of_rule).unwrap_or(UNKNOWN)
    };
    // When each slot is free; one that should be free by now will be soon.
    let running = newest_first.iter().filter(|past| past.state == BuildState::Running);
    let mut free: Vec<DateTime<Utc>> = running
        .map(|past| {
            (past.started_at.unwrap_or(now) + duration(&past.path, &past.rule)).max(now + TimeDelta::seconds(1))
        })
        .collect();
    free.resize(free.len().max(usize::try_from(slots.max(1)).unwrap_or(usize::MAX)), now);
    let mut starts = BTreeMap::new();
    for waiting in newest_first.iter().rev().filter(|past| past.state == BuildState::Queued) {
        let Some(slot) = free.iter_mut().min() else { break };
        starts.insert(waiting.id, *slot);
        *slot += duration(&waiting.path, &waiting.rule);
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn past(id: u64, rule: &str, state: BuildState, started: i64, lasted: i64) -> Past {
        let ran = !matches!(state, BuildState::Queued);
        Past {
            id: BuildId(id),
            path: "acme/api".parse().unwrap(),
            rule: rule.into(),
            state,
            started_at: ran.then(|| at(started)),
            finished_at: state.is_final().then(|| at(started + lasted)),
        }
    }

    #[test]
    fn the_next_build_takes_as_long_as_the_middle_of_the_last_good_ones() {
        let builds = [
            past(4, "main", BuildState::Succeeded, 0, 30),
            past(3, "main", BuildState::Failed, 0, 1),
            past(2, "main", BuildState::Succeeded, 0, 10),
            past(1, "main", BuildState::Succeeded, 0, 20),
        ];
        assert_eq!(expected_duration(builds.iter()), Some(TimeDelta::seconds(20)));
        assert_eq!(expected_duration([].iter()), None);
    }

    #[test]
    fn waiting_builds_start_in_their_order_as_slots_get_free() {
        let builds = [
            past(6, "slow", BuildState::Queued, 0, 0),
            past(5, "slow", BuildState::Queued, 0, 0),
            past(4, "slow", BuildState::Running, 80, 0),
            past(3, "fast", BuildState::Running, 95, 0),
            past(2, "fast", BuildState::Succeeded, 0, 10),
            past(1, "slow", BuildState::Succeeded, 0, 100),
        ];
        let starts = expected_starts(&builds, 2, at(100));
        assert_eq!(starts[&BuildId(5)], at(105));
        assert_eq!(starts[&BuildId(6)], at(180));
    }

    #[test]
    fn a_build_that_is_late_holds_its_slot_a_moment_longer() {
        let builds = [past(2, "main", BuildState::Queued, 0, 0), past(1, "main", BuildState::Running, 0, 0)];
        assert_eq!(expected_starts(&builds, 1, at(1000))[&BuildId(2)], at(1001));
    }
}
