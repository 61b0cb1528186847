//! Everything that people configure, read from disk as a whole: what the pool works with.
//!
//! A file that can't be read is a problem that is told, and the last good state of it stays in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{Home, read, schema, trust};
use crate::domain::builder::{Builder, BuilderKind};
use crate::domain::config::{Config, NotifyUrl, RegistrySettings};
use crate::domain::name::{self, NameKind, RepositoryPath};
use crate::domain::namespace::Namespace;
use crate::domain::repository::Repository;
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::SourcePlatform;
use crate::sys::atomic::{self, WriteError};

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
        let mut settings = Settings::load(home, last);
        settings.problems.extend(failed);
        settings
    }

    /// Reads everything; what can't be read is as it was in `last`.
    pub fn load(home: &Home, last: &Settings) -> Settings {
        let mut settings = Settings::default();
        let mut loader = Loader { problems: BTreeMap::new() };
        let file = home.config_file();
        if file.exists() {
            let config = loader.checked(&file, |config: &Config| first(None, config.problems()));
            settings.config = config.unwrap_or_else(|| last.config.clone());
        }
        settings.builders = loader.directory(&home.builders_dir(), &last.builders, |name, builder: &Builder| {
            first(name::check(NameKind::Builder, name).err().map(|e| e.to_string()), builder.problems())
        });
        loader.keep_one_managed(home, &mut settings.builders, &last.builders);
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
        loader.tell_of_orphans(home, &settings.namespaces);
        let namespaces: Vec<&String> = settings.namespaces.keys().collect();
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        // Ten thousand files take long on one core.
        let found: Vec<(Loader, BTreeMap<RepositoryPath, Repository>)> = std::thread::scope(|scope| {
            let chunks = namespaces.chunks(namespaces.len().div_ceil(threads).max(1));
            let readers: Vec<_> = chunks.map(|chunk| scope.spawn(|| repositories(home, chunk, last))).collect();
            readers.into_iter().map(|reader| reader.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        for (of_chunk, repositories) in found {
            loader.problems.extend(of_chunk.problems);
            settings.repositories.extend(repositories);
        }
        settings.problems = loader.problems;
        settings
    }

    /// The file of a namespace, or of a repository or its namespace, that is there, could not be read and of which nothing
    /// is in force.
    pub fn wrong_file(&self, namespace: &str, repository: Option<&str>) -> Option<&Path> {
        self.problem_files(namespace, repository).find(|file| file.exists())
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
    // What can't be listed is told when it is read.
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}

/// The problem with a managed builder where there is another.
pub fn second_managed(other: &str) -> String {
    format!("kind: the builder {other:?} is managed already, and there is one at most; make this one fresh or existing")
}

/// Whether `host[:port]` is this machine's own loopback.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn first(name_problem: Option<String>, problems: Vec<String>) -> Option<String> {
    name_problem.or_else(|| problems.into_iter().next())
}

/// Reads the repositories of some namespaces.
fn repositories(
    home: &Home,
    namespaces: &[&String],
    last: &Settings,
) -> (Loader, BTreeMap<RepositoryPath, Repository>) {
    let mut loader = Loader { problems: BTreeMap::new() };
    let mut repositories = BTreeMap::new();
    for namespace in namespaces {
        let first_path = RepositoryPath { namespace: (*namespace).clone(), repository: String::new() };
        let last = last
            .repositories
            .range(first_path..)
            .take_while(|(path, _)| path.namespace == **namespace)
            .map(|(path, repository)| (path.repository.clone(), repository.clone()))
            .collect();
        let directory = home.namespaces_dir().join(namespace);
        let found = loader.directory(&directory, &last, |name, repository: &Repository| {
            first(name::check(NameKind::Repository, name).err().map(|e| e.to_string()), repository.problems())
        });
        let path = |repository| RepositoryPath { namespace: (*namespace).clone(), repository };
        repositories.extend(found.into_iter().map(|(repository, value)| (path(repository), value)));
    }
    (loader, repositories)
}

struct Loader {
    problems: BTreeMap<PathBuf, String>,
}

impl Loader {
    fn read<T: DeserializeOwned>(&mut self, file: &Path) -> Option<T> {
        // What another user may write is not believed, were it written a moment ago.
        let trusted = trust::check_settings(file).map_err(|untrusted| untrusted.to_string());
        match trusted.and_then(|()| read::load(file).map_err(|error| error.to_string())) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problems.insert(file.to_path_buf(), problem);
                None
            }
        }
    }

    /// As `read`; `check` says what is wrong with what parses.
    fn checked<T: DeserializeOwned>(&mut self, file: &Path, check: impl Fn(&T) -> Option<String>) -> Option<T> {
        let value = self.read::<T>(file)?;
        let Some(problem) = check(&value) else { return Some(value) };
        self.problems.insert(file.to_path_buf(), format!("{}: {problem}", file.display()));
        None
    }

    /// A directory of repositories beside which no file makes the namespace would be passed over in silence.
    fn tell_of_orphans(&mut self, home: &Home, namespaces: &BTreeMap<String, Namespace>) {
        let Ok(entries) = fs::read_dir(home.namespaces_dir()) else { return };
        for directory in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let Some(name) = directory.file_name().and_then(|name| name.to_str()) else { continue };
            let file = home.namespace_file(name);
            let empty = fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_none());
            if !namespaces.contains_key(name) && !file.exists() && !empty {
                let shown = file.display();
                let problem = format!("{shown} is not there, and {name}/ holds repositories; make it, it may be empty");
                self.problems.insert(file, problem);
            }
        }
    }

    /// Of several managed builders the one that was in force stays, else the first by name.
    fn keep_one_managed(
        &mut self,
        home: &Home,
        builders: &mut BTreeMap<String, Builder>,
        last: &BTreeMap<String, Builder>,
    ) {
        let is_managed = |builder: &Builder| builder.kind == BuilderKind::Managed;
        let managed: Vec<String> =
            builders.iter().filter(|(_, builder)| is_managed(builder)).map(|(name, _)| name.clone()).collect();
        let was = managed.iter().find(|name| last.get(*name).is_some_and(is_managed));
        let Some(kept) = was.or(managed.first()) else { return };
        for name in managed.iter().filter(|name| *name != kept) {
            builders.remove(name);
            let file = home.builders_dir().join(format!("{name}.toml"));
            let problem = format!("{}: {}", file.display(), second_managed(kept));
            self.problems.insert(file, problem);
        }
    }

    /// Every `<name>.toml` of a directory; `check` says what is wrong with one that parses.
    fn directory<T: DeserializeOwned + Clone>(
        &mut self,
        directory: &Path,
        last: &BTreeMap<String, T>,
        check: impl Fn(&str, &T) -> Option<String>,
    ) -> BTreeMap<String, T> {
        let mut found = BTreeMap::new();
        if let Err(untrusted) = trust::check_settings(directory) {
            self.problems.insert(directory.to_path_buf(), untrusted.to_string());
            return last.clone();
        }
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return found,
            Err(error) => {
                self.problems.insert(directory.to_path_buf(), format!("cannot list {}: {error}", directory.display()));
                return last.clone();
            }
        };
        for entry in entries.flatten() {
            let file = entry.path();
            let Some(name) = file
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(".toml"))
                .filter(|name| !name.starts_with('.'))
            else {
                continue;
            };
            let name = name.to_owned();
            let value = self.checked(&file, |value| check(&name, value));
            if let Some(value) = value.or_else(|| last.get(&name).cloned()) {
                found.insert(name, value);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let home = Home::at(dir.path());
        (dir, home)
    }

    #[test]
    fn one_managed_builder_is_kept_the_one_that_was_in_force_first() {
        let managed = "kind = \"managed\"\n";
        let (_dir, home) = home_with(&[("builders/b.toml", managed)]);
        let before = Settings::load(&home, &Settings::default());
        fs::write(home.builders_dir().join("a.toml"), managed).unwrap();
        let now = Settings::load(&home, &before);
        assert_eq!(now.builders.keys().collect::<Vec<_>>(), ["b"]);
        assert!(now.problems.values().any(|problem| problem.contains("a.toml") && problem.contains("\"b\"")));
        let fresh = Settings::load(&home, &Settings::default());
        assert_eq!(fresh.builders.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_broken_rule_of_one_repository_hides_no_other() {
        let rule = "[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }]\n";
        let broken = rule.replace("branch = \"main\"", "branch = { regex = \"(\" }");
        let (_dir, home) = home_with(&[
            ("namespaces/acme.toml", ""),
            ("namespaces/acme/api.toml", &broken),
            ("namespaces/acme/web.toml", rule),
        ]);
        let settings = Settings::load(&home, &Settings::default());
        let names: Vec<String> = settings.repositories.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["acme/web"]);
        assert_eq!(settings.problems.len(), 1);
        fs::write(home.repository_file("acme", "api"), rule).unwrap();
        let good = Settings::load(&home, &settings);
        assert_eq!(good.repositories.len(), 2);
        fs::write(home.repository_file("acme", "api"), broken).unwrap();
        assert_eq!(Settings::load(&home, &good).repositories, good.repositories, "the last good state stays");
    }

    #[test]
    fn repositories_without_their_namespaces_file_are_told() {
        let (_dir, home) = home_with(&[("namespaces/acme/web.toml", "")]);
        let settings = Settings::load(&home, &Settings::default());
        assert!(settings.repositories.is_empty());
        let problem = settings.problems.values().next().unwrap();
        assert!(problem.contains("acme.toml"), "{problem}");
    }

    #[test]
    fn a_file_of_an_unknown_older_form_is_told_and_kept() {
        let (_dir, home) = home_with(&[
            ("builders/a.toml", "schema = 0\nkind = \"fresh\"\n"),
            ("builders/b.toml", "kind = \"fresh\"\n"),
        ]);
        let settings = Settings::take_over(&home, &Settings::default());
        assert_eq!(settings.builders.keys().collect::<Vec<_>>(), ["b"]);
        assert!(settings.problems.values().next().unwrap().contains("knows no way"));
    }

    #[test]
    fn what_a_dead_writer_left_is_cleaned_up() {
        let (_dir, home) =
            home_with(&[("namespaces/acme/.api.toml.slipway-4294967295-0.tmp", "x"), ("namespaces/acme.toml", "")]);
        clean(&home).unwrap();
        assert_eq!(fs::read_dir(home.namespaces_dir().join("acme")).unwrap().count(), 0);
    }

    #[test]
    fn a_registry_on_loopback_is_spoken_to_in_plain_http_unless_a_file_says_otherwise() {
        let mut settings = Settings::default();
        for (host, plain) in [
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.8.9.1", true),
            ("[::1]:5000", true),
            ("registry.example.com", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(settings.registry(host).plain_http, plain, "{host}");
        }
        settings.registries.insert("localhost:5000".into(), RegistrySettings::default());
        assert!(!settings.registry("localhost:5000").plain_http);
    }
}
