//! Which finished builds are no longer kept: a pure decision, handed the clock, and its execution.

use std::fs;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::state::Pool;
use crate::domain::build::BuildId;
use crate::domain::config::RetentionConfig;
use crate::services::trees;
use crate::store::{Home, builds, pushes};

/// A finished build.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finished {
    id: BuildId,
    finished_at: DateTime<Utc>,
}

/// The builds to delete. The newest always stays: its number is what the next one is counted from.
fn to_delete(finished: &[Finished], config: &RetentionConfig, now: DateTime<Utc>) -> Vec<BuildId> {
    let mut newest_first: Vec<&Finished> = finished.iter().collect();
    newest_first.sort_by_key(|build| std::cmp::Reverse(build.id));
    let oldest_kept = config.age.and_then(|age| TimeDelta::from_std(age.0).ok()).map(|age| now - age);
    let too_many = |index: usize| config.builds.is_some_and(|builds| index >= builds);
    let too_old = |build: &Finished| oldest_kept.is_some_and(|oldest| build.finished_at < oldest);
    newest_first
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(index, build)| too_many(*index) || too_old(build))
        .map(|(_, build)| build.id)
        .collect()
}

/// Deletes the builds that the configuration does not keep.
pub(super) async fn apply(pool: &Arc<Pool>) {
    let config = pool.state().settings.config.retention.clone();
    if config == RetentionConfig::default() {
        return;
    }
    let home = pool.home.clone();
    let work = move || -> std::io::Result<usize> {
        let listing = builds::list(&home)?;
        let finished: Vec<Finished> = listing
            .ids
            .difference(&listing.open)
            .filter_map(|id| {
                let finished_at = builds::load(&home, *id).ok()?.finished_at?;
                Some(Finished { id: *id, finished_at })
            })
            .collect();
        let delete = to_delete(&finished, &config, Utc::now());
        for id in &delete {
            fs::remove_dir_all(home.build_dir(id.0))?;
        }
        forget_pushes(&home, listing.ids.iter().find(|id| !delete.contains(id)))?;
        Ok(delete.len())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(0)) => {}
        Ok(Ok(count)) => tracing::info!("deleted {count} builds that are no longer kept"),
        Ok(Err(error)) => tracing::warn!("cannot delete builds that are no longer kept: {error}"),
        Err(error) => tracing::warn!("retention failed: {error}"),
    }
}

/// Keeps the clones and trees of sources within their limit.
pub(super) async fn tidy_sources(pool: &Arc<Pool>) {
    let (home, most) = (pool.home.clone(), pool.state().settings.config.git.cache_size.0);
    match tokio::task::spawn_blocking(move || trees::tidy(&home, most)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(count)) => tracing::info!("removed clones and trees of sources for git.cache_size: {count}"),
        Ok(Err(error)) => tracing::warn!("cannot remove clones and trees of sources: {error}"),
        Err(error) => tracing::warn!("the clones and trees of sources are not kept within their limit: {error}"),
    }
}

/// Removes clones and trees of sources that no build uses, so that builds need not wait for space.
pub(super) async fn free_disk(pool: &Arc<Pool>, bytes: u64) {
    let home = pool.home.clone();
    match tokio::task::spawn_blocking(move || trees::make_room(&home, bytes)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(count)) => tracing::info!("removed {count} clones and trees of sources, for pool.min_free"),
        Ok(Err(error)) => tracing::warn!("cannot remove clones and trees of sources: {error}"),
        Err(error) => tracing::warn!("no clones and trees of sources are removed for pool.min_free: {error}"),
    }
}

/// The journal is kept as long as builds are: pushes from before the oldest build go.
fn forget_pushes(home: &Home, oldest: Option<&BuildId>) -> std::io::Result<()> {
    let Some(since) = oldest.and_then(|id| builds::load(home, *id).ok()).map(|build| build.pushed_at) else {
        return Ok(());
    };
    for id in pushes::ids(home)? {
        match pushes::load(home, id) {
            Ok(push) if push.settled && push.pushed_at < since => pushes::remove(home, id)?,
            Ok(_) => break,
            // What does not parse is kept for whoever mends it.
            Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::repository::HumanDuration;

    fn finished(ids: std::ops::RangeInclusive<u64>) -> Vec<Finished> {
        let day = |id: u64| DateTime::UNIX_EPOCH + TimeDelta::days(i64::try_from(id).unwrap());
        ids.map(|id| Finished { id: BuildId(id), finished_at: day(id) }).collect()
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
