//! The pool's socket: clients, who they are, and what they hear.

pub(in crate::pool) mod listener;
mod peer;
pub(in crate::pool) mod server;
mod settings_lines;
mod subscription;
