//! Why a source can't be read, by kind, and what to do.

use std::path::Path;

use git2::{ErrorClass, ErrorCode};
use serde::{Deserialize, Serialize};

use super::url::{SourceUrl, Transport};

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// There is no such repository, or none that these credentials show.
    NotFound,
    /// Credentials are missing or refused.
    Credentials,
    /// The ssh host is unknown, or its key is not the known one.
    HostKey,
    /// The server can't be reached, does not answer, or breaks off. It may work later.
    Network,
    /// The server's certificate is not trusted, or TLS fails.
    Tls,
    /// Something is there, but no git repository.
    NotARepository,
    /// A local repository of another user, which git refuses to read.
    Owner,
}

/// A source that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("cannot read the source {url}: {reason}; {advice}")]
pub struct SourceError {
    /// What kind of trouble it is.
    pub kind: Kind,
    /// The source.
    pub url: String,
    /// What happened.
    pub reason: String,
    /// What to do.
    pub advice: String,
}

impl SourceError {
    pub(super) fn new(kind: Kind, url: &SourceUrl, reason: String) -> SourceError {
        SourceError { kind, url: url.to_string(), reason, advice: advice(kind, url) }
    }

    /// Of a local repository that does not open.
    pub(super) fn from_local(url: &SourceUrl, path: &Path, error: &git2::Error) -> SourceError {
        let (kind, reason) = match error.code() {
            ErrorCode::Owner => (Kind::Owner, "it belongs to another user".to_owned()),
            ErrorCode::NotFound if !path.exists() => (Kind::NotFound, "there is no such directory".to_owned()),
            ErrorCode::NotFound => (Kind::NotARepository, "it is no git repository".to_owned()),
            _ => (Kind::NotARepository, error.message().to_owned()),
        };
        SourceError::new(kind, url, reason)
    }

    /// Of a remote; `host_key` is the key that an ssh server showed.
    pub(super) fn from_git(url: &SourceUrl, error: &git2::Error, host_key: Option<&str>) -> SourceError {
        let kind = kind(error);
        let mut reason = one_line(error.message());
        if kind == Kind::HostKey {
            let shown = host_key.map(|key| format!(" (it shows {key})")).unwrap_or_default();
            reason = format!("the host's key is not in ~/.ssh/known_hosts, or another one is{shown}");
        }
        let mut error = SourceError::new(kind, url, reason);
        if error.reason == ELSEWHERE {
            error.advice = "name the address that it redirects to".into();
        }
        error
    }
}

/// The reason where a server sends us to another one that asks for credentials.
pub(super) const ELSEWHERE: &str = "the server redirects to another one, which is not given the credentials";

fn kind(error: &git2::Error) -> Kind {
    let message = error.message();
    let says = |words: &[&str]| words.iter().any(|word| message.to_ascii_lowercase().contains(word));
    match (error.code(), error.class()) {
        (ErrorCode::Certificate, ErrorClass::Ssh) => Kind::HostKey,
        (ErrorCode::Certificate, _) => Kind::Tls,
        (ErrorCode::Auth, _) => Kind::Credentials,
        (ErrorCode::Timeout, _) => Kind::Network,
        (ErrorCode::NotFound, _) => Kind::NotFound,
        (_, ErrorClass::Ssl) => Kind::Tls,
        _ if says(&["status code: 401", "status code: 403", "permission denied"]) => Kind::Credentials,
        _ if says(&["status code: 404", "status code: 410", "not found", "not exported", "does not exist"]) => {
            Kind::NotFound
        }
        _ if says(&["does not appear to be a git repo", "not a git repo"]) => Kind::NotFound,
        (_, ErrorClass::Ssh)
            if says(&["authenticat", "agent", "public key", "private key", "passphrase", "unable to open"]) =>
        {
            Kind::Credentials
        }
        _ if says(&[
            "content-type",
            "content type",
            "invalid packet",
            "unexpected pkt",
            "invalid hex digit",
            "flush packet",
        ]) =>
        {
            Kind::NotARepository
        }
        _ => Kind::Network,
    }
}

fn advice(kind: Kind, url: &SourceUrl) -> String {
    let host = url.host().unwrap_or_default();
    let ssh = url.transport() == Transport::Ssh;
    match kind {
        Kind::NotFound if url.transport() == Transport::Local => "name a git repository on this machine".into(),
        Kind::NotFound => "check its name; a private one also looks like this without the right credentials".into(),
        Kind::Credentials if ssh => {
            "name a key in the platform (ssh_key = \"/path/to/key\") or start an ssh agent that has it".into()
        }
        Kind::Credentials => {
            "give the platform a username and a token that may read it (token = { file = \"NAME\" })".into()
        }
        Kind::HostKey => {
            let port = url.port().map(|port| format!("-p {port} ")).unwrap_or_default();
            let host = host.trim_matches(['[', ']']);
            format!(
                "compare the key with the one that its owner publishes, then run: ssh-keyscan {port}{host} >> ~/.ssh/known_hosts"
            )
        }
        Kind::Network => format!("check that {host} can be reached from this machine, and its proxy settings"),
        Kind::Tls => "a server with a private CA needs ca = \"/path/to/ca.pem\" in its platform".into(),
        Kind::NotARepository => "name the repository itself, as git clone takes it".into(),
        Kind::Owner => {
            let path = url.local_path().unwrap_or(Path::new("")).display();
            format!("if you trust it, run: git config --global --add safe.directory {path}")
        }
    }
}

/// Servers may say anything; none of it controls a terminal.
fn one_line(message: &str) -> String {
    message.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
