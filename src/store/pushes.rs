//! What was seen of sources: `watch.toml`, the last commit of each ref, and `pushes/<id>.toml`, the journal.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::atomic::WriteError;
use super::builds::{load_if_there, save};
use super::read::{self, ReadError};
use super::{Home, atomic};
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};

/// `watch.toml`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// One for each repository whose source was seen.
    #[serde(default, rename = "repository")]
    pub repositories: BTreeMap<String, Seen>,
}

/// What was seen of a repository's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The source's URL: another one is seen for the first time.
    pub source: String,
    /// The last commit of each ref.
    #[serde(default)]
    pub refs: BTreeMap<Ref, CommitId>,
}

impl Watched {
    /// The refs of a repository's source as they were last seen; none: never, or it was another source.
    pub fn refs(&self, path: &RepositoryPath, source: &str) -> Option<&BTreeMap<Ref, CommitId>> {
        self.repositories.get(&path.to_string()).filter(|seen| seen.source == source).map(|seen| &seen.refs)
    }
}

fn watch_file(home: &Home) -> PathBuf {
    home.state_dir().join("watch.toml")
}

/// Where the journal is.
pub fn directory(home: &Home) -> PathBuf {
    home.state_dir().join("pushes")
}

fn file(home: &Home, id: PushId) -> PathBuf {
    directory(home).join(format!("{id}.toml"))
}

/// Reads what was seen; nothing where nothing was.
///
/// # Errors
/// When the file does not parse.
pub fn watched(home: &Home) -> Result<Watched, ReadError> {
    Ok(load_if_there(&watch_file(home))?.unwrap_or_default())
}

/// Keeps what was seen.
///
/// # Errors
/// When it can't be written whole.
pub fn save_watched(home: &Home, watched: &Watched) -> Result<(), WriteError> {
    save(&watch_file(home), watched)
}

/// The numbers of the pushes in the journal, the oldest first.
///
/// # Errors
/// When the directory can't be listed.
pub fn ids(home: &Home) -> io::Result<Vec<PushId>> {
    let entries = match fs::read_dir(directory(home)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".toml")).and_then(|name| name.parse().ok());
        ids.extend(number.map(PushId));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Reads a push of the journal.
///
/// # Errors
/// When there is none, or it does not parse.
pub fn load(home: &Home, id: PushId) -> Result<PushRecord, ReadError> {
    read::load(&file(home, id))
}

/// Whether there is such a push.
pub fn is_there(home: &Home, id: PushId) -> bool {
    file(home, id).exists()
}

/// Writes a push of the journal.
///
/// # Errors
/// When it can't be written whole.
pub fn record(home: &Home, push: &PushRecord) -> Result<(), WriteError> {
    atomic::create_dir_all(&directory(home))?;
    save(&file(home, push.id), push)
}

/// Removes a push from the journal.
///
/// # Errors
/// When it can't be removed.
pub fn remove(home: &Home, id: PushId) -> io::Result<()> {
    fs::remove_file(file(home, id))
}
