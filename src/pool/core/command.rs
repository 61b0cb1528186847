//! What the core wants done. Commands are carried out in their order, and their outcomes come back as events.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::event::{BuilderKey, DoubtfulMove, RequestId, SubmissionId, WriteId};
use crate::buildkit::daemon::Spec;
use crate::domain::build::{Build, BuildId};
use crate::domain::builder::{Builder, BuilderTls};
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::outbox::Message;
use crate::domain::platform::Platform;
use crate::domain::push::{CommitId, Ref};
use crate::domain::repository::{Repository, Source};
use crate::protocol::Error;
use crate::store::refs_seen::Seen;
use crate::sys::process::ProcessId;

/// Something to be done.
#[derive(Debug, Clone)]
pub enum Command {
    /// Writes files in this order and stops at the first that can't be written; answered by
    /// [`super::Event::Written`].
    Write {
        /// The list.
        write: WriteId,
        /// The files.
        files: Vec<File>,
    },
    /// Answers a client or a trigger.
    Respond {
        /// The request.
        request: RequestId,
        /// The answer.
        response: Response,
    },
    /// Takes over what people edited by hand; answered by [`super::Event::SettingsFresh`].
    RefreshSettings,
    /// Finds the pushes that are still to be evaluated; answered by [`super::Event::PushesLeft`].
    FindPushes,
    /// Finds the rules that failed last; answered by [`super::Event::RulesFailing`].
    FindFailingRules,
    /// Reads the pasts of rules; answered by [`super::Event::PushHistory`].
    ReadPushHistory {
        /// The push.
        push: PushId,
        /// The repository.
        path: RepositoryPath,
        /// The ref whose past is of interest.
        reference: Ref,
        /// The rules.
        rules: Vec<String>,
    },
    /// Reads the past that the end of a build is told by; answered by [`super::Event::BuildHistory`].
    ReadBuildHistory(Arc<Build>),
    /// Asks a source for the commit of a ref; answered by [`super::Event::RefResolved`].
    ResolveRef {
        /// The build that is asked for.
        submission: SubmissionId,
        /// The repository, whose clone of the source tells what a tag names.
        path: RepositoryPath,
        /// The source.
        source: Source,
        /// The ref.
        reference: Ref,
    },
    /// Makes a repository, with a rule for its source's default branch; answered by
    /// [`super::Event::RepositoryCreated`].
    CreateRepository {
        /// The build that is asked for.
        submission: SubmissionId,
        /// Its name.
        path: RepositoryPath,
        /// Its settings, without rules.
        repository: Box<Repository>,
    },
    /// Looks for tags in a registry; answered by [`super::Event::TagsChecked`].
    CheckTags {
        /// The build that is asked for.
        submission: SubmissionId,
        /// The repository.
        path: RepositoryPath,
        /// The registry.
        registry: String,
        /// The tags.
        tags: Vec<String>,
    },
    /// Reads a commit's message and what it changes; answered by [`super::Event::CommitRead`].
    ReadCommit {
        /// The push.
        push: PushId,
        /// The repository.
        path: RepositoryPath,
        /// Its source.
        source: Source,
        /// The ref that points at the commit.
        reference: Ref,
        /// The commit.
        commit: CommitId,
        /// The commits that it is compared with.
        since: Vec<CommitId>,
    },
    /// Looks up which listed commits are parts of the history of those that are known; answered by
    /// [`super::Event::MovesChecked`].
    CheckMoves {
        /// The repository.
        path: RepositoryPath,
        /// Its source.
        source: Source,
        /// What a listing has.
        moves: Vec<DoubtfulMove>,
    },
    /// Starts the runner of a build; answered by [`super::Event::Launched`] or [`super::Event::NotLaunched`].
    Launch {
        /// The build.
        build: Arc<Build>,
        /// The builders, each with the platforms that it builds for.
        builders: Vec<ChosenBuilder>,
    },
    /// Ends a launch that takes long: its build is cancelled.
    AbortLaunch(BuildId),
    /// Waits for the end of a runner and collects what it left; answered by [`super::Event::RunnerEnded`].
    WatchRunner {
        /// The build.
        build: BuildId,
        /// The number of its attempt.
        attempt: u32,
        /// The runner; none where its process is not on record.
        runner: Option<ProcessId>,
    },
    /// Sends a runner a signal.
    SignalRunner {
        /// The build.
        build: BuildId,
        /// The runner.
        runner: ProcessId,
        /// `SIGKILL` instead of `SIGTERM`.
        kill: bool,
    },
    /// Measures the free disk space; answered by [`super::Event::DiskMeasured`].
    MeasureDisk,
    /// Removes clones and trees of sources that no build uses, then measures the free disk space.
    FreeDisk {
        /// How many bytes are missing.
        bytes: u64,
    },
    /// Asks the poller to list the refs of a source.
    Poll {
        /// The repository.
        path: RepositoryPath,
        /// Now; otherwise in its turn, but then for certain.
        now: bool,
    },
    /// Works out the managed daemon that the settings ask for; answered by [`super::ManagedEvent::Wanted`].
    SpecifyManaged(BuilderKey),
    /// Starts, or adopts, a managed daemon and keeps it alive; answered by [`super::Event::Managed`].
    SuperviseManaged {
        /// The builder.
        builder: BuilderKey,
        /// The daemon.
        spec: Box<Spec>,
    },
    /// Ends a managed daemon and starts this one instead.
    RestartManaged {
        /// The builder.
        builder: BuilderKey,
        /// The daemon.
        spec: Box<Spec>,
    },
    /// Ends the supervision of a builder that is no longer wanted; its daemon goes on.
    LeaveManaged(BuilderKey),
    /// Asks a builder's daemon what it builds for; answered by [`super::Event::BuilderProbed`].
    ProbeBuilder {
        /// The builder.
        builder: BuilderKey,
        /// Its address.
        address: String,
        /// Its TLS files.
        tls: Option<BuilderTls>,
    },
    /// Asks a builder's daemon how much its cache takes; answered by [`super::Event::CacheWeighed`].
    WeighCache {
        /// The builder.
        builder: BuilderKey,
        /// Its address.
        address: String,
        /// Its TLS files.
        tls: Option<BuilderTls>,
    },
    /// Delivers a notification or a commit status; answered by [`super::Event::Sent`].
    Send(Box<Message>),
    /// Deletes finished builds, and the journal's pushes from before those that are kept. The newest build always stays.
    DeleteFinished {
        /// So many of the newest are kept; none: all.
        keep: Option<usize>,
        /// Those that finished before go.
        oldest: Option<DateTime<Utc>>,
    },
    /// Keeps the clones and trees of sources within their limit.
    TidySources,
    /// Writes a line into the pool's log.
    Log(LogLine),
    /// Ends the pool: nothing new is taken. Builds go on.
    Stop {
        /// Runners work, and use the managed daemon on.
        builds_go_on: bool,
    },
}

/// A file that is written or removed.
#[derive(Debug, Clone, PartialEq)]
pub enum File {
    /// Puts a message into the outbox.
    Message(Box<Message>),
    /// Removes a message from the outbox.
    RemoveMessage(Box<Message>),
    /// Makes the directory of a new build, marked open, with its record; nothing of it is left where that fails.
    NewBuild(Arc<Build>),
    /// Replaces the record of a build.
    Build(Arc<Build>),
    /// Removes the mark of an open build.
    CloseBuild(BuildId),
    /// Writes a push of the journal.
    Push(Box<PushRecord>),
    /// Writes what was seen of the sources.
    RefsSeen {
        /// The repository.
        path: RepositoryPath,
        /// What was seen; none: it is forgotten.
        seen: Option<Box<Seen>>,
    },
}

/// A builder that the scheduler chose for a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenBuilder {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub config: Builder,
    /// Its daemon's address, where it has one.
    pub address: Option<String>,
    /// What it builds for; empty: its own platform.
    pub platforms: Vec<Platform>,
}

/// The answer to an [`super::Ask`].
#[derive(Debug, Clone)]
pub enum Response {
    /// It is done.
    Done,
    /// A build is queued, was refused, or was there already.
    Queued {
        /// The build.
        build: Arc<Build>,
        /// It was queued or running before.
        already: bool,
    },
    /// A build, at its end or with another reason.
    Build(Arc<Build>),
    /// No such build is open: its record on disk is final, where it has one.
    NotOpen,
    /// A builder to ask.
    Builder {
        /// Its address.
        address: String,
        /// Its TLS files.
        tls: Option<BuilderTls>,
    },
    /// It is not done.
    Error(Error),
}

/// A line of the pool's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How bad it is.
    pub level: LogLevel,
    /// The line.
    pub text: String,
}

/// How bad a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// For whoever looks for a fault.
    Debug,
    /// It is well.
    Info,
    /// People should see to it.
    Warn,
    /// Something is wrong.
    Error,
}

/// Commands as scenarios and simulations show them: one line, without what a person can't compare.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Write { files, .. } => {
                let files: Vec<String> = files.iter().map(ToString::to_string).collect();
                write!(f, "write {}", files.join(", "))
            }
            Command::Respond { request, response } => write!(f, "respond {}: {response}", request.0),
            Command::RefreshSettings => f.write_str("refresh settings"),
            Command::FindPushes => f.write_str("find pushes"),
            Command::FindFailingRules => f.write_str("find failing rules"),
            Command::ReadPushHistory { push, rules, .. } => {
                write!(f, "read history of {} for push {push}", rules.join(" "))
            }
            Command::ReadBuildHistory(build) => write!(f, "read history for build {}", build.id),
            Command::ResolveRef { source, reference, .. } => write!(f, "resolve {reference} of {}", source.url),
            Command::CreateRepository { path, .. } => write!(f, "create repository {path}"),
            Command::CheckTags { path, registry, tags, .. } => {
                write!(f, "check tags {} of {path} in {registry}", tags.join(" "))
            }
            Command::ReadCommit { path, reference, commit, .. } => {
                write!(f, "read commit {} of {reference} of {path}", commit.short(7))
            }
            Command::CheckMoves { path, moves, .. } => {
                write!(f, "check moves of {path}:")?;
                moves.iter().try_for_each(|one| {
                    write!(f, " {} from {} to {}", one.reference, one.known.short(7), one.listed.short(7))
                })
            }
            Command::Launch { build, builders } => {
                let builders: Vec<String> = builders.iter().map(ToString::to_string).collect();
                write!(f, "launch build {}{} on {}", build.id, again(build.present_attempt()), builders.join(", "))
            }
            Command::AbortLaunch(id) => write!(f, "abort launch of build {id}"),
            Command::WatchRunner { build, runner: Some(_), .. } => write!(f, "watch runner of build {build}"),
            Command::WatchRunner { build, runner: None, .. } => write!(f, "collect what build {build} left"),
            Command::SignalRunner { build, kill, .. } => {
                write!(f, "{} runner of build {build}", if *kill { "kill" } else { "stop" })
            }
            Command::MeasureDisk => f.write_str("measure disk"),
            Command::FreeDisk { bytes } => write!(f, "free {bytes} bytes"),
            Command::Poll { path, now } => write!(f, "poll {path} {}", if *now { "now" } else { "in its turn" }),
            Command::SpecifyManaged(builder) => write!(f, "specify managed builder {}", builder.name),
            Command::SuperviseManaged { builder, .. } => write!(f, "supervise builder {}", builder.name),
            Command::RestartManaged { builder, .. } => write!(f, "restart builder {}", builder.name),
            Command::LeaveManaged(builder) => write!(f, "leave builder {}", builder.name),
            Command::ProbeBuilder { builder, address, .. } => write!(f, "probe builder {} at {address}", builder.name),
            Command::WeighCache { builder, .. } => write!(f, "weigh cache of builder {}", builder.name),
            Command::Send(message) => write!(f, "send {message}"),
            Command::DeleteFinished { keep, oldest } => {
                f.write_str("delete finished builds")?;
                keep.iter().try_for_each(|keep| write!(f, " but {keep}"))?;
                oldest.iter().try_for_each(|oldest| write!(f, " before {oldest}"))
            }
            Command::TidySources => f.write_str("tidy sources"),
            Command::Log(line) => write!(f, "log {}", line.text),
            Command::Stop { builds_go_on: true } => f.write_str("stop, builds go on"),
            Command::Stop { builds_go_on: false } => f.write_str("stop"),
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            File::Message(message) => write!(f, "message {message}"),
            File::RemoveMessage(message) => write!(f, "no message {message}"),
            File::NewBuild(build) => write!(f, "new build {} {}", build.id, build.state),
            File::Build(build) => write!(f, "build {}{} {}", build.id, again(build.present_attempt()), build.state),
            File::CloseBuild(id) => write!(f, "build {id} closed"),
            File::Push(push) => {
                let answers: Vec<String> =
                    push.answers.iter().map(|answer| format!(" {}={}", answer.rule, answer.verdict.word())).collect();
                write!(f, "push {}{}{}", push.id, answers.concat(), if push.settled { " settled" } else { "" })
            }
            File::RefsSeen { .. } => f.write_str("refs seen"),
        }
    }
}

/// The number of an attempt that is not the first.
fn again(attempt: u32) -> String {
    if attempt > 1 { format!(" attempt {attempt}") } else { String::new() }
}

impl fmt::Display for ChosenBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.platforms.iter().try_for_each(|platform| write!(f, " {platform}"))
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Response::Done => f.write_str("done"),
            Response::Queued { build, already: true } => write!(f, "build {} is there already", build.id),
            Response::Queued { build, already: false } => write!(f, "build {} {}", build.id, build.state),
            Response::Build(build) => write!(f, "build {} {}", build.id, build.state),
            Response::NotOpen => f.write_str("not open"),
            Response::Builder { address, .. } => write!(f, "builder at {address}"),
            Response::Error(error) => write!(f, "{:?}: {error}", error.kind),
        }
    }
}
