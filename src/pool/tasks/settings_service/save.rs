//! Saving: each thing is checked, then its file is written whole.

use super::checks::{check_grants, check_one_managed, repository, usage, wrong};
use super::secret_files::{platform_secrets, secret_name};
use crate::domain::builder::Builder;
use crate::domain::config::RegistrySettings;
use crate::domain::grant_keys;
use crate::domain::name::{self, NameKind, RepositoryPath};
use crate::domain::namespace::Namespace;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::repository::Repository;
use crate::domain::rule::Rule;
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::SourcePlatform;
use crate::pool::tasks::{TaskContext, blocking, failed};
use crate::protocol::{Entity, Error, ErrorKind};
use crate::registry::check_host_name;
use crate::services::sources;
use crate::source::git::ssh::{Key, expanded};
use crate::store::edit;
use crate::store::secrets::{Secret, Secrets};

/// Saves one thing; it is not in force yet.
pub(super) async fn save(context: &TaskContext, entity: Entity) -> Result<(), Error> {
    match entity {
        Entity::Namespace { name, value } => save_namespace(context, &name, value).await,
        Entity::Repository { path, value } => save_repository(context, &path, value).await,
        Entity::Rule { path, value } => save_rule(context, &path, value).await,
        Entity::Builder { name, value } => save_builder(context, &name, value).await,
        Entity::Registry { host, value, password } => save_registry(context, &host, value, password).await,
        Entity::Platform { name, value, token, webhook_secret, login: _ } => {
            save_platform(context, &name, value, [token, webhook_secret]).await
        }
        Entity::Secret { name, value } => {
            grant_keys::check_file(&name).map_err(wrong)?;
            put_secret(context, name, value).await
        }
    }
}

async fn save_namespace(context: &TaskContext, name: &str, value: Namespace) -> Result<(), Error> {
    Namespace::check_name(name).map_err(wrong)?;
    usage(value.problems())?;
    // The repositories that come of it have names that no host has.
    let of_one = value.new_repository("x").source;
    if let Some(source) = of_one {
        sources::checked(&context.settings(), &source)?;
    }
    let file = context.home.namespace_file(name);
    write(move || edit::save(&file, &value)).await
}

/// Saves a repository, with the URL of its source as it is to be written.
pub(super) async fn save_repository(
    context: &TaskContext,
    path: &RepositoryPath,
    mut value: Repository,
) -> Result<(), Error> {
    if !context.settings().namespaces.contains_key(&path.namespace) {
        return Err(Error::new(
            ErrorKind::NotFound,
            reason!("namespace.create_it", quoted = quoted(&path.namespace), name = path.namespace),
        ));
    }
    usage(value.problems())?;
    let settings = context.settings();
    if let Some(source) = &mut value.source {
        source.url = sources::checked(&settings, source)?;
    }
    check_grants(context, &path.namespace, &value.rules)?;
    let file = context.home.repository_file(&path.namespace, &path.repository);
    write(move || edit::save(&file, &value)).await
}

async fn save_rule(context: &TaskContext, path: &RepositoryPath, value: Rule) -> Result<(), Error> {
    usage(value.problems())?;
    check_grants(context, &path.namespace, std::slice::from_ref(&value))?;
    let mut repository = repository(context, path)?;
    match repository.rules.iter_mut().find(|rule| rule.name == value.name) {
        Some(rule) => *rule = value,
        None => repository.rules.push(value),
    }
    let file = context.home.repository_file(&path.namespace, &path.repository);
    write(move || edit::save(&file, &repository)).await
}

async fn save_builder(context: &TaskContext, name: &str, value: Builder) -> Result<(), Error> {
    name::check(NameKind::Builder, name).map_err(wrong)?;
    usage(value.problems_to_save())?;
    check_one_managed(context, name, value.kind)?;
    let file = context.home.builders_dir().join(format!("{name}.toml"));
    write(move || edit::save(&file, &value)).await
}

async fn save_registry(
    context: &TaskContext,
    host: &str,
    mut value: RegistrySettings,
    password: Option<String>,
) -> Result<(), Error> {
    check_host_name(host).map_err(wrong)?;
    if password.is_some() {
        value.password = Some(SecretRef::File(secret_name(host)));
    }
    usage(value.problems())?;
    if let Some(password) = password {
        put_secret(context, secret_name(host), password).await?;
    }
    let file = context.home.registries_dir().join(format!("{host}.toml"));
    write(move || edit::save(&file, &value)).await
}

/// Saves a platform, with its token and the secret of its webhooks where they are given.
async fn save_platform(
    context: &TaskContext,
    name: &str,
    mut value: SourcePlatform,
    secrets: [Option<String>; 2],
) -> Result<(), Error> {
    name::check(NameKind::Platform, name).map_err(wrong)?;
    let files = platform_secrets(name);
    for (named, (file, secret)) in
        [&mut value.token, &mut value.webhook_secret].into_iter().zip(files.iter().zip(&secrets))
    {
        if secret.is_some() {
            *named = Some(SecretRef::File(file.clone()));
        }
    }
    usage(value.problems())?;
    if let Some(key) = &value.ssh_key {
        Key::read(&expanded(key)).map_err(wrong)?;
    }
    for (file, secret) in files.into_iter().zip(secrets) {
        if let Some(secret) = secret {
            put_secret(context, file, secret).await?;
        }
    }
    let file = context.home.platforms_dir().join(format!("{name}.toml"));
    write(move || edit::save(&file, &value)).await
}

async fn put_secret(context: &TaskContext, file: String, secret: String) -> Result<(), Error> {
    let secrets = Secrets::at(context.home.secrets_dir());
    blocking(move || secrets.put(&file, &Secret::new(secret)).map_err(failed)).await
}

/// Writes a file off the threads of the runtime.
pub(super) async fn write<E: Into<Reason>>(work: impl FnOnce() -> Result<(), E> + Send + 'static) -> Result<(), Error> {
    blocking(move || work().map_err(failed)).await
}
