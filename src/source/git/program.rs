//! The host's `git` program: where it is, how new it is, and command lines that run nothing but git itself.
//!
//! Every run of git is a [`GitCommand`]: it has a listed environment, asks nobody for a password, runs no
//! hook, no file system monitor and no clean-up in the background, leads a process group that ends with it, and has
//! limits of time and output.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdout, Command};

use crate::domain::reason::{Argument, AsReason, Reason, ToArgument, display_as_reason, reason};
use crate::sys::environment::{ListedEnvironment as _, Receiver};
use crate::sys::process::ProcessId;
use crate::sys::shell::Group;

/// The oldest git that slipway works with: it knows SHA-256 repositories, protocol v2 by default and `--update-shallow`
/// over it.
pub const OLDEST: GitVersion = GitVersion { major: 2, minor: 30, patch: 0 };

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

/// How much of a command's stderr is kept, in bytes: as much of its beginning, and of its end.
const STDERR_KEPT: usize = 8 * 1024;
/// How much is read at once.
const BLOCK: usize = 64 * 1024;

/// A version of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitVersion {
    /// `2` of `2.39.5`.
    pub major: u32,
    /// `39` of `2.39.5`.
    pub minor: u32,
    /// `5` of `2.39.5`; 0 where the program names none.
    pub patch: u32,
}

impl GitVersion {
    /// Reads what `git --version` prints; vendors append words and numbers of their own.
    pub fn parse(text: &str) -> Option<GitVersion> {
        let text = text.trim().strip_prefix("git version ")?;
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(GitVersion { major, minor, patch: numbers.next().and_then(Result::ok).unwrap_or_default() })
    }
}

impl fmt::Display for GitVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A `git` program that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoGit {
    /// There is none in `PATH`.
    Missing,
    /// It is too old.
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: GitVersion,
    },
    /// It does not run, or does not tell its version.
    Broken {
        /// The program.
        path: PathBuf,
        /// What the system or the program says.
        reason: String,
    },
}

display_as_reason!(NoGit);

impl AsReason for NoGit {
    fn reason(&self) -> Reason {
        reason!("no_git.reason", problem = self.problem(), advice = self.advice())
    }
}

impl NoGit {
    /// Why it can't be used.
    pub fn problem(&self) -> Reason {
        match self {
            NoGit::Missing => reason!("no_git.missing", oldest = OLDEST),
            NoGit::TooOld { path, found } => reason!("no_git.too_old", oldest = OLDEST, path, found),
            NoGit::Broken { path, reason } => reason!("no_git.broken", path, reason),
        }
    }

    /// What to do.
    pub fn advice(&self) -> Reason {
        match self {
            NoGit::Missing => reason!("no_git.install"),
            NoGit::TooOld { .. } => reason!("no_git.upgrade"),
            NoGit::Broken { .. } => reason!("no_git.check", oldest = OLDEST),
        }
    }
}

impl ToArgument for GitVersion {
    fn to_argument(&self) -> Argument {
        Argument::Text(self.to_string())
    }
}

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
        let broken = |reason: String| NoGit::Broken { path: path.clone(), reason };
        let mut asked = std::process::Command::new(&path);
        asked.arg("--version").listed_environment(Receiver::LocalGit).stdin(Stdio::null());
        let output = asked.output();
        let output = output.map_err(|error| broken(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = GitVersion::parse(&said).ok_or_else(|| {
            broken(format!("it answers --version with {:?}", said.chars().take(80).collect::<String>()))
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
        for (name, value) in [
            ("LANG", "C.UTF-8"),
            ("LC_ALL", "C.UTF-8"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", ""),
            ("SSH_ASKPASS_REQUIRE", "never"),
            ("GCM_INTERACTIVE", "never"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_DEFAULT_REF_FORMAT", "files"),
            ("GIT_ATTR_NOSYSTEM", "1"),
        ] {
            command.env(name, value);
        }
        match configuration {
            Configuration::Users => {
                // `file` is for what is asked of a repository on this disk; it allows itself.
                command.env("GIT_ALLOW_PROTOCOL", "http:https:ssh:git");
            }
            Configuration::Anonymous | Configuration::None => {
                for (name, value) in [
                    ("GIT_CONFIG_NOSYSTEM", "1"),
                    ("GIT_CONFIG_GLOBAL", "/dev/null"),
                    // Before 2.32 git knows no GIT_CONFIG_GLOBAL. There is no ~/.netrc either.
                    ("HOME", "/nonexistent"),
                    ("XDG_CONFIG_HOME", "/nonexistent"),
                    ("GIT_ALLOW_PROTOCOL", ""),
                ] {
                    command.env(name, value);
                }
            }
        }
        if configuration == Configuration::Anonymous {
            command.env("GIT_ALLOW_PROTOCOL", "http:https:git");
            for name in ["GIT_SSL_CAINFO", "GIT_SSL_CAPATH"] {
                std::env::var_os(name).map(|value| command.env(name, value));
            }
        }
        command.current_dir("/").stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        let mut command = GitCommand { command, inherited: Vec::new() };
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
        let gone = || io::Error::other("it has no pipes");
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LIMITS: Limits = Limits { time: Duration::from_secs(60), output: 64 * 1024, memory: None };

    /// A program of that text in a directory of its own, under the name `git`.
    fn program(script: &str) -> (tempfile::TempDir, Result<GitProgram, NoGit>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("git");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let found = GitProgram::in_path(directory.path().as_os_str());
        (directory, found)
    }

    /// One that tells a version that is good enough, and does `script` when asked for anything else.
    fn fake(script: &str) -> (tempfile::TempDir, GitProgram) {
        let (directory, found) =
            program(&format!("if [ \"$1\" = --version ]; then echo 'git version 2.45.1'; exit; fi\n{script}"));
        (directory, found.unwrap())
    }

    #[test]
    fn versions_are_read_whatever_vendors_append() {
        let version = |major, minor, patch| Some(GitVersion { major, minor, patch });
        assert_eq!(GitVersion::parse("git version 2.39.5\n"), version(2, 39, 5));
        assert_eq!(GitVersion::parse("git version 2.39.5 (Apple Git-154)"), version(2, 39, 5));
        assert_eq!(GitVersion::parse("git version 2.46.0.windows.1"), version(2, 46, 0));
        assert_eq!(GitVersion::parse("git version 2.50-rc1"), version(2, 50, 0));
        assert_eq!(GitVersion::parse("hub version 2"), None);
    }

    #[test]
    fn a_git_that_is_missing_old_or_none_says_what_to_install() {
        assert_eq!(GitProgram::in_path(OsStr::new("/nonexistent:relative")), Err(NoGit::Missing));
        let old = program("echo git version 2.29.2").1.unwrap_err();
        assert!(old.to_string().contains("is 2.29.2; upgrade it"), "{old}");
        let broken = program("echo I am no git").1.unwrap_err();
        assert!(matches!(broken, NoGit::Broken { .. }), "{broken}");
    }

    #[tokio::test]
    async fn a_command_has_the_listed_environment_and_no_other() {
        let (_directory, git) = fake("env; echo; echo \"$@\"");
        let ended = git.command(Configuration::Users).run(LIMITS).await.unwrap();
        let text = String::from_utf8(ended.stdout).unwrap();
        let (environment, arguments) = text.split_once("\n\n").unwrap();
        let ours = ["GIT_", "SSH_ASKPASS_REQUIRE", "GCM_INTERACTIVE", "PWD", "SHLVL", "_", "OLDPWD"];
        for line in environment.lines() {
            let name = line.split('=').next().unwrap();
            let is_known = Receiver::Git.gets(OsStr::new(name), &[]) || ours.iter().any(|ours| name.starts_with(ours));
            assert!(is_known, "{line}");
        }
        assert!(environment.contains("\nGIT_TERMINAL_PROMPT=0"), "{environment}");
        assert!(arguments.contains("-c core.hooksPath=/dev/null"), "{arguments}");
    }

    #[tokio::test]
    async fn limits_of_time_and_output_end_a_command_with_what_it_started() {
        let (directory, git) = fake("sleep 1000 & echo $! > \"$0.pid\"; cat /dev/zero");
        let error = git.command(Configuration::None).run(LIMITS).await.unwrap_err();
        assert!(matches!(error, RunError::TooMuch(65_536)), "{error}");
        let left: i32 = fs::read_to_string(directory.path().join("git.pid")).unwrap().trim().parse().unwrap();
        if let Some(left) = ProcessId::of(left).unwrap() {
            left.exited().await.unwrap();
        }
        let (_directory, git) = fake("sleep 1000");
        let error = git.command(Configuration::None).run(Limits { time: Duration::from_millis(20), ..LIMITS }).await;
        assert!(matches!(error, Err(RunError::TimedOut(_))), "{error:?}");
    }

    #[tokio::test]
    async fn errors_are_kept_where_a_process_that_is_left_holds_their_pipe() {
        let (_directory, git) = fake("echo refused >&2; sleep 5 > /dev/null & exit 3");
        let ended = git.command(Configuration::None).run(LIMITS).await.unwrap();
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(3), "refused\n"));
    }

    #[tokio::test]
    async fn errors_are_kept_at_their_beginning_and_their_end() {
        let (_directory, git) = fake("echo first >&2; yes | head -c 1000000 >&2; echo last >&2; exit 3");
        let ended = git.command(Configuration::None).run(LIMITS).await.unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert!(ended.stderr.starts_with("first\n") && ended.stderr.ends_with("last\n") && ended.stderr.len() < 20_000);
    }

    #[tokio::test]
    async fn an_inherited_descriptor_reaches_what_git_starts_and_no_other_command() {
        use std::io::Write as _;
        let (_directory, git) = fake("sh -c 'cat /proc/self/fd/'$WHERE");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"handed over").unwrap();
        let reopened = fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        let descriptor = Arc::new(OwnedFd::from(reopened));
        let mut command = git.command(Configuration::None);
        let number = command.inherit(descriptor.clone());
        command.env("WHERE", number.to_string());
        assert_eq!(command.run(LIMITS).await.unwrap().stdout, b"handed over");
        let mut other = git.command(Configuration::None);
        other.env("WHERE", number.to_string());
        assert!(!other.run(LIMITS).await.unwrap().status.success());
    }
}
