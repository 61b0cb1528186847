//! The builders as they are now: the managed daemon is kept alive, the others are asked what they build for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::asking;
use super::managed;
use super::schedule::Readiness;
use super::state::{Pool, State};
use crate::buildkit::config;
use crate::buildkit::daemon::supervise;
use crate::domain::builder::{Builder, BuilderKind, MANAGED};
use crate::domain::platform::Platform;
use crate::protocol::BuilderStatus;
use crate::store::settings::Settings;

/// How long the managed daemon may take to end before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How soon a builder that is down is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Builds end in flocks, and asking after a cache is work for whoever has it.
const WEIGH_AFTER: Duration = Duration::from_secs(5);

/// A builder, and how it is now.
pub(super) struct BuilderRuntime {
    pub config: Builder,
    pub readiness: Readiness,
    /// What `buildctl --addr` takes, where it has an address of its own.
    pub address: Option<String>,
    /// Its own platform first; none before it was asked.
    pub platforms: Option<Vec<Platform>>,
    /// How many bytes its cache takes; none before it was asked.
    pub cache_bytes: Option<u64>,
    /// The version of its daemon; none before it was asked, or where it does not know.
    version: Option<String>,
    /// RUN steps are in the network of its host, as it said.
    host_network: bool,
    /// Its cache is about to be asked after.
    weighing: bool,
    /// The repositories whose last build it ran.
    pub warm: BTreeSet<String>,
    /// The managed daemon's supervision.
    orders: Option<mpsc::Sender<supervise::Order>>,
    /// The configuration that the managed daemon runs with, and the one that its supervision was last told.
    configuration: Configuration,
}

/// What a managed daemon runs with: news of its start may be older than an order that is on its way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Configuration {
    running: Option<String>,
    ordered: Option<String>,
    /// An order to restart is on its way.
    restarting: bool,
    /// No build starts before the restart. Other DNS resolvers alone wait for a moment without builds.
    blocks_builds: bool,
}

impl Configuration {
    /// Compares with what is wanted; whether the daemon is to be restarted with it.
    fn restart_for(&mut self, wanted: &str, busy: bool) -> bool {
        let known = || [&self.running, &self.ordered].into_iter().flatten();
        let essential = config::without_resolvers(wanted);
        let differs = known().any(|one| one != wanted);
        let differs_much = known().any(|one| config::without_resolvers(one) != essential);
        let is_ordered = self.restarting && self.ordered.as_deref() == Some(wanted);
        let restart = differs && !busy && !is_ordered;
        self.blocks_builds = differs_much || restart || self.restarting;
        restart
    }

    fn restart_ordered(&mut self, config: String) {
        self.ordered = Some(config);
        self.restarting = true;
    }

    /// A new daemon answers that runs with this configuration.
    fn started(&mut self, config: String) {
        self.restarting &= self.ordered.as_ref() != Some(&config);
        self.running = Some(config);
    }

    /// A daemon of before answers: a restart that was ordered did not end it.
    fn adopted(&mut self, config: String) {
        self.restarting = false;
        self.running = Some(config);
    }
}

impl BuilderRuntime {
    fn new(config: Builder) -> BuilderRuntime {
        BuilderRuntime {
            readiness: Readiness::Starting,
            address: config.address.clone(),
            platforms: Some(config.platforms.clone()).filter(|platforms| !platforms.is_empty()),
            config,
            cache_bytes: None,
            version: None,
            host_network: false,
            weighing: false,
            warm: BTreeSet::new(),
            orders: None,
            configuration: Configuration::default(),
        }
    }

    /// Whether builds can start on it: one that is to be restarted first takes no more.
    pub(super) fn readiness(&self) -> Readiness {
        if self.readiness == Readiness::Ready && self.configuration.blocks_builds {
            return Readiness::Starting;
        }
        self.readiness.clone()
    }
}

/// The builders that the settings ask for: those with files, else `BUILDKIT_HOST`, else the managed one.
fn wanted(settings: &Settings) -> BTreeMap<String, Builder> {
    if !settings.builders.is_empty() {
        return settings.builders.clone();
    }
    let builder = match std::env::var("BUILDKIT_HOST") {
        Ok(address) if !address.is_empty() => {
            ("buildkit-host".to_owned(), Builder { address: Some(address), ..Builder::of(BuilderKind::Existing) })
        }
        _ => (MANAGED.to_owned(), Builder::of(BuilderKind::Managed)),
    };
    BTreeMap::from([builder])
}

/// Brings the builders in line with the settings.
pub(super) fn follow_settings(pool: &Arc<Pool>) {
    let mut fresh = Vec::new();
    {
        let mut state = pool.state();
        let wanted = wanted(&state.settings);
        state.builders.retain(|name, runtime| wanted.get(name) == Some(&runtime.config));
        for (name, config) in wanted {
            if !state.builders.contains_key(&name) {
                state.builders.insert(name.clone(), BuilderRuntime::new(config));
                fresh.push(name);
            }
        }
    }
    for name in fresh {
        tokio::spawn(bring_up(pool.clone(), name));
    }
    restart_if_config_changed(pool);
}

/// Tells the managed daemon its new configuration, once no build uses it.
pub(super) fn restart_if_config_changed(pool: &Arc<Pool>) {
    let settings = {
        let state = pool.state();
        if state.builders.values().all(|runtime| runtime.orders.is_none()) {
            return;
        }
        state.settings.clone()
    };
    let Ok(spec) = managed::spec(&pool.home, &settings) else { return };
    let mut state = pool.state();
    let busy: BTreeSet<String> =
        state.builder_views().into_iter().filter(|view| view.busy > 0).map(|view| view.name).collect();
    for (name, runtime) in &mut state.builders {
        let Some(orders) = &runtime.orders else { continue };
        if runtime.configuration.restart_for(&spec.config, busy.contains(name)) {
            // A full channel means that an order is on its way: when the daemon has come up by it, this is asked again.
            let order = supervise::Order::Restart { spec: Box::new(spec.clone()), grace: STOP_GRACE };
            if orders.try_send(order).is_ok() {
                runtime.configuration.restart_ordered(spec.config.clone());
            }
        }
    }
}

async fn bring_up(pool: Arc<Pool>, name: String) {
    let Some(kind) = pool.state().builders.get(&name).map(|runtime| runtime.config.kind) else { return };
    match kind {
        BuilderKind::Managed => keep_managed(&pool, &name).await,
        BuilderKind::Existing => keep_asking(&pool, &name).await,
        // These come to be with each build.
        BuilderKind::Fresh | BuilderKind::Provisioned => {
            set(&pool, &name, |runtime| runtime.readiness = Readiness::Ready)
        }
    }
}

fn set(pool: &Pool, name: &str, change: impl FnOnce(&mut BuilderRuntime)) {
    if let Some(runtime) = pool.state().builders.get_mut(name) {
        change(runtime);
    }
    pool.wake();
}

fn is_wanted(pool: &Pool, name: &str) -> bool {
    pool.state().builders.contains_key(name)
}

async fn keep_managed(pool: &Arc<Pool>, name: &str) {
    let spec = loop {
        let settings = pool.state().settings.clone();
        let spec = match managed::spec(&pool.home, &settings) {
            Ok(spec) => managed::try_sandbox(&spec.tools).await.map(|()| spec),
            Err(reason) => Err(reason),
        };
        match spec {
            Ok(spec) => break spec,
            Err(reason) => set(pool, name, |runtime| runtime.readiness = Readiness::Down(reason)),
        }
        wait_for_work(pool).await;
        if !is_wanted(pool, name) || pool.is_stopping() {
            return;
        }
    };
    let (orders, inbox) = mpsc::channel(1);
    let (sender, mut events) = mpsc::channel(16);
    set(pool, name, |runtime| {
        runtime.orders = Some(orders);
        runtime.configuration.ordered = Some(spec.config.clone());
    });
    tokio::spawn(supervise::supervise(spec, inbox, sender));
    let mut unanswered: Option<String> = None;
    loop {
        let again = async {
            match &unanswered {
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => unanswered = on_event(pool, name, event).await,
                None => return,
            },
            // It runs, and was too busy to say what it builds for.
            () = again => if let Some(address) = unanswered.take() {
                unanswered = became_ready(pool, name, address).await;
            }
        }
    }
}

/// Until a build waits: what is missing may have been installed by then.
async fn wait_for_work(pool: &Arc<Pool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = pool.stopped() => return,
        }
        if !pool.state().open.is_empty() {
            return;
        }
    }
}

/// The address of a daemon that runs and did not answer, if so.
async fn on_event(pool: &Arc<Pool>, name: &str, event: supervise::Event) -> Option<String> {
    use supervise::Event;
    match event {
        Event::Started { address, process, config } => {
            tracing::info!("builder {name} started: pid {}, {address}", process.pid);
            return came_up(pool, name, address, |configuration| configuration.started(config)).await;
        }
        Event::Adopted { address, process, differs, config } => {
            tracing::info!("builder {name} runs already: pid {}, {address}", process.pid);
            // Of one whose programs differ the text of the configuration says too little: "" equals none.
            let config = if differs { String::new() } else { config };
            return came_up(pool, name, address, |configuration| configuration.adopted(config)).await;
        }
        Event::Died { status, log_tail, next_try } => {
            let status = status.unwrap_or_else(|| "its exit status is not known".into());
            tracing::warn!("builder {name} died ({status}), next try in {next_try:?}; its last words:\n{log_tail}");
            set(pool, name, |runtime| runtime.readiness = Readiness::Starting);
        }
        Event::RestartFailed { error, next_try } => {
            tracing::error!("builder {name} cannot be started, next try in {next_try:?}: {error}");
            set(pool, name, |runtime| runtime.readiness = Readiness::Down(error));
        }
        Event::Stopped => set(pool, name, |runtime| runtime.readiness = Readiness::Starting),
        Event::StopFailed { error } => tracing::error!("builder {name} cannot be stopped: {error}"),
    }
    None
}

/// The managed daemon answers.
async fn came_up(
    pool: &Arc<Pool>,
    name: &str,
    address: String,
    note: impl FnOnce(&mut Configuration),
) -> Option<String> {
    if let Some(runtime) = pool.state().builders.get_mut(name) {
        note(&mut runtime.configuration);
    }
    restart_if_config_changed(pool);
    became_ready(pool, name, address).await
}

/// Asks a daemon that should be there what it builds for; returns its address where it does not answer.
async fn became_ready(pool: &Arc<Pool>, name: &str, address: String) -> Option<String> {
    let (workers, version) =
        tokio::join!(asking::ask_workers(pool, name, &address), asking::ask_version(pool, name, &address));
    let unanswered = workers.is_err().then(|| address.clone());
    if unanswered.is_none() {
        weigh_cache(pool, name);
    }
    set(pool, name, |runtime| {
        runtime.address = Some(address);
        runtime.version = version.ok();
        match workers {
            Ok(workers) => {
                runtime.platforms = Some(workers.platforms);
                runtime.host_network = workers.host_network;
                runtime.readiness = Readiness::Ready;
            }
            Err(reason) => runtime.readiness = Readiness::Down(reason),
        }
    });
    unanswered
}

/// Learns how much a builder's cache takes, once the builds that end with this one have ended.
pub(super) fn weigh_cache(pool: &Arc<Pool>, name: &str) {
    if pool.state().builders.get_mut(name).is_none_or(|runtime| std::mem::replace(&mut runtime.weighing, true)) {
        return;
    }
    let (pool, name) = (pool.clone(), name.to_owned());
    tokio::spawn(async move {
        tokio::time::sleep(WEIGH_AFTER).await;
        let address = pool.state().builders.get_mut(&name).and_then(|runtime| {
            // What ends from here on is weighed anew.
            runtime.weighing = false;
            runtime.address.clone()
        });
        let Some(address) = address else { return };
        // One that does not answer is told where it is needed.
        if let Ok(bytes) = asking::ask_cache_bytes(&pool, &name, &address).await {
            set(&pool, &name, |runtime| runtime.cache_bytes = Some(bytes));
        }
    });
}

/// An existing builder: asked when it is new, and again while it is down and builds wait for it.
async fn keep_asking(pool: &Arc<Pool>, name: &str) {
    loop {
        let Some((address, refusal)) = pool.state().builders.get(name).and_then(|runtime| {
            let address = runtime.address.clone()?;
            let refusal = runtime.config.refusal(&address);
            Some((address, refusal))
        }) else {
            return;
        };
        if let Some(refusal) = refusal {
            // Until its settings change, which makes it another builder.
            return set(pool, name, |runtime| runtime.readiness = Readiness::Down(refusal.to_string()));
        }
        if became_ready(pool, name, address).await.is_none() || pool.is_stopping() {
            return;
        }
        wait_for_work(pool).await;
    }
}

/// Asks again a builder that a build failed on: it may be gone.
pub(super) fn ask_again(pool: &Arc<Pool>, names: &[String]) {
    for name in names {
        // One that is not ready is being asked already.
        let ask = pool.state().builders.get_mut(name).is_some_and(|runtime| {
            let ask = runtime.config.kind == BuilderKind::Existing && runtime.readiness == Readiness::Ready;
            if ask {
                runtime.readiness = Readiness::Starting;
            }
            ask
        });
        if ask {
            let (pool, name) = (pool.clone(), name.clone());
            tokio::spawn(async move { keep_asking(&pool, &name).await });
        }
    }
}

/// Asks the builders for their platforms again: emulators may have come since.
pub(super) async fn refresh_platforms(pool: &Arc<Pool>) {
    let asked: Vec<(String, String)> = {
        let state = pool.state();
        let ready = state.builders.iter().filter(|(_, runtime)| runtime.readiness == Readiness::Ready);
        ready.filter_map(|(name, runtime)| Some((name.clone(), runtime.address.clone()?))).collect()
    };
    for (name, address) in asked {
        if let Ok(workers) = asking::ask_workers(pool, &name, &address).await {
            let mut state = pool.state();
            if let Some(runtime) = state.builders.get_mut(&name) {
                runtime.platforms = Some(workers.platforms);
            }
        }
    }
}

/// Every builder as clients see it.
pub(super) fn statuses(state: &State) -> Vec<BuilderStatus> {
    let views = state.builder_views();
    let status = |(view, runtime): (super::schedule::BuilderView, &BuilderRuntime)| {
        let (word, reason) = match view.readiness {
            Readiness::Ready => ("ready", String::new()),
            Readiness::Starting => ("starting", String::new()),
            Readiness::Down(reason) => ("down", reason),
        };
        BuilderStatus {
            name: view.name,
            kind: runtime.config.kind.word().into(),
            state: word.into(),
            reason,
            address: runtime.address.clone(),
            slots: view.slots,
            busy: view.busy,
            platforms: view.platforms.unwrap_or_default(),
            labels: view.labels,
            cache_bytes: runtime.cache_bytes,
            version: runtime.version.clone(),
            host_network: runtime.host_network,
        }
    };
    views.into_iter().zip(state.builders.values()).map(status).collect()
}

/// Ends the managed daemon, or lets the last build that uses it end it.
pub(super) async fn leave(pool: &Arc<Pool>, builds_go_on: bool) {
    let orders: Vec<_> = pool.state().builders.values_mut().filter_map(|runtime| runtime.orders.take()).collect();
    for orders in orders {
        let order = if builds_go_on { supervise::Order::Leave } else { supervise::Order::Stop { grace: STOP_GRACE } };
        // A supervision that is gone has nothing to end.
        let _ = orders.send(order).await;
        orders.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(config: &str) -> Configuration {
        Configuration { running: Some(config.into()), ordered: Some(config.into()), ..Configuration::default() }
    }

    #[test]
    fn a_daemon_is_restarted_once_for_each_configuration_and_never_under_a_build() {
        let mut daemon = running("a = 1");
        assert!(!daemon.restart_for("a = 1", false) && !daemon.blocks_builds);
        assert!(!daemon.restart_for("b = 1", true) && daemon.blocks_builds);
        assert!(daemon.restart_for("b = 1", false));
        daemon.restart_ordered("b = 1".into());
        assert!(!daemon.restart_for("b = 1", false) && daemon.blocks_builds);
        // What was wanted before is wanted again, and the restart is on its way.
        assert!(daemon.restart_for("a = 1", false) && daemon.blocks_builds);
        daemon.started("b = 1".into());
        assert!(!daemon.restart_for("b = 1", false) && !daemon.blocks_builds);
    }

    #[test]
    fn other_resolvers_wait_for_a_moment_without_builds_and_hold_none_up() {
        let [before, after] =
            ["10.0.0.1", "10.8.0.1"].map(|server| format!("a = 1\n[dns]\nnameservers = [\"{server}\"]\n"));
        let mut daemon = running(&before);
        assert!(!daemon.restart_for(&after, true) && !daemon.blocks_builds);
        assert!(daemon.restart_for(&after, false) && daemon.blocks_builds);
        daemon.restart_ordered(after.clone());
        assert!(!daemon.restart_for(&after, true) && daemon.blocks_builds, "the daemon is about to end");
        daemon.started(after.clone());
        assert!(!daemon.restart_for(&after, false) && !daemon.blocks_builds);
        // One that was adopted while builds run on it.
        let mut adopted = Configuration { ordered: Some(after.clone()), ..Configuration::default() };
        adopted.adopted(before);
        assert!(!adopted.restart_for(&after, true) && !adopted.blocks_builds);
        assert!(adopted.restart_for(&after, false));
    }

    #[test]
    fn an_adopted_daemon_of_another_configuration_is_restarted() {
        let mut daemon = Configuration { ordered: Some("a = 1".into()), ..Configuration::default() };
        daemon.adopted(String::new());
        assert!(daemon.restart_for("a = 1", false) && daemon.blocks_builds);
        daemon.restart_ordered("a = 1".into());
        daemon.adopted(String::new());
        assert!(daemon.restart_for("a = 1", false), "the order came to nothing");
    }
}
