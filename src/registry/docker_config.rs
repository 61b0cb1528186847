//! Docker's own configuration of a user: the credentials in it, and the helpers that it names. Both are bounded: a
//! helper that hangs or floods is an error, not the end of the pool.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::process::Command;

use super::credentials::{Credential, CredentialsError, Password};
use super::docker_keys::{canonical_host, key};
use crate::bounded;
use crate::domain::reason::{AsReason, Reason, output, reason, use_as_reason};
use crate::sys::command::{Ended, Limits, RunError, run};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// Bytes of a configuration; one with an entry for each of a thousand registries has some 100 KB.
const LARGEST: u64 = 1024 * 1024;
/// The longest time for a helper. One that asks a person for a passphrase gets no answer in a pool.
const HELPER_TIME: Duration = Duration::from_secs(30);
/// Bytes that a helper prints; tokens of clouds have some kilobytes.
const HELPER_BYTES: usize = 64 * 1024;
/// Characters of a helper's error that are shown.
const SHOWN: usize = 300;
/// The user name by which a helper says that its secret is an identity token.
pub const TOKEN_USER: &str = "<token>";

/// Docker's configuration, as far as it is about credentials.
#[derive(Default)]
pub struct DockerConfig {
    file: PathBuf,
    content: Content,
}

/// What the file holds: docker takes `null` for a key that is left out. An entry is read when its host is asked for, so
/// that an odd one harms no other.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Content {
    auths: Option<BTreeMap<String, Value>>,
    #[serde(rename = "credhelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(rename = "credsstore")]
    store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The entries hold passwords.
        f.debug_struct("DockerConfig").field("file", &self.file).finish_non_exhaustive()
    }
}

/// An entry of the file that can't be read. Its own words stay out: they may hold the secret.
#[derive(Debug, Clone, Copy)]
enum EntryError {
    /// It has another form than docker's.
    NotDockers,
    /// Its `auth` is no base64.
    NotBase64,
    /// Its `auth` is no text.
    NotText,
    /// Its `auth` has no colon between user and password.
    NoColon,
}

use_as_reason!(EntryError);

impl AsReason for EntryError {
    fn reason(&self) -> Reason {
        match self {
            EntryError::NotDockers => reason!("docker_entry.not_dockers"),
            EntryError::NotBase64 => reason!("docker_entry.not_base64"),
            EntryError::NotText => reason!("docker_entry.not_text"),
            EntryError::NoColon => reason!("docker_entry.no_colon"),
        }
    }
}

/// A helper that gave no credential.
#[derive(Debug)]
enum HelperError {
    /// Its name is none of a program.
    Name,
    /// It can't be run, or exceeds a limit.
    Run(RunError),
    /// It failed.
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The first line of what it wrote to stderr.
        said: Option<String>,
    },
    /// It printed something else than a credential.
    NoCredential,
}

use_as_reason!(HelperError);

impl AsReason for HelperError {
    fn reason(&self) -> Reason {
        match self {
            HelperError::Name => reason!("docker_helper.name"),
            HelperError::Run(error) => error.reason(),
            HelperError::Failed { status, said: Some(said) } => {
                reason!("docker_helper.failed", status, said = output(said))
            }
            HelperError::Failed { status, said: None } => reason!("docker_helper.failed_silently", status),
            HelperError::NoCredential => reason!("docker_helper.no_credential"),
        }
    }
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    username: String,
    secret: String,
}

/// Docker's configuration of this user: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; nothing when
/// neither variable is set. The file need not exist.
pub fn user_file() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("DOCKER_CONFIG").or_else(|| var("HOME").map(|home| home.join(".docker"))).map(|dir| dir.join("config.json"))
}

impl DockerConfig {
    /// Reads the file; an empty configuration when it is not there.
    ///
    /// # Errors
    /// When it is too large or is not JSON of docker's shape.
    pub fn read(file: &Path) -> Result<DockerConfig, CredentialsError> {
        let error = |why: Reason| CredentialsError::Docker { path: file.to_owned(), why };
        let mut text = Vec::new();
        match std::fs::File::open(file) {
            Ok(open) => open.take(LARGEST + 1).read_to_end(&mut text).map_err(|failed| error(failed.into()))?,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(DockerConfig::default()),
            Err(other) => return Err(error(other.into())),
        };
        if text.len() as u64 > LARGEST {
            return Err(error(reason!("docker_config.more_than_bytes", largest = LARGEST)));
        }
        // Editors of other systems put a byte order mark before it.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        let content = content(text).map_err(error)?;
        Ok(DockerConfig { file: file.to_owned(), content })
    }

    /// The configuration of this user.
    ///
    /// # Errors
    /// See [`DockerConfig::read`].
    pub fn of_user() -> Result<DockerConfig, CredentialsError> {
        user_file().map_or_else(|| Ok(DockerConfig::default()), |file| DockerConfig::read(&file))
    }

    /// All hosts that have an entry or a helper of their own.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        // Where a helper keeps the credentials, docker leaves empty entries.
        let by_helper = self.content.store.as_ref().is_some_and(|store| !store.is_empty());
        let is_empty = |entry: &Value| entry.as_object().is_some_and(serde_json::Map::is_empty);
        let stored = self.content.auths.iter().flatten().filter(move |(_, entry)| by_helper || !is_empty(entry));
        let own = self.content.helpers.iter().flatten().filter(|(_, helper)| !helper.is_empty());
        stored.map(|(key, _)| key.as_str()).chain(own.map(|(key, _)| key.as_str())).map(canonical_host)
    }

    /// The credential of a host: from the helper that is named for it, else from the file; none where there is no
    /// entry.
    ///
    /// # Errors
    /// When the helper fails, or the entry can't be read.
    pub async fn credential(&self, host: &str) -> Result<Option<Credential>, CredentialsError> {
        match self.helper(host) {
            Some(helper) => ask_helper(helper, host).await,
            None => self.stored(host),
        }
    }

    /// The credential of a host that stands in the file itself.
    ///
    /// # Errors
    /// When the entry can't be read.
    pub fn stored(&self, host: &str) -> Result<Option<Credential>, CredentialsError> {
        let Some(entry) = self.entry(host) else { return Ok(None) };
        // Its own words may hold the secret.
        let entry = Option::<Entry>::deserialize(entry).map_err(|_| EntryError::NotDockers);
        let read = entry.and_then(|entry| entry.unwrap_or_default().credential());
        read.map_err(|why| CredentialsError::Docker {
            path: self.file.clone(),
            why: reason!("docker_config.entry", host, why),
        })
    }

    /// The helper that is asked for a host. Docker's rule: the host's own, else the one for all; an empty name means the
    /// file.
    pub fn helper(&self, host: &str) -> Option<&str> {
        let own = self.content.helpers.iter().flatten().find(|(key, _)| is_of(key, host));
        own.map_or(self.content.store.as_deref(), |(_, helper)| Some(helper)).filter(|helper| !helper.is_empty())
    }

    fn entry(&self, host: &str) -> Option<&Value> {
        let entries = self.content.auths.as_ref()?;
        entries.get(key(host)).or_else(|| entries.iter().find(|(key, _)| is_of(key, host)).map(|(_, entry)| entry))
    }
}

/// The content of a file as docker reads it: an empty one is as good as none, and names are the same in capitals.
fn content(text: &[u8]) -> Result<Content, Reason> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Content::default());
    }
    let all: Map<String, Value> = bounded::json(text).map_err(|failed| Reason::from(&failed))?;
    let all = all.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    Content::deserialize(Value::Object(all)).map_err(|failed| Reason::verbatim(failed.to_string()))
}

fn is_of(key: &str, host: &str) -> bool {
    canonical_host(key) == canonical_host(host)
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, EntryError> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(Password::new(self.identitytoken.clone()))));
        }
        let (user, password) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| EntryError::NotBase64)?;
            let text = String::from_utf8(bytes).map_err(|_| EntryError::NotText)?;
            let (user, password) = text.split_once(':').ok_or(EntryError::NoColon)?;
            (user.to_owned(), password.trim_matches('\0').to_owned())
        };
        Ok((!user.is_empty()).then(|| Credential::Basic { user, password: Password::new(password) }))
    }
}

/// Asks `docker-credential-HELPER` for the credential of a host; none where it has none.
///
/// # Errors
/// When it can't be run, fails, or prints no credential.
pub(super) async fn ask_helper(helper: &str, host: &str) -> Result<Option<Credential>, CredentialsError> {
    let program = format!("docker-credential-{helper}");
    let is_name = helper.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let asked = match is_name {
        true => ask(&program, key(host), HELPER_TIME).await,
        false => Err(HelperError::Name),
    };
    asked.map_err(|why| CredentialsError::Helper { host: host.to_owned(), helper: program, why: why.into() })
}

/// Asks a helper for the credential that it keeps under a key; none where it has none. Its output stays out of errors:
/// it may hold the secret.
async fn ask(program: &str, key: &str, patience: Duration) -> Result<Option<Credential>, HelperError> {
    let mut command = Command::new(program);
    command.arg("get").listed_environment(Receiver::Command);
    let limits = Limits { time: patience, output: HELPER_BYTES };
    let Ended { status, stdout, stderr: said } =
        run(command, key.as_bytes(), limits).await.map_err(HelperError::Run)?;
    let printed = String::from_utf8_lossy(&stdout);
    if !status.success() {
        // Helpers have one text for "I have none": credentials.NewErrCredentialsNotFound of docker-credential-helpers.
        if printed.contains("credentials not found") || said.contains("credentials not found") {
            return Ok(None);
        }
        let said = said.lines().next().map(|line| line.chars().take(SHOWN).collect());
        return Err(HelperError::Failed { status, said });
    }
    let printed: Printed = serde_json::from_str(&printed).map_err(|_| HelperError::NoCredential)?;
    let secret = Password::new(printed.secret);
    Ok(match printed.username {
        user if user == TOKEN_USER => Some(Credential::IdentityToken(secret)),
        user if user.is_empty() => None,
        user => Some(Credential::Basic { user, password: secret }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::test_program::write_script;

    fn basic(user: &str, password: &str) -> Credential {
        Credential::Basic { user: user.into(), password: Password::new(password) }
    }

    fn config(text: &str) -> DockerConfig {
        DockerConfig { file: PathBuf::from("config.json"), content: content(text.as_bytes()).unwrap() }
    }

    #[test]
    fn the_file_says_who_we_are_under_each_name_of_a_host() {
        let config = config(
            r#"{"auths":{"registry.example":{"auth":"YWRhOnNlY3JldA=="},"https://old.example/v1/":{"username":"ada","password":"p"},
                "https://index.docker.io/v1/":{"identitytoken":"t","auth":"eDo="},"empty.example":{}},"proxies":{},"psFormat":"x"}"#,
        );
        assert_eq!(config.stored("registry.example").unwrap(), Some(basic("ada", "secret")));
        assert_eq!(config.stored("old.example").unwrap(), Some(basic("ada", "p")));
        for hub in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
            assert_eq!(config.stored(hub).unwrap(), Some(Credential::IdentityToken(Password::new("t"))), "{hub}");
        }
        for none in ["empty.example", "other.example", "registry.example:5000", "example"] {
            assert_eq!(config.stored(none).unwrap(), None, "{none}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_named_and_harms_no_other() {
        let config = config(
            r#"{"auths":{"a.example":{"auth":"%"},"b.example":{"auth":"YQ=="},"c.example":{"auth":"YTpi"},"d.example":{"auth":7},
                "e.example":[1],"f.example":null,"g.example":{"auth":""}},"credHelpers":null,"credsStore":null}"#,
        );
        for none in ["f.example", "g.example"] {
            assert_eq!(config.stored(none).unwrap(), None, "{none}");
        }
        for host in ["a.example", "b.example", "d.example", "e.example"] {
            let error = config.stored(host).unwrap_err().to_string();
            assert!(error.contains(host) && error.contains("config.json"), "{error}");
        }
        assert_eq!(config.stored("c.example").unwrap(), Some(basic("a", "b")));
    }

    #[test]
    fn a_file_that_is_none_or_too_large_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        assert_eq!(DockerConfig::read(&file).unwrap().hosts().count(), 0);
        for fine in ["", " \n", "{}", "\u{feff}{}", "{\"auths\":null}"] {
            std::fs::write(&file, fine).unwrap();
            assert_eq!(DockerConfig::read(&file).unwrap().hosts().count(), 0, "{fine}");
        }
        for text in ["{".to_owned(), "7".to_owned(), " ".repeat(LARGEST as usize + 1)] {
            std::fs::write(&file, text).unwrap();
            assert!(DockerConfig::read(&file).unwrap_err().to_string().contains("config.json"));
        }
    }

    #[test]
    fn a_hosts_own_helper_comes_before_the_one_for_all_and_an_empty_name_means_the_file() {
        let config = config(r#"{"credsStore":"all","credHelpers":{"a.example":"own","b.example":""}}"#);
        assert_eq!(config.helper("a.example"), Some("own"));
        assert_eq!(config.helper("b.example"), None);
        assert_eq!(config.helper("c.example"), Some("all"));
        assert_eq!(config.hosts().collect::<Vec<_>>(), ["a.example"]);
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_or_named_like_a_path_is_an_error_of_its_host() {
        let config = config(r#"{"credHelpers":{"a.example":"no-such-helper-anywhere","b.example":"../evil"}}"#);
        for host in ["a.example", "b.example"] {
            let error = config.credential(host).await.unwrap_err().to_string();
            assert!(error.contains(host) && error.contains("docker-credential-"), "{error}");
        }
        assert_eq!(config.credential("c.example").await.unwrap(), None);
    }

    /// A helper of a few lines.
    fn helper(dir: &Path, text: &str) -> String {
        let path = dir.join("helper").display().to_string();
        write_script(Path::new(&path), text);
        path
    }

    #[tokio::test]
    async fn a_helper_is_asked_for_a_host_and_says_who_we_are_or_that_it_does_not_know() {
        let dir = tempfile::tempdir().unwrap();
        let says = helper(dir.path(), r#"[ "$1" = get ] && echo "{\"Username\":\"ada\",\"Secret\":\"$(cat)\"}""#);
        assert_eq!(ask(&says, "r.example", HELPER_TIME).await.unwrap(), Some(basic("ada", "r.example")));
        let token = helper(dir.path(), r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"t"}'"#);
        assert_eq!(ask(&token, "x", HELPER_TIME).await.unwrap(), Some(Credential::IdentityToken(Password::new("t"))));
        let none = helper(dir.path(), "echo credentials not found in native keychain; exit 1");
        assert_eq!(ask(&none, "x", HELPER_TIME).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_helper_that_fails_floods_or_talks_nonsense_is_an_error_without_its_output() {
        let dir = tempfile::tempdir().unwrap();
        for (text, word) in [
            ("echo s3cr3t; echo locked >&2; exit 3", "exit status: 3: locked"),
            ("echo s3cr3t", "no user name and secret"),
            ("while :; do echo s3cr3ts3cr3ts3cr3ts3cr3t; done", "more than 65536 bytes"),
        ] {
            let error = ask(&helper(dir.path(), text), "x", HELPER_TIME).await.unwrap_err().reason().to_string();
            assert!(error.contains(word) && !error.contains("s3cr3t"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_hangs_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["sleep 1000 & wait", "while :; do echo s3cr3ts3cr3ts3cr3ts3cr3t >&2; done"] {
            let error = ask(&helper(dir.path(), text), "x", Duration::from_millis(100)).await.unwrap_err();
            assert!(matches!(error, HelperError::Run(RunError::TimedOut { .. })), "{error:?}");
        }
    }
}
