//! What is built by itself, and why or why not.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `watching`, `unchanged` | sources are asked for their refs, in turn; GitHub first whether anything was pushed |
//! | `webhook_listener` | platforms tell of pushes |
//! | `ref_tracker` | what was seen of the sources, and so what is a push |
//! | `settling`, `facts` | what each rule answers to a push, and what it wants to know of it |
//! | `scheduled`, `base_images` | rules that are built though nothing was pushed |
//! | `past` | what past builds say of the next ones |

mod base_images;
mod facts;
pub(super) mod past;
mod ref_tracker;
mod scheduled;
mod settling;
mod unchanged;
mod watching;
mod webhook_listener;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::state::Pool;
use crate::domain::name::RepositoryPath;
use crate::store::Catalog;

/// So many sources are asked at once what a push changes: a tree may have to be fetched for it.
const LOOKS: usize = 8;

/// What the triggers share.
pub(super) struct Triggers {
    pub past: past::Past,
    looks: Semaphore,
    /// Held while the commits of a repository's source are looked at: they are kept in one place.
    looking: Mutex<BTreeMap<RepositoryPath, Arc<tokio::sync::Mutex<()>>>>,
    /// The platforms' identifiers of sources: the poller learns them, the webhook listener looks them up.
    remote_ids: Mutex<webhook_listener::RemoteIds>,
}

impl Triggers {
    /// Triggers of a pool whose past is in a catalog.
    pub(super) fn new(catalog: Arc<Catalog>) -> Triggers {
        Triggers {
            past: past::Past::new(catalog),
            looks: Semaphore::new(LOOKS),
            looking: Mutex::default(),
            remote_ids: Mutex::default(),
        }
    }

    /// Waits until nobody else looks at the commits of a repository's source.
    async fn alone_with(&self, path: &RepositoryPath) -> OwnedMutexGuard<()> {
        let looking = lock(&self.looking).entry(path.clone()).or_default().clone();
        looking.lock_owned().await
    }

    fn remote_ids(&self) -> webhook_listener::RemoteIds {
        lock(&self.remote_ids).clone()
    }

    fn know_remote_id(&self, path: &RepositoryPath, source: String, id: String) {
        lock(&self.remote_ids).insert(path.clone(), (source, id));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A task that panicked while it held the lock left plain data behind, which is as good as it was.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tasks that watch, listen and wait.
pub(super) struct Tasks {
    watcher: JoinHandle<()>,
    others: [JoinHandle<()>; 3],
}

/// Begins to watch, to listen and to wait.
pub(super) fn begin(pool: &Arc<Pool>) -> Tasks {
    let (tell, told) = mpsc::channel(webhook_listener::WAITING);
    Tasks {
        watcher: tokio::spawn(watching::watch(pool.clone(), told)),
        others: [
            tokio::spawn(webhook_listener::listen(pool.clone(), tell)),
            tokio::spawn(scheduled::follow(pool.clone())),
            tokio::spawn(base_images::follow(pool.clone())),
        ],
    }
}

impl Tasks {
    /// Ends them, once the pool was told to end.
    pub(super) async fn end(self) {
        self.others.iter().for_each(JoinHandle::abort);
        // It keeps what it has seen.
        let _ = self.watcher.await;
    }
}
