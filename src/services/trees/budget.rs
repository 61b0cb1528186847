//! What is left of `git.fetch_limit` and `git.fetch_timeout` for a build: its source, the submodules and the files of
//! Git LFS have one budget together. A commit that names hundreds of submodules takes no more than one that names none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::source::git::{FetchLimits, Used, clone};

/// What the fetches of one build took.
#[derive(Debug)]
pub(super) struct Budget {
    limits: FetchLimits,
    /// The bytes of each clone: one that several submodules are in counts once.
    clones: BTreeMap<PathBuf, u64>,
    /// The bytes of the files of Git LFS that were fetched.
    lfs: u64,
    time: Duration,
}

impl Budget {
    /// Nothing of the limits is used.
    pub(super) fn new(limits: FetchLimits) -> Budget {
        Budget { limits, clones: BTreeMap::new(), lfs: 0, time: Duration::ZERO }
    }

    /// The limits of a fetch into a clone, or of files of Git LFS.
    pub(super) fn limits(&self, clone: Option<&Path>) -> FetchLimits {
        let others = self.clones.iter().filter(|(path, _)| Some(path.as_path()) != clone).map(|(_, bytes)| *bytes);
        let bytes = others.fold(self.lfs, u64::saturating_add);
        FetchLimits { used: Used { time: self.time, bytes }, ..self.limits }
    }

    /// A fetch into a clone took that long.
    pub(super) async fn fetched(&mut self, clone: &Path, time: Duration) {
        self.time += time;
        let objects = clone.join("objects");
        let size = tokio::task::spawn_blocking(move || clone::size_of(&objects)).await.unwrap_or_default();
        self.clones.insert(clone.to_owned(), size);
    }

    /// Files of Git LFS of that size took that long.
    pub(super) fn fetched_lfs(&mut self, bytes: u64, time: Duration) {
        self.time += time;
        self.lfs = self.lfs.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_fetches_of_a_build_have_one_budget_and_a_clone_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["app", "lib"] {
            std::fs::create_dir_all(at(name).join("objects/pack")).unwrap();
            std::fs::write(at(name).join("objects/pack/a.pack"), [0; 1000]).unwrap();
        }
        let mut budget = Budget::new(FetchLimits::new(Duration::from_secs(60), 10_000));
        for name in ["app", "lib", "lib"] {
            budget.fetched(&at(name), Duration::from_secs(10)).await;
        }
        budget.fetched_lfs(500, Duration::from_secs(5));
        assert_eq!(budget.limits(None).used, Used { time: Duration::from_secs(35), bytes: 2500 });
        assert_eq!(budget.limits(Some(&at("lib"))).used.bytes, 1500);
        assert_eq!(budget.limits(Some(&at("new"))).left(), Duration::from_secs(25));
    }
}
