//! A build's log file: writing, reading, following, moving and searching in it.
//!
//! The file is plain text, one line a line, in the form of `buildctl --progress=plain`; a sidecar tells which lines
//! came from standard error.

pub mod events;
pub mod file;
pub mod follow;
pub mod mask;
pub mod reader;
pub mod sanitize;
pub mod scan;
pub mod stderr;
pub mod writer;
