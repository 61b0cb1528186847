//! The files of a clone: its mark, what a killed git leaves behind, its size.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// A file of every clone; one without it is none of ours, or was not finished.
pub(super) const MARK: &str = "slipway-clone";

/// Marks a clone as used now: those that were not used for long are removed first.
///
/// # Errors
/// When its mark can't be changed.
pub fn touch(clone: &Path) -> io::Result<()> {
    File::options().append(true).open(clone.join(MARK))?.set_modified(std::time::SystemTime::now())
}

/// When a clone was last used; none where it is no clone.
pub fn last_used(clone: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(clone.join(MARK)).and_then(|metadata| metadata.modified()).ok()
}

/// Removes what a git that was killed leaves behind. Nobody else writes the clone now.
pub(super) fn clean(clone: &Path) -> io::Result<()> {
    let is_lock = |name: &str| name.ends_with(".lock");
    let is_of_objects = |name: &str| {
        is_lock(name) || name.starts_with("tmp_") || name.starts_with("incoming-") || name.starts_with(".tmp-")
    };
    remove_in(clone, false, &is_lock)?;
    // Any other name may be that of a branch or tag: no ref ends in `.lock`.
    remove_in(&clone.join("refs"), true, &is_lock)?;
    remove_in(&clone.join("objects"), true, &is_of_objects)
}

/// Removes the entries of a directory with such names, of those below it too where `deep`.
fn remove_in(directory: &Path, deep: bool, is_leftover: &impl Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let is_directory = entry.file_type()?.is_dir();
        if is_leftover(&entry.file_name().to_string_lossy()) {
            if is_directory { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        } else if deep && is_directory {
            remove_in(&entry.path(), deep, is_leftover)?;
        }
    }
    Ok(())
}

/// Removes a clone: its mark first, so that half of one is none.
pub(super) fn remove(clone: &Path) -> io::Result<()> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
    fs::remove_file(clone.join(MARK)).or_else(|error| match error.kind() {
        io::ErrorKind::NotADirectory => Ok(()),
        _ => gone(error),
    })?;
    fs::remove_dir_all(clone).or_else(|error| match error.kind() {
        io::ErrorKind::NotADirectory => fs::remove_file(clone),
        _ => gone(error),
    })
}

/// The bytes of all files below a directory, as they are long.
pub fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_git_leaves_behind_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = |path: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let kept = [
            "HEAD",
            "packed-refs",
            "objects/pack/pack-1.pack",
            "objects/pack/pack-1.idx",
            "refs/tags/v1",
            "refs/tags/tmp_1",
            "refs/tags/incoming-2",
            "refs/slipway/heads/.tmp-3/x",
            "trees/a.lock",
        ];
        let removed = [
            "HEAD.lock",
            "shallow.lock",
            "packed-refs.lock",
            "refs/slipway/tip/0.lock",
            "objects/pack/tmp_pack_x",
            "objects/pack/.tmp-1-pack-2.pack",
            "objects/ab/tmp_obj_x",
            "objects/tmp_objdir-incoming-x/pack/pack-3.pack",
        ];
        kept.iter().chain(&removed).for_each(|path| file(path));
        clean(directory.path()).unwrap();
        for path in kept {
            assert!(directory.path().join(path).exists(), "{path}");
        }
        for path in removed {
            assert!(!directory.path().join(path).exists(), "{path}");
        }
    }
}
