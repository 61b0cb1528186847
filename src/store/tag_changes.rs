//! Changes of tags that people asked for: `tags/<namespace>/<repository>/<tag>/<id>.toml`.
//!
//! A tag's directory is the index of its changes. Only the pool writes there.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::Home;
use super::builds::save;
use super::read::{self, ReadError};
use crate::domain::name::RepositoryPath;
use crate::domain::tag_history::TagChange;
use crate::sys::atomic;

/// Held from the choice of a number until its file is there: no two changes get one number.
static NUMBERING: Mutex<()> = Mutex::new(());
/// Changes of one tag that are kept; older ones go.
const KEPT: usize = 500;

/// The numbers of the changes of a tag, the newest first.
///
/// # Errors
/// When the directory can't be listed.
pub fn ids(home: &Home, path: &RepositoryPath, tag: &str) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(home.tag_changes_dir(path, tag)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        ids.extend(name.to_str().and_then(|name| name.strip_suffix(".toml")?.parse::<u64>().ok()));
    }
    ids.sort_unstable_by(|one, other| other.cmp(one));
    Ok(ids)
}

/// Reads a change of a tag.
///
/// # Errors
/// When there is none, or it does not parse.
pub fn load(home: &Home, path: &RepositoryPath, tag: &str, id: u64) -> Result<TagChange, ReadError> {
    read::load(&file(&home.tag_changes_dir(path, tag), id))
}

/// Records a change of a tag under the next number.
///
/// # Errors
/// When the earlier ones can't be listed, or it can't be written whole.
pub fn record(home: &Home, path: &RepositoryPath, tag: &str, change: TagChange) -> io::Result<()> {
    let directory = home.tag_changes_dir(path, tag);
    atomic::create_dir_all(&directory)?;
    let _numbering = NUMBERING.lock().unwrap_or_else(PoisonError::into_inner);
    let there = ids(home, path, tag)?;
    let id = there.first().map_or(1, |last| last + 1);
    save(&file(&directory, id), &TagChange { id, ..change })?;
    for old in there.iter().skip(KEPT - 1) {
        // What stays goes with the next change.
        let _ = fs::remove_file(file(&directory, *old));
    }
    Ok(())
}

fn file(directory: &Path, id: u64) -> std::path::PathBuf {
    directory.join(format!("{id}.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::requester::Requester;
    use crate::domain::tag_history::TagAction;

    fn change() -> TagChange {
        TagChange {
            id: 0,
            at: "2020-10-15T08:25:00Z".parse().unwrap(),
            by: Requester::part("kim"),
            action: TagAction::Move,
            digest: Some("sha256:b".into()),
            before: Some("sha256:a".into()),
            build: None,
            from: None,
        }
    }

    #[test]
    fn changes_that_are_recorded_at_once_get_numbers_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let (home, path) = (Home::at(directory.path()), "acme/api".parse().unwrap());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| record(&home, &path, "v1", change()).unwrap());
            }
        });
        assert_eq!(ids(&home, &path, "v1").unwrap(), (1..=8).rev().collect::<Vec<_>>());
    }

    #[test]
    fn changes_are_numbered_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let (home, path) = (Home::at(directory.path()), "acme/api".parse().unwrap());
        assert_eq!(ids(&home, &path, "v1").unwrap(), Vec::<u64>::new());
        for _ in 0..KEPT + 2 {
            record(&home, &path, "v1", change()).unwrap();
        }
        let there = ids(&home, &path, "v1").unwrap();
        assert_eq!((there.len(), there[0], there[KEPT - 1]), (KEPT, KEPT as u64 + 2, 3));
        assert_eq!(load(&home, &path, "v1", 3).unwrap(), TagChange { id: 3, ..change() });
        assert_eq!(ids(&home, &path, "v2").unwrap(), Vec::<u64>::new());
    }
}
