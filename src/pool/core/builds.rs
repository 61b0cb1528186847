//! The open builds: from the record to the end. Each stage holds the handle that allows its transitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::command::{ChosenBuilder, Command, File, LogLevel};
use super::event::{BuilderKey, PastOfBuild, RunnerEnd, SubmissionId, WriteFailure};
use super::outcome::{self, Circumstances, Conclusion};
use super::recent_moves::server_lag;
use super::schedule::{AwaitedAttempt, BuilderView, Decision, PoolView, WaitReason, Waiting, schedule};
use super::writes::{AfterWrite, BuildWrites};
use super::{Core, DISK_AGAIN, Workers, builders, notifications};
use crate::domain::backoff::Deadline;
use crate::domain::build::{
    Build, BuildId, BuildState, CancelRequest, EndBeforeStart, EndOfRun, Ending, FinalBuild, RunningBuild, Trigger,
    WaitingBuild,
};
use crate::domain::builder::labels_asked;
use crate::domain::config::ByteSize;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::platform::Platform;
use crate::domain::reason::{AsReason as _, Reason, joined, reason};
use crate::domain::rule_history::ending;
use crate::sys::process::ProcessId;

/// A runner that was told to stop and is still there is killed: final within 15 s, whatever `buildctl` does.
const KILL_AFTER: TimeDelta = TimeDelta::seconds(13);
/// How soon a server is asked again for a commit that a webhook told of.
const ASK_FOR_COMMIT_AGAIN: TimeDelta = TimeDelta::seconds(3);
/// How soon builders are asked again for platforms that a waiting build lacks: emulators may have come since.
const REFRESH_PLATFORMS: TimeDelta = TimeDelta::seconds(10);

/// An open build.
#[derive(Debug)]
pub(super) struct OpenBuild {
    stage: Stage,
    pub writes: BuildWrites,
}

/// Where an open build stands.
#[derive(Debug)]
enum Stage {
    /// Its record is being written for the first time; clients do not see it yet.
    Recording { build: WaitingBuild, waiters: Vec<Waiter> },
    /// It is refused, and its record is being written.
    Refusing { build: FinalBuild, waiters: Vec<Waiter> },
    /// It waits.
    Waiting(WaitingBuild),
    /// Its runner is being started on these builders.
    Starting { build: WaitingBuild, builders: Vec<String> },
    /// Its runner works. After a cancel it is killed at a time.
    Running { build: RunningBuild, runner: Option<ProcessId>, kill: Option<Deadline> },
    /// Its attempt failed, and the record that says so is being written; clients see it as it was before.
    Retrying { build: WaitingBuild, shown: Arc<Build> },
    /// How it ends is decided; the builds before it are being read.
    Ending(Box<PendingEnd>),
    /// Its final record is being written; clients see it as it was before.
    Closing { build: FinalBuild, shown: Arc<Build> },
}

/// Who goes on once a build is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    /// Who asked for it.
    Submission(SubmissionId),
    /// Who asked for the same, while it was being recorded.
    Twin(SubmissionId),
}

/// A build that is about to be closed.
#[derive(Debug)]
struct PendingEnd {
    end: End,
    ending: Ending,
    at: DateTime<Utc>,
    past: PastState,
}

/// What the builds before one say of its end, which others are told by.
#[derive(Debug)]
enum PastState {
    /// It is to be read where it matters.
    Unknown,
    /// It is being read.
    Asked,
    Known(Box<PastOfBuild>),
}

#[derive(Debug)]
enum End {
    BeforeStart(WaitingBuild, EndBeforeStart),
    OfRun(RunningBuild, EndOfRun),
    /// An earlier pool wrote its final record, and did not come to tell others.
    Recorded(FinalBuild),
}

impl End {
    fn record(&self) -> &Arc<Build> {
        match self {
            End::BeforeStart(build, _) => build.record(),
            End::OfRun(build, _) => build.record(),
            End::Recorded(build) => build.record(),
        }
    }
}

impl OpenBuild {
    fn at(stage: Stage) -> OpenBuild {
        OpenBuild { stage, writes: BuildWrites::default() }
    }

    /// The record as it is now.
    pub(super) fn record(&self) -> &Arc<Build> {
        match &self.stage {
            Stage::Recording { build, .. }
            | Stage::Waiting(build)
            | Stage::Starting { build, .. }
            | Stage::Retrying { build, .. } => build.record(),
            Stage::Running { build, .. } => build.record(),
            Stage::Ending(pending) => pending.end.record(),
            Stage::Refusing { build, .. } | Stage::Closing { build, .. } => build.record(),
        }
    }

    /// The record as clients see it: on disk, or as it was on disk last.
    pub(super) fn shown(&self) -> Option<&Arc<Build>> {
        match &self.stage {
            Stage::Recording { .. } | Stage::Refusing { .. } => None,
            Stage::Retrying { shown, .. } | Stage::Closing { shown, .. } => Some(shown),
            Stage::Waiting(_) | Stage::Starting { .. } | Stage::Running { .. } | Stage::Ending(_) => {
                Some(self.record())
            }
        }
    }

    /// Whether another build of the same rule and commit would be one too many. One that is being stopped makes no
    /// image.
    pub(super) fn goes_on(&self) -> bool {
        self.is_not_ended() && self.record().cancel.is_none()
    }

    /// What it will have made is not known yet.
    pub(super) fn is_not_ended(&self) -> bool {
        !matches!(self.stage, Stage::Refusing { .. } | Stage::Ending(_) | Stage::Closing { .. })
    }

    pub(super) fn is_recording(&self) -> bool {
        matches!(self.stage, Stage::Recording { .. })
    }

    pub(super) fn wait_for_record(&mut self, waiter: Waiter) {
        if let Stage::Recording { waiters, .. } | Stage::Refusing { waiters, .. } = &mut self.stage {
            waiters.push(waiter);
        }
    }

    /// The builders whose slots it takes.
    fn occupies(&self) -> &[String] {
        match &self.stage {
            Stage::Starting { builders, .. } => builders,
            Stage::Running { build, .. } => &build.record().builders,
            _ => &[],
        }
    }

    /// A runner works on it, or is being started.
    pub(super) fn is_underway(&self) -> bool {
        matches!(self.stage, Stage::Starting { .. } | Stage::Running { .. })
    }

    pub(super) fn next_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.stage {
            Stage::Waiting(build) => not_before(build.record()).filter(|at| !at.is_over(now)).map(|at| at.at()),
            Stage::Running { kill, .. } => kill.map(|kill| kill.at()),
            _ => None,
        }
    }
}

/// The wait of a build: for another attempt since the last one failed, or for its commit since it was queued.
fn not_before(build: &Build) -> Option<Deadline> {
    let since = match build.past_attempts.last() {
        Some(past) => past.finished_at,
        None if build.awaits_commit().is_some() => build.queued_at,
        // Versions up to 0.1 queued a build to try another one again.
        None => return None,
    };
    build.not_before.map(|at| Deadline::between(since, at))
}

impl Core {
    pub(super) fn shown_builds(&self) -> BTreeMap<BuildId, Arc<Build>> {
        self.builds.iter().filter_map(|(id, open)| Some((*id, open.shown()?.clone()))).collect()
    }

    /// The records of all open builds.
    pub(super) fn open_records(&self) -> impl Iterator<Item = &Arc<Build>> {
        self.builds.values().map(OpenBuild::record)
    }

    pub(super) fn is_busy(&self, builder: &str) -> bool {
        self.builds.values().any(|open| open.occupies().iter().any(|name| name == builder))
    }

    /// A number that no build has.
    pub(super) fn take_id(&mut self) -> BuildId {
        self.last_build += 1;
        BuildId(self.last_build)
    }

    /// Records a build; nothing is queued that is not on disk, and what it means for others is in the outbox before.
    pub(super) fn record_new(&mut self, build: Build, waiter: Waiter) {
        let (id, build) = (build.id, WaitingBuild::new(build));
        let record = build.record().clone();
        let mut files = self.messages(&record, &PastOfBuild::default());
        files.push(File::NewBuild(record));
        self.builds.insert(id, OpenBuild::at(Stage::Recording { build, waiters: vec![waiter] }));
        self.is_queued(id);
        self.write_build(id, files, AfterWrite::Recorded(id));
    }

    /// From here on the server of a build's source may lag behind for a while.
    fn is_queued(&mut self, id: BuildId) {
        while let Some(oldest) = self.lately_queued.first_entry() {
            if self.uptime - *oldest.get() < server_lag() {
                break;
            }
            oldest.remove();
        }
        self.lately_queued.insert(id, self.uptime);
    }

    /// Records a build that a rule forbids.
    pub(super) fn record_refused(&mut self, build: Build, reason: Reason, waiter: Waiter) {
        let id = build.id;
        let ending = Ending { reason, ..Ending::default() };
        let build = WaitingBuild::new(build).end(EndBeforeStart::Refused, ending, self.now);
        let record = build.record().clone();
        // The record last: where one of them can't be written, nothing of it is left.
        let mut files = self.messages(&record, &PastOfBuild::default());
        files.push(File::NewBuild(record));
        self.builds.insert(id, OpenBuild::at(Stage::Refusing { build, waiters: vec![waiter] }));
        self.write_build(id, files, AfterWrite::Recorded(id));
    }

    /// What a build's state means for others.
    fn messages(&self, build: &Build, past: &PastOfBuild) -> Vec<File> {
        let messages = notifications::messages(&self.machine, &self.settings, past, build);
        messages.into_iter().map(|message| File::Message(Box::new(message))).collect()
    }

    /// A new build is on disk.
    pub(super) fn recorded(&mut self, id: BuildId) {
        let Some(OpenBuild { stage, writes }) = self.builds.remove(&id) else { return };
        match stage {
            Stage::Recording { build, waiters } => {
                let record = build.record().clone();
                self.builds.insert(id, OpenBuild { stage: Stage::Waiting(build), writes });
                self.reschedule = true;
                waiters.into_iter().for_each(|waiter| self.waiter_goes_on(waiter, &record));
                if record.push.is_some() {
                    self.supersede(&record);
                }
                if let Some(cancel) = &record.cancel {
                    self.cancel(id, cancel.clone());
                }
            }
            stage @ Stage::Refusing { .. } => {
                self.builds.insert(id, OpenBuild { stage, writes });
                self.write_build(id, vec![File::CloseBuild(id)], AfterWrite::Closed(id));
            }
            stage => _ = self.builds.insert(id, OpenBuild { stage, writes }),
        }
    }

    fn waiter_goes_on(&mut self, waiter: Waiter, record: &Arc<Build>) {
        match waiter {
            Waiter::Submission(submission) => self.submission_queued(submission, record.clone(), false),
            Waiter::Twin(submission) => self.submission_queued(submission, record.clone(), true),
        }
    }

    /// A new build could not be recorded: it never was.
    pub(super) fn not_recorded(&mut self, id: BuildId, failure: WriteFailure) {
        let Some(OpenBuild { stage: Stage::Recording { waiters, .. } | Stage::Refusing { waiters, .. }, .. }) =
            self.builds.remove(&id)
        else {
            return;
        };
        for Waiter::Submission(submission) | Waiter::Twin(submission) in waiters {
            self.submission_not_recorded(submission, id, &failure);
        }
    }

    /// Ends the builds that a newer one makes superfluous.
    fn supersede(&mut self, newer: &Build) {
        let open = self.builds.values().filter(|open| open.goes_on()).map(|open| open.record().as_ref());
        for id in crate::domain::journal::superseded(open, newer) {
            let by = crate::domain::requester::Requester::default();
            self.cancel(id, CancelRequest { by, at: self.now, superseded_by: Some(newer.id) });
        }
    }

    /// Stops a build; false where none of that number is open. One that is being stopped goes on being so.
    pub(super) fn cancel(&mut self, id: BuildId, request: CancelRequest) -> bool {
        let Some(OpenBuild { stage, writes }) = self.builds.remove(&id) else { return false };
        let mut write = None;
        let stage = match stage {
            Stage::Recording { mut build, waiters } => {
                if build.record().cancel.is_none() {
                    build.request_cancel(request);
                }
                Stage::Recording { build, waiters }
            }
            Stage::Waiting(mut build) => {
                let cancel = build.record().cancel.clone().unwrap_or(request);
                build.request_cancel(cancel.clone());
                let conclusion = outcome::of_cancel(build.record(), &cancel);
                self.conclude_waiting(id, (build, Vec::new()), conclusion, writes);
                return true;
            }
            Stage::Retrying { mut build, shown } => {
                if build.record().cancel.is_none() {
                    build.request_cancel(request);
                }
                Stage::Retrying { build, shown }
            }
            Stage::Starting { mut build, builders } => {
                if build.record().cancel.is_none() {
                    build.request_cancel(request);
                    self.out.push(Command::AbortLaunch(id));
                }
                Stage::Starting { build, builders }
            }
            Stage::Running { mut build, runner, kill } => {
                if build.record().cancel.is_none() {
                    build.request_cancel(request);
                    // On disk before the runner hears of it: whoever reads the result then knows that it was asked for.
                    write = Some(File::Build(build.record().clone()));
                }
                Stage::Running { build, runner, kill }
            }
            stage @ (Stage::Refusing { .. } | Stage::Ending(_) | Stage::Closing { .. }) => stage,
        };
        self.builds.insert(id, OpenBuild { stage, writes });
        if let Some(file) = write {
            self.write_build(id, vec![file], AfterWrite::Noted(id));
        }
        true
    }

    /// Tells the runner of a build to stop whose record says that it is to.
    pub(super) fn stop_if_cancelled(&mut self, id: BuildId) {
        let deadline = Deadline::after(self.now, KILL_AFTER);
        let Some(open) = self.builds.get_mut(&id) else { return };
        if let Stage::Running { build, runner: Some(runner), kill: kill @ None } = &mut open.stage
            && build.record().cancel.is_some()
        {
            *kill = Some(deadline);
            self.out.push(Command::SignalRunner { build: id, runner: *runner, kill: false });
        }
    }

    pub(super) fn kill_hanging_runners(&mut self) {
        let (now, mut killed) = (self.now, Vec::new());
        for (id, open) in &mut self.builds {
            if let Stage::Running { runner: Some(runner), kill: Some(kill), .. } = &mut open.stage
                && kill.is_over(now)
            {
                *kill = Deadline::after(now, KILL_AFTER);
                killed.push((*id, *runner));
            }
        }
        for (build, runner) in killed {
            self.log(LogLevel::Warn, format!("the runner of build {build} did not stop; it is killed"));
            self.out.push(Command::SignalRunner { build, runner, kill: true });
        }
    }

    pub(super) fn launched(&mut self, id: BuildId, runner: ProcessId, warnings: Vec<Reason>) {
        let Some(OpenBuild { stage, writes }) = self.builds.remove(&id) else { return };
        let Stage::Starting { mut build, builders } = stage else {
            self.builds.insert(id, OpenBuild { stage, writes });
            return;
        };
        build.warn(warnings);
        self.run(id, build, builders, Some(runner), writes);
    }

    /// A runner works on a build: on record, told to others, watched.
    pub(super) fn run(
        &mut self,
        id: BuildId,
        build: WaitingBuild,
        builders: Vec<String>,
        runner: Option<ProcessId>,
        writes: BuildWrites,
    ) {
        let build = build.start(builders, self.now);
        let record = build.record().clone();
        // Others are told of a build's start, not of each of its attempts.
        let is_first = record.past_attempts.iter().all(|past| past.started_at.is_none());
        let mut files = if is_first { self.messages(&record, &PastOfBuild::default()) } else { Vec::new() };
        files.push(File::Build(record.clone()));
        self.builds.insert(id, OpenBuild { stage: Stage::Running { build, runner, kill: None }, writes });
        self.write_build(id, files, AfterWrite::Noted(id));
        self.out.push(Command::WatchRunner { build: id, attempt: record.present_attempt(), runner });
    }

    /// Carries on with a build that an earlier pool left running.
    pub(super) fn run_on(&mut self, build: RunningBuild, runner: Option<ProcessId>) {
        let (id, attempt) = (build.record().id, build.record().present_attempt());
        self.builds.insert(id, OpenBuild::at(Stage::Running { build, runner, kill: None }));
        self.out.push(Command::WatchRunner { build: id, attempt, runner });
        // The earlier pool was asked to cancel it.
        self.stop_if_cancelled(id);
    }

    /// Carries on with a build that an earlier pool left waiting.
    pub(super) fn wait_on(&mut self, build: WaitingBuild) {
        let (id, cancel) = (build.record().id, build.record().cancel.clone());
        self.builds.insert(id, OpenBuild::at(Stage::Waiting(build)));
        self.is_queued(id);
        if let Some(cancel) = cancel {
            self.cancel(id, cancel);
        }
    }

    /// Closes a build that an earlier pool left final and open.
    pub(super) fn close_on(&mut self, build: FinalBuild) {
        let (id, at) = (build.record().id, self.now);
        let (end, ending) = (End::Recorded(build), Ending::default());
        let pending = PendingEnd { end, ending, at, past: PastState::Unknown };
        self.builds.insert(id, OpenBuild::at(Stage::Ending(Box::new(pending))));
        self.close(id);
    }

    pub(super) fn not_launched(&mut self, id: BuildId, failure: Failure) {
        let (now, lags) = (self.now, self.may_lag(id));
        let Some(OpenBuild { stage, writes }) = self.builds.remove(&id) else { return };
        let Stage::Starting { mut build, builders } = stage else {
            self.builds.insert(id, OpenBuild { stage, writes });
            return;
        };
        if failure.kind == FailureKind::NoCommit && lags && build.record().cancel.is_none() {
            let text = format!("build {id} waits: {}", failure.reason);
            build.await_commit(failure, now + ASK_FOR_COMMIT_AGAIN);
            self.builds.insert(id, OpenBuild { stage: Stage::Waiting(build), writes });
            self.reschedule = true;
            return self.log(LogLevel::Info, text);
        }
        let around = Circumstances { config: &self.settings.config.pool, lags, now };
        let conclusion = outcome::of_launch(build.record(), &failure, around);
        self.conclude_waiting(id, (build, builders), conclusion, writes);
    }

    /// Whether a build is of a push, and was queued so lately that the server of its source may still answer from a copy
    /// without its commit, though a webhook or another copy told of it. A person who tries again does not wait for that.
    fn may_lag(&self, id: BuildId) -> bool {
        let Some(record) = self.builds.get(&id).map(OpenBuild::record) else { return false };
        let is_new = self.lately_queued.get(&id).is_some_and(|since| self.uptime - *since < server_lag());
        is_new && record.push.is_some() && record.trigger != Trigger::Retry
    }

    pub(super) fn runner_ended(&mut self, id: BuildId, end: RunnerEnd) {
        let lags = self.may_lag(id);
        let at = match &end {
            RunnerEnd::Result(result) => result.finished_at,
            RunnerEnd::Died => self.now,
        };
        let Some(OpenBuild { stage, writes }) = self.builds.remove(&id) else { return };
        let Stage::Running { mut build, .. } = stage else {
            self.builds.insert(id, OpenBuild { stage, writes });
            return;
        };
        let around = Circumstances { config: &self.settings.config.pool, lags, now: self.now };
        let conclusion = outcome::of_run(build.record(), &end, around);
        let shown = build.record().clone();
        if let RunnerEnd::Result(result) = &end {
            build.take_results(&result.images, &result.notes);
        }
        let builders = build.record().builders.clone();
        self.builders.build_ended(&builders, self.now);
        if matches!(conclusion, Conclusion::Ends(EndOfRun::Failed, _) | Conclusion::Retries(_)) {
            self.builders.ask_again(&builders, &mut self.out);
        }
        match conclusion {
            Conclusion::Ends(state, ending) => self.end(id, End::OfRun(build, state), ending, at, writes),
            Conclusion::Retries(retry) => self.attempt_again(id, build.retry(retry, at), shown, writes),
        }
    }

    /// A build that waits, or whose runner was to be started on these builders, ends or is attempted again.
    fn conclude_waiting(
        &mut self,
        id: BuildId,
        (build, builders): (WaitingBuild, Vec<String>),
        conclusion: Conclusion<EndBeforeStart>,
        writes: BuildWrites,
    ) {
        let at = self.now;
        match conclusion {
            Conclusion::Ends(state, ending) => self.end(id, End::BeforeStart(build, state), ending, at, writes),
            Conclusion::Retries(retry) => {
                let shown = build.record().clone();
                self.attempt_again(id, build.retry(builders, retry, at), shown, writes);
            }
        }
    }

    /// Records that an attempt failed. The next one starts once that is on disk: a pool that is killed before decides
    /// the same again, and one that is killed after never takes the files of one attempt for those of another.
    fn attempt_again(&mut self, id: BuildId, build: WaitingBuild, shown: Arc<Build>, writes: BuildWrites) {
        let record = build.record().clone();
        self.log(LogLevel::Info, format!("build {id} of {} is attempted again: {}", record.path(), record.reason));
        self.builds.insert(id, OpenBuild { stage: Stage::Retrying { build, shown }, writes });
        self.write_build(id, vec![File::Build(record)], AfterWrite::Retrying(id));
        // Its slot is free.
        self.reschedule = true;
    }

    /// The end of an attempt is on disk: the build waits for the next one.
    pub(super) fn attempt_recorded(&mut self, id: BuildId) {
        let Some(OpenBuild { stage, writes }) = self.builds.remove(&id) else { return };
        let Stage::Retrying { build, .. } = stage else {
            self.builds.insert(id, OpenBuild { stage, writes });
            return;
        };
        let cancel = build.record().cancel.clone();
        self.builds.insert(id, OpenBuild { stage: Stage::Waiting(build), writes });
        self.reschedule = true;
        if let Some(cancel) = cancel {
            self.cancel(id, cancel);
        }
    }

    /// Ends the wait of a build for its next attempt, or for its commit; none where it does not wait for that.
    pub(super) fn bring_forward(&mut self, id: BuildId) -> Option<Arc<Build>> {
        let open = self.builds.get_mut(&id)?;
        let (Stage::Waiting(build) | Stage::Retrying { build, .. }) = &mut open.stage else { return None };
        if build.record().cancel.is_some() || not_before(build.record()).is_none() {
            return None;
        }
        build.bring_forward();
        let record = build.record().clone();
        self.write_build(id, vec![File::Build(record.clone())], AfterWrite::Noted(id));
        self.reschedule = true;
        Some(record)
    }

    /// Ends a build, once the builds before it are known where they matter.
    fn end(&mut self, id: BuildId, end: End, ending: Ending, at: DateTime<Utc>, writes: BuildWrites) {
        self.reschedule = true;
        let pending = PendingEnd { end, ending, at, past: PastState::Unknown };
        self.builds.insert(id, OpenBuild { stage: Stage::Ending(Box::new(pending)), writes });
        self.close(id);
    }

    /// Writes the final record of a build whose end is decided, what it means for others, and that it is open no more.
    fn close(&mut self, id: BuildId) {
        let Some(OpenBuild { stage, writes }) = self.builds.remove(&id) else { return };
        let Stage::Ending(pending) = stage else {
            self.builds.insert(id, OpenBuild { stage, writes });
            return;
        };
        let past = match &pending.past {
            PastState::Known(past) => PastOfBuild::clone(past),
            // What others are told, and whether the rule is paused, depends on the builds before.
            PastState::Unknown if self.needs_past(&pending.as_ended()) => {
                let (record, mut pending) = (Arc::new(pending.as_ended()), pending);
                pending.past = PastState::Asked;
                self.out.push(Command::ReadBuildHistory(record));
                self.builds.insert(id, OpenBuild { stage: Stage::Ending(pending), writes });
                return;
            }
            PastState::Unknown => PastOfBuild::default(),
            PastState::Asked => {
                self.builds.insert(id, OpenBuild { stage: Stage::Ending(pending), writes });
                return;
            }
        };
        let shown = pending.end.record().clone();
        let PendingEnd { end, ending, at, .. } = *pending;
        let (build, is_recorded) = match end {
            End::BeforeStart(build, state) => (build.end(state, ending, at), false),
            End::OfRun(build, state) => (build.end(state, ending, at), false),
            End::Recorded(build) => (build, true),
        };
        let record = build.record().clone();
        let mut files = if is_recorded { Vec::new() } else { vec![File::Build(record.clone())] };
        files.extend(self.messages(&record, &past));
        files.push(File::CloseBuild(id));
        if self.needs_past(&record) {
            self.learn(&record, past.history);
        }
        if record.state == BuildState::Succeeded {
            self.builders.became_warm(&record.path().to_string(), &record.builders);
        }
        self.builds.insert(id, OpenBuild { stage: Stage::Closing { build, shown }, writes });
        self.write_build(id, files, AfterWrite::Closed(id));
        // A daemon whose settings changed is restarted once no build uses it.
        self.builders.specify_managed(&mut self.out);
    }

    /// Whether the builds before one matter for its end.
    fn needs_past(&self, build: &Build) -> bool {
        ending(build).is_some() || notifications::needs_history(&self.settings, build)
    }

    /// The past that the end of a build is told by is known.
    pub(super) fn build_history(&mut self, id: BuildId, past: PastOfBuild) {
        let Some(open) = self.builds.get_mut(&id) else { return };
        if let Stage::Ending(pending) = &mut open.stage {
            pending.past = PastState::Known(Box::new(past));
            self.close(id);
        }
    }

    /// A build is final, on disk and told.
    pub(super) fn closed(&mut self, id: BuildId) {
        match self.builds.remove(&id).map(|open| open.stage) {
            Some(Stage::Closing { build, .. }) => self.out_of_table(build.record()),
            Some(Stage::Refusing { build, waiters }) => {
                let record = build.record().clone();
                self.out_of_table(&record);
                waiters.into_iter().for_each(|waiter| self.waiter_goes_on(waiter, &record));
            }
            _ => {}
        }
    }

    fn out_of_table(&mut self, record: &Arc<Build>) {
        Arc::make_mut(&mut self.ended).add(record.id);
        let text = format!("build {} of {} {}: {}", record.id, record.path(), record.state, record.reason);
        self.log(LogLevel::Info, text);
        self.answer_ended(record);
        self.reschedule = true;
    }

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
        let waits = |open: &OpenBuild| matches!(open.stage, Stage::Waiting(_));
        if self.builds.values().any(waits) {
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
        let with_turn = |build: Waiting| {
            let last_turn = self.last_turns.get(&build.repository).copied().unwrap_or(0);
            Waiting { last_turn, ..build }
        };
        let waiting: Vec<Waiting> = self.builds.values().filter_map(OpenBuild::waiting).map(with_turn).collect();
        let decisions = schedule(self.now, &waiting, &self.builder_views(), &self.pool_view());
        let lacks = |decision: &Decision| matches!(decision, Decision::Hold(WaitReason::NoPlatform(_)));
        if decisions.values().any(lacks) && self.refreshed_platforms.is_none_or(|at| at.is_over(self.now)) {
            self.refreshed_platforms = Some(Deadline::after(self.now, REFRESH_PLATFORMS));
            self.builders.refresh_platforms(&mut self.out);
        }
        decisions.into_iter().for_each(|(id, decision)| self.apply(id, decision));
    }

    fn apply(&mut self, id: BuildId, decision: Decision) {
        let Some(OpenBuild { stage, writes }) = self.builds.remove(&id) else { return };
        let Stage::Waiting(mut build) = stage else {
            self.builds.insert(id, OpenBuild { stage, writes });
            return;
        };
        let stage = match decision {
            Decision::Queue(reason) => {
                build.queue(reason.reason());
                Stage::Waiting(build)
            }
            Decision::Hold(reason) => {
                build.hold(reason.reason());
                Stage::Waiting(build)
            }
            Decision::Start(platform_builds) => {
                let chosen = |(name, platforms): (String, Vec<Platform>)| {
                    let builder = self.builders.get(&name)?;
                    let (config, address) = (builder.config.clone(), builder.address.clone());
                    Some(ChosenBuilder { name, config, address, platforms })
                };
                let chosen: Vec<ChosenBuilder> = platform_builds.into_iter().filter_map(chosen).collect();
                let builders = chosen.iter().map(|builder| builder.name.clone()).collect();
                self.turns += 1;
                self.last_turns.insert(build.record().path().to_string(), self.turns);
                self.out.push(Command::Launch { build: build.record().clone(), builders: chosen });
                Stage::Starting { build, builders }
            }
        };
        self.builds.insert(id, OpenBuild { stage, writes });
    }

    pub(super) fn pool_view(&self) -> PoolView {
        let mut running: BTreeMap<String, u32> = BTreeMap::new();
        for open in self.builds.values().filter(|open| open.is_underway()) {
            *running.entry(open.record().path().to_string()).or_default() += 1;
        }
        let (limit, blocked) = (self.limit(), self.disk.blocked.clone());
        PoolView { limit, running, blocked, unusable_builders: builders::unusable(&self.settings) }
    }

    pub(super) fn builder_views(&self) -> Vec<BuilderView> {
        let mut busy: BTreeMap<&str, u32> = BTreeMap::new();
        for name in self.builds.values().flat_map(OpenBuild::occupies) {
            *busy.entry(name).or_default() += 1;
        }
        let limit = self.limit();
        let view = |(name, builder): (&String, &builders::BuilderState)| BuilderView {
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

    /// A builder answered, or does not: running builds say so.
    pub(super) fn builder_probed(&mut self, builder: BuilderKey, address: String, result: Result<Workers, Reason>) {
        let silent = result.as_ref().err().cloned();
        if !self.builders.probed(&builder, &address, result, self.now) {
            return;
        }
        self.reschedule = true;
        for open in self.builds.values_mut() {
            let Stage::Running { build, .. } = &mut open.stage else { continue };
            let builders = &build.record().builders;
            if builders.contains(&builder.name) {
                let mut reason = reason!("build.runs", builders = joined(builders));
                if let Some(why) = &silent {
                    let name = &builder.name;
                    reason = reason!("build.builder_silent", reason, name, why);
                }
                build.explain(reason);
            }
        }
    }
}

impl PendingEnd {
    /// The record as it will be, as far as it matters for what others are told.
    fn as_ended(&self) -> Build {
        let state = match &self.end {
            End::BeforeStart(_, state) => (*state).into(),
            End::OfRun(_, state) => (*state).into(),
            End::Recorded(build) => return Build::clone(build.record()),
        };
        Build { state, failure: self.ending.failure.clone(), ..Build::clone(self.end.record()) }
    }
}

impl OpenBuild {
    /// As the scheduler sees it, where it waits.
    fn waiting(&self) -> Option<Waiting> {
        let Stage::Waiting(build) = &self.stage else { return None };
        let build = build.record();
        Some(Waiting {
            id: build.id,
            repository: build.path().to_string(),
            platforms: build.rule.platforms.clone(),
            labels: labels_asked(&build.settings),
            builder: Some(build.settings.builder.clone()).filter(|name| !name.is_empty()),
            not_before: not_before(build),
            retry: build.past_attempts.last().map(|past| AwaitedAttempt {
                number: build.present_attempt(),
                most: build.most_attempts.unwrap_or_else(|| build.present_attempt()),
                why: past.reason.clone(),
            }),
            awaited: build.awaits_commit().cloned(),
            last_turn: 0,
        })
    }
}
