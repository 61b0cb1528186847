//! Why a source, a platform or a registry can't be used: by kind, with its cause.

use chrono::{DateTime, Utc};

use super::registries::RegistriesError;
use crate::domain::failure::FailureKind;
use crate::domain::reason::{AsReason, Reason, display_as_reason};
use crate::registry::{Kind as RegistryKind, LayoutError, PublishError};
use crate::source::platform::{ApiError, ApiProblem};
use crate::source::{Kind, SourceError, UrlError};

/// A cause of another room.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A service that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A source can't be read.
    Source(#[from] SourceError),
    /// A text is not the URL of a source.
    Url(#[from] UrlError),
    /// A platform's API did not do what was asked.
    Api(#[from] ApiError),
    /// A registry can't be opened by its settings.
    Registries(#[from] RegistriesError),
    /// An image or its tags can't be read.
    Image(#[from] PublishError),
    /// A file, a command or a variable of this host that the settings name can't be used, such as a secret.
    Host {
        /// What can't be used, and why.
        reason: Reason,
        /// What the host says.
        #[source]
        cause: Cause,
    },
    /// The token of a login can't be renewed.
    Renewal {
        /// Which, and what to do.
        reason: Reason,
        /// What the platform says.
        #[source]
        cause: ApiError,
    },
    /// The settings don't say it, or forbid it.
    Setting {
        /// What is wrong with them.
        fault: SettingFault,
        /// What, and what to do.
        reason: Reason,
    },
    /// It takes too long to wait for.
    Late(Reason),
    /// A task of this process panicked.
    Task(Reason),
}

/// What is wrong with settings, as far as a service needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingFault {
    /// Something that is named does not exist.
    Missing,
    /// Something is not set, or makes no sense.
    Unusable,
    /// What is asked for is forbidden.
    Forbidden,
}

/// The kinds of service errors that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceErrorKind {
    /// It was tried and failed.
    Failed,
    /// What was asked makes no sense with these settings.
    Unusable,
    /// There is no such thing.
    NotFound,
    /// A setting or the platform forbids it.
    Refused,
    /// It can't be reached now; the same may work later.
    Unreachable,
}

display_as_reason!(ServiceError);

impl AsReason for ServiceError {
    fn reason(&self) -> Reason {
        match self {
            ServiceError::Source(error) => error.reason(),
            ServiceError::Url(error) => error.reason(),
            ServiceError::Api(error) => error.into(),
            ServiceError::Registries(error) => error.reason(),
            ServiceError::Image(error) => error.reason(),
            ServiceError::Host { reason, .. }
            | ServiceError::Renewal { reason, .. }
            | ServiceError::Setting { reason, .. }
            | ServiceError::Late(reason)
            | ServiceError::Task(reason) => reason.clone(),
        }
    }
}

impl ServiceError {
    /// Something of this host can't be used.
    pub fn host(reason: Reason, cause: impl Into<Cause>) -> ServiceError {
        ServiceError::Host { reason, cause: cause.into() }
    }

    /// Something that the settings or a request name does not exist.
    pub fn missing(reason: Reason) -> ServiceError {
        ServiceError::Setting { fault: SettingFault::Missing, reason }
    }

    /// Something is not set, or makes no sense.
    pub fn unusable(reason: Reason) -> ServiceError {
        ServiceError::Setting { fault: SettingFault::Unusable, reason }
    }

    /// The settings forbid it.
    pub fn forbidden(reason: Reason) -> ServiceError {
        ServiceError::Setting { fault: SettingFault::Forbidden, reason }
    }

    /// Its kind.
    pub fn kind(&self) -> ServiceErrorKind {
        match self {
            ServiceError::Source(error) => match error.kind {
                Kind::NotFound | Kind::NotARepository | Kind::NoRef | Kind::NoCommit => ServiceErrorKind::NotFound,
                _ => ServiceErrorKind::Unreachable,
            },
            ServiceError::Url(_) => ServiceErrorKind::Unusable,
            ServiceError::Api(error) | ServiceError::Renewal { cause: error, .. } => of_api(&error.reason),
            ServiceError::Image(error) => of_image(error),
            ServiceError::Setting { fault: SettingFault::Missing, .. } => ServiceErrorKind::NotFound,
            ServiceError::Setting { fault: SettingFault::Unusable, .. } => ServiceErrorKind::Unusable,
            ServiceError::Setting { fault: SettingFault::Forbidden, .. } => ServiceErrorKind::Refused,
            ServiceError::Late(_) => ServiceErrorKind::Unreachable,
            ServiceError::Registries(_) | ServiceError::Host { .. } | ServiceError::Task(_) => ServiceErrorKind::Failed,
        }
    }

    /// When the same may work, where the platform says so.
    pub fn retry_at(&self) -> Option<DateTime<Utc>> {
        match self {
            ServiceError::Api(ApiError { reason: ApiProblem::Limited { until }, .. }) => *until,
            _ => None,
        }
    }

    /// Whose fault it is that a build can't have its tree. A disk, this machine or a connection that failed below
    /// decides, whatever was attempted: none of them is a refused credential.
    pub fn failure_kind(&self) -> FailureKind {
        let attempted = match self {
            ServiceError::Setting { fault: SettingFault::Forbidden, .. } => FailureKind::Credentials,
            ServiceError::Api(error) | ServiceError::Renewal { cause: error, .. } => {
                match error.reason.is_transient() {
                    true => FailureKind::Network,
                    false => FailureKind::Credentials,
                }
            }
            ServiceError::Late(_) => FailureKind::Network,
            ServiceError::Task(_) => FailureKind::Host,
            ServiceError::Source(_)
            | ServiceError::Url(_)
            | ServiceError::Registries(_)
            | ServiceError::Image(_)
            | ServiceError::Host { .. }
            | ServiceError::Setting { .. } => FailureKind::Source,
        };
        FailureKind::of_cause(self).unwrap_or(attempted)
    }
}

fn of_api(problem: &ApiProblem) -> ServiceErrorKind {
    match problem {
        problem if problem.is_transient() => ServiceErrorKind::Unreachable,
        ApiProblem::NotFound { .. } => ServiceErrorKind::NotFound,
        ApiProblem::NoApi { .. } | ApiProblem::Unsupported { .. } | ApiProblem::PlainHttp => ServiceErrorKind::Refused,
        ApiProblem::Setting(_) | ApiProblem::NoRepository { .. } => ServiceErrorKind::Unusable,
        _ => ServiceErrorKind::Failed,
    }
}

fn of_image(error: &PublishError) -> ServiceErrorKind {
    match error {
        PublishError::Registry(error) => match error.kind {
            RegistryKind::NotFound => ServiceErrorKind::NotFound,
            RegistryKind::Network { .. } => ServiceErrorKind::Unreachable,
            _ => ServiceErrorKind::Failed,
        },
        PublishError::Layout(LayoutError::NoTag { .. }) => ServiceErrorKind::NotFound,
        PublishError::Immutable { .. }
        | PublishError::Backwards { .. }
        | PublishError::MovedMeanwhile { .. }
        | PublishError::TagRefused(_) => ServiceErrorKind::Refused,
        _ => ServiceErrorKind::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::store::secrets::SecretError;
    use crate::sys::atomic::WriteError;

    fn unread_secret(errno: i32) -> ServiceError {
        let cause = io::Error::from_raw_os_error(errno);
        ServiceError::host(Reason::default(), SecretError::Read { path: "/h/secrets/github".into(), cause })
    }

    #[test]
    fn a_secret_that_this_machine_can_not_read_is_no_refused_credential() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::EIO, libc::ENOMEM, libc::ESTALE] {
            assert_eq!(unread_secret(errno).failure_kind(), FailureKind::Host, "{errno}");
        }
        for errno in [libc::ENOSPC, libc::EDQUOT, libc::EROFS] {
            assert_eq!(unread_secret(errno).failure_kind(), FailureKind::Disk, "{errno}");
            let cause = io::Error::from_raw_os_error(errno);
            let written = WriteError::Denied { path: "/h/secrets/renewal-github".into(), cause };
            assert_eq!(ServiceError::host(Reason::default(), written).failure_kind(), FailureKind::Disk, "{errno}");
        }
    }

    #[test]
    fn what_the_settings_forbid_is_a_matter_of_credentials_and_what_they_lack_one_of_the_source() {
        assert_eq!(ServiceError::forbidden(Reason::default()).failure_kind(), FailureKind::Credentials);
        assert_eq!(ServiceError::missing(Reason::default()).failure_kind(), FailureKind::Source);
        assert_eq!(ServiceError::unusable(Reason::default()).failure_kind(), FailureKind::Source);
        assert_eq!(ServiceError::Late(Reason::default()).failure_kind(), FailureKind::Network);
    }
}
