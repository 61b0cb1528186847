//! Objects as libgit2 reads and writes them: for sources on this machine's disk, where the host has no `git`.
//!
//! It blocks, and knows neither SHA-256 repositories nor `working-tree-encoding`; a tree with submodules or LFS files
//! needs git, too.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{Commit, Delta, DiffFile, DiffOptions, Index, IndexEntry, IndexTime, ObjectType, Oid, Repository, Sort};

use super::change::{Change, Entry, Link, MOST_FILES, Mode, TreeFile};
use super::error::TreeError;
use super::room::on_disk;
use crate::domain::reason::{Phrase, Reason, phrase};
use crate::source::git::NoGit;
use crate::sys::disk;

/// One repository, read by libgit2.
pub(super) struct PlainObjects {
    name: String,
    repository: PathBuf,
    root: PathBuf,
}

impl PlainObjects {
    pub(super) fn new(name: String, repository: &Path, root: &Path) -> PlainObjects {
        PlainObjects { name, repository: repository.into(), root: root.into() }
    }

    /// What only git can do.
    pub(super) fn needs_git(&self, commit: &str, what: Phrase) -> TreeError {
        TreeError::NeedsGit { commit: commit.into(), what: what.into(), advice: NoGit::Missing.into() }
    }

    fn open(&self) -> Result<Repository, git2::Error> {
        static FORGET: std::sync::Once = std::sync::Once::new();
        FORGET.call_once(|| {
            for level in [git2::ConfigLevel::System, git2::ConfigLevel::XDG, git2::ConfigLevel::Global] {
                // SAFETY: the process has one thread that uses libgit2, and has not used it before.
                let _ = unsafe { git2::opts::set_search_path(level, "") };
            }
            // SAFETY: as above. Whether the source may be read was looked at before.
            let _ = unsafe { git2::opts::set_verify_owner_validation(false) };
        });
        let repository = Repository::open_bare(&self.repository)?;
        repository.set_workdir(&self.root, false)?;
        // An index in memory stands in for the repository's own.
        repository.set_index(&mut Index::new()?)?;
        Ok(repository)
    }

    fn failed(&self, commit: &str, error: &git2::Error) -> TreeError {
        if commit.len() != 40 {
            return self.needs_git(commit, phrase!("tree_feature.sha256"));
        }
        let full = disk::free(&self.root).is_ok_and(|free| free == 0);
        if full {
            return TreeError::DiskFull { path: self.root.clone() };
        }
        let found = self.open().and_then(|repository| find(&repository, commit).map(drop));
        if found.is_err_and(|error| error.code() == git2::ErrorCode::NotFound) {
            return TreeError::NoCommit { repository: self.name.clone(), commit: commit.into() };
        }
        let said: String = error.message().chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
        TreeError::Checkout { repository: self.name.clone(), commit: commit.into(), reason: Reason::verbatim(said) }
    }

    fn links(&self, commit: &str, mut each: impl FnMut(&Commit<'_>) -> ControlFlow<()>) -> Result<(), TreeError> {
        let mut walk = || -> Result<(), git2::Error> {
            let repository = self.open()?;
            let mut walk = repository.revwalk()?;
            walk.simplify_first_parent()?;
            walk.set_sorting(Sort::NONE)?;
            walk.push(find(&repository, commit)?.id())?;
            for id in walk {
                if each(&repository.find_commit(id?)?).is_break() {
                    break;
                }
            }
            Ok(())
        };
        walk().map_err(|error| self.failed(commit, &error))
    }

    pub(super) fn chain(&self, commit: &str, most: usize) -> Result<Vec<Link>, TreeError> {
        let mut chain = Vec::new();
        self.links(commit, |commit| {
            chain.push(Link { id: commit.id().to_string(), time: commit.time().seconds() });
            if chain.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(chain)
    }

    pub(super) fn count(&self, commit: &str) -> Result<u64, TreeError> {
        let mut count = 0;
        self.links(commit, |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    pub(super) fn compare(
        &self,
        pairs: &[(&str, &str)],
        mut each: impl FnMut(usize, Change) -> ControlFlow<()>,
    ) -> Result<(), TreeError> {
        for (number, (new, old)) in pairs.iter().enumerate() {
            for change in self.changes(new, old)? {
                if each(number, change).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn changes(&self, new: &str, old: &str) -> Result<Vec<Change>, TreeError> {
        let read = || -> Result<Vec<Result<Change, Vec<u8>>>, git2::Error> {
            let repository = self.open()?;
            let (old, new) = (find(&repository, old)?.tree()?, find(&repository, new)?.tree()?);
            let mut options = DiffOptions::new();
            options.include_typechange(true).ignore_submodules(false);
            let diff = repository.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))?;
            let side = |file: DiffFile<'_>| {
                let id = file.id().to_string();
                (if file.exists() { mode(&file) } else { Mode::Absent }, id)
            };
            let change = |delta: git2::DiffDelta<'_>| {
                let (was, _) = side(delta.old_file());
                let (mode, id) = side(delta.new_file());
                let file = if delta.status() == Delta::Deleted { delta.old_file() } else { delta.new_file() };
                let bytes = file.path_bytes().unwrap_or_default();
                let path = TreeFile::parse(bytes).ok_or_else(|| bytes.to_owned())?;
                Ok(Change { old: was, new: Entry { mode, id, path } })
            };
            Ok(diff.deltas().map(change).collect())
        };
        let changes = read().map_err(|error| self.failed(new, &error))?;
        changes.into_iter().map(|change| change.map_err(|path| self.bad_path(new, &path))).collect()
    }

    /// Removes a file of the tree, and nothing that a link leads to.
    fn remove(&self, path: &TreeFile) -> io::Result<()> {
        let file = self.root.join(OsStr::from_bytes(path.as_bytes()));
        let directory = file.parent().unwrap_or(&self.root).canonicalize();
        let is_inside =
            directory.is_ok_and(|directory| self.root.canonicalize().is_ok_and(|root| directory.starts_with(root)));
        if !is_inside {
            return Ok(());
        }
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn bad_path(&self, commit: &str, path: &[u8]) -> TreeError {
        TreeError::Path { commit: commit.into(), path: String::from_utf8_lossy(path).into_owned() }
    }

    pub(super) fn list(&self, commit: &str) -> Result<Vec<Entry>, TreeError> {
        let mut entries = Vec::new();
        let repository = self.open().map_err(|error| self.failed(commit, &error))?;
        let root = find(&repository, commit).and_then(|found| found.tree());
        // libgit2's own walk knows no directories whose names are not UTF-8.
        let mut left = vec![(Vec::new(), root.map_err(|error| self.failed(commit, &error))?)];
        while let Some((directory, tree)) = left.pop() {
            for entry in &tree {
                let path = [directory.as_slice(), entry.name_bytes()].concat();
                if entry.kind() == Some(ObjectType::Tree) {
                    let below = repository.find_tree(entry.id()).map_err(|error| self.failed(commit, &error))?;
                    left.push(([path.as_slice(), b"/"].concat(), below));
                    continue;
                }
                let mode = u32::try_from(entry.filemode()).ok().and_then(Mode::of);
                let (Some(path), Some(mode)) = (TreeFile::parse(&path), mode) else {
                    return Err(self.bad_path(commit, &path));
                };
                entries.push(Entry { mode, id: entry.id().to_string(), path });
                if entries.len() > MOST_FILES {
                    return Err(TreeError::TooMany { commit: commit.into(), most: MOST_FILES });
                }
            }
        }
        // Git's order is that of whole paths.
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    pub(super) fn size(&self, commit: &str, entries: &[&Entry]) -> Result<u64, TreeError> {
        let read = || -> Result<u64, git2::Error> {
            let repository = self.open()?;
            let objects = repository.odb()?;
            let mut bytes = 0u64;
            for entry in entries {
                let size = objects.read_header(Oid::from_str(&entry.id)?).map_or(0, |(size, _)| size);
                bytes = bytes.saturating_add(on_disk(size.try_into().unwrap_or(u64::MAX)));
            }
            Ok(bytes)
        };
        read().map_err(|error| self.failed(commit, &error))
    }

    pub(super) fn write_all(&self, commit: &str, entries: &[Entry]) -> Result<(), TreeError> {
        self.write_by(commit, &entries.iter().collect::<Vec<_>>(), entries)
    }

    pub(super) fn write(&self, commit: &str, entries: &[&Entry]) -> Result<(), TreeError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.write_by(commit, entries, &self.list(commit)?)
    }

    /// Writes files by the attributes that are among `all` files of the commit. libgit2 reads attributes in the working
    /// tree, and where they are not there yet in the index: so they are in the index, and those that are to be written
    /// are not in the working tree. A `.gitattributes` is then written by its own rules, as git does.
    fn write_by(&self, commit: &str, entries: &[&Entry], all: &[Entry]) -> Result<(), TreeError> {
        for entry in entries.iter().filter(|entry| entry.path.gives_attributes()) {
            self.remove(&entry.path).map_err(|error| TreeError::io(phrase!("verb.write"), &self.root, &error))?;
        }
        let write = || -> Result<(), git2::Error> {
            let repository = self.open()?;
            let mut attributes = Index::new()?;
            for entry in all.iter().filter(|entry| entry.path.gives_attributes() && entry.mode.is_file()) {
                attributes.add(&index_entry(entry)?)?;
            }
            repository.set_index(&mut attributes)?;
            let found = find(&repository, commit)?;
            let mut options = CheckoutBuilder::new();
            options.force().recreate_missing(true).update_index(false).refresh(false).disable_pathspec_match(true);
            options.dir_perm(0o755);
            for entry in entries {
                options.path(entry.path.as_bytes());
            }
            repository.checkout_tree(found.as_object(), Some(&mut options))
        };
        write().map_err(|error| self.failed(commit, &error))
    }
}

/// A regular file in git's index.
fn index_entry(entry: &Entry) -> Result<IndexEntry, git2::Error> {
    Ok(IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id: Oid::from_str(&entry.id)?,
        flags: 0,
        flags_extended: 0,
        path: entry.path.as_bytes().to_owned(),
    })
}

fn mode(file: &DiffFile<'_>) -> Mode {
    Mode::of(u32::from(file.mode())).unwrap_or(Mode::Absent)
}

fn find<'r>(repository: &'r Repository, commit: &str) -> Result<Commit<'r>, git2::Error> {
    // A short id is filled up with zeros by libgit2: it would be another commit.
    let id = if commit.len() == 40 { Oid::from_str(commit)? } else { Oid::ZERO_SHA1 };
    repository.find_commit(id)
}
