//! Checks of what clients save and delete.

use crate::domain::builder::BuilderKind;
use crate::domain::grants;
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{Reason, reason};
use crate::domain::repository::Repository;
use crate::domain::rule::Rule;
use crate::pool::tasks::{TaskContext, failed};
use crate::protocol::{EntityName, Error, ErrorKind, SaveMode};
use crate::store::secrets::Secrets;
use crate::store::settings::{Settings, second_managed};

/// Refuses what has problems.
pub(super) fn usage(problems: impl IntoIterator<Item = impl Into<Reason>>) -> Result<(), Error> {
    let mut problems = problems.into_iter().map(Into::into).peekable();
    match problems.peek() {
        None => Ok(()),
        Some(_) => Err(wrong(Reason::lines(problems))),
    }
}

/// A wrong request.
pub(super) fn wrong(error: impl Into<Reason>) -> Error {
    Error::new(ErrorKind::Usage, error)
}

/// Refuses rules that name what their namespace does not allow, or arguments that no rule may have.
pub(super) fn check_grants(context: &TaskContext, name: &str, rules: &[Rule]) -> Result<(), Error> {
    let namespace = context.settings().namespaces.get(name).cloned().unwrap_or_default();
    let forbidden = rules.iter().flat_map(|rule| grants::forbidden(name, &namespace, rule));
    usage(forbidden)
}

/// Managed builders would share one daemon, its directory and its sockets.
pub(super) fn check_one_managed(context: &TaskContext, name: &str, kind: BuilderKind) -> Result<(), Error> {
    let settings = context.settings();
    let mut others = settings.builders.iter().filter(|(other, _)| *other != name);
    match others.find(|(_, other)| kind == BuilderKind::Managed && other.kind == BuilderKind::Managed) {
        None => Ok(()),
        Some((other, _)) => Err(Error::new(ErrorKind::Refused, second_managed(other))),
    }
}

/// A repository in force.
pub(super) fn repository(context: &TaskContext, path: &RepositoryPath) -> Result<Repository, Error> {
    let settings = &context.settings();
    settings.repositories.get(path).cloned().ok_or_else(|| no_repository(settings, path))
}

fn no_repository(settings: &Settings, path: &RepositoryPath) -> Error {
    match settings.wrong_file(&path.namespace, Some(&path.repository)) {
        Some(file) => failed(reason!("repository.broken_file", path, file)),
        None => Error::new(ErrorKind::NotFound, reason!("repository.unknown", path)),
    }
}

/// Whether a name is there as the mode needs it.
pub(super) fn check_presence(context: &TaskContext, name: &EntityName, mode: SaveMode) -> Result<(), Error> {
    let there = {
        let settings = &context.settings();
        match name {
            EntityName::Namespace(name) => settings.namespaces.contains_key(name),
            EntityName::Repository(path) => settings.repositories.contains_key(path),
            EntityName::Rule(path, rule) => {
                let Some(repository) = settings.repositories.get(path) else {
                    return Err(no_repository(settings, path));
                };
                repository.rule(rule).is_some()
            }
            EntityName::Builder(name) => settings.builders.contains_key(name),
            EntityName::Registry(host) => settings.registries.contains_key(host),
            EntityName::Platform(name) => settings.platforms.contains_key(name),
            EntityName::Secret(name) => {
                let secrets = Secrets::at(context.home.secrets_dir());
                secrets.list().map_err(failed)?.contains(name)
            }
        }
    };
    match (mode, there) {
        (SaveMode::Create, true) => Err(Error::new(ErrorKind::Refused, reason!("entity.exists", name))),
        (SaveMode::Edit, false) => Err(Error::new(ErrorKind::NotFound, reason!("entity.unknown", name))),
        _ => Ok(()),
    }
}
