//! Advisory locks (flock) on files of a layout, let go when dropped or when the process dies.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::store::lock;

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Held {
    // Never read: closing it is what lets the lock go. It is close-on-exec, so no child keeps the lock.
    _file: File,
}

/// Waits until nobody has the lock to himself.
pub(super) fn shared(path: &Path) -> io::Result<Held> {
    hold(lock::open(path)?, FlockOperation::LockShared)
}

/// Waits until nobody else has the lock.
pub(super) fn exclusive(path: &Path) -> io::Result<Held> {
    hold(lock::open(path)?, FlockOperation::LockExclusive)
}

/// The lock, or nothing when somebody has it.
pub(super) fn try_exclusive(path: &Path) -> io::Result<Option<Held>> {
    try_hold(lock::open(path)?)
}

/// A directory itself as the lock, or nothing when somebody has it.
pub(super) fn try_directory(path: &Path) -> io::Result<Option<Held>> {
    try_hold(File::open(path)?)
}

fn hold(file: File, operation: FlockOperation) -> io::Result<Held> {
    rustix::io::retry_on_intr(|| flock(&file, operation))?;
    Ok(Held { _file: file })
}

fn try_hold(file: File) -> io::Result<Option<Held>> {
    match hold(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
