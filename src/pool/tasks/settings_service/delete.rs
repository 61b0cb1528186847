//! Deleting: what is still used is refused; files go, with the secrets that slipway made for them.

use std::fs;
use std::io;
use std::path::Path;

use super::checks::repository;
use super::save::write;
use super::secret_files::{platform_secrets, secret_name};
use crate::domain::grant_keys;
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{phrase, quoted, reason};
use crate::domain::secret_ref::SecretRef;
use crate::pool::core::{Ask, Response};
use crate::pool::tasks::{TaskContext, blocking, failed};
use crate::protocol::{EntityName, Error, ErrorKind};
use crate::services::tokens;
use crate::store::secret_uses::uses_of;
use crate::store::secrets::Secrets;
use crate::store::{Home, edit};
use crate::sys::atomic;

/// Deletes one thing; it is in force still.
pub(super) async fn delete(context: &TaskContext, entity: &EntityName) -> Result<(), Error> {
    match entity {
        EntityName::Namespace(name) => delete_namespace(context, name).await,
        EntityName::Repository(path) => delete_repository(context, path).await,
        EntityName::Rule(path, rule) => {
            let mut repository = repository(context, path)?;
            repository.rules.retain(|other| other.name != *rule);
            let file = context.home.repository_file(&path.namespace, &path.repository);
            write(move || edit::save(&file, &repository)).await
        }
        EntityName::Builder(name) => {
            let file = context.home.builders_dir().join(format!("{name}.toml"));
            remove(move || atomic::remove(&file)).await
        }
        EntityName::Registry(host) => delete_registry(context, host).await,
        EntityName::Secret(name) => delete_secret(context, name).await,
        EntityName::Platform(name) => delete_platform(context, name).await,
    }
}

async fn delete_namespace(context: &TaskContext, name: &str) -> Result<(), Error> {
    let settings = context.settings();
    let repositories = settings.repositories.keys().filter(|path| path.namespace == name);
    let repositories: Vec<&RepositoryPath> = repositories.collect();
    if !repositories.is_empty() {
        let why = reason!("namespace.has_repositories", name = quoted(name), repositories);
        return Err(Error::new(ErrorKind::Refused, why));
    }
    let (home, name) = (context.home.clone(), name.to_owned());
    // First what may refuse: a file in it that could not be read is not in the settings.
    remove(move || remove_empty(&home, &name).and_then(|()| atomic::remove(&home.namespace_file(&name)))).await
}

async fn delete_repository(context: &TaskContext, path: &RepositoryPath) -> Result<(), Error> {
    if let Response::Error(error) = context.ask(Ask::MayDelete(path.clone())).await {
        return Err(error);
    }
    let (home, path) = (context.home.clone(), path.clone());
    remove(move || {
        atomic::remove(&home.repository_file(&path.namespace, &path.repository))?;
        remove_directory(&home.image_layout(&path.namespace, &path.repository))?;
        remove_directory(&home.tag_changes_root(&path))?;
        remove_directory(&home.git_dir(&path))?;
        remove_directory(&home.cache_layout(&path.namespace, &path.repository, ""))
    })
    .await
}

async fn delete_registry(context: &TaskContext, host: &str) -> Result<(), Error> {
    let password = context.settings().registry(host).password;
    let file = context.home.registries_dir().join(format!("{host}.toml"));
    remove(move || atomic::remove(&file)).await?;
    remove_secret_of_ours(context, secret_name(host), password.as_ref()).await
}

async fn delete_secret(context: &TaskContext, name: &str) -> Result<(), Error> {
    grant_keys::check_file(name).map_err(|error| Error::new(ErrorKind::Refused, error))?;
    let uses = uses_of(&context.settings(), name);
    if !uses.is_empty() {
        return Err(Error::new(ErrorKind::Refused, reason!("secret.in_use", name = quoted(name), uses)));
    }
    remove_secret(context, name.to_owned()).await
}

async fn delete_platform(context: &TaskContext, name: &str) -> Result<(), Error> {
    let settings = context.settings();
    let uses = settings.repositories.iter().filter(|(_, repository)| {
        repository.source.as_ref().is_some_and(|source| source.platform.as_deref() == Some(name))
    });
    let uses: Vec<&RepositoryPath> = uses.map(|(path, _)| path).collect();
    if !uses.is_empty() {
        return Err(Error::new(ErrorKind::Refused, reason!("platform.in_use", name = quoted(name), uses)));
    }
    let file = context.home.platforms_dir().join(format!("{name}.toml"));
    remove(move || atomic::remove(&file)).await?;
    let Some(platform) = settings.platforms.get(name) else { return Ok(()) };
    let named = [&platform.token, &platform.webhook_secret];
    for (file, named) in platform_secrets(name).into_iter().zip(named) {
        remove_secret_of_ours(context, file, named.as_ref()).await?;
    }
    remove_secret(context, tokens::renewal_file(name)).await
}

/// Removes a secret's file where it is the one that slipway keeps: another file, which a person named, may be there for
/// others, too.
async fn remove_secret_of_ours(context: &TaskContext, file: String, named: Option<&SecretRef>) -> Result<(), Error> {
    if named == Some(&SecretRef::File(file.clone())) { remove_secret(context, file).await } else { Ok(()) }
}

async fn remove_secret(context: &TaskContext, file: String) -> Result<(), Error> {
    let secrets = Secrets::at(context.home.secrets_dir());
    blocking(move || secrets.remove(&file).map_err(failed)).await
}

async fn remove(work: impl FnOnce() -> Result<(), atomic::WriteError> + Send + 'static) -> Result<(), Error> {
    blocking(move || work().map_err(|error| failed(reason!("entity.not_deleted", error)))).await
}

/// Removes a directory and all that is in it; one that is not there is as good.
fn remove_directory(directory: &Path) -> Result<(), atomic::WriteError> {
    gone_or(directory, fs::remove_dir_all(directory))
}

/// The directory of a namespace's repositories, once it has none.
fn remove_empty(home: &Home, namespace: &str) -> Result<(), atomic::WriteError> {
    let directory = home.namespaces_dir().join(namespace);
    gone_or(&directory, fs::remove_dir(&directory))
}

fn gone_or(path: &Path, removed: io::Result<()>) -> Result<(), atomic::WriteError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(atomic::WriteError::Io { path: path.to_path_buf(), action: phrase!("verb.remove_it"), cause: error })
        }
        _ => Ok(()),
    }
}
