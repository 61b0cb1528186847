//! Why there is no dashboard.

use std::io;

use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, reason};

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Nobody could see it.
    NoTerminal,
    /// The terminal, or the runtime, failed.
    Io {
        /// What was attempted.
        doing: Phrase,
        /// Why it failed.
        source: io::Error,
    },
    /// config.toml can't be used.
    Config(Reason),
}

display_as_reason!(TuiError);

impl AsReason for TuiError {
    fn reason(&self) -> Reason {
        match self {
            TuiError::NoTerminal => reason!("tui.no_terminal"),
            TuiError::Io { doing, source } => reason!("tui.io", doing, source),
            TuiError::Config(reason) => reason.clone(),
        }
    }
}

/// Names the attempt that an error of the terminal or the runtime ended.
pub(super) fn cannot(doing: Phrase) -> impl Fn(io::Error) -> TuiError {
    move |source| TuiError::Io { doing, source }
}
