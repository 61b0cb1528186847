//! Everything that people configure, read from disk as a whole: what the pool works with.
//!
//! A file that can't be read is a problem that is reported, and its last good state stays in force.

mod loader;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

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

pub use loader::second_managed;
use loader::{Loader, first};

impl Settings {
    /// As [`Settings::load`], once files of an older form are brought to the current one, each with a backup: for the
    /// pool, the only one that writes.
    pub fn take_over(home: &Home, last: &Settings) -> Settings {
        let of_directories = directories(home).into_iter().flat_map(|directory| toml_files(&directory));
        let files: Vec<PathBuf> = of_directories.chain([home.config_file()]).collect();
        let failed: Vec<(PathBuf, Reason)> =
            in_parallel(&files, |files| files.iter().filter_map(|file| upgrade(file)).collect::<Vec<_>>())
                .into_iter()
                .flatten()
                .collect();
        let (mut settings, changed) = Settings::read(home, last);
        settings.problems.extend(failed);
        last_good::forget_removed(home);
        if !changed.is_empty() {
            let home = home.clone();
            // Nobody waits for copies, and there are many when a pool of an earlier version is replaced.
            std::thread::spawn(move || changed.iter().for_each(|(file, text)| last_good::keep(&home, file, text)));
        }
        settings
    }

    /// Reads everything; what can't be read is as it was in `last`, else as the last good copy has it.
    pub fn load(home: &Home, last: &Settings) -> Settings {
        Settings::read(home, last).0
    }

    /// As [`Settings::load`], with the files that are not as they were, and their texts.
    fn read(home: &Home, last: &Settings) -> (Settings, Vec<(PathBuf, String)>) {
        let mut settings = Settings::default();
        let mut loader = Loader::new(home);
        let file = home.config_file();
        if file.exists() {
            // Defaults that were never read are no last good state.
            let last = Some(&last.config).filter(|config| **config != Config::default());
            let config = loader.file(&file, last, |config: &Config| first(None, config.problems()));
            settings.config = config.unwrap_or_default();
        }
        settings.builders = loader.directory(&home.builders_dir(), &last.builders, |name, builder: &Builder| {
            first(name::check(NameKind::Builder, name).err(), builder.problems())
        });
        loader.keep_one_managed(&mut settings.builders, &last.builders);
        settings.registries =
            loader.directory(&home.registries_dir(), &last.registries, |_, registry: &RegistrySettings| {
                first(None, registry.problems())
            });
        settings.platforms =
            loader.directory(&home.platforms_dir(), &last.platforms, |name, platform: &SourcePlatform| {
                first(name::check(NameKind::Platform, name).err(), platform.problems())
            });
        settings.namespaces =
            loader.directory(&home.namespaces_dir(), &last.namespaces, |name, namespace: &Namespace| {
                first(Namespace::check_name(name).err(), namespace.problems())
            });
        loader.tell_of_orphans(&settings.namespaces);
        let namespaces: Vec<&String> = settings.namespaces.keys().collect();
        let found = in_parallel(&namespaces, |chunk| repositories(home, chunk, last));
        for (repositories, of_chunk) in found {
            settings.repositories.extend(repositories);
            loader.take(of_chunk);
        }
        settings.problems = loader.problems;
        settings.missing = loader.missing;
        (settings, loader.changed)
    }
}

/// Works on parts of a list on all cores: ten thousand files take long on one.
fn in_parallel<T: Sync, R: Send>(list: &[T], work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let parts = list.chunks(list.len().div_ceil(threads).max(1));
        let workers: Vec<_> = parts.map(|part| scope.spawn(|| work(part))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
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

/// Reads the repositories of some namespaces.
fn repositories<'a>(
    home: &'a Home,
    namespaces: &[&String],
    last: &Settings,
) -> (BTreeMap<RepositoryPath, Repository>, Loader<'a>) {
    let mut loader = Loader::new(home);
    let mut repositories = BTreeMap::new();
    for namespace in namespaces {
        let path = |repository| RepositoryPath { namespace: (*namespace).clone(), repository };
        let of_namespace = last.repositories.range(path(String::new())..);
        let last = of_namespace
            .take_while(|(path, _)| path.namespace == **namespace)
            .map(|(path, repository)| (path.repository.clone(), repository.clone()))
            .collect();
        let directory = home.namespaces_dir().join(namespace);
        let found = loader.directory(&directory, &last, |name, repository: &Repository| {
            first(name::check(NameKind::Repository, name).err(), repository.problems())
        });
        repositories.extend(found.into_iter().map(|(repository, value)| (path(repository), value)));
    }
    (repositories, loader)
}

/// How the files of the settings are, and the directories that they are in: where two are the same, nothing changed in
/// between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<PathBuf, Stamp>);

/// What tells one state of a file from another: device, inode, size, and the times of its content and its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, u64, (i64, i64), (i64, i64));

impl Stamps {
    /// Looks at the files; none is read.
    pub fn of(home: &Home) -> Stamps {
        let directories = directories(home);
        let files = directories.iter().flat_map(|directory| toml_files(directory)).chain([home.config_file()]);
        let paths: Vec<PathBuf> = files.chain(directories.iter().cloned()).collect();
        let stamp = |path: PathBuf| {
            let meta = fs::metadata(&path).ok()?;
            let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
            Some((path, Stamp(meta.dev(), meta.ino(), meta.size(), modified, changed)))
        };
        Stamps(paths.into_iter().filter_map(stamp).collect())
    }
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

/// The directories that hold settings, one file each thing.
fn directories(home: &Home) -> Vec<PathBuf> {
    let mut directories = vec![home.platforms_dir(), home.builders_dir(), home.registries_dir(), home.namespaces_dir()];
    if let Ok(entries) = fs::read_dir(home.namespaces_dir()) {
        directories.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    directories
}

fn toml_files(directory: &Path) -> Vec<PathBuf> {
    // A directory that can't be listed is reported when it is read.
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}

#[cfg(test)]
mod tests;
