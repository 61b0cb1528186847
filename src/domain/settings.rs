//! The settings of a home as a whole: what the pool works with, and what clients get of it as a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::builder::Builder;
use super::config::{Config, NotifyUrl, RegistrySettings};
use super::name::RepositoryPath;
use super::namespace::Namespace;
use super::repository::Repository;
use super::rule::Rule;
use super::secret_ref::SecretRef;
use super::source_platform::SourcePlatform;
use crate::domain::reason::Reason;

/// What stands in the place of a value that only operators may read.
const HIDDEN: &str = "***";

/// What is configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    pub problems: BTreeMap<PathBuf, Reason>,
    /// Those of them that are not there, and should be.
    #[serde(default)]
    pub missing: BTreeSet<PathBuf>,
}

impl Settings {
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

    /// Takes out what only operators may read: values of arguments that look like secrets, commands, and the paths of
    /// notifications' addresses.
    pub fn mask(&mut self) {
        for repository in self.repositories.values_mut() {
            repository.rules.iter_mut().for_each(Rule::mask_args);
        }
        for notify in &mut self.config.notify {
            if let Some(NotifyUrl::Plain(_)) = notify.url {
                notify.url = Some(NotifyUrl::Plain(notify.target()));
            }
            notify.command = notify.command.take().map(|_| HIDDEN.into());
        }
        let platforms = self.platforms.values_mut().flat_map(|it| [&mut it.token, &mut it.webhook_secret]);
        let registries = self.registries.values_mut().map(|registry| &mut registry.password);
        let signatures = self.config.notify.iter_mut().map(|notify| &mut notify.secret);
        let namespaces = self.namespaces.values_mut().flat_map(|namespace| namespace.secrets.values_mut());
        let rules = self.repositories.values_mut().flat_map(|repository| &mut repository.rules);
        let builds = namespaces.chain(rules.flat_map(|rule| rule.secrets.values_mut()));
        for reference in platforms.chain(registries).chain(signatures).flatten().chain(builds) {
            if let SecretRef::Command(command) = reference {
                *command = HIDDEN.into();
            }
        }
    }

    /// The settings of a registry; where it has no file the defaults, and plain http on this machine's own loopback, as
    /// BuildKit has it.
    pub fn registry(&self, host: &str) -> RegistrySettings {
        let unknown = || RegistrySettings { plain_http: is_loopback(host), ..RegistrySettings::default() };
        self.registries.get(host).cloned().unwrap_or_else(unknown)
    }
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
mod tests {
    use super::*;

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
