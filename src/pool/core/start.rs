//! The first event: what an earlier pool left on disk is carried on with.

use super::command::{Command, LogLevel};
use super::event::{Found, FoundBuild, FoundPush};
use super::tables::{AfterRefresh, BuildWrites, Core, RefTracker};
use crate::domain::build::StagedBuild;
use crate::domain::journal::{PushRecord, Verdict};
use crate::domain::problem::Topic;
use crate::domain::reason::{Reason, reason};
use crate::store::refs_seen::Watched;

impl Core {
    pub(super) fn start(&mut self, found: Found) {
        let Found { settings, last_build, mut builds, last_push, messages } = found;
        self.settings = settings;
        self.last_build = last_build;
        self.problems.follow(&self.settings, &self.settings);
        for text in self.settings.problems.values().map(ToString::to_string).collect::<Vec<_>>() {
            self.log(LogLevel::Warn, text);
        }
        self.out.push(Command::FindFailingRules);
        messages.into_iter().for_each(|message| self.deliver(message));
        builds.sort_by_key(|found| found.build.id);
        builds.into_iter().for_each(|found| self.carry_on(found));
        // What an earlier pool wrote into the journal and did not keep as seen must not be seen again: nothing is compared
        // before `pushes_left`.
        self.refs = RefTracker::waiting(last_push);
        self.out.push(Command::FindPushes);
        self.builders.follow(&self.settings, self.machine.buildkit_host.as_deref(), &mut self.out);
        self.reschedule = true;
        self.retain();
    }

    fn carry_on(&mut self, found: FoundBuild) {
        let FoundBuild { build, runner, builders } = found;
        let id = build.id;
        match (StagedBuild::from(build), runner) {
            (StagedBuild::Final(build), _) => self.close_on(build),
            (StagedBuild::Running(build), runner) => {
                self.log(LogLevel::Info, format!("build {id} is carried on with"));
                self.run_on(build, runner);
            }
            // Its record does not say yet that it runs: the pool died in between.
            (StagedBuild::Waiting(build), Some(runner)) => {
                self.log(LogLevel::Info, format!("build {id} is carried on with"));
                self.run(id, build, builders, Some(runner), BuildWrites::default());
            }
            (StagedBuild::Waiting(build), None) => {
                self.wait_on(build);
            }
        }
    }

    /// Takes over the refs that an earlier pool saw, and the pushes that it did not come to evaluate.
    pub(super) fn pushes_left(&mut self, watched: Result<Watched, Reason>, pushes: Vec<FoundPush>) {
        let deferred = self.refs.take_deferred();
        match watched {
            Ok(watched) => {
                let records: Vec<PushRecord> = pushes.iter().map(|found| found.push.clone()).collect();
                self.refs.take_over(watched, &records, self.now);
                self.refs.follow(&self.settings, self.now);
                self.keep_refs_seen_now();
            }
            Err(error) => {
                // To begin anew would take every ref for seen: pushes that came meanwhile would be lost without a word.
                self.set_problem(Topic::RefsSeen, Some(reason!("problem.refs_seen", error)));
                self.refs.break_off();
            }
        }
        for FoundPush { mut push, built } in pushes.into_iter().filter(|found| !found.push.settled) {
            // The rest is as the earlier pool wrote it down.
            push.answers.retain(|answer| answer.verdict != Verdict::Waiting);
            let id = push.id;
            self.take_push(push, Vec::new(), built);
            self.when_fresh(AfterRefresh::Push(id));
        }
        for event in deferred {
            self.take(event);
        }
    }
}
