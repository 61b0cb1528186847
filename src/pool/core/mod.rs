//! The core: owns every table of the pool and decides. Pure: events in, commands out; no I/O, no lock, no clock.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `submit`, `admission` | which builds are queued, and which are refused |
//! | `recording` | that a new build is on disk before anything else |
//! | `dispatch`, `schedule` | which build starts, and on which builders |
//! | `attempts`, `outcome` | what the end of a launch or a runner means |
//! | `cancellation` | which builds are stopped, and how |
//! | `ending` | what the end of a build means |
//! | `ref_moves`, `doubtful_moves` | which refs moved: what is a push |
//! | `evaluate`, `objections` | what each rule answers to a push |
//! | `builders`, `daemon_configuration` | which builders take builds |
//! | `notifications`, `deliveries` | what others are told |
//! | `requests` | what clients and triggers are answered |
//! | `writes` | what must be on disk before something is done |
//!
//! The tables are below them all, and `handle` is at the top.
//!
//! What must be on disk before something is done is an order of commands: the core asks for a [`Command::Write`] and
//! acts when its [`Event::Written`] comes. A pool that is killed between any two commands is carried on with by the
//! next one: [`Event::Started`] tells it what is on disk.

mod admission;
mod ask;
mod attempts;
mod builders;
mod cancellation;
mod command;
mod daemon_configuration;
mod deliveries;
mod dispatch;
mod doubtful_moves;
mod ending;
mod evaluate;
mod event;
pub(in crate::pool) mod notifications;
mod objections;
mod outcome;
mod problems;
mod recording;
mod ref_moves;
mod requests;
pub mod schedule;
mod snapshot;
mod start;
mod submit;
mod tables;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

pub use ask::{Announcement, Ask, Due, Target};
pub use command::{ChosenBuilder, Command, File, LogLevel, LogLine, Response};
pub use event::{
    BuilderKey, CommitUnread, DoubtfulMove, Event, Found, FoundBuild, FoundPush, ManagedEvent, PastOfBuild, RequestId,
    RunnerEnd, SubmissionId, TagCheckFailure, Workers, WriteFailure, WriteId,
};
pub use snapshot::{Recent, RemoteIds, Snapshot};
pub use tables::{Core, Machine};

use self::tables::AfterRefresh;
use crate::domain::backoff::Deadline;
use crate::domain::build::Build;
use crate::domain::config::RetentionConfig;
use crate::domain::name::RepositoryPath;
use crate::domain::rule_history::RuleHistory;
use crate::store::settings::Settings;

/// Finished builds that are no longer kept are deleted this often.
const RETENTION_EVERY: TimeDelta = TimeDelta::hours(1);
/// The main loop sleeps no longer: a clock that moves by more was set, or the machine slept.
const LONGEST_STEP: TimeDelta = TimeDelta::minutes(1);

impl Core {
    /// Takes a fact over and says what is to be done about it.
    pub fn handle(&mut self, event: Event, now: DateTime<Utc>) -> Vec<Command> {
        self.uptime += (now - self.now).clamp(TimeDelta::zero(), LONGEST_STEP);
        self.now = now;
        self.take(event);
        self.outbox_turn();
        self.scheduler_turn();
        self.answer_waits();
        self.refresh_paused();
        debug_assert!(self.builds.are_indexed(), "an index of the open builds is stale");
        std::mem::take(&mut self.out)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Started(found) => self.start(*found),
            Event::Tick => self.tick(),
            Event::Stop => self.begin_stop(),
            Event::Asked { request, ask } => self.asked(request, ask),
            Event::Abandoned(request) => self.waits.retain(|wait| wait.request != request),
            Event::Written { write, result } => self.written(write, result),
            Event::SettingsChanged(settings) => self.settings_changed(settings),
            Event::SettingsFresh => self.settings_fresh(),
            Event::PushesLeft { watched, pushes } => self.pushes_left(watched, pushes),
            Event::RulesFailing(failing) => self.rules_failing(failing),
            Event::PushHistory { push, histories } => self.push_history(push, histories),
            Event::BuildHistory { build, past } => self.build_history(build, *past),
            Event::RefResolved { submission, commit } => self.ref_resolved(submission, commit),
            Event::RepositoryCreated { submission, result } => self.repository_created(submission, result),
            Event::TagsChecked { submission, result } => self.tags_checked(submission, result),
            Event::CommitRead { push, commit } => self.commit_read(push, commit),
            Event::MovesChecked { repository, source, checked } => self.moves_checked(&repository, &source, checked),
            Event::Launched { build, runner, warnings } => self.launched(build, runner, warnings),
            Event::NotLaunched { build, failure } => self.not_launched(build, failure),
            Event::RunnerEnded { build, end } => self.runner_ended(build, end),
            Event::DiskMeasured { free, after_freeing } => self.disk_measured(free, after_freeing),
            Event::RefsListed { repository, source, refs, took } => self.refs_listed(repository, source, &refs, took),
            Event::Managed { builder, event } => {
                let busy = self.is_busy(&builder.name);
                self.builders.managed(&builder, event, busy, self.now, &mut self.out);
                self.reschedule = true;
            }
            Event::BuilderProbed { builder, address, result } => self.builder_probed(builder, address, result),
            Event::CacheWeighed { builder, bytes } => self.builders.cache_weighed(&builder, bytes),
            Event::Sent { message, attempt, why } => self.sent(&message, attempt, why),
            Event::Problem { topic, problem } => self.set_problem(topic, problem),
            Event::WebhooksListen(url) => self.problems.webhooks = url,
            Event::WebhookTaken { platform } => self.problems.webhook_taken(&platform),
            Event::WebhookRefused { platform, status, reason, needs_people } => {
                self.problems.webhook_refused(platform, status, reason, needs_people, self.now);
            }
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Whether the pool is to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// When an [`Event::Tick`] is wanted; none: not before something happens.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let builds_open = !self.builds.is_empty();
        let deadlines = [self.disk.again, self.retention].into_iter().flatten().map(|deadline| deadline.at());
        let pushes = self.waiting_pushes.iter().filter_map(|id| self.pushes.get(id)?.next_due());
        let writes = self.failed_writes.iter().filter_map(|id| self.writes.get(id)?.next_due());
        // A pool that ends sends nothing more.
        let outbox = self.outbox.next_due().filter(|_| !self.stopping);
        deadlines
            .chain(self.builds.next_due(self.now))
            .chain(pushes)
            .chain(writes)
            .chain(self.refs.next_due())
            .chain(outbox)
            .chain(self.builders.next_due(builds_open))
            .min()
    }

    /// The core as readers see it now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            status: Arc::new(self.status()),
            settings: self.settings.clone(),
            settings_changes: self.settings_changes,
            builds: self.shown_builds(),
            ended: self.ended.clone(),
            pushes: self.written_pushes.clone(),
            remote_ids: self.refs.remote_ids(),
        }
    }

    fn tick(&mut self) {
        self.retry_writes();
        self.kill_hanging_runners();
        self.retry_pushes();
        self.keep_refs_seen();
        self.builders.tick(!self.builds.is_empty(), self.now, &mut self.out);
        if self.disk.again.is_some_and(|again| again.is_over(self.now)) {
            self.disk.again = None;
            self.reschedule = true;
        }
        if self.retention.is_some_and(|at| at.is_over(self.now)) {
            self.retain();
        }
        self.reschedule |= self.builds.wait_ended(self.scheduled_at, self.now);
    }

    /// Deletes what is no longer kept, and again in an hour.
    fn retain(&mut self) {
        self.retention = Some(Deadline::after(self.now, RETENTION_EVERY));
        let RetentionConfig { builds: keep, age } = self.settings.config.retention.clone();
        if keep.is_some() || age.is_some() {
            let age = age.and_then(|age| TimeDelta::from_std(age.0).ok());
            let oldest = age.and_then(|age| self.now.checked_sub_signed(age));
            self.out.push(Command::DeleteFinished { keep, oldest });
        }
        self.out.push(Command::TidySources);
    }

    /// Goes on once what a person has just saved is in force.
    fn when_fresh(&mut self, then: AfterRefresh) {
        if self.freshness.running {
            self.freshness.next.push(then);
            return;
        }
        self.freshness.running = true;
        self.freshness.asked.push(then);
        self.out.push(Command::RefreshSettings);
    }

    fn settings_fresh(&mut self) {
        let fresh = std::mem::take(&mut self.freshness.asked);
        self.freshness.asked = std::mem::take(&mut self.freshness.next);
        self.freshness.running = !self.freshness.asked.is_empty();
        if self.freshness.running {
            self.out.push(Command::RefreshSettings);
        }
        for then in fresh {
            match then {
                AfterRefresh::Submission(id) => self.find_rule(id),
                AfterRefresh::Push(id) => self.evaluate(id),
            }
        }
    }

    fn settings_changed(&mut self, settings: Arc<Settings>) {
        let before = std::mem::replace(&mut self.settings, settings);
        self.settings_changes += 1;
        self.builders.follow(&self.settings, self.machine.buildkit_host.as_deref(), &mut self.out);
        self.refs.follow(&self.settings, self.now);
        self.outbox.retry_now();
        self.problems.follow(&before, &self.settings);
        self.reschedule = true;
    }

    /// The rules that failed before this pool began; what was learnt meanwhile is newer.
    fn rules_failing(&mut self, failing: BTreeMap<(RepositoryPath, String), RuleHistory>) {
        for (rule, history) in failing {
            self.failing.entry(rule).or_insert(history);
        }
        self.problems.stale = true;
    }

    /// A build is at its end, before which its rule's past was `history`.
    fn learn(&mut self, build: &Build, mut history: RuleHistory) {
        history.learn(build);
        let rule = (build.path(), build.rule.name.clone());
        if history.failed.is_empty() {
            self.failing.remove(&rule);
        } else {
            self.failing.insert(rule, history);
        }
        self.problems.stale = true;
    }

    fn log(&mut self, level: LogLevel, text: String) {
        self.out.push(Command::Log(LogLine { level, text }));
    }
}
