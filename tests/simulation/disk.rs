//! The simulated disk: what `Write` commands wrote is there after a kill, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use slipway::buildctl::job::RunResult;
use slipway::domain::build::{Build, BuildId};
use slipway::domain::journal::{PushId, PushRecord};
use slipway::domain::name::RepositoryPath;
use slipway::domain::notification;
use slipway::domain::outbox::Message;
use slipway::domain::push::Ref;
use slipway::domain::reason::Reason;
use slipway::domain::rule_history::RuleHistory;
use slipway::pool::core::{File, Found, FoundBuild, FoundPush, PastOfBuild, WriteFailure, WriteId};
use slipway::store::refs_seen::Watched;
use slipway::store::settings::Settings;
use slipway::sys::process::ProcessId;

/// So many builds of the same rule and ref are looked at for the one before that says something of the rule.
const LOOKED_BACK: usize = 50;

/// The directory of a build.
#[derive(Debug, Clone, Default)]
pub struct BuildDirectory {
    /// The record; none where the pool was killed before it was written.
    pub record: Option<Arc<Build>>,
    pub open: bool,
    /// The attempts that have begun.
    pub attempts: BTreeMap<u32, AttemptDirectory>,
}

/// The directory of an attempt.
#[derive(Debug, Clone)]
pub struct AttemptDirectory {
    pub runner: ProcessId,
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
    /// What the catalog knows: the pasts of rules, the builds of their refs, and those of pushes.
    pasts: BTreeMap<(RepositoryPath, String), RuleHistory>,
    by_ref: BTreeMap<(RepositoryPath, String, Ref), BTreeSet<BuildId>>,
    by_push: BTreeMap<PushId, BTreeSet<BuildId>>,
    unsettled: BTreeSet<PushId>,
    /// The last write of what was seen of each source, of the pool that runs.
    refs_seen: BTreeMap<RepositoryPath, WriteId>,
    pub full: bool,
    pub read_only: bool,
}

impl Disk {
    pub fn new(settings: Arc<Settings>) -> Disk {
        Disk { settings, ..Disk::default() }
    }

    /// Writes a file, or says why not. `fits`: on a full disk there is room for this one.
    pub fn write(&mut self, write: WriteId, file: &File, fits: bool) -> Result<(), WriteFailure> {
        let removes = matches!(file, File::RemoveMessage(_) | File::CloseBuild(_));
        if self.read_only || self.full && !removes && !fits {
            let (full, why) =
                (!self.read_only, if self.read_only { "read-only file system" } else { "the disk is full" });
            return Err(WriteFailure { why: Reason::verbatim(format!("cannot write: {why}")), disk_full: full });
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
                self.catalog(build);
            }
            File::Build(build) => {
                if let Some(directory) = self.builds.get_mut(&build.id) {
                    directory.record = Some(build.clone());
                    self.catalog(build);
                }
            }
            File::CloseBuild(id) => {
                if let Some(directory) = self.builds.get_mut(id) {
                    directory.open = false;
                }
            }
            File::Push(push) => {
                self.pushes.insert(push.id, push.as_ref().clone());
                if push.settled {
                    self.unsettled.remove(&push.id)
                } else {
                    self.unsettled.insert(push.id)
                };
            }
            File::RefsSeen { path, seen } => {
                if self.refs_seen.get(path).is_none_or(|last| *last < write) {
                    match seen {
                        Some(seen) => self.watched.insert(path.clone(), seen),
                        None => _ = self.watched.retain(|other| other != path),
                    }
                    self.refs_seen.insert(path.clone(), write);
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

    fn catalog(&mut self, build: &Arc<Build>) {
        let (path, rule) = (build.path(), build.rule.name.clone());
        self.pasts.entry((path.clone(), rule.clone())).or_default().learn(build);
        self.by_ref.entry((path, rule, build.reference.clone())).or_default().insert(build.id);
        if let Some(push) = build.push {
            self.by_push.entry(push).or_default().insert(build.id);
        }
    }

    /// The past of a rule, with that of a ref.
    pub fn history(&self, path: &RepositoryPath, rule: &str, reference: &Ref) -> RuleHistory {
        let mut history = self.pasts.get(&(path.clone(), rule.to_owned())).cloned().unwrap_or_default();
        history.refs.retain(|other, _| other == reference);
        history
    }

    /// The past that the end of a build is told by.
    pub fn past_of(&self, build: &Build) -> PastOfBuild {
        let key = (build.path(), build.rule.name.clone(), build.reference.clone());
        let earlier = self.by_ref.get(&key).into_iter().flat_map(|ids| ids.range(..build.id).rev());
        let earlier = earlier.take(LOOKED_BACK).filter_map(|id| self.record(*id)).map(|build| Build::clone(build));
        PastOfBuild {
            history: self.history(&build.path(), &build.rule.name, &build.reference),
            failed_before: notification::failed_before(build, earlier),
        }
    }

    /// The rules that failed last.
    pub fn failing(&self) -> BTreeMap<(RepositoryPath, String), RuleHistory> {
        let failing = self.pasts.iter().filter(|(_, history)| !history.failed.is_empty());
        failing.map(|(rule, history)| (rule.clone(), history.clone())).collect()
    }

    /// The pushes that an earlier pool did not come to evaluate.
    pub fn pushes_left(&self) -> Vec<FoundPush> {
        let found = self.unsettled.iter().filter_map(|id| {
            let push = self.pushes.get(id)?.clone();
            let builds = self.by_push.get(id).into_iter().flatten();
            let started = builds.filter_map(|id| self.record(*id)).filter(|build| build.retry_of.is_none());
            Some(FoundPush { built: started.map(|build| (build.rule.name.clone(), build.id)).collect(), push })
        });
        found.collect()
    }

    /// How many pushes have no verdict yet.
    pub fn unsettled(&self) -> usize {
        self.unsettled.len()
    }

    /// What the next pool finds, as `startup::find` reads it.
    pub fn find(&mut self) -> Found {
        self.refs_seen.clear();
        let last_build = self.builds.keys().last().map_or(0, |id| id.0);
        self.builds.retain(|_, directory| directory.record.is_some());
        let builds = self.builds.values().filter(|directory| directory.open).filter_map(|directory| {
            let build = Build::clone(directory.record.as_ref()?);
            let attempt = directory.attempts.get(&build.present_attempt()).filter(|_| !build.state.is_final());
            let runner = attempt.map(|attempt| attempt.runner);
            let builders = attempt.map(|attempt| attempt.builders.clone()).unwrap_or_default();
            Some(FoundBuild { build, runner, builders })
        });
        let builds = builds.collect();
        Found {
            settings: self.settings.clone(),
            last_build,
            builds,
            last_push: self.pushes.keys().last().map_or(0, |id| id.0),
            messages: self.messages(),
        }
    }

    /// What waits in the outbox, the oldest first.
    fn messages(&self) -> Vec<Message> {
        let mut messages: Vec<Message> = self.outbox.values().cloned().collect();
        messages.sort_by_key(|one| (one.at, one.build, one.name()));
        messages
    }

    /// Deletes finished builds but the newest ones, and the pushes that are older than all that are left; how many.
    pub fn delete_finished(&mut self, keep: Option<usize>, oldest: Option<DateTime<Utc>>) -> usize {
        let finished = self.builds.iter().filter(|(_, directory)| !directory.open);
        let newest = self.builds.keys().last().copied();
        let is_old = |directory: &BuildDirectory| {
            let finished_at = directory.record.as_ref().and_then(|build| build.finished_at);
            oldest.is_some_and(|oldest| finished_at.is_some_and(|at| at < oldest))
        };
        let expired = finished.rev().enumerate().filter(|(index, (id, directory))| {
            Some(**id) != newest && (keep.is_some_and(|keep| *index >= keep) || is_old(directory))
        });
        let expired: Vec<BuildId> = expired.map(|(_, (id, _))| *id).collect();
        for build in expired.iter().filter_map(|id| self.builds.remove(id)?.record) {
            let key = (build.path(), build.rule.name.clone(), build.reference.clone());
            self.by_ref.entry(key).or_default().remove(&build.id);
            if let Some(push) = build.push {
                self.by_push.remove(&push);
            }
        }
        let oldest = self.builds.values().find_map(|directory| directory.record.as_ref()).map(|build| build.pushed_at);
        if let Some(since) = oldest {
            let old = self.pushes.values().take_while(|push| push.settled && push.pushed_at < since);
            for id in old.map(|push| push.id).collect::<Vec<_>>() {
                self.pushes.remove(&id);
            }
        }
        expired.len()
    }
}
