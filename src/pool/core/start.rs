//! The first event: what an earlier pool left on disk is carried on with.

use super::command::{Command, LogLevel};
use super::event::{Found, FoundBuild, FoundPush, Topic};
use super::ref_tracker::RefTracker;
use super::{AfterRefresh, Core};
use crate::domain::build::StagedBuild;
use crate::domain::journal::{PushRecord, Verdict};
use crate::store::pushes::Watched;

impl Core {
    pub(super) fn start(&mut self, found: Found) {
        let Found { settings, last_build, mut builds, watched, last_push, messages } = found;
        self.settings = settings;
        self.last_build = last_build;
        self.problems.follow(&self.settings, &self.settings);
        for text in self.settings.problems.values().cloned().collect::<Vec<_>>() {
            self.log(LogLevel::Warn, text);
        }
        self.out.push(Command::FindFailingRules);
        messages.into_iter().for_each(|message| self.deliver(message));
        // The newest first, so that a build that was tried again already is not tried again twice.
        builds.sort_by_key(|found| std::cmp::Reverse(found.build.id));
        builds.into_iter().for_each(|found| self.carry_on(found));
        self.take_over_refs(watched, last_push);
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
                self.run(id, build, builders, Some(runner), super::writes::BuildWrites::default());
            }
            (StagedBuild::Waiting(build), None) => {
                self.wait_on(build);
            }
        }
    }

    /// Takes over what an earlier pool saw. What it wrote into the journal and did not keep as seen must not be seen again,
    /// so nothing is compared with it before [`Core::pushes_left`].
    fn take_over_refs(&mut self, watched: Result<Watched, String>, last_push: u64) {
        match watched {
            Ok(watched) => {
                self.out.push(Command::FindPushes { kept: watched.last_push });
                self.refs = RefTracker::new(watched, last_push);
                self.refs.follow(&self.settings, self.now);
            }
            Err(error) => {
                // To begin anew would take every ref for seen: pushes that came meanwhile would be lost without a word.
                let text = format!("sources are not watched: {error}; fix it, and start the pool again");
                self.set_problem(Topic::RefsSeen, Some(text));
                self.refs = RefTracker::broken(last_push);
            }
        }
    }

    /// Takes over the pushes that an earlier pool did not come to evaluate.
    pub(super) fn pushes_left(&mut self, pushes: Vec<FoundPush>) {
        let records: Vec<PushRecord> = pushes.iter().map(|found| found.push.clone()).collect();
        if self.refs.catch_up(&records) {
            self.refs.changed(self.now);
            self.keep_refs_seen_now();
        }
        for FoundPush { mut push, built } in pushes.into_iter().filter(|found| !found.push.settled) {
            // The rest is as the earlier pool wrote it down.
            push.answers.retain(|answer| answer.verdict != Verdict::Waiting);
            let id = push.id;
            self.take_push(push, Vec::new(), built);
            self.when_fresh(AfterRefresh::Push(id));
        }
        for event in self.refs.take_deferred() {
            self.take(event);
        }
    }
}
