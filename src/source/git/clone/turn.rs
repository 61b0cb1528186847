//! Turns at a clone: one process, and one task of it, fetches at a time.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::OwnedMutexGuard;

use crate::domain::reason::{io_error, reason};
use crate::sys::process::ProcessId;

/// How often a lock that another process holds is tried.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Somebody's turn to write a clone, or another directory that slipway fetches into; the next one's when dropped.
pub struct Turn {
    lock: File,
    /// The process that had it before was ended in the middle of it.
    pub(super) was_interrupted: bool,
    _queue: OwnedMutexGuard<()>,
}

impl Turn {
    /// Waits for the turn.
    ///
    /// # Errors
    /// When others have it for longer than `limit`, or the lock file beside the directory can't be used.
    pub async fn take(clone: &Path, limit: Duration) -> io::Result<Turn> {
        let queue = queue_of(clone).lock_owned().await;
        let lock = open_lock(clone)?;
        let since = Instant::now();
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < limit => {
                    end_orphan(&lock);
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let was_interrupted = lock.metadata()?.len() > 0;
        let turn = Turn { lock, was_interrupted, _queue: queue };
        turn.tell(None);
        Ok(turn)
    }

    /// The turn, where nobody has it: a lock on the clone that marks nothing in it. Blocks.
    pub(super) fn take_free(clone: &Path) -> io::Result<Option<(OwnedMutexGuard<()>, File)>> {
        let Ok(queue) = queue_of(clone).try_lock_owned() else { return Ok(None) };
        let lock = open_lock(clone)?;
        let is_free = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        Ok(is_free.then_some((queue, lock)))
    }

    /// Writes down who fetches, and with which process: a git that outlived its slipway is ended by the next.
    pub fn tell(&self, git: Option<ProcessId>) {
        let word = |process: Option<ProcessId>| {
            process.map_or("- -".into(), |process| format!("{} {}", process.pid, process.start))
        };
        let text = format!("{} {}\n", word(ProcessId::current().ok()), word(git));
        // Without it, an orphan is waited for.
        let _ = self.lock.set_len(0).and_then(|()| self.lock.write_all_at(text.as_bytes(), 0));
    }

    /// The lock, for the standard input of a command: it holds until that, and what it started, has ended.
    ///
    /// # Errors
    /// When this process has too many files open.
    pub fn lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// The clone is whole.
    pub fn finish(self) {
        let _ = self.lock.set_len(0);
    }
}

/// The lock file beside a clone.
fn open_lock(clone: &Path) -> io::Result<File> {
    let (Some(above), Some(name)) = (clone.parent(), clone.file_name()) else {
        return Err(io_error(reason!("clone.at_root")));
    };
    fs::create_dir_all(above)?;
    // No repository's name begins with a dot.
    let path = above.join(format!(".{}.lock", name.to_string_lossy()));
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Ends the git that holds a lock where the slipway that started it is gone.
fn end_orphan(lock: &File) {
    let mut text = [0; 256];
    let Ok(length) = lock.read_at(&mut text, 0) else { return };
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let numbers: Vec<Option<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    let [Some(owner), Some(owner_start), Some(git), Some(git_start)] = numbers[..] else { return };
    let process = |pid: u64, start| Some(ProcessId { pid: i32::try_from(pid).ok()?, start });
    let (Some(owner), Some(git)) = (process(owner, owner_start), process(git, git_start)) else { return };
    if !owner.is_alive()
        && git.is_alive()
        && let Some(group) = Pid::from_raw(git.pid)
    {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Who waits for a clone in this process.
fn queue_of(clone: &Path) -> Arc<tokio::sync::Mutex<()>> {
    type Queues = Mutex<HashMap<PathBuf, Weak<tokio::sync::Mutex<()>>>>;
    static QUEUES: LazyLock<Queues> = LazyLock::new(Mutex::default);
    let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
    queues.retain(|_, queue| queue.strong_count() > 0);
    if let Some(queue) = queues.get(clone).and_then(Weak::upgrade) {
        return queue;
    }
    let queue = Arc::default();
    queues.insert(clone.to_owned(), Arc::downgrade(&queue));
    queue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clone_is_written_by_one_at_a_time_and_an_unfinished_turn_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let clone = directory.path().join("acme/api");
        let first = Turn::take(&clone, Duration::from_secs(60)).await.unwrap();
        assert!(!first.was_interrupted);
        let waiting = tokio::spawn({
            let clone = clone.clone();
            async move { Turn::take(&clone, Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let second = waiting.await.unwrap().unwrap();
        assert!(second.was_interrupted, "the first one was dropped before it was finished");
        second.finish();
        assert!(!Turn::take(&clone, Duration::from_secs(60)).await.unwrap().was_interrupted);
    }
}
