//! A build's log file: writing, reading, following.
//!
//! The file is plain text, one line a line, in the form of `buildctl --progress=plain`; a sidecar tells which lines came from
//! standard error.

pub mod follow;
pub mod reader;
pub mod sanitize;
pub mod writer;
