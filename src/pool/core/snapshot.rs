//! Snapshots of the core for everybody who only reads: clients, triggers, tasks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::domain::build::{Build, BuildId};
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::protocol::PoolStatus;
use crate::store::settings::Settings;

/// So many changes are remembered for readers that are slow: more than happen while one of them is told.
const REMEMBERED: usize = 10_000;

/// The identifiers that platforms gave the sources of repositories; with the source's URL, for another source has
/// another one.
pub type RemoteIds = BTreeMap<RepositoryPath, (String, String)>;

/// The core at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// How the pool is.
    pub status: Arc<PoolStatus>,
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// How often the settings changed.
    pub settings_changes: u64,
    /// The builds that are recorded and not final.
    pub builds: BTreeMap<BuildId, Arc<Build>>,
    /// The builds whose records became final lately.
    pub ended: Arc<Recent<BuildId>>,
    /// The pushes that were written into the journal lately.
    pub pushes: Arc<Recent<PushId>>,
    /// How webhooks name the sources.
    pub remote_ids: Arc<RemoteIds>,
}

/// The last things of a kind that happened, and how many there were.
#[derive(Debug, Clone)]
pub struct Recent<T> {
    count: u64,
    /// The newest last.
    last: VecDeque<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent { count: 0, last: VecDeque::new() }
    }
}

impl<T: Copy + Ord> Recent<T> {
    /// It happened.
    pub fn add(&mut self, thing: T) {
        if self.last.len() >= REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(thing);
        self.count += 1;
    }

    /// How many there were so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Those that came since there were `count`, each once.
    pub fn since(&self, count: u64) -> Vec<T> {
        let new = usize::try_from(self.count - count).unwrap_or(usize::MAX);
        let once: BTreeSet<T> = self.last.iter().rev().take(new).copied().collect();
        once.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_is_told_once_and_the_oldest_are_forgotten() {
        let mut recent = Recent::default();
        recent.add(1);
        let count = recent.count();
        for thing in [3, 2, 3] {
            recent.add(thing);
        }
        assert_eq!(recent.since(count), [2, 3]);
        assert_eq!(recent.since(recent.count()), [] as [u64; 0]);
        (0..REMEMBERED as u64 + 5).for_each(|thing| recent.add(thing));
        assert_eq!(recent.since(0).len(), REMEMBERED);
    }
}
