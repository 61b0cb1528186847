//! Locks between processes: flock(2) on a file that is only there to be locked. A lock ends with its holder, however that ends.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::sleep;

use super::DaemonError;
use crate::store::lock;

/// How often a lock that is held is tried. The shortest wait worth anything is for a daemon to start, 0.2 s.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// A held lock; released when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Alone; waits until whoever holds it lets go.
    pub(super) async fn exclusive(path: &Path) -> Result<Lock, DaemonError> {
        Lock::wait(path, FlockOperation::NonBlockingLockExclusive).await
    }

    /// Together with others; waits until an exclusive holder lets go.
    pub(super) async fn shared(path: &Path) -> Result<Lock, DaemonError> {
        Lock::wait(path, FlockOperation::NonBlockingLockShared).await
    }

    /// Alone, or `None` when anyone holds it.
    pub(super) fn try_exclusive(path: &Path) -> Result<Option<Lock>, DaemonError> {
        Lock::attempt(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Together with others, or `None` when someone holds it exclusively.
    pub(super) fn try_shared(path: &Path) -> Result<Option<Lock>, DaemonError> {
        Lock::attempt(path, FlockOperation::NonBlockingLockShared)
    }

    /// By asking again, not by a thread in flock(2): a future that is dropped leaves nothing that waits.
    async fn wait(path: &Path, how: FlockOperation) -> Result<Lock, DaemonError> {
        loop {
            match Lock::attempt(path, how)? {
                Some(lock) => return Ok(lock),
                None => sleep(ASK_AGAIN).await,
            }
        }
    }

    fn attempt(path: &Path, how: FlockOperation) -> Result<Option<Lock>, DaemonError> {
        let file = lock::open(path).map_err(DaemonError::file("open", path))?;
        match rustix::io::retry_on_intr(|| flock(&file, how)) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(DaemonError::file("lock", path)(error.into())),
        }
    }
}
