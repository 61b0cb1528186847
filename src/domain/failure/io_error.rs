//! The errors of the operating system, sorted by whose fault they are.

use std::error::Error;
use std::io::{self, ErrorKind};

use super::kind::FailureKind;

impl FailureKind {
    /// The kind that an error's causes make certain: a disk, this machine or a connection; none where no cause is an
    /// error of the operating system.
    pub fn of_cause(error: &(dyn Error + 'static)) -> Option<FailureKind> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                return FailureKind::of_io(io);
            }
            next = cause.source();
        }
        None
    }

    /// The kind of an error of the operating system; none where it says only that a file is not there or is not what
    /// was expected.
    pub fn of_io(error: &io::Error) -> Option<FailureKind> {
        Some(match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem => FailureKind::Disk,
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::TimedOut => FailureKind::Network,
            ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidData
            | ErrorKind::InvalidInput
            | ErrorKind::UnexpectedEof => return None,
            // EIO, EMFILE, ENOMEM, ESTALE, EACCES in slipway's own home: the machine.
            _ => FailureKind::Host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_errno(errno: i32) -> Option<FailureKind> {
        FailureKind::of_io(&io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn a_disk_that_refuses_is_machinery_wherever_it_happens() {
        for errno in [libc::ENOSPC, libc::EDQUOT, libc::EROFS] {
            assert_eq!(of_errno(errno), Some(FailureKind::Disk));
        }
        for errno in [libc::EIO, libc::EMFILE, libc::ENOMEM, libc::EACCES] {
            assert_eq!(of_errno(errno), Some(FailureKind::Host));
        }
        for errno in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ETIMEDOUT] {
            assert_eq!(of_errno(errno), Some(FailureKind::Network));
        }
        assert_eq!(of_errno(libc::ENOENT), None);
        assert!([FailureKind::Disk, FailureKind::Host, FailureKind::Network].iter().all(|kind| kind.is_machinery()));
    }

    #[test]
    fn the_cause_below_other_errors_decides() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot make the configuration")]
        struct Above(#[source] Below);
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write")]
        struct Below(#[source] io::Error);
        let error = Above(Below(io::Error::from_raw_os_error(libc::EROFS)));
        assert_eq!(FailureKind::of_cause(&error), Some(FailureKind::Disk));
    }
}
