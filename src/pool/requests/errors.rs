//! Errors of the services as clients get them.

use crate::protocol::{Error, ErrorKind};
use crate::services::{ServiceError, ServiceErrorKind};
use crate::source::UrlError;

impl From<ServiceError> for Error {
    fn from(error: ServiceError) -> Error {
        let kind = match error.kind() {
            ServiceErrorKind::Failed => ErrorKind::Failed,
            ServiceErrorKind::Unusable => ErrorKind::Usage,
            ServiceErrorKind::NotFound => ErrorKind::NotFound,
            ServiceErrorKind::Refused => ErrorKind::Refused,
            ServiceErrorKind::Unreachable => ErrorKind::Unreachable,
        };
        Error { retry_at: error.retry_at(), ..Error::new(kind, &error) }
    }
}

impl From<UrlError> for Error {
    fn from(error: UrlError) -> Error {
        ServiceError::from(error).into()
    }
}
