//! What is read from a repository's objects to make a tree: its files, its history, and the checkout itself.
//!
//! Git itself does it where the host has it. Without it, libgit2 does, for sources on this machine's disk.
//!
//! Nobody's configuration counts: both work in a bare repository of slipway's own, which borrows the objects of the
//! source or of its clone (`objects/info/alternates`) and has a listed configuration, no hooks and no
//! `info/attributes`.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::{Change, Entry, Link, TreeFile};
use super::error::TreeError;
use super::files::directories_above;
use super::git_objects::GitObjects;
use super::plain_objects::PlainObjects;
use super::pointer::{LfsCommit, Pointer};
use crate::domain::reason::{io_error, phrase, reason};
use crate::source::git::GitProgram;
use crate::store::read::open_regular;

/// A longer `shallow` is none, in bytes: some hundred thousand ids.
const LONGEST_SHALLOW: u64 = 16 << 20;

/// Who reads them.
pub(super) enum Objects {
    Git(GitObjects),
    Plain(PlainObjects),
}

/// A repository whose objects are borrowed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lender {
    /// The source or submodule as people know it: for errors.
    pub name: String,
    /// The directory that has its `objects`.
    pub repository: PathBuf,
}

impl Objects {
    /// Opens the objects of a lender: makes the bare repository `own`, and checks out into `root`.
    ///
    /// # Errors
    /// When the lender has no objects any more, or the repository can't be written.
    pub(super) fn open(
        program: Option<Arc<GitProgram>>,
        lender: &Lender,
        own: &Path,
        root: &Path,
        commit: &str,
    ) -> Result<Objects, TreeError> {
        let made = borrow(lender, own, commit).and_then(|()| fs::create_dir_all(root));
        made.map_err(|error| match lender.repository.join("objects").is_dir() {
            true => TreeError::io(phrase!("verb.make_the_directory"), own, &error),
            // The clone was removed or is made again, since it was fetched into.
            false => TreeError::Damaged { repository: lender.name.clone(), reason: error.into() },
        })?;
        Ok(match program {
            Some(program) => Objects::Git(GitObjects::new(program, lender.name.clone(), own, root)),
            None => Objects::Plain(PlainObjects::new(lender.name.clone(), own, root)),
        })
    }

    /// The newest commits of a first-parent chain, at most so many, newest first.
    pub(super) async fn chain(&self, commit: &str, most: usize) -> Result<Vec<Link>, TreeError> {
        match self {
            Objects::Git(git) => git.chain(commit, most).await,
            Objects::Plain(plain) => plain.chain(commit, most),
        }
    }

    /// How long a first-parent chain is.
    pub(super) async fn count(&self, commit: &str) -> Result<u64, TreeError> {
        match self {
            Objects::Git(git) => git.count(commit).await,
            Objects::Plain(plain) => plain.count(commit),
        }
    }

    /// Compares pairs of commits (the new one first) in their order; `each` gets the number of the pair, and may end
    /// it.
    pub(super) async fn compare(
        &self,
        pairs: &[(&str, &str)],
        each: impl FnMut(usize, Change) -> ControlFlow<()>,
    ) -> Result<(), TreeError> {
        match self {
            Objects::Git(git) => git.compare(pairs, each).await,
            Objects::Plain(plain) => plain.compare(pairs, each),
        }
    }

    /// All files, links and submodules of a commit, in the order of their paths.
    pub(super) async fn list(&self, commit: &str) -> Result<Vec<Entry>, TreeError> {
        let entries = match self {
            Objects::Git(git) => git.list(commit).await,
            Objects::Plain(plain) => plain.list(commit),
        }?;
        match ambiguous(&entries) {
            Some(path) => Err(TreeError::Path { commit: commit.into(), path: path.to_string() }),
            None => Ok(entries),
        }
    }

    /// What files and links of a commit take on the disk, in bytes. Of one whose object is missing nothing is known
    /// until it is written.
    pub(super) async fn size(&self, commit: &str, entries: &[&Entry]) -> Result<u64, TreeError> {
        match self {
            _ if entries.is_empty() => Ok(0),
            Objects::Git(git) => git.size(commit, entries).await,
            Objects::Plain(plain) => plain.size(commit, entries),
        }
    }

    /// Writes a commit's tree into the root, which is empty.
    pub(super) async fn write_all(&self, commit: &str, entries: &[Entry]) -> Result<(), TreeError> {
        match self {
            Objects::Git(git) => git.write_all(commit).await,
            Objects::Plain(plain) => plain.write_all(commit, entries),
        }
    }

    /// Writes these entries of a commit's tree into the root, where all its `.gitattributes` are already.
    pub(super) async fn write(&self, commit: &str, entries: &[&Entry]) -> Result<(), TreeError> {
        match self {
            _ if entries.is_empty() => Ok(()),
            Objects::Git(git) => git.write(commit, entries).await,
            Objects::Plain(plain) => plain.write(commit, entries),
        }
    }

    /// What a commit's `.gitmodules` says: by the name of each submodule its keys.
    pub(super) async fn modules(&self, commit: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, TreeError> {
        match self {
            Objects::Git(git) => git.modules(commit).await,
            Objects::Plain(plain) => Err(plain.needs_git(commit, phrase!("tree_feature.submodules"))),
        }
    }

    /// Which of these files of the root have the attribute `filter=lfs`.
    pub(super) async fn filtered_by_lfs<'e>(
        &self,
        commit: &str,
        entries: Vec<&'e Entry>,
    ) -> Result<Vec<&'e Entry>, TreeError> {
        match self {
            _ if entries.is_empty() => Ok(entries),
            Objects::Git(git) => git.filtered_by_lfs(commit, entries).await,
            Objects::Plain(plain) => Err(plain.needs_git(commit, phrase!("tree_feature.lfs"))),
        }
    }

    /// Makes a commit that holds nothing but these pointers, for git-lfs to fetch, and says where the commit's
    /// `.lfsconfig` has it fetched.
    pub(super) async fn lfs_commit(&self, commit: &str, pointers: &[Pointer]) -> Result<LfsCommit, TreeError> {
        match self {
            Objects::Git(git) => git.lfs_commit(commit, pointers).await,
            Objects::Plain(plain) => Err(plain.needs_git(commit, phrase!("tree_feature.lfs"))),
        }
    }

    /// Whether only git can apply what the attributes ask for.
    pub(super) fn check_attributes(&self, commit: &str, attributes: &[u8]) -> Result<(), TreeError> {
        match self {
            Objects::Plain(plain) if contains(attributes, b"working-tree-encoding") => {
                Err(plain.needs_git(commit, phrase!("tree_feature.encoding")))
            }
            _ => Ok(()),
        }
    }
}

/// A path that a tree names twice: as a file, link or submodule, and as another or as a directory. Git makes no such
/// tree, and a checkout would have one or the other.
fn ambiguous(entries: &[Entry]) -> Option<&TreeFile> {
    let mut paths: HashSet<&[u8]> = HashSet::with_capacity(entries.len());
    let twice = entries.iter().find(|entry| !paths.insert(entry.path.as_bytes()));
    let below = || entries.iter().find(|entry| directories_above(&entry.path).any(|above| paths.contains(above)));
    twice.or_else(below).map(|entry| &entry.path)
}

/// Whether bytes hold others.
pub(super) fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(bytes, wanted).is_some()
}

/// Makes a bare repository that borrows the lender's objects. A commit id's length tells the kind of its ids.
fn borrow(lender: &Lender, own: &Path, commit: &str) -> io::Result<()> {
    for directory in ["objects/info", "refs"] {
        fs::create_dir_all(own.join(directory))?;
    }
    let format = if commit.len() == 64 {
        "\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n"
    } else {
        "\trepositoryformatversion = 0\n"
    };
    fs::write(own.join("config"), format!("[core]\n\tbare = true\n{format}"))?;
    fs::write(own.join("HEAD"), "ref: refs/heads/none\n")?;
    use std::os::unix::ffi::OsStrExt as _;
    let objects = fs::canonicalize(lender.repository.join("objects"))?;
    fs::write(own.join("objects/info/alternates"), quoted(objects.as_os_str().as_bytes()))?;
    // Where its history ends though commits name parents.
    match read_shallow(&lender.repository.join("shallow")) {
        Ok(shallow) => fs::write(own.join("shallow"), shallow),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::remove_file(own.join("shallow")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Err(error) => Err(error),
    }
}

fn read_shallow(file: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    open_regular(file)?.take(LONGEST_SHALLOW + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LONGEST_SHALLOW {
        true => Err(io_error(reason!("tree.file_too_large", path = file))),
        false => Ok(text),
    }
}

/// A line of `alternates`: git reads one that begins with a double quote as a C string, and `#` as a comment.
fn quoted(path: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(path.len() + 1);
    if path.contains(&b'\n') {
        line.push(b'"');
        for byte in path {
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
                byte => line.push(*byte),
            }
        }
        line.push(b'"');
    } else {
        line.extend_from_slice(path);
    }
    line.push(b'\n');
    line
}
