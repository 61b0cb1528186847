//! Saving types as TOML, keeping what a person wrote by hand: comments, order, and keys left out for their defaults.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml_edit::{DocumentMut, InlineTable, Value};

use super::read::{self, ReadError};
use super::{layout, merge, schema};
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::sys::atomic::{self, WriteError};

/// A file that could not be saved. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The file that is there can't be read, so that saving might lose what it says.
    Unreadable(#[from] ReadError),
    /// The value has no form in TOML.
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: Reason,
    },
    /// The file can't be written.
    Write(#[from] WriteError),
}

display_as_reason!(SaveError);

impl AsReason for SaveError {
    fn reason(&self) -> Reason {
        match self {
            SaveError::Unreadable(error) => reason!("save.unreadable", error),
            SaveError::Unwritable { path, reason } => reason!("save.unwritable", path, reason),
            SaveError::Write(error) => error.reason(),
        }
    }
}

/// Saves `value` as the file `path`, making its directory where there is none. Where a file is there, its comments and
/// its order stay, and only what changed is changed; a text that would not change is not written again. Its permissions
/// stay.
///
/// # Errors
/// When the file that is there does not parse, or the new one can't be written.
pub fn save<T: Serialize + DeserializeOwned>(path: &Path, value: &T) -> Result<(), SaveError> {
    let old = existing(path)?;
    let new = render(path, old.as_deref(), value)?;
    if old.as_deref() == Some(new.as_str()) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        atomic::create_dir_all(parent)?;
    }
    Ok(atomic::write(path, new.as_bytes(), atomic::mode_of(path))?)
}

/// The exact text that [`save`] would write.
///
/// # Errors
/// When the file that is there does not parse.
pub fn preview<T: Serialize + DeserializeOwned>(path: &Path, value: &T) -> Result<String, SaveError> {
    render(path, existing(path)?.as_deref(), value)
}

/// What changes from `old` to `new`, a unified diff of the file `name`; empty where nothing does.
pub fn diff(old: &str, new: &str, name: &str) -> String {
    if old == new {
        return String::new();
    }
    similar::TextDiff::from_lines(old, new).unified_diff().header(name, name).to_string()
}

fn existing(path: &Path) -> Result<Option<String>, ReadError> {
    match read::text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// The text of the file `path` that says `value`; `old` is its text so far.
///
/// # Errors
/// When `old` does not parse, or `value` has no form in TOML.
pub fn render<T: Serialize + DeserializeOwned>(path: &Path, old: Option<&str>, value: &T) -> Result<String, SaveError> {
    let new = plain(path, value)?;
    let fresh = || finish(DocumentMut::from(layout::table(&new, 0)));
    let Some(old) = old else { return Ok(fresh()) };
    let said: T = read::parse(path, old)?;
    let base = plain(path, &said)?;
    // Leaving defaults out is right only where a table's keys have the same defaults as the table itself, which a type
    // need not keep to; so what was merged is read again, and only a text that says the value is taken.
    for base in [Some(&base), None] {
        let Ok(mut document) = old.parse::<DocumentMut>() else { break };
        merge::merge(&mut document, base, &new);
        let text = finish(document);
        if says::<T>(path, &text, &new) {
            return Ok(text);
        }
    }
    Ok(fresh())
}

fn says<T: Serialize + DeserializeOwned>(path: &Path, text: &str, new: &InlineTable) -> bool {
    let Ok(again) = read::parse::<T>(path, text) else { return false };
    let again = plain(path, &again).map(Value::InlineTable);
    again.is_ok_and(|again| merge::same(&again, &Value::InlineTable(new.clone())))
}

/// The value as plain data.
fn plain<T: Serialize>(path: &Path, value: &T) -> Result<InlineTable, SaveError> {
    let document = toml_edit::ser::to_document(value)
        .map_err(|e| SaveError::Unwritable { path: path.to_owned(), reason: Reason::verbatim(e.to_string()) })?;
    Ok(document.into_table().into_inline_table())
}

/// The text, with the schema at its top.
fn finish(document: DocumentMut) -> String {
    let text = document.to_string();
    let text = text.trim_start_matches('\n');
    if document.contains_key(schema::KEY) {
        return text.to_owned();
    }
    // A file without a version counts as current; it would be misread once there is a newer one.
    let apart = if text.is_empty() || !text.starts_with('[') { "" } else { "\n" };
    format!("{} = {}\n{apart}{text}", schema::KEY, schema::CURRENT)
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
