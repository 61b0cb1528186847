//! The refs of sources as they were last seen: `watch/<namespace>/<repository>.toml`, one file for each repository, so that
//! a push writes the refs of its own source alone.

mod packed;
mod seen;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Home;
use super::builds::{load_if_there, save};
use super::read::{self, ReadError};
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{Reason, reason};
use crate::sys::atomic::{self, WriteError};
use packed::Packed;
pub use seen::{LastMove, Seen};

/// What was seen of all sources. A million refs are kept in 40 bytes each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    repositories: BTreeMap<RepositoryPath, Packed>,
}

impl Watched {
    /// What was seen of a repository's source; none: never, or it was another source.
    pub fn of(&self, path: &RepositoryPath, source: &str) -> Option<Seen> {
        self.repositories.get(path).filter(|seen| &*seen.source == source).map(Seen::from)
    }

    /// Keeps what was seen of a repository's source.
    pub fn insert(&mut self, path: RepositoryPath, seen: &Seen) {
        self.repositories.insert(path, seen.into());
    }

    /// What was seen of a repository, whatever its source.
    pub fn get(&self, path: &RepositoryPath) -> Option<Seen> {
        self.repositories.get(path).map(Seen::from)
    }

    /// Forgets repositories; those that were known.
    pub fn retain(&mut self, mut keep: impl FnMut(&RepositoryPath) -> bool) -> Vec<RepositoryPath> {
        let gone: Vec<RepositoryPath> = self.repositories.keys().filter(|path| !keep(path)).cloned().collect();
        gone.iter().for_each(|path| drop(self.repositories.remove(path)));
        gone
    }

    /// The platforms' identifiers of sources, with the sources' URLs.
    pub fn remote_ids(&self) -> impl Iterator<Item = (&RepositoryPath, &str, &str)> {
        self.repositories.iter().filter_map(|(path, seen)| Some((path, &*seen.source, seen.remote_id.as_deref()?)))
    }

    /// The highest number of a push that any refs take into account.
    pub fn last_push(&self) -> Option<PushId> {
        self.repositories.values().filter_map(|seen| seen.last_push).max()
    }

    /// Takes over pushes of the journal, the oldest first, that were written down before what was seen could be kept: a
    /// listing would show the same pushes again. A ref that was kept where it moved on since stays there. The repositories
    /// that changed.
    pub fn catch_up(&mut self, pushes: &[PushRecord]) -> Vec<RepositoryPath> {
        let mut changed = Vec::new();
        for push in pushes {
            let Some(mut seen) = self.get(&push.repository).filter(|seen| Some(push.id) > seen.last_push) else {
                continue;
            };
            if seen.refs.get(&push.reference) == push.before.as_ref() {
                seen.refs.insert(push.reference.clone(), push.commit.clone());
                let last = LastMove { at: push.pushed_at, before: push.before.clone() };
                seen.moved.insert(push.reference.clone(), last);
            }
            seen.last_push = Some(push.id);
            self.insert(push.repository.clone(), &seen);
            changed.push(push.repository.clone());
        }
        changed
    }
}

/// `watch.toml` of earlier versions: all repositories in one file.
#[derive(Debug, Default, Deserialize)]
struct OneFile {
    #[serde(default)]
    last_push: Option<PushId>,
    #[serde(default, rename = "repository")]
    repositories: BTreeMap<String, Seen>,
}

fn file(home: &Home, path: &RepositoryPath) -> PathBuf {
    home.refs_seen_dir().join(&path.namespace).join(format!("{}.toml", path.repository))
}

/// Reads what was seen of all sources; nothing where nothing was. A file of an earlier version is taken apart, and stays as
/// `watch.toml.1`.
///
/// # Errors
/// When a file can't be read, or that of an earlier version can't be taken apart.
pub fn load_all(home: &Home) -> Result<Watched, Reason> {
    let old = home.state_dir().join("watch.toml");
    if let Some(one) = load_if_there::<OneFile>(&old)? {
        for (path, seen) in one.repositories {
            let Ok(path) = path.parse() else { continue };
            let seen = Seen { last_push: one.last_push, ..seen };
            save_one(home, &path, &seen)?;
        }
        let aside = old.with_file_name("watch.toml.1");
        fs::rename(&old, &aside).map_err(|error| reason!("refs_seen.not_renamed", old, error))?;
    }
    let mut watched = Watched::default();
    let directory = home.refs_seen_dir();
    for namespace in entries(&directory)? {
        for file in entries(&namespace)? {
            let path = match (namespace.file_name(), file.file_stem(), file.extension()) {
                (Some(namespace), Some(name), Some(end)) if end == "toml" => {
                    format!("{}/{}", namespace.display(), name.display()).parse()
                }
                _ => continue,
            };
            let Ok(path) = path else { continue };
            watched.repositories.insert(path, load_packed(&file)?);
        }
    }
    Ok(watched)
}

/// Reads a file of ours line by line, and parses whatever else it may be: the refs of ten thousand sources take seconds as
/// TOML.
fn load_packed(file: &Path) -> Result<Packed, ReadError> {
    let text = read::text(file)?;
    match Packed::of_written(file, &text) {
        Some(packed) => Ok(packed),
        None => read::parse::<Seen>(file, &text).map(|seen| Packed::from(&seen)),
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Reason> {
    let entries = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect()),
    };
    entries.map_err(|error| reason!("refs_seen.not_listed", directory, error))
}

/// Reads what was seen of one repository's source; none where nothing was.
///
/// # Errors
/// When its file does not parse.
pub fn load(home: &Home, path: &RepositoryPath) -> Result<Option<Seen>, ReadError> {
    load_if_there(&file(home, path))
}

/// Keeps what was seen of a repository's source; none: forgets it.
///
/// # Errors
/// When it can't be written whole, or not be removed.
pub fn keep(home: &Home, path: &RepositoryPath, seen: Option<&Seen>) -> Result<(), WriteError> {
    match seen {
        Some(seen) => save_one(home, path, seen),
        None => atomic::remove(&file(home, path)),
    }
}

fn save_one(home: &Home, path: &RepositoryPath, seen: &Seen) -> Result<(), WriteError> {
    let file = file(home, path);
    atomic::create_dir_all(&home.refs_seen_dir().join(&path.namespace))?;
    save(&file, seen)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::journal::sample;
    use crate::domain::push::{CommitId, Ref};

    fn commit(digit: &str) -> CommitId {
        digit.repeat(40).parse().unwrap()
    }

    fn seen() -> Seen {
        Seen {
            source: "https://host/a".into(),
            remote_id: Some("17".into()),
            default_branch: Some(Ref::branch("main")),
            last_push: Some(PushId(4)),
            refs: BTreeMap::from([
                (Ref::branch("main"), commit("1")),
                (Ref::branch("ünicode/x"), "a".repeat(64).parse().unwrap()),
                (Ref::tag("v1"), commit("2")),
            ]),
            moved: BTreeMap::from([(
                Ref::branch("main"),
                LastMove { at: sample().pushed_at, before: Some(commit("3")) },
            )]),
        }
    }

    #[test]
    fn no_push_of_a_ref_is_older_than_the_one_before_whatever_the_clocks_say() {
        let (mut seen, main, now) = (Seen::default(), Ref::branch("main"), sample().pushed_at);
        assert_eq!(seen.note_move(&main, None, now), now);
        let later = seen.note_move(&main, None, now - TimeDelta::hours(2));
        assert_eq!(later, now + TimeDelta::milliseconds(1));
        assert_eq!(seen.note_again(&Ref::branch("other"), now - TimeDelta::hours(2)), now - TimeDelta::hours(2));
        let text = toml::to_string(&seen).unwrap();
        assert_eq!(toml::from_str::<Seen>(&text).unwrap(), seen);
        seen.note_move(&main, None, now + TimeDelta::days(8));
        assert_eq!(seen.moved.len(), 1, "what is long ago is forgotten");
    }

    #[test]
    fn what_was_seen_is_the_same_packed_and_on_disk_and_forgotten_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let (one, other): (RepositoryPath, RepositoryPath) =
            ("acme/api".parse().unwrap(), "other/api".parse().unwrap());
        let mut watched = Watched::default();
        for path in [&one, &other] {
            keep(&home, path, Some(&seen())).unwrap();
            watched.insert(path.clone(), &seen());
        }
        assert_eq!(watched.get(&one), Some(seen()));
        assert_eq!(load_all(&home).unwrap(), watched);
        assert_eq!((watched.of(&one, "https://host/a"), watched.of(&one, "https://host/b")), (Some(seen()), None));
        keep(&home, &one, None).unwrap();
        keep(&home, &one, None).unwrap();
        assert_eq!((load(&home, &one).unwrap(), load(&home, &other).unwrap()), (None, Some(seen())));
        assert_eq!(watched.retain(|path| *path == other), [one]);
        assert_eq!(load_all(&home).unwrap(), watched);
    }

    #[test]
    fn a_file_is_read_line_by_line_as_toml_has_it_and_parsed_where_somebody_edited_it() {
        let text = format!("schema = 1\n{}", toml::to_string(&seen()).unwrap());
        let by_line = |text: &str| Packed::of_written(Path::new("api.toml"), text);
        let parsed = |text: &str| read::parse::<Seen>(Path::new("api.toml"), text).map(|seen| Packed::from(&seen));
        assert_eq!(by_line(&text), Some(Packed::from(&seen())), "{text}");
        let bare = Seen { refs: BTreeMap::new(), moved: BTreeMap::new(), ..seen() };
        let bare = format!("schema = 1\n{}", toml::to_string(&bare).unwrap());
        assert_eq!(by_line(&bare), parsed(&bare).ok());
        let main = format!("\"refs/heads/main\" = \"{}\"", commit("1"));
        for edited in [
            text.replace(&main, &format!("{main} # ours")),
            text.replace(&main, &format!("{main}\n{main}")),
            text.replace(&main, &format!("# {main}")),
            text.replace(&main, &format!("\"refs/heads/\\u006dain\" = \"{}\"", commit("1"))),
            text.replace(&main, &format!("'refs/heads/main' = \"{}\"", commit("1"))),
            text.replace(&main, "\"refs/heads/..\" = \"1\""),
            text.replace("[refs]", "[ refs ]"),
            text.replace("[moved", "[refs]\n\n[moved"),
            text.replace("source", "note = \"\"\"\n[refs]\n\"\"\"\nsource"),
            text.replace("schema = 1", "schema = 2"),
            text.replace('\n', "\r\n"),
        ] {
            assert_ne!(edited, text);
            assert_eq!(by_line(&edited), None, "{edited}");
        }
        let upper = text.replace(&"a".repeat(64), &"A".repeat(64));
        assert_eq!(by_line(&upper), parsed(&upper).ok());
    }

    #[test]
    fn the_one_file_of_an_earlier_version_is_taken_apart() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let text = format!(
            "schema = 1\nlast_push = 9\n\n[repository.\"acme/api\"]\nsource = \"https://host/a\"\n\n\
             [repository.\"acme/api\".refs]\n\"refs/heads/main\" = \"{}\"\n",
            commit("1")
        );
        fs::write(dir.path().join("watch.toml"), &text).unwrap();
        let watched = load_all(&home).unwrap();
        let found = watched.of(&"acme/api".parse().unwrap(), "https://host/a").unwrap();
        assert_eq!((found.refs.len(), found.last_push, watched.last_push()), (1, Some(PushId(9)), Some(PushId(9))));
        assert_eq!(fs::read_to_string(dir.path().join("watch.toml.1")).unwrap(), text);
        assert_eq!(load_all(&home).unwrap(), watched);
    }

    #[test]
    fn pushes_whose_refs_were_not_kept_as_seen_are_not_seen_again() {
        let push = |number, before: &str, after: &str| PushRecord {
            id: PushId(number),
            before: Some(commit(before)),
            commit: commit(after),
            settled: true,
            ..sample()
        };
        let caught_up = |at: &str, last_push, pushes: &[PushRecord]| {
            let refs = BTreeMap::from([(sample().reference, commit(at))]);
            let mut watched = Watched::default();
            let seen = Seen { source: "https://host/a".into(), refs, last_push, ..Seen::default() };
            watched.insert(sample().repository, &seen);
            watched.catch_up(pushes);
            let seen = watched.get(&sample().repository).unwrap();
            (seen.refs[&sample().reference].clone(), seen.last_push)
        };
        let pushes = [push(5, "1", "2"), push(6, "2", "3")];
        assert_eq!(caught_up("1", Some(PushId(4)), &pushes), (commit("3"), Some(PushId(6))));
        assert_eq!(caught_up("2", Some(PushId(5)), &pushes), (commit("3"), Some(PushId(6))));
        // Pushed back by force since, which was kept: the old push is settled late, and its ref stays.
        assert_eq!(caught_up("1", Some(PushId(6)), &pushes[..1]), (commit("1"), Some(PushId(6))));
    }
}
