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
        Kind::Disk => FailureKind::Disk,
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
        Failure::new(error.kind(), &error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::source::SourceUrl;

    #[test]
    fn a_disk_that_refuses_at_a_checkout_is_machinery_and_no_fault_of_the_commit() {
        let url = SourceUrl::parse("https://git.example.com/acme/api.git").unwrap();
        for errno in [libc::ENOSPC, libc::EDQUOT, libc::EROFS] {
            let error = io::Error::from_raw_os_error(errno);
            let source: Unprepared = SourceError::io(&url, Reason::verbatim("x"), &error).into();
            assert_eq!(source.kind(), FailureKind::Disk, "{errno}");
            let failure = Failure::from(source);
            assert!(failure.kind.is_machinery(), "{errno}");
        }
        for errno in [libc::EIO, libc::EMFILE, libc::ENOMEM] {
            let error = io::Error::from_raw_os_error(errno);
            let source: Unprepared = SourceError::io(&url, Reason::verbatim("x"), &error).into();
            assert_eq!(source.kind(), FailureKind::Host, "{errno}");
        }
    }

    #[test]
    fn a_full_disk_under_a_private_configuration_is_no_refused_password() {
        use crate::registry::credentials::CredentialsError;
        use crate::services::registries::RegistriesError;
        use crate::sys::atomic::WriteError;
        let write = |errno| {
            let cause = io::Error::from_raw_os_error(errno);
            let write = WriteError::DiskFull { path: "/h/builds/5/docker".into(), directory: "/h".into(), cause };
            RegistriesError::Credentials(CredentialsError::Write(write))
        };
        let failure = Failure::of_error(&write(libc::ENOSPC), FailureKind::Credentials);
        assert_eq!(failure.kind, FailureKind::Disk);
    }
}
