//! Errors of the command line and the exit statuses that scripts rely on.

use std::io;

use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::protocol::{Error, ErrorKind};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The pool, or a check that it would make, said why.
    Answer(#[from] Error),
    /// Something of the system failed.
    Io {
        /// What was attempted.
        doing: Reason,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody reads our output any more, such as `head`.
    OutputGone,
}

display_as_reason!(CliError);

impl AsReason for CliError {
    fn reason(&self) -> Reason {
        match self {
            CliError::Answer(error) => error.reason.clone(),
            CliError::Io { doing, source } => reason!("cli.io", doing, source),
            CliError::OutputGone => reason!("cli.output_gone"),
        }
    }
}

impl CliError {
    /// It was tried and failed.
    pub fn failed(reason: impl Into<Reason>) -> CliError {
        Error::new(ErrorKind::Failed, reason).into()
    }

    /// What was asked makes no sense.
    pub fn usage(reason: impl Into<Reason>) -> CliError {
        Error::new(ErrorKind::Usage, reason).into()
    }

    /// There is no such thing.
    pub fn not_found(reason: impl Into<Reason>) -> CliError {
        Error::new(ErrorKind::NotFound, reason).into()
    }

    /// A wrapper for errors of the system, for `map_err`.
    pub fn io(doing: impl Into<Reason>) -> impl FnOnce(io::Error) -> CliError {
        let doing = doing.into();
        move |source| CliError::Io { doing, source }
    }

    /// The exit status: see the design's section 7.
    pub fn exit_status(&self) -> u8 {
        match self {
            CliError::Answer(error) => match error.kind {
                ErrorKind::Failed => 1,
                ErrorKind::Usage => 2,
                ErrorKind::NotFound => 3,
                ErrorKind::Refused => 4,
                ErrorKind::Unreachable => 5,
            },
            CliError::Io { .. } => 1,
            CliError::OutputGone => 0,
        }
    }
}
