//! The branches and tags of a source, read as `git ls-remote` does: without a clone.
//!
//! libgit2 waits in its own way; so it runs in a thread of its own, and a server that hangs costs the caller no more than the
//! time it was given.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::time::Duration;

use git2::{CertificateCheckStatus, Cred, CredentialType, Direction, ProxyOptions, Remote, RemoteCallbacks};
use reqwest::Url;
use tokio::sync::oneshot;

use super::error::{ELSEWHERE, Kind, SourceError};
use super::url::{SourceUrl, Transport};
use crate::store::secrets::Secret;

/// The user name where a platform names none: servers that take tokens accept any, and GitHub's own is this.
const TOKEN_USER: &str = "x-access-token";

/// After these libgit2 gives up by itself, so that its thread ends, too; the caller's own limit is usually shorter.
const CONNECT_TIMEOUT_MS: i32 = 15_000;
const SILENCE_TIMEOUT_MS: i32 = 60_000;

/// What opens a source. Without any of it, https is tried anonymously and ssh with the keys of the agent.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The user name for http(s).
    pub username: Option<String>,
    /// The token or password for http(s).
    pub token: Option<Secret>,
    /// A private key's file, for ssh.
    pub ssh_key: Option<PathBuf>,
    /// What opens that key.
    pub ssh_passphrase: Option<Secret>,
}

/// How a source is reached.
#[derive(Debug, Clone)]
pub struct Access {
    /// What opens it.
    pub credentials: Credentials,
    /// A file of CA certificates in PEM, trusted beside the system's. libgit2 knows one set of them for a process: once it was
    /// used, it holds for every source.
    pub ca: Option<PathBuf>,
    /// How long it may take in all.
    pub timeout: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Access { credentials: Credentials::default(), ca: None, timeout: Duration::from_secs(30) }
    }
}

/// The refs of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refs {
    /// The default branch, `refs/heads/…`; none where the repository is empty or its HEAD names no branch.
    pub head: Option<String>,
    /// Branches and tags, sorted by name.
    pub refs: Vec<RemoteRef>,
}

/// A branch or a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRef {
    /// `refs/heads/…` or `refs/tags/…`.
    pub name: String,
    /// The commit, in 40 digits; of an annotated tag the one that it is of.
    pub commit: String,
}

/// Reads the branches and tags of a source.
///
/// # Errors
/// When the source can't be reached, opened or understood in time; the error's kind tells which.
pub async fn list(url: &SourceUrl, access: &Access) -> Result<Refs, SourceError> {
    let (done, result) = oneshot::channel();
    let (source, given) = (url.clone(), access.clone());
    // Not one of tokio's threads: a runtime waits for those when it ends.
    std::thread::Builder::new()
        .name("ls-remote".into())
        .spawn(move || {
            let _ = done.send(list_blocking(&source, &given));
        })
        .map_err(|e| SourceError::new(Kind::Network, url, format!("cannot start a thread: {e}")))?;
    match tokio::time::timeout(access.timeout, result).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(SourceError::new(Kind::Network, url, "the reader of refs broke off".into())),
        Err(_) => {
            let reason = format!("no answer within {:.1} s", access.timeout.as_secs_f64());
            Err(SourceError::new(Kind::Network, url, reason))
        }
    }
}

fn list_blocking(url: &SourceUrl, access: &Access) -> Result<Refs, SourceError> {
    set_timeouts();
    if let Some(path) = url.local_path() {
        super::checkout::open(path).map_err(|error| SourceError::from_local(url, path, &error))?;
    }
    if let Some(ca) = access.ca.as_deref().filter(|_| url.transport() == Transport::Https) {
        trust(ca).map_err(|reason| SourceError::new(Kind::Tls, url, reason))?;
    }
    let fingerprint = RefCell::new(None);
    let fail = |error: git2::Error| SourceError::from_git(url, &error, fingerprint.borrow().as_deref());
    let address = url.local_path().map_or(url.as_str(), |path| path.to_str().unwrap_or(url.as_str()));
    let mut remote = Remote::create_detached(address).map_err(fail)?;
    let mut callbacks = RemoteCallbacks::new();
    let mut attempts = 0;
    callbacks.credentials(|asked_by, user, allowed| {
        attempts += 1;
        credentials(url, &access.credentials, asked_by, user, allowed, attempts)
    });
    callbacks.certificate_check(|certificate, _| {
        if let Some(key) = certificate.as_hostkey() {
            *fingerprint.borrow_mut() = describe(key);
        }
        // libgit2's own check decides: known_hosts for ssh, the trusted CAs for https.
        Ok(CertificateCheckStatus::CertificatePassthrough)
    });
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    let connection = remote.connect_auth(Direction::Fetch, Some(callbacks), Some(proxy)).map_err(fail)?;
    let heads = connection.list().map_err(fail)?;
    let heads = heads.iter().map(|head| (head.name(), head.oid().to_string(), head.symref_target()));
    Ok(refs(heads))
}

/// What the server listed, sorted out.
fn refs<'a>(heads: impl Iterator<Item = (&'a str, String, Option<&'a str>)>) -> Refs {
    let mut all: Vec<RemoteRef> = Vec::new();
    let mut head = None;
    let mut head_commit = None;
    let mut peeled = std::collections::HashMap::new();
    for (name, commit, symref) in heads {
        if name == "HEAD" {
            head = symref.map(str::to_owned);
            head_commit = Some(commit);
        } else if let Some(tag) = name.strip_suffix("^{}") {
            peeled.insert(tag.to_owned(), commit);
        } else if name.starts_with("refs/heads/") || name.starts_with("refs/tags/") {
            all.push(RemoteRef { name: name.to_owned(), commit });
        }
    }
    for tag in &mut all {
        if let Some(commit) = peeled.remove(&tag.name) {
            tag.commit = commit;
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    // Servers without the symref capability say only at which commit HEAD is; git, too, then prefers these names.
    let at_head = |name: &str| all.iter().any(|r| r.name == name && Some(&r.commit) == head_commit.as_ref());
    let guess = || {
        let usual = ["refs/heads/main", "refs/heads/master"].into_iter().find(|name| at_head(name)).map(str::to_owned);
        usual.or_else(|| all.iter().map(|r| &r.name).find(|n| n.starts_with("refs/heads/") && at_head(n)).cloned())
    };
    let head = head.or_else(guess).filter(|name| name.starts_with("refs/heads/"));
    Refs { head, refs: all }
}

fn credentials(
    url: &SourceUrl,
    given: &Credentials,
    asked_by: &str,
    user: Option<&str>,
    allowed: CredentialType,
    attempt: usize,
) -> Result<Cred, git2::Error> {
    let refuse = |reason: &str| Err(git2::Error::new(git2::ErrorCode::Auth, git2::ErrorClass::Callback, reason));
    // libgit2 asks again for as long as it is refused.
    let first = attempt == 1;
    if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) && url.transport() != Transport::Ssh {
        if !same_server(url.as_str(), asked_by) {
            return refuse(ELSEWHERE);
        }
        return match &given.token {
            Some(token) if first => {
                Cred::userpass_plaintext(given.username.as_deref().unwrap_or(TOKEN_USER), token.expose())
            }
            Some(_) => refuse("the server refuses the user name or token"),
            None => refuse("the server asks for credentials and the source has none"),
        };
    }
    let user = user.unwrap_or("git");
    if !allowed.contains(CredentialType::SSH_KEY) {
        return refuse("the server takes neither tokens nor keys, which is all that slipway has");
    }
    match &given.ssh_key {
        Some(key) if first => {
            let passphrase = given.ssh_passphrase.as_ref().map(Secret::expose);
            Cred::ssh_key(user, None, key, passphrase)
        }
        Some(key) => refuse(&format!("the server refuses the key {} for the user {user}", key.display())),
        None if first => Cred::ssh_key_from_agent(user),
        None => refuse(&format!("the server refuses the ssh agent's keys for the user {user}")),
    }
}

/// Whether a redirect stayed where the credentials belong: the same host and port, and no step down from https.
fn same_server(ours: &str, theirs: &str) -> bool {
    let (Ok(ours), Ok(theirs)) = (Url::parse(ours), Url::parse(theirs)) else { return false };
    let same_host = ours.host_str() == theirs.host_str();
    let same_port = ours.port_or_known_default() == theirs.port_or_known_default();
    let stepped_up =
        ours.scheme() == "http" && theirs.scheme() == "https" && ours.port().is_none() && theirs.port().is_none();
    same_host && (ours.scheme() == theirs.scheme() && same_port || stepped_up)
}

fn describe(key: &git2::cert::CertHostkey<'_>) -> Option<String> {
    use base64::Engine as _;
    let hash = base64::engine::general_purpose::STANDARD_NO_PAD.encode(key.hash_sha256()?);
    let kind = key.hostkey_type().map_or("unknown", |kind| kind.name());
    Some(format!("{kind} SHA256:{hash}"))
}

fn set_timeouts() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // SAFETY: libgit2 holds these in plain integers that its threads only read; they are set once, before it is
        // first used here.
        unsafe {
            let _ = git2::opts::set_server_connect_timeout_in_milliseconds(CONNECT_TIMEOUT_MS);
            let _ = git2::opts::set_server_timeout_in_milliseconds(SILENCE_TIMEOUT_MS);
        }
    });
}

/// Trusts the CAs of a file, from now on.
fn trust(ca: &Path) -> Result<(), String> {
    static TRUSTED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut trusted = TRUSTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if trusted.contains(ca) {
        return Ok(());
    }
    // SAFETY: it adds to OpenSSL's store of trusted certificates, which has its own lock.
    unsafe { git2::opts::set_ssl_cert_file(ca) }
        .map_err(|e| format!("cannot read the CA certificates of {}: {}", ca.display(), e.message()))?;
    trusted.insert(ca.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted_out(heads: &[(&str, &str, Option<&str>)]) -> Refs {
        refs(heads.iter().map(|(name, commit, symref)| (*name, (*commit).to_owned(), *symref)))
    }

    #[test]
    fn annotated_tags_are_their_commits_and_other_refs_are_left_out() {
        let refs = sorted_out(&[
            ("HEAD", "c1", Some("refs/heads/trunk")),
            ("refs/heads/trunk", "c1", None),
            ("refs/heads/a", "c2", None),
            ("refs/pull/1/head", "c3", None),
            ("refs/tags/v1", "t1", None),
            ("refs/tags/v1^{}", "c1", None),
        ]);
        assert_eq!(refs.head.as_deref(), Some("refs/heads/trunk"));
        let pairs: Vec<(&str, &str)> = refs.refs.iter().map(|r| (r.name.as_str(), r.commit.as_str())).collect();
        assert_eq!(pairs, [("refs/heads/a", "c2"), ("refs/heads/trunk", "c1"), ("refs/tags/v1", "c1")]);
    }

    #[test]
    fn a_server_that_does_not_name_its_default_branch_is_guessed_as_git_does() {
        let head = |heads| sorted_out(heads).head;
        assert_eq!(
            head(&[("HEAD", "c", None), ("refs/heads/a", "c", None), ("refs/heads/master", "c", None)]).as_deref(),
            Some("refs/heads/master")
        );
        assert_eq!(head(&[("HEAD", "c", None), ("refs/heads/b", "c", None)]).as_deref(), Some("refs/heads/b"));
        assert_eq!(head(&[("HEAD", "d", None), ("refs/heads/b", "c", None)]), None);
        assert_eq!(head(&[]), None);
    }

    #[test]
    fn credentials_stay_with_their_server() {
        assert!(same_server("https://host/a.git", "https://host/b"));
        assert!(same_server("https://host/a.git", "https://host:443/b"));
        assert!(same_server("http://host/a.git", "https://host/a.git"));
        assert!(!same_server("https://host/a.git", "http://host/a.git"));
        assert!(!same_server("https://host/a.git", "https://evil/a.git"));
        assert!(!same_server("http://host:80/a", "http://host:8080/a"));
    }
}
