//! What past builds say of the next ones: read once when the pool starts, beside everything else, and kept up to date from then on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::build::{Build, BuildId};
use crate::domain::name::RepositoryPath;
use crate::domain::rule_history::{Histories, RuleHistory};
use crate::pool::state::Pool;
use crate::protocol::PausedRule;
use crate::store::builds;
use crate::store::settings::Settings;

/// The past of all rules, once it is read.
pub(in crate::pool) struct Past {
    histories: Mutex<Histories>,
    is_read: watch::Sender<bool>,
}

impl Default for Past {
    fn default() -> Past {
        Past { histories: Mutex::default(), is_read: watch::Sender::new(false) }
    }
}

impl Past {
    /// A build is at its end.
    pub(in crate::pool) fn learn(&self, build: &Build) {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner).learn(build);
    }

    /// The past of a rule, once all of it is read.
    pub(in crate::pool) async fn of(&self, path: &RepositoryPath, rule: &str) -> RuleHistory {
        // The sender lives as long as the pool.
        let _ = self.is_read.subscribe().wait_for(|is_read| *is_read).await;
        self.histories.lock().unwrap_or_else(PoisonError::into_inner).of(path, rule)
    }

    /// The rules that failed too often to be built by themselves.
    pub(in crate::pool) fn paused_rules(&self, settings: &Settings) -> Vec<PausedRule> {
        let histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = |(path, name): (&RepositoryPath, &str), history: &RuleHistory| {
            let rule = settings.repositories.get(path)?.rule(name)?;
            let failures = history.paused(rule, settings.config.pool.pause_after)?;
            Some(PausedRule { repository: path.clone(), rule: name.to_owned(), failures })
        };
        histories.failing().filter_map(|(name, history)| paused(name, history)).collect()
    }
}

/// Reads the builds that ended before this pool began.
pub(in crate::pool) async fn read(pool: Arc<Pool>, finished: BTreeSet<BuildId>) {
    let reader = pool.clone();
    let reading = tokio::task::spawn_blocking(move || {
        for id in finished {
            if reader.is_stopping() {
                return;
            }
            // One that does not parse is told where it is shown.
            if let Ok(build) = builds::load(&reader.home, id) {
                reader.triggers.past.learn(&build);
            }
        }
    });
    if let Err(error) = reading.await {
        tracing::error!("an internal task failed: {error}");
    }
    pool.triggers.past.is_read.send_replace(true);
    // Which rules are paused is known from now on.
    pool.tell_watchers();
}
