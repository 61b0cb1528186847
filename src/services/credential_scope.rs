//! Which registries' credentials the builds of a namespace may use: those of their destination, of the mirrors, and of
//! what the namespace lists in `pull_from`; and of these, those that the registry's own file lets the namespace use.
//!
//! BuildKit asks for credentials by host, so a path in `pull_from` lets builds use the credential for the whole host;
//! what slipway itself asks a registry is held to the path.

use std::collections::BTreeSet;

use crate::domain::config::RegistrySettings;
use crate::domain::namespace::LOCAL_REGISTRY;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::registry::docker_config::DockerConfig;
use crate::registry::docker_keys::canonical_host;
use crate::store::settings::Settings;

/// Why a credential is not for the builds of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The host is neither the destination, nor a mirror, nor listed.
    NotListed {
        /// The registry.
        host: String,
        /// The namespace.
        namespace: String,
        /// The namespace's list with the host added: the option replaces the list.
        pull_from: Vec<String>,
    },
    /// The registry's file names other namespaces.
    OtherNamespaces {
        /// The registry.
        host: String,
        /// The namespace.
        namespace: String,
        /// The namespaces that may use it.
        named: Vec<String>,
    },
}

display_as_reason!(Denial);

impl AsReason for Denial {
    fn reason(&self) -> Reason {
        match self {
            Denial::NotListed { host, namespace, pull_from } => reason!(
                "denial.not_listed",
                namespace,
                host,
                pull_from = pull_from.iter().map(|place| format!(" --pull-from {place}")).collect::<String>()
            ),
            Denial::OtherNamespaces { host, namespace, named } => {
                reason!("denial.other_namespaces", host, namespace, named = named.join(", "))
            }
        }
    }
}

/// The registries whose credentials the builds of one namespace may use.
#[derive(Debug, Clone, Copy)]
pub struct CredentialScope<'a> {
    settings: &'a Settings,
    namespace: &'a str,
    /// `local`, or `host[:port][/prefix]`.
    registry: &'a str,
}

impl<'a> CredentialScope<'a> {
    /// The scope of a namespace's builds that push to `registry`.
    pub fn new(settings: &'a Settings, namespace: &'a str, registry: &'a str) -> CredentialScope<'a> {
        CredentialScope { settings, namespace, registry }
    }

    /// The scope of a namespace's builds, as its settings are now.
    pub fn of(settings: &'a Settings, namespace: &'a str) -> CredentialScope<'a> {
        let registry = settings.namespaces.get(namespace).map_or(LOCAL_REGISTRY, |there| there.registry.as_str());
        CredentialScope { settings, namespace, registry }
    }

    /// The host that images are pushed to; none where they stay on this machine.
    pub fn destination(&self) -> Option<&'a str> {
        (self.registry != LOCAL_REGISTRY).then(|| host_of(self.registry))
    }

    /// All hosts whose credentials may be used.
    pub fn hosts(&self) -> BTreeSet<String> {
        let pull_from = self.pull_from().map(host_of);
        let all = self.destination().into_iter().chain(self.mirrors()).chain(pull_from).map(canonical_host);
        all.filter(|host| self.denial(host, None).is_none()).map(str::to_owned).collect()
    }

    /// Why the credential of `host` may not be used, for an image at `path` there or for any.
    pub fn denial(&self, host: &str, path: Option<&str>) -> Option<Denial> {
        let host = canonical_host(host);
        let is_it = |other: &str| canonical_host(other) == host;
        if let Some(named) = self.file_of(host).map(|file| &file.namespaces)
            && !named.is_empty()
            && !named.iter().any(|name| name == self.namespace)
        {
            let (host, namespace) = (host.to_owned(), self.namespace.to_owned());
            return Some(Denial::OtherNamespaces { host, namespace, named: named.clone() });
        }
        let listed = |entry: &str| {
            let (entry_host, prefix) = entry.split_once('/').unwrap_or((entry, ""));
            is_it(entry_host) && path.is_none_or(|path| is_below(path, prefix))
        };
        let covered =
            self.destination().is_some_and(is_it) || self.mirrors().any(is_it) || self.pull_from().any(listed);
        (!covered).then(|| Denial::NotListed {
            host: host.to_owned(),
            namespace: self.namespace.to_owned(),
            pull_from: self.pull_from().chain([host]).map(str::to_owned).collect(),
        })
    }

    /// Why a build was not given the credential of a registry that its failure names, where there is one.
    pub fn withheld(&self, failure: &str, docker: &DockerConfig) -> Option<Denial> {
        let ours =
            self.settings.registries.iter().filter(|(_, file)| file.username.is_some()).map(|(host, _)| host.as_str());
        let hosts: BTreeSet<&str> = ours.chain(docker.hosts()).map(canonical_host).collect();
        hosts.into_iter().filter(|host| names_host(failure, host)).find_map(|host| self.denial(host, None))
    }

    fn file_of(&self, host: &str) -> Option<&'a RegistrySettings> {
        let files = &self.settings.registries;
        files.iter().find(|(name, _)| canonical_host(name) == host).map(|(_, file)| file)
    }

    fn mirrors(&self) -> impl Iterator<Item = &'a str> {
        let of_hosts = self.settings.registries.values().flat_map(|file| &file.mirrors);
        let of_all = self.settings.config.buildkit.mirrors.values().flatten();
        of_hosts.chain(of_all).map(|mirror| host_of(mirror))
    }

    fn pull_from(&self) -> impl Iterator<Item = &'a str> {
        let namespace = self.settings.namespaces.get(self.namespace);
        namespace.into_iter().flat_map(|namespace| &namespace.pull_from).map(String::as_str)
    }
}

/// The host of an image or of a registry with a prefix.
fn host_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn is_below(path: &str, prefix: &str) -> bool {
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a text has the name of an image on the host.
fn names_host(text: &str, host: &str) -> bool {
    let begins_word = |at: usize| {
        text[..at].chars().next_back().is_none_or(|before| !before.is_ascii_alphanumeric() && !".-_".contains(before))
    };
    text.match_indices(host).any(|(at, _)| begins_word(at) && text[at + host.len()..].starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::namespace::Namespace;

    fn settings() -> Settings {
        let mut settings = Settings::default();
        let namespace = |registry: &str, pull_from: &[&str]| Namespace {
            registry: registry.into(),
            pull_from: pull_from.iter().map(ToString::to_string).collect(),
            ..Namespace::default()
        };
        let pulls = ["base.example/golden/go", "docker.io", "closed.example:5000"];
        settings.namespaces.insert("acme".into(), namespace("acme.example/team", &pulls));
        settings.namespaces.insert("loc".into(), namespace("local", &[]));
        let with = |namespaces: &[&str]| RegistrySettings {
            username: Some("ci".into()),
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            ..RegistrySettings::default()
        };
        for (host, namespaces) in [
            ("acme.example", &["acme"][..]),
            ("base.example", &[]),
            ("closed.example:5000", &["other"]),
            ("unrelated.example", &[]),
            ("index.docker.io", &[]),
        ] {
            settings.registries.insert(host.into(), with(namespaces));
        }
        settings.config.buildkit.mirrors.insert("docker.io".into(), vec!["mirror.example/hub".into()]);
        settings
    }

    #[test]
    fn a_build_may_use_the_credentials_of_its_destination_the_mirrors_and_what_its_namespace_lists() {
        let settings = settings();
        let hosts: Vec<String> = CredentialScope::of(&settings, "acme").hosts().into_iter().collect();
        assert_eq!(hosts, ["acme.example", "base.example", "docker.io", "mirror.example"]);
        let hosts: Vec<String> = CredentialScope::of(&settings, "loc").hosts().into_iter().collect();
        assert_eq!(hosts, ["mirror.example"]);
    }

    #[test]
    fn a_registrys_file_keeps_other_namespaces_away_from_their_own_destination_too() {
        let settings = settings();
        let scope = CredentialScope::new(&settings, "loc", "acme.example");
        let denial = scope.denial("acme.example", None).unwrap();
        assert!(matches!(&denial, Denial::OtherNamespaces { named, .. } if named == &["acme"]), "{denial}");
        assert!(scope.hosts().iter().all(|host| host != "acme.example"));
        let acme = CredentialScope::of(&settings, "acme");
        assert!(matches!(acme.denial("closed.example:5000", None), Some(Denial::OtherNamespaces { .. })));
    }

    #[test]
    fn a_path_that_is_listed_holds_for_what_is_below_it() {
        let settings = settings();
        let acme = CredentialScope::of(&settings, "acme");
        for (path, allowed) in
            [("golden/go", true), ("golden/go/1.22", true), ("golden/gopher", false), ("golden", false)]
        {
            assert_eq!(acme.denial("base.example", Some(path)).is_none(), allowed, "{path}");
        }
        assert_eq!(acme.denial("registry-1.docker.io", Some("library/alpine")), None);
        assert_eq!(acme.denial("acme.example", Some("anything")), None);
    }

    #[test]
    fn a_failure_that_names_a_registry_with_a_withheld_credential_is_explained() {
        let settings = settings();
        let (loc, docker) = (CredentialScope::of(&settings, "loc"), DockerConfig::default());
        let why = |text: &str| loc.withheld(text, &docker).map(|denial| denial.to_string());
        let text =
            "unrelated.example/x:1: failed to resolve source metadata for unrelated.example/x:1: pull access denied";
        assert!(why(text).unwrap().contains("--pull-from unrelated.example"));
        for other in
            ["not-unrelated.example/x: denied", "unrelated.example.org/x: denied", "unrelated.example: denied", ""]
        {
            assert_eq!(why(other), None, "{other}");
        }
        let acme = CredentialScope::of(&settings, "acme");
        assert_eq!(acme.withheld("base.example/golden/go:1: denied", &docker), None);
    }
}
