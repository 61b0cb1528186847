//! The job: everything a runner needs to build without its pool. `job.toml` in the attempt's directory.
//!
//! The pool writes it before it starts the runner. No secret is in it: those come by the runner's standard input
//! ([`super::handover`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::buildkit::sandbox::HostNetwork;
use crate::buildkit::{config, daemon};
use crate::domain::build::{Build, BuildId, Image};
use crate::domain::builder::BuilderTls;
use crate::domain::config::ByteSize;
use crate::domain::failure::Failure;
use crate::domain::grant_keys::NetworkMode;
use crate::domain::platform::Platform;
use crate::domain::reason::Reason;
use crate::registry::credential_source::CredentialSource;

/// The work of one runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The build, as it was when it started.
    pub build: Build,
    /// The client that is run.
    pub buildctl: PathBuf,
    /// The context.
    pub context: Context,
    /// The directory with the Dockerfile as it was checked; none where the builder fetches the source itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<PathBuf>,
    /// The source's URL, for a label of the image; none where it is only a path of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// When the commit was made; there where its rule says `created = "commit"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<DateTime<Utc>>,
    /// The image that makes the SBOM; there where its rule wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom_scanner: Option<String>,
    /// Who built the image, for its provenance: a URI.
    #[serde(default)]
    pub builder_id: String,
    /// What the build may have beyond its tree.
    #[serde(default)]
    pub grants: JobGrants,
    /// Where the image goes.
    pub destination: Destination,
    /// How long the build may run, in seconds.
    pub timeout_seconds: u64,
    /// How much its log may hold; 0: as much as it likes.
    #[serde(default)]
    pub log_limit: ByteSize,
    /// How much its RUN steps may write on a builder of this machine; 0: as much as they like.
    #[serde(default)]
    pub disk_limit: ByteSize,
    /// Where less is free on such a builder's disk, the build whose steps wrote most ends; 0: none does.
    #[serde(default)]
    pub min_free: ByteSize,
    /// Where sockets of the runner's own daemons go: a directory with a short path.
    pub sockets: PathBuf,
    /// The managed daemon that is in use while the build runs; none where no platform build uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<Managed>,
    /// One for each builder that takes part. `legs` until version 0.1.
    #[serde(alias = "legs")]
    pub platform_builds: Vec<PlatformBuild>,
    /// By host: what gives the credentials that are asked for again while the build runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, CredentialSource>,
}

impl Job {
    /// Whether the platform builds make one index together, which slipway composes of theirs.
    pub fn is_composed(&self) -> bool {
        self.platform_builds.len() > 1
    }
}

/// What a build may have beyond its tree, without the values of its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct JobGrants {
    /// The ids of its secrets, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Files with the private keys that its ssh agent holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<PathBuf>,
    /// The network of its commands.
    #[serde(skip_serializing_if = "NetworkMode::is_sandbox")]
    pub network_mode: NetworkMode,
    /// What its Dockerfile asks for and does not get, each with the way to grant it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Reason>,
}

/// The managed daemon of a home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// Its directory.
    pub directory: PathBuf,
    /// Held by the pool of the home while it runs.
    pub pool_lock: PathBuf,
}

/// Where the source comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// The builder fetches it itself: the source says `fetch = "builder"`.
    Git {
        /// `URL#COMMIT:DIR`, as BuildKit reads it.
        context: String,
        /// The id of the source's credential among the secrets; none for anonymous sources.
        secret_id: Option<String>,
        /// For ssh: the file with the private key.
        ssh_key: Option<PathBuf>,
    },
    /// The tree of the commit, which the pool made ready, is sent.
    Local {
        /// The context's directory in the tree.
        directory: PathBuf,
    },
}

/// Where the image goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// An OCI layout directory on this machine.
    Layout {
        /// The directory.
        directory: PathBuf,
    },
    /// A registry.
    Registry {
        /// `host[:port][/prefix]/namespace/repository`
        image: String,
        /// Speak http.
        plain_http: bool,
        /// A file of CA certificates that are trusted, too.
        ca: Option<PathBuf>,
    },
}

/// Where the cache goes and comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// An OCI layout directory on this machine.
    Layout {
        /// The directory.
        directory: PathBuf,
    },
    /// A tag of the image's own repository.
    Registry {
        /// With the tag.
        reference: String,
        /// Speak http.
        plain_http: bool,
    },
}

/// One builder's share: some of the platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformBuild {
    /// The builder's name.
    pub builder: String,
    /// How its daemon is reached.
    pub daemon: PlatformDaemon,
    /// What it builds for; empty: its own platform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Where its cache goes and comes from: each platform build's own, for one export would replace the other's.
    pub cache: Cache,
    /// Why RUN steps are in the host's network; absent: they are in a sandbox, or the builder is not slipway's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_network: Option<HostNetwork>,
}

/// How a platform build's daemon is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformDaemon {
    /// It is there.
    At {
        /// What `buildctl --addr` takes.
        address: String,
        /// Mutual TLS.
        tls: Option<BuilderTls>,
    },
    /// The runner starts a new, empty one and throws it away.
    Fresh {
        /// Its programs.
        tools: daemon::Tools,
        /// Its configuration.
        config: config::Config,
    },
    /// A command makes one, another takes it down.
    Provisioned {
        /// Prints the address.
        up: String,
        /// Takes it down.
        down: Option<String>,
        /// Mutual TLS.
        tls: Option<BuilderTls>,
        /// An address on another machine may go without TLS.
        #[serde(default)]
        plain: bool,
    },
}

/// How a runner's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its tags point at its image.
    Succeeded,
    /// The build failed.
    Failed,
    /// The runner was told to stop.
    Stopped,
    /// It ran longer than it may.
    TimedOut,
    /// A tag could not be moved: immutable, or a newer commit has it.
    Refused,
}

/// What a runner leaves behind: `result.toml` in the attempt's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// The build.
    pub id: BuildId,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub finished_at: DateTime<Utc>,
    /// Why it failed or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What people should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Reason>,
    /// The images that it published.
    #[serde(default, rename = "image", skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
}
