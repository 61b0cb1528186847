//! Who needs the daemon: every runner holds `in-use` shared while it builds, so the last one to let go can end a daemon
//! whose pool was stopped meanwhile. Locks vanish with their holders; the wish to stop is a file, `stop-when-idle`.
//!
//! While a pool runs, nobody stops its daemon. One that ends waits until the runners that it has just started hold theirs.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::DaemonError;
use super::find;
use super::lock::Lock;
use super::spec::daemon_lock;
use crate::domain::reason::phrase;

/// An idle daemon ends at once; a client that is just leaving may hold it up for a moment.
const GRACE: Duration = Duration::from_secs(5);

/// The daemon in this directory is not stopped while this is held.
#[derive(Debug)]
pub struct InUse {
    _lock: Lock,
}

/// Holds the daemon of `dir` for a build; waits while it is just being stopped (then it must be had from
/// [`super::ensure`] again).
///
/// # Errors
/// When the lock's file cannot be made.
pub async fn use_daemon(dir: &Path) -> Result<InUse, DaemonError> {
    Ok(InUse { _lock: Lock::shared(&users_lock(dir)).await? })
}

/// Asks that the last user stop the daemon of `dir`.
///
/// # Errors
/// When the request cannot be written.
pub fn ask_to_stop_when_idle(dir: &Path) -> Result<(), DaemonError> {
    let path = request(dir);
    File::create(&path).and_then(|file| file.sync_all()).map_err(DaemonError::file(phrase!("verb.write"), &path))
}

/// Takes the request back: what a pool does when it starts.
///
/// # Errors
/// When the request cannot be deleted.
pub fn withdraw_stop_request(dir: &Path) -> Result<(), DaemonError> {
    let path = request(dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DaemonError::file(phrase!("verb.delete"), &path)(error))
        }
        _ => Ok(()),
    }
}

/// Stops the daemon of `dir` if that was asked for, nobody uses it, and no pool holds `pool_lock`; says whether it did.
/// A runner calls this after it dropped its own guard, a pool after it let go of its lock.
///
/// # Errors
/// When the daemon cannot be stopped or cleaned up after.
pub async fn stop_if_idle(dir: &Path, pool_lock: &Path) -> Result<bool, DaemonError> {
    if !request(dir).exists() {
        return Ok(false);
    }
    // Before all else: a pool that starts now waits here in `ensure` until the old daemon is gone.
    let _daemon = Lock::exclusive(&daemon_lock(dir)).await?;
    let Some(_users) = Lock::try_exclusive(&users_lock(dir))? else { return Ok(false) };
    // Let go of at once: a pool that starts finds its lock free.
    let a_pool_runs = Lock::try_shared(pool_lock)?.is_none();
    if a_pool_runs || !request(dir).exists() {
        return Ok(false);
    }
    if let Some(mut daemon) = find(dir)? {
        daemon.stop_locked(GRACE).await?;
    }
    withdraw_stop_request(dir)?;
    Ok(true)
}

fn users_lock(dir: &Path) -> PathBuf {
    dir.join("in-use")
}

fn request(dir: &Path) -> PathBuf {
    dir.join("stop-when-idle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_user_carries_out_the_request_unless_a_pool_runs_or_it_was_withdrawn() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, pool) = (dir.path(), &dir.path().join("pool.lock"));
        assert!(!stop_if_idle(dir, pool).await.unwrap(), "nobody asked");

        ask_to_stop_when_idle(dir).unwrap();
        let (first, second) = (use_daemon(dir).await.unwrap(), use_daemon(dir).await.unwrap());
        drop(first);
        assert!(!stop_if_idle(dir, pool).await.unwrap(), "one still builds");
        drop(second);

        let running = Lock::exclusive(pool).await.unwrap();
        assert!(!stop_if_idle(dir, pool).await.unwrap(), "a pool runs");
        drop(running);

        assert!(stop_if_idle(dir, pool).await.unwrap());
        assert!(!stop_if_idle(dir, pool).await.unwrap(), "the request is gone");
        ask_to_stop_when_idle(dir).unwrap();
        withdraw_stop_request(dir).unwrap();
        withdraw_stop_request(dir).unwrap();
        assert!(!stop_if_idle(dir, pool).await.unwrap());
    }
}
