//! Why a source can't be read, by kind, and what to do.

use std::path::Path;

use git2::ErrorCode;
use serde::{Deserialize, Serialize};

use super::git::program::NoGit;
use super::url::{SourceUrl, Transport};

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// There is no such repository, or none that these credentials show.
    NotFound,
    /// The repository does not have the ref, or the ref does not name a commit.
    NoRef,
    /// The repository does not have the commit, or not any more.
    NoCommit,
    /// Credentials are missing or refused.
    Credentials,
    /// The ssh host's key is not known.
    HostKeyUnknown,
    /// The ssh host shows another key than the known one.
    HostKeyChanged,
    /// The ssh host shows a key that known_hosts has revoked.
    HostKeyRevoked,
    /// The server can't be reached, refuses for now, or breaks off. It may work later.
    Network,
    /// It took too long. It may work later.
    Timeout,
    /// The server's certificate is not trusted, or TLS fails.
    Tls,
    /// Something is there, but no git repository.
    NotARepository,
    /// It is larger than the limit.
    TooBig,
    /// It has more refs than the limit.
    TooManyRefs,
    /// A local repository of another user, which git refuses to read.
    Owner,
    /// There is no `git` on this machine, or none that is new enough.
    Program,
    /// This machine's configuration of git or ssh.
    Configuration,
    /// This machine: its disk, its memory, its processes.
    Local,
    /// A clone of slipway's own is damaged.
    Damaged,
}

impl Kind {
    /// Whether the same may work later without anybody's doing.
    pub fn is_transient(self) -> bool {
        matches!(self, Kind::Network | Kind::Timeout)
    }
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
    pub(super) fn new(kind: Kind, url: &SourceUrl, reason: impl AsRef<str>) -> SourceError {
        let advice = advice(kind, url);
        SourceError { kind, url: url.to_string(), reason: one_line(reason.as_ref()), advice }
    }

    /// With another advice than that of its kind.
    pub(super) fn advising(mut self, advice: impl Into<String>) -> SourceError {
        self.advice = advice.into();
        self
    }

    /// Of a step on this machine.
    pub(crate) fn local(url: &SourceUrl, reason: impl AsRef<str>) -> SourceError {
        SourceError::new(Kind::Local, url, reason)
    }

    /// Whether this machine's disk is full.
    pub(crate) fn is_disk_full(&self) -> bool {
        let reason = self.reason.to_ascii_lowercase();
        self.kind == Kind::Local
            && ["no space left", "quota exceeded", "disk full"].iter().any(|word| reason.contains(word))
    }

    /// Where git can't be used.
    pub(crate) fn no_git(url: &SourceUrl, error: &NoGit) -> SourceError {
        let text = error.to_string();
        let (reason, advice) = text.split_once("; ").unwrap_or((&text, "install git"));
        SourceError::new(Kind::Program, url, reason).advising(advice)
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
}

fn advice(kind: Kind, url: &SourceUrl) -> String {
    let host = url.host().unwrap_or_default();
    let ssh = url.transport() == Transport::Ssh;
    match kind {
        Kind::NotFound if url.transport() == Transport::Local => "name a git repository on this machine".into(),
        Kind::NotFound => "check its name; a private one also looks like this without the right credentials".into(),
        Kind::NoRef => "build a branch or tag that it has".into(),
        Kind::NoCommit => "build its branch or tag again".into(),
        Kind::Credentials if ssh => {
            "name a key that the server knows in the platform (ssh_key = \"/path/to/key\"), or add it to the ssh agent".into()
        }
        Kind::Credentials => {
            let server = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            format!(
                "name a platform with a token that may read it: slipway platform create NAME --kind git --host {server} --username USER \
                 --token-stdin, then slipway repo edit NAMESPACE/REPOSITORY --platform NAME"
            )
        }
        // Those who know the host's name as ssh has it say more.
        Kind::HostKeyUnknown => "add the host's key to ~/.ssh/known_hosts once it is checked".into(),
        Kind::HostKeyChanged => {
            "either its owner changed the key, or somebody else answers in its place: ask the owner for the new key's fingerprint; \
             only then replace the old line in known_hosts"
                .into()
        }
        Kind::HostKeyRevoked => "somebody else may answer in its place: ask its owner".into(),
        Kind::Network | Kind::Timeout => {
            format!("check that {host} can be reached from this machine, and its proxy settings")
        }
        Kind::Tls => "a server with a private CA needs ca = \"/path/to/ca.pem\" in its platform".into(),
        Kind::NotARepository => "name the repository itself, as git clone takes it".into(),
        Kind::TooBig => "raise git.fetch_limit in config.toml if it is meant to be that large".into(),
        Kind::TooManyRefs => "delete branches and tags that nobody needs".into(),
        Kind::Owner => {
            let path = url.local_path().unwrap_or(Path::new("")).display();
            format!("if you trust it, run: git config --global --add safe.directory {path}")
        }
        Kind::Program => "install git".into(),
        Kind::Configuration => "fix the configuration of the user that runs slipway".into(),
        Kind::Local => "free some of what the machine lacks, and try again".into(),
        Kind::Damaged => "try again: the clone is made again".into(),
    }
}

/// Servers may say anything; none of it controls a terminal.
fn one_line(message: &str) -> String {
    message.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
