//! The keys of rules and namespaces that give builds something: secrets, ssh keys, a network, places to pull from.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::secret_ref::{self, SecretRef};
use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};

/// Secrets of a rule or a namespace, by the id that a Dockerfile asks for.
pub type SecretRefs = BTreeMap<String, SecretRef>;

/// How many secrets a rule or a namespace may name.
pub const MOST_SECRETS: usize = 20;
/// How many ssh keys a rule or a namespace may name.
pub const MOST_SSH_KEYS: usize = 10;
/// How many places a namespace may pull from.
pub const MOST_PULL_FROM: usize = 100;
/// The longest id of a secret.
const LONGEST_ID: usize = 128;
/// The longest entry of `pull_from`.
const LONGEST_PULL_FROM: usize = 255;

/// The network that the commands of a Dockerfile run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// A network of the build's own: the internet, and nothing of the host's loopback.
    #[default]
    Sandbox,
    /// No network but the build's own loopback.
    None,
    /// The host's network; its namespace must allow it.
    Host,
}

impl NetworkMode {
    /// Every mode, the default first.
    pub const ALL: [NetworkMode; 3] = [NetworkMode::Sandbox, NetworkMode::None, NetworkMode::Host];

    /// The mode as TOML has it.
    pub fn word(self) -> &'static str {
        match self {
            NetworkMode::Sandbox => "sandbox",
            NetworkMode::None => "none",
            NetworkMode::Host => "host",
        }
    }

    /// Reads a word of TOML.
    pub fn from_word(word: &str) -> Option<NetworkMode> {
        NetworkMode::ALL.into_iter().find(|mode| mode.word() == word)
    }

    /// Whether it is the default, which TOML leaves out.
    pub fn is_sandbox(&self) -> bool {
        *self == NetworkMode::Sandbox
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is wrong with a key that gives builds something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantKeyError {
    /// More secrets than a rule may name.
    TooManySecrets {
        /// Their number.
        count: usize,
    },
    /// An id that no secret can have.
    SecretId {
        /// The id.
        id: String,
    },
    /// A file's name that no secret can have.
    SecretFile {
        /// The name.
        name: String,
    },
    /// A file that slipway keeps for a platform or a registry.
    OwnFile {
        /// The file's name.
        name: String,
    },
    /// A variable or command that is empty.
    EmptySecret {
        /// The id.
        id: String,
    },
    /// A variable that no environment has.
    Variable {
        /// The id.
        id: String,
        /// The name.
        name: String,
    },
    /// More keys than a rule may name.
    TooManyKeys {
        /// Their number.
        count: usize,
    },
    /// A key that stands twice.
    Twice {
        /// What stands twice.
        name: String,
    },
    /// An entry that is no host with a path.
    PullFrom {
        /// The entry.
        entry: String,
    },
    /// More places than a namespace may name.
    TooManyPullFrom {
        /// Their number.
        count: usize,
    },
}

display_as_reason!(GrantKeyError);

impl AsReason for GrantKeyError {
    fn reason(&self) -> Reason {
        match self {
            GrantKeyError::TooManySecrets { count } => reason!("grant_key.too_many_secrets", count, MOST_SECRETS),
            GrantKeyError::SecretId { id } => reason!("grant_key.secret_id", id = quoted(id), LONGEST_ID),
            GrantKeyError::SecretFile { name } => reason!("grant_key.secret_file", name = quoted(name)),
            GrantKeyError::OwnFile { name } => reason!("grant_key.own_file", name),
            GrantKeyError::EmptySecret { id } => reason!("grant_key.empty_secret", id = quoted(id)),
            GrantKeyError::Variable { id, name } => reason!("grant_key.variable", id = quoted(id), name = quoted(name)),
            GrantKeyError::TooManyKeys { count } => reason!("grant_key.too_many_keys", count, MOST_SSH_KEYS),
            GrantKeyError::Twice { name } => reason!("grant_key.twice", name = quoted(name)),
            GrantKeyError::PullFrom { entry } => reason!("grant_key.pull_from", entry = quoted(entry)),
            GrantKeyError::TooManyPullFrom { count } => reason!("grant_key.too_many_pull_from", count, MOST_PULL_FROM),
        }
    }
}

/// Checks the secrets of a rule or a namespace.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn check_secrets(secrets: &SecretRefs) -> Result<(), GrantKeyError> {
    if secrets.len() > MOST_SECRETS {
        return Err(GrantKeyError::TooManySecrets { count: secrets.len() });
    }
    for (id, reference) in secrets {
        let begins = id.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let holds = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b':');
        if !begins || id.len() > LONGEST_ID || !id.bytes().all(holds) {
            return Err(GrantKeyError::SecretId { id: id.clone() });
        }
        match reference {
            SecretRef::File(name) => check_file(name)?,
            SecretRef::Env(text) | SecretRef::Command(text) if text.trim().is_empty() => {
                return Err(GrantKeyError::EmptySecret { id: id.clone() });
            }
            SecretRef::Env(name) if !secret_ref::is_variable_name(name) => {
                return Err(GrantKeyError::Variable { id: id.clone(), name: name.clone() });
            }
            SecretRef::Env(_) | SecretRef::Command(_) => {}
        }
    }
    Ok(())
}

/// Checks the ssh keys of a rule or a namespace.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn check_ssh(keys: &[String]) -> Result<(), GrantKeyError> {
    if keys.len() > MOST_SSH_KEYS {
        return Err(GrantKeyError::TooManyKeys { count: keys.len() });
    }
    for (index, key) in keys.iter().enumerate() {
        check_file(key)?;
        if keys[..index].contains(key) {
            return Err(GrantKeyError::Twice { name: key.clone() });
        }
    }
    Ok(())
}

/// Checks that a file under `secrets/` is one that a build may be given.
///
/// # Errors
/// When no secret can have the name, or slipway keeps a credential of its own there.
pub fn check_file(name: &str) -> Result<(), GrantKeyError> {
    if !secret_ref::is_file_name(name) {
        return Err(GrantKeyError::SecretFile { name: name.to_owned() });
    }
    if secret_ref::is_own_file(name) {
        return Err(GrantKeyError::OwnFile { name: name.to_owned() });
    }
    Ok(())
}

/// Checks the places that a namespace's base images may come from: `HOST[:PORT][/PATH]`.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn check_pull_from(entries: &[String]) -> Result<(), GrantKeyError> {
    if entries.len() > MOST_PULL_FROM {
        return Err(GrantKeyError::TooManyPullFrom { count: entries.len() });
    }
    for (index, entry) in entries.iter().enumerate() {
        if !is_place(entry) {
            return Err(GrantKeyError::PullFrom { entry: entry.clone() });
        }
        if entries[..index].contains(entry) {
            return Err(GrantKeyError::Twice { name: entry.clone() });
        }
    }
    Ok(())
}

fn is_place(entry: &str) -> bool {
    let (host, path) = entry.split_once('/').map_or((entry, None), |(host, path)| (host, Some(path)));
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    // A registry's host has a dot, a port or is localhost; what has none is a path at Docker Hub, which is written
    // docker.io/PATH.
    let is_host = name.contains(['.', ':']) || port.is_some() || name == "localhost";
    let component = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
    };
    entry.len() <= LONGEST_PULL_FROM
        && is_host
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-[]:".contains(&b))
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
        && path.is_none_or(|path| path.split('/').all(component))
}

#[cfg(test)]
#[path = "grant_keys_tests.rs"]
mod tests;
