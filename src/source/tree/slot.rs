//! Slots: directories that hold the tree of a repository's commit and are moved from one to the next.
//!
//! A repository has a few, one for each of its builds that run at the same time. A slot belongs to the process that holds its
//! lock file: the pool while it moves the tree, the processes that do so, and then the runner, which inherits the lock.
//! So a slot is free when its build has ended, however the pool or the runner ended.
//!
//! What a slot holds stands in its state, which is there only while the tree is whole: it is removed before the tree is
//! touched and written once it is done. A tree without one is made again. So is one of before the machine's last start,
//! whose files may never have reached the disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::change::TreeFile;
use super::checkout::Position;
use crate::domain::reason::{io_error, reason};
use crate::sys::atomic;

/// The layout of a slot; one of another is made again.
const LAYOUT: u32 = 2;
/// More slots of one repository are not made: so many of its builds run at once.
const MOST_SLOTS: u32 = 256;
/// The ending of a slot that is being removed; one that is left was not removed whole.
pub const ASIDE: &str = "removed";
/// The lock of a slot, and of the choice among a repository's slots.
const LOCK: &str = "lock";

/// What a slot's tree holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    layout: u32,
    /// The machine's boot.
    boot: String,
    /// The ref whose commit it is; its next commit finds the shortest way from here.
    pub reference: String,
    /// Whether the tree has a `.git`.
    pub keep_git: bool,
    /// The tree itself, and after it its submodules, each after the tree that it is in.
    pub parts: Vec<Part>,
}

/// A tree of one repository in the slot: the source's own, or a submodule's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The directory of the submodule, from the root; none for the source's own tree.
    pub path: Option<TreeFile>,
    /// Where it is.
    pub position: Position,
}

impl State {
    /// Of these parts, now.
    pub fn new(reference: String, keep_git: bool, parts: Vec<Part>) -> State {
        State { layout: LAYOUT, boot: boot(), reference, keep_git, parts }
    }

    /// The commit of the source.
    pub fn commit(&self) -> Option<&str> {
        self.parts.first().map(|part| part.position.place.commit.as_str())
    }
}

/// A slot that is held.
#[derive(Debug)]
pub struct Slot {
    directory: PathBuf,
    lock: Arc<File>,
}

impl Slot {
    /// Takes a free slot below `trees`, or a new one: best that of this commit, else that of this ref, else that which
    /// was used last.
    ///
    /// # Errors
    /// When none can be made or read.
    pub fn take(trees: &Path, commit: &str, reference: &str) -> io::Result<Slot> {
        atomic::make_dirs(trees)?;
        // Held for as long as it takes to choose: others would see the slots that are only looked at as taken.
        let choice = open_lock(&trees.join(LOCK))?;
        choice.lock()?;
        let mut best: Option<(u8, Option<std::time::SystemTime>, Slot)> = None;
        let mut numbers: Vec<u32> = Vec::new();
        for entry in fs::read_dir(trees)? {
            numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        for number in &numbers {
            let Some(slot) = Slot::lock(&trees.join(number.to_string()))? else { continue };
            let state = slot.state();
            let rank = match &state {
                Some(state) if state.commit() == Some(commit) => 3,
                Some(state) if state.reference == reference => 2,
                Some(_) => 1,
                None => 0,
            };
            let used = fs::metadata(slot.state_file()).and_then(|meta| meta.modified()).ok();
            if best.as_ref().is_none_or(|(than, at, _)| (rank, used) > (*than, *at)) {
                best = Some((rank, used, slot));
            }
        }
        if let Some((_, _, slot)) = best {
            return Ok(slot);
        }
        let free = (0..MOST_SLOTS).find(|number| !numbers.contains(number));
        let number = free.ok_or_else(|| io_error(reason!("tree.all_in_use", most = MOST_SLOTS)))?;
        let directory = trees.join(number.to_string());
        atomic::make_dirs(&directory)?;
        Slot::lock(&directory)?.ok_or_else(|| io_error(reason!("tree.new_in_use")))
    }

    /// Locks a slot; none where a build has it.
    pub fn lock(directory: &Path) -> io::Result<Option<Slot>> {
        let lock = match open_lock(&directory.join(LOCK)) {
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            lock => lock?,
        };
        match lock.try_lock() {
            Ok(()) => Ok(Some(Slot { directory: directory.into(), lock: Arc::new(lock) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The tree.
    pub fn root(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// The bare repository that borrows the objects of a part.
    pub fn repository(&self, part: Option<&TreeFile>) -> PathBuf {
        match part {
            None => self.directory.join("repository"),
            Some(path) => {
                use sha2::{Digest as _, Sha256};
                self.directory.join("modules").join(hex::encode(&Sha256::digest(path.as_bytes())[..16]))
            }
        }
    }

    /// The lock, which a process that goes on using the tree inherits.
    pub fn lock_file(&self) -> &Arc<File> {
        &self.lock
    }

    fn state_file(&self) -> PathBuf {
        Slot::state_of(&self.directory)
    }

    /// What the tree holds; none where it is not whole.
    pub fn state(&self) -> Option<State> {
        let state: State = serde_json::from_slice(&fs::read(self.state_file()).ok()?).ok()?;
        (state.layout == LAYOUT && state.boot == boot()).then_some(state)
    }

    /// Before the tree is touched.
    ///
    /// # Errors
    /// When the state can't be removed.
    pub fn begin(&self) -> io::Result<()> {
        match fs::remove_file(self.state_file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Once the tree is whole.
    ///
    /// # Errors
    /// When the state can't be written.
    pub fn finish(&self, state: &State) -> io::Result<()> {
        // Not brought to the disk: after a start of the machine it counts for nothing.
        let new = self.directory.join("state.new");
        fs::write(&new, serde_json::to_vec(state)?)?;
        fs::rename(new, self.state_file())
    }

    /// Marks it as used now: slots that were not used for long are removed first.
    pub fn touch(&self) -> io::Result<()> {
        File::options().append(true).open(self.state_file())?.set_modified(std::time::SystemTime::now())
    }

    /// The file that tells when a slot was last used.
    pub fn state_of(directory: &Path) -> PathBuf {
        directory.join("state.json")
    }

    /// Removes a slot that no build has; false where one has it.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_unused(directory: &Path) -> io::Result<bool> {
        let Some(trees) = directory.parent() else { return Ok(false) };
        // Nobody chooses it meanwhile.
        let choice = open_lock(&trees.join(LOCK))?;
        choice.lock()?;
        let Some(slot) = Slot::lock(directory)? else { return Ok(false) };
        slot.remove(choice).map(|()| true)
    }

    /// Removes a slot whose tree could not be made: what was written of it is given back to the disk.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn discard(self) -> io::Result<()> {
        let choice = open_lock(&self.directory.with_file_name(LOCK))?;
        choice.lock()?;
        self.remove(choice)
    }

    fn remove(self, choice: File) -> io::Result<()> {
        self.begin()?;
        // Builds do not wait for the removal of its files.
        let aside = self.directory.with_extension(ASIDE);
        fs::rename(&self.directory, &aside)?;
        drop(choice);
        fs::remove_dir_all(aside)
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(atomic::PRIVATE).open(path)
}

/// The machine's present start; where the kernel tells none, none is trusted for longer than this process.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| format!("process {}", std::process::id()), |id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::history::Place;
    use super::*;

    fn state(commit: &str, reference: &str) -> State {
        let place = Place { commit: commit.into(), number: 1 };
        let position = Position { place, modules: Vec::new(), uses_lfs: false, bytes: 0 };
        State::new(reference.into(), false, vec![Part { path: None, position }])
    }

    #[test]
    fn a_slot_that_is_held_is_not_given_again_and_the_nearest_free_one_is() {
        let trees = tempfile::tempdir().unwrap();
        let take = |commit: &str, reference: &str| Slot::take(trees.path(), commit, reference).unwrap();
        let (one, two) = (take("a", "main"), take("b", "other"));
        assert_ne!(one.root(), two.root());
        one.finish(&state("a", "main")).unwrap();
        two.finish(&state("b", "other")).unwrap();
        let (of_one, of_two) = (one.root(), two.root());
        drop((one, two));
        assert_eq!(take("b", "main").root(), of_two, "the commit is there");
        assert_eq!(take("c", "main").root(), of_one, "an earlier commit of the ref is there");
        let first = take("a", "main");
        let second = take("a", "main");
        assert_eq!((first.root(), second.root()), (of_one, of_two));
    }

    #[test]
    fn a_tree_that_was_being_moved_or_is_of_another_boot_has_no_state() {
        let trees = tempfile::tempdir().unwrap();
        let slot = Slot::take(trees.path(), "a", "main").unwrap();
        assert_eq!(slot.state(), None);
        slot.finish(&state("a", "main")).unwrap();
        assert_eq!(slot.state().unwrap().commit(), Some("a"));
        slot.begin().unwrap();
        assert_eq!(slot.state(), None);
        slot.finish(&State { boot: "another".into(), ..state("a", "main") }).unwrap();
        assert_eq!(slot.state(), None);
    }

    #[test]
    fn a_process_that_inherits_the_lock_holds_the_slot() {
        let trees = tempfile::tempdir().unwrap();
        let slot = Slot::take(trees.path(), "a", "main").unwrap();
        let root = slot.root();
        let lock = slot.lock_file().try_clone().unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").stdout(lock).spawn().unwrap();
        drop(slot);
        assert_ne!(Slot::take(trees.path(), "a", "main").unwrap().root(), root);
        child.kill().unwrap();
        child.wait().unwrap();
        let free = root.parent().unwrap();
        assert!(Slot::lock(free).unwrap().is_some());
    }
}
