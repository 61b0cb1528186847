//! Ends the pool whose home was removed or moved: it would work on files that nobody sees, beside the pool of the home
//! that is there now.

use std::sync::Arc;
use std::time::Duration;

use super::TaskContext;
use crate::pool::core::Event;
use crate::sys::lock::Held;

/// How often is looked whether the home is still there.
const LOOK: Duration = Duration::from_secs(5);

/// Looks for the file of the pool's lock until it is gone, or the pool ends.
pub(in crate::pool) async fn watch(context: TaskContext, lock: Arc<Held>) {
    let path = context.home.pool_lock();
    while lock.is_at(&path) {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = context.stopped() => return,
        }
    }
    tracing::error!("{} was removed or moved: its pool ends", context.home.state_dir().display());
    context.report(Event::Stop);
}
