//! Refs that moved lately. A copy of the source that lags behind lists what was before: a commit that the ref is known to
//! have left is recognized, and of another one the history of the source decides.

use std::collections::BTreeMap;

use super::command::Command;
use super::event::DoubtfulMove;
use super::tables::{Core, FoundMove};
use crate::domain::journal::Moved;
use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};
use crate::domain::repository::Source;

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
