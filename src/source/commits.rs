//! What a commit says and changes: its message, and the files that differ from an earlier one. Blocks: [`super::git`] runs it
//! elsewhere.
//!
//! A repository on this machine is read where it is. Of others, the newest tree alone is fetched (depth 1) into a bare
//! repository of our own, where the trees that were looked at before still are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use git2::{AutotagOption, DiffOptions, ErrorCode, FetchOptions, Oid, Repository};
use serde::{Deserialize, Serialize};

use super::checkout;
use super::error::{Kind, SourceError};
use super::remote::{self, Access};
use super::url::SourceUrl;
use crate::domain::push::{CommitId, Ref};

/// A bare repository that was fetched into so often is begun anew: nothing else ever tidies it up.
const MOST_PACKS: usize = 64;
/// There while a process fetches into it.
const LOOKING: &str = "looking";
/// More than this is not fetched to look at a commit, in bytes.
const MOST_BYTES: usize = 2 << 30;

/// Which commit is looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wanted {
    /// Where its objects are kept, of a source on another machine.
    pub store: PathBuf,
    /// The ref that points at it.
    pub reference: Ref,
    /// The commit.
    pub commit: CommitId,
    /// The commits that it is compared with.
    pub since: Vec<CommitId>,
}

/// What is known of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its message.
    pub message: String,
    /// The files that differ from each commit that it was to be compared with, by their paths from the root; those commits that
    /// are not to be had are left out.
    pub changed: BTreeMap<CommitId, Vec<String>>,
}

/// Looks at a commit of a source.
///
/// # Errors
/// When the source can't be read, or does not have the commit.
pub(super) fn look(url: &SourceUrl, access: &Access, wanted: &Wanted) -> Result<Commit, SourceError> {
    if let Some(path) = url.local_path() {
        let repository = checkout::open(path).map_err(|error| SourceError::from_local(url, path, &error))?;
        return read(url, &repository, wanted);
    }
    let local = |reason: String| SourceError::new(Kind::NotARepository, url, reason);
    let repository = open(&wanted.store).map_err(local)?;
    let mark = wanted.store.join(LOOKING);
    fs::write(&mark, "").map_err(|error| local(format!("cannot write {}: {error}", mark.display())))?;
    let looked = look_in(&repository, url, access, wanted);
    // Where it stays, the store is begun anew: no worse than that.
    let _ = fs::remove_file(mark);
    looked
}

/// Looks at a commit in a repository of our own, once it is fetched.
fn look_in(repository: &Repository, url: &SourceUrl, access: &Access, wanted: &Wanted) -> Result<Commit, SourceError> {
    // By its name first: not every server gives out commits by their ids. Under a name of our own: `feature` may have become
    // `feature/x`.
    fetch(repository, url, access, &format!("+{}:refs/slipway/look", wanted.reference))?;
    for commit in std::iter::once(&wanted.commit).chain(&wanted.since) {
        if !has(repository, commit) {
            let by_id = format!("+{commit}:refs/slipway/{commit}");
            // Without it the answer is less complete, or says that it is not there.
            let _ = fetch(repository, url, access, &by_id);
        }
    }
    read(url, repository, wanted)
}

/// The bare repository, made where it is not there; anew where it has been fetched into often, or where a process was ended in the
/// middle of that.
fn open(store: &Path) -> Result<Repository, String> {
    let packs = fs::read_dir(store.join("objects/pack")).map_or(0, Iterator::count);
    // A pack has an index beside it.
    if packs > 2 * MOST_PACKS || store.join(LOOKING).exists() {
        fs::remove_dir_all(store).map_err(|error| format!("cannot remove {}: {error}", store.display()))?;
    }
    match Repository::open_bare(store) {
        Ok(repository) => Ok(repository),
        Err(error) if error.code() == ErrorCode::NotFound => Repository::init_bare(store)
            .map_err(|error| format!("cannot make the repository {}: {}", store.display(), error.message())),
        Err(error) => Err(format!("cannot open {}: {}", store.display(), error.message())),
    }
}

fn fetch(repository: &Repository, url: &SourceUrl, access: &Access, refspec: &str) -> Result<(), SourceError> {
    remote::speak(url, access, |mut callbacks, proxy| {
        callbacks.transfer_progress(|progress| progress.received_bytes() <= MOST_BYTES);
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks).proxy_options(proxy);
        options.depth(1).download_tags(AutotagOption::None).update_fetchhead(false);
        let fetched = repository.remote_anonymous(url.as_str())?.fetch(&[refspec], Some(&mut options), None);
        match fetched {
            Err(error) if error.code() == ErrorCode::User => {
                Err(git2::Error::from_str(&format!("it is larger than {} GB", MOST_BYTES >> 30)))
            }
            fetched => fetched,
        }
    })
}

fn has(repository: &Repository, commit: &CommitId) -> bool {
    Oid::from_str(commit.as_str()).is_ok_and(|id| repository.find_commit(id).is_ok())
}

fn read(url: &SourceUrl, repository: &Repository, wanted: &Wanted) -> Result<Commit, SourceError> {
    let of = |id: &CommitId| repository.find_commit(Oid::from_str(id.as_str())?);
    let commit = of(&wanted.commit).map_err(|_| {
        let reason = format!("it does not have the commit {} (any more)", wanted.commit);
        SourceError::new(Kind::NotFound, url, reason)
    })?;
    let compare = |since: &CommitId| -> Result<Vec<String>, git2::Error> {
        let mut options = DiffOptions::new();
        // A file that was renamed is one that is gone and one that is new.
        options.include_typechange(true);
        let (old, new) = (of(since)?.tree()?, commit.tree()?);
        let diff = repository.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))?;
        let path = |file: git2::DiffFile<'_>| file.path_bytes().map(|path| String::from_utf8_lossy(path).into_owned());
        Ok(diff.deltas().filter_map(|delta| path(delta.new_file()).or_else(|| path(delta.old_file()))).collect())
    };
    let changed = wanted.since.iter().filter_map(|since| Some((since.clone(), compare(since).ok()?))).collect();
    Ok(Commit { message: String::from_utf8_lossy(commit.message_bytes()).into_owned(), changed })
}
