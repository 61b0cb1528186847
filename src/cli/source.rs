//! What several nouns share: the settings, saving, and the question before something is deleted.

use std::io::{self, BufRead};
use std::sync::Arc;

use super::complaint::WrongValue;
use super::terminal::{self, To};
use super::{CliError, output};
use crate::client::Client;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::reason::{Reason, phrase, quoted, reason};
use crate::domain::repository::Repository;
use crate::domain::settings::Settings;
use crate::protocol::{Entity, EntityName, SaveMode};

/// The settings as they are on disk; files that can't be read are told on stderr.
pub(super) async fn settings(client: &Client) -> Result<Settings, CliError> {
    let settings = Arc::unwrap_or_clone(client.settings().await?.settings);
    for problem in settings.problems.values() {
        output::warn(problem);
    }
    Ok(settings)
}

/// The repository of that name.
pub(super) fn repository(settings: &Settings, path: &RepositoryPath) -> Result<Repository, CliError> {
    if let Some(found) = settings.repositories.get(path) {
        return Ok(found.clone());
    }
    match settings.wrong_file(&path.namespace, Some(&path.repository)) {
        Some(file) => Err(CliError::failed(reason!("repo.file_unusable", path, file))),
        None => Err(CliError::not_found(reason!("repo.not_found", path))),
    }
}

/// The namespace of that name.
pub(super) fn namespace(settings: &Settings, name: &str) -> Result<Namespace, CliError> {
    if let Some(found) = settings.namespaces.get(name) {
        return Ok(found.clone());
    }
    match settings.wrong_file(name, None) {
        Some(file) => Err(CliError::failed(reason!("namespace.file_unusable", name = quoted(&name), file))),
        None => Err(CliError::not_found(reason!("namespace.not_found", name = quoted(&name)))),
    }
}

/// Lets the pool save something, and says what people should know of it.
pub(super) async fn save(client: &Client, entity: Entity, mode: SaveMode) -> Result<(), CliError> {
    for warning in client.save(entity, mode).await? {
        output::say(warning);
    }
    Ok(())
}

/// Lets the pool delete something, once a person at a terminal agreed; the default is No.
pub(super) async fn delete(client: &Client, name: EntityName, yes: bool) -> Result<(), CliError> {
    if !yes && !confirm(reason!("cli.confirm_delete", name))? {
        output::say(reason!("cli.nothing_deleted"));
        return Ok(());
    }
    client.delete(name.clone()).await?;
    output::say(reason!("cli.deleted", name));
    Ok(())
}

/// Asks on the terminal; without one there is nobody to ask, and the command itself is the answer.
pub(super) fn confirm(question: impl Into<Reason>) -> Result<bool, CliError> {
    if !terminal::is_interactive(To::Stderr) {
        return Ok(true);
    }
    output::ask(question, "[y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CliError::io(phrase!("verb.read_the_answer")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `KEY=VALUE` of a flag.
pub(super) fn key_value(text: &str) -> Result<(String, String), WrongValue> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| WrongValue(reason!("argument.no_key_value", text = quoted(text))))
}
