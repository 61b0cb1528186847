//! What a new build is checked against: the repository and the rule that are meant, builds of the same commit, tags
//! that are taken.

use std::sync::Arc;

use super::enqueue::refused;
use super::entities;
use super::state::Pool;
use crate::domain::build::Build;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::repository::Repository;
use crate::domain::rule::{Rule, RuleError};
use crate::protocol::{Error, ErrorKind, SaveMode};
use crate::registry::publish::{self, Taken};
use crate::services::registries::RegistriesError;
use crate::services::{registries, sources};

/// The same rule and commit, queued or running.
pub(super) fn open_twin(pool: &Pool, build: &Build) -> Option<Build> {
    let state = pool.state();
    // One that is being stopped makes no image.
    let twin = |other: &&Build| other.cancel.is_none() && other.rule.name == build.rule.name && same_push(other, build);
    state.open.values().map(|entry| &entry.build).find(twin).cloned()
}

/// The same ref of the same repository at the same commit.
fn same_push(one: &Build, other: &Build) -> bool {
    one.path() == other.path() && one.commit == other.commit && one.reference == other.reference
}

/// Two rules of one push that would move the same tag: the later build is refused.
pub(super) fn tag_in_use(pool: &Pool, build: &Build) -> Option<String> {
    let state = pool.state();
    let (tag, other) = state
        .open
        .values()
        .map(|entry| &entry.build)
        .filter(|other| same_push(other, build))
        .find_map(|other| build.tags.iter().find(|tag| other.tags.contains(tag)).map(|tag| (tag, other)))?;
    Some(format!(
        "build {} of rule {:?} makes the tag {tag} of the same commit; give one of the rules another version",
        other.id, other.rule.name
    ))
}

/// # Errors
/// Why a build with these tags would be refused.
pub(super) async fn check_immutable(
    pool: &Arc<Pool>,
    path: &RepositoryPath,
    namespace: &Namespace,
    tags: &[&str],
) -> Result<(), Error> {
    let unknown = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Unreachable, error.to_string());
    let target = pool.target(path, namespace).await.map_err(|error| match error {
        RegistriesError::Denied(denial) => refused(denial.to_string()),
        error => unknown(&error),
    })?;
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let taken = registries::on_own_thread(async move || publish::check(&target, &tags, true).await)
        .await
        .map_err(|error| unknown(&error))?;
    match taken.iter().find(|taken| taken.immutable) {
        None => Ok(()),
        Some(Taken { tag, digest, .. }) => Err(refused(format!(
            "{}:{tag} exists ({digest}) and {path} is immutable; push under another version, or `slipway tag delete {path}:{tag}`",
            namespace.image_name(path)
        ))),
    }
}

pub(super) async fn find_repository(pool: &Arc<Pool>, path: &RepositoryPath) -> Result<(Namespace, Repository), Error> {
    let (namespace, repository) = {
        let state = pool.state();
        (state.settings.namespaces.get(&path.namespace).cloned(), state.settings.repositories.get(path).cloned())
    };
    let is_there = namespace.is_some() && repository.is_some();
    if let Some(file) = pool.state().settings.wrong_file(&path.namespace, Some(&path.repository)).filter(|_| !is_there)
    {
        let text = format!("cannot use repository {path}: fix its file {}", file.display());
        return Err(Error::new(ErrorKind::Failed, text));
    }
    let Some(namespace) = namespace else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no namespace {:?}; `slipway namespace create {}` makes it",
                path.namespace, path.namespace
            ),
        ));
    };
    if let Some(repository) = repository {
        return Ok((namespace, repository));
    }
    if !namespace.auto_create {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no repository {path}; `slipway repo create {path} --source URL` makes it"),
        ));
    }
    let mut repository = namespace.new_repository(&path.repository);
    if let Some(source) = &repository.source {
        let settings = pool.state().settings.clone();
        let branch = sources::default_branch(&pool.home, &settings, source).await?;
        repository.rules = vec![Rule::starter(&branch)];
    }
    match entities::save_repository(pool, path, repository.clone(), SaveMode::Create).await {
        Ok(()) => Ok((namespace, repository)),
        // Another push or build has made it meanwhile.
        Err(error) => match pool.state().settings.repositories.get(path) {
            Some(there) => Ok((namespace, there.clone())),
            None => Err(error),
        },
    }
}

pub(super) fn find_rule<'a>(path: &RepositoryPath, repository: &'a Repository, name: &str) -> Result<&'a Rule, Error> {
    repository.rule(name).ok_or_else(|| {
        let names: Vec<&str> = repository.rules.iter().map(|rule| rule.name.as_str()).collect();
        let names = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        Error::new(ErrorKind::NotFound, format!("{path} has no rule {name:?}; {names}"))
    })
}

/// The rule that is meant where none is named: the only one, or the only one that can be built now.
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
