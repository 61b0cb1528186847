//! The journal of pushes: `pushes/<id>.toml`.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::Home;
use super::builds::save;
use super::read::{self, ReadError};
use crate::domain::journal::{PushId, PushRecord};
use crate::sys::atomic;
use crate::sys::atomic::WriteError;

/// A push's file.
pub(super) fn file(home: &Home, id: PushId) -> PathBuf {
    home.pushes_dir().join(format!("{id}.toml"))
}

/// The numbers of the pushes in the journal, the oldest first.
///
/// # Errors
/// When the directory can't be listed.
pub fn ids(home: &Home) -> io::Result<Vec<PushId>> {
    let entries = match fs::read_dir(home.pushes_dir()) {
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
    atomic::create_dir_all(&home.pushes_dir())?;
    save(&file(home, push.id), push)
}

/// Removes a push from the journal.
///
/// # Errors
/// When it can't be removed.
pub fn remove(home: &Home, id: PushId) -> io::Result<()> {
    fs::remove_file(file(home, id))
}
