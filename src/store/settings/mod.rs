//! Everything that people configure, read from disk as a whole: what the pool works with.
//!
//! A file that can't be read is a problem that is reported, and its last good state stays in force.

mod cache;
mod loader;
mod stamps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Home, last_good, schema};
use crate::domain::builder::Builder;
use crate::domain::config::{Config, RegistrySettings};
use crate::domain::name::{self, NameKind, RepositoryPath};
use crate::domain::namespace::Namespace;
use crate::domain::reason::Reason;
use crate::domain::repository::Repository;
pub use crate::domain::settings::Settings;
use crate::domain::source_platform::SourcePlatform;
use crate::sys::atomic::{self, WriteError};
use crate::sys::parallel::in_parallel;

pub use loader::second_managed;
use loader::{Before, Loader, first};
pub use stamps::Stamps;
use stamps::directories;

/// The settings for a pool that starts, and how their files are. Files of an older form are brought to the current one, each
/// with a backup; repositories whose files are as an earlier pool read them are not read.
pub fn start(home: &Home) -> (Settings, Stamps) {
    let began = SystemTime::now();
    let stamps = Stamps::of(home);
    let (cached, known) = cache::load(home, &stamps);
    let (settings, changed) = take_over(home, Before { settings: &cached, stamps: Some(&known), now: &stamps });
    let cache = cache::outdated(home, &settings, &stamps, &known, began);
    drop(cached);
    keep_copies(home, changed, cache);
    (settings, stamps)
}

/// The settings again, and how their files are: `last` was read when the files were as `stamps` has them. As [`start`].
pub fn again(home: &Home, last: &Settings, stamps: &Stamps) -> (Settings, Stamps) {
    // The files first: what is edited while they are read is read again the next time.
    let now = Stamps::of(home);
    let (settings, changed) = take_over(home, Before { settings: last, stamps: Some(stamps), now: &now });
    keep_copies(home, changed, None);
    (settings, now)
}

/// The settings for a process that is not the pool, and changes nothing.
pub fn look(home: &Home) -> Settings {
    let now = Stamps::of(home);
    let (cached, known) = cache::load(home, &now);
    read(home, Before { settings: &cached, stamps: Some(&known), now: &now }).0
}

/// As [`read`], once files of an older form are brought to the current one.
fn take_over(home: &Home, before: Before) -> (Settings, Vec<(PathBuf, String)>) {
    let files = before.changed();
    let upgraded = |files: &[PathBuf]| files.iter().filter_map(|file| upgrade(file)).collect::<Vec<_>>();
    let failed: Vec<(PathBuf, Reason)> = in_parallel(&files, upgraded).into_iter().flatten().collect();
    let (mut settings, changed) = read(home, before);
    settings.problems.extend(failed);
    last_good::forget_removed(home, |directory| {
        let listed = before.now.directory(directory);
        move |name: &str| listed.is_some_and(|listed| listed.get(name).is_some())
    });
    (settings, changed)
}

/// Keeps copies of files that are not as they were, and then a cache, which says that there are copies. Nobody waits for
/// them, and there are many when a pool of an earlier version is replaced.
fn keep_copies(home: &Home, changed: Vec<(PathBuf, String)>, cache: Option<String>) {
    if changed.is_empty() && cache.is_none() {
        return;
    }
    let home = home.clone();
    std::thread::spawn(move || {
        changed.iter().for_each(|(file, text)| last_good::keep(&home, file, text));
        cache.iter().for_each(|cache| cache::keep(&home, cache));
    });
}

impl Settings {
    /// Reads everything; what can't be read is as it was in `last`, else as the last good copy has it.
    pub fn load(home: &Home, last: &Settings) -> Settings {
        read(home, Before { settings: last, stamps: None, now: &Stamps::of(home) }).0
    }
}

/// Reads the settings, as far as they are not as they were before; with the files that are not, and their texts.
fn read(home: &Home, before: Before) -> (Settings, Vec<(PathBuf, String)>) {
    let last = before.settings;
    let mut settings = Settings::default();
    let mut loader = Loader::new(home, before);
    let file = home.config_file();
    if file.exists() {
        // Defaults that were never read are no last good state.
        let last = Some(&last.config).filter(|config| **config != Config::default());
        let config = loader.file(&file, last, |config: &Config| first(None, config.problems()));
        settings.config = config.unwrap_or_default();
    }
    let builders = loader.directory(&home.builders_dir(), by_name(&last.builders), |name, builder: &Builder| {
        first(name::check(NameKind::Builder, name).err(), builder.problems())
    });
    settings.builders = builders.into_iter().collect();
    loader.keep_one_managed(&mut settings.builders, &last.builders);
    let problem = |_: &str, registry: &RegistrySettings| first(None, registry.problems());
    let registries = loader.directory(&home.registries_dir(), by_name(&last.registries), problem);
    settings.registries = registries.into_iter().collect();
    let problem =
        |name: &str, platform: &SourcePlatform| first(name::check(NameKind::Platform, name).err(), platform.problems());
    let platforms = loader.directory(&home.platforms_dir(), by_name(&last.platforms), problem);
    settings.platforms = platforms.into_iter().collect();
    let problem = |name: &str, namespace: &Namespace| first(Namespace::check_name(name).err(), namespace.problems());
    let namespaces = loader.directory(&home.namespaces_dir(), by_name(&last.namespaces), problem);
    settings.namespaces = namespaces.into_iter().collect();
    loader.tell_of_orphans(&settings.namespaces);
    let namespaces: Vec<&String> = settings.namespaces.keys().collect();
    let found = in_parallel(&namespaces, |chunk| repositories(home, chunk, before));
    for (repositories, of_chunk) in found {
        settings.repositories.extend(repositories);
        loader.take(of_chunk);
    }
    settings.problems = loader.problems;
    settings.missing = loader.missing;
    (settings, loader.changed)
}

/// Brings a file to the current form, with a backup; the file with the reason where that fails.
fn upgrade(file: &Path) -> Option<(PathBuf, Reason)> {
    match schema::upgrade(file, schema::MIGRATIONS) {
        Ok(None) => None,
        Ok(Some(migrated)) => {
            let backup = migrated.backup.display();
            tracing::info!("{} is migrated from schema {}; as it was it is {backup}", file.display(), migrated.from);
            None
        }
        Err(error) => Some((file.to_path_buf(), error.into())),
    }
}

fn by_name<T>(things: &BTreeMap<String, T>) -> impl Iterator<Item = (&str, &T)> {
    things.iter().map(|(name, value)| (name.as_str(), value))
}

/// Reads the repositories of some namespaces.
fn repositories<'a>(
    home: &'a Home,
    namespaces: &[&String],
    before: Before<'a>,
) -> (Vec<(RepositoryPath, Repository)>, Loader<'a>) {
    let last = before.settings;
    let mut loader = Loader::new(home, before);
    let mut repositories = Vec::new();
    for namespace in namespaces {
        let path = |repository| RepositoryPath { namespace: (*namespace).clone(), repository };
        let of_namespace = last.repositories.range(path(String::new())..);
        let last = of_namespace
            .take_while(|(path, _)| path.namespace == **namespace)
            .map(|(path, repository)| (path.repository.as_str(), repository));
        let directory = home.namespaces_dir().join(namespace);
        let found = loader.directory(&directory, last, |name, repository: &Repository| {
            first(name::check(NameKind::Repository, name).err(), repository.problems())
        });
        repositories.extend(found.into_iter().map(|(repository, value)| (path(repository), value)));
    }
    (repositories, loader)
}

/// Removes what writers that are gone left half-written among the settings and the secrets.
///
/// # Errors
/// When a directory can't be read, or a file can't be removed.
pub fn clean(home: &Home) -> Result<(), WriteError> {
    let config = home.config_file().parent().map(Path::to_path_buf);
    for directory in directories(home).into_iter().chain(config).chain([home.secrets_dir()]) {
        atomic::clean(&directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
