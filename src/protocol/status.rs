//! How the pool and its builders are, and what changed in it: what clients that watch get.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::build::{Build, BuildId};
use crate::domain::builder::{BuilderKind, Readiness};
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::domain::platform::Platform;
use crate::domain::problem::Problem;
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

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
    /// What people should see to.
    pub problems: Vec<Problem>,
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
    /// How it comes to be.
    pub kind: BuilderKind,
    /// Whether it takes builds: `state`, and the `reason` of one that is down.
    #[serde(flatten)]
    pub readiness: Readiness,
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
