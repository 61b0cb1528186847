//! The version of the files' form: `schema = 1` at the top of each.
//!
//! A file without it counts as current. An older one is migrated, with a backup beside it; a newer one is refused, for
//! what this slipway does not know it would lose.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml_edit::DocumentMut;

use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::sys::atomic::{self, WriteError};

/// The version that this slipway writes.
pub const CURRENT: i64 = 1;
/// The key that holds it.
pub const KEY: &str = "schema";

/// One step from a version to the next.
pub struct Migration {
    /// The version that it starts from; it ends at the next.
    pub from: i64,
    /// Changes the document, comments and all; the reason where it can't.
    pub run: fn(&mut DocumentMut) -> Result<(), Reason>,
}

/// The steps so far. The first form is still the current one.
pub const MIGRATIONS: &[Migration] = &[];

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The version that the file had.
    pub from: i64,
    /// Where the file is kept as it was.
    pub backup: PathBuf,
}

/// A file that could not be migrated. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The file can't be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Written by a newer slipway.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// There is no way from its version, or a step refused.
    Failed {
        /// The file.
        path: PathBuf,
        /// The version of the step that failed.
        from: i64,
        /// Why.
        reason: Reason,
    },
    /// The backup or the new file can't be written.
    Write(#[from] WriteError),
}

display_as_reason!(SchemaError);

impl AsReason for SchemaError {
    fn reason(&self) -> Reason {
        match self {
            SchemaError::Read { path, cause } => reason!("schema.read", path, cause),
            SchemaError::Newer { path, found, known } => reason!("schema.newer", path, known = newer(*found, *known)),
            SchemaError::Failed { path, from, reason } => reason!("schema.failed", path, from, reason),
            SchemaError::Write(error) => error.reason(),
        }
    }
}

/// The sentence for a file of a newer version.
pub(super) fn newer(found: i64, known: i64) -> Reason {
    reason!("schema.written_by_newer", found, known)
}

/// Brings an older file to the current version, keeping it as `<file>.schema-<n>.bak`. None where there was nothing to do:
/// the file is current, is not there, or is no TOML (reading it says what is wrong).
///
/// # Errors
/// When the file is newer than this slipway, or can't be read, migrated or written.
pub fn upgrade(path: &Path, migrations: &[Migration]) -> Result<Option<Migrated>, SchemaError> {
    upgrade_to(path, migrations, CURRENT)
}

fn upgrade_to(path: &Path, migrations: &[Migration], current: i64) -> Result<Option<Migrated>, SchemaError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => return Ok(None),
        Err(cause) => return Err(SchemaError::Read { path: path.to_owned(), cause }),
    };
    // Ten thousand files are looked at in a moment where they need not be parsed.
    let lines: Vec<&str> =
        text.lines().filter(|line| line.trim_start().trim_start_matches(['"', '\'']).starts_with(KEY)).collect();
    let is_current = |line: &&str| {
        line.split_once('=').is_some_and(|(key, value)| key.trim() == KEY && value.trim() == current.to_string())
    };
    if lines.iter().all(is_current) {
        return Ok(None);
    }
    let Ok(mut document) = text.parse::<DocumentMut>() else { return Ok(None) };
    let Some(from) = document.get(KEY).and_then(|item| item.as_integer()) else { return Ok(None) };
    if from > current {
        return Err(SchemaError::Newer { path: path.to_owned(), found: from, known: current });
    }
    if from == current {
        return Ok(None);
    }
    for version in from..current {
        let failed = |reason: Reason| SchemaError::Failed { path: path.to_owned(), from: version, reason };
        let step = migrations.iter().find(|m| m.from == version);
        let step = step.ok_or_else(|| failed(reason!("schema.no_way")))?;
        (step.run)(&mut document).map_err(failed)?;
    }
    document[KEY] = toml_edit::value(current);
    let mut backup = path.as_os_str().to_owned();
    backup.push(format!(".schema-{from}.bak"));
    let backup = PathBuf::from(backup);
    let mode = atomic::mode_of(path);
    atomic::write(&backup, text.as_bytes(), mode)?;
    atomic::write(path, document.to_string().as_bytes(), mode)?;
    Ok(Some(Migrated { from, backup }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Migration] = &[
        Migration { from: 1, run: |doc| rename(doc, "image", "repository") },
        Migration { from: 2, run: |doc| rename(doc, "repository", "name") },
    ];

    fn rename(doc: &mut DocumentMut, old: &str, new: &str) -> Result<(), Reason> {
        let item = doc.remove(old).ok_or_else(|| Reason::verbatim(format!("no {old:?}")))?;
        doc.insert(new, item);
        Ok(())
    }

    #[test]
    fn an_older_file_is_migrated_step_by_step_with_a_backup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        let old = "schema = 1 # old\n# ours\nkeep = true\nimage = \"api\"\n";
        fs::write(&path, old).unwrap();
        let migrated = upgrade_to(&path, STEPS, 3).unwrap().unwrap();
        assert_eq!(migrated.from, 1);
        assert_eq!(migrated.backup, dir.path().join("a.toml.schema-1.bak"));
        assert_eq!(fs::read_to_string(&migrated.backup).unwrap(), old);
        let new = fs::read_to_string(&path).unwrap();
        assert_eq!(new, "schema = 3\n# ours\nkeep = true\nname = \"api\"\n");
        assert_eq!(upgrade_to(&path, STEPS, 3).unwrap(), None);
    }

    #[test]
    fn a_step_that_refuses_leaves_the_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        fs::write(&path, "schema = 1\n").unwrap();
        let error = upgrade_to(&path, STEPS, 3).unwrap_err().to_string();
        assert!(error.contains("from schema 1: no \"image\""), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = upgrade_to(&path, &[], 2).unwrap_err().to_string();
        assert!(error.contains("knows no way"), "{error}");
    }

    #[test]
    fn a_newer_file_asks_for_a_newer_slipway() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        fs::write(&path, "schema = 2\n").unwrap();
        let error = upgrade(&path, &[]).unwrap_err().to_string();
        assert!(
            error.ends_with("a.toml: written by a newer slipway (schema 2; this one knows 1): upgrade slipway"),
            "{error}"
        );
    }

    #[test]
    fn files_without_a_version_without_toml_or_without_being_there_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        assert_eq!(upgrade(&path, &[]).unwrap(), None);
        for text in ["a = 1\n", "a = [", "schema = 1\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(upgrade(&path, &[]).unwrap(), None);
        }
    }
}
