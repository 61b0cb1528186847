//! A process that dies with its test, its output in files.

use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tempfile::TempDir;

use super::wait::{DEADLINE, holds_within};

/// What a finished process left.
pub struct Ran {
    command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

impl Ran {
    /// Itself, when it succeeded.
    ///
    /// # Panics
    /// With the command and all it printed when it failed.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert!(self.status.success(), "{self}");
        self
    }

    /// The exit status as a number; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Its standard output as one JSON document, whatever its exit status.
    ///
    /// # Panics
    /// With the command and all it printed when that is not JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("not a JSON document ({error}): {self}"),
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ran { command, status, stdout, stderr } = self;
        write!(f, "{command}\n{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// Runs a command to its end, without input.
///
/// # Panics
/// When it can't be started, or does not end.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    Background::start(command).finish()
}

/// Makes the process of `command` die when the thread that starts it ends.
pub fn tie_to_this_thread(command: &mut Command) -> &mut Command {
    // SAFETY: the closure makes one system call and allocates nothing, as is required between fork and exec.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) }
}

/// A running process; killed when dropped, and when its test ends in any other way.
pub struct Background {
    command: String,
    child: Child,
    output: TempDir,
}

impl Background {
    /// Starts a command without input.
    ///
    /// # Panics
    /// When it can't be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Background {
        let output = tempfile::tempdir().unwrap();
        let file = |name| File::create(output.path().join(name)).unwrap();
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        match tie_to_this_thread(command).spawn() {
            Ok(child) => Background { command: format!("{command:?}"), child, output },
            Err(error) => panic!("cannot start {command:?} (has tests/run been run?): {error}"),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it has printed on standard output so far.
    pub fn stdout(&self) -> String {
        self.printed("stdout")
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> String {
        self.printed("stderr")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// With all it printed when it does not end.
    #[track_caller]
    pub fn finish(mut self) -> Ran {
        let ended = holds_within(DEADLINE, || !self.is_running());
        if !ended {
            self.child.kill().unwrap();
        }
        let ran = Ran {
            command: self.command.clone(),
            status: self.child.wait().unwrap(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        };
        assert!(ended, "still running after {DEADLINE:?}: {ran}");
        ran
    }

    fn printed(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.output.path().join(name)).unwrap()).into_owned()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::wait::wait_until;

    #[test]
    fn a_finished_process_tells_its_status_and_its_output() {
        let ran = run(Command::new("sh").args(["-c", "echo '[1]'; echo why >&2; exit 3"]));
        assert_eq!((ran.code(), ran.json(), ran.stderr.as_str()), (Some(3), serde_json::json!([1]), "why\n"));
    }

    #[test]
    fn a_signal_reaches_a_background_process() {
        let script = "trap 'echo caught; exit 0' USR1; echo ready; while :; do sleep 0.01; done";
        let process = Background::start(Command::new("sh").args(["-c", script]));
        wait_until("it is ready", || process.stdout() == "ready\n");
        process.signal(Signal::USR1);
        assert_eq!(process.finish().ok().stdout, "ready\ncaught\n");
    }

    #[test]
    fn a_process_dies_with_the_thread_that_started_it() {
        let start = || tie_to_this_thread(Command::new("sleep").arg("1000")).spawn().unwrap();
        let mut child = std::thread::spawn(start).join().unwrap();
        wait_until("it is dead", || child.try_wait().unwrap().is_some());
    }
}
