//! How sources and registries are reached: by the settings of a home, with the secrets that it keeps.
//!
//! The pool builds and publishes with it; the command line previews rules and lists tags with it.

pub mod agent;
pub mod credential_scope;
pub mod entity_files;
mod error;
pub mod image_cache;
pub mod images;
pub mod platforms;
pub mod registries;
pub mod registry_access;
pub mod save_warnings;
pub mod sources;
pub mod tag_detail;
pub mod tag_history;
pub mod tag_moves;
pub mod tokens;
pub mod trees;

pub use error::{ServiceError, ServiceErrorKind, SettingFault};
