//! Checkouts of local sources: the tree of one commit, written to a directory of its own.
//!
//! The source's index, working tree and HEAD are neither read nor touched, so a checkout is the same whatever a person does there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use git2::build::CheckoutBuilder;
use git2::{CheckoutNotificationType, ErrorCode, Index, Oid, Repository};

use crate::domain::tree_path::TreePath;

/// A commit that can't be checked out or looked at.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The repository does not open.
    #[error("cannot open the git repository {path}: {reason}", path = path.display())]
    Open {
        /// The repository.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It does not have that commit.
    #[error("the repository {path} has no commit {commit}; it may have been rewritten: build its branch or tag anew", path = path.display())]
    NoCommit {
        /// The repository.
        path: PathBuf,
        /// The commit.
        commit: String,
    },
    /// The destination holds something already.
    #[error("cannot check out into {path}: it is not empty", path = path.display())]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// The tree can't be written or read. What was written is still there.
    #[error("cannot check out {commit} into {path}: {reason}", path = path.display())]
    Write {
        /// The commit.
        commit: String,
        /// The destination.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Writes the tree of exactly that commit (40 digits) into `dest`, which is made, or empty. Modes and symbolic links are kept;
/// a submodule is an empty directory, for its commits are in another repository. Blocks, until `abort` becomes true.
///
/// # Errors
/// When the repository does not open, has no such commit, or the tree can't be written.
pub fn checkout(repository: &Path, commit: &str, dest: &Path, abort: &AtomicBool) -> Result<(), CheckoutError> {
    let repo = open_for_checkout(repository)?;
    let found = find(&repo, repository, commit)?;
    let fail = |reason: String| CheckoutError::Write { commit: commit.into(), path: dest.into(), reason };
    fs::create_dir_all(dest).map_err(|e| fail(e.to_string()))?;
    if fs::read_dir(dest).map_err(|e| fail(e.to_string()))?.next().is_some() {
        return Err(CheckoutError::NotEmpty { path: dest.into() });
    }
    let git = |e: git2::Error| fail(e.message().to_owned());
    // An index in memory stands in for the repository's own.
    let mut index = Index::new().map_err(git)?;
    repo.set_index(&mut index).map_err(git)?;
    let mut options = CheckoutBuilder::new();
    options.force().recreate_missing(true).update_index(false).refresh(false).target_dir(dest);
    options.notify_on(CheckoutNotificationType::UPDATED);
    options.notify(|_, _, _, _, _| !abort.load(Ordering::Relaxed));
    repo.checkout_tree(found.as_object(), Some(&mut options)).map_err(git)
}

/// The repository at exactly that path, not one above it.
pub(super) fn open(path: &Path) -> Result<Repository, git2::Error> {
    Repository::open(path)
}

pub(super) fn open_for_checkout(path: &Path) -> Result<Repository, CheckoutError> {
    open(path).map_err(|error| CheckoutError::Open {
        path: path.into(),
        reason: match error.code() {
            ErrorCode::Owner => format!(
                "it belongs to another user; if you trust it, run: git config --global --add safe.directory {}",
                path.display()
            ),
            _ => error.message().to_owned(),
        },
    })
}

pub(super) fn find<'r>(repo: &'r Repository, path: &Path, commit: &str) -> Result<git2::Commit<'r>, CheckoutError> {
    let missing = || CheckoutError::NoCommit { path: path.into(), commit: commit.into() };
    // A short id is filled up with zeros by libgit2: it would be another commit.
    let id = Some(commit).filter(|commit| commit.len() == 40).and_then(|commit| Oid::from_str(commit).ok());
    repo.find_commit(id.ok_or_else(missing)?).map_err(|_| missing())
}

/// A path of a checkout that is not there, or not in it.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// There is nothing.
    #[error("{path} is not in the source at this commit; check the rule's directory and file")]
    Missing {
        /// The path from the root of the tree.
        path: TreePath,
    },
    /// A symbolic link on the way leaves the tree.
    #[error("{path} is a symbolic link that leaves the source's tree, which is refused")]
    Outside {
        /// The path from the root of the tree.
        path: TreePath,
    },
    /// It can't be looked at.
    #[error("cannot look at {path} in the checkout: {cause}")]
    Io {
        /// The path from the root of the tree.
        path: TreePath,
        /// What the system says.
        cause: io::Error,
    },
}

/// The real path of a file or directory of a checkout, after all symbolic links, which may not leave `root`.
///
/// # Errors
/// When it is not there or not in the tree.
pub fn resolve_inside(root: &Path, path: &TreePath) -> Result<PathBuf, InsideError> {
    let fail = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => InsideError::Missing { path: path.clone() },
        _ => InsideError::Io { path: path.clone(), cause },
    };
    let root = fs::canonicalize(root).map_err(fail)?;
    // Links are followed first: what they leave for may not even exist.
    let mut at = root.clone();
    for part in path.as_str().split('/').filter(|part| !part.is_empty()) {
        at.push(part);
        if let Ok(target) = fs::read_link(&at)
            && !lexically(&at, &target).starts_with(&root)
        {
            return Err(InsideError::Outside { path: path.clone() });
        }
        at = fs::canonicalize(&at).map_err(fail)?;
        if !at.starts_with(&root) {
            return Err(InsideError::Outside { path: path.clone() });
        }
    }
    Ok(at)
}

/// Where a link points, by its words alone.
fn lexically(link: &Path, target: &Path) -> PathBuf {
    let mut at = link.parent().unwrap_or(Path::new("/")).to_owned();
    for part in target.components() {
        match part {
            std::path::Component::ParentDir => drop(at.pop()),
            std::path::Component::CurDir => {}
            part => at.push(part),
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_inside_the_tree_are_followed_and_others_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir_all(root.join("svc/api")).unwrap();
        fs::write(root.join("svc/api/Dockerfile"), "").unwrap();
        fs::create_dir(dir.path().join("secret")).unwrap();
        symlink("svc/api", root.join("current")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("/no/such/place", root.join("nowhere")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("svc/../../secret", root.join("sly")).unwrap();
        let resolve = |path: &str| resolve_inside(&root, &TreePath::parse(path).unwrap());
        let real = fs::canonicalize(&root).unwrap();
        assert_eq!(resolve("/").unwrap(), real);
        assert_eq!(resolve("current/Dockerfile").unwrap(), real.join("svc/api/Dockerfile"));
        for path in ["out", "etc", "etc/passwd", "nowhere", "sly"] {
            let error = resolve(path).unwrap_err();
            assert!(matches!(error, InsideError::Outside { .. }), "{path}: {error}");
        }
        assert!(matches!(resolve("none").unwrap_err(), InsideError::Missing { .. }));
        assert!(matches!(resolve("svc/api/Dockerfile/x").unwrap_err(), InsideError::Missing { .. }));
        assert!(matches!(resolve("loop").unwrap_err(), InsideError::Io { .. }));
    }
}
