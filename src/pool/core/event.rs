//! What the core hears: facts that tasks, triggers and clients report.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;

use super::ask::Ask;
use crate::buildctl::job::RunResult;
use crate::buildkit::daemon::Spec;
use crate::domain::build::{Build, BuildId};
use crate::domain::config::ByteSize;
use crate::domain::failure::Failure;
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::outbox::{Attempt, Message};
use crate::domain::platform::Platform;
use crate::domain::problem::Topic;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::Reason;
use crate::domain::repository::Source;
use crate::domain::rule_history::RuleHistory;
use crate::protocol::Error;
use crate::registry::publish::Taken;
use crate::source::Commit;
use crate::source::refs::Refs;
use crate::store::refs_seen::Watched;
use crate::store::settings::Settings;
use crate::sys::process::ProcessId;

/// Why a push's commit was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitUnread {
    /// What the ref names is a tree or a blob.
    NotACommit(Reason),
    /// Why the source could not say.
    Unknown(Reason),
}

/// A client's or a trigger's request, for as long as it is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// An ordered list of files that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// A build that is asked for and not yet queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubmissionId(pub u64);

/// A builder of the settings. One that is removed, or changed, and made again is another generation: what is said of the
/// one before is passed over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuilderKey {
    /// Its name.
    pub name: String,
    /// Which of its name.
    pub generation: u64,
}

/// A fact.
#[derive(Debug, Clone)]
pub enum Event {
    /// The pool starts: what an earlier pool left on disk. The first event.
    Started(Box<Found>),
    /// The time that [`super::Core::next_due`] told has come.
    Tick,
    /// The pool is told to end by a signal.
    Stop,
    /// A client or a trigger asks.
    Asked {
        /// The request, which a [`super::Command::Respond`] answers.
        request: RequestId,
        /// What is asked.
        ask: Ask,
    },
    /// Whoever asked is gone.
    Abandoned(RequestId),
    /// The files of a [`super::Command::Write`] are on disk, or not all of them.
    Written {
        /// The list.
        write: WriteId,
        /// Why not.
        result: Result<(), WriteFailure>,
    },
    /// The settings on disk are others than those in force.
    SettingsChanged(Arc<Settings>),
    /// The answer to [`super::Command::RefreshSettings`]: what was on disk when it was asked is in force.
    SettingsFresh,
    /// The pushes that an earlier pool did not come to evaluate, or that are newer than the refs seen; told once after the
    /// start.
    PushesLeft {
        /// The refs of the sources as they were last seen, or why nothing may be watched.
        watched: Result<Watched, Reason>,
        /// The pushes, the oldest first.
        pushes: Vec<FoundPush>,
    },
    /// The rules that failed last, with their pasts; told once after the start.
    RulesFailing(BTreeMap<(RepositoryPath, String), RuleHistory>),
    /// The pasts of the rules that match a push, with that of its ref.
    PushHistory {
        /// The push.
        push: PushId,
        /// By rule.
        histories: BTreeMap<String, RuleHistory>,
    },
    /// The past that the end of a build is told by.
    BuildHistory {
        /// The build.
        build: BuildId,
        /// The past.
        past: Box<PastOfBuild>,
    },
    /// The commit that a ref names now.
    RefResolved {
        /// The build that is asked for.
        submission: SubmissionId,
        /// The commit, or why there is none.
        commit: Result<CommitId, Error>,
    },
    /// A repository that a namespace makes by itself was made.
    RepositoryCreated {
        /// The build that is asked for.
        submission: SubmissionId,
        /// Why not.
        result: Result<(), Error>,
    },
    /// The tags of a build were looked for in its registry.
    TagsChecked {
        /// The build that is asked for.
        submission: SubmissionId,
        /// Those that are there, or why they can't be looked for.
        result: Result<Vec<Taken>, TagCheckFailure>,
    },
    /// What a push's commit says and changes, or why that is not known.
    CommitRead {
        /// The push.
        push: PushId,
        /// The commit.
        commit: Result<Commit, CommitUnread>,
    },
    /// The runner of a build works.
    Launched {
        /// The build.
        build: BuildId,
        /// The runner.
        runner: ProcessId,
        /// What people should know.
        warnings: Vec<Reason>,
    },
    /// The runner of a build could not be started; nothing of the attempt is left.
    NotLaunched {
        /// The build.
        build: BuildId,
        /// Why.
        failure: Failure,
    },
    /// The runner of a build is gone, and what it needed only while it ran.
    RunnerEnded {
        /// The build.
        build: BuildId,
        /// How.
        end: RunnerEnd,
    },
    /// Whether listed commits are parts of the history of those that are known.
    MovesChecked {
        /// The repository.
        repository: RepositoryPath,
        /// Its source when it was asked.
        source: Source,
        /// Each move, and whether its commit is an earlier one; none where that can't be told.
        checked: Vec<(DoubtfulMove, Option<bool>)>,
    },
    /// How much disk space is free.
    DiskMeasured {
        /// Free space where builds are kept.
        free: ByteSize,
        /// Clones and trees were removed before it was measured.
        after_freeing: bool,
    },
    /// The refs of a source.
    RefsListed {
        /// The repository.
        repository: RepositoryPath,
        /// Its source when it was asked.
        source: Source,
        /// What it answered.
        refs: Refs,
        /// How long ago it was asked.
        took: TimeDelta,
    },
    /// What a managed daemon's supervision reports.
    Managed {
        /// The builder.
        builder: BuilderKey,
        /// What happened.
        event: ManagedEvent,
    },
    /// What a builder's daemon says of itself, or why it does not.
    BuilderProbed {
        /// The builder.
        builder: BuilderKey,
        /// Where it was asked.
        address: String,
        /// The answer.
        result: Result<Workers, Reason>,
    },
    /// How much a builder's cache takes.
    CacheWeighed {
        /// The builder.
        builder: BuilderKey,
        /// Bytes; none where it did not say.
        bytes: Option<u64>,
    },
    /// An attempt to deliver a notification or a commit status ended.
    Sent {
        /// [`Message::id`].
        message: String,
        /// How.
        attempt: Attempt,
        /// Why it was not delivered; none where its receiver is not configured any more.
        why: Option<Reason>,
    },
    /// Something that people should see to, or that it is well again.
    Problem {
        /// The thing.
        topic: Topic,
        /// One sentence; none: it is well.
        problem: Option<Reason>,
    },
    /// Where webhooks are taken now; none: nowhere.
    WebhooksListen(Option<String>),
    /// A webhook of a platform was taken.
    WebhookTaken {
        /// The platform.
        platform: String,
    },
    /// A webhook of a platform was refused.
    WebhookRefused {
        /// The platform.
        platform: String,
        /// The HTTP status of the answer.
        status: u16,
        /// The answer's text.
        reason: Reason,
        /// The sender has the secret, or slipway could not get it.
        needs_people: bool,
    },
}

/// What an earlier pool left on disk.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The settings, just read.
    pub settings: Arc<Settings>,
    /// The highest number of a build; 0: there is none.
    pub last_build: u64,
    /// The builds that are marked open, in any order.
    pub builds: Vec<FoundBuild>,
    /// The highest number of a push; 0: there is none.
    pub last_push: u64,
    /// What was to be told and was not delivered, the oldest first.
    pub messages: Vec<Message>,
}

/// What builds before one say of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PastOfBuild {
    /// The past of its rule.
    pub history: RuleHistory,
    /// The last build before it of the same rule and ref failed.
    pub failed_before: bool,
}

/// An open build of an earlier pool.
#[derive(Debug, Clone)]
pub struct FoundBuild {
    /// Its record.
    pub build: Build,
    /// The runner that was started for it and has begun. One that left before it began leaves its build in the queue.
    pub runner: Option<ProcessId>,
    /// The builders of its job.
    pub builders: Vec<String>,
}

/// A commit that a listing has for a ref which moved to another one lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubtfulMove {
    /// The ref.
    pub reference: Ref,
    /// The commit that is listed.
    pub listed: CommitId,
    /// The commit that the ref was known at last.
    pub known: CommitId,
}

/// An unsettled push of an earlier pool.
#[derive(Debug, Clone)]
pub struct FoundPush {
    /// Its record.
    pub push: PushRecord,
    /// The builds that were started for it, by their rules.
    pub built: BTreeMap<String, BuildId>,
}

/// How a runner ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerEnd {
    /// It left a result.
    Result(Box<RunResult>),
    /// It died without one.
    Died,
}

/// What happened to a managed daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagedEvent {
    /// What the settings ask for now, or what is missing for it.
    Wanted(Result<Box<Spec>, Reason>),
    /// It is supervised from now on.
    Supervised,
    /// A new daemon answers.
    Started {
        /// Its address.
        address: String,
        /// The configuration that it runs with.
        config: String,
    },
    /// A daemon of an earlier pool answers.
    Adopted {
        /// Its address.
        address: String,
        /// The configuration that it runs with; none where its programs are others, too.
        config: Option<String>,
    },
    /// It ended, or is to be started again.
    Gone,
    /// It can't be started.
    Failed(Reason),
}

/// Files that can't be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    /// Why, with the file's name.
    pub why: Reason,
    /// The disk is full.
    pub disk_full: bool,
}

/// Tags can't be looked for in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagCheckFailure {
    /// The namespace may not use the registry's credential.
    Denied(Reason),
    /// The registry says 401 or 403, as some do of what is not there yet.
    Forbidden {
        /// In its words.
        why: Reason,
        /// A build of the repository has published before.
        published: bool,
    },
    /// Asking again changes nothing: a password that is not there, a certificate, a setting.
    Lasting(Reason),
    /// The registry can't be reached or is out of order.
    Passing(Reason),
}

/// What a daemon says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workers {
    /// What its workers build for, their own platform first.
    pub platforms: Vec<Platform>,
    /// RUN steps of one of them are in the network of its host.
    pub host_network: bool,
    /// The version of the daemon; none where it does not know.
    pub version: Option<String>,
}
