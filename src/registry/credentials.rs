//! Who we are at a registry: credentials that slipway was given, else those of docker's own configuration.
//!
//! Also writes the private `DOCKER_CONFIG` directory that `buildctl` gets, so that no password ever is an argument.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde_json::{Map, Value, json};

use crate::store::atomic;

/// What docker's configuration calls Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

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
}

/// Why credentials could not be found or written.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Docker's configuration cannot be used.
    #[error("cannot find credentials for {host} in {path}: {why}; mend the file, or `docker login {host}` again", path = path.display())]
    Docker {
        /// The registry.
        host: String,
        /// The configuration.
        path: PathBuf,
        /// What is wrong with it, or with the credential helper that it names.
        why: String,
    },
    /// The private configuration can't be written.
    #[error(transparent)]
    Write(#[from] atomic::WriteError),
    /// The file system refused.
    #[error("cannot {attempted} {path}: {source}", path = path.display())]
    Io {
        /// What was attempted.
        attempted: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Docker's configuration of this user: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; nothing when neither
/// variable is set. The file need not exist.
pub fn docker_config_file() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("DOCKER_CONFIG").or_else(|| var("HOME").map(|home| home.join(".docker"))).map(|dir| dir.join("config.json"))
}

/// What docker's configuration in the file `config` has for `host`, asking the credential helpers that it names; nothing
/// when the file or an entry for the host is not there. Blocks while a helper runs.
///
/// # Errors
/// When the file or a helper's answer can't be used.
pub fn from_docker(host: &str, config: &Path) -> Result<Option<Credential>, CredentialsError> {
    let error = |why: String| CredentialsError::Docker { host: host.to_owned(), path: config.to_owned(), why };
    let file = match File::open(config) {
        Ok(file) => file,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(other) => return Err(error(other.to_string())),
    };
    match docker_credential::get_credential_from_reader(io::BufReader::new(file), docker_key(host)) {
        Ok(DockerCredential::UsernamePassword(user, password)) if user.is_empty() && password.is_empty() => Ok(None),
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Some(Credential::Basic { user, password: Password(password) }))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credential::IdentityToken(Password(token)))),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // Helpers have one text for "I have none": credentials.NewErrCredentialsNotFound of docker-credential-helpers.
        Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
            if format!("{stdout}{stderr}").contains("credentials not found") =>
        {
            Ok(None)
        }
        // The helper's output stays out of the message: it may hold what must not be shown.
        Err(CredentialRetrievalError::HelperFailure { helper, stderr, .. }) => {
            let first = stderr.lines().next().unwrap_or("no reason given").to_owned();
            Err(error(format!("{helper} failed: {first}")))
        }
        Err(other) => Err(error(other.to_string())),
    }
}

/// Writes `config.json` into the private directory `dir` (mode 0700, the file 0600): docker's own configuration in the
/// file `user_config` (its `auths`, `credHelpers` and `credsStore`), with `hosts` over it.
///
/// # Errors
/// When `user_config` is there and cannot be used, or `dir` cannot be written.
pub fn write_docker_config(
    dir: &Path,
    user_config: Option<&Path>,
    hosts: &BTreeMap<String, Credential>,
) -> Result<(), CredentialsError> {
    let theirs = user_config.map(read_config).transpose()?.unwrap_or_default();
    let merged = merge(theirs, hosts);
    let io = |attempted, path: &Path| {
        let path = path.to_owned();
        move |source| CredentialsError::Io { attempted, path, source }
    };
    atomic::make_dirs(dir).map_err(io("create", dir))?;
    // A directory that was there before may have been open to others.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(io("set the mode of", dir))?;
    Ok(atomic::write(&dir.join("config.json"), merged.to_string().as_bytes(), atomic::PRIVATE)?)
}

fn read_config(path: &Path) -> Result<Map<String, Value>, CredentialsError> {
    match fs::read(path) {
        Ok(raw) => serde_json::from_slice(&raw).map_err(|error| CredentialsError::Docker {
            host: "the build's registries".to_owned(),
            path: path.to_owned(),
            why: error.to_string(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(source) => Err(CredentialsError::Io { attempted: "read", path: path.to_owned(), source }),
    }
}

/// `theirs`, as far as it is about credentials, with `hosts` over it.
fn merge(mut theirs: Map<String, Value>, hosts: &BTreeMap<String, Credential>) -> Value {
    theirs.retain(|key, _| matches!(key.as_str(), "auths" | "credHelpers" | "credsStore"));
    for (host, credential) in hosts {
        let key = docker_key(host);
        let entry = match credential {
            Credential::Basic { user, password } => {
                json!({ "auth": STANDARD.encode(format!("{user}:{}", password.reveal())) })
            }
            Credential::IdentityToken(token) => json!({ "identitytoken": token.reveal() }),
        };
        object(&mut theirs, "auths").insert(key.to_owned(), entry);
        // Docker asks a helper before it looks into `auths`; an empty name for this host says "look into `auths`".
        object(&mut theirs, "credHelpers").insert(key.to_owned(), json!(""));
    }
    Value::Object(theirs)
}

fn object<'a>(config: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = config.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made an object just now")
}

/// Under which name docker keeps the credentials of `host`.
fn docker_key(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB_KEY,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, password: &str) -> Credential {
        Credential::Basic { user: user.into(), password: Password::new(password) }
    }

    fn config(dir: &Path, text: &str) -> PathBuf {
        fs::write(dir.join("config.json"), text).unwrap();
        dir.join("config.json")
    }

    #[test]
    fn a_password_never_shows() {
        let shown = format!("{:?}", basic("ada", "hunter2"));
        assert!(shown.contains("***") && shown.contains("ada") && !shown.contains("hunter2"));
    }

    #[test]
    fn dockers_configuration_says_who_we_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = config(
            dir.path(),
            r#"{"auths":{"registry.example":{"auth":"YWRhOnNlY3JldA=="},"https://index.docker.io/v1/":{"identitytoken":"t"}}}"#,
        );
        assert_eq!(from_docker("registry.example", &file).unwrap(), Some(basic("ada", "secret")));
        assert_eq!(from_docker("docker.io", &file).unwrap(), Some(Credential::IdentityToken(Password::new("t"))));
        assert_eq!(from_docker("other.example", &file).unwrap(), None);
        assert_eq!(from_docker("other.example", &dir.path().join("none")).unwrap(), None);
        let error = from_docker("registry.example", &config(dir.path(), "{")).unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("registry.example"), "{error}");
    }

    #[test]
    fn a_credential_helper_that_is_not_there_is_named_by_its_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = config(dir.path(), r#"{"credHelpers":{"registry.example":"no-such-helper-anywhere"}}"#);
        assert!(from_docker("registry.example", &file).is_err());
        assert_eq!(from_docker("other.example", &file).unwrap(), None);
    }

    #[test]
    fn buildctls_configuration_is_private_and_ours_wins_over_the_users_helpers() {
        let dir = tempfile::tempdir().unwrap();
        let users = config(
            dir.path(),
            r#"{"auths":{"a.example":{"auth":"eA=="}},"credsStore":"desktop","credHelpers":{"b.example":"gcr"},"proxies":{}}"#,
        );
        let ours = dir.path().join("ours");
        let hosts = BTreeMap::from([("b.example".to_owned(), basic("ada", "secret"))]);
        write_docker_config(&ours, Some(&users), &hosts).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&ours), mode(&ours.join("config.json"))), (0o700, 0o600));
        let written: Value = serde_json::from_slice(&fs::read(ours.join("config.json")).unwrap()).unwrap();
        assert_eq!(
            written,
            json!({"auths": {"a.example": {"auth": "eA=="}, "b.example": {"auth": "YWRhOnNlY3JldA=="}},
                   "credsStore": "desktop", "credHelpers": {"b.example": ""}})
        );
        assert_eq!(from_docker("b.example", &ours.join("config.json")).unwrap(), Some(basic("ada", "secret")));
    }
}
