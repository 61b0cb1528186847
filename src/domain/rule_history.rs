//! What past builds of a rule say of its next ones: how often it failed in a row, what was built last, when its
//! schedule last ran. Pure; it may hear of builds in any order, and of each more than once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::build::{Build, BuildId, BuildState, Trigger};
use super::failure::FailureKind;
use super::push::{CommitId, Ref};
use super::rule::Rule;

/// The past of a rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleHistory {
    /// The rule as it was when it last failed: what a rule was before it was changed is not held against it.
    pub failed_as: Option<Rule>,
    /// The failures of that rule in a row.
    pub failed: BTreeSet<BuildId>,
    /// The last good build.
    pub succeeded: Option<BuildId>,
    /// The pasts of the refs that were asked for.
    pub refs: BTreeMap<Ref, Past>,
    /// When the rule's schedule last started a build.
    pub scheduled: Option<DateTime<Utc>>,
}

/// What a build that ran to its own end says of its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The rule builds.
    Good,
    /// The rule fails.
    Bad,
}

/// What a build says of its rule; none: nothing, such as a failure of the machinery, or of a commit that is gone.
pub fn ending(build: &Build) -> Option<Ending> {
    match build.state {
        BuildState::Succeeded => Some(Ending::Good),
        BuildState::TimedOut => Some(Ending::Bad),
        BuildState::Failed => {
            let kind = build.failure.as_ref().map_or(FailureKind::Unknown, |failure| failure.kind);
            let is_of_rule = !kind.is_machinery() && !matches!(kind, FailureKind::Cancelled | FailureKind::NoCommit);
            is_of_rule.then_some(Ending::Bad)
        }
        _ => None,
    }
}

/// The past of a rule's ref.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The last build that succeeded, and its commit.
    pub good: Option<(BuildId, CommitId)>,
    /// The last build that ran to its own end, good or bad.
    pub ended: Option<BuildId>,
}

impl RuleHistory {
    /// Takes a build of the rule into account.
    pub fn learn(&mut self, build: &Build) {
        if build.trigger == Trigger::Schedule {
            self.scheduled = self.scheduled.max(Some(build.queued_at));
        }
        let Some(ending) = ending(build) else { return };
        let past = self.refs.entry(build.reference.clone()).or_default();
        past.ended = past.ended.max(Some(build.id));
        if ending == Ending::Good {
            self.succeeded = self.succeeded.max(Some(build.id));
            if past.good.as_ref().is_none_or(|(id, _)| *id < build.id) {
                past.good = Some((build.id, build.commit.clone()));
            }
            self.failed = self.failed.split_off(&self.succeeded.unwrap_or(build.id));
        } else if self.succeeded < Some(build.id) {
            if self.failed_as.as_ref() != Some(&build.rule) {
                if self.failed.last() > Some(&build.id) {
                    return;
                }
                self.failed.clear();
                self.failed_as = Some(build.rule.clone());
            }
            self.failed.insert(build.id);
        }
    }

    /// How often the rule, as it is now, failed in a row.
    pub fn failures(&self, rule: &Rule) -> u32 {
        if self.failed_as.as_ref() != Some(rule) {
            return 0;
        }
        u32::try_from(self.failed.len()).unwrap_or(u32::MAX)
    }

    /// How often it failed in a row, where that is too often for it to be built by itself.
    pub fn paused(&self, rule: &Rule, usual_limit: u32) -> Option<u32> {
        let limit = rule.pause_after.unwrap_or(usual_limit);
        Some(self.failures(rule)).filter(|failures| limit > 0 && *failures >= limit)
    }

    /// Whether a build that just ended is what makes it so, known here already or not.
    pub fn is_paused_by(&self, build: &Build, rule: &Rule, usual_limit: u32) -> bool {
        let mut before = self.clone();
        before.failed.remove(&build.id);
        let mut after = before.clone();
        after.learn(build);
        before.paused(rule, usual_limit).is_none() && after.paused(rule, usual_limit).is_some()
    }

    /// The past of one of its refs.
    pub fn past(&self, reference: &Ref) -> Past {
        self.refs.get(reference).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::build::sample;
    use crate::domain::failure::Failure;
    use crate::domain::reason::Reason;

    fn build(id: u64, state: BuildState) -> Build {
        let failure = (state == BuildState::Failed)
            .then(|| Failure::new(FailureKind::Dockerfile, Reason::verbatim("exit code: 1")));
        Build { id: BuildId(id), state, failure, ..sample() }
    }

    fn history(builds: &[Build]) -> RuleHistory {
        let mut history = RuleHistory::default();
        builds.iter().for_each(|build| history.learn(build));
        history
    }

    #[test]
    fn a_rule_is_paused_after_so_many_failures_of_its_own_in_a_row() {
        let rule = sample().rule;
        let mut machinery = build(3, BuildState::Failed);
        machinery.failure = Some(Failure::new(FailureKind::Network, Reason::verbatim("no route")));
        let failed = |id| build(id, BuildState::Failed);
        let past = history(&[failed(1), build(2, BuildState::Cancelled), machinery, build(4, BuildState::TimedOut)]);
        assert_eq!(past.failures(&rule), 2);
        assert_eq!((past.paused(&rule, 2), past.paused(&rule, 3), past.paused(&rule, 0)), (Some(2), None, None));
        let never = Rule { pause_after: Some(0), ..rule.clone() };
        assert_eq!(past.paused(&never, 2), None);
        let good = history(&[failed(1), failed(2), build(3, BuildState::Succeeded), failed(4)]);
        assert_eq!(good.failures(&rule), 1);
    }

    #[test]
    fn what_a_rule_was_before_it_was_changed_is_not_held_against_it() {
        let changed = Rule { target: Some("release".into()), ..sample().rule };
        let past = history(&[build(1, BuildState::Failed), build(2, BuildState::Failed)]);
        assert_eq!(past.failures(&changed), 0);
        let again = Build { rule: changed.clone(), ..build(3, BuildState::Failed) };
        let past = history(&[build(1, BuildState::Failed), build(2, BuildState::Failed), again]);
        assert_eq!(past.failures(&changed), 1);
    }

    #[test]
    fn the_last_good_build_of_each_ref_is_known() {
        let other = Build { reference: Ref::branch("other"), ..build(3, BuildState::Succeeded) };
        let past = history(&[build(1, BuildState::Succeeded), build(2, BuildState::Failed), other]);
        let main = past.past(&sample().reference);
        assert_eq!((main.good, main.ended), (Some((BuildId(1), sample().commit)), Some(BuildId(2))));
        assert_eq!(past.past(&Ref::tag("v1")), Past::default());
    }

    #[test]
    fn a_build_that_a_schedule_started_counts_from_when_it_was_queued() {
        let queued = Build { trigger: Trigger::Schedule, ..build(1, BuildState::Queued) };
        let past = history(std::slice::from_ref(&queued));
        assert_eq!((past.scheduled, past.refs.len()), (Some(queued.queued_at), 0));
    }

    proptest! {
        #[test]
        fn it_is_the_same_in_whatever_order_and_however_often_builds_are_heard_of(
            states in prop::collection::vec(0..3u8, 1..12),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let state = |number: u8| [BuildState::Succeeded, BuildState::Failed, BuildState::Cancelled][usize::from(number)];
            let builds: Vec<Build> =
                states.iter().enumerate().map(|(id, number)| build(id as u64 + 1, state(*number))).collect();
            let mixed: Vec<Build> = order.iter().map(|index| builds[index.index(builds.len())].clone()).chain(builds.iter().rev().cloned()).collect();
            let (one, other) = (history(&builds), history(&mixed));
            prop_assert_eq!(one.failures(&sample().rule), other.failures(&sample().rule));
            prop_assert_eq!(one.refs, other.refs);
        }
    }
}
