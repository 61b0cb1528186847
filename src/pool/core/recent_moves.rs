//! Refs that moved lately. A copy of the source that lags behind lists what was before: a commit that the ref is known to
//! have left is recognized, and of another one the history of the source decides.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::Core;
use super::command::Command;
use super::event::DoubtfulMove;
use super::ref_tracker::FoundMove;
use crate::domain::journal::{Moved, SERVER_LAG};
use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};
use crate::domain::repository::Source;
use crate::store::refs_seen::Seen;

/// How many refs of a source are remembered.
const MOST_REFS: usize = 10_000;
/// How many commits of a ref are remembered that it left.
const MOST_LEFT: usize = 8;

/// The refs of a source that moved within [`SERVER_LAG`].
#[derive(Debug, Default)]
pub(super) struct RecentMoves {
    by_ref: BTreeMap<Ref, RecentMove>,
    doubts: BTreeMap<Ref, Doubt>,
}

/// A ref that moved.
#[derive(Debug, Default)]
struct RecentMove {
    /// The commits that it left; none: it was not there.
    left: Vec<Option<CommitId>>,
    /// When it moved last, in the uptime of the pool: clocks are set back and forth.
    last: TimeDelta,
}

/// A move that is taken over once the history of the source shows that it is none back.
#[derive(Debug)]
struct Doubt {
    found: FoundMove,
    known: CommitId,
    is_being_checked: bool,
}

/// [`SERVER_LAG`], to compare with uptimes.
pub(super) fn server_lag() -> TimeDelta {
    TimeDelta::from_std(SERVER_LAG).unwrap_or(TimeDelta::MAX)
}

impl RecentMoves {
    /// A ref moved, or was deleted.
    pub(super) fn moved(&mut self, reference: Ref, before: Option<CommitId>, uptime: TimeDelta) {
        if self.by_ref.len() >= MOST_REFS && !self.by_ref.contains_key(&reference) {
            return;
        }
        let recent = self.by_ref.entry(reference).or_default();
        recent.last = uptime;
        recent.leave(before);
    }

    /// The commits that each ref left within [`SERVER_LAG`]. An earlier pool kept the last one of each ref as seen.
    pub(super) fn left(&mut self, seen: Option<&Seen>, uptime: TimeDelta) -> BTreeMap<Ref, Vec<Option<CommitId>>> {
        self.by_ref.retain(|_, recent| uptime - recent.last < server_lag());
        let left = self.by_ref.iter().map(|(reference, recent)| (reference.clone(), recent.left.clone()));
        let mut left: BTreeMap<Ref, Vec<Option<CommitId>>> = left.collect();
        for (reference, last) in seen.into_iter().flat_map(|seen| &seen.moved).filter(|_| uptime < server_lag()) {
            left.entry(reference.clone()).or_default().push(last.before.clone());
        }
        left
    }

    /// Keeps a move for a check; one that is being checked is not checked again.
    fn doubt(&mut self, found: FoundMove, known: CommitId) {
        let reference = found.moved.reference.clone();
        let is_other = |doubt: &Doubt| doubt.found.moved.commit != found.moved.commit;
        if self.doubts.get(&reference).is_none_or(is_other) {
            self.doubts.insert(reference, Doubt { found, known, is_being_checked: false });
        }
    }

    /// The moves that are to be checked, from here on being checked.
    fn begin_checks(&mut self) -> Vec<DoubtfulMove> {
        let new = self.doubts.values_mut().filter(|doubt| !doubt.is_being_checked);
        new.map(|doubt| {
            doubt.is_being_checked = true;
            let Moved { reference, commit, .. } = doubt.found.moved.clone();
            DoubtfulMove { reference, listed: commit, known: doubt.known.clone() }
        })
        .collect()
    }

    /// The move that was checked.
    fn end_check(&mut self, checked: &DoubtfulMove) -> Option<FoundMove> {
        let is_it = |doubt: &&Doubt| doubt.is_being_checked && doubt.found.moved.commit == checked.listed;
        self.doubts.get(&checked.reference).filter(is_it)?;
        self.doubts.remove(&checked.reference).map(|doubt| doubt.found)
    }
}

impl RecentMove {
    fn leave(&mut self, before: Option<CommitId>) {
        if self.left.len() >= MOST_LEFT {
            self.left.remove(0);
        }
        self.left.push(before);
    }
}

impl Core {
    /// Takes the moves out of a listing that may be those of a copy which lags behind: of refs that `left` other commits
    /// lately. What is listed of them is as it was seen.
    pub(super) fn take_doubtful(
        &mut self,
        path: &RepositoryPath,
        found: Vec<FoundMove>,
        listed: &mut BTreeMap<Ref, CommitId>,
        left: &BTreeMap<Ref, Vec<Option<CommitId>>>,
    ) -> Vec<FoundMove> {
        let mut certain = Vec::with_capacity(found.len());
        for found in found {
            let Moved { reference, before, .. } = &found.moved;
            let known = left
                .get(reference)
                .and_then(|left| before.clone().or_else(|| left.iter().rev().flatten().next().cloned()));
            let Some(known) = known else {
                certain.push(found);
                continue;
            };
            match before {
                Some(before) => _ = listed.insert(reference.clone(), before.clone()),
                None => _ = listed.remove(reference),
            }
            self.refs.moves_of(path).doubt(found, known);
            self.refs.doubtful.insert(path.clone());
        }
        certain
    }

    /// Has doubtful moves checked, of each repository one list at a time, and of so many repositories at once.
    pub(super) fn check_moves(&mut self, at_once: usize) {
        let waiting: Vec<RepositoryPath> = self.refs.doubtful.difference(&self.reading_commits).cloned().collect();
        for path in waiting {
            if self.reading_commits.len() >= at_once {
                return;
            }
            self.refs.doubtful.remove(&path);
            let Some(source) = self.watched_source(&path).cloned() else { continue };
            let moves = self.refs.moves_of(&path).begin_checks();
            if !moves.is_empty() {
                self.reading_commits.insert(path.clone());
                self.out.push(Command::CheckMoves { path, source, moves });
            }
        }
    }

    /// Takes over the moves that are none back. The source is asked again about the others: what it lists for longer than
    /// a copy may lag is believed.
    pub(super) fn moves_checked(
        &mut self,
        path: &RepositoryPath,
        source: &Source,
        checked: Vec<(DoubtfulMove, Option<bool>)>,
    ) {
        self.reading_commits.remove(path);
        if self.watched_source(path) == Some(source) && !self.stopping {
            let (mut seen, uptime) = (self.refs.seen(path, source), self.uptime);
            let (mut pushes, mut ask_again) = (Vec::new(), false);
            for (doubtful, is_earlier) in checked {
                let moves = self.refs.moves_of(path);
                let Some(found) = moves.end_check(&doubtful) else { continue };
                let Moved { reference, before, commit } = found.moved.clone();
                if is_earlier == Some(false) && seen.refs.get(&reference) == before.as_ref() {
                    seen.refs.insert(reference.clone(), commit);
                    moves.moved(reference, before, uptime);
                    pushes.push(found);
                    continue;
                }
                if let (Some(true), Some(recent)) = (is_earlier, moves.by_ref.get_mut(&reference)) {
                    recent.leave(Some(commit));
                }
                ask_again = true;
            }
            if ask_again {
                self.out.push(Command::Poll { path: path.clone(), now: false });
            }
            if !pushes.is_empty() {
                self.record_pushes(path, seen, pushes, None);
            }
        }
        self.read_commits();
    }
}
