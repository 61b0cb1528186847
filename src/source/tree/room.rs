//! How much a tree may take on the disk: a commit of a few kilobytes can name one large blob at any number of paths.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::TreeError;
use crate::domain::config::ByteSize;
use crate::sys::disk;

/// What a file takes at least, in bytes.
const BLOCK: u64 = 4096;

/// How much a tree may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// The files of the source's tree and its submodules together, in bytes: `git.tree_limit`.
    pub limit: u64,
    /// What the parts before this one take, in bytes.
    pub used: u64,
    /// What stays free on the disk, in bytes: `pool.min_free`.
    pub min_free: u64,
}

impl Room {
    /// Whether so many bytes of one part are within the limit.
    pub fn holds(&self, bytes: u64) -> bool {
        self.used.saturating_add(bytes) <= self.limit
    }

    /// Checks that so many bytes of one part are within the limit.
    ///
    /// # Errors
    /// When they are not.
    pub fn check_limit(&self, commit: &str, bytes: u64) -> Result<(), TreeError> {
        if self.holds(bytes) {
            return Ok(());
        }
        let (size, limit) = (ByteSize(self.used.saturating_add(bytes)), ByteSize(self.limit));
        Err(TreeError::TooLarge { commit: commit.into(), size, limit })
    }

    /// Checks that so many bytes more fit on the disk.
    ///
    /// # Errors
    /// When they do not.
    pub fn check_space(&self, root: &Path, bytes: u64) -> Result<(), TreeError> {
        let Ok(free) = disk::free(root) else { return Ok(()) };
        if bytes == 0 || bytes.saturating_add(self.min_free) <= free {
            return Ok(());
        }
        let (size, free, min_free) = (ByteSize(bytes), ByteSize(free), ByteSize(self.min_free));
        Err(TreeError::NoSpace { path: root.into(), size, free, min_free })
    }
}

/// What a file of that size takes on the disk.
pub(super) fn on_disk(size: u64) -> u64 {
    size.max(1).div_ceil(BLOCK).saturating_mul(BLOCK)
}
