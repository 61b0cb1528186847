//! What was seen of the sources, and what was told of them lately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::recent_moves::RecentMoves;
use crate::domain::backoff::Deadline;
use crate::domain::journal::PushRecord;
use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};
use crate::domain::repository::Source;
use crate::pool::core::event::Event;
use crate::pool::core::snapshot::RemoteIds;
use crate::store::refs_seen::{Seen, Watched};
use crate::store::settings::Settings;

/// How many refs of webhooks are kept for the next listing of a source.
const MOST_HINTS: usize = 10_000;
/// What was seen and is no push is kept within this time, together with all of its kind.
pub const KEEP_WITHIN: TimeDelta = TimeDelta::seconds(1);

/// What was seen of the sources.
#[derive(Debug, Default)]
pub struct RefTracker {
    pub watched: Watched,
    pub state: TrackerState,
    pub last_push: u64,
    pub told: BTreeMap<RepositoryPath, Told>,
    /// The repositories with moves that are to be checked.
    pub doubtful: BTreeSet<RepositoryPath>,
    pub remote_ids: Arc<RemoteIds>,
    /// Something changed that is no push: it waits for more of its kind.
    pub unkept: Option<Deadline>,
    /// The repositories whose files are not as they were seen.
    pub unkept_of: BTreeSet<RepositoryPath>,
    /// Files are being written.
    pub keeping: bool,
}

/// Whether anything may be compared with what was seen.
#[derive(Debug, Default)]
pub enum TrackerState {
    /// Nothing is watched: what was seen before can't be read.
    #[default]
    Broken,
    /// The journal may have pushes that are not among the refs seen yet. What is reported until then waits.
    Waiting(Vec<Event>),
    Ready,
}

/// What was told of a source lately.
#[derive(Debug, Default)]
pub struct Told {
    pub moves: RecentMoves,
    /// Refs that were pushed and whose commits the source is asked for.
    pub hints: BTreeMap<Ref, Hint>,
}

/// A push that only the source can confirm.
#[derive(Debug, Clone)]
pub struct Hint {
    pub pushed_at: DateTime<Utc>,
    /// When it was told, in the uptime of the pool.
    pub told: TimeDelta,
}

impl Told {
    pub fn hint(&mut self, reference: Ref, pushed_at: DateTime<Utc>, told: TimeDelta) {
        if self.hints.len() < MOST_HINTS {
            self.hints.insert(reference, Hint { pushed_at, told });
        }
    }
}

impl RefTracker {
    /// A tracker that does not know yet what was seen before.
    pub fn waiting(last_push: u64) -> RefTracker {
        RefTracker { last_push, state: TrackerState::Waiting(Vec::new()), ..RefTracker::default() }
    }

    /// Takes over what an earlier pool saw, and the pushes of the journal that it did not keep as seen.
    pub fn take_over(&mut self, mut watched: Watched, pushes: &[PushRecord], now: DateTime<Utc>) {
        let changed = watched.catch_up(pushes);
        self.last_push = self.last_push.max(watched.last_push().map_or(0, |id| id.0));
        let known = watched.remote_ids();
        let known = known.map(|(path, source, id)| (path.clone(), (source.to_owned(), id.to_owned())));
        self.remote_ids = Arc::new(known.collect());
        self.watched = watched;
        self.state = TrackerState::Ready;
        changed.into_iter().for_each(|path| self.changed(path, now));
    }

    /// Watches nothing: what was seen before can't be read.
    pub fn break_off(&mut self) {
        self.state = TrackerState::Broken;
    }

    /// What was reported before the journal was known.
    pub fn take_deferred(&mut self) -> Vec<Event> {
        match std::mem::replace(&mut self.state, TrackerState::Ready) {
            TrackerState::Waiting(events) => events,
            TrackerState::Broken | TrackerState::Ready => Vec::new(),
        }
    }

    pub fn remote_ids(&self) -> Arc<RemoteIds> {
        self.remote_ids.clone()
    }

    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        self.unkept.map(|at| at.at())
    }

    /// The refs of a repository's source as they were last seen.
    pub fn refs(&self, path: &RepositoryPath, source: &str) -> BTreeMap<Ref, CommitId> {
        self.watched.of(path, source).map(|seen| seen.refs).unwrap_or_default()
    }

    /// What was seen of a source; nothing where it is new.
    pub fn seen(&self, path: &RepositoryPath, source: &Source) -> Seen {
        let seen = self.watched.of(path, &source.url);
        seen.unwrap_or_else(|| Seen { source: source.url.clone(), ..Seen::default() })
    }

    pub fn moves_of(&mut self, path: &RepositoryPath) -> &mut RecentMoves {
        &mut self.told.entry(path.clone()).or_default().moves
    }

    /// The time of what is built as though it was pushed at a time: no earlier push of its ref is later, and no later one
    /// earlier.
    pub fn push_at(
        &mut self,
        path: &RepositoryPath,
        source: &str,
        reference: &Ref,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let Some(mut seen) = self.watched.of(path, source) else { return at };
        let at = seen.note_again(reference, at);
        self.watched.insert(path.clone(), &seen);
        self.changed(path.clone(), now);
        at
    }

    /// What was seen of a repository is to be kept soon.
    pub fn changed(&mut self, path: RepositoryPath, now: DateTime<Utc>) {
        self.unkept_of.insert(path);
        self.unkept.get_or_insert_with(|| Deadline::after(now, KEEP_WITHIN));
    }

    /// The files are written.
    pub fn kept(&mut self) {
        self.keeping = false;
    }

    /// Forgets what is not watched any more. When it is watched again, it is seen for the first time: nobody wants what
    /// was pushed meanwhile built.
    pub fn follow(&mut self, settings: &Settings, now: DateTime<Utc>) {
        let is_watched = |path: &RepositoryPath| {
            let repository = settings.repositories.get(path);
            repository.is_some_and(|repository| repository.build.auto && repository.source.is_some())
        };
        // What was seen of a source is kept until a file can be read again.
        let is_unreadable = |path: &RepositoryPath| {
            !settings.repositories.contains_key(path)
                && settings.problem_files(&path.namespace, Some(&path.repository)).next().is_some()
        };
        for gone in self.watched.retain(|path| is_watched(path) || is_unreadable(path)) {
            self.changed(gone, now);
        }
        self.told.retain(|path, _| is_watched(path));
    }
}
