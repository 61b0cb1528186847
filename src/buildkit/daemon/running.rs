//! A daemon that runs: its process, its record, and its end.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::timeout;

use super::error::DaemonError;
use super::leftovers::{self, Cleared, KILL_LIMIT};
use super::lock::Lock;
use super::log_tail::tail;
use super::record::{self, Record};
use super::spec::{Spec, config_file, daemon_lock};
use crate::domain::reason::phrase;
use crate::sys::process::ProcessId;

/// A daemon that runs, or ran a moment ago.
#[derive(Debug)]
pub struct Daemon {
    pub(super) dir: PathBuf,
    pub(super) record: Record,
    /// There when this very process started it: then its exit status can be had, and it must be collected.
    pub(super) child: Option<Child>,
}

impl Daemon {
    /// Its address as `buildctl --addr` takes it.
    pub fn addr(&self) -> &str {
        &self.record.address
    }

    /// Its process; for a rootless daemon the `rootlesskit` that it lives and dies with.
    pub fn process(&self) -> ProcessId {
        self.record.process
    }

    /// Where its record is.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// What its record says.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether this process started it, rather than having found it running.
    pub fn started_here(&self) -> bool {
        self.child.is_some()
    }

    /// Whether starting `spec` would give another daemon than this: other configuration, options or binary. Resolvers
    /// that differ do not count: [`Daemon::config`] has them.
    pub fn differs(&self, spec: &Spec) -> bool {
        record::fingerprint(spec) != self.record.fingerprint
    }

    /// The text of the configuration that it was started with; "" where its file is gone.
    pub fn config(&self) -> String {
        std::fs::read_to_string(config_file(&self.dir)).unwrap_or_default()
    }

    /// The last lines that it printed.
    pub fn log_tail(&self) -> String {
        tail(&self.record.log, 0)
    }

    /// Completes when the process has ended, with its status when this process started it. May be dropped and asked
    /// again.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub async fn exited(&mut self) -> Result<Option<ExitStatus>, DaemonError> {
        let process = self.record.process;
        let ended = match &mut self.child {
            Some(child) => child.wait().await.map(Some),
            None => process.exited().await.map(|()| None),
        };
        ended.map_err(|source| DaemonError::Process { doing: phrase!("verb.wait_for"), pid: process.pid, source })
    }

    /// Ends it: SIGTERM, after `grace` SIGKILL, then clears away what it left running or mounted. On SIGTERM buildkitd
    /// lets its builds end first; with no grace it is killed at once.
    ///
    /// # Errors
    /// When it may not be signalled, survives SIGKILL for 10 s, or leaves something that cannot be cleared.
    pub async fn stop(&mut self, grace: Duration) -> Result<Cleared, DaemonError> {
        if !self.dir.exists() {
            // Its home was removed or moved: nobody starts another one here, and what it left cannot be reached.
            self.end_process(grace).await?;
            return Ok(Cleared::default());
        }
        let _lock = Lock::exclusive(&daemon_lock(&self.dir)).await?;
        self.stop_locked(grace).await
    }

    /// As [`Daemon::stop`], by a caller that holds the daemon's lock.
    pub(super) async fn stop_locked(&mut self, grace: Duration) -> Result<Cleared, DaemonError> {
        self.end_process(grace).await?;
        let successor = Record::load(&self.dir)?.filter(|record| record.process != self.record.process);
        if successor.is_some_and(|record| record.is_alive()) {
            // Another process restarted it meanwhile: what runs there is not left over.
            return Ok(Cleared::default());
        }
        leftovers::clear(&self.record).await
    }

    /// Ends the process alone.
    pub(super) async fn end_process(&mut self, grace: Duration) -> Result<(), DaemonError> {
        let pid = self.record.process.pid;
        for (signal, patience) in [(Signal::TERM, grace), (Signal::KILL, KILL_LIMIT)] {
            if patience.is_zero() {
                continue;
            }
            self.record.process.signal(signal).map_err(|source| DaemonError::Process {
                doing: phrase!("verb.end"),
                pid,
                source,
            })?;
            if let Ok(ended) = timeout(patience, self.exited()).await {
                return ended.map(drop);
            }
        }
        Err(DaemonError::Survived { pid, after: KILL_LIMIT })
    }

    /// Deletes its state, after [`Daemon::stop`]: cache, images, everything under its root, and what it had in
    /// `sockets`.
    ///
    /// # Errors
    /// When a daemon still runs on that root, or something can't be unmounted or deleted.
    pub async fn remove_root(&self) -> Result<(), DaemonError> {
        let _lock = Lock::exclusive(&daemon_lock(&self.dir)).await?;
        leftovers::remove_root(&self.record).await
    }
}
