//! Stamps of settings files: what tells one state of a file from another without reading it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use serde::{Deserialize, Serialize};

use crate::store::Home;
use crate::sys::parallel::in_parallel;

/// The end of the names of settings files.
const END: &str = ".toml";

/// How the files of the settings are, and the directories that they are in: where two are the same, nothing changed in
/// between, as far as their stamps tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps {
    /// `config.toml`, where it is there.
    config: Option<(PathBuf, Stamp)>,
    directories: BTreeMap<PathBuf, Directory>,
}

/// The settings files of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directory {
    /// None: only some of its files are of interest.
    stamp: Option<Stamp>,
    /// By name, without [`END`].
    files: Vec<(Box<str>, Stamp)>,
}

/// What tells one state of a file from another: device, inode, size, and the times of its content and its inode. A change
/// that keeps all of them is not seen: one within the tick of the system's clock, or one before which the clock was set
/// back to the very time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

/// A stamp as it is written: ten thousand are read at once.
type Fields = (u64, u64, u64, (i64, i64), (i64, i64));

impl From<Fields> for Stamp {
    fn from((device, inode, size, modified, changed): Fields) -> Stamp {
        Stamp { device, inode, size, modified, changed }
    }
}

impl From<Stamp> for Fields {
    fn from(Stamp { device, inode, size, modified, changed }: Stamp) -> Fields {
        (device, inode, size, modified, changed)
    }
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Stamp {
        Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    fn of_stat(stat: &Stat) -> Stamp {
        let nanoseconds = |part| i64::try_from(part).unwrap_or_default();
        Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        }
    }
}

impl Directory {
    /// The files by name, without `.toml`.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, Stamp)> {
        self.files.iter().map(|(name, stamp)| (&**name, *stamp))
    }

    /// The stamp of a file.
    pub(super) fn get(&self, name: &str) -> Option<Stamp> {
        let at = self.files.binary_search_by(|(file, _)| (**file).cmp(name)).ok()?;
        Some(self.files[at].1)
    }

    /// Lists a directory, and names those in it. A directory that can't be listed is reported when it is read.
    fn list(path: &Path) -> io::Result<(Directory, Vec<PathBuf>)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        let mut listed = Directory { stamp: Some(Stamp::of_stat(&rustix::fs::fstat(&handle)?)), files: Vec::new() };
        let mut directories = Vec::new();
        for entry in Dir::read_from(&handle)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let file = name.to_str().ok().and_then(|name| name.strip_suffix(END)).filter(|name| !name.starts_with('.'));
            let may_be_directory = entry.file_type() != FileType::RegularFile;
            if file.is_none() && !may_be_directory {
                continue;
            }
            // What went since is not there.
            let Ok(stat) = rustix::fs::statat(&handle, name, AtFlags::empty()) else { continue };
            listed.files.extend(file.map(|name| (name.into(), Stamp::of_stat(&stat))));
            if may_be_directory && FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                directories.push(path.join(OsStr::from_bytes(name.to_bytes())));
            }
        }
        listed.files.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok((listed, directories))
    }
}

impl Stamps {
    /// Looks at the files; none is read.
    pub fn of(home: &Home) -> Stamps {
        let config = home.config_file();
        let config = fs::metadata(&config).ok().map(|meta| (config, Stamp::of(&meta)));
        let mut directories = BTreeMap::new();
        let mut namespaces = Vec::new();
        for directory in directories_of_things(home) {
            let Ok((listed, below)) = Directory::list(&directory) else { continue };
            if directory == home.namespaces_dir() {
                namespaces = below;
            }
            directories.insert(directory, listed);
        }
        let list = |path: &PathBuf| Some((path.clone(), Directory::list(path).ok()?.0));
        let listed = in_parallel(&namespaces, |paths| paths.iter().filter_map(list).collect::<Vec<_>>());
        directories.extend(listed.into_iter().flatten());
        Stamps { config, directories }
    }

    /// A directory, where it could be listed.
    pub(super) fn directory(&self, path: &Path) -> Option<&Directory> {
        self.directories.get(path)
    }

    /// Adds a file to a directory of which only some are of interest; they come in order.
    pub(super) fn add(&mut self, directory: &Path, name: &str, stamp: Stamp) {
        if !self.directories.contains_key(directory) {
            self.directories.insert(directory.to_owned(), Directory::default());
        }
        let files = self.directories.get_mut(directory).map(|listed| &mut listed.files);
        files.into_iter().for_each(|files| files.push((name.into(), stamp)));
    }

    /// How many files there are.
    pub(super) fn count(&self) -> usize {
        usize::from(self.config.is_some()) + self.directories.values().map(|listed| listed.files.len()).sum::<usize>()
    }

    /// The stamp of a file that is there.
    pub(super) fn get(&self, file: &Path) -> Option<Stamp> {
        match &self.config {
            Some((config, stamp)) if config == file => Some(*stamp),
            _ => {
                let name = file.file_name()?.to_str()?.strip_suffix(END)?;
                self.directories.get(file.parent()?)?.get(name)
            }
        }
    }

    /// Whether a file is there, and as it is in others.
    pub(super) fn is_same(&self, others: &Stamps, file: &Path) -> bool {
        self.get(file).is_some_and(|stamp| others.get(file) == Some(stamp))
    }

    /// The files that came, changed or went since others were looked at.
    pub fn changed_since(&self, before: &Stamps) -> BTreeSet<PathBuf> {
        let mut changed = self.unlike(before);
        changed.extend(before.unlike(self));
        changed
    }

    /// The files that are not there in others, or not the same.
    pub(super) fn unlike(&self, others: &Stamps) -> BTreeSet<PathBuf> {
        let config = self.config.iter().filter(|(file, stamp)| others.get(file) != Some(*stamp));
        let mut unlike: BTreeSet<PathBuf> = config.map(|(file, _)| file.clone()).collect();
        for (path, listed) in &self.directories {
            let other = others.directory(path);
            if other == Some(listed) {
                continue;
            }
            let is_other = |(name, stamp): &(&str, Stamp)| other.and_then(|other| other.get(name)) != Some(*stamp);
            unlike.extend(listed.files().filter(is_other).map(|(name, _)| path.join(format!("{name}{END}"))));
        }
        unlike
    }
}

/// The directories that hold one file for each thing, but those of repositories.
fn directories_of_things(home: &Home) -> [PathBuf; 4] {
    [home.platforms_dir(), home.builders_dir(), home.registries_dir(), home.namespaces_dir()]
}

/// The directories that hold settings.
pub(super) fn directories(home: &Home) -> Vec<PathBuf> {
    let mut directories = directories_of_things(home).to_vec();
    if let Ok((_, namespaces)) = Directory::list(&home.namespaces_dir()) {
        directories.extend(namespaces);
    }
    directories
}
