//! Why a source can't be read, by kind, and what to do.

use std::io;
use std::path::Path;
use std::time::Duration;

use git2::ErrorCode;
use serde::{Deserialize, Serialize};

use super::git::program::NoGit;
use super::url::{SourceUrl, Transport};
use crate::domain::failure::FailureKind;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

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
    /// A disk of this machine that is full or read-only.
    Disk,
    /// This machine: its memory, its processes.
    Local,
    /// A clone of slipway's own is damaged.
    Damaged,
}

impl Kind {
    /// Whether the same may work later without anybody's doing.
    pub fn is_transient(self) -> bool {
        matches!(self, Kind::Network | Kind::Timeout)
    }

    /// Whether this machine failed, whatever was to be read.
    pub fn is_of_this_machine(self) -> bool {
        matches!(self, Kind::Disk | Kind::Local | Kind::Damaged)
    }
}

/// A source that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct SourceError {
    /// What kind of trouble it is.
    pub kind: Kind,
    /// The source.
    pub url: String,
    /// What happened.
    pub reason: Reason,
    /// What to do.
    pub advice: Reason,
}

display_as_reason!(SourceError);

impl AsReason for SourceError {
    fn reason(&self) -> Reason {
        let SourceError { url, reason, advice, .. } = self;
        reason!("source.unreadable", url, reason, advice)
    }
}

impl SourceError {
    pub(super) fn new(kind: Kind, url: &SourceUrl, reason: impl Into<Reason>) -> SourceError {
        let mut reason = reason.into();
        reason.for_each_text(&mut |text| *text = one_line(text));
        let advice = advice(kind, url);
        SourceError { kind, url: url.to_string(), reason, advice }
    }

    /// With another advice than that of its kind.
    pub(super) fn advising(mut self, advice: impl Into<Reason>) -> SourceError {
        self.advice = advice.into();
        self
    }

    /// Of a step on this machine.
    pub(crate) fn local(url: &SourceUrl, reason: impl Into<Reason>) -> SourceError {
        SourceError::new(Kind::Local, url, reason)
    }

    /// Of a step that the operating system refused.
    pub(crate) fn io(url: &SourceUrl, reason: impl Into<Reason>, error: &io::Error) -> SourceError {
        let kind = match FailureKind::of_io(error) {
            Some(FailureKind::Disk) => Kind::Disk,
            _ => Kind::Local,
        };
        SourceError::new(kind, url, reason)
    }

    /// Of a source that did not answer in time.
    pub(super) fn no_answer(url: &SourceUrl, limit: Duration) -> SourceError {
        let seconds = format!("{:.1}", limit.as_secs_f64());
        SourceError::new(Kind::Timeout, url, reason!("source.no_answer", seconds))
    }

    /// Where git can't be used.
    pub(crate) fn no_git(url: &SourceUrl, error: &NoGit) -> SourceError {
        SourceError::new(Kind::Program, url, error.problem()).advising(error.advice())
    }

    /// Of a local repository that does not open.
    pub(super) fn from_local(url: &SourceUrl, path: &Path, error: &git2::Error) -> SourceError {
        let (kind, reason) = match error.code() {
            ErrorCode::Owner => (Kind::Owner, reason!("source.owner")),
            ErrorCode::NotFound if !path.exists() => (Kind::NotFound, reason!("source.no_directory")),
            ErrorCode::NotFound => (Kind::NotARepository, reason!("source.no_repository")),
            _ => (Kind::NotARepository, Reason::verbatim(error.message())),
        };
        SourceError::new(kind, url, reason)
    }
}

fn advice(kind: Kind, url: &SourceUrl) -> Reason {
    let host = url.host().unwrap_or_default();
    let ssh = url.transport() == Transport::Ssh;
    match kind {
        Kind::NotFound if url.transport() == Transport::Local => reason!("advice.name_local"),
        Kind::NotFound => reason!("advice.check_name"),
        Kind::NoRef => reason!("advice.existing_ref"),
        Kind::NoCommit => reason!("advice.build_again"),
        Kind::Credentials if ssh => reason!("advice.name_key"),
        Kind::Credentials => {
            let server = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            reason!("advice.name_token", server)
        }
        // Those who know the host's name as ssh has it say more.
        Kind::HostKeyUnknown => reason!("advice.add_host_key"),
        Kind::HostKeyChanged => reason!("advice.host_key_changed"),
        Kind::HostKeyRevoked => reason!("advice.host_key_revoked"),
        Kind::Network | Kind::Timeout => reason!("advice.check_network", host),
        Kind::Tls => reason!("advice.name_ca"),
        Kind::NotARepository => reason!("advice.name_repository"),
        Kind::TooBig => reason!("advice.raise_fetch_limit"),
        Kind::TooManyRefs => reason!("advice.delete_refs"),
        Kind::Owner => {
            let path = url.local_path().unwrap_or(Path::new(""));
            reason!("advice.trust_directory", path)
        }
        Kind::Program => reason!("advice.install_git"),
        Kind::Configuration => reason!("advice.fix_configuration"),
        Kind::Disk => reason!("advice.free_space"),
        Kind::Local => reason!("advice.free_resources"),
        Kind::Damaged => reason!("advice.clone_again"),
    }
}

/// Servers may say anything; none of it controls a terminal.
fn one_line(message: &str) -> String {
    message.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
