//! Removes what is no longer kept: finished builds, pushes of the journal, clones and trees of sources.

use std::fs;

use crate::domain::build::BuildId;
use crate::domain::config::ByteSize;
use crate::pool::core::Event;
use crate::pool::core::retention::FinishedRecord;
use crate::pool::tasks::TaskContext;
use crate::services::trees;
use crate::store::{Home, builds, pushes};

/// Lists the finished builds.
pub(in crate::pool) fn list_finished(context: &TaskContext) {
    let context = context.clone();
    tokio::task::spawn_blocking(move || {
        let listing = match builds::list(&context.home) {
            Ok(listing) => listing,
            Err(error) => return tracing::warn!("cannot list the finished builds: {error}"),
        };
        let finished = listing.ids.difference(&listing.open).filter_map(|id| {
            let finished_at = builds::load(&context.home, *id).ok()?.finished_at?;
            Some(FinishedRecord { id: *id, finished_at })
        });
        context.report(Event::FinishedListed(finished.collect()));
    });
}

/// Deletes finished builds, and the pushes that are older than all that are left.
pub(in crate::pool) fn delete(context: &TaskContext, ids: Vec<BuildId>) {
    let home = context.home.clone();
    tokio::task::spawn_blocking(move || {
        let work = || -> std::io::Result<usize> {
            for id in &ids {
                fs::remove_dir_all(home.build_dir(id.0))?;
            }
            let oldest = builds::ids(&home)?.into_iter().min();
            forget_pushes(&home, oldest.as_ref())?;
            Ok(ids.len())
        };
        match work() {
            Ok(0) => {}
            Ok(count) => tracing::info!("deleted {count} builds that are no longer kept"),
            Err(error) => tracing::warn!("cannot delete builds that are no longer kept: {error}"),
        }
    });
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
        let free = rustix::fs::statvfs(context.home.state_dir())
            .map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        context.report(Event::DiskMeasured { free: ByteSize(free), after_freeing: missing.is_some() });
    });
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
