//! What can go wrong with a managed daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A managed buildkitd cannot be started, found, stopped or cleaned up after.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named in the messages")]
pub enum DaemonError {
    /// A file or directory of ours refuses.
    #[error("cannot {doing} {}: {source}", .path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },

    /// A file of ours can't be written.
    #[error(transparent)]
    Write(#[from] crate::sys::atomic::WriteError),

    /// The record is no record.
    #[error("cannot read the record of the running daemon, {}: {reason}; delete the file, and slipway finds the daemon again by its command line", .path.display())]
    Record { path: PathBuf, reason: String },

    /// The path of a socket is too long for the kernel.
    #[error("the socket {} has a path of {} bytes, and the kernel takes 107 at most; choose a shorter SLIPWAY_HOME", .0.display(), .0.as_os_str().len())]
    LongSocket(PathBuf),

    /// The program cannot be run at all.
    #[error("cannot start {}: {source}; `slipway setup` finds or installs what is missing", .program.display())]
    Spawn { program: PathBuf, source: io::Error },

    /// It ended before it answered.
    #[error("buildkitd ended before it was ready ({status}); the end of its log {} says:\n{tail}", .log.display())]
    Died { status: String, log: PathBuf, tail: String },

    /// It runs and does not answer.
    #[error("buildkitd did not answer on its socket within {} s; the end of its log {} says:\n{tail}", .after.as_secs(), .log.display())]
    Silent { after: Duration, log: PathBuf, tail: String },

    /// Someone else's daemon works on the same root.
    #[error("another buildkitd holds {}; stop it, or give this one another directory", .0.display())]
    RootInUse(PathBuf),

    /// A process cannot be waited for or signalled.
    #[error("cannot {doing} process {pid}: {source}")]
    Process { doing: &'static str, pid: i32, source: io::Error },

    /// It is still there after SIGKILL.
    #[error("process {pid} is still there {} s after SIGKILL; it is stuck in the kernel, most often on a disk or a network file system", .after.as_secs())]
    Survived { pid: i32, after: Duration },

    /// The OCI runtime or another helper program failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Helper { command: String, status: String, stderr: String },

    /// Something is mounted under a root that is to be deleted.
    #[error("{} is still mounted, so its directory is not deleted; unmount it with `umount {}`", .0.display(), .0.display())]
    Mounted(PathBuf),
}

impl DaemonError {
    /// For `map_err` after file operations.
    pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DaemonError {
        let path = path.to_owned();
        move |source| DaemonError::File { doing, path, source }
    }
}
