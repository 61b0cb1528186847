//! The journal: every push that was seen, and what each rule made of it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::build::{Build, BuildId, BuildState};
use super::name::RepositoryPath;
pub use super::push::PushId;
use super::push::{CommitId, Ref, RefKind};
use super::repository::Repository;
use super::rule::Supersede;
use crate::domain::reason::{AsReason, Reason, quoted, reason, use_as_reason};

/// How long after a webhook a server may still answer from a copy without the push: GitHub's and other large hosts'
/// replicas lag behind.
pub const SERVER_LAG: Duration = Duration::from_secs(2 * 60);

/// A push that was seen. `pushes/<id>.toml`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushRecord {
    /// Its number.
    pub id: PushId,
    /// The repository whose source it went to.
    pub repository: RepositoryPath,
    /// The ref that moved.
    #[serde(rename = "ref")]
    pub reference: Ref,
    /// Where it points now.
    pub commit: CommitId,
    /// Where it pointed before; none: it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<CommitId>,
    /// When it was pushed, as far as it is known.
    pub pushed_at: DateTime<Utc>,
    /// Who said so.
    pub origin: Origin,
    /// The first line of the commit's message, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What each rule made of it, in the order of the rules; those that are not there yet are still to be asked.
    #[serde(default, rename = "answer")]
    pub answers: Vec<Answer>,
    /// All rules were asked.
    pub settled: bool,
}

/// Where the time of a push is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The source was asked for its refs: the push came at some time since it was asked before.
    Poll,
    /// The platform told of it.
    Webhook,
}

impl PushRecord {
    /// What the rules made of it that its ref is one of, in the order of the rules.
    pub fn answers_of_matching(&self) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(|answer| answer.verdict != Verdict::NoMatch)
    }

    /// The builds that were started for it, or were there already, in the order of the rules.
    pub fn builds(&self) -> impl Iterator<Item = BuildId> {
        self.answers.iter().filter_map(|answer| answer.build)
    }
}

impl Origin {
    /// As TOML has it.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Poll => "poll",
            Origin::Webhook => "webhook",
        }
    }
}

use_as_reason!(Origin);

impl AsReason for Origin {
    fn reason(&self) -> Reason {
        match self {
            Origin::Poll => reason!("origin.poll"),
            Origin::Webhook => reason!("origin.webhook"),
        }
    }
}

/// What one rule made of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The rule.
    pub rule: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The build that was started, or that was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// Why.
    pub reason: Reason,
}

/// What a rule answers to a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A build was started.
    Built,
    /// Its build can't be queued yet, and is tried again; the reason says what is waited for.
    Waiting,
    /// The ref is none of the rule's.
    NoMatch,
    /// The repository or the rule is not built by itself.
    AutoOff,
    /// The commit's subject asks not to be built.
    Skipped,
    /// No file that the rule looks at changed.
    Paths,
    /// The rule failed too often in a row.
    Paused,
    /// The same rule and commit is queued or running.
    Duplicate,
    /// A newer push of the same ref came before its build was queued.
    Superseded,
    /// A build was refused.
    Refused,
    /// The build could not be queued.
    Failed,
}

impl Verdict {
    /// As TOML has it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Built => "built",
            Verdict::Waiting => "waiting",
            Verdict::NoMatch => "no_match",
            Verdict::AutoOff => "auto_off",
            Verdict::Skipped => "skipped",
            Verdict::Paths => "paths",
            Verdict::Paused => "paused",
            Verdict::Duplicate => "duplicate",
            Verdict::Superseded => "superseded",
            Verdict::Refused => "refused",
            Verdict::Failed => "failed",
        }
    }
}

use_as_reason!(Verdict);

impl AsReason for Verdict {
    fn reason(&self) -> Reason {
        match self {
            Verdict::Built => reason!("verdict.built"),
            Verdict::Waiting => reason!("verdict.waiting"),
            Verdict::NoMatch => reason!("verdict.no_match"),
            Verdict::AutoOff => reason!("verdict.auto_off"),
            Verdict::Skipped => reason!("verdict.skipped"),
            Verdict::Paths => reason!("verdict.paths"),
            Verdict::Paused => reason!("verdict.paused"),
            Verdict::Duplicate => reason!("verdict.duplicate"),
            Verdict::Superseded => reason!("verdict.superseded"),
            Verdict::Refused => reason!("verdict.refused"),
            Verdict::Failed => reason!("verdict.failed"),
        }
    }
}

/// A ref that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The ref.
    pub reference: Ref,
    /// Where it pointed before; none: it is new.
    pub before: Option<CommitId>,
    /// Where it points now.
    pub commit: CommitId,
}

/// The refs that moved or are new, in the order of their names. A ref that is gone is no push; at first sight nothing
/// is.
pub fn moved(seen: Option<&BTreeMap<Ref, CommitId>>, now: &BTreeMap<Ref, CommitId>) -> Vec<Moved> {
    let Some(seen) = seen else { return Vec::new() };
    now.iter()
        .filter(|(reference, commit)| seen.get(reference) != Some(commit))
        .map(|(reference, commit)| Moved {
            reference: reference.clone(),
            before: seen.get(reference).cloned(),
            commit: commit.clone(),
        })
        .collect()
}

/// Whether a webhook's word for a branch is enough, given where the branch was last seen: only where it follows on
/// that.
///
/// Webhooks come late, twice, or out of order; where one does not follow on what was seen, the source itself is asked.
/// A tag's commit may be the tag's own object, so tags are asked for, too.
pub fn follows(seen: Option<&BTreeMap<Ref, CommitId>>, reference: &Ref, before: Option<&CommitId>) -> bool {
    reference.kind == RefKind::Branch && seen.is_some_and(|seen| seen.get(reference) == before)
}

/// A listing of a source, with what webhooks told meanwhile: `told` has where each ref was before. A listing that began
/// before the webhook, or of a server that answers from a copy which lags behind, would seem to move the ref back.
pub fn caught_up(
    mut listed: BTreeMap<Ref, CommitId>,
    seen: Option<&BTreeMap<Ref, CommitId>>,
    told: &BTreeMap<Ref, Vec<Option<CommitId>>>,
) -> BTreeMap<Ref, CommitId> {
    for (reference, befores) in told {
        if !befores.contains(&listed.get(reference).cloned()) {
            continue;
        }
        match seen.map(|seen| seen.get(reference)) {
            Some(Some(commit)) => _ = listed.insert(reference.clone(), commit.clone()),
            // A webhook told that it was deleted.
            Some(None) => _ = listed.remove(reference),
            None => {}
        }
    }
    listed
}

/// The builds that a newer build of the same rule and ref makes superfluous, as its rule has it.
pub fn superseded<'a>(open: impl Iterator<Item = &'a Build>, newer: &Build) -> Vec<BuildId> {
    let runs = |build: &Build| build.state == BuildState::Running;
    let ends = |build: &&Build| match newer.rule.supersede {
        Supersede::Never => false,
        Supersede::Queued => !runs(build),
        Supersede::Running => true,
    };
    // What a person asked for is that person's.
    let of_a_push = |build: &&Build| build.push.is_some() && build.push < newer.push;
    let same = |build: &&Build| {
        build.path() == newer.path() && build.rule.name == newer.rule.name && build.reference == newer.reference
    };
    open.filter(|build| build.cancel.is_none())
        .filter(same)
        .filter(of_a_push)
        .filter(ends)
        .map(|build| build.id)
        .collect()
}

/// What a rule says of a ref before any build is thought of; none: it is to be built.
pub fn refusal(repository: &Repository, rule: &super::rule::Rule, reference: &Ref) -> Option<(Verdict, Reason)> {
    match rule.matcher() {
        Err(error) => return Some((Verdict::Failed, error.into())),
        Ok((kind, _)) if kind != reference.kind => {
            return Some((Verdict::NoMatch, reason!("rule.no_match_kind", rule_kind = kind, kind = reference.kind)));
        }
        Ok((_, matcher)) if matcher.captures(&reference.name).is_none() => {
            let name = quoted(&reference.name);
            let reason = match matcher.near_miss(&reference.name) {
                Some(near) => reason!("rule.no_match_near", name, near),
                None => reason!("rule.no_match", name),
            };
            return Some((Verdict::NoMatch, reason));
        }
        Ok(_) => {}
    }
    if !repository.build.auto {
        return Some((Verdict::AutoOff, reason!("rule.repository_auto_off")));
    }
    if !rule.auto {
        return Some((Verdict::AutoOff, reason!("rule.auto_off")));
    }
    None
}

/// A push to `acme/api`, built by its rule, for tests.
#[cfg(test)]
pub(crate) fn sample() -> PushRecord {
    let build = super::build::sample();
    PushRecord {
        id: PushId(7),
        repository: build.path(),
        reference: build.reference.clone(),
        commit: build.commit.clone(),
        before: None,
        pushed_at: build.pushed_at,
        origin: Origin::Poll,
        subject: Some("news".into()),
        answers: vec![Answer {
            rule: build.rule.name.clone(),
            verdict: Verdict::Built,
            build: Some(build.id),
            reason: reason!("journal.build", build = build.id),
        }],
        settled: true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::pattern::Pattern;
    use crate::domain::rule::Rule;

    fn refs(list: &[(&str, char)]) -> BTreeMap<Ref, CommitId> {
        let commit = |digit: char| digit.to_string().repeat(40).parse().unwrap();
        list.iter().map(|(name, digit)| (name.parse().unwrap(), commit(*digit))).collect()
    }

    #[test]
    fn the_first_sight_of_a_source_is_no_push() {
        assert_eq!(moved(None, &refs(&[("refs/heads/main", 'a')])), []);
    }

    #[test]
    fn what_moved_or_is_new_is_a_push_and_what_is_gone_is_not() {
        let before = refs(&[
            ("refs/heads/gone", 'a'),
            ("refs/heads/main", 'a'),
            ("refs/heads/same", 'a'),
            ("refs/tags/v1", 'a'),
        ]);
        let now =
            refs(&[("refs/heads/main", 'b'), ("refs/heads/new", 'a'), ("refs/heads/same", 'a'), ("refs/tags/v1", 'c')]);
        let found: Vec<(String, bool)> =
            moved(Some(&before), &now).iter().map(|one| (one.reference.to_string(), one.before.is_some())).collect();
        let expected = [("refs/heads/main", true), ("refs/heads/new", false), ("refs/tags/v1", true)];
        assert_eq!(found, expected.map(|(name, known)| (name.to_owned(), known)));
    }

    proptest! {
        /// A branch that moves from commit to commit; listings that begin and end at any time, some from a copy that
        /// lags; webhooks that come late, twice, out of order, or never.
        #[test]
        fn however_polls_and_webhooks_interleave_each_commit_is_a_push_once(
            events in prop::collection::vec((0..5u8, any::<prop::sample::Index>(), any::<bool>()), 1..60),
        ) {
            let branch = Ref::branch("main");
            let commit = |number: usize| -> CommitId { format!("{number:040x}").parse().unwrap() };
            let at = |number: usize| BTreeMap::from([(branch.clone(), commit(number))]);
            let (mut head, mut seen, mut listing) = (0, at(0), None);
            let (mut told, mut found) = (BTreeMap::new(), Vec::new());
            for (event, which, lagging) in events {
                match event {
                    0 => head += 1,
                    1 => listing = listing.or(Some(head)),
                    2 => if let Some(number) = listing.take() {
                        // A copy that lags shows what was before a push that a webhook told.
                        let befores: &[Option<CommitId>] = told.get(&branch).map_or(&[], Vec::as_slice);
                        let before = befores.iter().flatten().next().filter(|_| lagging).cloned();
                        let listed = before.map_or_else(|| at(number), |before| BTreeMap::from([(branch.clone(), before)]));
                        let now = caught_up(listed, Some(&seen), &told);
                        found.extend(moved(Some(&seen), &now).into_iter().map(|moved| moved.commit));
                        seen = now;
                    },
                    // A webhook of any push so far.
                    _ if head > 0 => {
                        let number = which.index(head) + 1;
                        let before = Some(commit(number - 1));
                        if follows(Some(&seen), &branch, before.as_ref()) {
                            found.push(commit(number));
                            seen.insert(branch.clone(), commit(number));
                            told.entry(branch.clone()).or_insert_with(Vec::new).push(before);
                        }
                    }
                    _ => {}
                }
            }
            found.extend(moved(Some(&seen), &at(head)).into_iter().map(|moved| moved.commit));
            let once: std::collections::BTreeSet<_> = found.iter().collect();
            prop_assert_eq!(once.len(), found.len(), "{:?}", &found);
            prop_assert_eq!(found.last().cloned(), (head > 0).then(|| commit(head)));
        }
    }

    #[test]
    fn a_webhook_for_a_tag_or_an_unknown_source_is_no_more_than_a_hint() {
        let seen = refs(&[("refs/heads/main", 'a')]);
        let commit = |digit: char| digit.to_string().repeat(40).parse::<CommitId>().unwrap();
        assert!(follows(Some(&seen), &Ref::branch("main"), Some(&commit('a'))));
        assert!(follows(Some(&seen), &Ref::branch("new"), None));
        assert!(!follows(Some(&seen), &Ref::branch("main"), Some(&commit('b'))));
        assert!(!follows(Some(&seen), &Ref::tag("v1"), None));
        assert!(!follows(None, &Ref::branch("main"), None));
    }

    #[test]
    fn a_newer_push_ends_what_the_rule_says_and_nothing_else() {
        let rule = |supersede| Rule { supersede, ..Rule::starter("main") };
        let build = |id, push: Option<u64>, state, supersede| Build {
            id: BuildId(id),
            push: push.map(PushId),
            state,
            rule: rule(supersede),
            ..crate::domain::build::sample()
        };
        let open = [
            build(1, None, BuildState::Queued, Supersede::Never),
            build(2, Some(1), BuildState::Running, Supersede::Never),
            build(3, Some(2), BuildState::Queued, Supersede::Never),
            Build { reference: Ref::branch("other"), ..build(4, Some(2), BuildState::Queued, Supersede::Never) },
            build(6, Some(9), BuildState::Queued, Supersede::Never),
        ];
        let ended = |supersede| {
            let newer = build(5, Some(3), BuildState::Queued, supersede);
            superseded(open.iter(), &newer).iter().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(ended(Supersede::Never), Vec::<u64>::new());
        assert_eq!(ended(Supersede::Queued), [3]);
        assert_eq!(ended(Supersede::Running), [2, 3]);
    }

    #[test]
    fn a_rule_says_why_it_does_not_build() {
        let rule = Rule::starter("main");
        let mut repository = Repository { rules: vec![rule.clone()], ..Repository::default() };
        let verdict = |repository: &Repository, rule: &Rule, reference: &Ref| {
            refusal(repository, rule, reference).map(|(verdict, _)| verdict)
        };
        assert_eq!(verdict(&repository, &rule, &Ref::branch("main")), None);
        assert_eq!(verdict(&repository, &rule, &Ref::branch("Main")), Some(Verdict::NoMatch));
        assert_eq!(verdict(&repository, &rule, &Ref::tag("main")), Some(Verdict::NoMatch));
        let by_hand = Rule { auto: false, ..rule.clone() };
        assert_eq!(verdict(&repository, &by_hand, &Ref::branch("main")), Some(Verdict::AutoOff));
        let broken = Rule { branch: Some(Pattern::Regex("(".into())), ..rule.clone() };
        assert_eq!(verdict(&repository, &broken, &Ref::branch("main")), Some(Verdict::Failed));
        repository.build.auto = false;
        assert_eq!(verdict(&repository, &rule, &Ref::branch("main")), Some(Verdict::AutoOff));
    }
}
