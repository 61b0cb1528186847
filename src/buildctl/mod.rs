//! The buildctl command: its arguments (pure), its progress stream (pure), and the runner process that owns it.

pub mod arguments;
pub mod handover;
pub mod job;
pub mod progress;
pub mod recording;
pub mod runner;
mod source_policy;
pub mod subrequest;
