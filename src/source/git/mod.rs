//! Git: the host's `git` program speaks with servers, and libgit2 reads repositories on this machine's disk.
//!
//! [`program`] finds the program and makes its command lines; `reach`, [`ssh`], [`credential`] and `trust` add the way
//! to a server;
//! `listing`, [`clone`] and [`commits`] are what it is asked, and `stderr` what its errors mean. `questions` runs
//! libgit2 (`local`) in processes of its own. `front` is the door.

mod access;
pub mod agent;
pub mod clone;
pub mod commits;
pub mod credential;
mod front;
mod listing;
mod local;
mod memory_file;
pub mod program;
mod questions;
mod reach;
pub mod ssh;
pub(in crate::source) mod stderr;
mod trust;

pub use access::{Access, Credentials};
pub use clone::{Fallback, FetchLimits, Fetched, Turn, Used, Want};
pub use front::Git;
pub use program::{Configuration, GitCommand, GitProgram, NoGit};
pub use questions::{SUBCOMMAND, serve};
pub use stderr::LfsSaid;
