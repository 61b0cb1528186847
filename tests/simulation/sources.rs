//! The simulated git servers: refs that move, copies that lag behind.

use std::collections::BTreeMap;

use slipway::domain::push::{CommitId, Ref};
use slipway::source::{Refs, RemoteRef};

/// A ref moved.
#[derive(Debug, Clone)]
pub struct Change {
    /// When, in milliseconds.
    pub at: i64,
    pub reference: Ref,
    pub before: Option<CommitId>,
    pub after: Option<CommitId>,
    pub message: String,
}

/// How a source's platform sends webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hooks {
    No,
    Signed,
    Unsigned,
}

#[derive(Debug)]
pub struct Server {
    pub url: String,
    pub refs: BTreeMap<Ref, CommitId>,
    pub changes: Vec<Change>,
    pub hooks: Hooks,
    /// Nobody can reach it.
    pub down: bool,
    /// Some of its copies are as old as this, in milliseconds.
    pub lag: i64,
}

/// A commit that was made after all those before it.
pub fn commit(number: u64) -> CommitId {
    // The digits that short ids show are the last ones of the number.
    format!("{:08x}{number:032x}", (number as u32).wrapping_mul(0x9e37_79b1)).parse().unwrap()
}

/// Which commit it is of all that were made.
pub fn number_of(commit: &CommitId) -> u64 {
    u64::from_str_radix(&commit.as_str()[24..], 16).unwrap()
}

impl Server {
    /// The message of a commit.
    pub fn message(&self, commit: &CommitId) -> String {
        let change = self.changes.iter().rev().find(|change| change.after.as_ref() == Some(commit));
        change.map_or_else(String::new, |change| change.message.clone())
    }

    /// Whether a copy that is as old as `at` has a commit.
    pub fn has(&self, commit: &CommitId, at: i64) -> bool {
        self.changes.iter().rev().any(|change| change.after.as_ref() == Some(commit) && change.at <= at)
    }

    /// Whether a commit is a part of the history of another one: each ref only grows.
    pub fn comes_before(&self, commit: &CommitId, later: &CommitId) -> bool {
        let of = |commit: &CommitId| {
            let change = self.changes.iter().rev().find(|change| change.after.as_ref() == Some(commit));
            change.map(|change| (change.reference.clone(), number_of(commit)))
        };
        match (of(commit), of(later)) {
            (Some((reference, commit)), Some((of_later, later))) => reference == of_later && commit <= later,
            _ => false,
        }
    }

    /// The refs that a copy lists that is as old as `at`.
    pub fn list(&self, at: i64) -> BTreeMap<Ref, CommitId> {
        let mut refs = self.refs.clone();
        for change in self.changes.iter().rev().take_while(|change| change.at > at) {
            match &change.before {
                Some(before) => _ = refs.insert(change.reference.clone(), before.clone()),
                None => _ = refs.remove(&change.reference),
            }
        }
        refs
    }
}

/// As `git ls-remote` lists them.
pub fn listing(refs: &BTreeMap<Ref, CommitId>) -> Refs {
    let found = refs
        .iter()
        .map(|(reference, commit)| RemoteRef { name: reference.to_string(), commit: commit.as_str().to_owned() });
    Refs { head: Some("refs/heads/main".into()), refs: found.collect(), ..Refs::default() }
}
