//! The finished builds that are no longer kept: a pure decision, handed the clock.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::build::BuildId;
use crate::domain::config::RetentionConfig;

/// A finished build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedRecord {
    /// Its number.
    pub id: BuildId,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
}

/// The builds to delete. The newest always stays: its number is what the next one is counted from.
pub(super) fn to_delete(finished: &[FinishedRecord], config: &RetentionConfig, now: DateTime<Utc>) -> Vec<BuildId> {
    let mut newest_first: Vec<&FinishedRecord> = finished.iter().collect();
    newest_first.sort_by_key(|build| std::cmp::Reverse(build.id));
    let oldest_kept = config.age.and_then(|age| TimeDelta::from_std(age.0).ok()).map(|age| now - age);
    let too_many = |index: usize| config.builds.is_some_and(|builds| index >= builds);
    let too_old = |build: &FinishedRecord| oldest_kept.is_some_and(|oldest| build.finished_at < oldest);
    newest_first
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(index, build)| too_many(*index) || too_old(build))
        .map(|(_, build)| build.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::repository::HumanDuration;

    fn finished(ids: std::ops::RangeInclusive<u64>) -> Vec<FinishedRecord> {
        let day = |id: u64| DateTime::UNIX_EPOCH + TimeDelta::days(i64::try_from(id).unwrap());
        ids.map(|id| FinishedRecord { id: BuildId(id), finished_at: day(id) }).collect()
    }

    fn deleted(config: &RetentionConfig) -> Vec<u64> {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(10);
        let mut ids: Vec<u64> = to_delete(&finished(1..=9), config, now).iter().map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_newest_builds_are_kept_by_number_and_by_age() {
        assert_eq!(deleted(&RetentionConfig { builds: Some(6), age: None }), [1, 2, 3]);
        let age = Some(HumanDuration::seconds(5 * 24 * 60 * 60));
        assert_eq!(deleted(&RetentionConfig { builds: None, age }), [1, 2, 3, 4]);
        assert_eq!(deleted(&RetentionConfig::default()), Vec::<u64>::new());
    }

    #[test]
    fn the_newest_build_stays_whatever_is_asked() {
        let all = RetentionConfig { builds: Some(0), age: Some(HumanDuration::seconds(1)) };
        assert_eq!(deleted(&all), [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
