//! A private corner of a layout for one export.
//!
//! BuildKit changes `index.json` in place and gives up when another export holds its lock, so each export gets a
//! directory with an index of its own, whose `blobs` is the layout's: content is shared, indexes are not.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::image::{Descriptor, Document};
use super::layout::{Layout, LayoutError, STAGE_PREFIX, io_error};
use super::prune::Pruned;
use crate::domain::reason::{Reason, phrase, reason};
use crate::domain::reference::ReferenceError;
use crate::sys::atomic;
use crate::sys::lock::{self, Held};

/// Held while the stage lives. A file in it: over NFS no directory can be locked alone.
const LOCK: &str = ".lock";

/// A stage: give [`Stage::dir`] to `buildctl` as `dest`. While it lives, nothing in its layout is pruned; when it is
/// dropped, its directory goes. One that was left behind by a killed process goes with the next prune.
#[derive(Debug)]
pub struct Stage {
    layout: Layout,
    dir: PathBuf,
    // In this order: the stage's own lock goes before the layout's.
    _own: Held,
    _no_pruning: Held,
}

impl Layout {
    /// A private directory for one export into this layout: see [`Stage`]. Waits while the layout is pruned.
    ///
    /// # Errors
    /// When `name` is not letters, digits, `.`, `_` and `-`, another process has that stage, or the file system
    /// refuses.
    pub fn stage(&self, name: &str) -> Result<Stage, LayoutError> {
        Stage::open(self, name)
    }
}

impl Stage {
    fn open(layout: &Layout, name: &str) -> Result<Stage, LayoutError> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            let (what, why) = (phrase!("reference_part.stage"), reason!("reference.stage_characters"));
            return Err(ReferenceError { what, value: name.to_owned(), why }.into());
        }
        layout.initialise()?;
        let no_pruning = layout.share()?;
        // Two processes that open one name at a time go one after the other.
        let _one_at_a_time = layout.lock_index()?;
        let dir = layout.dir().join(format!("{STAGE_PREFIX}{name}"));
        if dir.exists() {
            match lock::try_exclusive(&dir.join(LOCK)).map_err(io_error(phrase!("verb.lock"), &dir))? {
                Some(_left_behind) => fs::remove_dir_all(&dir).map_err(io_error(phrase!("verb.remove"), &dir))?,
                None => return Err(LayoutError::StageInUse { path: dir }),
            }
        }
        atomic::make_dirs(&dir).map_err(io_error(phrase!("verb.create"), &dir))?;
        let own = lock::try_exclusive(&dir.join(LOCK)).map_err(io_error(phrase!("verb.lock"), &dir))?;
        let own = own.ok_or_else(|| LayoutError::StageInUse { path: dir.clone() })?;
        let stage = Stage { layout: layout.clone(), dir, _own: own, _no_pruning: no_pruning };
        let blobs = stage.dir.join("blobs");
        symlink("../blobs", &blobs).map_err(io_error(phrase!("verb.create"), &blobs))?;
        Ok(stage)
    }

    /// The directory to export into.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The layout that it belongs to.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What was exported into it; nothing before an export has ended.
    ///
    /// # Errors
    /// When the stage's index is damaged or cannot be read.
    pub fn exported(&self) -> Result<Vec<Descriptor>, LayoutError> {
        Ok(self.index()?.and_then(|(_, index)| index.manifests).unwrap_or_default())
    }

    /// For a cache: makes what was exported the layout's whole content, then prunes what the last cache alone had.
    /// A stage that nothing was exported into leaves the layout as it is.
    ///
    /// # Errors
    /// When the cache is not complete, or the file system refuses; the old cache is then still in force.
    pub fn publish_cache(self) -> Result<Pruned, LayoutError> {
        let layout = self.layout.clone();
        let Some((raw, index)) = self.index()? else { return Ok(Pruned::default()) };
        layout.check_complete(index.manifests.unwrap_or_default(), &reason!("layout.cache_index"))?;
        {
            let _lock = layout.lock_index()?;
            atomic::write(&layout.index_file(), &raw, atomic::PRIVATE)?;
        }
        drop(self);
        layout.prune()
    }

    fn index(&self) -> Result<Option<(Vec<u8>, Document)>, LayoutError> {
        let path = self.dir.join("index.json");
        let raw = match fs::read(&path) {
            Ok(raw) => raw,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(phrase!("verb.read"), &path)(error)),
        };
        let index = Document::parse(&raw)
            .map_err(|error| LayoutError::Damaged { path, why: Reason::verbatim(error.to_string()) })?;
        Ok(Some((raw, index)))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What stays behind takes no part in anything, and the next prune removes it.
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!("cannot remove {}: {error}", self.dir.display());
        }
    }
}
