//! Answers of a pool.

use std::os::fd::OwnedFd;

use crate::domain::reason::reason;
use crate::protocol::{Error, ErrorKind, Reply};

/// An answer with what comes along.
#[derive(Debug)]
pub(super) struct Answer {
    pub reply: Reply,
    pub files: Vec<OwnedFd>,
    pub bytes: Vec<u8>,
}

/// The pool answered something that was not asked.
pub fn unexpected() -> Error {
    Error::new(ErrorKind::Unreachable, reason!("client.unexpected_answer"))
}
