//! What was seen of sources: `watch.toml`, the last commit of each ref, and `pushes/<id>.toml`, the journal.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Home;
use super::builds::{load_if_there, save};
use super::read::{self, ReadError};
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};
use crate::sys::atomic;
use crate::sys::atomic::WriteError;

/// `watch.toml`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The number of the last push: it only grows, however few are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_push: Option<PushId>,
    /// One for each repository whose source was seen.
    #[serde(default, rename = "repository")]
    pub repositories: BTreeMap<String, Seen>,
}

/// What was seen of a repository's source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The source's URL: another one is seen for the first time.
    pub source: String,
    /// The platform's identifier of the source, from its webhooks: it stays when the source is renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// The branch that HEAD names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<Ref>,
    /// The last commit of each ref.
    #[serde(default)]
    pub refs: BTreeMap<Ref, CommitId>,
    /// The last push of each ref that was pushed to in the last days.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pushed: BTreeMap<Ref, LastPush>,
}

/// The last push of a ref.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPush {
    /// When it was. No later push of the ref is older, whatever the clocks say.
    pub at: DateTime<Utc>,
    /// Where the ref was before; none: it was new. A copy of the source that lags behind still lists that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<CommitId>,
}

/// A clock that was set back by more than this is not made up for.
const CLOCK_SET_BACK: TimeDelta = TimeDelta::days(7);

impl Seen {
    /// The time of a push of a ref that is found now: after that of the ref's push before. Of two images of a ref, the
    /// one of the later push is newer.
    pub fn push(&mut self, reference: &Ref, before: Option<CommitId>, at: DateTime<Utc>) -> DateTime<Utc> {
        let after = self.pushed.get(reference).map(|last| last.at + TimeDelta::milliseconds(1));
        let at = after.map_or(at, |after| after.max(at));
        self.pushed.retain(|_, last| at - last.at < CLOCK_SET_BACK);
        self.pushed.insert(reference.clone(), LastPush { at, before });
        at
    }

    /// The time of what is built as though its ref was pushed to at a time.
    pub fn push_again(&mut self, reference: &Ref, at: DateTime<Utc>) -> DateTime<Utc> {
        let before = match self.pushed.get(reference) {
            Some(last) => last.before.clone(),
            None => self.refs.get(reference).cloned(),
        };
        self.push(reference, before, at)
    }
}

impl Watched {
    /// The refs of a repository's source as they were last seen; none: never, or it was another source.
    pub fn refs(&self, path: &RepositoryPath, source: &str) -> Option<&BTreeMap<Ref, CommitId>> {
        self.repositories.get(&path.to_string()).filter(|seen| seen.source == source).map(|seen| &seen.refs)
    }

    /// The default branch of a repository's source as it was last seen.
    pub fn default_branch(&self, path: &RepositoryPath) -> Option<&Ref> {
        self.repositories.get(&path.to_string())?.default_branch.as_ref()
    }

    /// Takes over pushes of the journal, the oldest first, that were written down before what was seen could be kept: a
    /// listing would show the same pushes again. A ref that was kept where it moved on since stays there.
    pub fn catch_up(&mut self, pushes: &[PushRecord]) {
        for push in pushes.iter().filter(|push| Some(push.id) > self.last_push) {
            if let Some(seen) = self.repositories.get_mut(&push.repository.to_string())
                && seen.refs.get(&push.reference) == push.before.as_ref()
            {
                seen.refs.insert(push.reference.clone(), push.commit.clone());
                seen.pushed
                    .insert(push.reference.clone(), LastPush { at: push.pushed_at, before: push.before.clone() });
            }
        }
        self.last_push = pushes.iter().map(|push| push.id).max().max(self.last_push);
    }
}

fn watch_file(home: &Home) -> PathBuf {
    home.state_dir().join("watch.toml")
}

/// A push's file.
pub(super) fn file(home: &Home, id: PushId) -> PathBuf {
    home.pushes_dir().join(format!("{id}.toml"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::journal::sample;

    #[test]
    fn no_push_of_a_ref_is_older_than_the_one_before_whatever_the_clocks_say() {
        let (mut seen, main, now) = (Seen::default(), Ref::branch("main"), sample().pushed_at);
        assert_eq!(seen.push(&main, None, now), now);
        let later = seen.push(&main, None, now - TimeDelta::hours(2));
        assert_eq!(later, now + TimeDelta::milliseconds(1));
        assert_eq!(seen.push_again(&Ref::branch("other"), now - TimeDelta::hours(2)), now - TimeDelta::hours(2));
        let text = toml::to_string(&seen).unwrap();
        assert_eq!(toml::from_str::<Seen>(&text).unwrap(), seen);
        seen.push(&main, None, now + TimeDelta::days(8));
        assert_eq!(seen.pushed.len(), 1, "what is long ago is forgotten");
    }

    #[test]
    fn pushes_whose_refs_were_not_kept_as_seen_are_not_seen_again() {
        let id = |digit: &str| digit.repeat(40).parse::<CommitId>().unwrap();
        let push = |number, before: &str, commit: &str| PushRecord {
            id: PushId(number),
            before: Some(id(before)),
            commit: id(commit),
            settled: true,
            ..sample()
        };
        let watched = |commit: &str, last_push| {
            let refs = BTreeMap::from([(sample().reference, id(commit))]);
            let seen = Seen { source: "https://host/a".into(), refs, ..Seen::default() };
            Watched { last_push, repositories: BTreeMap::from([(sample().repository.to_string(), seen)]) }
        };
        let caught_up = |mut watched: Watched, pushes: &[PushRecord]| {
            watched.catch_up(pushes);
            let refs = watched.refs(&sample().repository, "https://host/a").unwrap();
            (refs[&sample().reference].clone(), watched.last_push)
        };
        let pushes = [push(5, "1", "2"), push(6, "2", "3")];
        assert_eq!(caught_up(watched("1", Some(PushId(4))), &pushes), (id("3"), Some(PushId(6))));
        assert_eq!(caught_up(watched("2", Some(PushId(5))), &pushes), (id("3"), Some(PushId(6))));
        // Pushed back by force since, which was kept: the old push is settled late, and its ref stays.
        assert_eq!(caught_up(watched("1", Some(PushId(6))), &pushes[..1]), (id("1"), Some(PushId(6))));
    }
}
