//! New builds: nothing is queued that is not on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::File;
use super::event::{PastOfBuild, WriteFailure};
use super::tables::recent_moves::server_lag;
use super::tables::{AfterWrite, Core, OpenBuild, Stage, Waiter};
use crate::domain::build::{Build, BuildId, EndBeforeStart, Ending, WaitingBuild};
use crate::domain::reason::Reason;

impl Core {
    pub(super) fn shown_builds(&self) -> BTreeMap<BuildId, Arc<Build>> {
        self.builds.iter().filter_map(|(id, open)| Some((id, open.shown()?.clone()))).collect()
    }

    /// The records of all open builds.
    pub(super) fn open_records(&self) -> impl Iterator<Item = &Arc<Build>> {
        self.builds.iter().map(|(_, open)| open.record())
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
    pub(super) fn is_queued(&mut self, id: BuildId) {
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
            stage => self.builds.insert(id, OpenBuild { stage, writes }),
        }
    }

    pub(super) fn waiter_goes_on(&mut self, waiter: Waiter, record: &Arc<Build>) {
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
}
