//! The pool's socket: clients, who they are, and what they hear.

mod peer;
pub(in crate::pool) mod server;
mod subscription;
