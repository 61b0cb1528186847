//! What the pool knows: settings, open builds, builders. Shared by its tasks; locks are held for moments, never over
//! I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc, watch};

use super::builders::BuilderRuntime;
use super::news::Written;
use super::notify::Outgoing;
use super::schedule::{BuilderView, Decision, PoolView, Waiting};
use super::trigger::Triggers;
use crate::domain::build::{Build, BuildId, BuildState, CancelRequest};
use crate::domain::builder::labels_asked;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::outbox::Receiver;
use crate::domain::platform::Platform;
use crate::protocol::WebhookRefusal;
use crate::registry::Target;
use crate::services::registries::{self, RegistriesError};
use crate::store::settings::Settings;
use crate::store::{Catalog, Home};

/// The pool, as its tasks share it.
pub(super) struct Pool {
    pub home: Home,
    /// Builds and pushes on disk: records are written through it, and found again.
    pub catalog: Arc<Catalog>,
    pub started_at: DateTime<Utc>,
    pub state: Mutex<State>,
    /// Held from the look for a twin until the build is queued, so that two who ask at once get one build.
    pub admission: tokio::sync::Mutex<()>,
    /// Held while settings are changed or read again: each change is made to what the one before left.
    pub edits: tokio::sync::Mutex<()>,
    /// What decides what is built by itself.
    pub triggers: Triggers,
    /// Something happened that may let a build start.
    pub woken: Notify,
    /// Something that clients may want to know of changed; how often so far.
    pub changes: watch::Sender<u64>,
    /// What is on its way to others.
    pub outgoing: Outgoing,
    /// True once the pool is told to end: nothing new is taken or started.
    pub stopping: watch::Sender<bool>,
}

/// What changes.
pub(super) struct State {
    pub settings: Settings,
    /// How often the settings changed.
    pub settings_changes: u64,
    /// The builds that are not final.
    pub open: BTreeMap<BuildId, Entry>,
    pub next_id: u64,
    /// What was written into the journal of pushes lately.
    pub written: Written,
    pub builders: BTreeMap<String, BuilderRuntime>,
    /// The sources that can't be watched now, and why.
    pub watch_problems: BTreeMap<String, String>,
    /// Who can't be told of builds, of which repository ("": of all), and why.
    pub untold: BTreeMap<(Receiver, String), String>,
    /// Where webhooks are taken.
    pub webhooks: Option<String>,
    /// What the webhooks of platforms were last refused for, until one is taken.
    pub webhook_refusals: BTreeMap<String, WebhookRefusal>,
    /// Why nothing may start, such as a full disk.
    pub blocked: Option<String>,
}

/// An open build and the way to its task.
pub(super) struct Entry {
    pub build: Build,
    pub orders: mpsc::Sender<Order>,
    /// The record as it last changed its state or its reason; the last one is final.
    pub news: watch::Sender<Arc<Build>>,
    /// It was told to start, and has not yet said that it runs.
    pub starting: Option<Vec<String>>,
}

/// What a build's task is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Start on these builders.
    Start(Vec<(String, Vec<Platform>)>),
    /// Stop.
    Cancel(CancelRequest),
}

impl Entry {
    /// Lets those who wait know of another state or reason.
    pub(super) fn tell(&self) {
        let build = &self.build;
        self.news.send_if_modified(|last| {
            let differs = last.state != build.state || last.reason != build.reason;
            if differs {
                *last = Arc::new(build.clone());
            }
            differs
        });
    }
}

impl Pool {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A task that panicked while it held the lock left plain data behind, which is as good as it was.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Something happened that may let a build start.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
        self.tell_watchers();
    }

    /// Something that clients may want to know of changed.
    pub(super) fn tell_watchers(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Tells the clients what of that name can't be done now and why, or that it can again.
    pub(super) fn tell_problem(&self, name: &str, problem: Option<String>) {
        let changed = {
            let mut state = self.state();
            if let Some(problem) = &problem {
                tracing::warn!("{problem}");
            }
            match problem {
                Some(problem) => state.watch_problems.insert(name.to_owned(), problem.clone()) != Some(problem),
                None => state.watch_problems.remove(name).is_some(),
            }
        };
        if changed {
            self.tell_watchers();
        }
    }

    /// Waits until the pool is told to end.
    pub(super) async fn stopped(&self) {
        // The sender lives as long as the pool.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Where the images of a repository are, as the settings in force have it.
    pub(super) async fn target(&self, path: &RepositoryPath, namespace: &Namespace) -> Result<Target, RegistriesError> {
        let settings = self.state().settings.clone();
        registries::open(&self.home, &settings, &namespace.registry, path).await
    }

    /// Changes an open build in memory and returns the new record; none where it is not open.
    pub(super) fn update(&self, id: BuildId, change: impl FnOnce(&mut Build)) -> Option<Build> {
        let build = {
            let mut state = self.state();
            let entry = state.open.get_mut(&id)?;
            change(&mut entry.build);
            entry.tell();
            entry.build.clone()
        };
        self.tell_watchers();
        Some(build)
    }
}

impl State {
    /// A number that no build has.
    pub(super) fn take_id(&mut self) -> BuildId {
        let id = BuildId(self.next_id);
        self.next_id += 1;
        id
    }

    /// How many builds may run at once.
    pub(super) fn limit(&self) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        self.settings.config.pool.builds.unwrap_or_else(cores).max(1)
    }

    /// The builders that each running or starting build occupies.
    fn occupied(&self) -> impl Iterator<Item = (&Build, &[String])> {
        self.open.values().filter_map(|entry| match (&entry.starting, entry.build.state) {
            (Some(builders), _) => Some((&entry.build, builders.as_slice())),
            (None, BuildState::Running) => Some((&entry.build, entry.build.builders.as_slice())),
            _ => None,
        })
    }

    pub(super) fn pool_view(&self) -> PoolView {
        let mut running = BTreeMap::new();
        for (build, _) in self.occupied() {
            *running.entry(build.path().to_string()).or_default() += 1;
        }
        PoolView { limit: self.limit(), running, blocked: self.blocked.clone() }
    }

    pub(super) fn builder_views(&self) -> Vec<BuilderView> {
        let limit = self.limit();
        let view = |(name, runtime): (&String, &BuilderRuntime)| BuilderView {
            name: name.clone(),
            slots: runtime.config.slots.unwrap_or(limit),
            busy: u32::try_from(self.occupied().filter(|(_, builders)| builders.contains(name)).count())
                .unwrap_or(u32::MAX),
            labels: runtime.config.labels.clone(),
            platforms: runtime.platforms.clone(),
            readiness: runtime.readiness(),
            warm: runtime.warm.clone(),
        };
        self.builders.iter().map(view).collect()
    }

    pub(super) fn waiting(&self) -> Vec<Waiting> {
        let waits = |entry: &&Entry| {
            entry.starting.is_none()
                && entry.build.cancel.is_none()
                && matches!(entry.build.state, BuildState::Queued | BuildState::Held)
        };
        let waiting = |entry: &Entry| Waiting {
            id: entry.build.id,
            repository: entry.build.path().to_string(),
            platforms: entry.build.rule.platforms.clone(),
            labels: labels_asked(&entry.build.settings),
            builder: Some(entry.build.settings.builder.clone()).filter(|name| !name.is_empty()),
            not_before: entry.build.not_before,
            awaited: entry.build.awaits_commit().cloned(),
        };
        self.open.values().filter(waits).map(waiting).collect()
    }

    /// Carries decisions out: tells builds to start, and the others why they wait.
    pub(super) fn apply(&mut self, decisions: BTreeMap<BuildId, Decision>, now: DateTime<Utc>) {
        for (id, decision) in decisions {
            let Some(entry) = self.open.get_mut(&id) else { continue };
            let (state, reason) = match decision {
                Decision::Start(platform_builds) => {
                    let names = platform_builds.iter().map(|(name, _)| name.clone()).collect();
                    // The channel has room for a start and a cancel, and there is one of each at most.
                    if entry.orders.try_send(Order::Start(platform_builds)).is_ok() {
                        entry.starting = Some(names);
                    }
                    continue;
                }
                Decision::Queue(reason) => (BuildState::Queued, reason),
                Decision::Hold(reason) => (BuildState::Held, reason),
            };
            // Queued and held may become each other: see `BuildState::can_become`.
            let _ = entry.build.become_state(state, reason, now);
            entry.tell();
        }
    }

    /// The repositories that have builds open.
    pub(super) fn busy_repositories(&self) -> BTreeSet<String> {
        self.open.values().map(|entry| entry.build.path().to_string()).collect()
    }
}
