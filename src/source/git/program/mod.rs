//! The host's `git` program: where it is, how new it is, and command lines that run nothing but git itself.
//!
//! Every run of git is a [`GitCommand`]: it has a listed environment, asks nobody for a password, runs no
//! hook, no file system monitor and no clean-up in the background, leads a process group that ends with it, and has
//! limits of time and output.

mod command;
#[cfg(test)]
mod tests;
mod version;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Command;

pub use command::{GitCommand, Limits};
pub use version::{GitVersion, NoGit, OLDEST};

use crate::domain::reason::{AsReason as _, Reason, quoted, reason};
use crate::sys::command::{Limits as AnswerLimits, run_blocking};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// Settings that hold for every command, whatever the user's or a repository's configuration says.
const SETTINGS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("credential.interactive", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.prune", "false"),
    ("fetch.pruneTags", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("fetch.showForcedUpdates", "false"),
    ("fetch.writeCommitGraph", "false"),
    // The first request may be sent elsewhere (a repository that moved); credentials are asked for again there.
    ("http.followRedirects", "initial"),
    // A server that sends nothing is given up; one that counts its objects sends a few bytes now and then.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "300"),
    // Larger files are streamed, not held in memory.
    ("core.bigFileThreshold", "32m"),
    ("protocol.ext.allow", "never"),
    ("protocol.fd.allow", "never"),
];

/// Variables that hold for every command.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("LANG", "C.UTF-8"),
    ("LC_ALL", "C.UTF-8"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", ""),
    ("SSH_ASKPASS_REQUIRE", "never"),
    ("GCM_INTERACTIVE", "never"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_DEFAULT_REF_FORMAT", "files"),
    ("GIT_ATTR_NOSYSTEM", "1"),
];
/// Variables that keep a command from the configuration of the system and the user.
const NO_CONFIGURATION: &[(&str, &str)] = &[
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    // Before 2.32 git knows no GIT_CONFIG_GLOBAL. There is no ~/.netrc either.
    ("HOME", "/nonexistent"),
    ("XDG_CONFIG_HOME", "/nonexistent"),
    ("GIT_ALLOW_PROTOCOL", ""),
];

/// A `git` that is asked for its version.
const VERSION_LIMITS: AnswerLimits = AnswerLimits { time: Duration::from_secs(10), output: 64 * 1024 };

/// The host's `git` program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitProgram {
    path: PathBuf,
    version: GitVersion,
}

impl GitProgram {
    /// Finds git in `PATH`. A program that was found is not looked for again while it is there.
    ///
    /// # Errors
    /// When there is none, or it is too old.
    pub fn find() -> Result<Arc<GitProgram>, NoGit> {
        static FOUND: Mutex<Option<Arc<GitProgram>>> = Mutex::new(None);
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = found.as_ref().filter(|program| program.path.exists()) {
            return Ok(program.clone());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = Arc::new(GitProgram::in_path(&path)?);
        *found = Some(program.clone());
        Ok(program)
    }

    /// Finds git in the directories of `path`, written as `PATH` is.
    ///
    /// # Errors
    /// When there is none, or it is too old.
    pub fn in_path(path: &OsStr) -> Result<GitProgram, NoGit> {
        use std::os::unix::fs::PermissionsExt as _;
        let is_program = |file: &PathBuf| {
            file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        };
        let absolute = std::env::split_paths(path).filter(|directory| directory.is_absolute());
        let path = absolute.map(|directory| directory.join("git")).find(is_program).ok_or(NoGit::Missing)?;
        let broken = |reason: Reason| NoGit::Broken { path: path.clone(), reason };
        let mut asked = Command::new(&path);
        asked.arg("--version").listed_environment(Receiver::LocalGit);
        let ended = run_blocking(asked, VERSION_LIMITS).map_err(|error| broken(error.reason()))?;
        let said = String::from_utf8_lossy(&ended.stdout);
        let version = GitVersion::parse(&said).ok_or_else(|| {
            let said: String = said.chars().take(80).collect();
            broken(reason!("no_git.no_version", said = quoted(&said)))
        })?;
        if version < OLDEST {
            return Err(NoGit::TooOld { path, found: version });
        }
        Ok(GitProgram { path, version })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How new it is.
    pub fn version(&self) -> GitVersion {
        self.version
    }

    /// A command without arguments.
    pub fn command(&self, configuration: Configuration) -> GitCommand {
        let mut command = Command::new(&self.path);
        command.listed_environment(match configuration {
            Configuration::Users => Receiver::Git,
            Configuration::Anonymous | Configuration::None => Receiver::LocalGit,
        });
        // The agent is given to the commands that use ssh. The messages are read.
        command.env_remove("SSH_AUTH_SOCK").env_remove("LANGUAGE");
        command.envs(ENVIRONMENT.iter().copied());
        match configuration {
            Configuration::Users => {
                // `file` is for what is asked of a repository on this disk; it allows itself.
                command.env("GIT_ALLOW_PROTOCOL", "http:https:ssh:git");
            }
            Configuration::Anonymous | Configuration::None => {
                command.envs(NO_CONFIGURATION.iter().copied());
            }
        }
        if configuration == Configuration::Anonymous {
            command.env("GIT_ALLOW_PROTOCOL", "http:https:git");
            for name in ["GIT_SSL_CAINFO", "GIT_SSL_CAPATH"] {
                std::env::var_os(name).map(|value| command.env(name, value));
            }
        }
        command.current_dir("/").stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        let mut command = GitCommand::new(command);
        for (key, value) in SETTINGS {
            command.config(key, value);
        }
        if configuration == Configuration::Anonymous {
            // Neither a helper nor a ticket of Kerberos answers.
            command.config("credential.helper", "").config("http.emptyAuth", "false");
        }
        command
    }
}

/// Whose configuration a command reads, besides that of its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configuration {
    /// The system's and the user's, for the way to servers: proxies, CAs, `insteadOf`, credential helpers. Servers are
    /// reached over http, https, ssh and git alone.
    Users,
    /// None, on the way to a server of which only what anybody may read is wanted: no helper, no `~/.netrc`, no ssh.
    /// Proxies and CAs are those of the environment.
    Anonymous,
    /// None: what is read or written is the same on every host. Nothing is transported.
    None,
}
