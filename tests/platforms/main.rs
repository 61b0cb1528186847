//! The platforms' APIs, against a server that answers as each platform documents.
//!
//! One file for each thing that is asked; `errors`, `login` and `renewal` are what goes wrong, the device
//! flow, and tokens that end.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod errors;
mod login;
mod questions;
mod renewal;
mod support;
mod webhooks;
