//! Taking content out of a layout that no tag needs any more, and stages that killed processes left behind.
//!
//! Only with the layout to itself: content of an export in progress has no tag yet.

use std::fs;
use std::io;
use std::path::Path;

use super::layout::{Layout, LayoutError, STAGE_PREFIX, io_error};
use crate::domain::reason::phrase;
use crate::sys::atomic;

/// What pruning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruned {
    /// It is done, and so many bytes are free.
    Freed(u64),
    /// An export is in progress: nothing was done. The next prune does it.
    Busy,
}

impl Default for Pruned {
    /// Nothing to do.
    fn default() -> Pruned {
        Pruned::Freed(0)
    }
}

impl Layout {
    /// Removes stages that were left behind and all content that cannot be reached from a tag. Never waits: while an
    /// export goes on it does nothing.
    ///
    /// # Errors
    /// When the layout is damaged (nothing is removed from it then) or the file system refuses.
    pub fn prune(&self) -> Result<Pruned, LayoutError> {
        if !self.dir().join("oci-layout").exists() {
            return Ok(Pruned::default());
        }
        let Some(_alone) = self.try_alone()? else { return Ok(Pruned::Busy) };
        let _index = self.lock_index()?;
        let roots = self.read_index()?.manifests.unwrap_or_default();
        let keep = self.reachable(roots, true)?;
        let mut freed = 0;
        for (name, entry) in entries(self.dir())? {
            if name.starts_with(STAGE_PREFIX) {
                freed += size_of(&entry)?;
                fs::remove_dir_all(&entry).map_err(io_error(phrase!("verb.remove"), &entry))?;
            }
        }
        atomic::clean(self.dir())?;
        for (algorithm, dir) in entries(&self.dir().join("blobs"))? {
            for (hex, blob) in entries(&dir)? {
                if !keep.contains_key(&format!("{algorithm}:{hex}")) {
                    freed += remove_file(&blob)?;
                }
            }
        }
        Ok(Pruned::Freed(freed))
    }
}

fn entries(dir: &Path) -> Result<Vec<(String, std::path::PathBuf)>, LayoutError> {
    let read = || -> io::Result<_> {
        fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())))
            .collect()
    };
    read().map_err(io_error(phrase!("verb.list"), dir))
}

/// Bytes in the files under `dir`, links not followed.
fn size_of(dir: &Path) -> Result<u64, LayoutError> {
    let mut size = 0;
    for (_, path) in entries(dir)? {
        let meta = fs::symlink_metadata(&path).map_err(io_error(phrase!("verb.look_at"), &path))?;
        size += if meta.is_dir() { size_of(&path)? } else { 0 };
        size += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(size)
}

fn remove_file(path: &Path) -> Result<u64, LayoutError> {
    let size = fs::symlink_metadata(path).map_err(io_error(phrase!("verb.look_at"), path))?.len();
    fs::remove_file(path).map_err(io_error(phrase!("verb.remove"), path))?;
    Ok(size)
}
