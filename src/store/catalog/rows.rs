//! Rows of the catalog: what it holds of a build and of a push.

use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use crate::domain::build::{Build, BuildState, Trigger};
use crate::domain::build_query::search_text;
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::push::CommitId;
use crate::domain::rule_history::{Ending, ending};

/// The state of a build whose record can't be read.
pub(super) const UNREADABLE: i64 = 255;

/// The number that stands for a state in the catalog.
pub(super) fn state_code(state: BuildState) -> i64 {
    match state {
        BuildState::Queued => 0,
        BuildState::Held => 1,
        BuildState::Running => 2,
        BuildState::Succeeded => 3,
        BuildState::Failed => 4,
        BuildState::Cancelled => 5,
        BuildState::Superseded => 6,
        BuildState::TimedOut => 7,
        BuildState::Interrupted => 8,
        BuildState::Refused => 9,
    }
}

/// The number that stands for a trigger in the catalog.
pub(super) fn trigger_code(trigger: Trigger) -> i64 {
    match trigger {
        Trigger::Push => 0,
        Trigger::Manual => 1,
        Trigger::Retry => 2,
        Trigger::Replay => 3,
        Trigger::Schedule => 4,
        Trigger::BaseImage => 5,
    }
}

/// A build's files, as far as its row says something of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    /// The build is marked as open.
    pub(super) open: bool,
    /// When the record was written, in nanoseconds; 0: it can't be told.
    pub(super) written_at: i64,
}

/// What a build says of its rule.
pub(super) struct Outcome;

impl Outcome {
    /// Nothing: it runs, or failed for another reason than the rule.
    pub(super) const NONE: i64 = 0;
    /// The rule builds.
    pub(super) const GOOD: i64 = 1;
    /// The rule fails.
    pub(super) const BAD: i64 = 2;
    /// All of them.
    pub(super) const ALL: [i64; 3] = [Outcome::NONE, Outcome::GOOD, Outcome::BAD];

    fn of(build: &Build) -> i64 {
        match ending(build) {
            None => Outcome::NONE,
            Some(Ending::Good) => Outcome::GOOD,
            Some(Ending::Bad) => Outcome::BAD,
        }
    }
}

/// The key of names, each in its place.
pub(super) fn key(names: &[&str]) -> i64 {
    let mut digest = Sha256::new();
    for name in names {
        digest.update(name);
        digest.update([0]);
    }
    let digest = digest.finalize();
    i64::from_be_bytes(digest[..8].try_into().expect("a digest has more than 8 bytes"))
}

/// The first 15 digits of a commit: a number that SQLite orders as the digits.
pub(super) fn commit_start(commit: &CommitId) -> i64 {
    i64::from_str_radix(commit.short(15), 16).unwrap_or_default()
}

/// The least and the greatest start of the commits that begin with these digits; none: no commit does.
pub(super) fn commit_range(digits: &str) -> Option<(i64, i64)> {
    if digits.len() > 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let start = &digits[..digits.len().min(15)];
    let (least, most) = (format!("{start:0<15}"), format!("{start:f<15}"));
    Some((i64::from_str_radix(&least, 16).ok()?, i64::from_str_radix(&most, 16).ok()?))
}

/// Puts a build into the catalog; `replace`: in the place of what the catalog has of it.
pub(super) fn put_build(connection: &Connection, build: &Build, file: File, replace: bool) -> rusqlite::Result<()> {
    let or = if replace { "REPLACE" } else { "IGNORE" };
    let mut statement = connection.prepare_cached(&format!(
        "INSERT OR {or} INTO build (id, open, state, outcome, trigger, namespace, repository, rule, ref, rule_digest, \
         commit_start, push, queued_at, finished_at, written_at, text) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
    ))?;
    let (namespace, repository, rule) = (build.namespace.as_str(), build.repository.as_str(), &build.rule);
    let reference = build.reference.to_string();
    // A rule is all maps and texts: JSON takes every one of them.
    let as_it_was = serde_json::to_string(rule).unwrap_or_default();
    statement
        .execute(params![
            as_stored(build.id.0),
            file.open,
            state_code(build.state),
            Outcome::of(build),
            trigger_code(build.trigger),
            key(&[namespace]),
            key(&[namespace, repository]),
            key(&[namespace, repository, &rule.name]),
            key(&[namespace, repository, &rule.name, &reference]),
            key(&[&as_it_was]),
            commit_start(&build.commit),
            build.push.map(|PushId(id)| as_stored(id)),
            build.queued_at.timestamp_millis(),
            build.finished_at.map(|at| at.timestamp_millis()),
            file.written_at,
            search_text(build),
        ])
        .map(drop)
}

/// Puts a build whose record can't be read into the catalog.
pub(super) fn put_unreadable(connection: &Connection, id: u64, file: File) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO build (id, open, state, outcome, trigger, namespace, repository, rule, ref, rule_digest, \
         commit_start, queued_at, written_at, text) VALUES (?1, ?2, 255, 0, 255, 0, 0, 0, 0, 0, 0, 0, ?3, '')",
    )?;
    statement.execute(params![as_stored(id), file.open, file.written_at]).map(drop)
}

/// Puts a push into the catalog.
pub(super) fn put_push(
    connection: &Connection,
    push: &PushRecord,
    written_at: i64,
    replace: bool,
) -> rusqlite::Result<()> {
    let or = if replace { "REPLACE" } else { "IGNORE" };
    let mut statement = connection.prepare_cached(&format!(
        "INSERT OR {or} INTO push (id, settled, namespace, repository, ref, commit_start, pushed_at, written_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
    ))?;
    let (namespace, repository) = (push.repository.namespace.as_str(), push.repository.repository.as_str());
    statement
        .execute(params![
            as_stored(push.id.0),
            push.settled,
            key(&[namespace]),
            key(&[namespace, repository]),
            key(&[namespace, repository, &push.reference.to_string()]),
            commit_start(&push.commit),
            push.pushed_at.timestamp_millis(),
            written_at,
        ])
        .map(drop)
}

/// A record's number as SQLite has it; numbers beyond its range are never reached.
pub(super) fn as_stored(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// A number of the catalog as a record's.
pub(super) fn as_number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_found_by_their_first_digits() {
        let commit: CommitId = "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa".parse().unwrap();
        let is_in = |digits: &str| {
            commit_range(digits).is_some_and(|(least, most)| (least..=most).contains(&commit_start(&commit)))
        };
        for digits in ["", "d", "D4EF", "d4ef3dc3b77a011", commit.as_str()] {
            assert!(is_in(digits), "{digits:?}");
        }
        for digits in ["e", "d4f", "d4ef3dc3b77a012", "x", "-1"] {
            assert!(!is_in(digits), "{digits:?}");
        }
    }

    #[test]
    fn names_in_other_places_have_other_keys() {
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_eq!(key(&["a"]), key(&["a"]));
    }
}
