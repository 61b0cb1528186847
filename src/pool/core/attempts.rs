//! The attempts of a build: its runner starts, works and ends, and another one may follow.

use std::sync::Arc;

use chrono::TimeDelta;

use super::command::{Command, File, LogLevel};
use super::event::{BuilderKey, PastOfBuild, RunnerEnd, Workers};
use super::outcome::{self, Circumstances, Conclusion};
use super::tables::open_build::not_before;
use super::tables::recent_moves::server_lag;
use super::tables::{AfterWrite, BuildWrites, Core, End, OpenBuild, Stage};
use crate::domain::build::{Build, BuildId, EndBeforeStart, EndOfRun, RunningBuild, Trigger, WaitingBuild};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::reason::{Reason, joined, reason};
use crate::sys::process::ProcessId;

/// How soon a server is asked again for a commit that a webhook told of.
const ASK_FOR_COMMIT_AGAIN: TimeDelta = TimeDelta::seconds(3);

impl Core {
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
        let Some(record) = self.builds.get(id).map(OpenBuild::record) else { return false };
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
    pub(super) fn conclude_waiting(
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
        let bring_forward = |open: &mut OpenBuild| {
            let (Stage::Waiting(build) | Stage::Retrying { build, .. }) = &mut open.stage else { return None };
            if build.record().cancel.is_some() || not_before(build.record()).is_none() {
                return None;
            }
            build.bring_forward();
            Some(build.record().clone())
        };
        let record = self.builds.change(id, bring_forward)??;
        self.write_build(id, vec![File::Build(record.clone())], AfterWrite::Noted(id));
        self.reschedule = true;
        Some(record)
    }

    /// A builder answered, or does not: running builds say so.
    pub(super) fn builder_probed(&mut self, builder: BuilderKey, address: String, result: Result<Workers, Reason>) {
        let silent = result.as_ref().err().cloned();
        if !self.builders.probed(&builder, &address, result, self.now) {
            return;
        }
        self.reschedule = true;
        let underway: Vec<BuildId> = self.builds.underway().map(|(id, _)| id).collect();
        let explain = |open: &mut OpenBuild| {
            let Stage::Running { build, .. } = &mut open.stage else { return };
            let builders = &build.record().builders;
            if builders.contains(&builder.name) {
                let mut reason = reason!("build.runs", builders = joined(builders));
                if let Some(why) = &silent {
                    let name = &builder.name;
                    reason = reason!("build.builder_silent", reason, name, why);
                }
                build.explain(reason);
            }
        };
        underway.into_iter().for_each(|id| _ = self.builds.change(id, explain));
    }
}
