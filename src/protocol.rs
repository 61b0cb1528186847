//! What the pool and its clients say to each other over the pool's unix socket.
//!
//! A client connects, writes one [`Call`] as a line of JSON, and reads one [`Answer`] as a line of JSON. The socket
//! belongs to the pool's user alone (mode 0600), and the pool asks the kernel who connects: it serves its own user and
//! root, who may do everything. No request says who asks.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::audit::{AuditPage, AuditQuery};
use crate::domain::build::{Build, BuildId};
use crate::domain::builder::Builder;
use crate::domain::config::RegistrySettings;
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::outline::Outline;
use crate::domain::platform::Platform;
use crate::domain::push::Ref;
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};
use crate::domain::repository::Repository;
use crate::domain::rule::Rule;
use crate::domain::source_platform::SourcePlatform;

/// Exit status of `slipway pool run` where another pool holds the lock of the home.
pub const ALREADY_RUNS: u8 = 3;
/// The version of this conversation; a pool of another version says so instead of misunderstanding.
pub const VERSION: u32 = 2;

/// What a client sends.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// [`VERSION`] of the client.
    pub version: u32,
    /// What it wants.
    pub request: Request,
}

/// What a client wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How the pool is: answered with [`Reply::Status`].
    Status,
    /// End the pool; builds go on. Answered with [`Reply::Done`] once nothing new is taken.
    Stop,
    /// The builds that are not final, as the pool sees them: [`Reply::Builds`].
    OpenBuilds,
    /// Make or change something: [`Reply::Done`].
    Save {
        /// What it is.
        entity: Box<Entity>,
        /// Whether it may or must be there.
        mode: SaveMode,
    },
    /// Remove something: [`Reply::Done`].
    Delete(EntityName),
    /// Build a rule now: [`Reply::Queued`].
    Start {
        /// The repository.
        path: RepositoryPath,
        /// The rule; none where the repository has one that can be built now.
        rule: Option<String>,
    },
    /// Run a rule for a ref as though it had just been pushed: [`Reply::Queued`].
    Replay {
        /// The repository.
        path: RepositoryPath,
        /// The rule.
        rule: String,
        /// The ref.
        reference: Ref,
    },
    /// Build again what a build was: [`Reply::Queued`].
    Retry {
        /// The build.
        id: BuildId,
    },
    /// Stop a build: [`Reply::Build`] once its state is final.
    Cancel {
        /// The build.
        id: BuildId,
    },
    /// Wait until a build's state is final, or there is another reason for it than the one that is known:
    /// [`Reply::Build`].
    Wait {
        /// The build.
        id: BuildId,
        /// The reason that is known; none: only the final state is of interest.
        known: Option<Reason>,
    },
    /// Hear of everything that changes, until one side leaves: a [`Reply::News`] at once, and one after each change.
    Watch,
    /// What the Dockerfile of a rule, saved or not, offers at a ref of the source: [`Reply::Outline`].
    Examine {
        /// The repository.
        path: RepositoryPath,
        /// The rule.
        rule: Box<Rule>,
        /// The ref.
        reference: Ref,
    },
    /// Send a test to a notification of config.toml now: [`Reply::Notified`] once it has it.
    TestNotification {
        /// Its name.
        name: String,
    },
    /// Remove a tag of a repository: [`Reply::Done`].
    DeleteTag {
        /// The repository.
        path: RepositoryPath,
        /// The tag.
        tag: String,
    },
    /// A page of the audit log: [`Reply::Audit`].
    Audit(AuditQuery),
}

/// What a request changes, as the audit log records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The action; for something that is saved, `save`, which is `create` or `edit` by what was there.
    pub verb: &'static str,
    /// The thing.
    pub object: ChangedObject,
}

/// The thing that a request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedObject {
    /// Something that is kept as TOML.
    Entity(EntityName),
    /// A build that is there.
    Build(BuildId),
    /// Something of a repository, such as `rule main` or `tag v1`; "" where the request does not say.
    Of(RepositoryPath, String),
    /// A notification of config.toml.
    Notification(String),
    /// The pool itself.
    Pool,
}

impl Request {
    /// What the request changes; none: it only asks. Every change is recorded by this, so a new request must say what
    /// it is.
    pub fn change(&self) -> Option<Change> {
        let change = |verb, object| Some(Change { verb, object });
        match self {
            Request::Status
            | Request::OpenBuilds
            | Request::Wait { .. }
            | Request::Watch
            | Request::Examine { .. }
            | Request::Audit(_) => None,
            Request::Stop => change("stop", ChangedObject::Pool),
            Request::Save { entity, .. } => change("save", ChangedObject::Entity(entity.name())),
            Request::Delete(name) => change("delete", ChangedObject::Entity(name.clone())),
            Request::Start { path, rule, .. } => {
                let rule = rule.as_ref().map_or_else(String::new, |rule| format!("rule {rule}"));
                change("build.start", ChangedObject::Of(path.clone(), rule))
            }
            Request::Replay { path, rule, reference } => {
                change("build.replay", ChangedObject::Of(path.clone(), format!("rule {rule} {reference}")))
            }
            Request::Retry { id, .. } => change("build.retry", ChangedObject::Build(*id)),
            Request::Cancel { id, .. } => change("build.cancel", ChangedObject::Build(*id)),
            Request::TestNotification { name } => {
                change("notification.test", ChangedObject::Notification(name.clone()))
            }
            Request::DeleteTag { path, tag } => {
                change("tag.delete", ChangedObject::Of(path.clone(), format!("tag {tag}")))
            }
        }
    }

    /// Whether asking twice is as good as once.
    pub fn may_be_repeated(&self) -> bool {
        match self {
            // The same rule and commit is not queued twice.
            Request::Status
            | Request::OpenBuilds
            | Request::Watch
            | Request::Wait { .. }
            | Request::Examine { .. }
            | Request::Audit(_)
            | Request::Start { .. } => true,
            Request::Stop
            | Request::Save { .. }
            | Request::Delete(_)
            | Request::Replay { .. }
            | Request::Retry { .. }
            | Request::Cancel { .. }
            | Request::TestNotification { .. }
            | Request::DeleteTag { .. } => false,
        }
    }
}

/// Something that is kept as TOML.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

/// What the pool answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Reply(Reply),
    /// It was not.
    Error(Error),
}

/// What was asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// How the pool is.
    Status(Box<PoolStatus>),
    /// One build.
    Build(Box<Build>),
    /// Several builds.
    Builds(Vec<Build>),
    /// A build was queued, refused, or was there already.
    Queued {
        /// The build.
        build: Box<Build>,
        /// It was queued or running before: the same rule and commit are not built twice at once.
        already: bool,
    },
    /// What a Dockerfile offers.
    Outline(Outline),
    /// A notification has what it was sent.
    Notified {
        /// What came back.
        answer: String,
    },
    /// What changed since the last news.
    News(Box<News>),
    /// A page of the audit log.
    Audit(AuditPage),
    /// The last word to a client that watches: the pool was told to stop.
    Stopping,
}

/// What changed in the pool. The first one tells of everything that is open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct News {
    /// How the pool is.
    pub status: PoolStatus,
    /// Open builds that are new or changed.
    pub builds: Vec<Build>,
    /// Builds that are open no more: their records are final.
    pub ended: Vec<BuildId>,
    /// Pushes that are new in the journal or were answered since the last news; none in the first.
    #[serde(default)]
    pub pushes: Vec<PushId>,
    /// How often the settings on disk were taken over: another number, and they are to be read again.
    pub settings_changes: u64,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct Error {
    /// Which of the exit statuses of the command line it is.
    pub kind: ErrorKind,
    /// The thing, why, and what to do.
    #[serde(alias = "message")]
    pub reason: Reason,
    /// When the same may work, where whoever refused it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<DateTime<Utc>>,
}

/// The kinds of errors that the command line tells apart by its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// It was tried and failed.
    Failed,
    /// What was asked makes no sense.
    Usage,
    /// There is no such thing.
    NotFound,
    /// A rule forbids it.
    Refused,
    /// The pool, a builder, a source or a registry cannot be reached.
    Unreachable,
}

display_as_reason!(Error);

impl AsReason for Error {
    fn reason(&self) -> Reason {
        self.reason.clone()
    }
}

impl Error {
    /// An error of that kind.
    pub fn new(kind: ErrorKind, reason: impl Into<Reason>) -> Error {
        Error { kind, reason: reason.into(), retry_at: None }
    }
}

/// How the pool is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its process.
    pub pid: u32,
    /// slipway's version.
    pub version: String,
    /// Since when it runs.
    pub started_at: DateTime<Utc>,
    /// Builds that run.
    pub running: usize,
    /// Builds that wait: queued or held.
    pub queued: usize,
    /// How many builds may run at once.
    pub limit: u32,
    /// Its builders.
    pub builders: Vec<BuilderStatus>,
    /// Where it takes webhooks, as a URL; none: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<String>,
    /// What the webhooks of platforms were last refused for, of those whose last webhook was.
    #[serde(default)]
    pub webhook_refusals: Vec<WebhookRefusal>,
    /// Rules that failed too often to be built by themselves.
    #[serde(default)]
    pub paused: Vec<PausedRule>,
    /// Files that could not be read; the last good state of each stays in force.
    pub problems: Vec<String>,
}

/// What a platform's webhook was last refused for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRefusal {
    /// The platform's name.
    pub platform: String,
    /// When it was refused.
    pub at: DateTime<Utc>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The answer's text.
    pub reason: Reason,
    /// How many were refused since the last one that was taken.
    pub count: u64,
    /// The sender has the secret, or slipway could not get it: people must do something. Otherwise it may have been a
    /// stranger.
    pub needs_people: bool,
}

display_as_reason!(WebhookRefusal);

impl AsReason for WebhookRefusal {
    fn reason(&self) -> Reason {
        let WebhookRefusal { platform, at, status, reason, count, .. } = self;
        reason!("webhook.last_refused", platform = quoted(platform), at, status, count, reason)
    }
}

/// A rule that failed too often to be built by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PausedRule {
    /// Its repository.
    pub repository: RepositoryPath,
    /// Its name.
    pub rule: String,
    /// How often it failed in a row.
    pub failures: u32,
}

display_as_reason!(PausedRule);

impl AsReason for PausedRule {
    fn reason(&self) -> Reason {
        let PausedRule { repository, rule, failures } = self;
        reason!("journal.paused", repository, rule = quoted(rule), failures)
    }
}

/// How a builder is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuilderStatus {
    /// Its name.
    pub name: String,
    /// `managed`, `existing`, `fresh` or `provisioned`.
    pub kind: String,
    /// `ready`, `starting` or `down`.
    pub state: String,
    /// Why it is down, or "".
    pub reason: String,
    /// What `buildctl --addr` takes, where it has an address of its own.
    pub address: Option<String>,
    /// How many builds it runs at once.
    pub slots: u32,
    /// How many it runs now.
    pub busy: u32,
    /// What it builds for.
    pub platforms: Vec<Platform>,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// How many bytes its cache takes, once it has said so; some seconds after the last build.
    #[serde(default)]
    pub cache_bytes: Option<u64>,
    /// The version of its buildkitd, once it has said so.
    #[serde(default)]
    pub version: Option<String>,
    /// RUN steps are in the network of its host: they reach what listens there.
    #[serde(default)]
    pub host_network: bool,
}
