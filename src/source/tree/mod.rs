//! The tree of a commit, checked out exactly and moved from commit to commit: the context of a build, whichever way the
//! source is reached.
//!
//! A tree is a function of its commit, but for the nanoseconds of its times: git's modes (0644 and 0755, whatever the
//! umask), symbolic links as they are, contents as git writes them by the tree's own `.gitattributes`, and times from
//! the history (`history`, `time_key`). No configuration of the source, the user or the system has a say, no hook and
//! no filter but Git LFS runs.
//!
//! `slot` keeps trees, `process` moves them in a process of their own (`checkout`), by what `objects` reads.
//! `submodule` says where submodules are, `lfs` and `keep_git` add what their names say, `inside` finds a build's
//! directories in a tree.

mod change;
mod checkout;
mod error;
mod files;
mod git_objects;
mod history;
mod inside;
mod keep_git;
mod lender;
mod lfs;
mod objects;
mod plain_objects;
mod pointer;
mod process;
mod room;
mod slot;
mod submodule;
mod time_key;

pub use change::TreeFile;
pub use checkout::{Configured, Module, Moved, Position};
pub use error::TreeError;
pub use history::Place;
pub use inside::{InsideError, is_behind_link, resolve_inside};
pub use lender::local;
pub use objects::Lender;
pub use pointer::{LfsCommit, Pointer, is_stored, named, remove_damaged};
pub use process::{Answer, Request, SUBCOMMAND, Site, Trees, serve};
pub use room::Room;
pub use slot::{ASIDE, Part, Slot, State};
pub use submodule::{address, leads_back};
pub use time_key::TimeKey;
