//! `[git]`: the clones and trees of sources that slipway keeps.

use serde::{Deserialize, Serialize};

use super::size::ByteSize;
use crate::domain::duration::HumanDuration;

/// `[git]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GitConfig {
    /// The largest that the clones of a build's source and submodules and the files of Git LFS may be together; a fetch
    /// that would exceed it is stopped.
    pub fetch_limit: ByteSize,
    /// How long all fetches of a build may take together.
    pub fetch_timeout: HumanDuration,
    /// What the files of one commit may take, with its submodules and files of Git LFS.
    pub tree_limit: ByteSize,
    /// What clones and trees take in all; above it those go that were not used for longest.
    pub cache_size: ByteSize,
}

impl Default for GitConfig {
    fn default() -> Self {
        GitConfig {
            fetch_limit: ByteSize(20 << 30),
            fetch_timeout: HumanDuration::seconds(60 * 60),
            tree_limit: ByteSize(10 << 30),
            cache_size: ByteSize(20 << 30),
        }
    }
}
