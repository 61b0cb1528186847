//! What past builds say of the next ones: asked of the catalog, which knows it without reading records.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::build::Build;
use crate::domain::name::RepositoryPath;
use crate::domain::push::Ref;
use crate::domain::rule_history::{Past as RefPast, RuleHistory};
use crate::pool::state::Pool;
use crate::protocol::PausedRule;
use crate::store::Catalog;
use crate::store::settings::Settings;

/// How soon a catalog that could not be completed, such as on a full disk, is tried again.
const TEND_AGAIN: Duration = Duration::from_secs(10);

type Failing = BTreeMap<(RepositoryPath, String), RuleHistory>;

/// The past of all rules.
pub(in crate::pool) struct Past {
    catalog: Arc<Catalog>,
    /// The rules that failed last, for the pool's status.
    failing: Mutex<Failing>,
}

impl Past {
    /// The past as the catalog has it.
    pub(in crate::pool) fn new(catalog: Arc<Catalog>) -> Past {
        Past { catalog, failing: Mutex::default() }
    }

    /// Takes a build at its end into account, once its record is written.
    pub(in crate::pool) async fn learn(&self, build: &Build) {
        let (path, rule) = (build.path(), build.rule.name.clone());
        let history = self.now(&path, &rule, None).await;
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if history.failed.is_empty() {
            failing.remove(&(path, rule));
        } else {
            failing.insert((path, rule), history);
        }
    }

    /// The past of a rule, with that of one of its refs, once all of it is known.
    pub(in crate::pool) async fn of(&self, path: &RepositoryPath, rule: &str, reference: Option<&Ref>) -> RuleHistory {
        self.catalog.completed().await;
        self.now(path, rule, reference).await
    }

    async fn now(&self, path: &RepositoryPath, rule: &str, reference: Option<&Ref>) -> RuleHistory {
        let (catalog, path, rule, reference) =
            (self.catalog.clone(), path.clone(), rule.to_owned(), reference.cloned());
        in_background(move || catalog.history(&path, &rule, reference.as_ref())).await
    }

    /// The refs of a rule that were built last, at most `most`, the last built first.
    pub(in crate::pool) async fn refs_built(
        &self,
        path: &RepositoryPath,
        rule: &str,
        most: usize,
    ) -> Vec<(Ref, RefPast)> {
        self.catalog.completed().await;
        let (catalog, path, rule) = (self.catalog.clone(), path.clone(), rule.to_owned());
        in_background(move || catalog.refs_built(&path, &rule, most)).await
    }

    /// The rules that failed too often to be built by themselves.
    pub(in crate::pool) fn paused_rules(&self, settings: &Settings) -> Vec<PausedRule> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = |(path, name): &(RepositoryPath, String), history: &RuleHistory| {
            let rule = settings.repositories.get(path)?.rule(name)?;
            let failures = history.paused(rule, settings.config.pool.pause_after)?;
            Some(PausedRule { repository: path.clone(), rule: name.clone(), failures })
        };
        failing.iter().filter_map(|(name, history)| paused(name, history)).collect()
    }
}

async fn in_background<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!("an internal task failed: {error}");
        T::default()
    })
}

/// Looks which rules failed last, once all builds that ended before this pool began are known.
pub(in crate::pool) async fn read(pool: Arc<Pool>) {
    pool.catalog.completed().await;
    let rules: Vec<(RepositoryPath, String)> = {
        let state = pool.state();
        let repositories = state.settings.repositories.iter();
        let rules = repositories
            .flat_map(|(path, repository)| repository.rules.iter().map(|rule| (path.clone(), rule.name.clone())));
        rules.collect()
    };
    let catalog = pool.catalog.clone();
    let failing: Failing =
        in_background(move || catalog.failing(rules.iter().map(|(path, rule)| (path, rule.as_str())))).await;
    {
        let mut known = pool.triggers.past.failing.lock().unwrap_or_else(PoisonError::into_inner);
        for (rule, history) in failing {
            // What was learnt meanwhile is newer.
            known.entry(rule).or_insert(history);
        }
    }
    // Which rules are paused is known from now on.
    pool.tell_watchers();
}

/// Keeps the catalog complete and sound, until the pool ends.
pub(in crate::pool) async fn tend(pool: Arc<Pool>) {
    let mut damages = pool.catalog.damages();
    loop {
        damages.mark_unchanged();
        let worker = pool.clone();
        match tokio::task::spawn_blocking(move || worker.catalog.tend(|| worker.is_stopping())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the catalog of builds and pushes can't be completed: {error}"),
            Err(error) => tracing::error!("an internal task failed: {error}"),
        }
        let again = async {
            if pool.catalog.is_complete() { std::future::pending().await } else { tokio::time::sleep(TEND_AGAIN).await }
        };
        tokio::select! {
            changed = damages.changed() => if changed.is_err() { return },
            () = again => {}
            () = pool.stopped() => return,
        }
    }
}
