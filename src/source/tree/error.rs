//! Why the tree of a commit can't be made ready, by kind.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::config::ByteSize;
use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, quoted, reason};

/// A tree that can't be made ready for a build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TreeError {
    /// The repository does not have the commit.
    NoCommit {
        /// The source, or the submodule.
        repository: String,
        /// The commit.
        commit: String,
    },
    /// The tree names a path that no checkout may write.
    Path {
        /// The commit.
        commit: String,
        /// The path.
        path: String,
    },
    /// The tree has more files than are checked out.
    TooMany {
        /// The commit.
        commit: String,
        /// The limit.
        most: usize,
    },
    /// The files of the tree and its submodules take more than is allowed.
    TooLarge {
        /// The commit.
        commit: String,
        /// What they take.
        size: ByteSize,
        /// The limit.
        limit: ByteSize,
    },
    /// The disk has not enough room for the tree.
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
    Checkout {
        /// The source, or the submodule.
        repository: String,
        /// The commit.
        commit: String,
        /// What git says.
        reason: Reason,
    },
    /// Objects of a clone are missing or broken.
    Damaged {
        /// The source, or the submodule.
        repository: String,
        /// What git says.
        reason: Reason,
    },
    /// A submodule is unavailable.
    Submodule {
        /// Its path in the tree.
        path: String,
        /// The commit of the tree that names it.
        commit: String,
        /// Why.
        reason: Reason,
        /// Whether trying again can help: a network or a disk failed.
        temporary: bool,
    },
    /// A submodule's address is the build host's own, or a metadata service's.
    SubmoduleAddress {
        /// Its path in the tree.
        path: String,
        /// The commit of the tree that names it.
        commit: String,
        /// The address.
        address: String,
    },
    /// The address of Git LFS files is the build host's own, or a metadata service's.
    LfsAddress {
        /// The commit.
        commit: String,
        /// The address.
        address: String,
    },
    /// Files of Git LFS are unavailable.
    Lfs {
        /// The first of their paths.
        files: Reason,
        /// The commit.
        commit: String,
        /// Why, and what to do.
        reason: Reason,
        /// Whether trying again can help.
        temporary: bool,
    },
    /// A local source that only git itself can check out.
    NeedsGit {
        /// The commit.
        commit: String,
        /// Submodules, or a working tree encoding.
        what: Reason,
        /// How git is installed.
        advice: Reason,
    },
    /// A local repository of another user, which git refuses to read.
    Owner {
        /// The repository.
        path: PathBuf,
    },
    /// There is no repository.
    NoRepository {
        /// The path.
        path: PathBuf,
        /// What is missing.
        reason: Reason,
    },
    /// The disk is full.
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// Anything that is neither the source's fault nor the disk's.
    Io {
        /// What was attempted, on what.
        what: Reason,
        /// What the system says.
        reason: Reason,
    },
}

display_as_reason!(TreeError);

impl AsReason for TreeError {
    fn reason(&self) -> Reason {
        match self {
            TreeError::NoCommit { repository, commit } => reason!("tree.no_commit", repository, commit),
            TreeError::Path { commit, path } => reason!("tree.path", commit, path = quoted(path)),
            TreeError::TooMany { commit, most } => reason!("tree.too_many", commit, most),
            TreeError::TooLarge { commit, size, limit } => reason!("tree.too_large", commit, size, limit),
            TreeError::NoSpace { path, size, free, min_free } => reason!("tree.no_space", size, path, free, min_free),
            TreeError::Checkout { repository, commit, reason } => reason!("tree.checkout", commit, repository, reason),
            TreeError::Damaged { repository, reason } => reason!("tree.damaged", repository, reason),
            TreeError::Submodule { path, commit, reason, .. } => {
                reason!("tree.submodule", path = quoted(path), commit, reason)
            }
            TreeError::SubmoduleAddress { path, commit, address } => {
                reason!("tree.submodule_address", path = quoted(path), commit, address)
            }
            TreeError::LfsAddress { commit, address } => reason!("tree.lfs_address", commit, address),
            TreeError::Lfs { files, commit, reason, .. } => reason!("tree.lfs", files, commit, reason),
            TreeError::NeedsGit { commit, what, advice } => reason!("tree.needs_git", commit, what, advice),
            TreeError::Owner { path } => reason!("tree.owner", path),
            TreeError::NoRepository { path, reason } => reason!("tree.no_repository", path, reason),
            TreeError::DiskFull { path } => reason!("tree.disk_full", path),
            TreeError::Io { what, reason } => reason!("tree.io", what, reason),
        }
    }
}

impl TreeError {
    /// Of a step that the system refused.
    pub(crate) fn io(attempted: Phrase, path: &Path, error: &io::Error) -> TreeError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TreeError::DiskFull { path: path.into() },
            _ => TreeError::step(reason!("tree.attempted", attempted, path), error),
        }
    }

    /// Of a step without a path that the system refused.
    pub(crate) fn step(what: impl Into<Reason>, error: &io::Error) -> TreeError {
        TreeError::Io { what: what.into(), reason: error.into() }
    }
}
