//! The network of RUN steps: a namespace of its own for each step, whose packets reach neither the host, nor other
//! steps, nor metadata services. The same for root and rootless, without a rule or an interface in the host's own
//! network.
//!
//! Three shell scripts do it with `ip` and slirp4netns; `router.sh` says how. They are written beside the daemon's
//! configuration and run as its parent, so an upgrade of slipway never takes them from under a daemon that runs.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::rootless::{self, Problem};
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::sys::atomic::{self, WriteError};
use crate::sys::command::{Limits, RunError, run};
use crate::sys::environment::{ListedEnvironment as _, Receiver, path_with_sbin};

mod dns;

pub use dns::nameservers;

/// The scripts, by the names of their files.
const SCRIPTS: [(&str, &str); 4] = [
    ("start.sh", include_str!("start.sh")),
    ("router.sh", include_str!("router.sh")),
    ("cni/slipway", include_str!("cni.sh")),
    ("cni/loopback", include_str!("cni.sh")),
];

/// What BuildKit reads to find the plugin `slipway`.
const CNI_CONFIG: &str = r#"{"cniVersion":"1.0.0","name":"slipway","plugins":[{"type":"slipway"}]}"#;

/// The forwarder to the host's DNS resolver inside the sandbox.
const DNS_FORWARDER: &str = "198.51.100.3";

/// The programs that the scripts call, and the Debian package of each.
pub const PROGRAMS: [(&str, &str); 5] = [
    ("slirp4netns", "slirp4netns"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
];

/// What slirp4netns makes its interface with.
const TUN: &str = "/dev/net/tun";

/// The files of one daemon's sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    dir: PathBuf,
}

impl Sandbox {
    /// The sandbox of the daemon whose files are in `daemon_dir`.
    pub fn of(daemon_dir: &Path) -> Sandbox {
        Sandbox { dir: daemon_dir.join("network") }
    }

    /// The CNI configuration, for `cniConfigPath` of buildkitd.toml.
    pub fn cni_config(&self) -> PathBuf {
        self.dir.join("slipway.conflist")
    }

    /// The directory of the CNI plugins, for `cniBinaryPath`.
    pub fn cni_plugins(&self) -> PathBuf {
        self.dir.join("cni")
    }

    /// What goes before the command line of buildkitd.
    pub fn command_line(&self) -> Vec<String> {
        let script = self.dir.join("start.sh");
        ["sh".to_owned(), script.display().to_string(), self.dir.display().to_string()].into()
    }

    /// Writes the scripts and the configuration.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self) -> Result<(), WriteError> {
        atomic::create_dir_all(&self.cni_plugins())?;
        for (name, text) in SCRIPTS {
            atomic::write(&self.dir.join(name), text.as_bytes(), PROGRAM)?;
        }
        atomic::write(&self.cni_config(), CNI_CONFIG.as_bytes(), atomic::PRIVATE)
    }

    /// The content of all scripts: a daemon that runs with others differs.
    pub(super) fn scripts() -> impl Iterator<Item = &'static str> {
        SCRIPTS.into_iter().map(|(_, text)| text)
    }
}

/// Why the RUN steps of a daemon are in the host's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostNetwork {
    /// `network = "host"` in the settings.
    Configured,
    /// This machine cannot have the sandbox: what it lacks, one sentence each.
    Unavailable(Vec<Reason>),
}

display_as_reason!(HostNetwork);

impl AsReason for HostNetwork {
    fn reason(&self) -> Reason {
        match self {
            HostNetwork::Configured => reason!("host_network.configured"),
            HostNetwork::Unavailable(lacking) => reason!("host_network.unavailable", lacking),
        }
    }
}

/// Setting it up takes 0.1 s.
const TRIAL_LIMITS: Limits = Limits { time: Duration::from_secs(10), output: 64 * 1024 };

/// The mode of a program that only its owner runs.
const PROGRAM: u32 = 0o700;

/// What this machine lacks for the sandbox, each with the command that fixes it; empty when it has everything that can
/// be looked up without starting anything.
pub fn problems(which: impl Fn(&str) -> Option<PathBuf>) -> Vec<Problem> {
    let tun = OpenOptions::new().read(true).write(true).open(TUN);
    judge(|program| which(program).is_some(), tun)
}

/// Whether this machine reaches others by IPv6 alone. Steps have IPv4 only, so theirs reach nothing there.
pub fn is_ipv6_only() -> bool {
    let table = |name: &str| fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default();
    !has_default_route(&table("route"), 1, 7) && has_default_route(&table("ipv6_route"), 0, 1)
}

/// Whether a table of /proc/net has a route by some interface to everywhere: destination and mask or prefix, in these
/// columns, are zero. `lo` has the one that refuses.
fn has_default_route(table: &str, destination: usize, mask: usize) -> bool {
    let is_zero = |word: Option<&&str>| word.is_some_and(|word| word.bytes().all(|byte| byte == b'0'));
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        is_zero(words.get(destination)) && is_zero(words.get(mask)) && !words.contains(&"lo")
    })
}

/// Sets a sandbox network up and takes it down again: what cannot be looked up (AppArmor, seccomp, a kernel without
/// policy routing) shows here.
///
/// # Errors
/// What kept it from working.
pub async fn attempt(rootlesskit: Option<&Path>) -> Result<(), Problem> {
    let cannot = |why: Reason| Problem {
        what: reason!("sandbox.cannot_be_set_up", why),
        fix: reason!("sandbox.use_host_network"),
    };
    let dir = tempfile::tempdir().map_err(|error| cannot(reason!("trial.no_temporary_directory", error)))?;
    let sandbox = Sandbox::of(dir.path());
    sandbox.write().map_err(|error| cannot(error.reason()))?;
    let sockets = dir.path().join("s");
    let own_processes = rootless::proc_can_be_mounted();
    let kit = rootlesskit.map(|kit| rootless::command_line(kit, &sockets, own_processes, true));
    let line: Vec<String> = kit.into_iter().flatten().chain(sandbox.command_line()).chain(["true".into()]).collect();
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).listed_environment(Receiver::Buildkitd).env("XDG_RUNTIME_DIR", &sockets);
    command.env("PATH", path_with_sbin(std::env::var("PATH").ok().as_deref()));
    match run(command, b"", TRIAL_LIMITS).await {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => Err(cannot(Reason::verbatim(ended.stderr.trim_end()))),
        Err(RunError::Io { cause: error, .. }) => {
            Err(cannot(reason!("trial.does_not_start", program = line[0], error)))
        }
        Err(RunError::TimedOut { after, .. }) => {
            Err(cannot(reason!("sandbox.takes_too_long", seconds = after.as_secs())))
        }
        Err(error @ RunError::TooMuch { .. }) => Err(cannot(error.reason())),
    }
}

fn judge(has: impl Fn(&str) -> bool, tun: io::Result<impl Sized>) -> Vec<Problem> {
    let missing = PROGRAMS.into_iter().filter(|(program, _)| !has(program));
    let mut problems: Vec<Problem> = missing
        .map(|(program, package)| Problem {
            what: reason!("sandbox.program_missing", program, package),
            fix: Reason::verbatim(format!("sudo apt-get install -y {package} || sudo dnf install -y {package}")),
        })
        .collect();
    if let Err(error) = tun {
        let fix = match error.kind() {
            io::ErrorKind::PermissionDenied => Reason::verbatim(format!("sudo chmod 0666 {TUN}")),
            _ => reason!("sandbox.load_tun", device = TUN),
        };
        problems.push(Problem { what: reason!("sandbox.tun_closed", device = TUN, error), fix });
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_seen_in_the_tables_of_either_protocol() {
        let four = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        let subnet = "eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        let default = "eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0\n";
        assert!(!has_default_route(&format!("{four}{subnet}"), 1, 7));
        assert!(has_default_route(&format!("{four}{subnet}{default}"), 1, 7));
        let (zero, gateway) = ("0".repeat(32), format!("fe80{:028}", 1));
        let six = |interface: &str| format!("{zero} 00 {zero} 00 {gateway} 00000400 1 0 00000003 {interface}\n");
        assert!(has_default_route(&six("eth0"), 0, 1) && !has_default_route(&six("lo"), 0, 1));
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        assert_eq!(judge(|_| true, Ok(())), []);
        let problems = judge(|program| program == "ip", Err::<(), _>(io::ErrorKind::NotFound.into()));
        let all = format!("{problems:?}");
        assert_eq!(problems.len(), 5, "{all}");
        for word in ["slirp4netns", "nsenter", "unshare", "setpriv", "util-linux", "/dev/net/tun", "modprobe tun"] {
            assert!(all.contains(word), "{word} in {all}");
        }
        assert!(!all.contains("iproute2"), "{all}");
        let closed = judge(|_| true, Err::<(), _>(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(closed[0].fix.to_string(), "sudo chmod 0666 /dev/net/tun");
    }
}
