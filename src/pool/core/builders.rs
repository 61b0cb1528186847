//! The builders as they are now: each is a small state machine that events drive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::command::Command;
use super::daemon_configuration::Configuration;
use super::event::{BuilderKey, ManagedEvent, Workers};
use crate::buildkit::daemon::Spec;
use crate::domain::backoff::Deadline;
use crate::domain::builder::{Builder, BuilderKind, MANAGED, Readiness};
use crate::domain::platform::Platform;
use crate::domain::reason::Reason;
use crate::protocol::BuilderStatus;
use crate::store::settings::Settings;

/// A builder that is down is asked again after this time, while builds are open.
const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(5);
/// A builder that answered is asked again after this time, while builds are open: one that hangs takes no more of them.
const STILL_THERE: TimeDelta = TimeDelta::seconds(30);
/// Builds end in flocks, and asking after a cache is work for whoever has it.
const WEIGH_AFTER: TimeDelta = TimeDelta::seconds(5);

/// A builder, and how it is now.
#[derive(Debug, Clone)]
pub(super) struct BuilderState {
    generation: u64,
    pub config: Builder,
    readiness: Readiness,
    /// What `buildctl --addr` takes, where it has an address of its own.
    pub address: Option<String>,
    /// Its own platform first; none before it was asked.
    pub platforms: Option<Vec<Platform>>,
    cache_bytes: Option<u64>,
    version: Option<String>,
    host_network: bool,
    /// The repositories whose last build it ran.
    pub warm: Arc<BTreeSet<String>>,
    /// Its daemon is being asked what it builds for.
    probing: bool,
    /// When it is asked next, where builds are open then.
    probe: Option<Deadline>,
    /// When its cache is asked after.
    weigh: Option<Deadline>,
    /// The managed daemon that was worked out last, and is supervised.
    supervised: bool,
    configuration: Configuration,
}

impl BuilderState {
    fn new(config: Builder, generation: u64) -> BuilderState {
        BuilderState {
            generation,
            readiness: Readiness::Starting,
            address: config.address.clone(),
            platforms: Some(config.platforms.clone()).filter(|platforms| !platforms.is_empty()),
            config,
            cache_bytes: None,
            version: None,
            host_network: false,
            warm: Arc::default(),
            probing: false,
            probe: None,
            weigh: None,
            supervised: false,
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

    /// Its daemon has no address of its own: it comes to be with each build.
    fn is_made_for_each_build(&self) -> bool {
        matches!(self.config.kind, BuilderKind::Fresh | BuilderKind::Provisioned)
    }
}

/// All builders.
#[derive(Debug, Default)]
pub(super) struct Builders {
    builders: BTreeMap<String, BuilderState>,
    generations: u64,
}

/// The builders that the settings ask for: those with files, else `BUILDKIT_HOST`, else the managed one. A file that
/// can't be read is no absence of files: its builds wait for it, and nothing is built elsewhere instead.
fn wanted(settings: &Settings, buildkit_host: Option<&str>) -> BTreeMap<String, Builder> {
    if !settings.builders.is_empty() || !unusable(settings).is_empty() {
        return settings.builders.clone();
    }
    let builder = match buildkit_host {
        Some(address) => (
            "buildkit-host".to_owned(),
            Builder { address: Some(address.to_owned()), ..Builder::of(BuilderKind::Existing) },
        ),
        None => (MANAGED.to_owned(), Builder::of(BuilderKind::Managed)),
    };
    BTreeMap::from([builder])
}

/// What is wrong with files of builders that can't be read.
pub(super) fn unusable(settings: &Settings) -> Vec<Reason> {
    let is_builder = |file: &std::path::Path| {
        file.parent().is_some_and(|directory| directory.ends_with("builders"))
            && file.extension().is_some_and(|extension| extension == "toml")
    };
    settings.problems.iter().filter(|(file, _)| is_builder(file)).map(|(_, problem)| problem.clone()).collect()
}

impl Builders {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &BuilderState)> {
        self.builders.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&BuilderState> {
        self.builders.get(name)
    }

    fn of_key(&mut self, key: &BuilderKey) -> Option<&mut BuilderState> {
        self.builders.get_mut(&key.name).filter(|builder| builder.generation == key.generation)
    }

    fn key(name: &str, builder: &BuilderState) -> BuilderKey {
        BuilderKey { name: name.to_owned(), generation: builder.generation }
    }

    /// Brings the builders in line with the settings.
    pub(super) fn follow(&mut self, settings: &Settings, buildkit_host: Option<&str>, out: &mut Vec<Command>) {
        let mut wanted = wanted(settings, buildkit_host);
        self.builders.retain(|name, builder| {
            let stays = wanted.get(name) == Some(&builder.config);
            if stays {
                wanted.remove(name);
            } else if builder.supervised {
                out.push(Command::LeaveManaged(Self::key(name, builder)));
            }
            stays
        });
        for (name, config) in wanted {
            self.generations += 1;
            let mut builder = BuilderState::new(config, self.generations);
            match builder.config.kind {
                BuilderKind::Managed => {}
                BuilderKind::Existing => Self::probe(&name, &mut builder, out),
                BuilderKind::Fresh | BuilderKind::Provisioned => builder.readiness = Readiness::Ready,
            }
            self.builders.insert(name, builder);
        }
        self.specify_managed(out);
    }

    /// Asks what the managed daemon would be by now: its programs, its settings and the host's resolvers change.
    pub(super) fn specify_managed(&self, out: &mut Vec<Command>) {
        let managed = self.builders.iter().filter(|(_, builder)| builder.config.kind == BuilderKind::Managed);
        out.extend(managed.map(|(name, builder)| Command::SpecifyManaged(Self::key(name, builder))));
    }

    fn probe(name: &str, builder: &mut BuilderState, out: &mut Vec<Command>) {
        let Some(address) = builder.address.clone().filter(|_| !builder.probing) else { return };
        if builder.config.kind == BuilderKind::Existing
            && let Some(refusal) = builder.config.refusal(&address)
        {
            // Until its settings change, which makes it another builder.
            builder.readiness = Readiness::Down(refusal.into());
            return;
        }
        builder.probing = true;
        builder.probe = None;
        let (builder, tls) = (Self::key(name, builder), builder.config.tls.clone());
        out.push(Command::ProbeBuilder { builder, address, tls });
    }

    /// Takes over what a daemon says of itself; true where something changed for the scheduler.
    pub(super) fn probed(
        &mut self,
        key: &BuilderKey,
        address: &str,
        result: Result<Workers, Reason>,
        now: DateTime<Utc>,
    ) -> bool {
        let Some(builder) = self.of_key(key) else { return false };
        builder.probing = false;
        if builder.address.as_deref() != Some(address) {
            // Another daemon has come up since, and is asked itself.
            return false;
        }
        match result {
            Ok(workers) => {
                let configured = &builder.config.platforms;
                let platforms = if configured.is_empty() { workers.platforms } else { configured.clone() };
                if builder.readiness != Readiness::Ready {
                    builder.weigh = Some(Deadline::after(now, WEIGH_AFTER));
                }
                builder.platforms = Some(platforms);
                builder.version = workers.version;
                builder.host_network = workers.host_network;
                builder.readiness = Readiness::Ready;
                builder.probe = Some(Deadline::after(now, STILL_THERE));
            }
            Err(reason) => {
                builder.readiness = Readiness::Down(reason);
                builder.probe = Some(Deadline::after(now, LOOK_AGAIN));
            }
        }
        true
    }

    /// Asks a builder that a build failed on: it may be gone.
    pub(super) fn ask_again(&mut self, names: &[String], out: &mut Vec<Command>) {
        for (name, builder) in self.builders.iter_mut().filter(|(name, _)| names.contains(name)) {
            // One that is not ready is being asked already.
            if builder.config.kind == BuilderKind::Existing && builder.readiness == Readiness::Ready {
                builder.readiness = Readiness::Starting;
                Self::probe(name, builder, out);
            }
        }
    }

    /// Asks the builders that are ready for their platforms: emulators may have come since.
    pub(super) fn refresh_platforms(&mut self, out: &mut Vec<Command>) {
        for (name, builder) in self.builders.iter_mut().filter(|(_, builder)| builder.readiness == Readiness::Ready) {
            Self::probe(name, builder, out);
        }
    }

    /// Takes over what became of a managed daemon. `busy`: it runs builds.
    pub(super) fn managed(
        &mut self,
        key: &BuilderKey,
        event: ManagedEvent,
        busy: bool,
        now: DateTime<Utc>,
        out: &mut Vec<Command>,
    ) {
        let Some(builder) = self.of_key(key) else {
            if event == ManagedEvent::Supervised {
                // It was removed while its supervision began.
                out.push(Command::LeaveManaged(key.clone()));
            }
            return;
        };
        match event {
            ManagedEvent::Wanted(wanted) => Self::take_wanted(key, builder, wanted, busy, now, out),
            ManagedEvent::Supervised => builder.supervised = true,
            ManagedEvent::Started { address, config } => {
                builder.configuration.started(config);
                Self::came_up(key, builder, address, out);
            }
            ManagedEvent::Adopted { address, config } => {
                // Of one whose programs differ the text of the configuration says too little: "" equals none.
                builder.configuration.adopted(config.unwrap_or_default());
                Self::came_up(key, builder, address, out);
            }
            ManagedEvent::Gone => {
                builder.readiness = Readiness::Starting;
                builder.address = None;
            }
            ManagedEvent::Failed(error) => builder.readiness = Readiness::Down(error),
        }
    }

    fn take_wanted(
        key: &BuilderKey,
        builder: &mut BuilderState,
        wanted: Result<Box<Spec>, Reason>,
        busy: bool,
        now: DateTime<Utc>,
        out: &mut Vec<Command>,
    ) {
        let builder_key = key.clone();
        match wanted {
            // A daemon that runs goes on, though its programs were removed.
            Err(_) if builder.supervised => {}
            Err(reason) => {
                builder.readiness = Readiness::Down(reason);
                // What is missing may have been installed by then.
                builder.probe = Some(Deadline::after(now, LOOK_AGAIN));
            }
            Ok(spec) if !builder.supervised => {
                builder.supervised = true;
                builder.readiness = Readiness::Starting;
                builder.probe = None;
                builder.configuration.ordered = Some(spec.config.clone());
                out.push(Command::SuperviseManaged { builder: builder_key, spec });
            }
            Ok(spec) => {
                if builder.configuration.restart_for(&spec.config, busy) {
                    builder.configuration.restart_ordered(spec.config.clone());
                    out.push(Command::RestartManaged { builder: builder_key, spec });
                }
            }
        }
    }

    /// A managed daemon answers: it is asked what it builds for.
    fn came_up(key: &BuilderKey, builder: &mut BuilderState, address: String, out: &mut Vec<Command>) {
        builder.address = Some(address);
        // An answer that is on its way is another daemon's.
        builder.probing = false;
        Self::probe(&key.name, builder, out);
        out.push(Command::SpecifyManaged(key.clone()));
    }

    /// A build on these builders ended: their caches grew.
    pub(super) fn build_ended(&mut self, names: &[String], now: DateTime<Utc>) {
        for (_, builder) in self.builders.iter_mut().filter(|(name, _)| names.contains(name)) {
            if !builder.is_made_for_each_build() {
                builder.weigh.get_or_insert_with(|| Deadline::after(now, WEIGH_AFTER));
            }
        }
    }

    /// A build of a repository succeeded on these builders.
    pub(super) fn became_warm(&mut self, repository: &str, names: &[String]) {
        for (name, builder) in &mut self.builders {
            if names.contains(name) {
                Arc::make_mut(&mut builder.warm).insert(repository.to_owned());
            } else if builder.warm.contains(repository) {
                Arc::make_mut(&mut builder.warm).remove(repository);
            }
        }
    }

    pub(super) fn cache_weighed(&mut self, key: &BuilderKey, bytes: Option<u64>) {
        if let (Some(builder), Some(bytes)) = (self.of_key(key), bytes) {
            builder.cache_bytes = Some(bytes);
        }
    }

    /// Does what is due. `builds_open`: somebody cares whether the builders are there.
    pub(super) fn tick(&mut self, builds_open: bool, now: DateTime<Utc>, out: &mut Vec<Command>) {
        for (name, builder) in &mut self.builders {
            if builds_open && builder.probe.is_some_and(|probe| probe.is_over(now)) {
                builder.probe = None;
                if builder.config.kind == BuilderKind::Managed && !builder.supervised {
                    out.push(Command::SpecifyManaged(Self::key(name, builder)));
                } else {
                    Self::probe(name, builder, out);
                }
            }
            if builder.weigh.is_some_and(|weigh| weigh.is_over(now)) {
                builder.weigh = None;
                // One that does not answer is told where it is needed.
                if let Some(address) = builder.address.clone() {
                    let (builder, tls) = (Self::key(name, builder), builder.config.tls.clone());
                    out.push(Command::WeighCache { builder, address, tls });
                }
            }
        }
    }

    /// When [`Builders::tick`] has something to do next.
    pub(super) fn next_due(&self, builds_open: bool) -> Option<DateTime<Utc>> {
        let due = |builder: &BuilderState| {
            let probe = builder.probe.filter(|_| builds_open);
            probe.into_iter().chain(builder.weigh).map(|deadline| deadline.at()).min()
        };
        self.builders.values().filter_map(due).min()
    }

    /// Every builder as clients see it; `load`: its slots and how many builds it runs.
    pub(super) fn statuses(&self, load: impl Fn(&str, &BuilderState) -> (u32, u32)) -> Vec<BuilderStatus> {
        let status = |(name, builder): (&String, &BuilderState)| {
            let (slots, busy) = load(name, builder);
            BuilderStatus {
                name: name.clone(),
                kind: builder.config.kind,
                readiness: builder.readiness(),
                address: builder.address.clone(),
                slots,
                busy,
                platforms: builder.platforms.clone().unwrap_or_default(),
                labels: builder.config.labels.clone(),
                cache_bytes: builder.cache_bytes,
                version: builder.version.clone(),
                host_network: builder.host_network,
            }
        };
        self.builders.iter().map(status).collect()
    }
}
