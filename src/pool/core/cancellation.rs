//! Builds that are stopped: because somebody asks, or because a newer one makes them superfluous.

use chrono::TimeDelta;

use super::command::{Command, File, LogLevel};
use super::outcome;
use super::tables::{AfterWrite, Core, OpenBuild, Stage};
use crate::domain::backoff::Deadline;
use crate::domain::build::{Build, BuildId, CancelRequest};
use crate::domain::journal::superseded;
use crate::domain::requester::Requester;

/// A runner that was told to stop and is still there is killed: final within 15 s, whatever `buildctl` does.
const KILL_AFTER: TimeDelta = TimeDelta::seconds(13);

impl Core {
    /// Ends the builds that a newer one makes superfluous.
    pub(super) fn supersede(&mut self, newer: &Build) {
        let of_ref = self.builds.of_ref(newer.path(), newer.reference.clone());
        let open = of_ref.filter(|open| open.goes_on()).map(|open| open.record().as_ref());
        for id in superseded(open, newer) {
            let by = Requester::default();
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
        self.builds.change(id, |open| {
            if let Stage::Running { build, runner: Some(runner), kill: kill @ None } = &mut open.stage
                && build.record().cancel.is_some()
            {
                *kill = Some(deadline);
                self.out.push(Command::SignalRunner { build: id, runner: *runner, kill: false });
            }
        });
    }

    pub(super) fn kill_hanging_runners(&mut self) {
        let now = self.now;
        let is_over = |open: &OpenBuild| open.kill().is_some_and(|kill| kill.is_over(now));
        let hanging: Vec<BuildId> =
            self.builds.underway().filter(|(_, open)| is_over(open)).map(|(id, _)| id).collect();
        for id in hanging {
            let kill_again = |open: &mut OpenBuild| {
                let Stage::Running { runner: Some(runner), kill, .. } = &mut open.stage else { return None };
                *kill = Some(Deadline::after(now, KILL_AFTER));
                Some(*runner)
            };
            let Some(runner) = self.builds.change(id, kill_again).flatten() else { continue };
            self.log(LogLevel::Warn, format!("the runner of build {id} did not stop; it is killed"));
            self.out.push(Command::SignalRunner { build: id, runner, kill: true });
        }
    }
}
