//! A push that rules are still to be asked of.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::domain::backoff::Deadline;
use crate::domain::build::BuildId;
use crate::domain::journal::{Answer, PushRecord, Verdict};
use crate::domain::push::CommitId;
use crate::domain::reason::Reason;
use crate::domain::repository::Repository;
use crate::domain::rule_history::RuleHistory;

/// A push that rules are still to be asked of.
#[derive(Debug)]
pub struct PendingPush {
    pub record: PushRecord,
    /// Branches that rules name and the source does not have, where the push is to its default branch.
    pub missing: Vec<String>,
    /// The builds that an earlier pool started for it, by their rules.
    pub built: BTreeMap<String, BuildId>,
    /// The pasts of the rules that match.
    pub histories: BTreeMap<String, RuleHistory>,
    pub stage: PushStage,
    /// Its record is being written with answers.
    pub writing: bool,
    /// The record changed since.
    pub dirty: bool,
}

#[derive(Debug)]
pub enum PushStage {
    /// Its record is being written, or the settings are being refreshed.
    Beginning,
    /// The pasts of the rules that match are being read.
    History,
    /// Its commit is to be read, or is being read.
    Commit,
    /// Rules are asked.
    Rules { commit: CommitFacts, waiting: BTreeMap<String, RuleWait> },
    /// All rules have answered, and that is being written.
    Settled,
}

/// What is known of a push's commit.
#[derive(Debug, Default)]
pub struct CommitFacts {
    /// The files that differ from the last good builds' commits.
    pub changed: BTreeMap<CommitId, Vec<String>>,
    /// Why the source could not say.
    pub unknown: Option<Reason>,
    /// What the ref names instead of a commit.
    pub not_a_commit: Option<Reason>,
}

/// A rule whose build is on its way into the queue.
#[derive(Debug, Default)]
pub struct RuleWait {
    pub failures: u32,
    /// When it is tried again; none while it is being tried.
    pub retry: Option<Deadline>,
}

impl PendingPush {
    pub fn new(record: PushRecord, missing: Vec<String>, built: BTreeMap<String, BuildId>) -> PendingPush {
        PendingPush {
            record,
            missing,
            built,
            histories: BTreeMap::new(),
            stage: PushStage::Beginning,
            writing: false,
            dirty: false,
        }
    }

    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let PushStage::Rules { waiting, .. } = &self.stage else { return None };
        waiting.values().filter_map(|wait| wait.retry).map(|retry| retry.at()).min()
    }

    pub fn has_answered(&self, rule: &str) -> bool {
        self.record.answers.iter().any(|answer| answer.rule == rule && answer.verdict != Verdict::Waiting)
    }

    /// Puts an answer in the place of what the rule waited for.
    pub fn answer(&mut self, answer: Answer) {
        match self.record.answers.iter_mut().find(|other| other.rule == answer.rule) {
            Some(other) => *other = answer,
            None => self.record.answers.push(answer),
        }
    }

    /// The commits of the last good builds, for the rules that look at what changed since.
    pub fn since(&self, repository: Option<&Repository>) -> Vec<CommitId> {
        let rules = repository.into_iter().flat_map(|repository| &repository.rules);
        let looking = rules.filter(|rule| rule.looks_at_files());
        let histories = looking.filter_map(|rule| self.histories.get(&rule.name));
        histories.filter_map(|history| history.past(&self.record.reference).good).map(|(_, commit)| commit).collect()
    }

    pub fn unknown(&self) -> Option<&Reason> {
        match &self.stage {
            PushStage::Rules { commit, .. } => commit.unknown.as_ref(),
            _ => None,
        }
    }

    pub fn has_waiting_rules(&self) -> bool {
        matches!(&self.stage, PushStage::Rules { waiting, .. } if waiting.values().any(|wait| wait.retry.is_some()))
    }

    pub fn is_queueing(&self) -> bool {
        matches!(&self.stage, PushStage::Rules { waiting, .. } if waiting.values().any(|wait| wait.retry.is_none()))
    }
}
