//! Git: the host's `git` program speaks with servers, and libgit2 reads repositories on this machine's disk.
//!
//! [`program`] finds the program and makes its command lines, [`questions`] runs libgit2 in processes of its own.

pub mod program;
pub mod questions;

pub use program::{Configuration, GitCommand, GitProgram, NoGit};
pub use questions::{Git, SUBCOMMAND, serve};
