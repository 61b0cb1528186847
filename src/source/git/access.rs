//! What opens a source, and how it is reached.

use std::path::PathBuf;
use std::time::Duration;

use super::agent::agent_of_environment;
use crate::store::secrets::Secret;

/// What opens a source. Without any of it, the user's own credential helpers and ssh keys are tried, as in a shell.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The user name for http(s); absent: [`super::credential::TOKEN_USER`].
    pub username: Option<String>,
    /// The token or password for http(s).
    pub token: Option<Secret>,
    /// A private key's file, for ssh.
    pub ssh_key: Option<PathBuf>,
}

/// How a source is reached.
#[derive(Debug, Clone)]
pub struct Access {
    /// What opens it.
    pub credentials: Credentials,
    /// A file of CA certificates in PEM, trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// The proxy that http(s) goes through; absent: as the user's configuration and the environment have it.
    pub proxy: Option<String>,
    /// The socket of the ssh agent; absent: none is asked.
    pub agent: Option<PathBuf>,
    /// Nothing opens it, not even the user's own keys, helpers and configuration: what anybody may read is read, and
    /// nothing else.
    pub anonymous: bool,
    /// How long a listing may take in all.
    pub timeout: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Access {
            credentials: Credentials::default(),
            ca: None,
            proxy: None,
            agent: agent_of_environment(),
            anonymous: false,
            timeout: Duration::from_secs(30),
        }
    }
}
