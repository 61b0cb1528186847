//! Removes what is no longer kept: finished builds, pushes of the journal, clones and trees of sources.

use chrono::{DateTime, Utc};

use crate::domain::config::ByteSize;
use crate::pool::core::Event;
use crate::pool::tasks::TaskContext;
use crate::services::trees;
use crate::store::builds;
use crate::sys::disk;

/// So many builds or pushes are deleted before the pool is looked at again.
const AT_ONCE: usize = 1_000;

/// Deletes finished builds but the newest `keep` and those that finished since `oldest`, and the pushes that are older
/// than all that are left.
pub(in crate::pool) async fn delete_finished(context: TaskContext, keep: Option<usize>, oldest: Option<DateTime<Utc>>) {
    context.catalog.completed().await;
    let work = move || -> std::io::Result<usize> {
        let mut count = 0;
        while !context.is_stopping() {
            let expired = context.catalog.expired(keep, oldest, AT_ONCE);
            let deleted = if expired.is_empty() { 0 } else { context.catalog.delete(&expired)? };
            count += deleted;
            // Rows that could not be removed before are left for the catalog's repair.
            if deleted == 0 {
                break;
            }
        }
        forget_pushes(&context)?;
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
pub(in crate::pool) fn tidy_sources(context: &TaskContext) {
    let (home, most) = (context.home.clone(), context.settings().config.git.cache_size.0);
    tokio::task::spawn_blocking(move || match trees::tidy(&home, most) {
        Ok(0) => {}
        Ok(count) => tracing::info!("removed clones and trees of sources for git.cache_size: {count}"),
        Err(error) => tracing::warn!("cannot remove clones and trees of sources: {error}"),
    });
}

/// Measures the free disk space, after removing clones and trees that no build uses where bytes are `missing`.
pub(in crate::pool) fn measure_disk(context: &TaskContext, missing: Option<u64>) {
    let context = context.clone();
    tokio::task::spawn_blocking(move || {
        if let Some(bytes) = missing {
            match trees::make_room(&context.home, bytes) {
                Ok(0) => {}
                Ok(count) => tracing::info!("removed {count} clones and trees of sources, for pool.min_free"),
                Err(error) => tracing::warn!("cannot remove clones and trees of sources: {error}"),
            }
        }
        // Of a disk that does not say how much is free, writing says so.
        let free = disk::free(context.home.state_dir()).unwrap_or(u64::MAX);
        context.report(Event::DiskMeasured { free: ByteSize(free), after_freeing: missing.is_some() });
    });
}

/// The journal is kept as long as builds are: pushes from before the oldest build go.
fn forget_pushes(context: &TaskContext) -> std::io::Result<()> {
    let oldest = context.catalog.oldest_build().and_then(|id| builds::load(&context.home, id).ok());
    let Some(since) = oldest.map(|build| build.pushed_at) else { return Ok(()) };
    while !context.is_stopping() {
        let old = context.catalog.pushes_before(since, AT_ONCE);
        if old.is_empty() {
            break;
        }
        for id in old {
            context.catalog.remove_push(id)?;
        }
    }
    Ok(())
}
