//! Repositories on this machine's disk, read where they are with libgit2. Blocks: [`super::questions`] runs it in
//! another process.

use std::path::Path;

use chrono::DateTime;
use git2::{DiffOptions, ErrorClass, ObjectType, Oid, Repository};

use super::commits::{Commit, MOST_CHANGED, Message, Wanted, not_a_commit};
use crate::domain::push::CommitId;
use crate::domain::reason::{Reason, reason};
use crate::source::error::{Kind, SourceError};
use crate::source::refs::{Collector, MOST_REFS, Refs, TooMany};
use crate::source::url::SourceUrl;

/// libgit2 holds a commit with its message in memory, more than once: a larger one is not read, in bytes.
const LARGEST_COMMIT: usize = 512 << 20;
/// A process that read a larger one ends, and with it what it took, in bytes.
pub(super) const LARGE: usize = 4 << 20;

/// A repository that libgit2 can't read.
pub(super) enum LocalError {
    /// Its ids are SHA-256: git itself reads it.
    Sha256,
    /// Any other reason.
    Source(SourceError),
}

impl From<SourceError> for LocalError {
    fn from(error: SourceError) -> LocalError {
        LocalError::Source(error)
    }
}

fn open(url: &SourceUrl, path: &Path) -> Result<Repository, LocalError> {
    Repository::open(path).map_err(|error| {
        // libgit2 has no code for it.
        if error.class() == ErrorClass::Repository && error.message().contains("object format 'sha256'") {
            return LocalError::Sha256;
        }
        SourceError::from_local(url, path, &error).into()
    })
}

/// Lists its branches and tags.
pub(super) fn list(url: &SourceUrl, path: &Path) -> Result<Refs, LocalError> {
    let repository = open(url, path)?;
    let unreadable =
        |error: git2::Error| SourceError::new(Kind::NotARepository, url, Reason::verbatim(error.message()));
    let mut collector = Collector::default();
    let too_many =
        |TooMany| SourceError::new(Kind::TooManyRefs, url, reason!("source.too_many_refs", most = MOST_REFS));
    // The branch that it names may have no commit yet.
    let head = repository.find_reference("HEAD").ok();
    let at = head.as_ref().and_then(|head| head.resolve().ok()?.target());
    if let (Some(head), Some(id)) = (head, at) {
        let target = head.symbolic_target_bytes().and_then(|target| String::from_utf8(target.to_vec()).ok());
        collector.head(target);
        collector.take(b"HEAD", &id.to_string()).map_err(too_many)?;
    }
    for reference in repository.references().map_err(unreadable)? {
        // One that is broken is not listed by git either.
        let Ok(reference) = reference else { continue };
        let Some(id) = reference.resolve().ok().and_then(|direct| direct.target()) else { continue };
        collector.take(reference.name_bytes(), &id.to_string()).map_err(too_many)?;
        if reference.is_tag()
            && let Ok(peeled) = repository.find_object(id, None).and_then(|object| match object.kind() {
                Some(ObjectType::Tag) => object.peel(ObjectType::Any),
                _ => Ok(object),
            })
            && peeled.id() != id
        {
            let name = [reference.name_bytes(), b"^{}"].concat();
            collector.take(&name, &peeled.id().to_string()).map_err(too_many)?;
        }
    }
    Ok(collector.finish())
}

/// Looks at a commit, and says how large it is in bytes.
pub(super) fn look(url: &SourceUrl, path: &Path, wanted: &Wanted) -> Result<(Commit, usize), LocalError> {
    let repository = open(url, path)?;
    let missing = || SourceError::new(Kind::NoCommit, url, reason!("source.no_commit", commit = wanted.commit));
    let id = Oid::from_str(wanted.commit.as_str()).map_err(|_| missing())?;
    let (size, kind) = repository.odb().and_then(|odb| odb.read_header(id)).map_err(|_| missing())?;
    if kind != ObjectType::Commit {
        return Err(not_a_commit(url, &wanted.commit, kind.str()).into());
    }
    if size > LARGEST_COMMIT {
        let reason =
            reason!("source.commit_too_large", commit = wanted.commit, size = size >> 20, limit = LARGEST_COMMIT >> 20);
        return Err(SourceError::new(Kind::TooBig, url, reason).advising(reason!("advice.shorten_message")).into());
    }
    let commit = repository.find_commit(id).map_err(|_| missing())?;
    let compare = |since: &CommitId| -> Result<Option<Vec<String>>, git2::Error> {
        let mut options = DiffOptions::new();
        // A file that was renamed is one that is gone and one that is new.
        options.include_typechange(true);
        let (old, new) = (repository.find_commit(Oid::from_str(since.as_str())?)?.tree()?, commit.tree()?);
        let diff = repository.diff_tree_to_tree(Some(&old), Some(&new), Some(&mut options))?;
        if diff.deltas().len() > MOST_CHANGED {
            return Ok(None);
        }
        let path = |file: git2::DiffFile<'_>| file.path_bytes().map(|path| String::from_utf8_lossy(path).into_owned());
        Ok(Some(diff.deltas().filter_map(|delta| path(delta.new_file()).or_else(|| path(delta.old_file()))).collect()))
    };
    let changed = wanted.since.iter().filter_map(|since| Some((since.clone(), compare(since).ok()??))).collect();
    let mut message = Message::default();
    message.take(commit.message_bytes());
    let is_within = wanted.within.as_ref().and_then(|later| {
        let later = Oid::from_str(later.as_str()).ok()?;
        Some(later == id || repository.graph_descendant_of(later, id).ok()?)
    });
    let committed_at = DateTime::from_timestamp(commit.time().seconds(), 0);
    Ok((Commit { message: message.text(), committed_at, changed, is_within }, size))
}
