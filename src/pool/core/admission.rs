//! What a new build is checked against: the repository and the rule that are meant, builds of the same commit, tags
//! that are taken. Pure functions over plain data.

use std::collections::BTreeMap;

use crate::domain::build::Build;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::{LOCAL_REGISTRY, Namespace};
use crate::domain::publish;
use crate::domain::push::{CommitId, Push, Ref};
use crate::domain::reason::{Reason, joined, quoted, reason};
use crate::domain::repository::Repository;
use crate::domain::rule::{Rule, RuleError, Tags};
use crate::domain::tag::Tag;
use crate::protocol::{Error, ErrorKind};
use crate::store::settings::Settings;

/// A repository that a build is asked of.
#[derive(Debug)]
pub(super) enum Lookup<'a> {
    /// It is there.
    Found(&'a Namespace, &'a Repository),
    /// Its namespace makes it by itself: with these settings, and a rule for the default branch of its source.
    CanBeCreated(Box<Repository>),
}

fn refused(reason: impl Into<Reason>) -> Error {
    Error::new(ErrorKind::Refused, reason)
}

/// # Errors
/// When there is no such repository, or its file can't be read.
pub(super) fn find_repository<'a>(settings: &'a Settings, path: &RepositoryPath) -> Result<Lookup<'a>, Error> {
    let namespace = settings.namespaces.get(&path.namespace);
    let repository = settings.repositories.get(path);
    if let (Some(namespace), Some(repository)) = (namespace, repository) {
        return Ok(Lookup::Found(namespace, repository));
    }
    if let Some(file) = settings.wrong_file(&path.namespace, Some(&path.repository)) {
        return Err(Error::new(ErrorKind::Failed, reason!("repository.broken_file", path, file)));
    }
    let Some(namespace) = namespace else {
        let (quoted, name) = (quoted(&path.namespace), &path.namespace);
        return Err(Error::new(ErrorKind::NotFound, reason!("namespace.create_it", quoted, name)));
    };
    if !namespace.auto_create {
        return Err(Error::new(ErrorKind::NotFound, reason!("repository.create_it", path)));
    }
    Ok(Lookup::CanBeCreated(Box::new(namespace.new_repository(&path.repository))))
}

/// # Errors
/// When there is no such rule.
pub(super) fn find_rule<'a>(path: &RepositoryPath, repository: &'a Repository, name: &str) -> Result<&'a Rule, Error> {
    repository.rule(name).ok_or_else(|| {
        let names: Vec<&str> = repository.rules.iter().map(|rule| rule.name.as_str()).collect();
        let name = quoted(name);
        let reason = match names.is_empty() {
            true => reason!("repository.no_such_rule_nor_other", path, name),
            false => reason!("repository.no_such_rule", path, name, names = joined(names)),
        };
        Error::new(ErrorKind::NotFound, reason)
    })
}

/// The rule that is meant where none is named: the only one, or the only one that can be built now.
///
/// # Errors
/// When there is none, or there are several.
pub(super) fn only_rule<'a>(path: &RepositoryPath, repository: &'a Repository) -> Result<&'a Rule, Error> {
    let buildable: Vec<&Rule> = repository.rules.iter().filter(|rule| rule.build_now_ref().is_ok()).collect();
    match (repository.rules.as_slice(), buildable.as_slice()) {
        ([], _) => Err(Error::new(ErrorKind::NotFound, reason!("repository.no_rule", path))),
        ([only], _) => Ok(only),
        (_, [only]) => Ok(only),
        (all, []) => {
            let why: Vec<RuleError> = all.iter().filter_map(|rule| rule.build_now_ref().err()).collect();
            Err(refused(reason!("repository.no_rule_now", path, count = all.len(), why)))
        }
        (_, several) => {
            let rules = joined(several.iter().map(|rule| &rule.name));
            Err(Error::new(ErrorKind::Usage, reason!("repository.several_rules_now", path, rules)))
        }
    }
}

/// # Errors
/// When the ref is none of the rule's.
pub(super) fn check_match(path: &RepositoryPath, rule: &Rule, reference: &Ref) -> Result<(), Error> {
    let (kind, matcher) = rule.matcher().map_err(refused)?;
    if kind == reference.kind && matcher.captures(&reference.name).is_some() {
        return Ok(());
    }
    let near = (kind == reference.kind).then(|| matcher.near_miss(&reference.name)).flatten();
    let (quoted, rule) = (quoted(&rule.name), &rule.name);
    Err(refused(match near {
        None => reason!("rule.no_match_for_replay", quoted, rule, path, reference),
        Some(near) => reason!("rule.near_match_for_replay", quoted, rule, path, reference, near),
    }))
}

/// The same rule and commit.
pub(super) fn is_twin(other: &Build, build: &Build) -> bool {
    other.rule.name == build.rule.name && is_of_same_push(other, build)
}

/// The same ref of the same repository at the same commit.
fn is_of_same_push(one: &Build, other: &Build) -> bool {
    one.path() == other.path() && one.commit == other.commit && one.reference == other.reference
}

/// Two rules of one push that would move the same tag: the later build is refused.
pub(super) fn tag_in_use<'a>(open: impl Iterator<Item = &'a Build>, build: &Build) -> Option<Reason> {
    let (tag, other) = open
        .filter(|other| is_of_same_push(other, build))
        .find_map(|other| build.tags.iter().find(|tag| other.tags.contains(tag)).map(|tag| (tag, other)))?;
    Some(reason!("tag.in_use", build = other.id, rule = quoted(&other.rule.name), tag))
}

/// The tags that are never overwritten in an immutable repository.
pub(super) fn protected(tags: &[Tag]) -> Vec<String> {
    let tags = tags.iter().map(Tag::as_str).filter(|tag| publish::is_protected(tag, true));
    tags.map(str::to_owned).collect()
}

/// The name of a repository's images in a registry, without a tag.
pub(super) fn image_name(registry: &str, path: &RepositoryPath) -> String {
    if registry == LOCAL_REGISTRY { path.to_string() } else { format!("{registry}/{path}") }
}

/// Other refs that the rule gives the same tag: whichever is pushed last has it. Only refs whose names a tag can't hold
/// as they are become alike, and those that captures leave nothing of.
pub(super) fn shared_tags<'a>(
    rule: &Rule,
    push: &Push,
    tags: &Tags,
    seen: impl Iterator<Item = (&'a Ref, &'a CommitId)>,
) -> Vec<Reason> {
    let Ok((kind, matcher)) = rule.matcher() else { return Vec::new() };
    if rule.literal_ref().is_ok() {
        return Vec::new();
    }
    let mut sharing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let others = seen.filter(|(other, _)| other.kind == kind && **other != push.reference);
    for (other, commit) in others.filter(|(other, _)| matcher.captures(&other.name).is_some()) {
        let other_push = Push { reference: other.clone(), commit: commit.clone(), at: push.at };
        let Ok(Some(other_tags)) = rule.tags(&other_push) else { continue };
        for tag in other_tags.tags.iter().filter(|tag| tags.tags.contains(tag)) {
            sharing.entry(tag.to_string()).or_default().push(other.name.clone());
        }
    }
    // A version without a capture is meant to be the last push's, whatever its ref.
    let is_meant = |tag: &str| rule.versions.iter().any(|version| version.name == tag);
    sharing
        .into_iter()
        .filter(|(tag, _)| !is_meant(tag))
        .map(|(tag, others)| {
            let (kind, other) = (push.reference.kind.word(), quoted(&others[0]));
            match others.len() {
                0 | 1 => reason!("tag.shared", tag, kind, other),
                count => reason!("tag.shared_by_several", tag, kind, other, more = count - 1),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::sample;

    #[test]
    fn the_rule_that_is_meant_is_the_only_one_or_the_only_one_that_can_be_built_now() {
        let path = sample().path();
        let mut repository = Repository::default();
        assert_eq!(only_rule(&path, &repository).unwrap_err().kind, ErrorKind::NotFound);
        repository.rules = vec![Rule::starter("main")];
        assert_eq!(only_rule(&path, &repository).unwrap().name, "main");
        repository.rules.push(Rule { name: "dev".into(), ..Rule::starter("dev") });
        assert_eq!(only_rule(&path, &repository).unwrap_err().kind, ErrorKind::Usage);
    }

    #[test]
    fn two_rules_of_one_push_may_not_make_one_tag() {
        let build = sample();
        let other = Build { rule: Rule { name: "other".into(), ..build.rule.clone() }, ..sample() };
        assert!(!is_twin(&other, &build));
        assert!(tag_in_use([&other].into_iter(), &build).unwrap().to_string().contains("\"other\""));
        let older = Build { commit: "a".repeat(40).parse().unwrap(), ..other };
        assert_eq!(tag_in_use([&older].into_iter(), &build), None);
    }

    #[test]
    fn branches_that_become_one_tag_are_named() {
        let text = "name = \"all\"\nbranch = { regex = '(?<b>.*)' }\nversions = [{ name = \"${b}\" }, { name = \"latest\" }]\n";
        let rule: Rule = toml::from_str(text).unwrap();
        let commit: CommitId = "a".repeat(40).parse().unwrap();
        let push = |name: &str| Push { reference: Ref::branch(name), commit: commit.clone(), at: sample().pushed_at };
        let tags = rule.tags(&push("feature/x")).unwrap().unwrap();
        let seen = [Ref::branch("feature-x"), Ref::branch("other"), Ref::branch("feature/x")];
        let seen = seen.iter().map(|reference| (reference, &commit));
        let warnings = shared_tags(&rule, &push("feature/x"), &tags, seen);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].to_string().starts_with("feature-x is also the tag of branch \"feature-x\""),
            "{warnings:?}"
        );
    }
}
