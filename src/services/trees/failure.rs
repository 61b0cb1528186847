//! Why a tree can't be made ready, and whose fault that is.

use crate::domain::failure::{Failure, FailureKind};
use crate::domain::reason::{AsReason, Reason, display_as_reason};
use crate::protocol::{Error, ErrorKind};
use crate::source::tree::TreeError;
use crate::source::{Kind, SourceError};

/// A tree that can't be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Unprepared {
    /// The source can't be reached, or does not have the commit.
    Source(#[from] SourceError),
    /// Its tree can't be made.
    Tree(#[from] TreeError),
    /// The settings do not say how it is reached.
    Settings(Error),
}

display_as_reason!(Unprepared);

impl AsReason for Unprepared {
    fn reason(&self) -> Reason {
        match self {
            Unprepared::Source(error) => error.reason(),
            Unprepared::Tree(error) => error.reason(),
            Unprepared::Settings(error) => error.reason.clone(),
        }
    }
}

impl From<Error> for Unprepared {
    fn from(error: Error) -> Unprepared {
        Unprepared::Settings(error)
    }
}

impl Unprepared {
    /// Whose fault it is.
    pub fn kind(&self) -> FailureKind {
        match self {
            Unprepared::Source(error) => of_source(error),
            Unprepared::Tree(error) => of_tree(error),
            Unprepared::Settings(error) => match error.kind {
                ErrorKind::Unreachable => FailureKind::Network,
                ErrorKind::Refused => FailureKind::Credentials,
                _ => FailureKind::Source,
            },
        }
    }
}

fn of_source(error: &SourceError) -> FailureKind {
    match error.kind {
        Kind::Network | Kind::Timeout => FailureKind::Network,
        Kind::Credentials | Kind::HostKeyUnknown | Kind::HostKeyChanged | Kind::HostKeyRevoked => {
            FailureKind::Credentials
        }
        Kind::Tls => FailureKind::Certificate,
        Kind::Local if error.is_disk_full() => FailureKind::Disk,
        Kind::Local | Kind::Damaged => FailureKind::Host,
        Kind::NoCommit => FailureKind::NoCommit,
        Kind::NotFound
        | Kind::NoRef
        | Kind::NotARepository
        | Kind::TooBig
        | Kind::TooManyRefs
        | Kind::Owner
        | Kind::Program
        | Kind::Configuration => FailureKind::Source,
    }
}

fn of_tree(error: &TreeError) -> FailureKind {
    match error {
        TreeError::DiskFull { .. } | TreeError::NoSpace { .. } => FailureKind::Disk,
        TreeError::Io { .. } | TreeError::Damaged { .. } => FailureKind::Host,
        TreeError::Submodule { temporary: true, .. } | TreeError::Lfs { temporary: true, .. } => FailureKind::Network,
        TreeError::NoCommit { .. } => FailureKind::NoCommit,
        TreeError::Path { .. }
        | TreeError::TooMany { .. }
        | TreeError::TooLarge { .. }
        | TreeError::Checkout { .. }
        | TreeError::Submodule { .. }
        | TreeError::SubmoduleAddress { .. }
        | TreeError::LfsAddress { .. }
        | TreeError::Lfs { .. }
        | TreeError::NeedsGit { .. }
        | TreeError::Owner { .. }
        | TreeError::NoRepository { .. } => FailureKind::Source,
    }
}

impl From<Unprepared> for Failure {
    fn from(error: Unprepared) -> Failure {
        Failure::new(error.kind(), error.to_string())
    }
}
