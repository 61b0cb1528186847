//! A BuildKit daemon that slipway did not start.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::background::{Background, run};
use super::path;
use super::processes::kill_all_of;
use super::tmpfs::unmount_all_below;
use super::wait::{DEADLINE, holds_within};

/// A running daemon, its cache empty at first; gone with its containers and mounts when dropped.
pub struct Buildkitd {
    directory: TempDir,
    process: Option<Background>,
}

/// Marks the daemon and what it starts, so that all of it can be found again.
const MARK: &str = "SLIPWAY_TEST_BUILDKITD";

impl Buildkitd {
    /// Starts a daemon with `config` for its buildkitd.toml, and waits until it answers.
    pub fn start(config: &str) -> Buildkitd {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        // By default all daemons of a machine would make one socket for traces.
        let otel = format!("[otel]\nsocketPath = {:?}\n", at("otel.sock"));
        std::fs::write(at("buildkitd.toml"), format!("{config}\n{otel}")).unwrap();
        let mut command = Command::new("buildkitd");
        command.arg("--config").arg(at("buildkitd.toml")).arg("--root").arg(at("root"));
        command.arg("--addr").arg(format!("unix://{}", at("sock").display()));
        command.env("PATH", path()).env(MARK, directory.path());
        // All that a step prints, as slipway's own daemons pass it on.
        command.env("BUILDKIT_STEP_LOG_MAX_SIZE", "-1").env("BUILDKIT_STEP_LOG_MAX_SPEED", "-1");
        let process = Background::start(&mut command);
        let daemon = Buildkitd { directory, process: Some(process) };
        let answers = || run(&mut daemon.buildctl(&["debug", "workers"])).status.success();
        let ready = holds_within(DEADLINE, answers);
        assert!(ready, "buildkitd does not answer: {}", daemon.log());
        daemon
    }

    /// Its address, as for `BUILDKIT_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.directory.path().join("sock").display())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Background::stderr).unwrap_or_default()
    }

    /// buildctl talking to it.
    pub fn buildctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new("buildctl");
        command.arg("--addr").arg(self.address()).args(args).env("PATH", path());
        command
    }

    /// The command that builds a directory that has a Dockerfile, for the platforms, into an OCI layout directory.
    pub fn build(&self, context: &Path, platforms: &str, layout: &Path) -> Command {
        let mut command = self.buildctl(&["build", "--progress=plain", "--frontend=dockerfile.v0"]);
        for name in ["context", "dockerfile"] {
            command.arg(format!("--local={name}={}", context.display()));
        }
        command.arg(format!("--opt=platform={platforms}"));
        command.arg(format!("--output=type=oci,tar=false,name=test:built,dest={}", layout.display()));
        command
    }
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        self.process = None;
        let home = self.directory.path();
        kill_all_of(MARK, home);
        unmount_all_below(home);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::git_repo::GitRepo;
    use crate::support::processes::container_running;
    use crate::support::skopeo::Images;
    use crate::support::wait::wait_until;

    #[test]
    fn a_dockerfile_from_scratch_runs_on_two_platforms() {
        let repo = GitRepo::with_dockerfile(&["RUN echo running on $(uname -m)"]);
        let (daemon, layout) = (Buildkitd::start(""), tempfile::tempdir().unwrap());
        let built = run(&mut daemon.build(&repo.path(), "linux/amd64,linux/arm64", layout.path())).ok();
        for machine in ["x86_64", "aarch64"] {
            assert!(built.stderr.contains(&format!("running on {machine}")), "{built}");
        }
        assert_eq!(Images::layout(layout.path()).tags(), ["built"]);
    }

    #[test]
    fn a_killed_daemon_leaves_no_container_behind() {
        let repo = GitRepo::with_dockerfile(&["RUN sleep 70003.5"]);
        let (daemon, layout) = (Buildkitd::start(""), tempfile::tempdir().unwrap());
        let _build = Background::start(&mut daemon.build(&repo.path(), "linux/amd64", layout.path()));
        wait_until("the step runs", || container_running("sleep 70003.5"));
        drop(daemon);
        assert!(!container_running("sleep 70003.5"));
    }
}
