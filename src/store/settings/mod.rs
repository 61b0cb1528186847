//! Everything that people configure, read from disk as a whole: what the pool works with.
//!
//! A file that can't be read is a problem that is reported, and its last good state stays in force.

mod loader;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Home, last_good, schema};
use crate::domain::builder::Builder;
use crate::domain::config::{Config, NotifyUrl, RegistrySettings};
use crate::domain::name::{self, NameKind, RepositoryPath};
use crate::domain::namespace::Namespace;
use crate::domain::repository::Repository;
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::SourcePlatform;
use crate::sys::atomic::{self, WriteError};

pub use loader::second_managed;
use loader::{Loader, first};

/// What is configured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// `config.toml`
    pub config: Config,
    /// By name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// By `namespace/repository`.
    pub repositories: BTreeMap<RepositoryPath, Repository>,
    /// By name.
    pub builders: BTreeMap<String, Builder>,
    /// By host.
    pub registries: BTreeMap<String, RegistrySettings>,
    /// By name.
    pub platforms: BTreeMap<String, SourcePlatform>,
    /// Files that could not be taken over, each with the reason.
    pub problems: BTreeMap<PathBuf, String>,
    /// Those of them that are not there, and should be.
    pub missing: BTreeSet<PathBuf>,
}

impl Settings {
    /// As [`Settings::load`], once files of an older form are brought to the current one, each with a backup: for the
    /// pool, the only one that writes.
    pub fn take_over(home: &Home, last: &Settings) -> Settings {
        let mut failed = Vec::new();
        for file in directories(home).iter().flat_map(|directory| toml_files(directory)).chain([home.config_file()]) {
            match schema::upgrade(&file, schema::MIGRATIONS) {
                Ok(None) => {}
                Ok(Some(migrated)) => tracing::info!(
                    "{} is migrated from schema {}; as it was it is {}",
                    file.display(),
                    migrated.from,
                    migrated.backup.display()
                ),
                Err(error) => failed.push((file, error.to_string())),
            }
        }
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
            first(name::check(NameKind::Builder, name).err().map(|e| e.to_string()), builder.problems())
        });
        loader.keep_one_managed(&mut settings.builders, &last.builders);
        settings.registries =
            loader.directory(&home.registries_dir(), &last.registries, |_, registry: &RegistrySettings| {
                first(None, registry.problems())
            });
        settings.platforms =
            loader.directory(&home.platforms_dir(), &last.platforms, |name, platform: &SourcePlatform| {
                first(name::check(NameKind::Platform, name).err().map(|e| e.to_string()), platform.problems())
            });
        settings.namespaces =
            loader.directory(&home.namespaces_dir(), &last.namespaces, |name, namespace: &Namespace| {
                first(Namespace::check_name(name).err().map(|e| e.to_string()), namespace.problems())
            });
        loader.tell_of_orphans(&settings.namespaces);
        for namespace in settings.namespaces.keys() {
            let last = last
                .repositories
                .iter()
                .filter(|(path, _)| path.namespace == *namespace)
                .map(|(path, repository)| (path.repository.clone(), repository.clone()))
                .collect();
            let directory = home.namespaces_dir().join(namespace);
            let found = loader.directory(&directory, &last, |name, repository: &Repository| {
                first(name::check(NameKind::Repository, name).err().map(|e| e.to_string()), repository.problems())
            });
            settings.repositories.extend(
                found
                    .into_iter()
                    .map(|(repository, value)| (RepositoryPath { namespace: namespace.clone(), repository }, value)),
            );
        }
        settings.problems = loader.problems;
        settings.missing = loader.missing;
        (settings, loader.changed)
    }

    /// The file of a namespace, or of a repository or its namespace, that is there, could not be read and of which nothing
    /// is in force.
    pub fn wrong_file(&self, namespace: &str, repository: Option<&str>) -> Option<&Path> {
        self.problem_files(namespace, repository).find(|file| !self.missing.contains(*file))
    }

    /// The files with problems among that of a namespace and that of a repository of it.
    pub fn problem_files(&self, namespace: &str, repository: Option<&str>) -> impl Iterator<Item = &Path> {
        let namespaces = Path::new("namespaces");
        let of_repository = repository.map(|name| namespaces.join(namespace).join(format!("{name}.toml")));
        let wanted: Vec<PathBuf> =
            of_repository.into_iter().chain([namespaces.join(format!("{namespace}.toml"))]).collect();
        let is_wanted = move |file: &&PathBuf| wanted.iter().any(|end| file.ends_with(end));
        self.problems.keys().filter(is_wanted).map(PathBuf::as_path)
    }

    /// The environment variables that secrets are read from (`{ env = "NAME" }`).
    pub fn secret_variables(&self) -> BTreeSet<&str> {
        let platforms = self.platforms.values().flat_map(|platform| [&platform.token, &platform.webhook_secret]);
        let registries = self.registries.values().map(|registry| &registry.password);
        let signatures = self.config.notify.iter().map(|notify| &notify.secret);
        let addresses = self.config.notify.iter().filter_map(|notify| match &notify.url {
            Some(NotifyUrl::Secret(reference)) => Some(reference),
            Some(NotifyUrl::Plain(_)) | None => None,
        });
        let rules = self.repositories.values().flat_map(|repository| &repository.rules);
        let builds = self.namespaces.values().flat_map(|namespace| namespace.secrets.values());
        let builds = builds.chain(rules.flat_map(|rule| rule.secrets.values()));
        let references = platforms.chain(registries).chain(signatures).flatten().chain(addresses).chain(builds);
        references
            .filter_map(|reference| match reference {
                SecretRef::Env(name) => Some(name.as_str()),
                SecretRef::File(_) | SecretRef::Command(_) => None,
            })
            .collect()
    }

    /// The settings of a registry; where it has no file the defaults, and plain http on this machine's own loopback, as
    /// BuildKit has it.
    pub fn registry(&self, host: &str) -> RegistrySettings {
        let unknown = || RegistrySettings { plain_http: is_loopback(host), ..RegistrySettings::default() };
        self.registries.get(host).cloned().unwrap_or_else(unknown)
    }
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

/// Whether `host[:port]` is this machine's own loopback.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
