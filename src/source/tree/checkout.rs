//! The checkout: a directory that holds the tree of one commit becomes that of another, and only what differs is
//! written.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::change::{Change, Entry, Mode, TreeFile};
use super::error::TreeError;
use super::files::{Root, directories_above};
use super::history::{self, Course, Place};
use super::lfs;
use super::objects::{Objects, contains};
use super::pointer::Pointer;
use super::room::Room;
use super::time_key::TimeKey;
use crate::domain::reason::{Phrase, phrase, reason};

/// More submodules are not fetched for one tree.
const MOST_MODULES: usize = 256;
/// A longer `.gitattributes` is not looked at: git ignores those over 100 MB.
const LONGEST_ATTRIBUTES: u64 = 100 << 20;

/// Where a tree's directory is: at a commit, with everything that is needed to move it to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The commit.
    pub place: Place,
    /// Its submodules.
    pub modules: Vec<Module>,
    /// Whether its attributes name Git LFS.
    pub uses_lfs: bool,
    /// What its files take at most, in bytes: those that were replaced since it was made are counted, too.
    pub bytes: u64,
}

/// A submodule of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its directory.
    pub path: TreeFile,
    /// Its commit.
    pub commit: String,
    /// Its name and address in `.gitmodules`; none where that file does not have it.
    pub configured: Option<Configured>,
}

/// What `.gitmodules` says of a submodule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// Its name.
    pub name: String,
    /// Its address as written there.
    pub url: String,
}

/// A tree that was moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Where it is now.
    pub position: Position,
    /// Whether the whole tree was made again; what was in the directories of its submodules is gone.
    pub made: bool,
    /// The pointers of Git LFS that were written, in whose place the files have to be put.
    pub pointers: Vec<Pointer>,
}

impl Moved {
    /// What the files of Git LFS take that come in the place of the pointers, in bytes.
    pub fn bytes_of_lfs(&self) -> u64 {
        self.pointers.iter().map(|pointer| pointer.size).fold(0, u64::saturating_add)
    }
}

/// Moves the directory `root` to a commit: from the position where it is, else again.
///
/// # Errors
/// When the commit or its tree is unavailable or can't be written. The directory is neither here nor there then.
pub(super) async fn move_to(
    objects: &Objects,
    key: &TimeKey,
    root: &Path,
    from: Option<&Position>,
    to: &str,
    room: Room,
) -> Result<Moved, TreeError> {
    if let Some(from) = from {
        if from.place.commit == to {
            return Ok(Moved { position: from.clone(), made: false, pointers: Vec::new() });
        }
        if let Some(course) = Course::find(objects, key, &from.place, to).await? {
            let added = objects.size(to, &blobs(course.changes.iter().map(|change| &change.new))).await?;
            let bytes = from.bytes.saturating_add(added);
            if room.holds(bytes) {
                room.check_space(root, added)?;
                if let Some(moved) = follow(objects, root, from, course, bytes).await? {
                    return Ok(moved);
                }
            }
        }
    }
    make(objects, key, root, to, room).await
}

/// Those that are written as files or links.
fn blobs<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<&'e Entry> {
    entries.filter(|entry| !matches!(entry.mode, Mode::Absent | Mode::Module)).collect()
}

fn io(attempted: Phrase, root: &Path) -> impl Fn(std::io::Error) -> TreeError {
    move |error| TreeError::io(attempted, root, &error)
}

/// Writes what differs, and nothing else; none where the tree has to be made again, since what differs does not fit into
/// the directory.
async fn follow(
    objects: &Objects,
    root: &Path,
    from: &Position,
    course: Course,
    bytes: u64,
) -> Result<Option<Moved>, TreeError> {
    let commit = &course.to.commit;
    let mut files = Root::open(root).map_err(io(phrase!("verb.open"), root))?;
    let mut directories: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut modules: BTreeMap<TreeFile, Module> =
        from.modules.iter().map(|module| (module.path.clone(), module.clone())).collect();
    for Change { old, new } in &course.changes {
        directories.extend(directories_above(&new.path).map(<[u8]>::to_vec));
        // What is another kind of thing goes first: nothing is ever written through a link.
        let stays = match old {
            Mode::Absent => true,
            Mode::File | Mode::Executable => new.mode.is_file(),
            Mode::Module => new.mode == Mode::Module,
            Mode::Link => false,
        };
        if !stays {
            files.remove(&new.path).map_err(io(phrase!("tree_step.remove_files_of"), root))?;
        }
        modules.remove(&new.path);
    }
    let gitlinks = course.changes.iter().map(|change| &change.new).filter(|entry| entry.mode == Mode::Module);
    modules.extend(gitlinks.map(|entry| (entry.path.clone(), module(entry))));
    let written: Vec<&Entry> =
        course.changes.iter().map(|change| &change.new).filter(|entry| entry.mode != Mode::Absent).collect();
    if !fits(root, &written) {
        return Ok(None);
    }
    objects.write(commit, &written).await?;
    let pointers = match from.uses_lfs {
        true => lfs::find(objects, &mut files, root, commit, &written).await?,
        false => Vec::new(),
    };
    for (path, stamp) in &course.stamps {
        files.set_time(path, *stamp).map_err(io(phrase!("tree_step.set_the_times_of"), root))?;
    }
    directories.extend(modules.values().map(|module| module.path.as_bytes().to_vec()));
    files.set_directory_times(&directories).map_err(io(phrase!("tree_step.set_the_times_of"), root))?;
    let names_modules = course.changes.iter().any(|change| change.new.path.as_bytes() == b".gitmodules");
    let mut modules: Vec<Module> = modules.into_values().collect();
    if names_modules || modules.iter().any(|module| module.configured.is_none()) {
        configure(objects, commit, &mut modules).await?;
    }
    let position = Position { place: course.to, modules, uses_lfs: from.uses_lfs, bytes };
    Ok(Some(Moved { position, made: false, pointers }))
}

/// Whether these can be written without a file or link being in the place of a directory, or the other way round. That
/// is so for all trees of git's own making.
fn fits(root: &Path, written: &[&Entry]) -> bool {
    let at = |path: &[u8]| fs::symlink_metadata(root.join(OsStr::from_bytes(path)));
    let mut seen: HashSet<&[u8]> = HashSet::new();
    let paths: HashSet<&[u8]> = written.iter().map(|entry| entry.path.as_bytes()).collect();
    written.iter().all(|entry| {
        let is_free = entry.mode == Mode::Module || !at(entry.path.as_bytes()).is_ok_and(|meta| meta.is_dir());
        is_free
            && directories_above(&entry.path).all(|above| {
                !seen.insert(above) || !paths.contains(above) && at(above).map_or(true, |meta| meta.is_dir())
            })
    })
}

/// Empties the directory and writes the whole tree.
async fn make(objects: &Objects, key: &TimeKey, root: &Path, commit: &str, room: Room) -> Result<Moved, TreeError> {
    let entries = objects.list(commit).await?;
    let bytes = objects.size(commit, &blobs(entries.iter())).await?;
    room.check_limit(commit, bytes)?;
    empty(root).map_err(io(phrase!("tree_step.empty"), root))?;
    room.check_space(root, bytes)?;
    let mut modules: Vec<Module> = entries.iter().filter(|entry| entry.mode == Mode::Module).map(module).collect();
    configure(objects, commit, &mut modules).await?;
    objects.write_all(commit, &entries).await?;
    let mut files = Root::open(root).map_err(io(phrase!("verb.open"), root))?;
    let mut uses_lfs = false;
    for entry in entries.iter().filter(|entry| entry.path.gives_attributes() && entry.mode.is_file()) {
        let attributes =
            files.read(&entry.path, LONGEST_ATTRIBUTES).map_err(io(phrase!("tree_step.read_attributes_in"), root))?;
        objects.check_attributes(commit, &attributes)?;
        uses_lfs |= contains(&attributes, b"filter=lfs");
    }
    let pointers = if uses_lfs {
        let all: Vec<&Entry> = entries.iter().collect();
        lfs::find(objects, &mut files, root, commit, &all).await?
    } else {
        Vec::new()
    };
    let (place, stamps) = history::stamps(objects, key, commit, &entries).await?;
    for (path, stamp) in &stamps {
        files.set_time(path, *stamp).map_err(io(phrase!("tree_step.set_the_times_of"), root))?;
    }
    let mut directories: BTreeSet<Vec<u8>> = modules.iter().map(|module| module.path.as_bytes().to_vec()).collect();
    for entry in &entries {
        let (directory, _) = entry.path.split();
        if !directory.is_empty() && !directories.contains(directory) {
            directories.extend(directories_above(&entry.path).map(<[u8]>::to_vec));
        }
    }
    files.set_directory_times(&directories).map_err(io(phrase!("tree_step.set_the_times_of"), root))?;
    Ok(Moved { position: Position { place, modules, uses_lfs, bytes }, made: true, pointers })
}

fn module(entry: &Entry) -> Module {
    Module { path: entry.path.clone(), commit: entry.id.clone(), configured: None }
}

/// Looks up the submodules' names and addresses.
async fn configure(objects: &Objects, commit: &str, modules: &mut [Module]) -> Result<(), TreeError> {
    if modules.is_empty() {
        return Ok(());
    }
    if modules.len() > MOST_MODULES {
        let path = modules[MOST_MODULES].path.to_string();
        let reason = reason!("tree.too_many_submodules", most = MOST_MODULES);
        return Err(TreeError::Submodule { path, commit: commit.into(), reason, temporary: false });
    }
    let configured = objects.modules(commit).await?;
    for module in modules {
        let of_path =
            |keys: &BTreeMap<String, String>| keys.get("path").map(String::as_bytes) == Some(module.path.as_bytes());
        module.configured = configured
            .iter()
            .find(|(_, keys)| of_path(keys))
            .and_then(|(name, keys)| Some(Configured { name: name.clone(), url: keys.get("url")?.clone() }));
    }
    Ok(())
}

fn empty(root: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}
