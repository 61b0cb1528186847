//! The journal: every push that was seen, and what each rule made of it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::build::{Build, BuildId, BuildState};
use super::name::RepositoryPath;
use super::push::{CommitId, Ref};
use super::repository::Repository;
use super::rule::Supersede;

/// The number of a push: it only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PushId(pub u64);

impl fmt::Display for PushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

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
}

impl Origin {
    /// As TOML has it.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Poll => "poll",
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
    /// Why, in a sentence.
    pub reason: String,
}

/// What a rule answers to a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A build was started.
    Built,
    /// The ref is none of the rule's.
    NoMatch,
    /// The repository or the rule is not built by itself.
    AutoOff,
    /// The same rule and commit is queued or running.
    Duplicate,
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
            Verdict::NoMatch => "no_match",
            Verdict::AutoOff => "auto_off",
            Verdict::Duplicate => "duplicate",
            Verdict::Refused => "refused",
            Verdict::Failed => "failed",
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

/// The refs that moved or are new, in the order of their names. A ref that is gone is no push; at first sight nothing is.
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
pub fn refusal(repository: &Repository, rule: &super::rule::Rule, reference: &Ref) -> Option<(Verdict, String)> {
    match rule.matcher() {
        Err(error) => return Some((Verdict::Failed, error.to_string())),
        Ok((kind, _)) if kind != reference.kind => {
            return Some((
                Verdict::NoMatch,
                format!("it builds from a {}, this is a {}", kind.word(), reference.kind.word()),
            ));
        }
        Ok((_, matcher)) if matcher.captures(&reference.name).is_none() => {
            let near = matcher.near_miss(&reference.name).map_or_else(String::new, |near| format!("; {near}"));
            return Some((Verdict::NoMatch, format!("{:?} does not match{near}", reference.name)));
        }
        Ok(_) => {}
    }
    if !repository.build.auto {
        return Some((Verdict::AutoOff, "build.auto of the repository is off".to_owned()));
    }
    if !rule.auto {
        return Some((Verdict::AutoOff, "auto of the rule is off".to_owned()));
    }
    None
}

#[cfg(test)]
mod tests {
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
