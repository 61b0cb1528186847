//! Copies of the last good text of each settings file: a file that a person breaks keeps its last good state in force,
//! over the next start of the pool, too.
//!
//! A copy has its file's path below `last-good/`, and its size and time of change, by which it is known to be current.
//! Copies are written by the pool alone and without fsync: one that a crash loses is made again.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{Home, read, trust};
use crate::sys::atomic;

/// The copy of a settings file of a home; none for a file elsewhere.
fn copy_of(home: &Home, file: &Path) -> Option<PathBuf> {
    let config = home.config_file();
    let below = if file == config { Path::new("config.toml") } else { file.strip_prefix(home.state_dir()).ok()? };
    Some(home.last_good_dir().join(below))
}

/// Whether the copy of a file is of the file as it is now.
pub(super) fn is_current(home: &Home, file: &Path) -> bool {
    let Some(copy) = copy_of(home, file) else { return true };
    let (Ok(file), Ok(copy)) = (fs::metadata(file), fs::metadata(copy)) else { return false };
    file.len() == copy.len() && file.modified().ok() == copy.modified().ok()
}

/// Keeps a copy of a file, which has this text unless it was changed since it was read.
pub(super) fn keep(home: &Home, file: &Path, text: &str) {
    let Some(copy) = copy_of(home, file) else { return };
    if let Err(error) = write(file, &copy, text) {
        tracing::warn!("cannot keep a copy of {} in {}: {error}", file.display(), copy.display());
    }
}

fn write(file: &Path, copy: &Path, text: &str) -> io::Result<()> {
    let modified = fs::metadata(file)?.modified()?;
    if fs::read_to_string(file)? != text {
        return Ok(());
    }
    let directory = copy.parent().unwrap_or(Path::new("/"));
    atomic::make_dirs(directory)?;
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_times(FileTimes::new().set_modified(modified))?;
    new.persist(copy)?;
    Ok(())
}

/// The last good state of a file that can't be read now.
pub fn load<T: DeserializeOwned>(home: &Home, file: &Path) -> Option<T> {
    let copy = copy_of(home, file)?;
    trust::check_settings(&copy).ok()?;
    read::load(&copy).ok()
}

/// Removes the copies of files that are not there any more; `names` knows most of those in a directory that are, without
/// their ends.
pub(super) fn forget_removed<N: Fn(&str) -> bool>(home: &Home, names: impl Fn(&Path) -> N) {
    let config = copy_of(home, &home.config_file());
    let mut directories = vec![home.last_good_dir()];
    while let Some(directory) = directories.pop() {
        let Ok(below) = directory.strip_prefix(home.last_good_dir()) else { continue };
        let original = home.state_dir().join(below);
        let is_there = names(&original);
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
                continue;
            }
            let name = entry.file_name();
            if name.to_str().and_then(|name| name.strip_suffix(".toml")).is_some_and(&is_there) {
                continue;
            }
            let copy = entry.path();
            let file = if config.as_ref() == Some(&copy) { home.config_file() } else { original.join(name) };
            if matches!(File::open(&file), Err(error) if error.kind() == io::ErrorKind::NotFound) {
                // One that stays is replaced with the next file of its name.
                let _ = fs::remove_file(copy);
            }
        }
    }
}
