//! The evaluation of a push: every rule answers it, builds are queued, older ones end, and all of it is written into the
//! journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::TimeDelta;

use super::ask::Target;
use super::command::{Command, File, LogLevel};
use super::event::CommitUnread;
use super::objections::{not_of_interest, renamed_default};
use super::tables::{
    AfterRefresh, AfterWrite, CommitFacts, Core, OpenBuild, PendingPush, Purpose, PushStage, RuleChoice, RuleWait,
    Submission,
};
use crate::domain::backoff::{Backoff, Deadline};
use crate::domain::build::{Build, BuildId, Trigger};
use crate::domain::commit_message::subject;
use crate::domain::journal::{Answer, PushId, PushRecord, Verdict, refusal};
use crate::domain::problem::Topic;
use crate::domain::push::Push;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::repository::Repository;
use crate::domain::rule::{Rule, Supersede};
use crate::domain::rule_history::RuleHistory;
use crate::protocol::{Error, ErrorKind, PausedRule};
use crate::source::Commit;

/// A build that could not be queued is tried again at these intervals.
const QUEUE_AGAIN: Backoff = Backoff::seconds(2, 5 * 60);
/// So many commits are read at once: a tree may have to be fetched for it.
const READ_AT_ONCE: usize = 8;
/// A wait before the first answer of a rule that is shorter than this is not worth a line in the journal.
const WORTH_WRITING: TimeDelta = TimeDelta::seconds(3);

impl Core {
    /// Pushes are in the journal: the rules are asked.
    pub(super) fn journalled(&mut self, pushes: &[PushId], announced: Option<super::RequestId>) {
        for id in pushes {
            Arc::make_mut(&mut self.written_pushes).add(*id);
            self.when_fresh(AfterRefresh::Push(*id));
        }
        if let Some(request) = announced {
            self.respond(request, super::Response::Done);
        }
    }

    /// Takes over a push that an earlier pool wrote into the journal and did not come to evaluate.
    pub(super) fn take_push(&mut self, record: PushRecord, missing: Vec<String>, built: BTreeMap<String, BuildId>) {
        self.pushes.insert(record.id, PendingPush::new(record, missing, built));
    }

    /// Asks the rules of the settings in force.
    pub(super) fn evaluate(&mut self, id: PushId) {
        let Some(push) = self.pushes.get_mut(&id) else { return };
        let Some(repository) = self.settings.repositories.get(&push.record.repository) else {
            return self.settle(id);
        };
        let matches = |rule: &&Rule| {
            !push.built.contains_key(&rule.name)
                && !push.has_answered(&rule.name)
                && refusal(repository, rule, &push.record.reference).is_none()
        };
        let rules: Vec<String> = repository.rules.iter().filter(matches).map(|rule| rule.name.clone()).collect();
        if rules.is_empty() {
            return self.know_commit(id, CommitFacts::default());
        }
        push.stage = PushStage::History;
        let (path, reference) = (push.record.repository.clone(), push.record.reference.clone());
        self.out.push(Command::ReadPushHistory { push: id, path, reference, rules });
    }

    /// The pasts of the rules that match a push are known.
    pub(super) fn push_history(&mut self, id: PushId, histories: BTreeMap<String, RuleHistory>) {
        let Some(push) = self.pushes.get_mut(&id).filter(|push| matches!(push.stage, PushStage::History)) else {
            return;
        };
        push.histories = histories;
        let repository = self.settings.repositories.get(&push.record.repository);
        let knows_all = push.record.subject.is_some() && push.since(repository).is_empty();
        if knows_all || repository.is_none_or(|repository| repository.source.is_none()) {
            return self.know_commit(id, CommitFacts::default());
        }
        push.stage = PushStage::Commit;
        self.unread_pushes.insert(id);
        self.read_commits();
    }

    fn know_commit(&mut self, id: PushId, commit: CommitFacts) {
        if let Some(push) = self.pushes.get_mut(&id) {
            push.stage = PushStage::Rules { commit, waiting: BTreeMap::new() };
            self.ask_rules(id);
        }
    }

    /// Has commits read, of each repository one at a time. Those that doubtful moves wait for come first.
    pub(super) fn read_commits(&mut self) {
        self.check_moves(READ_AT_ONCE);
        let (mut begun, mut gone) = (Vec::new(), Vec::new());
        for id in &self.unread_pushes {
            if self.reading_commits.len() >= READ_AT_ONCE {
                break;
            }
            let Some(push) = self.pushes.get_mut(id) else { continue };
            let path = push.record.repository.clone();
            if self.reading_commits.contains(&path) {
                continue;
            }
            let repository = self.settings.repositories.get(&path);
            let Some((repository, source)) = repository.and_then(|found| Some((found, found.source.clone()?))) else {
                // It was removed meanwhile, and its rules with it.
                gone.push(*id);
                continue;
            };
            let since = push.since(Some(repository));
            begun.push(*id);
            self.out.push(Command::ReadCommit {
                push: *id,
                source,
                reference: push.record.reference.clone(),
                commit: push.record.commit.clone(),
                since,
                path: path.clone(),
            });
            self.reading_commits.insert(path);
        }
        begun.iter().chain(&gone).for_each(|id| _ = self.unread_pushes.remove(id));
        gone.into_iter().for_each(|id| self.know_commit(id, CommitFacts::default()));
    }

    pub(super) fn commit_read(&mut self, id: PushId, commit: Result<Commit, CommitUnread>) {
        let Some(push) = self.pushes.get_mut(&id) else { return };
        self.reading_commits.remove(&push.record.repository);
        let facts = match commit {
            Ok(Commit { message, changed, .. }) => {
                push.record.subject = Some(subject(&message).to_owned());
                CommitFacts { changed, ..CommitFacts::default() }
            }
            Err(CommitUnread::NotACommit(why)) => CommitFacts { not_a_commit: Some(why), ..CommitFacts::default() },
            Err(CommitUnread::Unknown(why)) => CommitFacts { unknown: Some(why), ..CommitFacts::default() },
        };
        let unknown = facts.unknown.clone();
        if let Some(why) = unknown {
            self.log(LogLevel::Warn, format!("push {id}: what it changes is not known: {why}"));
        }
        self.know_commit(id, facts);
        self.read_commits();
    }

    /// Asks the rules in their order, up to the next one whose build is on its way. One that waits for a registry or the
    /// disk holds up none of the others.
    fn ask_rules(&mut self, id: PushId) {
        loop {
            let Some(push) = self.pushes.get(&id) else { return };
            let PushStage::Rules { waiting, .. } = &push.stage else { return };
            if waiting.values().any(|wait| wait.retry.is_none()) {
                return;
            }
            let Some(repository) = self.settings.repositories.get(&push.record.repository) else {
                return self.settle(id);
            };
            let is_open = |rule: &&Rule| !push.has_answered(&rule.name) && !waiting.contains_key(&rule.name);
            let Some(rule) = repository.rules.iter().find(is_open).cloned() else {
                if waiting.is_empty() {
                    self.settle(id);
                }
                return;
            };
            let against = self.against(push, repository, &rule);
            match against {
                Some(answer) => self.answer(id, answer),
                None => return self.queue_rule(id, rule.name, 0),
            }
        }
    }

    /// The answer of a rule that builds nothing now; none: its build is to be queued.
    fn against(&self, push: &PendingPush, repository: &Repository, rule: &Rule) -> Option<Answer> {
        let record = &push.record;
        let answer =
            |(verdict, reason): (Verdict, Reason)| Answer { rule: rule.name.clone(), verdict, build: None, reason };
        if let Some(build) = push.built.get(&rule.name) {
            return Some(Answer {
                build: Some(*build),
                ..answer((Verdict::Built, reason!("journal.build", build = *build)))
            });
        }
        if let Some((verdict, reason)) = refusal(repository, rule, &record.reference) {
            return Some(answer((verdict, renamed_default(rule, record, &push.missing, reason))));
        }
        let history = push.histories.get(&rule.name).cloned().unwrap_or_default();
        let PushStage::Rules { commit, .. } = &push.stage else { return None };
        let is_building = self.open_builds_of(record, rule).next().is_some();
        let of_commit = || not_of_interest(record, commit, rule, &history.past(&record.reference), is_building);
        let paused = || {
            let failures = history.paused(rule, self.settings.config.pool.pause_after)?;
            let paused = PausedRule { repository: record.repository.clone(), rule: rule.name.clone(), failures };
            Some((Verdict::Paused, paused.into()))
        };
        of_commit().or_else(paused).or_else(|| self.overtaken(record, rule)).map(answer)
    }

    /// The builds of a rule and a push's ref that are not finished.
    fn open_builds_of<'a>(&'a self, push: &'a PushRecord, rule: &'a Rule) -> impl Iterator<Item = &'a Arc<Build>> {
        let of_ref = self.builds.of_ref(push.repository.clone(), push.reference.clone());
        let goes_on = of_ref.filter(|open| open.is_not_ended()).map(OpenBuild::record);
        goes_on.filter(|build| build.rule.name == rule.name)
    }

    /// Where a build of a newer push of the same ref was queued meanwhile, and the rule wants the newest alone.
    fn overtaken(&self, push: &PushRecord, rule: &Rule) -> Option<(Verdict, Reason)> {
        if rule.supersede == Supersede::Never {
            return None;
        }
        let newer = self.open_builds_of(push, rule).filter_map(|build| build.push);
        let newer = newer.filter(|newer| *newer > push.id).max()?;
        Some((Verdict::Superseded, reason!("journal.newer_push", newer)))
    }

    fn queue_rule(&mut self, id: PushId, rule: String, failures: u32) {
        let Some(push) = self.pushes.get_mut(&id) else { return };
        let PushStage::Rules { waiting, .. } = &mut push.stage else { return };
        waiting.insert(rule.clone(), RuleWait { failures, retry: None });
        let record = &push.record;
        let (reference, commit, at) = (record.reference.clone(), record.commit.clone(), record.pushed_at);
        let target = Some(Target::At(Push { reference, commit, at }));
        let (path, purpose) = (record.repository.clone(), Purpose::Push(id, rule.clone()));
        self.submit_push(Submission::new(purpose, path, RuleChoice::Named(rule), target, Trigger::Push));
    }

    /// The build of a rule is queued or refused, or was there already.
    pub(super) fn rule_queued(&mut self, id: PushId, rule: &str, build: &Build, already: bool) {
        let answer = |verdict, reason| Answer { rule: rule.to_owned(), verdict, build: Some(build.id), reason };
        let answer = if already {
            answer(Verdict::Duplicate, reason!("journal.duplicate", build = build.id, state = build.state))
        } else if build.state.is_final() {
            answer(Verdict::Refused, build.reason.clone())
        } else {
            let unknown = self.pushes.get(&id).and_then(PendingPush::unknown);
            let unknown = unknown.map(|why| reason!("journal.changes_unknown", why));
            let notes = unknown.into_iter().chain(build.warnings.iter().cloned());
            let built = reason!("journal.build", build = build.id);
            answer(Verdict::Built, notes.fold(built, |answer, note| reason!("journal.noted", answer, note)))
        };
        self.rule_answered(id, rule, answer);
    }

    /// The build of a rule could not be queued. What `may_pass`, such as a full disk, is tried again.
    pub(super) fn rule_failed(&mut self, id: PushId, rule: &str, error: Error, may_pass: bool) {
        if self.stopping {
            // The next pool evaluates it.
            return;
        }
        if !may_pass {
            let verdict = if error.kind == ErrorKind::Refused { Verdict::Refused } else { Verdict::Failed };
            let answer = Answer { rule: rule.to_owned(), verdict, build: None, reason: error.reason };
            return self.rule_answered(id, rule, answer);
        }
        let Some(push) = self.pushes.get_mut(&id) else { return };
        let PushStage::Rules { waiting, .. } = &mut push.stage else { return };
        let Some(wait) = waiting.get_mut(rule) else { return };
        let pause = QUEUE_AGAIN.wait(wait.failures);
        wait.failures += 1;
        let retry = Deadline::after(self.now, pause);
        wait.retry = Some(retry);
        self.waiting_pushes.insert(id);
        let reason = reason!("journal.waiting", why = error.reason, at = retry.at());
        push.answer(Answer { rule: rule.to_owned(), verdict: Verdict::Waiting, build: None, reason });
        let repository = &push.record.repository;
        let problem = reason!("problem.rule_waits", push = id, repository, rule = quoted(rule), why = error.reason);
        self.set_problem(Topic::Push(id), Some(problem));
        if pause >= WORTH_WRITING {
            self.write_push(id);
        }
        self.ask_rules(id);
    }

    fn rule_answered(&mut self, id: PushId, rule: &str, answer: Answer) {
        let Some(push) = self.pushes.get_mut(&id) else { return };
        if let PushStage::Rules { waiting, .. } = &mut push.stage {
            waiting.remove(rule);
        }
        self.answer(id, answer);
        self.ask_rules(id);
        // What others have answered is in the journal, though one of them waits.
        if self.pushes.get(&id).is_some_and(PendingPush::has_waiting_rules) {
            self.write_push(id);
        }
    }

    fn answer(&mut self, id: PushId, answer: Answer) {
        if let Some(push) = self.pushes.get_mut(&id) {
            push.answer(answer);
        }
    }

    /// Tries rules again whose builds could not be queued.
    pub(super) fn retry_pushes(&mut self) {
        let now = self.now;
        let mut due = Vec::new();
        self.waiting_pushes.retain(|id| {
            let Some(PendingPush { stage: PushStage::Rules { waiting, .. }, .. }) = self.pushes.get(id) else {
                return false;
            };
            let over = waiting.iter().filter(|(_, wait)| wait.retry.is_some_and(|retry| retry.is_over(now)));
            due.extend(over.map(|(rule, wait)| (*id, rule.clone(), wait.failures)));
            waiting.values().any(|wait| wait.retry.is_some())
        });
        for (id, rule, failures) in due {
            let Some(push) = self.pushes.get(&id) else { continue };
            // One of a push at a time: rules of one push may not make the same tag.
            if push.is_queueing() {
                continue;
            }
            let repository = self.settings.repositories.get(&push.record.repository);
            let found = repository.and_then(|found| Some((found, found.rule(&rule)?)));
            match found.map(|(repository, found)| self.against(push, repository, found)) {
                Some(None) => self.queue_rule(id, rule, failures),
                Some(Some(answer)) => self.rule_answered(id, &rule, answer),
                None => {
                    let reason = reason!("journal.rule_removed");
                    let answer = Answer { rule: rule.clone(), verdict: Verdict::Failed, build: None, reason };
                    self.rule_answered(id, &rule, answer);
                }
            }
        }
    }

    /// All rules have answered a push: that is written down. Where it can't be written, the next pool finds the builds by
    /// the push that they name.
    fn settle(&mut self, id: PushId) {
        let Some(push) = self.pushes.get_mut(&id) else { return };
        push.stage = PushStage::Settled;
        push.record.settled = true;
        let record = &push.record;
        let answers: Vec<String> = record
            .answers
            .iter()
            .map(|answer| format!("{}: {} ({})", answer.rule, answer.verdict.word(), answer.reason))
            .collect();
        let text = format!("push {id} of {} to {}: {}", record.reference, record.repository, answers.join("; "));
        self.log(LogLevel::Info, text);
        self.set_problem(Topic::Push(id), None);
        self.write_push(id);
    }

    fn write_push(&mut self, id: PushId) {
        let Some(push) = self.pushes.get_mut(&id) else { return };
        if std::mem::replace(&mut push.writing, true) {
            push.dirty = true;
            return;
        }
        let file = File::Push(Box::new(push.record.clone()));
        self.write(vec![file], AfterWrite::Push(id));
    }

    pub(super) fn push_written(&mut self, id: PushId) {
        Arc::make_mut(&mut self.written_pushes).add(id);
        let Some(push) = self.pushes.get_mut(&id) else { return };
        push.writing = false;
        if std::mem::take(&mut push.dirty) {
            self.write_push(id);
        } else if matches!(push.stage, PushStage::Settled) {
            self.pushes.remove(&id);
        }
    }
}
