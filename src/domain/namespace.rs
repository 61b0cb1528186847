//! Namespaces: groups of image repositories with shared defaults.

use serde::{Deserialize, Serialize};

use super::grant_keys::{self, NetworkMode, SecretRefs};
use super::name::{NameError, RepositoryPath};
use super::reference::Registry;
use super::repository::{Repository, Source, Visibility};
use super::summary;

/// The registry that every namespace pushes to unless it names another: OCI layout directories on this machine.
pub const LOCAL_REGISTRY: &str = "local";

/// `namespaces/<namespace>.toml`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Namespace {
    /// Where images go: `local`, or `host[:port][/prefix]`.
    pub registry: String,
    /// Whether a build or push that names a repository that is not there makes it.
    pub auto_create: bool,
    /// Of new repositories.
    pub visibility: Visibility,
    /// Of new repositories: a tag that exists is never overwritten, `latest` excepted.
    pub immutable: bool,
    /// Of new repositories: also publish a lazily loadable image.
    pub accelerate: bool,
    /// At most 100 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// The source of repositories that are made automatically; `${repository}` in its URL is their name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Secrets that the builds of every rule can ask for, by id.
    #[serde(skip_serializing_if = "SecretRefs::is_empty")]
    pub secrets: SecretRefs,
    /// Files under `secrets/` with private keys: what the ssh agents of all builds hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<String>,
    /// The network of the commands of rules that name none.
    #[serde(skip_serializing_if = "NetworkMode::is_sandbox")]
    pub network_mode: NetworkMode,
    /// Whether rules may choose the host's network.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_host_network: bool,
    /// The registries, or paths of them, whose credentials base images may be pulled with: `HOST[:PORT][/PATH]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pull_from: Vec<String>,
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace {
            registry: LOCAL_REGISTRY.into(),
            auto_create: false,
            visibility: Visibility::default(),
            immutable: false,
            accelerate: false,
            summary: String::new(),
            source: None,
            secrets: SecretRefs::new(),
            ssh: Vec::new(),
            network_mode: NetworkMode::Sandbox,
            allow_host_network: false,
            pull_from: Vec::new(),
        }
    }
}

impl Namespace {
    /// A repository with the namespace's defaults.
    pub fn new_repository(&self, name: &str) -> Repository {
        Repository {
            visibility: self.visibility,
            immutable: self.immutable,
            accelerate: self.accelerate,
            source: self
                .source
                .as_ref()
                .map(|source| Source { url: source.url.replace("${repository}", name), ..source.clone() }),
            ..Repository::default()
        }
    }

    /// Whether images stay on this machine.
    pub fn is_local(&self) -> bool {
        self.registry == LOCAL_REGISTRY
    }

    /// The name of a repository's images, without a tag: `acme/api`, or `registry.example.com/acme/api`.
    pub fn image_name(&self, path: &RepositoryPath) -> String {
        if self.is_local() { path.to_string() } else { format!("{}/{path}", self.registry) }
    }

    /// Everything that is wrong with the namespace besides its name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(problem) = summary::problem(&self.summary) {
            problems.push(problem);
        }
        if let Err(error) = self.registry.parse::<Registry>() {
            problems.push(format!("registry: {error}"));
        }
        let checks = [
            ("secrets", grant_keys::check_secrets(&self.secrets)),
            ("ssh", grant_keys::check_ssh(&self.ssh)),
            ("pull_from", grant_keys::check_pull_from(&self.pull_from)),
        ];
        problems.extend(checks.into_iter().filter_map(|(key, check)| Some(format!("{key}: {}", check.err()?))));
        if self.network_mode == NetworkMode::Host && !self.allow_host_network {
            problems.push("network_mode: \"host\" needs allow_host_network = true".into());
        }
        problems
    }

    /// Checks a namespace's name.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check_name(name: &str) -> Result<(), NameError> {
        super::name::check(super::name::NameKind::Namespace, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_repository_has_the_namespaces_defaults_and_its_own_source() {
        let namespace = Namespace {
            immutable: true,
            visibility: Visibility::Public,
            source: Some(Source { url: "https://git.example.com/acme/${repository}.git".into(), ..Source::default() }),
            ..Namespace::default()
        };
        let repository = namespace.new_repository("api");
        assert!(repository.immutable);
        assert_eq!(repository.visibility, Visibility::Public);
        assert_eq!(repository.source.unwrap().url, "https://git.example.com/acme/api.git");
    }

    #[test]
    fn a_registry_is_local_or_a_host_with_a_prefix() {
        let problems = |registry: &str| Namespace { registry: registry.into(), ..Namespace::default() }.problems();
        for good in ["local", "registry.example.com", "localhost:5000", "127.0.0.1:5000/team/a", "[::1]:5000"] {
            assert_eq!(problems(good), Vec::<String>::new(), "{good}");
        }
        for bad in ["", "https://x", "host:port", "host/UPPER", "host/", "ho st", "-x.example"] {
            assert_eq!(problems(bad).len(), 1, "{bad}");
        }
        // `docker push reg/acme/api` goes to Docker Hub.
        for bad in ["reg", "reg/team"] {
            let problems = problems(bad);
            assert!(
                problems[0].starts_with("registry: registry host \"reg\": without a dot or a port"),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn images_are_named_after_registry_namespace_and_repository() {
        let path = "acme/api".parse().unwrap();
        assert_eq!(Namespace::default().image_name(&path), "acme/api");
        let namespace = Namespace { registry: "r.example.com/x".into(), ..Namespace::default() };
        assert_eq!(namespace.image_name(&path), "r.example.com/x/acme/api");
    }
}
