//! The simulated disk: what `Write` commands wrote is there after a kill, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeDelta;
use slipway::buildctl::job::RunResult;
use slipway::domain::build::{Build, BuildId};
use slipway::domain::journal::{PushId, PushRecord};
use slipway::domain::outbox::Message;
use slipway::domain::rule_history::Histories;
use slipway::pool::core::{File, Found, FoundBuild, FoundPush, WriteFailure, WriteId};
use slipway::store::pushes::Watched;
use slipway::store::settings::Settings;
use slipway::sys::process::ProcessId;

/// As `startup` has it: the builds of a push are queued within this time after it.
const QUEUED_WITHIN: TimeDelta = TimeDelta::days(2);

/// The directory of a build.
#[derive(Debug, Clone, Default)]
pub struct BuildDirectory {
    /// The record; none where the pool was killed before it was written.
    pub record: Option<Arc<Build>>,
    pub open: bool,
    /// The runner that has begun.
    pub runner: Option<ProcessId>,
    /// The builders of its job.
    pub builders: Vec<String>,
    pub result: Option<RunResult>,
}

#[derive(Debug, Default)]
pub struct Disk {
    pub settings: Arc<Settings>,
    pub builds: BTreeMap<BuildId, BuildDirectory>,
    pub pushes: BTreeMap<PushId, PushRecord>,
    pub watched: Watched,
    pub outbox: BTreeMap<String, Message>,
    /// The last write of what was seen, of the pool that runs.
    refs_seen: Option<WriteId>,
    pub full: bool,
    pub read_only: bool,
}

impl Disk {
    /// Writes a file, or says why not. `fits`: on a full disk there is room for this one.
    pub fn write(&mut self, write: WriteId, file: &File, fits: bool) -> Result<(), WriteFailure> {
        let removes = matches!(file, File::RemoveMessage(_) | File::CloseBuild(_));
        if self.read_only || self.full && !removes && !fits {
            let (full, why) =
                (!self.read_only, if self.read_only { "read-only file system" } else { "the disk is full" });
            return Err(WriteFailure { why: format!("cannot write: {why}"), disk_full: full });
        }
        match file {
            File::Message(message) => _ = self.outbox.insert(message.name(), message.as_ref().clone()),
            File::RemoveMessage(message) => {
                // A newer message of the same name is another one.
                if self.outbox.get(&message.name()).is_some_and(|there| there.id == message.id) {
                    self.outbox.remove(&message.name());
                }
            }
            File::NewBuild(build) => {
                let directory = self.builds.entry(build.id).or_default();
                (directory.record, directory.open) = (Some(build.clone()), true);
            }
            File::Build(build) => {
                if let Some(directory) = self.builds.get_mut(&build.id) {
                    directory.record = Some(build.clone());
                }
            }
            File::CloseBuild(id) => {
                if let Some(directory) = self.builds.get_mut(id) {
                    directory.open = false;
                }
            }
            File::Push(push) => _ = self.pushes.insert(push.id, push.as_ref().clone()),
            File::RefsSeen(watched) => {
                if self.refs_seen.is_none_or(|last| last < write) {
                    self.watched = watched.as_ref().clone();
                    self.refs_seen = Some(write);
                }
            }
        }
        Ok(())
    }

    /// The directory of a new build without its record: the pool was killed in between.
    pub fn begin_new_build(&mut self, id: BuildId) {
        self.builds.entry(id).or_default().open = true;
    }

    pub fn is_open(&self, id: BuildId) -> bool {
        self.builds.get(&id).is_some_and(|directory| directory.open)
    }

    pub fn record(&self, id: BuildId) -> Option<&Arc<Build>> {
        self.builds.get(&id)?.record.as_ref()
    }

    /// The finished builds.
    pub fn finished(&self) -> BTreeSet<BuildId> {
        self.builds.iter().filter(|(_, directory)| !directory.open).map(|(id, _)| *id).collect()
    }

    pub fn histories(&self, finished: &BTreeSet<BuildId>) -> Histories {
        let mut histories = Histories::default();
        finished.iter().filter_map(|id| self.record(*id)).for_each(|build| histories.learn(build));
        histories
    }

    /// What the next pool finds, as `startup::find` reads it.
    pub fn find(&mut self) -> Found {
        self.refs_seen = None;
        let last_build = self.builds.keys().last().map_or(0, |id| id.0);
        self.builds.retain(|_, directory| directory.record.is_some());
        let builds = self.builds.values().filter(|directory| directory.open).filter_map(|directory| {
            let build = Build::clone(directory.record.as_ref()?);
            let runner = directory.runner.filter(|_| !build.state.is_final());
            let builders = runner.map(|_| directory.builders.clone()).unwrap_or_default();
            Some(FoundBuild { build, runner, builders })
        });
        let builds = builds.collect();
        let kept = self.watched.last_push;
        let left: Vec<PushRecord> =
            self.pushes.values().filter(|push| Some(push.id) > kept || !push.settled).cloned().collect();
        Found {
            settings: self.settings.clone(),
            last_build,
            builds,
            watched: Ok(self.watched.clone()),
            last_push: self.pushes.keys().last().map_or(0, |id| id.0),
            pushes: self.builds_of(left),
            messages: self.messages(),
        }
    }

    /// What waits in the outbox, the oldest first.
    fn messages(&self) -> Vec<Message> {
        let mut messages: Vec<Message> = self.outbox.values().cloned().collect();
        messages.sort_by(|one, other| (one.at, one.build, one.name()).cmp(&(other.at, other.build, other.name())));
        messages
    }

    fn builds_of(&self, pushes: Vec<PushRecord>) -> Vec<FoundPush> {
        let oldest = pushes.iter().filter(|push| !push.settled).map(|push| push.pushed_at).min();
        let mut built: BTreeMap<PushId, BTreeMap<String, BuildId>> = BTreeMap::new();
        if let Some(oldest) = oldest {
            let builds = self.builds.values().rev().filter_map(|directory| directory.record.as_ref());
            for build in builds.take_while(|build| build.queued_at >= oldest - QUEUED_WITHIN) {
                if let Some(push) = build.push.filter(|_| build.retry_of.is_none()) {
                    built.entry(push).or_default().insert(build.rule.name.clone(), build.id);
                }
            }
        }
        pushes.into_iter().map(|push| FoundPush { built: built.remove(&push.id).unwrap_or_default(), push }).collect()
    }

    /// Deletes finished builds and the pushes that are older than all that are left; those that are open, which nobody
    /// may delete, are returned.
    pub fn delete(&mut self, ids: &[BuildId]) -> Vec<BuildId> {
        let open = ids.iter().copied().filter(|id| self.is_open(*id)).collect();
        for id in ids {
            self.builds.remove(id);
        }
        let oldest = self.builds.values().find_map(|directory| directory.record.as_ref()).map(|build| build.pushed_at);
        let Some(since) = oldest else { return open };
        let old: Vec<PushId> = self
            .pushes
            .values()
            .take_while(|push| push.settled && push.pushed_at < since)
            .map(|push| push.id)
            .collect();
        for id in old {
            self.pushes.remove(&id);
        }
        open
    }
}
