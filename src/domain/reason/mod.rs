//! Typed reasons: why something is as it is, as an id with arguments, rendered in the reader's language at the very end.
//!
//! `reason!("layout.missing", blob, by = name)` makes one. Both renderings are in `src/locales/reasons/*.toml`; one
//! test proves that every id that is made has both, with exactly the arguments that it is made with, and that the
//! catalogue has no other. Errors implement [`AsReason`]; `display_as_reason!` makes their `Display` (English) of it.
//!
//! Arguments are data: what a program, a server or the kernel printed is an argument, so it is never translated.

mod argument;
mod macros;
mod message;

pub use argument::{io_error, io_error_of, joined, quoted};
pub(crate) use macros::{argument_by_name, display_as_reason, phrase, reason, use_as_reason, value_of};
pub use message::{Argument, Reason, ToArgument, Typed, as_texts, output};

/// A word or phrase of the catalogue, such as what was attempted. `phrase!` makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phrase(&'static str);

impl Phrase {
    /// Use `phrase!`, which the catalogue's test sees.
    pub const fn new(id: &'static str) -> Phrase {
        Phrase(id)
    }
}

display_as_reason!(Phrase);

impl AsReason for Phrase {
    fn reason(&self) -> Reason {
        Reason::new(self.0, [])
    }
}

/// A type that says why: an error, a verdict, a state.
pub trait AsReason {
    /// The reason.
    fn reason(&self) -> Reason;
}

#[cfg(test)]
pub(crate) mod tests;
