//! Deletes finished builds and pushes that are no longer kept.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};

use super::state::Pool;
use crate::domain::config::RetentionConfig;
use crate::services::trees;
use crate::store::builds;

/// So many builds or pushes are deleted before the pool is looked at again.
const AT_ONCE: usize = 1_000;

/// Deletes the builds that the configuration does not keep. The newest always stays.
pub(super) async fn apply(pool: &Arc<Pool>) {
    let config = pool.state().settings.config.retention.clone();
    if config == RetentionConfig::default() {
        return;
    }
    pool.catalog.completed().await;
    let worker = pool.clone();
    let work = move || -> std::io::Result<usize> {
        let age = config.age.and_then(|age| TimeDelta::from_std(age.0).ok());
        let oldest = age.and_then(|age| Utc::now().checked_sub_signed(age));
        let mut count = 0;
        while !worker.is_stopping() {
            let expired = worker.catalog.expired(config.builds, oldest, AT_ONCE);
            if expired.is_empty() {
                break;
            }
            let deleted = worker.catalog.delete(&expired)?;
            count += deleted;
            if deleted == 0 {
                // Their rows could not be removed before.
                break;
            }
        }
        forget_pushes(&worker)?;
        Ok(count)
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
fn forget_pushes(pool: &Pool) -> std::io::Result<()> {
    let oldest = pool.catalog.oldest_build().and_then(|id| builds::load(&pool.home, id).ok());
    let Some(since) = oldest.map(|build| build.pushed_at) else { return Ok(()) };
    while !pool.is_stopping() {
        let old = pool.catalog.pushes_before(since, AT_ONCE);
        if old.is_empty() {
            break;
        }
        for id in old {
            pool.catalog.remove_push(id)?;
        }
    }
    Ok(())
}
