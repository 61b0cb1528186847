//! A scratch git repository, made with git's own command line.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::background::run;

/// git as if nobody had ever configured it.
pub fn git(directory: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    git.env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.com");
    }
    git
}

/// A repository with a working tree, on the branch `main`.
pub struct GitRepo {
    directory: TempDir,
}

impl GitRepo {
    /// An empty repository: no commit yet.
    pub fn new() -> GitRepo {
        let repo = GitRepo { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(repo.path()).unwrap();
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    /// The working tree.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("source")
    }

    /// Runs git in the working tree; its output, trimmed.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        run(git(&self.path()).args(args)).ok().stdout.trim().to_owned()
    }

    /// Writes a file, making its directories.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) -> &GitRepo {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    /// Writes a file that may be executed.
    pub fn write_executable(&self, path: &str, contents: impl AsRef<[u8]>) -> &GitRepo {
        self.write(path, contents);
        fs::set_permissions(self.path().join(path), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &str, target: &str) -> &GitRepo {
        symlink(target, self.path().join(path)).unwrap();
        self
    }

    /// Commits all that is in the working tree, changed or not; the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// The commit that is checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Goes to a branch; a new one starts at the current commit.
    pub fn branch(&self, name: &str) -> &GitRepo {
        let exists = !self.git(&["branch", "--list", name]).is_empty();
        if exists {
            self.git(&["checkout", "--quiet", name])
        } else {
            self.git(&["checkout", "--quiet", "-b", name])
        };
        self
    }

    /// Puts an annotated tag on the current commit; the tag object's id.
    pub fn tag(&self, name: &str) -> String {
        self.git(&["tag", "--annotate", "--message", name, name]);
        self.git(&["rev-parse", name])
    }
}

/// Clones `url` with git's command line, which `setup` may give an environment; the clone's working tree.
#[cfg(test)]
pub fn cloned(url: &str, setup: impl FnOnce(&mut Command)) -> TempDir {
    let clone = tempfile::tempdir().unwrap();
    let mut command = git(clone.path());
    setup(command.args(["clone", "--quiet", url, "."]));
    run(&mut command).ok();
    clone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_keeps_branches_annotated_tags_modes_and_links() {
        let repo = GitRepo::new();
        repo.write("svc/api/file", "text").write_executable("run", "#!/bin/sh\n").symlink("link", "run");
        let first = repo.commit("first");
        let tag = repo.tag("v1");
        let second = repo.branch("release-1").commit("second");
        assert_ne!(tag, first);
        assert_eq!(repo.git(&["rev-parse", "v1^{commit}"]), first);
        assert_eq!(repo.branch("main").git(&["rev-parse", "HEAD", "release-1"]), format!("{first}\n{second}"));
        let modes: Vec<_> = repo.git(&["ls-tree", "-r", "v1"]).lines().map(|line| line[..6].to_owned()).collect();
        assert_eq!(modes, ["120000", "100755", "100644"]);
    }
}
