//! What is kept of sources: clones, trees and files of Git LFS, within `git.cache_size`. What was not used for longest
//! goes first, and what is of a repository that was deleted goes at once; nothing goes that a build uses.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::source::git::clone;
use crate::source::tree::{ASIDE, Slot};
use crate::store::Home;

/// One thing that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    path: PathBuf,
    kind: Kind,
    bytes: u64,
    used: SystemTime,
    /// The repository that it is for.
    of: (String, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A numbered tree.
    Tree,
    /// A clone, of a source or a submodule.
    Clone,
    /// The files of Git LFS of a repository.
    Lfs,
}

/// Removes what is too much; how many things that were. Blocks.
///
/// # Errors
/// When something can't be looked at or removed.
pub fn tidy(home: &Home, most: u64) -> io::Result<usize> {
    let mut kept = list(home)?;
    let is_deleted = |of: &(String, String)| !home.repository_file(&of.0, &of.1).exists();
    let (gone, left): (Vec<Kept>, Vec<Kept>) = kept.drain(..).partition(|kept| is_deleted(&kept.of));
    let total: u64 = left.iter().map(|kept| kept.bytes).sum();
    let going: Vec<Kept> = gone.into_iter().chain(too_much(left, total, most)).collect();
    remove_unused(home, &going, u64::MAX)
}

/// Removes trees, clones and files that no build uses until so many bytes are free again, and what was used least
/// lately first; how many things that were. Blocks.
///
/// # Errors
/// When something can't be looked at or removed.
pub fn make_room(home: &Home, bytes: u64) -> io::Result<usize> {
    let kept = list(home)?;
    let total: u64 = kept.iter().map(|kept| kept.bytes).sum();
    remove_unused(home, &too_much(kept, total.saturating_add(1), 0), bytes)
}

/// Removes what no build uses, in that order, until it was so many bytes.
fn remove_unused(home: &Home, going: &[Kept], bytes: u64) -> io::Result<usize> {
    let mut busy = BTreeSet::new();
    let (mut removed, mut freed) = (0, 0u64);
    for kept in going {
        if freed >= bytes {
            break;
        }
        if kept.kind != Kind::Tree && (busy.contains(&kept.of) || has_busy_tree(home, &kept.of)?) {
            busy.insert(kept.of.clone());
        } else if remove(kept)? {
            removed += 1;
            freed = freed.saturating_add(kept.bytes);
        }
    }
    Ok(removed)
}

/// What goes so that the rest fits: what was used least lately first, and trees before what they are made of.
fn too_much(mut kept: Vec<Kept>, mut total: u64, most: u64) -> Vec<Kept> {
    kept.sort_by_key(|kept| (kept.used, kept.kind != Kind::Tree));
    kept.into_iter()
        .take_while(|kept| {
            let is_too_much = total > most;
            total = total.saturating_sub(kept.bytes);
            is_too_much
        })
        .collect()
}

fn list(home: &Home) -> io::Result<Vec<Kept>> {
    let mut found = Vec::new();
    for (namespace, directory) in entries(&home.trees_root())? {
        for (repository, trees) in entries(&directory)? {
            for (name, path) in entries(&trees)? {
                if path.extension().is_some_and(|ending| ending == ASIDE) {
                    fs::remove_dir_all(&path)?;
                }
                if name.parse::<u32>().is_err() {
                    continue;
                }
                let used = fs::metadata(Slot::state_of(&path)).or_else(|_| fs::metadata(&path))?.modified()?;
                let of = (namespace.clone(), repository.clone());
                found.push(Kept { bytes: size_of(&path), path, kind: Kind::Tree, used, of });
            }
        }
    }
    for (namespace, directory) in entries(&home.git_root())? {
        for (name, path) in entries(&directory)? {
            let hidden = |end: &str| name.strip_prefix('.').and_then(|name| name.strip_suffix(end)).map(str::to_owned);
            let of = |repository: String| (namespace.clone(), repository);
            if let Some(repository) = hidden(".lfs") {
                let used = fs::metadata(&path)?.modified()?;
                found.push(Kept { bytes: size_of(&path), path, kind: Kind::Lfs, used, of: of(repository) });
            } else if let Some(repository) = hidden(".modules") {
                for (_, path) in entries(&path)? {
                    found.push(of_clone(path, of(repository.clone()))?);
                }
            } else if !name.starts_with('.') {
                found.push(of_clone(path, of(name))?);
            }
        }
    }
    Ok(found)
}

fn of_clone(path: PathBuf, of: (String, String)) -> io::Result<Kept> {
    let used = match clone::last_used(&path) {
        Some(used) => used,
        None => fs::metadata(&path)?.modified()?,
    };
    Ok(Kept { bytes: size_of(&path), path, kind: Kind::Clone, used, of })
}

/// Whether a build of a repository makes or uses a tree now.
fn has_busy_tree(home: &Home, of: &(String, String)) -> io::Result<bool> {
    for (name, path) in entries(&home.trees_root().join(&of.0).join(&of.1))? {
        if name.parse::<u32>().is_ok() && Slot::lock(&path)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes one thing; false where a build has it.
fn remove(kept: &Kept) -> io::Result<bool> {
    match kept.kind {
        Kind::Tree => Slot::remove_unused(&kept.path),
        Kind::Clone => clone::discard_unused(&kept.path),
        Kind::Lfs => fs::remove_dir_all(&kept.path).map(|()| true),
    }
}

/// The directories in one, by their names; none where it is not there.
fn entries(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let listing = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// What everything below a directory takes on the disk, in bytes. What goes meanwhile takes nothing.
fn size_of(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(listing) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size_of(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    listing.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(path: &Path, bytes: usize) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'x'; bytes]).unwrap();
    }

    #[test]
    fn what_was_used_least_lately_goes_until_the_rest_fits() {
        let kept = |name: &str, used: u64, bytes| Kept {
            path: name.into(),
            kind: if name.starts_with('t') { Kind::Tree } else { Kind::Clone },
            bytes,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(used),
            of: (String::new(), String::new()),
        };
        let all = vec![kept("c1", 1, 10), kept("t1", 1, 10), kept("t2", 2, 10), kept("c2", 3, 10)];
        let going = |most| {
            too_much(all.clone(), 40, most).iter().map(|kept| kept.path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(going(40), Vec::<String>::new());
        assert_eq!(going(39), ["t1"]);
        assert_eq!(going(25), ["t1", "c1"]);
        assert_eq!(going(0).len(), 4);
    }

    #[test]
    fn nothing_goes_that_a_build_uses_and_what_is_of_a_deleted_repository_does() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path());
        let path = |text: &str| text.parse().unwrap();
        write(&home.repository_file("acme", "api"), 1);
        for repository in ["acme/api", "acme/gone"] {
            write(&home.git_dir(&path(repository)).join("objects/pack/a.pack"), 100_000);
            write(&home.lfs_dir(&path(repository)).join("objects/ab/x"), 100_000);
            write(&home.modules_dir(&path(repository)).join("0123/objects/pack/a.pack"), 100_000);
            let slot = Slot::take(&home.trees_dir(&path(repository)), "a", "refs/heads/main").unwrap();
            write(&slot.root().join("file"), 100_000);
        }
        let used = Slot::take(&home.trees_dir(&path("acme/api")), "a", "refs/heads/main").unwrap();
        assert_eq!(tidy(&home, u64::MAX).unwrap(), 4);
        assert!(!home.git_dir(&path("acme/gone")).exists() && !home.trees_dir(&path("acme/gone")).join("0").exists());
        assert_eq!(tidy(&home, 0).unwrap(), 0, "a build uses its tree");
        assert_eq!(make_room(&home, u64::MAX).unwrap(), 0, "nor does it go for others' builds");
        drop(used);
        assert_eq!(make_room(&home, 1).unwrap(), 1, "no more than is needed");
        assert_eq!(tidy(&home, 0).unwrap(), 3);
        assert_eq!(list(&home).unwrap(), []);
    }
}
