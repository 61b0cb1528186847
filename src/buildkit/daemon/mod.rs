//! One managed buildkitd: started in a session of its own, found again by its record, stopped and cleaned up after.
//!
//! The pool calls [`ensure`] (or lets [`supervise`] do it), runners hold [`in_use`], builds that want an empty builder
//! use
//! [`fresh`]. Nothing here knows of builds, queues or the pool's state.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::timeout;

use crate::buildkit::cgroup::{Group, Limits};
use crate::buildkit::config::{Config, Place};
use crate::buildkit::rootless;
use crate::buildkit::sandbox::{self, Sandbox};
use crate::domain::reason::phrase;
use crate::sys::process::ProcessId;

mod error;
pub mod fresh;
pub mod in_use;
mod leftovers;
mod lock;
mod record;
mod ssh;
mod start;
pub mod supervise;

pub use error::DaemonError;
pub use leftovers::Cleared;
pub use record::Record;

use lock::Lock;

/// How long a daemon may take from its start until it answers. It takes 0.25 s on an idle machine; opening the
/// databases of a large cache on a busy disk is what the rest is for.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How long a killed process may take to be gone. It takes milliseconds; more means that the kernel is stuck in I/O.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The programs that make a daemon.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tools {
    /// `buildkitd`.
    pub buildkitd: PathBuf,
    /// The OCI runtime: `runc`, `crun` or `buildkit-runc`.
    pub runtime: PathBuf,
    /// `rootlesskit`: when it is given the daemon runs without root's rights, as the user who starts it.
    pub rootlesskit: Option<PathBuf>,
    /// Whether steps get a network of their own ([`sandbox`]); the programs for it are in `PATH`.
    #[serde(default)]
    pub sandbox: bool,
}

/// The daemon that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Where its record, locks and configuration file are.
    pub dir: PathBuf,
    /// Its state: cache, images, history.
    pub root: PathBuf,
    /// Its sockets: a directory of its own with a short path, since a socket's path holds 107 bytes.
    pub sockets: PathBuf,
    /// What it prints.
    pub log: PathBuf,
    /// The programs.
    pub tools: Tools,
    /// The text of its `buildkitd.toml`.
    pub config: String,
    /// `false`: steps share the daemon's view of processes; see [`Place::process_sandbox`].
    pub process_sandbox: bool,
    /// The network of its steps; absent: the host's.
    pub sandbox: Option<Sandbox>,
    /// What its steps may use, and the control group that sees to it; none where slipway may make no group.
    pub limits: Option<(Group, Limits)>,
}

impl Spec {
    /// The usual arrangement: everything in `dir`, sockets in `sockets`, configuration from `config`.
    pub fn new(dir: &Path, sockets: &Path, tools: Tools, config: &Config) -> Spec {
        let dir = absolute(dir);
        let sockets = absolute(sockets);
        let tools = Tools {
            buildkitd: absolute(&tools.buildkitd),
            runtime: absolute(&tools.runtime),
            rootlesskit: tools.rootlesskit.as_deref().map(absolute),
            sandbox: tools.sandbox,
        };
        let process_sandbox = tools.rootlesskit.is_none() || rootless::proc_can_be_mounted();
        let root = dir.join("root");
        let sandbox = tools.sandbox.then(|| Sandbox::of(&dir));
        let nameservers = sandbox.as_ref().and_then(|_| sandbox::nameservers());
        let group = tools.rootlesskit.is_none().then(|| Group::of(&root)).flatten();
        let mut text = config.render(Place {
            root: &root,
            socket: &socket_in(&sockets),
            trace_socket: &sockets.join("otel.sock"),
            runtime: &tools.runtime,
            process_sandbox,
            cgroup: group.as_ref().map(Group::path),
            sandbox: sandbox.as_ref(),
            nameservers: nameservers.as_deref(),
        });
        if group.is_some() {
            // buildkitd does not read them, but a daemon is restarted where its configuration's text is another.
            text.push_str(&format!("# Limits of the steps' control group: {:?}\n", config.limits));
        }
        let limits = group.map(|group| (group, config.limits));
        let log = dir.join("buildkitd.log");
        Spec { root, log, dir, sockets, tools, config: text, process_sandbox, sandbox, limits }
    }

    /// Where the daemon listens.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.sockets)
    }

    /// The file that its configuration is written to when it starts.
    pub fn config_file(&self) -> PathBuf {
        config_file(&self.dir)
    }

    /// The command line that starts it, first the program.
    pub fn command_line(&self) -> Vec<String> {
        let mut line = match &self.tools.rootlesskit {
            Some(kit) => rootless::command_line(kit, &self.sockets, self.process_sandbox, self.sandbox.is_some()),
            None => Vec::new(),
        };
        line.extend(self.sandbox.iter().flat_map(Sandbox::command_line));
        line.extend(self.buildkitd_line());
        line
    }

    /// The command line that its process has once it runs: the script of the sandbox becomes buildkitd.
    fn process_line(&self) -> Vec<String> {
        if self.tools.rootlesskit.is_some() { self.command_line() } else { self.buildkitd_line().into() }
    }

    fn buildkitd_line(&self) -> [String; 3] {
        let shown = |path: &Path| path.display().to_string();
        [shown(&self.tools.buildkitd), "--config".into(), shown(&self.config_file())]
    }
}

fn config_file(dir: &Path) -> PathBuf {
    dir.join("buildkitd.toml")
}

fn socket_in(sockets: &Path) -> PathBuf {
    sockets.join("buildkitd.sock")
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A daemon that runs, or ran a moment ago.
#[derive(Debug)]
pub struct Daemon {
    dir: PathBuf,
    record: Record,
    /// There when this very process started it: then its exit status can be had, and it must be collected.
    child: Option<Child>,
}

/// The daemon of `spec.dir`, answering: the one that runs already, whatever its configuration ([`Daemon::differs`]
/// tells), else a new one, started after what a killed one left behind was cleared away.
///
/// Two processes that call this at once get the same daemon.
///
/// # Errors
/// When it cannot be started or does not answer within 30 s; the error holds the last lines of its log.
pub async fn ensure(spec: &Spec) -> Result<Daemon, DaemonError> {
    start::prepare(spec)?;
    let _lock = Lock::exclusive(&daemon_lock(&spec.dir)).await?;
    let recorded = Record::load(&spec.dir)?;
    let running = match &recorded {
        Some(record) if record.is_alive() => Some(record.clone()),
        _ => start::find_unrecorded(spec)?,
    };
    if let Some(record) = running {
        let mut daemon = Daemon { dir: spec.dir.clone(), record, child: None };
        if start::wait_until_ready(&mut daemon, READY_LIMIT).await.is_ok() {
            daemon.record.save(&spec.dir)?;
            return Ok(daemon);
        }
        // It is of no use to anyone: alive and silent, or it died just now.
        daemon.end_process(Duration::ZERO).await?;
    }
    // The record first: it knows the runtime that the containers were started with.
    let wanted = Record::of(spec, ProcessId { pid: 0, start: 0 })?;
    let roots = recorded.filter(|record| record.root.exists());
    let elsewhere = roots.as_ref().is_none_or(|record| record.root != wanted.root).then_some(wanted);
    for record in roots.iter().chain(&elsewhere) {
        leftovers::clear(record).await?;
    }
    start::start(spec).await
}

/// The daemon that the record in `dir` names, when it is alive; it is not asked whether it answers.
///
/// # Errors
/// When the record cannot be read.
pub fn find(dir: &Path) -> Result<Option<Daemon>, DaemonError> {
    let record = Record::load(dir)?.filter(|record| record.is_alive());
    Ok(record.map(|record| Daemon { dir: dir.to_owned(), record, child: None }))
}

/// Held while a daemon is looked for, started, stopped or cleaned up after.
fn daemon_lock(dir: &Path) -> PathBuf {
    dir.join("daemon.lock")
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
        start::tail(&self.record.log, 0)
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
        let _lock = Lock::exclusive(&daemon_lock(&self.dir)).await?;
        self.stop_locked(grace).await
    }

    async fn stop_locked(&mut self, grace: Duration) -> Result<Cleared, DaemonError> {
        self.end_process(grace).await?;
        let successor = Record::load(&self.dir)?.filter(|record| record.process != self.record.process);
        if successor.is_some_and(|record| record.is_alive()) {
            // Another process restarted it meanwhile: what runs there is not left over.
            return Ok(Cleared::default());
        }
        leftovers::clear(&self.record).await
    }

    async fn end_process(&mut self, grace: Duration) -> Result<(), DaemonError> {
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
