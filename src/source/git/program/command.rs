//! Command lines of git, and the processes that run them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdout, Command};

use crate::domain::reason::{AsReason, Reason, display_as_reason, io_error, reason};
use crate::sys::process::ProcessId;
use crate::sys::shell::Group;

/// How much of a command's stderr is kept, in bytes: as much of its beginning, and of its end.
const STDERR_KEPT: usize = 8 * 1024;
/// How much is read at once.
const BLOCK: usize = 64 * 1024;

/// A git command line.
#[derive(Debug)]
pub struct GitCommand {
    command: Command,
    inherited: Vec<Arc<OwnedFd>>,
}

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

/// A command that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr: its beginning and its end.
    pub stderr: String,
}

/// A command that did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It can't be started, or its output can't be read.
    Io(#[from] io::Error),
    /// It took too long.
    TimedOut(Duration),
    /// It printed too much.
    TooMuch(usize),
}

display_as_reason!(RunError);

impl AsReason for RunError {
    fn reason(&self) -> Reason {
        match self {
            RunError::Io(error) => reason!("run.io", error),
            RunError::TimedOut(error) => reason!("run.timed_out", error = error.as_secs()),
            RunError::TooMuch(error) => reason!("run.too_much", error),
        }
    }
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
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let group = Group::of(child.id());
        let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        if let (Some(bytes), Some(pid)) = (memory, pid) {
            // One that has ended meanwhile needs none.
            let _ = prlimit(Some(pid), Resource::As, Rlimit { current: Some(bytes), maximum: Some(bytes) });
        }
        let gone = || io_error(reason!("process.no_pipes"));
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let stderr = child.stderr.take().ok_or_else(gone)?;
        let kept: Arc<Mutex<Kept>> = Arc::default();
        Ok(Running { stdout, kept: kept.clone(), errors: tokio::spawn(keep(stderr, kept)), child, group })
    }

    /// Runs it to its end. When the future is dropped, it is killed with what it started.
    ///
    /// # Errors
    /// When it can't be run, or exceeds a limit: then it was killed with what it started.
    pub async fn run(self, limits: Limits) -> Result<Ended, RunError> {
        self.start(limits.memory)?.run(limits.time, limits.output).await
    }
}

/// A command that runs; it is killed, with what it started, when dropped.
#[derive(Debug)]
pub struct Running {
    /// What it prints.
    pub stdout: ChildStdout,
    child: Child,
    /// What was read of its stderr so far.
    kept: Arc<Mutex<Kept>>,
    /// Reads its stderr into `kept`.
    errors: tokio::task::JoinHandle<io::Result<()>>,
    group: Group,
}

impl Running {
    /// Which process it is; none where it has ended.
    pub fn id(&self) -> Option<ProcessId> {
        ProcessId::of(self.child.id()?.cast_signed()).ok().flatten()
    }

    /// Reads what it prints, and waits for its end. When the future is dropped, it is killed with what it started.
    ///
    /// # Errors
    /// When it exceeds a limit of time or of output: then it was killed with what it started.
    pub async fn run(mut self, time: Duration, output: usize) -> Result<Ended, RunError> {
        let work = async {
            let mut printed = Vec::new();
            (&mut self.stdout).take(output as u64 + 1).read_to_end(&mut printed).await?;
            if printed.len() > output {
                return Err(RunError::TooMuch(output));
            }
            let (status, stderr) = self.end().await?;
            Ok(Ended { status, stdout: printed, stderr })
        };
        match tokio::time::timeout(time, work).await {
            Ok(ended) => ended,
            Err(_) => Err(RunError::TimedOut(time)),
        }
    }

    /// Waits for its end, once all of its output was read; how it ended, and what it wrote to stderr.
    ///
    /// # Errors
    /// When it can't be waited for, or its errors can't be read.
    pub async fn end(&mut self) -> io::Result<(ExitStatus, String)> {
        let status = self.child.wait().await?;
        // Before the wait for the errors: what it left running (a connection that ssh shares) may keep their pipe open.
        let errors = tokio::time::timeout(Duration::from_secs(1), &mut self.errors).await;
        self.group.leave();
        match errors {
            Ok(read) => read.map_err(io::Error::other)??,
            Err(_) => self.errors.abort(),
        }
        Ok((status, self.kept.lock().unwrap_or_else(PoisonError::into_inner).text()))
    }
}

/// The beginning and the end of a stream.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Whether something between them was left out.
    is_cut: bool,
}

impl Kept {
    fn take(&mut self, block: &[u8]) {
        self.bytes.extend_from_slice(block);
        if self.bytes.len() > 2 * STDERR_KEPT {
            self.bytes.drain(STDERR_KEPT..self.bytes.len() - STDERR_KEPT);
            self.is_cut = true;
        }
    }

    fn text(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !self.is_cut {
            return text(&self.bytes);
        }
        format!("{}\n…\n{}", text(&self.bytes[..STDERR_KEPT]), text(&self.bytes[STDERR_KEPT..]))
    }
}

/// Reads a stream to its end.
async fn keep(mut stream: impl AsyncRead + Unpin, kept: Arc<Mutex<Kept>>) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        let read = stream.read(&mut block).await?;
        if read == 0 {
            return Ok(());
        }
        kept.lock().unwrap_or_else(PoisonError::into_inner).take(&block[..read]);
    }
}
