//! Which process is meant: a pid together with the time the process started, so that a reused pid is never mistaken.
//!
//! Records name processes with [`ProcessId`]; the pool, runners and the managed builder find, await and signal each other
//! by it. Everything goes through a pidfd (Linux 5.3), so nothing here can hit a process that took over the pid.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::domain::reason::{io_error_of, quoted, reason};

/// One process for as long as the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process's number.
    pub pid: i32,
    /// When it started: clock ticks since boot, field 22 of `/proc/PID/stat` (proc(5)).
    pub start: u64,
}

impl ProcessId {
    /// The process that asks.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn current() -> io::Result<ProcessId> {
        let pid = rustix::process::getpid().as_raw_pid();
        ProcessId::of(pid)?.ok_or_else(|| io_error_of(io::ErrorKind::NotFound, reason!("process.not_shown")))
    }

    /// The process that has this pid now; `None` when there is none.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn of(pid: i32) -> io::Result<Option<ProcessId>> {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => match start_time(&stat) {
                Some(start) => Ok(Some(ProcessId { pid, start })),
                None => Err(io_error_of(
                    io::ErrorKind::InvalidData,
                    reason!("process.no_start_time", pid, stat = quoted(&stat)),
                )),
            },
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it still runs. A zombie, dead but not yet collected by its parent, does not.
    pub fn is_alive(&self) -> bool {
        matches!(self.open(), Ok(Some(pidfd)) if !has_exited(&pidfd))
    }

    /// Completes when the process has ended; at once when it already has.
    ///
    /// # Errors
    /// When the kernel refuses a pidfd, or there is no more room for one.
    pub async fn exited(&self) -> io::Result<()> {
        let Some(pidfd) = self.open()? else { return Ok(()) };
        // SAFETY: an OwnedFd is one open descriptor for as long as it lives, and the AsyncFd owns it until it is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        watched.readable().await?.retain_ready();
        Ok(())
    }

    /// Sends a signal; `false` when the process has ended already.
    ///
    /// # Errors
    /// When the process belongs to someone else, or the kernel refuses a pidfd.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pidfd) = self.open()? else { return Ok(false) };
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it was started with this variable at one of these values, as this user. One that ends meanwhile was not.
    fn has_variable(&self, name: &str, values: &[&str]) -> bool {
        let directory = PathBuf::from(format!("/proc/{}", self.pid));
        let is_ours = fs::metadata(&directory).is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw());
        let environment = if is_ours { fs::read(directory.join("environ")).unwrap_or_default() } else { Vec::new() };
        environment.split(|byte| *byte == 0).any(|variable| {
            let value = variable.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            value.is_some_and(|value| values.iter().any(|wanted| wanted.as_bytes() == value))
        })
    }

    /// A descriptor that stands for this very process; `None` when it is gone.
    ///
    /// # Errors
    /// When the kernel refuses a pidfd, or there is no more room for one.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Asked after the descriptor is held: a process that took the pid over started later and does not compare equal.
        Ok((ProcessId::of(self.pid)?.as_ref() == Some(self)).then_some(pidfd))
    }
}

/// This user's other processes that have this variable, or one of these, in the environment that they were started with: what
/// a process gave to the commands that it started, and those to theirs.
pub fn with_variable(name: &str, values: &[&str]) -> Vec<ProcessId> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let pids = pids.filter(|pid| *pid != rustix::process::getpid().as_raw_pid());
    let processes = pids.filter_map(|pid| ProcessId::of(pid).ok().flatten());
    processes.filter(|process| process.has_variable(name, values)).collect()
}

fn has_exited(pidfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)), Ok(1..))
}

/// Reading of a process that ends meanwhile fails with one of these.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Field 22 of `/proc/PID/stat`. The second field, the name, is in parentheses and may hold spaces and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// This very program, even where its file was replaced by an upgrade.
///
/// # Errors
/// When `/proc` can't be read.
pub fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(if path.exists() { path } else { PathBuf::from("/proc/self/exe") })
}

/// Starts a command in a session of its own, so that it outlives this process and its terminal. It inherits no file
/// descriptor but its standard streams.
pub fn in_own_session(command: &mut std::process::Command) {
    // SAFETY: both calls are async-signal-safe and touch no memory of ours.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            super::hardening::close_on_exec();
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn processes_are_found_by_a_variable_that_they_were_given_and_handed_on() {
        let mark = format!("{}-{}", std::process::id(), "processes-are-found");
        // The shell reports that its child runs, then waits for it.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .env("SLIPWAY_TEST_MARK", &mark)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
        let mut found: Vec<i32> =
            with_variable("SLIPWAY_TEST_MARK", &["another", &mark]).iter().map(|process| process.pid).collect();
        let mut expected = vec![shell.id().cast_signed(), line.trim().parse().unwrap()];
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        for process in with_variable("SLIPWAY_TEST_MARK", &[&mark]) {
            process.signal(Signal::KILL).unwrap();
        }
        shell.wait().unwrap();
        assert_eq!(with_variable("SLIPWAY_TEST_MARK", &["another"]), []);
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_move_the_start_time() {
        let stat = "71 (a) b (c)) S 1 71 71 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8675309 1 2 3";
        assert_eq!(start_time(stat), Some(8_675_309));
        assert_eq!(start_time("71 (short) S 1"), None);
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_another_process() {
        let me = ProcessId::current().unwrap();
        assert!(me.is_alive());
        let impostor = ProcessId { start: me.start + 1, ..me };
        assert!(!impostor.is_alive());
        assert!(!impostor.signal(Signal::KILL).unwrap());
        assert!(!ProcessId { pid: 0, start: 0 }.is_alive());
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_awaited_and_a_zombie_is_not_alive() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = ProcessId::of(child.id() as i32).unwrap().unwrap();
        assert!(process.is_alive());
        assert!(process.signal(Signal::KILL).unwrap());
        process.exited().await.unwrap();
        assert!(!process.is_alive(), "a zombie");
        child.wait().unwrap();
        process.exited().await.unwrap();
        assert!(!process.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_process_is_written_to_toml_and_read_back() {
        let process = ProcessId { pid: 7, start: 9 };
        let text = toml::to_string(&process).unwrap();
        assert_eq!(text, "pid = 7\nstart = 9\n");
        assert_eq!(toml::from_str::<ProcessId>(&text).unwrap(), process);
    }
}
