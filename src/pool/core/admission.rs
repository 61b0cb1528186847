//! What a new build is checked against: the repository and the rule that are meant, builds of the same commit, tags
//! that are taken. Pure functions over plain data.

use std::collections::BTreeMap;

use crate::domain::build::Build;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::{LOCAL_REGISTRY, Namespace};
use crate::domain::publish;
use crate::domain::push::{CommitId, Push, Ref};
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

fn refused(text: impl ToString) -> Error {
    Error::new(ErrorKind::Refused, text.to_string())
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
        let text = format!("cannot use repository {path}: fix its file {}", file.display());
        return Err(Error::new(ErrorKind::Failed, text));
    }
    let Some(namespace) = namespace else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no namespace {0:?}; `slipway namespace create {0}` makes it", path.namespace),
        ));
    };
    if !namespace.auto_create {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no repository {path}; `slipway repo create {path} --source URL` makes it"),
        ));
    }
    Ok(Lookup::CanBeCreated(Box::new(namespace.new_repository(&path.repository))))
}

/// # Errors
/// When there is no such rule.
pub(super) fn find_rule<'a>(path: &RepositoryPath, repository: &'a Repository, name: &str) -> Result<&'a Rule, Error> {
    repository.rule(name).ok_or_else(|| {
        let names: Vec<&str> = repository.rules.iter().map(|rule| rule.name.as_str()).collect();
        let names = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        Error::new(ErrorKind::NotFound, format!("{path} has no rule {name:?}; {names}"))
    })
}

/// The rule that is meant where none is named: the only one, or the only one that can be built now.
///
/// # Errors
/// When there is none, or there are several.
pub(super) fn only_rule<'a>(path: &RepositoryPath, repository: &'a Repository) -> Result<&'a Rule, Error> {
    let buildable: Vec<&Rule> = repository.rules.iter().filter(|rule| rule.build_now_ref().is_ok()).collect();
    match (repository.rules.as_slice(), buildable.as_slice()) {
        ([], _) => Err(Error::new(
            ErrorKind::NotFound,
            format!("{path} has no rule; `slipway rule create {path} NAME --branch BRANCH --version TAG` makes one"),
        )),
        ([only], _) => Ok(only),
        (_, [only]) => Ok(only),
        (all, []) => Err(refused(format!(
            "none of the {} rules of {path} can be built now: {}",
            all.len(),
            all.iter()
                .filter_map(|rule| rule.build_now_ref().err())
                .map(|error: RuleError| error.to_string())
                .collect::<Vec<_>>()
                .join("; ")
        ))),
        (_, several) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "{path} has several rules that can be built now; choose one with --rule: {}",
                several.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        )),
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
    let hint = near.map_or_else(String::new, |near| format!(" ({near})"));
    Err(refused(format!(
        "rule {0:?} of {path} does not match {reference}{hint}; `slipway rule preview {path} {0}` shows what it matches",
        rule.name
    )))
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
pub(super) fn tag_in_use<'a>(open: impl Iterator<Item = &'a Build>, build: &Build) -> Option<String> {
    let (tag, other) = open
        .filter(|other| is_of_same_push(other, build))
        .find_map(|other| build.tags.iter().find(|tag| other.tags.contains(tag)).map(|tag| (tag, other)))?;
    Some(format!(
        "build {} of rule {:?} makes the tag {tag} of the same commit; give one of the rules another version",
        other.id, other.rule.name
    ))
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
) -> Vec<String> {
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
            let more = others.len().saturating_sub(1);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let word = push.reference.kind.word();
            format!("{tag} is also the tag of {word} {:?}{more}: the one that is pushed last has it", others[0])
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
        assert!(tag_in_use([&other].into_iter(), &build).unwrap().contains("\"other\""));
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
        assert!(warnings[0].starts_with("feature-x is also the tag of branch \"feature-x\""), "{warnings:?}");
    }
}
