//! Waiting for locks between processes ([`crate::sys::lock`]) without a thread.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::error::DaemonError;
use crate::domain::reason::phrase;
use crate::sys::lock::{self, Held};

/// How often a lock that is held is tried. The shortest wait worth anything is for a daemon to start, 0.2 s.
const ASK_AGAIN: Duration = Duration::from_millis(10);

type Attempt = fn(&Path) -> io::Result<Option<Held>>;

/// A held lock; released when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _held: Held,
}

impl Lock {
    /// Alone; waits until its holder lets go.
    pub(super) async fn exclusive(path: &Path) -> Result<Lock, DaemonError> {
        Lock::wait(path, lock::try_exclusive).await
    }

    /// Together with others; waits until an exclusive holder lets go.
    pub(super) async fn shared(path: &Path) -> Result<Lock, DaemonError> {
        Lock::wait(path, lock::try_shared).await
    }

    /// Alone, or `None` when anyone holds it.
    pub(super) fn try_exclusive(path: &Path) -> Result<Option<Lock>, DaemonError> {
        Lock::attempt(path, lock::try_exclusive)
    }

    /// Together with others, or `None` when someone holds it exclusively.
    pub(super) fn try_shared(path: &Path) -> Result<Option<Lock>, DaemonError> {
        Lock::attempt(path, lock::try_shared)
    }

    /// By asking again, not by a thread in flock(2): a future that is dropped leaves nothing that waits.
    async fn wait(path: &Path, how: Attempt) -> Result<Lock, DaemonError> {
        loop {
            match Lock::attempt(path, how)? {
                Some(lock) => return Ok(lock),
                None => sleep(ASK_AGAIN).await,
            }
        }
    }

    fn attempt(path: &Path, how: Attempt) -> Result<Option<Lock>, DaemonError> {
        let held = how(path).map_err(DaemonError::file(phrase!("verb.lock"), path))?;
        Ok(held.map(|held| Lock { _held: held }))
    }
}
