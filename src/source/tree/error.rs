//! Why the tree of a commit can't be made ready, by kind.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::config::ByteSize;

/// A tree that can't be made ready for a build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TreeError {
    /// The repository does not have the commit.
    #[error(
        "the source {repository} has no commit {commit}; it may have been rewritten: build its branch or tag again"
    )]
    NoCommit {
        /// The source, or the submodule.
        repository: String,
        /// The commit.
        commit: String,
    },
    /// The tree names a path that no checkout may write.
    #[error(
        "the commit {commit} has the path {path:?}, which leaves its tree or is git's own, and is refused; rename it and push"
    )]
    Path {
        /// The commit.
        commit: String,
        /// The path.
        path: String,
    },
    /// The tree has more files than are checked out.
    #[error("the commit {commit} has more than {most} files, which is the limit")]
    TooMany {
        /// The commit.
        commit: String,
        /// The limit.
        most: usize,
    },
    /// The files of the tree and its submodules take more than is allowed.
    #[error(
        "the files of commit {commit} take {size}, more than git.tree_limit ({limit}); raise it in config.toml if the tree is meant to be \
         that large"
    )]
    TooLarge {
        /// The commit.
        commit: String,
        /// What they take.
        size: ByteSize,
        /// The limit.
        limit: ByteSize,
    },
    /// The disk has not enough room for the tree.
    #[error(
        "cannot write {size} to {path}: {free} are free there, and pool.min_free keeps {min_free}; free space there",
        path = path.display()
    )]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// What is to be written.
        size: ByteSize,
        /// What is free.
        free: ByteSize,
        /// What stays free.
        min_free: ByteSize,
    },
    /// Git refuses the tree, or objects are missing or damaged.
    #[error("cannot check out the commit {commit} of {repository}: {reason}")]
    Checkout {
        /// The source, or the submodule.
        repository: String,
        /// The commit.
        commit: String,
        /// What git says.
        reason: String,
    },
    /// Objects of a clone are missing or broken.
    #[error("the clone of {repository} is damaged: {reason}; it is fetched again by the next build")]
    Damaged {
        /// The source, or the submodule.
        repository: String,
        /// What git says.
        reason: String,
    },
    /// A submodule is unavailable.
    #[error("cannot get the submodule {path:?} of commit {commit}: {reason}")]
    Submodule {
        /// Its path in the tree.
        path: String,
        /// The commit of the tree that names it.
        commit: String,
        /// Why.
        reason: String,
        /// Whether trying again can help: a network or a disk failed.
        temporary: bool,
    },
    /// A submodule's address is the build host's own, or a metadata service's.
    #[error(
        "the submodule {path:?} of commit {commit} is at {address}, an address of the build host, its link or a metadata service, \
         which is refused: name a server that the source's users reach, too"
    )]
    SubmoduleAddress {
        /// Its path in the tree.
        path: String,
        /// The commit of the tree that names it.
        commit: String,
        /// The address.
        address: String,
    },
    /// The address of Git LFS files is the build host's own, or a metadata service's.
    #[error(
        "lfs.url in .lfsconfig of commit {commit} is {address}, an address of the build host, its link or a metadata service, \
         which is refused: name a server that the source's users reach, too"
    )]
    LfsAddress {
        /// The commit.
        commit: String,
        /// The address.
        address: String,
    },
    /// Files of Git LFS is unavailable.
    #[error("cannot get the Git LFS files {files} of commit {commit}: {reason}")]
    Lfs {
        /// The first of their paths.
        files: String,
        /// The commit.
        commit: String,
        /// Why, and what to do.
        reason: String,
        /// Whether trying again can help.
        temporary: bool,
    },
    /// A local source that only git itself can check out.
    #[error("the commit {commit} needs the git program: it has {what}; {advice}")]
    NeedsGit {
        /// The commit.
        commit: String,
        /// Submodules, or a working tree encoding.
        what: String,
        /// How git is installed.
        advice: String,
    },
    /// A local repository of another user, which git refuses to read.
    #[error(
        "the source {path} belongs to another user; if you trust it, run: git config --global --add safe.directory {path}",
        path = path.display()
    )]
    Owner {
        /// The repository.
        path: PathBuf,
    },
    /// There is no repository.
    #[error("the source {path} is no git repository: {reason}", path = path.display())]
    NoRepository {
        /// The path.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The disk is full.
    #[error("cannot write the tree of a commit to {path}: the disk is full: free space there", path = path.display())]
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// Anything that is neither the source's fault nor the disk's.
    #[error("cannot {what}: {reason}")]
    Io {
        /// What was attempted, on what.
        what: String,
        /// What the system says.
        reason: String,
    },
}

impl TreeError {
    /// Of a step that the system refused.
    pub(crate) fn io(what: impl Into<String>, path: &Path, error: &io::Error) -> TreeError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TreeError::DiskFull { path: path.into() },
            _ => TreeError::Io { what: format!("{} {}", what.into(), path.display()), reason: error.to_string() },
        }
    }
}
