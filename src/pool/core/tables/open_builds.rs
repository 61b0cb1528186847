//! The open builds and their indexes: what is looked for after each event is found without a look at all of them.
//!
//! An index can't be stale: [`OpenBuilds`] alone holds the builds, and whatever changes one passes
//! [`OpenBuilds::insert`], [`OpenBuilds::remove`] or [`OpenBuilds::change`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::open_build::{OpenBuild, Stage};
use super::pending_write::BuildWrites;
use crate::domain::backoff::Deadline;
use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;
use crate::domain::push::Ref;
use crate::pool::core::schedule::Waiting;

/// The builds that are not final, or not final on disk.
#[derive(Debug, Default)]
pub struct OpenBuilds {
    builds: BTreeMap<BuildId, OpenBuild>,
    indexes: Indexes,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Indexes {
    /// Those that wait as the scheduler sees them, in the order in which they were queued.
    waiting: BTreeMap<BuildId, Arc<Waiting>>,
    /// Those of them that wait for a time.
    timed: BTreeSet<(DateTime<Utc>, BuildId)>,
    /// Those that a runner works on, or that one is being started for: no more than the pool runs at once.
    underway: BTreeSet<BuildId>,
    by_ref: BTreeMap<(RepositoryPath, Ref), BTreeSet<BuildId>>,
}

/// What the indexes know of a build that changes while it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Waiting(Option<Deadline>),
    Underway,
    Elsewhere,
}

impl Place {
    fn of(open: &OpenBuild) -> Place {
        match &open.stage {
            Stage::Waiting(_) => Place::Waiting(open.wait()),
            _ if open.is_underway() => Place::Underway,
            _ => Place::Elsewhere,
        }
    }
}

impl Indexes {
    fn enter(&mut self, id: BuildId, open: &OpenBuild) {
        match Place::of(open) {
            Place::Waiting(until) => {
                self.waiting.extend(open.waiting().map(|waiting| (id, Arc::new(waiting))));
                self.timed.extend(until.map(|until| (until.at(), id)));
            }
            Place::Underway => _ = self.underway.insert(id),
            Place::Elsewhere => {}
        }
    }

    fn leave(&mut self, id: BuildId, place: Place) {
        match place {
            Place::Waiting(until) => {
                self.waiting.remove(&id);
                until.map(|until| self.timed.remove(&(until.at(), id)));
            }
            Place::Underway => _ = self.underway.remove(&id),
            Place::Elsewhere => {}
        }
    }

    fn add(&mut self, id: BuildId, open: &OpenBuild) {
        self.enter(id, open);
        self.by_ref.entry(ref_of(open)).or_default().insert(id);
    }

    fn take_out(&mut self, id: BuildId, open: &OpenBuild) {
        self.leave(id, Place::of(open));
        let key = ref_of(open);
        if let Some(of_ref) = self.by_ref.get_mut(&key) {
            of_ref.remove(&id);
            if of_ref.is_empty() {
                self.by_ref.remove(&key);
            }
        }
    }
}

fn ref_of(open: &OpenBuild) -> (RepositoryPath, Ref) {
    (open.record().path(), open.record().reference.clone())
}

impl OpenBuilds {
    pub fn insert(&mut self, id: BuildId, open: OpenBuild) {
        self.remove(&id);
        self.indexes.add(id, &open);
        self.builds.insert(id, open);
    }

    pub fn remove(&mut self, id: &BuildId) -> Option<OpenBuild> {
        let open = self.builds.remove(id)?;
        self.indexes.take_out(*id, &open);
        Some(open)
    }

    /// Changes a build. Its repository and ref never change.
    pub fn change<T>(&mut self, id: BuildId, change: impl FnOnce(&mut OpenBuild) -> T) -> Option<T> {
        let open = self.builds.get_mut(&id)?;
        let before = Place::of(open);
        let result = change(open);
        if before != Place::of(open) {
            self.indexes.leave(id, before);
            self.indexes.enter(id, open);
        }
        Some(result)
    }

    /// The writes of a build, which no index knows.
    pub fn writes_of(&mut self, id: BuildId) -> Option<&mut BuildWrites> {
        self.builds.get_mut(&id).map(|open| &mut open.writes)
    }

    pub fn get(&self, id: BuildId) -> Option<&OpenBuild> {
        self.builds.get(&id)
    }

    pub fn contains(&self, id: BuildId) -> bool {
        self.builds.contains_key(&id)
    }

    pub fn is_empty(&self) -> bool {
        self.builds.is_empty()
    }

    /// All of them: for what happens seldom.
    pub fn iter(&self) -> impl Iterator<Item = (BuildId, &OpenBuild)> {
        self.builds.iter().map(|(id, open)| (*id, open))
    }

    /// Those that wait, as the scheduler sees them, in the order in which they were queued.
    pub fn waiting(&self) -> impl Iterator<Item = &Arc<Waiting>> {
        self.indexes.waiting.values()
    }

    /// Those that a runner works on, or that one is being started for.
    pub fn underway(&self) -> impl Iterator<Item = (BuildId, &OpenBuild)> {
        self.indexes.underway.iter().filter_map(|id| Some((*id, self.builds.get(id)?)))
    }

    /// Those of a ref.
    pub fn of_ref(&self, path: RepositoryPath, reference: Ref) -> impl Iterator<Item = &OpenBuild> {
        let of_ref = self.indexes.by_ref.get(&(path, reference));
        of_ref.into_iter().flatten().filter_map(|id| self.builds.get(id))
    }

    /// When the first wait ends that is not over now, or a runner that does not stop is killed.
    pub fn next_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let later = self.indexes.timed.range((now, BuildId(0))..);
        let wait_of = |id: &BuildId| self.get(*id).and_then(OpenBuild::wait);
        let mut waits = later.filter_map(|(_, id)| wait_of(id)).filter(|wait| !wait.is_over(now));
        let kills = self.underway().filter_map(|(_, open)| open.kill()).map(|kill| kill.at());
        kills.chain(waits.next().map(|wait| wait.at())).min()
    }

    /// Whether a wait ended between two times.
    pub fn wait_ended(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        // A clock that was set back ends waits that began later.
        let is_set_back = now < since && !self.indexes.timed.is_empty();
        is_set_back || self.indexes.timed.range((since, BuildId(0))..).next().is_some_and(|(at, _)| *at <= now)
    }

    /// Whether the indexes are what a look at all builds gives.
    pub fn are_indexed(&self) -> bool {
        let mut indexes = Indexes::default();
        self.iter().for_each(|(id, open)| indexes.add(id, open));
        indexes == self.indexes
    }
}
