//! What past builds of a rule say of its next ones: how often it failed in a row, what was built last, when its
//! schedule last ran. Pure; it may hear of builds in any order, and of each more than once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::build::{Build, BuildId, BuildState, RetryCause, Trigger};
use super::failure::FailureKind;
use super::name::RepositoryPath;
use super::push::{CommitId, Ref};
use super::rule::Rule;

/// The past of all rules.
#[derive(Debug, Clone, Default)]
pub struct Histories {
    rules: BTreeMap<(RepositoryPath, String), RuleHistory>,
}

/// The past of a rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleHistory {
    /// The rule as it was when it last failed: what a rule was before it was changed is not held against it.
    failed_as: Option<Rule>,
    failed: BTreeSet<BuildId>,
    succeeded: Option<BuildId>,
    refs: BTreeMap<Ref, Past>,
    scheduled: Option<DateTime<Utc>>,
}

/// The past of a rule's ref.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The last build that succeeded, and its commit.
    pub good: Option<(BuildId, CommitId)>,
    /// The last build that ran to its own end, good or bad.
    pub ended: Option<BuildId>,
    /// Whether the last builds ended well, failures of the machinery included, the newest last. Those that were tried
    /// again by themselves say nothing.
    outcomes: BTreeMap<BuildId, Outcome>,
}

/// How a build counts for whether the next one mends its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    Bad,
    /// It was tried again by itself.
    TriedAgain,
}

/// So many outcomes of a ref are kept: builds end in nearly the order of their numbers.
const OUTCOMES: usize = 16;

impl Histories {
    /// Takes a build into account.
    pub fn learn(&mut self, build: &Build) {
        self.rules.entry((build.path(), build.rule.name.clone())).or_default().learn(build);
    }

    /// Those that failed last, with their repositories' and their own names.
    pub fn failing(&self) -> impl Iterator<Item = ((&RepositoryPath, &str), &RuleHistory)> {
        let failing = self.rules.iter().filter(|(_, history)| !history.failed.is_empty());
        failing.map(|((path, rule), history)| ((path, rule.as_str()), history))
    }

    /// Whether any build of a repository succeeded.
    pub fn has_published(&self, path: &RepositoryPath) -> bool {
        let first = (path.clone(), String::new());
        let of_path = self.rules.range(first..).take_while(|((other, _), _)| other == path);
        of_path.into_iter().any(|(_, history)| history.succeeded.is_some())
    }

    /// The past of a rule; an empty one where it has none.
    pub fn of(&self, path: &RepositoryPath, rule: &str) -> RuleHistory {
        self.rules.get(&(path.clone(), rule.to_owned())).cloned().unwrap_or_default()
    }
}

impl RuleHistory {
    /// Takes a build of the rule into account.
    pub fn learn(&mut self, build: &Build) {
        self.learn_outcome(build);
        if build.trigger == Trigger::Schedule {
            self.scheduled = self.scheduled.max(Some(build.queued_at));
        }
        let failed = match build.state {
            BuildState::Succeeded => false,
            BuildState::TimedOut => true,
            // The machinery's failures, and commits that are gone, say nothing of the rule.
            BuildState::Failed => {
                let kind = build.failure.as_ref().map_or(FailureKind::Unknown, |failure| failure.kind);
                if kind.is_machinery() || matches!(kind, FailureKind::Cancelled | FailureKind::NoCommit) {
                    return;
                }
                true
            }
            _ => return,
        };
        let past = self.refs.entry(build.reference.clone()).or_default();
        past.ended = past.ended.max(Some(build.id));
        if !failed {
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

    fn learn_outcome(&mut self, build: &Build) {
        let outcome = match build.state {
            BuildState::Succeeded => Outcome::Good,
            BuildState::Failed | BuildState::TimedOut | BuildState::Interrupted => Outcome::Bad,
            _ => return,
        };
        let outcomes = &mut self.refs.entry(build.reference.clone()).or_default().outcomes;
        outcomes.entry(build.id).or_insert(outcome);
        if let Some(earlier) = retried_by_itself(build) {
            outcomes.insert(earlier, Outcome::TriedAgain);
        }
        while outcomes.len() > OUTCOMES {
            outcomes.pop_first();
        }
    }

    /// Whether the last build before this one of the same ref failed. What was tried again by itself was never told as a
    /// failure; what a person tried again was.
    pub fn failed_before(&self, build: &Build) -> bool {
        let tried_again = retried_by_itself(build);
        let outcomes = self.refs.get(&build.reference).map(|past| &past.outcomes);
        let before = outcomes.into_iter().flat_map(|outcomes| outcomes.range(..build.id).rev());
        let counts =
            |(id, outcome): &(&BuildId, &Outcome)| **outcome != Outcome::TriedAgain && Some(**id) != tried_again;
        before.filter(counts).map(|(_, outcome)| *outcome == Outcome::Bad).next().unwrap_or(false)
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

    /// Whether a build that just ended is what makes it so.
    pub fn is_paused_by(&self, build: &Build, rule: &Rule, usual_limit: u32) -> bool {
        let mut after = self.clone();
        after.learn(build);
        self.paused(rule, usual_limit).is_none() && after.paused(rule, usual_limit).is_some()
    }

    /// The past of one of its refs.
    pub fn past(&self, reference: &Ref) -> Past {
        self.refs.get(reference).cloned().unwrap_or_default()
    }

    /// The refs that were built, those that were built last first.
    pub fn refs(&self) -> Vec<(&Ref, &Past)> {
        let mut refs: Vec<_> = self.refs.iter().filter(|(_, past)| past.ended.is_some()).collect();
        refs.sort_by_key(|(_, past)| std::cmp::Reverse(past.ended));
        refs
    }

    /// When its schedule last started a build.
    pub fn scheduled(&self) -> Option<DateTime<Utc>> {
        self.scheduled
    }
}

/// The build that a build tries again because nobody's fault ended it.
fn retried_by_itself(build: &Build) -> Option<BuildId> {
    build.retry_of.filter(|_| build.retry_cause != Some(RetryCause::Person))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::build::sample;
    use crate::domain::failure::Failure;

    fn build(id: u64, state: BuildState) -> Build {
        let failure = (state == BuildState::Failed).then(|| Failure::new(FailureKind::Dockerfile, "exit code: 1"));
        Build { id: BuildId(id), state, failure, ..sample() }
    }

    fn history(builds: &[Build]) -> RuleHistory {
        let mut histories = Histories::default();
        builds.iter().for_each(|build| histories.learn(build));
        histories.of(&sample().path(), &sample().rule.name)
    }

    #[test]
    fn a_rule_is_paused_after_so_many_failures_of_its_own_in_a_row() {
        let rule = sample().rule;
        let mut machinery = build(3, BuildState::Failed);
        machinery.failure = Some(Failure::new(FailureKind::Network, "no route"));
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
        let refs: Vec<&str> = past.refs().iter().map(|(reference, _)| reference.name.as_str()).collect();
        assert_eq!(refs, ["other", "main"]);
        assert_eq!(past.past(&Ref::tag("v1")), Past::default());
    }

    #[test]
    fn a_build_that_a_schedule_started_counts_from_when_it_was_queued() {
        let queued = Build { trigger: Trigger::Schedule, ..build(1, BuildState::Queued) };
        let past = history(std::slice::from_ref(&queued));
        assert_eq!((past.scheduled(), past.refs().len()), (Some(queued.queued_at), 0));
    }

    #[test]
    fn only_the_build_before_of_the_same_ref_says_whether_a_rule_is_mended() {
        let now = build(9, BuildState::Succeeded);
        let passed_over =
            [Build { reference: Ref::branch("dev"), ..build(8, BuildState::Failed) }, build(5, BuildState::Cancelled)];
        let mended = |last: BuildState| {
            let earlier = [build(3, BuildState::Failed), build(4, last)].into_iter().chain(passed_over.clone());
            history(&earlier.collect::<Vec<_>>()).failed_before(&now)
        };
        assert!(mended(BuildState::TimedOut) && !mended(BuildState::Succeeded));
        assert!(!history(&[]).failed_before(&now));
    }

    #[test]
    fn a_failure_that_was_tried_again_by_itself_is_none_and_one_that_a_person_tried_again_is() {
        let failed = |id, of: Option<u64>, cause| Build {
            retry_of: of.map(BuildId),
            retry_cause: of.map(|_| cause),
            retried_as: Some(BuildId(id + 1)),
            ..build(id, BuildState::Failed)
        };
        let again = |cause| Build { state: BuildState::Succeeded, ..failed(9, Some(8), cause) };
        let earlier = [failed(7, None, RetryCause::Person), failed(8, Some(7), RetryCause::Machinery)];
        assert!(history(&earlier).failed_before(&again(RetryCause::Person)));
        assert!(!history(&earlier).failed_before(&again(RetryCause::Machinery)));
        let before = [build(6, BuildState::Failed), earlier[0].clone(), earlier[1].clone()];
        assert!(history(&before).failed_before(&again(RetryCause::Machinery)));
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
