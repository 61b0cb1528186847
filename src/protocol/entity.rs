//! The things that are kept as TOML and that clients save and delete.

use serde::{Deserialize, Serialize};

use super::platforms::LoginId;
use crate::domain::builder::Builder;
use crate::domain::config::RegistrySettings;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};
use crate::domain::repository::Repository;
use crate::domain::rule::Rule;
use crate::domain::source_platform::SourcePlatform;

/// Something that is kept as TOML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// A namespace.
    Namespace {
        /// Its name.
        name: String,
        /// What it is to be.
        value: Namespace,
    },
    /// A repository.
    Repository {
        /// Its name.
        path: RepositoryPath,
        /// What it is to be.
        value: Repository,
    },
    /// A rule of a repository.
    Rule {
        /// The repository.
        path: RepositoryPath,
        /// What it is to be; its name says which one it is.
        value: Rule,
    },
    /// A builder.
    Builder {
        /// Its name.
        name: String,
        /// What it is to be.
        value: Builder,
    },
    /// A registry's settings.
    Registry {
        /// `host[:port]`
        host: String,
        /// What they are to be.
        value: RegistrySettings,
        /// The password to keep in a secret file that `value` names.
        password: Option<String>,
    },
    /// A source platform.
    Platform {
        /// Its name.
        name: String,
        /// What it is to be.
        value: SourcePlatform,
        /// The token to keep in a secret file that `value` names.
        token: Option<String>,
        /// The secret of its webhooks to keep in a secret file that `value` names.
        webhook_secret: Option<String>,
        /// The finished login whose token is to be kept instead: the token itself never leaves the pool.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<LoginId>,
    },
    /// A secret for builds.
    Secret {
        /// Its name.
        name: String,
        /// What it is to be.
        value: String,
    },
}

impl Entity {
    /// What it is called.
    pub fn name(&self) -> EntityName {
        match self {
            Entity::Namespace { name, .. } => EntityName::Namespace(name.clone()),
            Entity::Repository { path, .. } => EntityName::Repository(path.clone()),
            Entity::Rule { path, value } => EntityName::Rule(path.clone(), value.name.clone()),
            Entity::Builder { name, .. } => EntityName::Builder(name.clone()),
            Entity::Registry { host, .. } => EntityName::Registry(host.clone()),
            Entity::Platform { name, .. } => EntityName::Platform(name.clone()),
            Entity::Secret { name, .. } => EntityName::Secret(name.clone()),
        }
    }
}

/// The name of something that is kept as TOML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityName {
    /// A namespace that has no repositories.
    Namespace(String),
    /// A repository, with its images in the local registry.
    Repository(RepositoryPath),
    /// A rule of a repository.
    Rule(RepositoryPath, String),
    /// A builder.
    Builder(String),
    /// A registry's settings.
    Registry(String),
    /// A source platform that no repository names.
    Platform(String),
    /// A secret that nothing uses.
    Secret(String),
}

impl EntityName {
    /// The kind in one word, as the audit log has it.
    pub fn kind(&self) -> &'static str {
        match self {
            EntityName::Namespace(_) => "namespace",
            EntityName::Repository(_) => "repository",
            EntityName::Rule(..) => "rule",
            EntityName::Builder(_) => "builder",
            EntityName::Registry(_) => "registry",
            EntityName::Platform(_) => "platform",
            EntityName::Secret(_) => "secret",
        }
    }

    /// The thing, as the audit log has it: `acme`, `acme/api`, `acme/api rule main`, `builder big`.
    pub fn object(&self) -> String {
        match self {
            EntityName::Namespace(name) => name.clone(),
            EntityName::Repository(path) => path.to_string(),
            EntityName::Rule(path, rule) => format!("{path} rule {rule}"),
            EntityName::Builder(name)
            | EntityName::Registry(name)
            | EntityName::Platform(name)
            | EntityName::Secret(name) => {
                format!("{} {name}", self.kind())
            }
        }
    }
}

display_as_reason!(EntityName);

impl AsReason for EntityName {
    fn reason(&self) -> Reason {
        match self {
            EntityName::Namespace(name) => reason!("entity.namespace", name = quoted(name)),
            EntityName::Repository(path) => reason!("entity.repository", path),
            EntityName::Rule(path, name) => reason!("entity.rule", path, name = quoted(name)),
            EntityName::Builder(name) => reason!("entity.builder", name = quoted(name)),
            EntityName::Registry(host) => reason!("entity.registry", host = quoted(host)),
            EntityName::Platform(name) => reason!("entity.platform", name = quoted(name)),
            EntityName::Secret(name) => reason!("entity.secret", name = quoted(name)),
        }
    }
}

/// Whether what is saved may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveMode {
    /// It must not be there.
    Create,
    /// It must be there.
    Edit,
    /// Either.
    Apply,
}
