//! What can go wrong with a managed daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, output, reason};

/// A managed buildkitd cannot be started, found, stopped or cleaned up after.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named in the messages")]
pub enum DaemonError {
    /// A file or directory of ours refuses.
    File { doing: Phrase, path: PathBuf, source: io::Error },

    /// A file of ours can't be written.
    Write(#[from] crate::sys::atomic::WriteError),

    /// The record is no record.
    Record { path: PathBuf, reason: Reason },

    /// The path of a socket is too long for the kernel.
    LongSocket(PathBuf),

    /// The program cannot be run at all.
    Spawn { program: PathBuf, source: io::Error },

    /// It ended before it answered.
    Died { status: Option<ExitStatus>, log: PathBuf, tail: String },

    /// It runs and does not answer.
    Silent { after: Duration, log: PathBuf, tail: String },

    /// Someone else's daemon works on the same root.
    RootInUse(PathBuf),

    /// A process cannot be waited for or signalled.
    Process { doing: Phrase, pid: i32, source: io::Error },

    /// It is still there after SIGKILL.
    Survived { pid: i32, after: Duration },

    /// The OCI runtime or another helper program failed.
    Helper { command: String, status: Reason, stderr: String },

    /// Something is mounted under a root that is to be deleted.
    Mounted(PathBuf),
}

display_as_reason!(DaemonError);

impl AsReason for DaemonError {
    fn reason(&self) -> Reason {
        match self {
            DaemonError::File { doing, path, source } => reason!("daemon.file", doing, path, source),
            DaemonError::Write(error) => error.reason(),
            DaemonError::Record { path, reason } => reason!("daemon.record", path, reason),
            DaemonError::LongSocket(path) => reason!("daemon.long_socket", path, bytes = path.as_os_str().len()),
            DaemonError::Spawn { program, source } => reason!("daemon.spawn", program, source),
            DaemonError::Died { status: Some(status), log, tail } => {
                reason!("daemon.died", status, log, tail = output(tail))
            }
            DaemonError::Died { status: None, log, tail } => reason!("daemon.ended", log, tail = output(tail)),
            DaemonError::Silent { after, log, tail } => {
                reason!("daemon.silent", after = after.as_secs(), log, tail = output(tail))
            }
            DaemonError::RootInUse(path) => reason!("daemon.root_in_use", path),
            DaemonError::Process { doing, pid, source } => reason!("daemon.process", doing, pid, source),
            DaemonError::Survived { pid, after } => reason!("daemon.survived", pid, after = after.as_secs()),
            DaemonError::Helper { command, status, stderr } => reason!("daemon.helper", command, status, stderr),
            DaemonError::Mounted(path) => reason!("daemon.mounted", path),
        }
    }
}

impl DaemonError {
    /// For `map_err` after file operations.
    pub(super) fn file(doing: Phrase, path: &Path) -> impl FnOnce(io::Error) -> DaemonError {
        let path = path.to_owned();
        move |source| DaemonError::File { doing, path, source }
    }
}
