//! Files below the root of a tree, reached without ever following a symbolic link.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, openat, unlinkat, utimensat};
use rustix::io::Errno;

use super::change::TreeFile;

/// The time of every directory: 2000-01-01. Directories have no history of their own, and a constant keeps layers
/// equal.
const DIRECTORY_TIME: Stamp = Stamp { seconds: 946_684_800, nanoseconds: 0 };

/// When a file was last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

impl Stamp {
    fn times(self) -> Timestamps {
        let time = Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds.into() };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// The root of a tree. The directory that was used last stays open: trees are walked in the order of their paths.
pub(super) struct Root {
    root: OwnedFd,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        Ok(Root { root: openat(CWD, path, DIRECTORY, Mode::empty())?, last: None })
    }

    /// The descriptor of the directory with that path from the root, where it is a real directory all the way.
    fn directory(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let mut at: Option<OwnedFd> = None;
            for part in path.split(|byte| *byte == b'/') {
                let parent = at.as_ref().map_or(self.root.as_fd(), OwnedFd::as_fd);
                at = Some(openat(parent, part, DIRECTORY, Mode::empty())?);
            }
            self.last = at.map(|directory| (path.to_owned(), directory));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd()))
    }

    /// Sets the time of a file or link. One that is not there has none.
    pub(super) fn set_time(&mut self, path: &TreeFile, stamp: Stamp) -> io::Result<()> {
        let (directory, name) = path.split();
        self.set_time_of(directory, name, stamp)
    }

    fn set_time_of(&mut self, directory: &[u8], name: &[u8], stamp: Stamp) -> io::Result<()> {
        let set = self
            .directory(directory)
            .and_then(|directory| Ok(utimensat(directory, name, &stamp.times(), AtFlags::SYMLINK_NOFOLLOW)?));
        if_there(set)
    }

    /// Gives every one of these directories its time. Each is named by its path from the root; the root itself is among
    /// them.
    pub(super) fn set_directory_times(&mut self, directories: &BTreeSet<Vec<u8>>) -> io::Result<()> {
        for path in directories {
            let set = self
                .directory(path)
                .and_then(|directory| Ok(utimensat(directory, ".", &DIRECTORY_TIME.times(), AtFlags::empty())?));
            if_there(set)?;
        }
        utimensat(&self.root, ".", &DIRECTORY_TIME.times(), AtFlags::empty())?;
        Ok(())
    }

    /// Removes a file, a link or a submodule with all that is in it, and the directories above it that are empty then.
    pub(super) fn remove(&mut self, path: &TreeFile) -> io::Result<()> {
        let (directory, name) = path.split();
        let removed = self.directory(directory).and_then(|parent| match unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {
                let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string());
                fs::remove_dir_all(path.join(OsStr::from_bytes(name)))
            }
            removed => Ok(removed?),
        });
        if_there(removed)?;
        let mut empty = directory;
        self.last = None;
        while !empty.is_empty() {
            let (above, name) = match empty.iter().rposition(|byte| *byte == b'/') {
                Some(at) => (&empty[..at], &empty[at + 1..]),
                None => (&b""[..], empty),
            };
            let removed = self.directory(above).and_then(|above| Ok(unlinkat(above, name, AtFlags::REMOVEDIR)?));
            match removed {
                Ok(()) => self.last = None,
                Err(error) if error.raw_os_error() == Some(Errno::NOTEMPTY.raw_os_error()) => break,
                other => return if_there(other),
            }
            empty = above;
        }
        Ok(())
    }

    /// At most so many bytes of a file; none where it is not there.
    pub(super) fn read(&mut self, path: &TreeFile, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.open_file(path, false) {
            Ok(file) => file.take(most).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(bytes)
    }

    /// Opens a file that is there, to be read or written again.
    pub(super) fn open_file(&mut self, path: &TreeFile, write: bool) -> io::Result<fs::File> {
        let (directory, name) = path.split();
        let flags = if write { OFlags::WRONLY | OFlags::TRUNC } else { OFlags::RDONLY };
        let directory = self.directory(directory)?;
        Ok(openat(directory, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?
            .into())
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is not there, or below what is no directory any more, is as good as done.
fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// The directories above a path, without the root.
pub(super) fn directories_above(path: &TreeFile) -> impl Iterator<Item = &[u8]> {
    let bytes = path.as_bytes();
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &bytes[..at])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn path(text: &str) -> TreeFile {
        TreeFile::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn nothing_is_removed_or_touched_through_a_symbolic_link() {
        let directory = tempfile::tempdir().unwrap();
        let (outside, root) = (directory.path().join("outside"), directory.path().join("root"));
        fs::create_dir_all(&outside).unwrap();
        fs::create_dir_all(&root).unwrap();
        fs::write(outside.join("file"), "kept").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        let mut files = Root::open(&root).unwrap();
        let before = fs::metadata(outside.join("file")).unwrap().mtime();
        files.remove(&path("link/file")).unwrap();
        files.set_time(&path("link/file"), Stamp { seconds: 7, nanoseconds: 7 }).unwrap();
        assert!(files.open_file(&path("link/file"), true).is_err());
        assert_eq!(fs::metadata(outside.join("file")).unwrap().mtime(), before);
        files.remove(&path("link")).unwrap();
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "kept");
    }

    #[test]
    fn directories_that_became_empty_go_with_their_last_file() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::write(root.join("a/b/c/one"), "").unwrap();
        fs::write(root.join("a/two"), "").unwrap();
        let mut files = Root::open(root).unwrap();
        files.remove(&path("a/b/c/one")).unwrap();
        assert!(root.join("a").exists() && !root.join("a/b").exists());
        files.remove(&path("a/b/c/one")).unwrap();
        files.remove(&path("a/two")).unwrap();
        assert!(root.exists() && !root.join("a").exists());
    }

    #[test]
    fn files_and_links_get_their_times_in_nanoseconds_and_directories_theirs() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        symlink("nowhere", root.join("a/link")).unwrap();
        let mut files = Root::open(root).unwrap();
        for name in ["a/file", "a/link", "a/missing", "missing/x"] {
            files.set_time(&path(name), Stamp { seconds: 1_600_000_000, nanoseconds: 123_456_789 }).unwrap();
        }
        files.set_directory_times(&BTreeSet::from([b"a".to_vec(), b"gone".to_vec()])).unwrap();
        for name in ["a/file", "a/link"] {
            let meta = fs::symlink_metadata(root.join(name)).unwrap();
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_600_000_000, 123_456_789), "{name}");
        }
        assert_eq!(fs::metadata(root.join("a")).unwrap().mtime(), DIRECTORY_TIME.seconds);
        assert_eq!(directories_above(&path("a/b/c")).collect::<Vec<_>>(), [&b"a"[..], b"a/b"]);
    }
}
