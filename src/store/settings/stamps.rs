//! Stamps of settings files: what tells one state of a file from another without reading it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::Home;
use crate::sys::parallel::in_parallel;

/// How the files of the settings are, and the directories that they are in: where two are the same, nothing changed in
/// between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps(pub(super) BTreeMap<PathBuf, Stamp>);

/// What tells one state of a file from another: device, inode, size, and the times of its content and its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    pub(super) changed: (i64, i64),
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
}

impl Stamps {
    /// Looks at the files; none is read.
    pub fn of(home: &Home) -> Stamps {
        let directories = directories(home);
        let files = directories.iter().flat_map(|directory| toml_files(directory)).chain([home.config_file()]);
        let paths: Vec<PathBuf> = files.chain(directories.iter().cloned()).collect();
        let stamp = |path: &PathBuf| Some((path.clone(), Stamp::of(&fs::metadata(path).ok()?)));
        let stamps = in_parallel(&paths, |paths| paths.iter().filter_map(stamp).collect::<Vec<_>>());
        Stamps(stamps.into_iter().flatten().collect())
    }

    /// The files among them.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys().filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
    }

    /// Whether a file is there, and as it is in others.
    pub(super) fn is_same(&self, others: &Stamps, path: &Path) -> bool {
        self.0.get(path).is_some_and(|stamp| others.0.get(path) == Some(stamp))
    }
}

/// The directories that hold settings, one file each thing.
pub(super) fn directories(home: &Home) -> Vec<PathBuf> {
    let mut directories = vec![home.platforms_dir(), home.builders_dir(), home.registries_dir(), home.namespaces_dir()];
    if let Ok(entries) = fs::read_dir(home.namespaces_dir()) {
        directories.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    directories
}

fn toml_files(directory: &Path) -> Vec<PathBuf> {
    // A directory that can't be listed is reported when it is read.
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}
