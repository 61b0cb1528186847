//! What can go wrong with a layout on disk: each says which file, why, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::reference::ReferenceError;

/// Why a layout could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system refused.
    #[error("cannot {attempted} {path}: {source}", path = path.display())]
    Io {
        /// What was attempted: `write`.
        attempted: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file can't be written.
    #[error(transparent)]
    Write(#[from] crate::sys::atomic::WriteError),
    /// A file is there, but it is not what it should be.
    #[error("{path} is damaged: {why}; restore it from a backup, or move the directory away and build again", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with line and column where there are any.
        why: String,
    },
    /// Content that a tag or an image names is not in the layout.
    #[error("{path} is missing, which {needed_by} names; build again, or delete the tags that name it", path = path.display())]
    Missing {
        /// The blob.
        path: PathBuf,
        /// What names it.
        needed_by: String,
    },
    /// There is no such tag.
    #[error("there is no tag {tag:?} in {dir}; `slipway tag list` shows those that there are", dir = dir.display())]
    NoTag {
        /// The layout.
        dir: PathBuf,
        /// The tag.
        tag: String,
    },
    /// Another process exports into a stage of that name.
    #[error("{path} is in use by another export; wait until it ends, or take another name", path = path.display())]
    StageInUse {
        /// The stage.
        path: PathBuf,
    },
    /// A tag, a digest or a stage's name can't be.
    #[error(transparent)]
    Name(#[from] ReferenceError),
}

/// Makes an [`io::Error`] a [`LayoutError::Io`].
pub(super) fn io_error(attempted: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Io { attempted, path, source }
}
