//! Refs that moved lately. A copy of the source that lags behind lists what was before: a commit that the ref is known to
//! have left is recognized, and of another one the history of the source decides.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::journal::{Moved, Origin, SERVER_LAG};
use crate::domain::push::{CommitId, Ref};
use crate::pool::core::event::DoubtfulMove;
use crate::store::refs_seen::Seen;

/// How many refs of a source are remembered.
const MOST_REFS: usize = 10_000;
/// How many commits of a ref are remembered that it left.
const MOST_LEFT: usize = 8;

/// The refs of a source that moved within [`SERVER_LAG`].
#[derive(Debug, Default)]
pub struct RecentMoves {
    pub by_ref: BTreeMap<Ref, RecentMove>,
    doubts: BTreeMap<Ref, Doubt>,
}

/// A ref that moved.
#[derive(Debug, Default)]
pub struct RecentMove {
    /// The commits that it left; none: it was not there.
    left: Vec<Option<CommitId>>,
    /// When it moved last, in the uptime of the pool: clocks are set back and forth.
    last: TimeDelta,
}

/// A move that is taken over once the history of the source shows that it is none back.
#[derive(Debug)]
pub struct Doubt {
    found: FoundMove,
    known: CommitId,
    is_being_checked: bool,
}

/// [`SERVER_LAG`], to compare with uptimes.
pub fn server_lag() -> TimeDelta {
    TimeDelta::from_std(SERVER_LAG).unwrap_or(TimeDelta::MAX)
}

impl RecentMoves {
    /// A ref moved, or was deleted.
    pub fn moved(&mut self, reference: Ref, before: Option<CommitId>, uptime: TimeDelta) {
        if self.by_ref.len() >= MOST_REFS && !self.by_ref.contains_key(&reference) {
            return;
        }
        let recent = self.by_ref.entry(reference).or_default();
        recent.last = uptime;
        recent.leave(before);
    }

    /// The commits that each ref left within [`SERVER_LAG`]. An earlier pool kept the last one of each ref as seen.
    pub fn left(&mut self, seen: Option<&Seen>, uptime: TimeDelta) -> BTreeMap<Ref, Vec<Option<CommitId>>> {
        self.by_ref.retain(|_, recent| uptime - recent.last < server_lag());
        let left = self.by_ref.iter().map(|(reference, recent)| (reference.clone(), recent.left.clone()));
        let mut left: BTreeMap<Ref, Vec<Option<CommitId>>> = left.collect();
        for (reference, last) in seen.into_iter().flat_map(|seen| &seen.moved).filter(|_| uptime < server_lag()) {
            left.entry(reference.clone()).or_default().push(last.before.clone());
        }
        left
    }

    /// Keeps a move for a check; one that is being checked is not checked again.
    pub fn doubt(&mut self, found: FoundMove, known: CommitId) {
        let reference = found.moved.reference.clone();
        let is_other = |doubt: &Doubt| doubt.found.moved.commit != found.moved.commit;
        if self.doubts.get(&reference).is_none_or(is_other) {
            self.doubts.insert(reference, Doubt { found, known, is_being_checked: false });
        }
    }

    /// The moves that are to be checked, from here on being checked.
    pub fn begin_checks(&mut self) -> Vec<DoubtfulMove> {
        let new = self.doubts.values_mut().filter(|doubt| !doubt.is_being_checked);
        new.map(|doubt| {
            doubt.is_being_checked = true;
            let Moved { reference, commit, .. } = doubt.found.moved.clone();
            DoubtfulMove { reference, listed: commit, known: doubt.known.clone() }
        })
        .collect()
    }

    /// The move that was checked.
    pub fn end_check(&mut self, checked: &DoubtfulMove) -> Option<FoundMove> {
        let is_it = |doubt: &&Doubt| doubt.is_being_checked && doubt.found.moved.commit == checked.listed;
        self.doubts.get(&checked.reference).filter(is_it)?;
        self.doubts.remove(&checked.reference).map(|doubt| doubt.found)
    }
}

impl RecentMove {
    pub fn leave(&mut self, before: Option<CommitId>) {
        if self.left.len() >= MOST_LEFT {
            self.left.remove(0);
        }
        self.left.push(before);
    }
}

/// A push that was found.
#[derive(Debug)]
pub struct FoundMove {
    pub moved: Moved,
    pub at: DateTime<Utc>,
    pub origin: Origin,
    pub subject: Option<String>,
}
