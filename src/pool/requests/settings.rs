//! The settings: what they are, what saving would change, secrets by name, notifications.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{RequestContext, blocking, failed};
use crate::domain::name::RepositoryPath;
use crate::domain::outbox::Receiver;
use crate::domain::reason::reason;
use crate::domain::repository::Repository;
use crate::domain::rule::Rule;
use crate::protocol::platforms::{NotificationState, SavePreview, SecretUse};
use crate::protocol::{Entity, Error, ErrorKind, Reply, SettingsSnapshot};
use crate::services::entity_files::file_of;
use crate::services::{save_warnings, sources};
use crate::store::secret_uses::uses_of;
use crate::store::secrets::Secrets;
use crate::store::settings::Settings;
use crate::store::{Home, edit, outbox};

/// The settings in force.
pub(super) fn snapshot(context: &RequestContext) -> Reply {
    Reply::Settings(Box::new(SettingsSnapshot { stamp: context.stamp, settings: context.settings.clone() }))
}

/// The repository of that name.
pub(super) fn repository<'a>(settings: &'a Settings, path: &RepositoryPath) -> Result<&'a Repository, Error> {
    settings.repositories.get(path).ok_or_else(|| match settings.wrong_file(&path.namespace, Some(&path.repository)) {
        Some(file) => failed(reason!("repository.broken_file", path, file)),
        None => Error::new(ErrorKind::NotFound, reason!("repository.unknown", path)),
    })
}

/// What saving something would do.
pub(super) async fn preview(
    context: &RequestContext,
    mut entity: Entity,
    with_starter: bool,
) -> Result<SavePreview, Error> {
    let starter = if with_starter { starter(context, &entity).await } else { None };
    if let Entity::Repository { value, .. } = &mut entity {
        value.rules.extend(starter.clone());
    }
    let warnings = save_warnings::of(&context.home, &context.settings, &entity);
    let (home, settings) = (context.home.clone(), context.settings.clone());
    let diff = blocking(move || change(&home, &settings, entity)).await?;
    Ok(SavePreview { diff, starter: starter.map(Box::new), warnings })
}

/// The rule that a repository which is not there yet starts with.
async fn starter(context: &RequestContext, entity: &Entity) -> Option<Rule> {
    let Entity::Repository { path, value } = entity else { return None };
    let source = value.source.as_ref().filter(|_| !context.settings.repositories.contains_key(path))?;
    // A source that can't be asked now has a default branch all the same, most likely this one.
    let branch = sources::default_branch(&context.home, &context.settings, source).await;
    Some(Rule::starter(branch.as_deref().unwrap_or("main")))
}

/// What saving something would change in its file, as a diff.
fn change(home: &Home, settings: &Settings, entity: Entity) -> Result<String, Error> {
    let file = file_of(home, &entity.name());
    match entity {
        Entity::Namespace { value, .. } => diff(home, file, &value),
        Entity::Repository { value, .. } => diff(home, file, &value),
        Entity::Rule { path, value } => {
            let mut repository = settings.repositories.get(&path).cloned().unwrap_or_default();
            match repository.rules.iter_mut().find(|rule| rule.name == value.name) {
                Some(rule) => *rule = value,
                None => repository.rules.push(value),
            }
            diff(home, file, &repository)
        }
        Entity::Builder { value, .. } => diff(home, file, &value),
        Entity::Platform { value, .. } => diff(home, file, &value),
        Entity::Registry { value, .. } => diff(home, file, &value),
        // Its file is all value.
        Entity::Secret { .. } => Ok(String::new()),
    }
}

fn diff<T: Serialize + DeserializeOwned>(home: &Home, file: PathBuf, value: &T) -> Result<String, Error> {
    let old = std::fs::read_to_string(&file).unwrap_or_default();
    let new = edit::preview(&file, value).map_err(failed)?;
    let name: &Path = file.strip_prefix(home.state_dir()).unwrap_or(&file);
    Ok(edit::diff(&old, &new, &name.display().to_string()))
}

/// The names of the secrets and what uses them.
pub(super) fn secrets(context: &RequestContext) -> Result<Vec<SecretUse>, Error> {
    let names = Secrets::at(context.home.secrets_dir()).list().map_err(failed)?;
    let used = |name: String| SecretUse { used_by: uses_of(&context.settings, &name), name };
    Ok(names.into_iter().map(used).collect())
}

/// The notifications of config.toml.
pub(super) async fn notifications(context: &RequestContext) -> Result<Vec<NotificationState>, Error> {
    let (home, settings) = (context.home.clone(), context.settings.clone());
    blocking(move || {
        let (messages, _) = outbox::load(&home).map_err(|error| failed(reason!("request.outbox", error)))?;
        let waiting = |name: &str| {
            let receiver = Receiver::Notification(name.to_owned());
            messages.iter().filter(|message| message.receiver() == receiver).count()
        };
        let notifications = settings.config.notify.iter().map(|notify| NotificationState {
            name: notify.name.clone(),
            url: notify.url.as_ref().map(|_| notify.target()),
            command: notify.command.clone(),
            events: notify.events.clone(),
            repositories: notify.repositories.clone(),
            signed: notify.secret.is_some(),
            waiting: waiting(&notify.name),
        });
        Ok(notifications.collect())
    })
    .await
}
