//! Looking at, and ending, processes that are not children of the test.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, getpid, kill_process};

/// Every process but this one.
fn all() -> impl Iterator<Item = Pid> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .filter(|pid| *pid != getpid())
}

/// A file under `/proc/PID`; empty when the process is gone.
fn read(pid: Pid, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{}/{name}", pid.as_raw_pid())).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The processes that were started with `name=value` in their environment.
pub fn with_environment(name: &str, value: &Path) -> Vec<Pid> {
    let wanted = format!("{name}={}", value.display());
    all().filter(|pid| read(*pid, "environ").split('\0').any(|variable| variable == wanted)).collect()
}

/// The processes whose command line, arguments joined by spaces, contains `text`.
pub fn with_command_line(text: &str) -> Vec<Pid> {
    all().filter(|pid| read(*pid, "cmdline").replace('\0', " ").contains(text)).collect()
}

/// The processes whose program has this name, at most 15 characters of it.
pub fn with_name(name: &str) -> Vec<Pid> {
    all().filter(|pid| read(*pid, "comm").trim_end() == name).collect()
}

/// The processes whose root directory is mounted from below `directory`: containers that a daemon there has started,
/// also those whose daemon was killed.
pub fn with_root_below(directory: &Path) -> Vec<Pid> {
    let below = format!("{}/", directory.display());
    let is_root_from_there = |line: &str| line.split(' ').nth(4) == Some("/") && line.contains(&below);
    all().filter(|pid| read(*pid, "mountinfo").lines().any(is_root_from_there)).collect()
}

/// Whether a process in a container has `marker` in its command line.
pub fn container_running(marker: &str) -> bool {
    let namespace = |pid: Pid| fs::read_link(format!("/proc/{}/ns/pid", pid.as_raw_pid())).ok();
    let ours = namespace(getpid());
    with_command_line(marker).into_iter().any(|pid| is_alive(pid) && namespace(pid) != ours)
}

/// Whether the process exists and is no zombie, or has a thread that still ends and holds its files open.
pub fn is_alive(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())).map_or(0, Iterator::count);
    // The state follows the command's name, which may itself hold spaces and brackets.
    threads > 1 || read(pid, "stat").rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Kills the process with SIGKILL; nothing when it is gone.
pub fn kill(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
}

/// Kills every process of a daemon's home: those started with `name` naming it, and the containers they leave. Whether
/// none is left.
pub fn kill_all_of(name: &str, home: &Path) -> bool {
    super::wait::holds_within(super::wait::DEADLINE, || {
        let found: HashSet<Pid> = with_environment(name, home).into_iter().chain(with_root_below(home)).collect();
        let living: Vec<Pid> = found.into_iter().filter(|pid| is_alive(*pid)).collect();
        living.iter().for_each(|pid| kill(*pid));
        living.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::support::background::Background;
    use crate::support::wait::wait_until;

    #[test]
    fn a_process_is_found_by_its_environment_and_killed_with_all_others_of_its_home() {
        let home = tempfile::tempdir().unwrap();
        let process = Background::start(Command::new("sleep").arg("1000").env("TEST_HOME", home.path()));
        wait_until("sleep runs", || with_environment("TEST_HOME", home.path()) == [process.pid()]);
        assert!(is_alive(process.pid()));
        assert!(kill_all_of("TEST_HOME", home.path()));
        assert!(!is_alive(process.pid()));
    }

    #[test]
    fn a_container_is_told_apart_from_a_process_of_the_host_by_its_process_namespace() {
        let _host = Background::start(Command::new("sleep").arg("70001.5"));
        wait_until("the host's process runs", || !with_command_line("sleep 70001.5").is_empty());
        assert!(!container_running("sleep 70001.5"));
        let script = ["--pid", "--fork", "--kill-child", "sleep", "70002.5"];
        let _container = Background::start(Command::new("unshare").args(script));
        wait_until("the container runs", || container_running("sleep 70002.5"));
    }
}
