//! The dispatch: when the scheduler is asked, what it is asked with, and that its decisions are carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;

use super::builders::{self, BuilderState};
use super::command::{ChosenBuilder, Command};
use super::schedule::{BuilderView, Decision, PoolView, WaitReason, Waiting, schedule};
use super::tables::{Core, OpenBuild, Stage};
use crate::domain::backoff::Deadline;
use crate::domain::build::{BuildId, WaitingBuild};
use crate::domain::config::ByteSize;
use crate::domain::platform::Platform;
use crate::domain::reason::{AsReason as _, reason};

/// How soon builders are asked again for platforms that a waiting build lacks: emulators may have come since.
const REFRESH_PLATFORMS: TimeDelta = TimeDelta::seconds(10);
/// A full disk is measured again after this time.
const DISK_AGAIN: TimeDelta = TimeDelta::seconds(2);

impl Core {
    /// How many builds may run at once.
    pub(super) fn limit(&self) -> u32 {
        self.settings.config.pool.builds.unwrap_or(self.machine.cores).max(1)
    }

    /// Measures the disk where a build waits that may start now: [`Core::disk_measured`] schedules.
    pub(super) fn scheduler_turn(&mut self) {
        if !self.reschedule || self.disk.measuring || self.stopping {
            return;
        }
        self.reschedule = false;
        if self.builds.waiting().next().is_some() {
            self.disk.measuring = true;
            self.out.push(Command::MeasureDisk);
        }
    }

    pub(super) fn disk_measured(&mut self, free: ByteSize, after_freeing: bool) {
        self.disk.measuring = false;
        let min_free = self.settings.config.pool.min_free;
        (self.disk.blocked, self.disk.again) = (None, None);
        if free < min_free {
            if !after_freeing {
                self.disk.measuring = true;
                return self.out.push(Command::FreeDisk { bytes: min_free.0 - free.0 });
            }
            let home = &self.machine.home;
            self.disk.blocked = Some(reason!("wait.disk", free = free, home, min_free = min_free));
            self.disk.again = Some(Deadline::after(self.now, DISK_AGAIN));
        }
        self.schedule();
    }

    /// Starts what can be started, and tells the rest why it waits.
    fn schedule(&mut self) {
        if self.stopping {
            return;
        }
        self.scheduled_at = self.now;
        let waiting: Vec<Arc<Waiting>> = self.builds.waiting().cloned().collect();
        let decisions = schedule(self.now, &waiting, &self.builder_views(), &self.pool_view());
        let lacks = |decision: &Decision| matches!(decision, Decision::Hold(WaitReason::NoPlatform(_)));
        if decisions.values().any(lacks) && self.refreshed_platforms.is_none_or(|at| at.is_over(self.now)) {
            self.refreshed_platforms = Some(Deadline::after(self.now, REFRESH_PLATFORMS));
            self.builders.refresh_platforms(&mut self.out);
        }
        decisions.into_iter().for_each(|(id, decision)| self.apply(id, decision));
    }

    fn apply(&mut self, id: BuildId, decision: Decision) {
        match decision {
            Decision::Queue(reason) => self.explain_wait(id, |build| build.queue(reason.reason())),
            Decision::Hold(reason) => self.explain_wait(id, |build| build.hold(reason.reason())),
            Decision::Start(platform_builds) => self.launch(id, platform_builds),
        }
    }

    fn explain_wait(&mut self, id: BuildId, explain: impl FnOnce(&mut WaitingBuild)) {
        self.builds.change(id, |open| {
            if let Stage::Waiting(build) = &mut open.stage {
                explain(build);
            }
        });
    }

    fn launch(&mut self, id: BuildId, platform_builds: Vec<(String, Vec<Platform>)>) {
        let Some(OpenBuild { stage, writes }) = self.builds.remove(&id) else { return };
        let Stage::Waiting(build) = stage else {
            self.builds.insert(id, OpenBuild { stage, writes });
            return;
        };
        let chosen = |(name, platforms): (String, Vec<Platform>)| {
            let builder = self.builders.get(&name)?;
            let (config, address) = (builder.config.clone(), builder.address.clone());
            Some(ChosenBuilder { name, config, address, platforms })
        };
        let chosen: Vec<ChosenBuilder> = platform_builds.into_iter().filter_map(chosen).collect();
        let builders = chosen.iter().map(|builder| builder.name.clone()).collect();
        self.turns += 1;
        Arc::make_mut(&mut self.last_turns).insert(build.record().path().to_string(), self.turns);
        self.out.push(Command::Launch { build: build.record().clone(), builders: chosen });
        self.builds.insert(id, OpenBuild { stage: Stage::Starting { build, builders }, writes });
    }

    pub(super) fn is_busy(&self, builder: &str) -> bool {
        self.builds.underway().any(|(_, open)| open.occupies().iter().any(|name| name == builder))
    }

    pub(super) fn pool_view(&self) -> PoolView {
        let mut running: BTreeMap<String, u32> = BTreeMap::new();
        for (_, open) in self.builds.underway() {
            *running.entry(open.record().path().to_string()).or_default() += 1;
        }
        let (limit, blocked) = (self.limit(), self.disk.blocked.clone());
        let (last_turns, unusable_builders) = (self.last_turns.clone(), builders::unusable(&self.settings));
        PoolView { limit, running, last_turns, blocked, unusable_builders }
    }

    pub(super) fn builder_views(&self) -> Vec<BuilderView> {
        let mut busy: BTreeMap<&str, u32> = BTreeMap::new();
        for name in self.builds.underway().flat_map(|(_, open)| open.occupies()) {
            *busy.entry(name).or_default() += 1;
        }
        let limit = self.limit();
        let view = |(name, builder): (&String, &BuilderState)| BuilderView {
            name: name.clone(),
            slots: builder.config.slots.unwrap_or(limit),
            busy: busy.get(name.as_str()).copied().unwrap_or(0),
            labels: builder.config.labels.clone(),
            platforms: builder.platforms.clone(),
            readiness: builder.readiness(),
            warm: builder.warm.clone(),
        };
        self.builders.iter().map(view).collect()
    }
}
