//! Git LFS: the pointers that a checkout wrote, and the files that belong in their place.
//!
//! A pointer is what git keeps of a large file (the specification is `docs/spec.md` of git-lfs). `git-lfs` itself
//! fetches the files into a directory beside the clone; from there they are copied into the tree.

use std::fs;
use std::io;
use std::path::Path;

use super::change::{Entry, TreeFile};
use super::error::TreeError;
use super::files::Root;
use super::objects::Objects;
use super::pointer::{Pointer, digest_of, named};
use crate::domain::reason::{phrase, reason};

/// A pointer is shorter, in bytes: git-lfs reads no more, either.
const LONGEST_POINTER: u64 = 1024;
/// More pointers of one commit are not followed.
const MOST_POINTERS: usize = 100_000;

/// The pointers among files of the tree that were written.
pub(super) async fn find(
    objects: &Objects,
    files: &mut Root,
    root: &Path,
    commit: &str,
    written: &[&Entry],
) -> Result<Vec<Pointer>, TreeError> {
    let mut candidates = Vec::new();
    for entry in written.iter().filter(|entry| entry.mode.is_file()) {
        let file =
            files.open_file(&entry.path, false).map_err(|error| TreeError::io(phrase!("verb.read"), root, &error))?;
        if file.metadata().is_ok_and(|meta| meta.len() < LONGEST_POINTER) {
            let text = files
                .read(&entry.path, LONGEST_POINTER)
                .map_err(|error| TreeError::io(phrase!("verb.read"), root, &error))?;
            candidates.extend(Pointer::parse(entry, &text).map(|pointer| (*entry, pointer)));
        }
    }
    if candidates.len() > MOST_POINTERS {
        let (_, pointer) = &candidates[0];
        return Err(TreeError::Lfs {
            files: named(&[pointer]),
            commit: commit.into(),
            reason: reason!("lfs.too_many", most = MOST_POINTERS),
            temporary: false,
        });
    }
    let filtered = objects.filtered_by_lfs(commit, candidates.iter().map(|(entry, _)| *entry).collect()).await?;
    let filtered: std::collections::BTreeSet<&TreeFile> = filtered.iter().map(|entry| &entry.path).collect();
    Ok(candidates.into_iter().map(|(_, pointer)| pointer).filter(|pointer| filtered.contains(&pointer.path)).collect())
}

/// Puts a file in the place of its pointer: its mode and time stay. False where it is not the file that the pointer
/// means.
pub(super) fn fill(files: &mut Root, root: &Path, pointer: &Pointer, storage: &Path) -> Result<bool, TreeError> {
    let stored = pointer.stored(storage);
    let fail = |error: io::Error| TreeError::io(phrase!("verb.write"), &root.join(pointer.path.to_string()), &error);
    let mut from = fs::File::open(&stored).map_err(|error| TreeError::io(phrase!("verb.read"), &stored, &error))?;
    let time = files.open_file(&pointer.path, false).and_then(|file| file.metadata()).map_err(fail)?;
    let mut to = files.open_file(&pointer.path, true).map_err(fail)?;
    let digest = digest_of(&mut from, &mut to).map_err(fail)?;
    use std::os::unix::fs::MetadataExt as _;
    let stamp = super::files::Stamp {
        seconds: time.mtime(),
        nanoseconds: u32::try_from(time.mtime_nsec()).unwrap_or_default(),
    };
    files.set_time(&pointer.path, stamp).map_err(fail)?;
    Ok(digest == pointer.oid)
}
