//! `git://`: git's own daemon.

use std::path::Path;
use std::process::Command;

use super::background::run;
use super::git_repo::{GitRepo, git};
use super::inetd::Inetd;

/// A git daemon that serves one repository.
pub struct GitDaemon {
    inetd: Inetd,
}

impl GitDaemon {
    /// Serves `repo` until dropped.
    pub fn serve(repo: &GitRepo) -> GitDaemon {
        let base = repo.path().parent().unwrap().to_owned();
        // Called by its own name: `git daemon` would be a parent that can die without its child.
        let program = Path::new(run(git(&base).arg("--exec-path")).ok().stdout.trim()).join("git-daemon");
        let command = move || {
            let mut command = Command::new(&program);
            command.args(["--inetd", "--export-all"]).arg(format!("--base-path={}", base.display()));
            command
        };
        GitDaemon { inetd: Inetd::serve(command) }
    }

    /// The repository's address.
    pub fn url(&self) -> String {
        format!("git://127.0.0.1:{}/source", self.inetd.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::git_repo::cloned;

    #[test]
    fn a_git_daemon_is_cloned_from() {
        let repo = GitRepo::new();
        repo.write("file", "text").commit("first");
        let daemon = GitDaemon::serve(&repo);
        let clone = cloned(&daemon.url(), |_| {});
        assert_eq!(std::fs::read_to_string(clone.path().join("file")).unwrap(), "text");
    }
}
