//! The way to a git server: credentials, proxy, trust, time limits. Blocks.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::time::Duration;

use git2::{CertificateCheckStatus, Cred, CredentialType, ProxyOptions, RemoteCallbacks};
use reqwest::Url;

use super::error::{ELSEWHERE, Kind, SourceError};
use super::url::{SourceUrl, Transport};
use crate::store::secrets::Secret;

/// The user name where a platform names none: servers that take tokens accept any, and GitHub's own is this.
const TOKEN_USER: &str = "x-access-token";

/// After these libgit2 gives up by itself; whoever waits has a limit for all of it, which is usually shorter.
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
    /// A file of CA certificates in PEM, trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// The proxy that http(s) goes through; absent: as the environment has it.
    pub proxy: Option<String>,
    /// How long it may take in all.
    pub timeout: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Access { credentials: Credentials::default(), ca: None, proxy: None, timeout: Duration::from_secs(30) }
    }
}

/// Speaks with a source: `talk` is given what libgit2 asks of us, and the proxy.
///
/// # Errors
/// When it can't be reached, opened or understood; the error's kind tells which.
pub(super) fn speak<T>(
    url: &SourceUrl,
    access: &Access,
    talk: impl FnOnce(RemoteCallbacks<'_>, ProxyOptions<'_>) -> Result<T, git2::Error>,
) -> Result<T, SourceError> {
    set_timeouts();
    if let Some(ca) = access.ca.as_deref().filter(|_| url.transport() == Transport::Https) {
        trust(ca).map_err(|reason| SourceError::new(Kind::Tls, url, reason))?;
    }
    let host_key = RefCell::new(None);
    let mut callbacks = RemoteCallbacks::new();
    let mut attempts = 0;
    callbacks.credentials(|asked_by, user, allowed| {
        attempts += 1;
        credentials(url, &access.credentials, asked_by, user, allowed, attempts)
    });
    callbacks.certificate_check(|certificate, _| {
        if let Some(key) = certificate.as_hostkey() {
            *host_key.borrow_mut() = describe(key);
        }
        // libgit2's own check decides: known_hosts for ssh, the trusted CAs for https.
        Ok(CertificateCheckStatus::CertificatePassthrough)
    });
    let mut proxy = ProxyOptions::new();
    match &access.proxy {
        Some(address) => proxy.url(address),
        None => proxy.auto(),
    };
    talk(callbacks, proxy).map_err(|error| SourceError::from_git(url, &error, host_key.borrow().as_deref()))
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
