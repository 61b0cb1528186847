//! Whose fault a failure is.

use serde::{Deserialize, Serialize};

use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The Dockerfile, or what it runs: wrong until somebody changes it.
    Dockerfile,
    /// The source repository has no such ref or directory, or is not there.
    Source,
    /// The source repository does not have the commit: not yet, or no more.
    NoCommit,
    /// A password, token or key is missing or wrong.
    Credentials,
    /// The settings of the rule or its namespace: a secret that is not there, a network that is not allowed.
    Settings,
    /// A certificate is not trusted, or one side speaks TLS and the other does not.
    Certificate,
    /// The builder can't run programs of the platform.
    Platform,
    /// A connection to somewhere outside failed.
    Network,
    /// The registry had an error of its own, or refuses for now.
    Registry,
    /// The registry refuses the request itself: repeating it changes nothing.
    RegistryRefused,
    /// A disk is full or read-only.
    Disk,
    /// This machine itself failed: a process, a file, its memory.
    Host,
    /// The BuildKit daemon went away, can't be reached, or broke.
    Daemon,
    /// The build took longer than it may.
    Timeout,
    /// The build printed more than `pool.log_limit`.
    LogLimit,
    /// The build's RUN steps wrote more than `buildkit.disk_limit`, or filled the disk.
    DiskLimit,
    /// Somebody stopped the build.
    Cancelled,
    /// None of the above.
    Unknown,
}

impl FailureKind {
    /// Whether the machinery failed and not what was to be built: such a build is tried again by itself.
    pub fn is_machinery(self) -> bool {
        matches!(
            self,
            FailureKind::Network | FailureKind::Registry | FailureKind::Disk | FailureKind::Host | FailureKind::Daemon
        )
    }
}

display_as_reason!(FailureKind);

impl AsReason for FailureKind {
    fn reason(&self) -> Reason {
        match self {
            FailureKind::Dockerfile => reason!("failure_kind.dockerfile"),
            FailureKind::Source => reason!("failure_kind.source"),
            FailureKind::NoCommit => reason!("failure_kind.no_commit"),
            FailureKind::Credentials => reason!("failure_kind.credentials"),
            FailureKind::Settings => reason!("failure_kind.settings"),
            FailureKind::Certificate => reason!("failure_kind.certificate"),
            FailureKind::Platform => reason!("failure_kind.platform"),
            FailureKind::Network => reason!("failure_kind.network"),
            FailureKind::Registry => reason!("failure_kind.registry"),
            FailureKind::RegistryRefused => reason!("failure_kind.registry_refused"),
            FailureKind::Disk => reason!("failure_kind.disk"),
            FailureKind::Host => reason!("failure_kind.host"),
            FailureKind::Daemon => reason!("failure_kind.daemon"),
            FailureKind::Timeout => reason!("failure_kind.timeout"),
            FailureKind::LogLimit => reason!("failure_kind.log_limit"),
            FailureKind::DiskLimit => reason!("failure_kind.disk_limit"),
            FailureKind::Cancelled => reason!("failure_kind.cancelled"),
            FailureKind::Unknown => reason!("failure_kind.unknown"),
        }
    }
}
