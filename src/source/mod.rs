//! Where code comes from: the refs of git repositories, their commits, checkouts, what platforms tell of pushes, and
//! what their own APIs are asked.
//!
//! Sources on other machines are listed and fetched by the host's git, into bare clones; those on this one are read
//! where they are, with libgit2. [`Git`] is the door to both.

mod error;
pub mod git;
mod origin;
pub mod platform;
pub mod refs;
mod reserved_host;
pub mod tree;
pub mod url;
pub mod webhook;

pub use error::{Kind, SourceError};
pub use git::commits::{Commit, Wanted};
pub use git::{Access, Credentials, Git};
pub use refs::{Refs, RemoteRef};
pub use reserved_host::is_reserved;
pub use url::{SourceUrl, Transport, UrlError};
