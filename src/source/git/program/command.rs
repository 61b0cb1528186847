//! Command lines of git, and the processes that run them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::process::Command;

use crate::sys::command::{self, Ended, RunError, Running};

/// How much a command may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// It is killed, with what it started, when it has not ended by then.
    pub time: Duration,
    /// It is killed when it prints more, in bytes.
    pub output: usize,
    /// The address space of it and of each process that it starts, in bytes; none: as the system has it.
    pub memory: Option<u64>,
}

/// A git command line.
#[derive(Debug)]
pub struct GitCommand {
    command: Command,
    inherited: Vec<Arc<OwnedFd>>,
}

impl GitCommand {
    /// The command line that begins with this command.
    pub(super) fn new(command: Command) -> GitCommand {
        GitCommand { command, inherited: Vec::new() }
    }

    /// Appends an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut GitCommand {
        self.command.arg(argument);
        self
    }

    /// Appends arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut GitCommand {
        self.command.args(arguments);
        self
    }

    /// Appends `-c key=value`: before the subcommand, and never a secret.
    pub fn config(&mut self, key: &str, value: impl AsRef<OsStr>) -> &mut GitCommand {
        let mut setting = OsString::from(key);
        setting.push("=");
        setting.push(value);
        self.command.arg("-c").arg(setting);
        self
    }

    /// Appends `--git-dir=`: before the subcommand.
    pub fn git_dir(&mut self, directory: &Path) -> &mut GitCommand {
        let mut argument = OsString::from("--git-dir=");
        argument.push(directory);
        self.command.arg(argument);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut GitCommand {
        self.command.env(name, value);
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(&mut self, name: &str) -> &mut GitCommand {
        self.command.env_remove(name);
        self
    }

    /// Sets its working directory; it is `/` otherwise.
    pub fn current_dir(&mut self, directory: &Path) -> &mut GitCommand {
        self.command.current_dir(directory);
        self
    }

    /// Sets its standard input; it is empty otherwise.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut GitCommand {
        self.command.stdin(stdin);
        self
    }

    /// Lets it, and what it starts, inherit a descriptor under the number that is returned.
    pub fn inherit(&mut self, descriptor: Arc<OwnedFd>) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.inherited.push(descriptor);
        number
    }

    /// Starts it, with a pipe for what it prints and one for its errors.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(mut self, memory: Option<u64>) -> io::Result<Running> {
        let numbers: Vec<RawFd> = self.inherited.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
        if !numbers.is_empty() {
            // SAFETY: fcntl is async-signal-safe, and `numbers` was made before the fork.
            unsafe {
                self.command.pre_exec(move || {
                    for number in &numbers {
                        if libc::fcntl(*number, libc::F_SETFD, 0) == -1 {
                            return Err(io::Error::last_os_error());
                        }
                    }
                    Ok(())
                });
            }
        }
        let running = Running::start(self.command)?;
        if let (Some(bytes), Some(id)) = (memory, running.id()) {
            // One that has ended meanwhile needs none.
            let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
            let _ = prlimit(Pid::from_raw(id.pid), Resource::As, limit);
        }
        Ok(running)
    }

    /// Runs it to its end. When the future is dropped, it is killed with what it started.
    ///
    /// # Errors
    /// When it can't be run, or exceeds a limit: then it was killed with what it started.
    pub async fn run(self, limits: Limits) -> Result<Ended, RunError> {
        let started = self.start(limits.memory);
        let running = started.map_err(|cause| RunError::Io { program: "git".to_owned(), cause })?;
        running.run(command::Limits { time: limits.time, output: limits.output }).await
    }
}
