//! Where code comes from: the refs of git repositories, their commits, checkouts, what platforms tell of pushes, and what their
//! own APIs are asked.
//!
//! Refs are read with libgit2 without a clone; sources on other machines are fetched by BuildKit itself, those on this
//! one are checked out and sent. [`Git`] speaks with servers in processes of its own, so that one which hangs can be ended.

pub mod api;
pub mod checkout;
pub mod commits;
mod error;
pub mod git;
pub mod origin;
pub mod refs;
mod remote;
pub mod url;
pub mod webhook;

pub use commits::Commit;
pub use error::{Kind, SourceError};
pub use git::Git;
pub use refs::{Refs, RemoteRef};
pub use remote::{Access, Credentials};
pub use url::{SourceUrl, Transport};
