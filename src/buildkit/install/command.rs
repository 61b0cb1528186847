//! Running a program whose output is shown line by line, so that dropping the future leaves no child behind.
//!
//! Not [`crate::sys::command`]: a compiler or a package manager has no limit of time, its lines are shown as they come,
//! its files are for every user, and a package manager is asked to stop instead of killed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;

use super::error::InstallError;
use super::file_name::file_name;
use crate::domain::reason::{Reason, reason};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

use crate::log::sanitize::printable;

/// How many of a failed program's last lines an error quotes.
const QUOTED_LINES: usize = 12;

/// A line is cut here when it is shown, in bytes.
const LONGEST_LINE: usize = 2_000;

/// How long the output of a program that has ended is still read.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How long a program that was asked to stop may take before it is left to itself.
const GENTLE_STOP: Duration = Duration::from_secs(30);

/// A program to run, in a process group of its own and without a terminal to read from.
pub(super) struct Run {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    dir: Option<PathBuf>,
    gently: bool,
}

impl Run {
    pub(super) fn new(program: &Path) -> Run {
        Run { program: program.to_path_buf(), args: Vec::new(), env: Vec::new(), dir: None, gently: false }
    }

    pub(super) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Run {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Run {
        self.env.push((name, value.as_ref().to_owned()));
        self
    }

    pub(super) fn dir(mut self, dir: &Path) -> Run {
        self.dir = Some(dir.to_path_buf());
        self
    }

    /// When the future is dropped: asked to stop and waited for, instead of killed with all its children.
    pub(super) fn gently(mut self) -> Run {
        self.gently = true;
        self
    }

    /// The command as one would type it, without its directory.
    pub(super) fn shown(&self) -> String {
        let mut words = vec![file_name(&self.program)];
        words.extend(self.args.iter().map(|arg| arg.to_string_lossy().into_owned()));
        words.join(" ")
    }

    /// Runs it to its end, handing over each line of its output and error output, and returns its last lines.
    pub(super) async fn lines(&self, each: &mut (dyn FnMut(String) + Send)) -> Result<Vec<String>, InstallError> {
        let failed = |how: Reason, said: Vec<String>| InstallError::Command { command: self.shown(), how, said };
        let not_started = |e: io::Error| failed(reason!("installer.not_started", error = e), Vec::new());
        let (reader, writer) = io::pipe().map_err(not_started)?;
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).listed_environment(Receiver::Installer).stdin(Stdio::null());
        command.stdout(writer.try_clone().map_err(not_started)?).stderr(writer);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        // SAFETY: umask(2) is async-signal-safe and touches no memory of ours.
        unsafe {
            command.pre_exec(|| {
                // A package's scripts make files for every user of the machine, such as the list of certificates.
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
                Ok(())
            });
        }
        let mut command = tokio::process::Command::from(command);
        let mut child = command.process_group(0).spawn().map_err(not_started)?;
        // The command holds our ends of the pipe; without them, its end is the children's.
        drop(command);
        let mut guard =
            Guard { leader: child.id().and_then(|id| Pid::from_raw(id.cast_signed())), gently: self.gently };
        let receiver = pipe::Receiver::from_owned_fd(reader.into()).map_err(not_started)?;
        let mut output = BufReader::new(receiver);
        let mut last = VecDeque::new();
        let mut line = Vec::new();
        let status: io::Result<ExitStatus> = loop {
            tokio::select! {
                biased;
                read = output.read_until(b'\n', &mut line) => match read {
                    Ok(n) if n > 0 => take(&mut line, &mut last, each),
                    // The end of its output, or nothing to read it with: only its end is left to wait for.
                    _ => break child.wait().await,
                },
                status = child.wait() => break status,
            }
        };
        // Its last words; a process that it left behind may hold the pipe open for ever.
        while let Ok(Ok(1..)) = tokio::time::timeout(LAST_WORDS, output.read_until(b'\n', &mut line)).await {
            take(&mut line, &mut last, each);
        }
        take(&mut line, &mut last, each);
        guard.leader = None;
        let said = Vec::from(last);
        match status {
            Ok(status) if status.success() => Ok(said),
            Ok(status) => Err(failed(how_it_ended(status), said)),
            Err(e) => Err(failed(reason!("installer.lost", error = e), said)),
        }
    }
}

/// Shows a line without what could steer a terminal, and keeps it for an error.
fn take(line: &mut Vec<u8>, last: &mut VecDeque<String>, each: &mut (dyn FnMut(String) + Send)) {
    let bytes = &line[..line.len().min(LONGEST_LINE)];
    let text = printable(&String::from_utf8_lossy(bytes)).trim_end().to_owned();
    line.clear();
    if text.is_empty() {
        return;
    }
    if last.len() == QUOTED_LINES {
        last.pop_front();
    }
    last.push_back(text.clone());
    each(text);
}

fn how_it_ended(status: ExitStatus) -> Reason {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => reason!("installer.exited", code),
        (None, Some(signal)) => reason!("installer.killed", signal),
        (None, None) => reason!("installer.ended"),
    }
}

/// Stops the process group when the future is dropped before the program's end.
struct Guard {
    leader: Option<Pid>,
    gently: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(leader) = self.leader else { return };
        // Waiting leaves the dead child for tokio to collect.
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        if self.gently {
            let _already_gone = kill_process(leader, Signal::INT);
            let asked = Instant::now();
            while asked.elapsed() < GENTLE_STOP {
                if !matches!(waitid(WaitId::Pid(leader), peek | WaitIdOptions::NOHANG), Ok(None)) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        } else {
            let _already_gone = kill_process_group(leader, Signal::KILL);
            let _already_collected = waitid(WaitId::Pid(leader), peek);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Run {
        Run::new(Path::new("/bin/sh")).args(["-c", script])
    }

    #[tokio::test]
    async fn lines_of_both_outputs_come_without_control_characters() {
        let mut seen = Vec::new();
        let run = shell("echo one; printf 'two\\033[2J\\n' >&2; printf three");
        run.lines(&mut |line| seen.push(line)).await.unwrap();
        assert_eq!(seen, ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn a_failure_quotes_the_last_lines() {
        let error = shell("echo it broke; exit 3").lines(&mut |_| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo it broke; exit 3` failed with exit status 3:\n    it broke");
        let error = Run::new(Path::new("/nonexistent/go")).lines(&mut |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("`go` could not be started: No such file"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_run_leaves_no_child_and_no_grandchild() {
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let run = shell("sleep 1000 & echo $!; wait");
        let mut each = |line: String| said.send(line).unwrap();
        let mut running = Box::pin(run.lines(&mut each));
        let grandchild = tokio::select! {
            _ = &mut running => panic!("it cannot end"),
            line = heard.recv() => line.unwrap(),
        };
        drop(running);
        // Killed with its group; what is left to see is at most its corpse.
        let gone = || match std::fs::read_to_string(format!("/proc/{grandchild}/stat")) {
            Err(_) => true,
            Ok(stat) => stat.contains(") Z "),
        };
        while !gone() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_package_manager_is_asked_to_stop_and_waited_for() {
        // As `slipway setup` listens: else children inherit that SIGINT is ignored where the tests run in the
        // background.
        let _listening = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        // No `wait`: a signal that comes just before it leaves some shells waiting.
        let script = "trap 'echo done > stopped; exit' INT; echo begun; while :; do sleep 0.05; done";
        let run = shell(script).dir(dir.path()).gently();
        let mut each = |line: String| said.send(line).unwrap();
        let mut running = Box::pin(run.lines(&mut each));
        tokio::select! {
            _ = &mut running => panic!("it cannot end"),
            line = heard.recv() => assert_eq!(line.as_deref(), Some("begun")),
        }
        drop(running);
        assert_eq!(std::fs::read_to_string(dir.path().join("stopped")).unwrap(), "done\n");
    }
}
