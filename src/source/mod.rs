//! Where code comes from: the refs of git repositories, checkouts of a commit, and what platforms tell of pushes.
//!
//! Refs are read with libgit2 without a clone; sources on other machines are fetched by BuildKit itself, those on this
//! one are checked out and sent.

pub mod checkout;
mod error;
pub mod refs;
pub mod url;
pub mod webhook;

pub use error::{Kind, SourceError};
pub use refs::{Access, Credentials, Refs, RemoteRef};
pub use url::{SourceUrl, Transport};
