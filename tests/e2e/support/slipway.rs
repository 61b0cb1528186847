//! slipway itself, in a home of its own.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::background::{Background, Ran, run};
use super::path;
use super::processes::kill_all_of;
use super::tmpfs::unmount_all_below;
use super::wait::{DEADLINE, holds_within};

/// How long a pool may take to stop before it is killed.
const STOPPING: Duration = Duration::from_secs(10);

/// How much of a log's end a failure shows.
const TAIL_LINES: usize = 40;

/// A home, and the binary that works in it. When dropped, the pool is stopped and all that is left of it is killed.
pub struct Slipway {
    home: TempDir,
}

impl Slipway {
    /// An empty home.
    pub fn new() -> Slipway {
        Slipway { home: tempfile::tempdir().unwrap() }
    }

    /// An empty home in a directory whose name begins so.
    pub fn named(beginning: &str) -> Slipway {
        Slipway { home: tempfile::Builder::new().prefix(beginning).tempdir().unwrap() }
    }

    /// An empty home on a file system that holds `bytes`. Needs root.
    pub fn on_tmpfs(bytes: u64) -> Slipway {
        let slipway = Slipway::new();
        let size = format!("size={bytes},mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(slipway.home())).ok();
        slipway
    }

    /// `SLIPWAY_HOME`.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The binary with arguments, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        self.prepare(command.args(args));
        command
    }

    /// Runs the binary to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    /// Runs the binary, which must succeed, with `--output json`; what it printed.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--output", "json"]].concat()).ok().json()
    }

    /// Starts the binary.
    #[track_caller]
    pub fn spawn(&self, args: &[&str]) -> Background {
        Background::start(&mut self.command(args))
    }

    /// Writes a file of the home, such as `config.toml`, making its directories.
    pub fn write(&self, path: &str, contents: &str) {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Returns once `condition` holds.
    ///
    /// # Panics
    /// With `what`, the pool's log and the builds' records when it does not.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        self.wait_at_most(DEADLINE, what, condition);
    }

    #[track_caller]
    fn wait_at_most(&self, deadline: Duration, what: &str, condition: impl FnMut() -> bool) {
        let held = holds_within(deadline, condition);
        assert!(held, "waited {deadline:?} in vain until {what}\n{}", self.records());
    }

    /// Gives a command this home, and nothing of what the person who runs the tests has configured.
    fn prepare(&self, command: &mut Command) {
        command.env("SLIPWAY_HOME", self.home()).env("PATH", path()).env_remove("BUILDKIT_HOST");
        command.env_remove("DOCKER_CONFIG").env("HOME", self.home()).env_remove("SSH_AUTH_SOCK");
    }

    /// The pool's log and each build's record and log, the ends of long ones only.
    fn records(&self) -> String {
        let mut files = vec![self.home().join("pool.log")];
        for build in fs::read_dir(self.home().join("builds")).into_iter().flatten().flatten() {
            files.extend(["build.toml", "result.toml", "log"].map(|name| build.path().join(name)));
        }
        let mut text = String::new();
        for file in files {
            if let Ok(bytes) = fs::read(&file) {
                let _ = writeln!(text, "--- {}\n{}", file.display(), tail(&String::from_utf8_lossy(&bytes)));
            }
        }
        text
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

impl Drop for Slipway {
    fn drop(&mut self) {
        let mut stop = self.spawn(&["pool", "stop"]);
        holds_within(STOPPING, || !stop.is_running());
        kill_all_of("SLIPWAY_HOME", self.home());
        unmount_all_below(self.home());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn panic_of(action: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(action)).unwrap_err();
        *panic.downcast::<String>().unwrap()
    }

    #[test]
    fn a_command_that_prints_no_json_fails_with_itself_and_its_status() {
        let slipway = Slipway::new();
        let text = panic_of(|| {
            slipway.json(&["no-such-verb"]);
        });
        assert!(text.contains("no-such-verb") && text.contains("exit status"), "{text}");
    }

    #[test]
    fn waiting_in_vain_shows_the_pool_and_the_builds() {
        let slipway = Slipway::new();
        slipway.write("pool.log", "pool started\n");
        slipway.write("builds/1/log", &"#5 0.1 line\n".repeat(100));
        let text = panic_of(|| slipway.wait_at_most(Duration::ZERO, "pigs fly", || false));
        assert!(text.contains("until pigs fly") && text.contains("pool started"), "{text}");
        assert_eq!(text.matches("#5 0.1 line").count(), TAIL_LINES);
        slipway.wait_until("the log is there", || slipway.home().join("pool.log").exists());
    }

    #[test]
    fn nothing_that_was_started_in_a_home_outlives_it() {
        let slipway = Slipway::new();
        assert!(slipway.run(&["--version"]).status.success());
        let mut command = Command::new("sleep");
        slipway.prepare(command.arg("1000"));
        let mut left = Background::start(&mut command);
        drop(slipway);
        assert!(!left.is_running());
    }
}
