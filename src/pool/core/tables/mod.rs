//! The tables of the pool. Those who decide are above them, in files of their own.

pub mod open_build;
mod open_builds;
mod pending_push;
mod pending_write;
mod problems;
pub mod recent_moves;
pub mod ref_tracker;
mod submission;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

pub use open_build::{End, OpenBuild, PastState, PendingEnd, Stage, Waiter};
pub use open_builds::OpenBuilds;
pub use pending_push::{CommitFacts, PendingPush, PushStage, RuleWait};
pub use pending_write::{AfterWrite, BuildWrites, PendingWrite};
pub use problems::Problems;
pub use recent_moves::FoundMove;
pub use ref_tracker::{RefTracker, TrackerState};
pub use submission::{NewPlan, Plan, Purpose, RuleChoice, Submission};

use super::builders::Builders;
use super::command::Command;
use super::event::{RequestId, SubmissionId, WriteId};
use super::snapshot::Recent;
use crate::domain::backoff::Deadline;
use crate::domain::build::BuildId;
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::domain::outbox::Outbox;
use crate::domain::reason::Reason;
use crate::domain::rule_history::RuleHistory;
use crate::store::settings::Settings;

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
    pub(super) machine: Machine,
    pub(super) started_at: DateTime<Utc>,
    /// The time of the event that is handled.
    pub(super) now: DateTime<Utc>,
    /// How long the pool runs, as far as the clock tells: a clock that is set changes it by [`super::LONGEST_STEP`] at most.
    pub(super) uptime: TimeDelta,
    /// What is to be done about it.
    pub(super) out: Vec<Command>,
    pub(super) settings: Arc<Settings>,
    pub(super) settings_changes: u64,
    pub(super) freshness: Freshness,
    pub(super) builds: OpenBuilds,
    pub(super) last_build: u64,
    /// The builds that were queued or found within [`SERVER_LAG`](crate::domain::journal::SERVER_LAG), and at which
    /// uptime: their commits may not be on all copies of their sources yet.
    pub(super) lately_queued: BTreeMap<BuildId, TimeDelta>,
    pub(super) ended: Arc<Recent<BuildId>>,
    pub(super) submissions: BTreeMap<SubmissionId, Submission>,
    pub(super) last_submission: u64,
    /// The rules that failed last, with their pasts.
    pub(super) failing: BTreeMap<(RepositoryPath, String), RuleHistory>,
    /// The pushes that rules are still to be asked of.
    pub(super) pushes: BTreeMap<PushId, PendingPush>,
    /// Those with rules that are asked again at a time.
    pub(super) waiting_pushes: BTreeSet<PushId>,
    /// Those whose commits are to be read.
    pub(super) unread_pushes: BTreeSet<PushId>,
    pub(super) written_pushes: Arc<Recent<PushId>>,
    pub(super) refs: RefTracker,
    /// The repositories whose commits are being read: their clones are in one place each.
    pub(super) reading_commits: BTreeSet<RepositoryPath>,
    pub(super) builders: Builders,
    pub(super) outbox: Outbox,
    pub(super) writes: BTreeMap<WriteId, PendingWrite>,
    /// Those that failed and are tried again at a time.
    pub(super) failed_writes: BTreeSet<WriteId>,
    pub(super) last_write: u64,
    pub(super) waits: Vec<Wait>,
    pub(super) problems: Problems,
    pub(super) disk: Disk,
    /// How many builds were launched.
    pub(super) turns: u64,
    /// Which launch was the last one of each repository.
    pub(super) last_turns: Arc<BTreeMap<String, u64>>,
    /// A build may be able to start.
    pub(super) reschedule: bool,
    /// When the scheduler was asked last.
    pub(super) scheduled_at: DateTime<Utc>,
    /// A waiting build lacked a platform, and the builders were asked again.
    pub(super) refreshed_platforms: Option<Deadline>,
    pub(super) retention: Option<Deadline>,
    pub(super) stopping: bool,
}

/// How the disk is.
#[derive(Debug, Default)]
pub struct Disk {
    pub measuring: bool,
    /// Why nothing may start.
    pub blocked: Option<Reason>,
    pub again: Option<Deadline>,
}

/// Who waits for the settings on disk to be in force.
#[derive(Debug, Default)]
pub struct Freshness {
    /// Those for whom the files are being looked at now.
    pub asked: Vec<AfterRefresh>,
    /// Those who came since: the files may have been looked at before that.
    pub next: Vec<AfterRefresh>,
    pub running: bool,
}

/// What goes on once the settings are fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterRefresh {
    Submission(SubmissionId),
    Push(PushId),
}

/// A request that waits for the end of a build, or for another reason than the known one.
#[derive(Debug)]
pub struct Wait {
    pub request: RequestId,
    pub id: BuildId,
    pub known: Option<Reason>,
}

impl Core {
    /// A core that knows nothing yet: the first event is [`super::Event::Started`].
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
            builds: OpenBuilds::default(),
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
            last_turns: Arc::default(),
            reschedule: false,
            scheduled_at: now,
            refreshed_platforms: None,
            retention: None,
            stopping: false,
        }
    }
}
