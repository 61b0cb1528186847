//! What can go wrong with a layout on disk: each says which file, why, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, quoted, reason};
use crate::domain::reference::ReferenceError;

/// Why a layout could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system refused.
    Io {
        /// What was attempted: `write`.
        attempted: Phrase,
        /// On which file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file can't be written.
    Write(#[from] crate::sys::atomic::WriteError),
    /// A file is there, but it is not what it should be.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with line and column where there are any.
        why: Reason,
    },
    /// Content that a tag or an image names is not in the layout.
    Missing {
        /// The blob.
        path: PathBuf,
        /// What names it.
        needed_by: Reason,
    },
    /// There is no such tag.
    NoTag {
        /// The layout.
        dir: PathBuf,
        /// The tag.
        tag: String,
    },
    /// Another process exports into a stage of that name.
    StageInUse {
        /// The stage.
        path: PathBuf,
    },
    /// A tag, a digest or a stage's name can't be.
    Name(#[from] ReferenceError),
}

display_as_reason!(LayoutError);

impl AsReason for LayoutError {
    fn reason(&self) -> Reason {
        match self {
            LayoutError::Io { attempted, path, source } => reason!("layout.io", attempted, path, source),
            LayoutError::Write(error) => error.reason(),
            LayoutError::Damaged { path, why } => reason!("layout.damaged", path, why),
            LayoutError::Missing { path, needed_by } => reason!("layout.missing", path, needed_by),
            LayoutError::NoTag { dir, tag } => reason!("layout.no_tag", tag = quoted(tag), dir),
            LayoutError::StageInUse { path } => reason!("layout.stage_in_use", path),
            LayoutError::Name(error) => error.reason(),
        }
    }
}

/// Makes an [`io::Error`] a [`LayoutError::Io`].
pub(super) fn io_error(attempted: Phrase, path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    let path = path.to_owned();
    move |source| LayoutError::Io { attempted, path, source }
}
