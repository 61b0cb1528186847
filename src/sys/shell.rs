//! Commands of people's own, run under `sh -c`: with a time limit, in a process group of their own that ends with them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::time::timeout;

use super::environment::{ListedEnvironment as _, Receiver};
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// How much of a command's stderr is shown: about a screenful.
const TAIL_BYTES: u64 = 2_000;

/// A command, and what it is given.
#[derive(Debug, Clone, Copy)]
pub struct Shell<'a> {
    /// The command.
    pub command: &'a str,
    /// What it finds in `$1`, `$2`, …
    pub arguments: &'a [&'a str],
    /// What it finds in its environment besides what [`Receiver::Command`] gets.
    pub variables: &'a [(&'a str, &'a str)],
    /// What it reads on its standard input.
    pub input: &'a [u8],
    /// It is killed, with what it started, when it has not ended by then.
    pub limit: Duration,
}

/// A command that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    stdout: File,
    stderr: File,
}

/// A command that did not.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// `sh` can't be run, or its output can't be kept.
    Run(#[from] io::Error),
    /// It took too long and was killed.
    TimedOut {
        /// The limit.
        after: Duration,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
}

display_as_reason!(ShellError);

impl AsReason for ShellError {
    fn reason(&self) -> Reason {
        match self {
            ShellError::Run(error) => reason!("shell.run", error),
            ShellError::TimedOut { after, stderr } => {
                reason!("shell.timed_out", after = after.as_secs(), stderr = said(stderr))
            }
        }
    }
}

/// The end of what a command wrote to stderr, as a part of an error's text.
pub fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        "; it said nothing on stderr".into()
    } else {
        format!("; the end of its stderr says:\n{stderr}")
    }
}

impl Shell<'_> {
    /// Runs it. Input and output are files, not pipes: what it leaves running in the background (a port-forward, say)
    /// then neither holds us up nor breaks when we stop reading, and a command need not read what it is given.
    ///
    /// # Errors
    /// When it can't be run, or does not end within the limit.
    pub async fn run(self) -> Result<Ended, ShellError> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let stdin = if self.input.is_empty() { Stdio::null() } else { file_of(self.input)?.into() };
        let mut child = Command::new("sh")
            .args(["-c", self.command, "sh"])
            .args(self.arguments)
            .listed_environment(Receiver::Command)
            .envs(self.variables.iter().copied())
            .stdin(stdin)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .process_group(0)
            .spawn()?;
        let mut group = Group::of(child.id());
        let Ok(ended) = timeout(self.limit, child.wait()).await else {
            return Err(ShellError::TimedOut { after: self.limit, stderr: tail(&stderr) });
        };
        group.leave();
        Ok(Ended { status: ended?, stdout, stderr })
    }
}

impl Ended {
    /// The beginning of what it printed, at most so many bytes.
    ///
    /// # Errors
    /// When that can't be read.
    pub fn stdout(&self, most: u64) -> io::Result<String> {
        read(&self.stdout, 0, most)
    }

    /// The end of what it wrote to stderr.
    pub fn stderr(&self) -> String {
        tail(&self.stderr)
    }

    /// How it failed: `exit status 3`, `signal 9`.
    pub fn how(&self) -> String {
        match self.status.code() {
            Some(code) => format!("exit status {code}"),
            None => format!("signal {}", self.status.signal().unwrap_or_default()),
        }
    }
}

/// The process group of a command; one that is given up, by a time-out or a dropped future, ends with all that it
/// started.
#[derive(Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// That of a child that leads one.
    pub fn of(leader: Option<u32>) -> Group {
        Group(leader.and_then(|pid| Pid::from_raw(pid.cast_signed())))
    }

    /// The command ended by itself: what it left running, such as an agent for the next time, may stay.
    pub fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// A file without a name that holds these bytes, to be read from its beginning.
fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn tail(file: &File) -> String {
    let start = file.metadata().map(|meta| meta.len().saturating_sub(TAIL_BYTES)).unwrap_or_default();
    read(file, start, TAIL_BYTES).unwrap_or_default().trim().to_owned()
}

fn read(mut file: &File, start: u64, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_gets_its_input_its_variables_and_its_arguments_and_need_read_none() {
        let big = "x".repeat(1 << 20);
        let shell = Shell {
            command: "echo \"$A $1 $(head -c 3)\"",
            arguments: &["two"],
            variables: &[("A", "one")],
            input: big.as_bytes(),
            limit: Duration::from_secs(60),
        };
        assert_eq!(shell.run().await.unwrap().stdout(100).unwrap(), "one two xxx\n");
        let ended = Shell { command: "echo why >&2; exit 3", ..shell }.run().await.unwrap();
        assert_eq!((ended.how(), ended.stderr()), ("exit status 3".into(), "why".into()));
    }
}
