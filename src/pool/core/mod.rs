//! The core: owns every table of the pool and decides. Pure: events in, commands out; no I/O, no lock, no clock.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `builds` | a build's way from its record to its end |
//! | `submit`, `admission` | which builds are queued, and which are refused |
//! | `ref_tracker`, `recent_moves` | which refs moved: what is a push |
//! | `evaluate` | what each rule answers to a push |
//! | `schedule` | which build starts, and on which builders |
//! | `outcome` | what the end of a runner means |
//! | `builders` | which builders take builds |
//! | `notifications` | what others are told |
//! | `writes` | what must be on disk before something is done |
//!
//! What must be on disk before something is done is an order of commands: the core asks for a [`Command::Write`] and
//! acts when its [`Event::Written`] comes. A pool that is killed between any two commands is carried on with by the
//! next one: [`Event::Started`] tells it what is on disk.

mod admission;
mod builders;
mod builds;
mod command;
mod deliveries;
mod evaluate;
mod event;
pub(in crate::pool) mod notifications;
mod outcome;
mod problems;
mod recent_moves;
mod ref_tracker;
mod requests;
pub mod schedule;
mod snapshot;
mod start;
mod submit;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

pub use builders::Workers;
pub use command::{ChosenBuilder, Command, File, LogLevel, LogLine, Response};
pub use event::{
    Announcement, Ask, BuilderKey, CommitUnread, DoubtfulMove, Due, Event, Found, FoundBuild, FoundPush, ManagedEvent,
    PastOfBuild, RequestId, RunnerEnd, SubmissionId, TagCheckFailure, Target, WriteFailure, WriteId,
};
pub use snapshot::{Recent, RemoteIds, Snapshot};

use self::builders::Builders;
use self::builds::OpenBuild;
use self::evaluate::PendingPush;
use self::problems::Problems;
use self::ref_tracker::RefTracker;
use self::requests::Wait;
use self::submit::Submission;
use self::writes::PendingWrite;
use crate::domain::backoff::Deadline;
use crate::domain::build::{Build, BuildId};
use crate::domain::config::RetentionConfig;
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::domain::outbox::Outbox;
use crate::domain::rule_history::RuleHistory;
use crate::store::settings::Settings;

/// Finished builds that are no longer kept are deleted this often.
const RETENTION_EVERY: TimeDelta = TimeDelta::hours(1);
/// A full disk is measured again after this time.
const DISK_AGAIN: TimeDelta = TimeDelta::seconds(2);

/// The main loop sleeps no longer: a clock that moves by more was set, or the machine slept.
const LONGEST_STEP: TimeDelta = TimeDelta::minutes(1);

/// What the core knows of the machine that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// The home's directory.
    pub home: String,
    /// How many processors it has.
    pub cores: u32,
    /// `BUILDKIT_HOST`, where it is set.
    pub buildkit_host: Option<String>,
    /// The pool's process.
    pub pid: u32,
}

/// Every table of the pool.
#[derive(Debug)]
pub struct Core {
    machine: Machine,
    started_at: DateTime<Utc>,
    /// The time of the event that is handled.
    now: DateTime<Utc>,
    /// How long the pool runs, as far as the clock tells: a clock that is set changes it by [`LONGEST_STEP`] at most.
    uptime: TimeDelta,
    /// What is to be done about it.
    out: Vec<Command>,
    settings: Arc<Settings>,
    settings_changes: u64,
    freshness: Freshness,
    /// The builds that are not final, or not final on disk.
    builds: BTreeMap<BuildId, OpenBuild>,
    last_build: u64,
    /// The builds that were queued or found within [`SERVER_LAG`](crate::domain::journal::SERVER_LAG), and at which
    /// uptime: their commits may not be on all copies of their sources yet.
    lately_queued: BTreeMap<BuildId, TimeDelta>,
    ended: Arc<Recent<BuildId>>,
    submissions: BTreeMap<SubmissionId, Submission>,
    last_submission: u64,
    /// The rules that failed last, with their pasts.
    failing: BTreeMap<(RepositoryPath, String), RuleHistory>,
    /// The pushes that rules are still to be asked of.
    pushes: BTreeMap<PushId, PendingPush>,
    /// Those with rules that are asked again at a time.
    waiting_pushes: BTreeSet<PushId>,
    /// Those whose commits are to be read.
    unread_pushes: BTreeSet<PushId>,
    written_pushes: Arc<Recent<PushId>>,
    refs: RefTracker,
    /// The repositories whose commits are being read: their clones are in one place each.
    reading_commits: BTreeSet<RepositoryPath>,
    builders: Builders,
    outbox: Outbox,
    writes: BTreeMap<WriteId, PendingWrite>,
    /// Those that failed and are tried again at a time.
    failed_writes: BTreeSet<WriteId>,
    last_write: u64,
    waits: Vec<Wait>,
    problems: Problems,
    disk: Disk,
    /// How many builds were launched.
    turns: u64,
    /// Which launch was the last one of each repository.
    last_turns: BTreeMap<String, u64>,
    /// A build may be able to start.
    reschedule: bool,
    /// A waiting build lacked a platform, and the builders were asked again.
    refreshed_platforms: Option<Deadline>,
    retention: Option<Deadline>,
    stopping: bool,
}

/// How the disk is.
#[derive(Debug, Default)]
struct Disk {
    measuring: bool,
    /// Why nothing may start.
    blocked: Option<crate::domain::reason::Reason>,
    again: Option<Deadline>,
}

/// Who waits for the settings on disk to be in force.
#[derive(Debug, Default)]
struct Freshness {
    /// Those for whom the files are being looked at now.
    asked: Vec<AfterRefresh>,
    /// Those who came since: the files may have been looked at before that.
    next: Vec<AfterRefresh>,
    running: bool,
}

/// What goes on once the settings are fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterRefresh {
    Submission(SubmissionId),
    Push(PushId),
}

impl Core {
    /// A core that knows nothing yet: the first event is [`Event::Started`].
    pub fn new(machine: Machine, now: DateTime<Utc>) -> Core {
        Core {
            machine,
            started_at: now,
            now,
            uptime: TimeDelta::zero(),
            out: Vec::new(),
            settings: Arc::default(),
            settings_changes: 0,
            freshness: Freshness::default(),
            builds: BTreeMap::new(),
            last_build: 0,
            lately_queued: BTreeMap::new(),
            ended: Arc::default(),
            submissions: BTreeMap::new(),
            last_submission: 0,
            failing: BTreeMap::new(),
            pushes: BTreeMap::new(),
            waiting_pushes: BTreeSet::new(),
            unread_pushes: BTreeSet::new(),
            written_pushes: Arc::default(),
            refs: RefTracker::default(),
            reading_commits: BTreeSet::new(),
            builders: Builders::default(),
            outbox: Outbox::default(),
            writes: BTreeMap::new(),
            failed_writes: BTreeSet::new(),
            last_write: 0,
            waits: Vec::new(),
            problems: Problems::default(),
            disk: Disk::default(),
            turns: 0,
            last_turns: BTreeMap::new(),
            reschedule: false,
            refreshed_platforms: None,
            retention: None,
            stopping: false,
        }
    }

    /// Takes a fact over and says what is to be done about it.
    pub fn handle(&mut self, event: Event, now: DateTime<Utc>) -> Vec<Command> {
        self.uptime += (now - self.now).clamp(TimeDelta::zero(), LONGEST_STEP);
        self.now = now;
        self.take(event);
        self.outbox_turn();
        self.scheduler_turn();
        self.answer_waits();
        self.refresh_paused();
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
        let builds = self.builds.values().filter_map(|build| build.next_due(self.now));
        let pushes = self.waiting_pushes.iter().filter_map(|id| self.pushes.get(id)?.next_due());
        let writes = self.failed_writes.iter().filter_map(|id| self.writes.get(id)?.next_due());
        // A pool that ends sends nothing more.
        let outbox = self.outbox.next_due().filter(|_| !self.stopping);
        deadlines
            .chain(builds)
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
        }
        if self.retention.is_some_and(|at| at.is_over(self.now)) {
            self.retain();
        }
        // A wait before a retry may be over.
        self.reschedule = true;
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
