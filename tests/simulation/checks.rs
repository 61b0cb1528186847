//! The invariants: what holds at any time, and what holds once the world is quiet.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use slipway::domain::build::{AttemptOutcome, Build, BuildId, BuildState, Trigger};
use slipway::domain::failure::FailureKind;
use slipway::domain::journal::{PushId, PushRecord, Verdict, refusal};
use slipway::domain::name::RepositoryPath;
use slipway::domain::notification;
use slipway::domain::outbox::Message;
use slipway::domain::push::{CommitId, Ref, RefKind};
use slipway::domain::rule::Rule;
use slipway::pool::core::{File, WriteId};

use crate::sources::number_of;
use crate::world::{MINUTE, World};

/// In larger worlds, what is shown is compared with the disk after one event in so many.
const COMPARED_ONE_IN: u64 = 512;
/// A push that is in the journal has its verdicts, or reasons for waiting, after this time.
const VERDICT_WITHIN: i64 = 30 * MINUTE;

/// What a build is of.
type Root = (RepositoryPath, String, Ref, CommitId);

/// What was seen so far of what must hold.
#[derive(Debug, Default)]
pub struct Checks {
    /// The builds that each list of files that is being written is of.
    writes: BTreeMap<WriteId, Vec<BuildId>>,
    /// In how many of them each build is.
    being_written: BTreeMap<BuildId, usize>,
    /// The builds that pushes started.
    roots: BTreeMap<Root, BuildId>,
    finals: BTreeMap<BuildId, Build>,
    journal: BTreeMap<PushId, PushRecord>,
    /// When each push was first in the journal, as long as it is not settled.
    unsettled: BTreeMap<PushId, i64>,
    put: BTreeSet<String>,
    delivered: BTreeSet<String>,
    given_up: BTreeSet<String>,
    started: BTreeMap<BuildId, i64>,
    /// Attempts of builds.
    meant_to_fail: BTreeSet<(BuildId, u32)>,
    /// The sources whose refs were listed, and when that was first.
    listed: BTreeMap<RepositoryPath, i64>,
    ended: u64,
}

impl Checks {
    /// What was being written is not written any more.
    pub fn pool_ended(&mut self) {
        self.writes.clear();
        self.being_written.clear();
        self.ended = 0;
    }

    pub fn write_begins(&mut self, write: WriteId, files: &[File]) {
        // A list that could not be written is written again.
        self.write_ends(write);
        let builds: Vec<BuildId> = files.iter().filter_map(build_of).collect();
        for id in &builds {
            *self.being_written.entry(*id).or_default() += 1;
        }
        self.writes.insert(write, builds);
    }

    pub fn write_ends(&mut self, write: WriteId) {
        for id in self.writes.remove(&write).into_iter().flatten() {
            if let Entry::Occupied(mut count) = self.being_written.entry(id) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    pub fn started(&mut self, id: BuildId, at: i64) {
        self.started.insert(id, at);
    }

    pub fn meant_to_fail(&mut self, id: BuildId, attempt: u32) {
        self.meant_to_fail.insert((id, attempt));
    }

    pub fn delivered(&mut self, message: &Message) {
        self.delivered.insert(message.name());
    }

    pub fn given_up(&mut self, message: &Message) {
        self.given_up.insert(message.name());
    }

    pub fn listed(&mut self, path: &RepositoryPath, at: i64) {
        self.listed.entry(path.clone()).or_insert(at);
    }

    /// How many builds ended, and how many of them well.
    pub fn counts(&self) -> (usize, usize) {
        let good = self.finals.values().filter(|build| build.state == BuildState::Succeeded).count();
        (self.finals.len(), good)
    }

    pub fn pushes(&self) -> usize {
        self.journal.len()
    }
}

fn build_of(file: &File) -> Option<BuildId> {
    match file {
        File::NewBuild(build) | File::Build(build) => Some(build.id),
        File::CloseBuild(id) => Some(*id),
        _ => None,
    }
}

impl World {
    /// A file is about to be written.
    pub fn check_file(&mut self, file: &File) {
        match file {
            File::NewBuild(build) => self.check_new_build(build),
            File::Build(build) => self.check_build(build),
            File::Push(push) => self.check_push(push),
            File::Message(message) => _ = self.checks.put.insert(message.name()),
            File::RemoveMessage(_) | File::CloseBuild(_) | File::RefsSeen { .. } => {}
        }
    }

    fn check_new_build(&mut self, build: &Build) {
        let id = build.id;
        if self.disk.record(id).is_some_and(|there| there.commit != build.commit || there.rule != build.rule) {
            return self.fail(format!("build {id} replaces another one"));
        }
        if build.trigger == Trigger::Push {
            let root = (build.path(), build.rule.name.clone(), build.reference.clone(), build.commit.clone());
            if let Some(other) = self.checks.roots.insert(root, id).filter(|other| *other != id) {
                let what = format!("{} of {}", build.commit.short(8), build.path());
                self.fail(format!("rule {} builds commit {what} as {other} and as {id}", build.rule.name));
            }
        }
        if build.state.is_final() {
            self.checks.finals.insert(id, build.clone());
        }
    }

    fn check_build(&mut self, build: &Build) {
        let Some(there) = self.disk.record(build.id) else { return };
        let may_follow = match there.state {
            BuildState::Queued | BuildState::Held => true,
            BuildState::Running => !build.state.is_waiting() || build.past_attempts.len() > there.past_attempts.len(),
            // A person may try it again.
            _ => *build == Build { retried_as: build.retried_as, ..Build::clone(there) },
        };
        let (past, before) = (&build.past_attempts, &there.past_attempts);
        let keeps_attempts = past.starts_with(before) && past.len() <= before.len() + 1;
        let has_another = build.most_attempts.is_none_or(|most| build.present_attempt() <= most);
        if !keeps_attempts || !has_another {
            return self.fail(format!("the attempts of build {} change from {before:?} to {past:?}", build.id));
        }
        if !may_follow {
            let text = format!("the record of build {} changes from {} to {}", build.id, there.state, build.state);
            return self.fail(text);
        }
        if build.state.is_final() {
            self.checks.finals.insert(build.id, build.clone());
        }
    }

    fn check_push(&mut self, push: &PushRecord) {
        let settled_before = self.checks.journal.get(&push.id).is_some_and(|before| before.settled);
        if settled_before && self.checks.journal.get(&push.id) != Some(push) {
            return self.fail(format!("push {} is settled and changes", push.id));
        }
        if push.settled {
            self.checks.unsettled.remove(&push.id);
        } else {
            self.checks.unsettled.entry(push.id).or_insert(self.now);
        }
        self.checks.journal.insert(push.id, push.clone());
    }

    /// What is shown is what is on disk, up to what is being written.
    pub fn check_snapshot(&mut self) {
        let large = self.plan.repositories > 20;
        if large && !self.events.is_multiple_of(COMPARED_ONE_IN) {
            return;
        }
        let Some(core) = &self.core else { return };
        let snapshot = core.snapshot();
        let is_being_written = |id: BuildId| self.checks.being_written.contains_key(&id);
        for (id, shown) in &snapshot.builds {
            if is_being_written(*id) {
                continue;
            }
            let Some(there) = self.disk.record(*id).filter(|_| self.disk.is_open(*id)) else {
                return self.fail(format!("build {id} is shown as {}, and is not open on disk", shown.state));
            };
            let stage = |state: BuildState| match state {
                BuildState::Queued | BuildState::Held => BuildState::Queued,
                state => state,
            };
            if stage(there.state) != stage(shown.state) {
                return self.fail(format!("build {id} is shown as {}, and on disk it is {}", shown.state, there.state));
            }
            if shown.reason.is_empty() && shown.state == BuildState::Held {
                return self.fail(format!("build {id} is held without a reason"));
            }
        }
        let (count, ended) = (snapshot.ended.count(), snapshot.ended.since(self.checks.ended));
        let still_open = ended
            .into_iter()
            .find(|id| self.disk.is_open(*id) || self.disk.record(*id).is_some_and(|build| !build.state.is_final()));
        self.checks.ended = count;
        if let Some(id) = still_open {
            self.fail(format!("build {id} is said to be at its end, and on disk it is not"));
        }
    }

    /// Every push has its verdicts, or a reason for waiting.
    pub fn check_waiting_pushes(&mut self) {
        let now = self.now;
        if self.core.is_none() || self.disk.full || self.disk.read_only {
            return;
        }
        let waits = |id: &PushId| {
            let answers = self.checks.journal.get(id).map(|push| &push.answers);
            answers.is_some_and(|answers| answers.iter().any(|answer| answer.verdict == Verdict::Waiting))
        };
        let silent = self.checks.unsettled.iter().find(|(id, since)| now - **since > VERDICT_WITHIN && !waits(id));
        let silent = silent.map(|(id, since)| (*id, *since));
        if let Some((id, since)) = silent {
            self.fail(format!("push {id} is in the journal since {since} ms and has neither verdicts nor a reason"));
        }
    }

    /// Whether nothing is left to be done.
    pub fn is_quiet(&self) -> bool {
        let open = self.disk.builds.values().any(|directory| directory.open);
        self.core.is_some() && !open && self.disk.outbox.is_empty() && self.disk.unsettled() == 0
    }

    /// What is left to be done, for people.
    pub fn left(&self) -> String {
        let open = self.disk.builds.iter().filter(|(_, directory)| directory.open);
        let open: Vec<String> = open
            .take(5)
            .map(|(id, _)| {
                let shown = self.core.as_ref().map(|core| core.snapshot().builds);
                let shown = shown.and_then(|builds| Some(builds.get(id)?.clone()));
                shown.map_or_else(
                    || format!("{id} is not shown"),
                    |build| format!("{id} {}: {}", build.state, build.reason),
                )
            })
            .collect();
        let pushes = self.disk.pushes.values().filter(|push| !push.settled);
        let pushes: Vec<String> = pushes.take(5).map(|push| format!("{} {:?}", push.id, push.answers)).collect();
        let messages: Vec<&String> = self.disk.outbox.keys().take(5).collect();
        format!("builds [{}], pushes [{}], messages {messages:?}", open.join("; "), pushes.join("; "))
    }

    /// What holds once the world is quiet.
    pub fn check_quiet_world(&mut self) {
        let problem = self
            .sources_problem()
            .or_else(|| self.newest_pushes_problem())
            .or_else(|| self.builds_problem())
            .or_else(|| self.messages_problem());
        if let Some(problem) = problem {
            self.fail(problem);
        }
        if !self.requests.is_empty() {
            let text = format!("requests are not answered: {:?}", self.requests);
            self.fail(text);
        }
    }

    /// What was seen is what is there.
    fn sources_problem(&self) -> Option<String> {
        let settings = &self.disk.settings;
        self.servers.iter().find_map(|(path, server)| {
            let source = settings.repositories[path].source.as_ref()?;
            let seen = self.disk.watched.of(path, &source.url).map(|seen| seen.refs);
            (seen.as_ref() != Some(&server.refs))
                .then(|| format!("of {path}, {seen:?} was seen, and {:?} is there", server.refs))
        })
    }

    /// The last push of each ref has a verdict of each rule, and its builds were built.
    fn newest_pushes_problem(&self) -> Option<String> {
        self.servers.iter().find_map(|(path, server)| {
            let listed = self.checks.listed.get(path)?;
            server.refs.iter().find_map(|(reference, commit)| {
                let change = server.changes.iter().rev().find(|change| change.after.as_ref() == Some(commit))?;
                // What was there at first sight is no push; with copies that lag, first sight is of a while before.
                (change.at > *listed).then(|| self.push_problem(path, reference, commit)).flatten()
            })
        })
    }

    fn push_problem(&self, path: &RepositoryPath, reference: &Ref, commit: &CommitId) -> Option<String> {
        let what = format!("{} at {reference} of {path}", number_of(commit));
        let is_it =
            |push: &&PushRecord| push.repository == *path && push.reference == *reference && push.commit == *commit;
        let Some(push) = self.checks.journal.values().rev().find(is_it) else {
            return Some(format!("commit {what} is in no push"));
        };
        if !push.settled {
            return Some(format!("the push of commit {what} is not settled"));
        }
        let repository = &self.disk.settings.repositories[path];
        repository.rules.iter().find_map(|rule| {
            let Some(answer) = push.answers.iter().find(|answer| answer.rule == rule.name) else {
                return Some(format!("rule {} says nothing of commit {what}", rule.name));
            };
            let matches = refusal(repository, rule, reference).is_none();
            let skips = push.subject.as_deref().is_some_and(|subject| subject.contains("[skip ci]"));
            let is_right = match answer.verdict {
                Verdict::Built | Verdict::Duplicate => matches && answer.build.is_some(),
                Verdict::NoMatch => !matches,
                Verdict::Skipped => matches && skips && reference.kind == RefKind::Branch,
                Verdict::Paths => matches && rule.looks_at_files(),
                Verdict::Paused => self.disk.settings.config.pool.pause_after > 0,
                // Of two rules that make the same tag one is built: the one that waits for the disk may come second.
                Verdict::Refused => matches && (repository.immutable || is_built_by_another(push, rule)),
                Verdict::Waiting | Verdict::AutoOff | Verdict::Superseded | Verdict::Failed => false,
            };
            if !is_right {
                return Some(format!("rule {} answers {answer:?} to commit {what}", rule.name));
            }
            let build = answer.build.filter(|_| answer.verdict == Verdict::Built)?;
            let last = self.checks.finals.get(&build)?;
            (!self.is_right_end(last)).then(|| {
                format!("build {} of the newest commit {what} ends as {}: {}", last.id, last.state, last.reason)
            })
        })
    }

    /// Whether a build of the newest commit of a ref may end so, and not be tried again by itself.
    fn is_right_end(&self, build: &Build) -> bool {
        let config = &self.disk.settings.config.pool;
        let is_meant_to_fail = self.checks.meant_to_fail.contains(&(build.id, build.newest_attempt()));
        match build.state {
            BuildState::Succeeded => true,
            BuildState::Cancelled => build.cancel.as_ref().is_some_and(|cancel| cancel.superseded_by.is_none()),
            BuildState::Superseded => false,
            BuildState::Failed => {
                let kind = build.failure.as_ref().map(|failure| failure.kind);
                if kind.is_some_and(FailureKind::is_machinery) {
                    let failed = build.past_attempts.iter().filter(|past| past.outcome == AttemptOutcome::Failed);
                    return failed.count() == config.retries as usize;
                }
                is_meant_to_fail && kind != Some(FailureKind::NoCommit)
            }
            BuildState::TimedOut => is_meant_to_fail,
            BuildState::Interrupted => {
                build.past_attempts.iter().any(|past| past.outcome == AttemptOutcome::Interrupted)
            }
            BuildState::Refused => build.immutable || self.disk.settings.repositories.len() > 3,
            BuildState::Queued | BuildState::Held | BuildState::Running => false,
        }
    }

    /// Every build is at its end.
    fn builds_problem(&self) -> Option<String> {
        self.disk.builds.iter().find_map(|(id, directory)| {
            let Some(build) = &directory.record else { return Some(format!("build {id} has no record")) };
            (!build.state.is_final()).then(|| format!("build {id} is closed and {}", build.state))
        })
    }

    /// Every message that is due was delivered, or given up for a reason.
    fn messages_problem(&self) -> Option<String> {
        let checks = &self.checks;
        let notify = &self.disk.settings.config.notify[0];
        checks.finals.values().find_map(|build| {
            // Whether its rule was mended, or is paused, is another check's.
            let events: Vec<notification::Event> = [(false, false), (false, true), (true, false), (true, true)]
                .into_iter()
                .filter_map(|(pauses, failed)| notification::event_for(notify, build, pauses, || failed))
                .collect();
            let names: Vec<String> =
                events.iter().map(|event| format!("{}-{}-chat", build.id.0, event.word())).collect();
            let is_told = |name: &String| checks.delivered.contains(name) || checks.given_up.contains(name);
            let lost = !names.is_empty() && !names.iter().any(is_told);
            lost.then(|| {
                let put = names.iter().filter(|name| checks.put.contains(*name)).count();
                format!(
                    "nobody was told that build {} {} ({put} of {names:?} were in the outbox)",
                    build.id, build.state
                )
            })
        })
    }
}

/// Whether the other one of two rules that make the same tag builds a push.
fn is_built_by_another(push: &PushRecord, rule: &Rule) -> bool {
    let others = push.answers.iter().filter(|answer| answer.rule != rule.name);
    ["one", "two"].contains(&rule.name.as_str())
        && others.into_iter().any(|answer| matches!(answer.verdict, Verdict::Built | Verdict::Duplicate))
}
