//! A repository of slipway's that is bound to a source of its own: `acme/app`, rule `main`, tag `latest`.

use std::fs;
use std::path::PathBuf;

use rustix::process::Pid;
use serde_json::Value;

use super::background::Background;
use super::git_repo::GitRepo;
use super::processes::{is_alive, kill, with_command_line, with_environment, with_name};
use super::skopeo::Images;
use super::slipway::Slipway;
use super::wait::wait_until;

/// The repository that every project has.
pub const REPOSITORY: &str = "acme/app";

/// A home with one repository in it, and what it is built from.
pub struct Project {
    /// The home.
    pub slipway: Slipway,
    /// What `acme/app` is built from.
    pub source: GitRepo,
}

/// A step that prints `tick 1` to `tick COUNT`, ten a second. The marker tells its container from all others.
pub fn ticking(marker: &str, count: u32) -> String {
    format!("RUN : {marker}; for i in $(seq 1 {count}); do echo tick $i; sleep 0.1; done")
}

/// `rule` of a repository's file, for a branch and the tag `latest`.
pub fn rule(name: &str, branch: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nbranch = \"{branch}\"\nversions = [{{ name = \"latest\" }}]\n")
}

impl Project {
    /// One that builds a Dockerfile with these steps.
    pub fn new(steps: &[&str]) -> Project {
        Project::in_home(Slipway::new(), steps)
    }

    /// One in a home that is there already.
    pub fn in_home(slipway: Slipway, steps: &[&str]) -> Project {
        let project = Project { slipway, source: GitRepo::with_dockerfile(steps) };
        project.slipway.write("namespaces/acme.toml", "schema = 1\n");
        project.write_repository("", &rule("main", "main"));
        project
    }

    /// Writes the repository's file by hand: `build` is the text of its `[build]`.
    pub fn write_repository(&self, build: &str, rules: &str) {
        self.write_another("app", build, rules);
    }

    /// Writes another repository's file, of the same source.
    pub fn write_another(&self, name: &str, build: &str, rules: &str) {
        self.write_another_of(name, &self.source.path(), &format!("[build]\n{build}\n\n{rules}"));
    }

    /// Writes another repository's file, of another source: `rest` is what follows its `[source]`.
    pub fn write_another_of(&self, name: &str, source: &std::path::Path, rest: &str) {
        let text = format!("schema = 1\n\n[source]\nurl = {source:?}\n\n{rest}");
        self.slipway.write(&format!("namespaces/acme/{name}.toml"), &text);
    }

    /// Starts a build of `acme/app`; its number.
    #[track_caller]
    pub fn start(&self) -> u64 {
        self.start_of(REPOSITORY)
    }

    /// Starts a build of a repository that has one rule; its number.
    #[track_caller]
    pub fn start_of(&self, repository: &str) -> u64 {
        self.slipway.json(&["build", "start", repository])["id"].as_u64().unwrap()
    }

    /// Starts a build in the background and waits for it there.
    pub fn start_and_wait(&self) -> Background {
        self.slipway.spawn(&["build", "start", REPOSITORY, "--wait", "--output", "json"])
    }

    /// A build as `build show` shows it.
    #[track_caller]
    pub fn show(&self, id: u64) -> Value {
        self.slipway.json(&["build", "show", &id.to_string()])
    }

    /// Whether there is such a build already.
    pub fn is_there(&self, id: u64) -> bool {
        self.build_directory(id).join("build.toml").exists()
    }

    /// A build's state.
    #[track_caller]
    pub fn state(&self, id: u64) -> String {
        self.show(id)["state"].as_str().unwrap().to_owned()
    }

    /// Waits until a build is in a state; then as it is shown.
    #[track_caller]
    pub fn wait_for(&self, id: u64, state: &str) -> Value {
        let mut shown = Value::Null;
        self.slipway.wait_until(&format!("build {id} is {state}"), || {
            shown = self.show(id);
            shown["state"] == state
        });
        shown
    }

    /// Waits until a build is held for a reason that contains `text`.
    #[track_caller]
    pub fn wait_until_held(&self, id: u64, text: &str) {
        self.slipway.wait_until(&format!("build {id} is held, saying {text:?}"), || {
            let shown = self.show(id);
            shown["state"] == "held" && shown["reason"].as_str().unwrap().contains(text)
        });
    }

    /// Waits until a ticking build has printed this tick.
    #[track_caller]
    pub fn wait_for_tick(&self, id: u64, tick: u32) {
        self.slipway.wait_until(&format!("build {id} prints tick {tick}"), || self.ticks(id).contains(&tick));
    }

    /// Waits until a build runs its attempt of that number.
    #[track_caller]
    pub fn wait_for_attempt(&self, id: u64, attempt: u32) {
        self.slipway.wait_until(&format!("attempt {attempt} of build {id} runs"), || {
            let build = self.show(id);
            build["state"] == "running" && build["attempt"] == attempt
        });
    }

    /// Where a build's files are.
    pub fn build_directory(&self, id: u64) -> PathBuf {
        self.slipway.home().join(format!("builds/{id}"))
    }

    /// The log of a build's first attempt so far.
    pub fn log(&self, id: u64) -> String {
        self.log_of(id, 1)
    }

    /// The log of an attempt so far.
    pub fn log_of(&self, id: u64, attempt: u32) -> String {
        let directory = self.build_directory(id);
        let directory = if attempt > 1 { directory.join(format!("attempts/{attempt}")) } else { directory };
        let bytes = fs::read(directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What a ticking build has printed so far.
    pub fn ticks(&self, id: u64) -> Vec<u32> {
        self.ticks_of(id, 1)
    }

    /// What an attempt of it has printed so far.
    pub fn ticks_of(&self, id: u64, attempt: u32) -> Vec<u32> {
        self.log_of(id, attempt).lines().filter_map(|line| line.rsplit_once(" tick ")?.1.parse().ok()).collect()
    }

    /// How the pool is; starts it when it is not there.
    #[track_caller]
    pub fn pool(&self) -> Value {
        self.slipway.json(&["pool", "start"])
    }

    /// The pool's process.
    #[track_caller]
    pub fn pool_pid(&self) -> Pid {
        let status = self.slipway.json(&["pool", "status"]);
        Pid::from_raw(i32::try_from(status["pid"].as_i64().unwrap()).unwrap()).unwrap()
    }

    /// Kills the pool as the kernel does when memory is short.
    #[track_caller]
    pub fn kill_pool(&self) {
        kill_and_wait(self.pool_pid());
    }

    /// The process that owns a build.
    #[track_caller]
    pub fn runner(&self, id: u64) -> Pid {
        let text = format!("slipway runner {}", self.build_directory(id).display());
        let mut found = with_command_line(&text).into_iter().filter(|pid| is_alive(*pid));
        found.next().unwrap_or_else(|| panic!("build {id} has no runner"))
    }

    /// Kills the process that owns a build.
    #[track_caller]
    pub fn kill_runner(&self, id: u64) {
        kill_and_wait(self.runner(id));
    }

    /// The living BuildKit daemons that were started from this home.
    pub fn daemons(&self) -> Vec<Pid> {
        let named = with_name("buildkitd");
        let ours = with_environment("SLIPWAY_HOME", self.slipway.home());
        ours.into_iter().filter(|pid| named.contains(pid) && is_alive(*pid)).collect()
    }

    /// The local images of `acme/app`.
    pub fn images(&self) -> Images {
        Images::layout(&self.slipway.home().join("images").join(REPOSITORY))
    }
}

/// Kills a process and waits until it is gone.
#[track_caller]
pub fn kill_and_wait(pid: Pid) {
    kill(pid);
    wait_until("the killed process is gone", || !is_alive(pid));
}
