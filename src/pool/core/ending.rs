//! The end of a build: its final record, what it means for others, and that it is open no more.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::command::{Command, File, LogLevel};
use super::event::PastOfBuild;
use super::notifications;
use super::tables::{AfterWrite, BuildWrites, Core, End, OpenBuild, PastState, PendingEnd, Stage};
use crate::domain::build::{Build, BuildId, BuildState, Ending, FinalBuild};
use crate::domain::rule_history::ending;

impl Core {
    /// Ends a build, once the builds before it are known where they matter.
    pub(super) fn end(&mut self, id: BuildId, end: End, ending: Ending, at: DateTime<Utc>, writes: BuildWrites) {
        self.reschedule = true;
        let pending = PendingEnd { end, ending, at, past: PastState::Unknown };
        self.builds.insert(id, OpenBuild { stage: Stage::Ending(Box::new(pending)), writes });
        self.close(id);
    }

    /// Closes a build that an earlier pool left final and open.
    pub(super) fn close_on(&mut self, build: FinalBuild) {
        let (id, at) = (build.record().id, self.now);
        let (end, ending) = (End::Recorded(build), Ending::default());
        let pending = PendingEnd { end, ending, at, past: PastState::Unknown };
        self.builds.insert(id, OpenBuild::at(Stage::Ending(Box::new(pending))));
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
        self.builds.change(id, |open| {
            if let Stage::Ending(pending) = &mut open.stage {
                pending.past = PastState::Known(Box::new(past));
            }
        });
        self.close(id);
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
}
