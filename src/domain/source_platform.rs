//! Source platforms: `platforms/<name>.toml`, the credentials that sources are read with.

use serde::{Deserialize, Serialize};

use super::secret_ref::SecretRef;

/// What kind of platform a source lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformKind {
    /// Any git server, reached over https, http, ssh, git:// or a path.
    Git,
}

/// A bound source platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcePlatform {
    /// Its kind.
    pub kind: PlatformKind,
    /// The user name for https; servers that take tokens accept any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The token or password for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
    /// A private key's file for ssh; absent: the ssh agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<String>,
    /// A file of CA certificates in PEM, for servers with a certificate of a private CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}
