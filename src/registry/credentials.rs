//! Credentials of registries, and the file in which `buildctl` gets them.
//!
//! Writes the private `DOCKER_CONFIG` directory that `buildctl` gets, so that no password ever is an argument.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::docker_keys;
use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, phrase, reason};
use crate::sys::atomic;

/// A password or token. It shows as `***`; [`Password::reveal`] is the only way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    /// The text itself, for a request or a private file.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How we prove who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password, or an access token in its place.
        password: Password,
    },
    /// A token that the registry's token service gives access tokens for.
    IdentityToken(Password),
}

impl Credential {
    /// The user's name, where there is one.
    pub fn user(&self) -> &str {
        match self {
            Credential::Basic { user, .. } => user,
            Credential::IdentityToken(_) => "<token>",
        }
    }

    /// The password or token.
    pub fn secret(&self) -> &Password {
        match self {
            Credential::Basic { password, .. } => password,
            Credential::IdentityToken(token) => token,
        }
    }
}

/// Why credentials could not be found or written.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Docker's configuration cannot be used.
    Docker {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Reason,
    },
    /// A credential helper that docker's configuration names failed.
    Helper {
        /// The registry.
        host: String,
        /// The program.
        helper: String,
        /// Why it gave none.
        why: Reason,
    },
    /// The private configuration can't be written.
    Write(#[from] atomic::WriteError),
    /// The file system refused.
    Io {
        /// What was attempted.
        attempted: Phrase,
        /// On which file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

display_as_reason!(CredentialsError);

impl AsReason for CredentialsError {
    fn reason(&self) -> Reason {
        match self {
            CredentialsError::Docker { path, why } => reason!("credentials.docker", path, why),
            CredentialsError::Helper { host, helper, why } => reason!("credentials.helper", host, helper, why),
            CredentialsError::Write(error) => error.reason(),
            CredentialsError::Io { attempted, path, source } => reason!("credentials.io", attempted, path, source),
        }
    }
}

/// The helper that buildctl asks for credentials that are asked for again: `docker-credential-slipway`.
pub const OWN_HELPER: &str = "slipway";
/// A name that no registry has (RFC 6761).
const NO_HOST: &str = "none.invalid";

/// Writes `config.json` into the private directory `dir` (mode 0700, the file 0600): the credentials of `hosts`, and no
/// helper that could be asked for others. buildctl asks [`OWN_HELPER`] for those of `asked_again`.
///
/// # Errors
/// When `dir` cannot be written.
pub fn write_docker_config<'a>(
    dir: &Path,
    hosts: &BTreeMap<String, Credential>,
    asked_again: impl IntoIterator<Item = &'a String>,
) -> Result<(), CredentialsError> {
    let entry = |credential: &Credential| match credential {
        Credential::Basic { user, password } => {
            json!({ "auth": STANDARD.encode(format!("{user}:{}", password.reveal())) })
        }
        Credential::IdentityToken(token) => json!({ "identitytoken": token.reveal() }),
    };
    let auths = hosts.iter().map(|(host, credential)| (docker_keys::key(host).to_owned(), entry(credential)));
    // Where no credential is named at all, buildctl asks the user's own `pass` or key ring.
    let no_store = (NO_HOST.to_owned(), json!(""));
    let helpers = asked_again.into_iter().map(|host| (docker_keys::key(host).to_owned(), json!(OWN_HELPER)));
    let content = json!({
        "auths": auths.collect::<Map<String, Value>>(),
        "credHelpers": helpers.chain([no_store]).collect::<Map<String, Value>>(),
    });
    let io = |attempted, path: &Path| {
        let path = path.to_owned();
        move |source| CredentialsError::Io { attempted, path, source }
    };
    atomic::make_dirs(dir).map_err(io(phrase!("verb.create"), dir))?;
    // A directory that was there before may have been open to others.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(io(phrase!("verb.set_the_mode_of"), dir))?;
    Ok(atomic::write_volatile(&dir.join("config.json"), content.to_string().as_bytes(), atomic::PRIVATE)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::docker_config::DockerConfig;

    fn basic(user: &str, password: &str) -> Credential {
        Credential::Basic { user: user.into(), password: Password::new(password) }
    }

    #[test]
    fn a_password_never_shows() {
        let shown = format!("{:?}", basic("ada", "hunter2"));
        assert!(shown.contains("***") && shown.contains("ada") && !shown.contains("hunter2"));
    }

    #[test]
    fn buildctls_configuration_is_private_and_holds_the_given_hosts_alone() {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir.path().join("ours");
        let token = Credential::IdentityToken(Password::new("t"));
        let hosts = BTreeMap::from([("b.example".to_owned(), basic("ada", "secret")), ("docker.io".to_owned(), token)]);
        let hub = "docker.io".to_owned();
        write_docker_config(&ours, &hosts, [&hub]).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&ours), mode(&ours.join("config.json"))), (0o700, 0o600));
        let written: Value = serde_json::from_slice(&fs::read(ours.join("config.json")).unwrap()).unwrap();
        assert_eq!(
            written,
            json!({
                "auths": {"b.example": {"auth": "YWRhOnNlY3JldA=="}, "https://index.docker.io/v1/": {"identitytoken": "t"}},
                "credHelpers": {"https://index.docker.io/v1/": "slipway", "none.invalid": ""},
            })
        );
        let read = DockerConfig::read(&ours.join("config.json")).unwrap();
        assert_eq!(read.stored("b.example").unwrap(), Some(basic("ada", "secret")));
    }
}
