//! The daemon that is wanted: its programs, directories, configuration and command line.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::buildkit::cgroup::{Group, Limits};
use crate::buildkit::config::{Config, Place};
use crate::buildkit::rootless;
use crate::buildkit::sandbox::{self, Sandbox};

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
        let group = if tools.rootlesskit.is_some() { Group::delegated(&root) } else { Group::of(&root) };
        let mut text = config.render(Place {
            root: &root,
            socket: &socket_in(&sockets),
            trace_socket: &sockets.join("otel.sock"),
            runtime: &tools.runtime,
            process_sandbox,
            // A rootless daemon is in its group itself.
            cgroup: group.as_ref().map(Group::path).filter(|_| tools.rootlesskit.is_none()),
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
    pub(super) fn process_line(&self) -> Vec<String> {
        if self.tools.rootlesskit.is_some() { self.command_line() } else { self.buildkitd_line().into() }
    }

    fn buildkitd_line(&self) -> [String; 3] {
        let shown = |path: &Path| path.display().to_string();
        [shown(&self.tools.buildkitd), "--config".into(), shown(&self.config_file())]
    }
}

/// The configuration file of the daemon in `dir`.
pub(super) fn config_file(dir: &Path) -> PathBuf {
    dir.join("buildkitd.toml")
}

fn socket_in(sockets: &Path) -> PathBuf {
    sockets.join("buildkitd.sock")
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Held while a daemon is looked for, started, stopped or cleaned up after.
pub(super) fn daemon_lock(dir: &Path) -> PathBuf {
    dir.join("daemon.lock")
}

/// The runtime keeps its state under `XDG_RUNTIME_DIR`, except for root, where the variable would only confuse: the
/// daemon and the clean-up after it must agree.
pub(super) fn set_runtime_dir(command: &mut Command, rootlesskit: Option<&Path>, sockets: &Path) {
    match rootlesskit {
        Some(_) => command.env("XDG_RUNTIME_DIR", rootless::runtime_dir(sockets)),
        None => command.env_remove("XDG_RUNTIME_DIR"),
    };
}
