//! The environment of every process that slipway starts: a list of names, not what happened to be set in the shell that
//! ran the first command.
//!
//! The pool outlives that shell, and what it starts (git, buildctl, buildkitd, commands of the operator) must not see
//! its cloud keys or its agent. Each [`Receiver`] has its list; `[pool] environment = ["AWS_*"]` of `config.toml` adds
//! to those of git, of buildctl and of the operator's commands.

use std::ffi::{OsStr, OsString};
use std::sync::RwLock;

/// Carries the operator's names ([`pass_on`]) from one slipway process to the next, separated by commas.
const PASSED_ON_VARIABLE: &str = "SLIPWAY_ENVIRONMENT";

/// What every process gets: where programs and files are, the language, the way out to the network.
const COMMON: [&str; 25] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "XDG_*",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    // Not a secret, and the one mark by which an administrator finds the processes of a home.
    "SLIPWAY_HOME",
    // A locale and its data where they are not in their usual place (Nix, Guix).
    "LOCALE_ARCHIVE",
    "LOCPATH",
    // The certificates of the system where they are not in their usual place (Nix).
    "NIX_SSL_CERT_FILE",
];

/// What git and its ssh are told by, beyond [`COMMON`].
const GIT: [&str; 13] = [
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_PROXY_COMMAND",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    // Tickets of Kerberos, by which curl and ssh log in.
    "KRB5CCNAME",
    "KRB5_CONFIG",
    // The user behind sudo, whose repositories git lets root read.
    "SUDO_UID",
];

/// The engine or cluster that docker, podman and kubectl talk to: buildctl reaches builders through them, and the
/// operator's commands make builders with them.
const ENGINES: [&str; 11] = [
    "KUBECONFIG",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "DOCKER_API_VERSION",
    "CONTAINER_HOST",
    "CONTAINER_CONNECTION",
    "CONTAINER_SSHKEY",
    // The cluster that slipway itself runs in.
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
];

/// What password managers and key rings are found by.
const KEY_RINGS: [&str; 4] = ["GNUPGHOME", "PASSWORD_STORE_DIR", "DBUS_SESSION_BUS_ADDRESS", "VAULT_ADDR"];

/// What Go downloads and compiles by; nothing that switches its checksums off.
const GO: [&str; 8] = ["GOPROXY", "GONOPROXY", "GOAUTH", "GOROOT", "GOPATH", "GOMODCACHE", "GOCACHE", "GOTMPDIR"];

/// What slipway itself reads, beyond all of the above.
const SLIPWAY: [&str; 6] =
    [PASSED_ON_VARIABLE, "SLIPWAY_LOG", "SLIPWAY_RELEASES_URL", "BUILDKIT_HOST", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"];

/// Who a process is, and so what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// slipway itself, as pool or as runner: everything that one of the others may get.
    Slipway,
    /// A command that the operator wrote: for a secret, a notification, a builder's `up` and `down`. An ssh agent only
    /// where `[pool] environment` names it.
    Command,
    /// git, and what it starts: ssh, and the user's own credential helpers.
    Git,
    /// git that transports nothing: what it reads and writes is the same on every host.
    LocalGit,
    /// buildctl, which reaches builders through ssh, docker, podman and kubectl.
    Buildctl,
    /// buildkitd with rootlesskit and the container runtime; nothing that the operator passes on to others.
    Buildkitd,
    /// A package manager or a compiler, run by `slipway setup`.
    Installer,
}

impl Receiver {
    fn lists(self) -> &'static [&'static [&'static str]] {
        match self {
            Receiver::Slipway => &[&COMMON, &GIT, &ENGINES, &KEY_RINGS, &GO, &SLIPWAY],
            Receiver::Command => &[&COMMON, &KEY_RINGS, &ENGINES],
            Receiver::Git => &[&COMMON, &GIT, &KEY_RINGS],
            Receiver::Buildctl => &[&COMMON, &["SSH_AUTH_SOCK"], &ENGINES],
            Receiver::LocalGit | Receiver::Buildkitd => &[&COMMON],
            Receiver::Installer => &[&COMMON, &GO],
        }
    }

    fn gets_what_is_passed_on(self) -> bool {
        match self {
            Receiver::Slipway | Receiver::Command | Receiver::Git | Receiver::Buildctl => true,
            Receiver::LocalGit | Receiver::Buildkitd | Receiver::Installer => false,
        }
    }

    /// Whether it gets the variable, where the operator passes on `passed_on`.
    pub fn gets(self, name: &OsStr, passed_on: &[String]) -> bool {
        let listed = self.lists().iter().any(|list| list.iter().any(|pattern| matches(pattern, name)));
        listed || self.gets_what_is_passed_on() && passed_on.iter().any(|pattern| matches(pattern, name))
    }
}

/// Whether a name is the pattern, or begins with it where that ends in `*`.
fn matches(pattern: &str, name: &OsStr) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.as_encoded_bytes().starts_with(beginning.as_bytes()),
        None => name == pattern,
    }
}

/// Names that the operator passes on on purpose: `environment` of `[pool]`.
static PASSED_ON: RwLock<Option<Vec<String>>> = RwLock::new(None);

/// Puts `[pool] environment` in force for what this process starts from now on.
pub fn pass_on(names: &[String]) {
    *PASSED_ON.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(names.to_vec());
}

/// What [`pass_on`] said; in a process that has not read `config.toml`, what its starter passed on.
fn passed_on() -> Vec<String> {
    let known = PASSED_ON.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    known.unwrap_or_else(|| {
        let inherited = std::env::var(PASSED_ON_VARIABLE).unwrap_or_default();
        inherited.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    })
}

/// The variables of this process that a receiver gets.
pub fn of(receiver: Receiver) -> Vec<(OsString, OsString)> {
    let passed_on = passed_on();
    let mut variables: Vec<_> = std::env::vars_os().filter(|(name, _)| receiver.gets(name, &passed_on)).collect();
    if receiver == Receiver::Slipway {
        variables.retain(|(name, _)| name != PASSED_ON_VARIABLE);
        variables.push((PASSED_ON_VARIABLE.into(), passed_on.join(",").into()));
    }
    variables
}

/// A command that is given its environment by the list.
pub trait ListedEnvironment {
    /// Replaces the inherited environment, and what was set before, by the variables that the receiver gets; `env` adds
    /// to them.
    fn listed_environment(&mut self, receiver: Receiver) -> &mut Self;
}

impl ListedEnvironment for std::process::Command {
    fn listed_environment(&mut self, receiver: Receiver) -> &mut Self {
        self.env_clear().envs(of(receiver))
    }
}

impl ListedEnvironment for tokio::process::Command {
    fn listed_environment(&mut self, receiver: Receiver) -> &mut Self {
        self.env_clear().envs(of(receiver))
    }
}

/// Debian keeps runc, and everyone keeps mount helpers and iptables, where users' `PATH` may not lead.
pub fn path_with_sbin(path: Option<&str>) -> String {
    let mut dirs: Vec<&str> =
        path.unwrap_or("/usr/local/bin:/usr/bin:/bin").split(':').filter(|d| !d.is_empty()).collect();
    for dir in ["/usr/sbin", "/sbin"] {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs.join(":")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    const ALL: [Receiver; 7] = [
        Receiver::Slipway,
        Receiver::Command,
        Receiver::Git,
        Receiver::LocalGit,
        Receiver::Buildctl,
        Receiver::Buildkitd,
        Receiver::Installer,
    ];

    fn who_gets(name: &str, passed_on: &[&str]) -> Vec<Receiver> {
        let passed_on: Vec<String> = passed_on.iter().map(ToString::to_string).collect();
        ALL.into_iter().filter(|receiver| receiver.gets(OsStr::new(name), &passed_on)).collect()
    }

    #[test]
    fn the_path_gains_the_sbin_directories_once() {
        assert_eq!(path_with_sbin(Some("/usr/bin:/usr/sbin")), "/usr/bin:/usr/sbin:/sbin");
        assert_eq!(path_with_sbin(None), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    }

    #[test]
    fn a_name_that_is_on_no_list_reaches_nobody() {
        for name in ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PATHS", "LC", "SLIPWAY_GIT_SECRET", "LD_PRELOAD", "TERM"]
        {
            assert_eq!(who_gets(name, &[]), [], "{name}");
        }
    }

    #[test]
    fn the_place_of_programs_and_the_proxy_reach_everybody() {
        for name in ["PATH", "HOME", "LC_ALL", "XDG_RUNTIME_DIR", "https_proxy", "NO_PROXY", "SSL_CERT_FILE"] {
            assert_eq!(who_gets(name, &[]), ALL, "{name}");
        }
    }

    #[test]
    fn the_agent_reaches_those_that_open_connections_with_it_alone() {
        assert_eq!(who_gets("SSH_AUTH_SOCK", &[]), [Receiver::Slipway, Receiver::Git, Receiver::Buildctl]);
    }

    #[test]
    fn a_command_that_makes_a_builder_reaches_the_engine_that_buildctl_reaches() {
        for name in ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
            assert_eq!(who_gets(name, &[]), [Receiver::Slipway, Receiver::Command, Receiver::Buildctl], "{name}");
        }
    }

    #[test]
    fn what_the_operator_passes_on_reaches_neither_builds_nor_installers() {
        let told = [Receiver::Slipway, Receiver::Command, Receiver::Git, Receiver::Buildctl];
        assert_eq!(who_gets("AWS_PROFILE", &["AWS_*"]), told);
        assert_eq!(who_gets("AWS_PROFILE", &["*"]), told);
        assert_eq!(who_gets("AWS_PROFILE", &["AWS_", "PROFILE"]), []);
    }

    #[test]
    fn a_process_has_the_listed_variables_and_those_that_its_starter_adds() {
        let mut command = std::process::Command::new("env");
        command.env("BEFORE", "1").listed_environment(Receiver::Buildkitd).env("ADDED", "2");
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let names: Vec<&str> = output.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        assert!(names.contains(&"PATH") && names.contains(&"ADDED"), "{output}");
        // `cargo test` sets a dozen of CARGO_*.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(
            names.iter().all(|name| *name == "ADDED" || Receiver::Buildkitd.gets(OsStr::new(name), &[])),
            "{output}"
        );
    }

    /// Every place below `src` that starts a process, apart from tests: the lines from there on.
    fn spawns() -> Vec<(PathBuf, String)> {
        let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut found = Vec::new();
        while let Some(directory) = directories.pop() {
            for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                if path.to_string_lossy().ends_with("tests.rs") {
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let lines: Vec<&str> = text.split("#[cfg(test)]").next().unwrap().lines().collect();
                let starts = (0..lines.len()).filter(|at| lines[*at].contains("Command::new("));
                found.extend(starts.map(|at| (path.clone(), lines[at..].iter().take(22).copied().collect())));
            }
        }
        found
    }

    #[test]
    fn no_process_is_started_with_the_environment_of_the_shell_but_a_persons_editor() {
        let inherits: Vec<String> = spawns()
            .into_iter()
            .filter(|(_, lines)| !lines.contains("listed_environment("))
            .map(|(path, _)| path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string())
            .collect();
        // The help's command starts nothing; the editor and the pager are the person's own, in the person's terminal;
        // programs that tests write are started by tests alone.
        let known = ["src/cli/help.rs", "src/tui/run/dashboard.rs", "src/sys/test_program.rs"];
        let unknown: Vec<&String> = inherits.iter().filter(|path| !known.contains(&path.as_str())).collect();
        assert_eq!(unknown, Vec::<&String>::new());
        assert!(spawns().len() > 10);
    }
}
