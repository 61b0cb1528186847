//! Where images go: OCI layout directories, remote registries, credentials.
//!
//! BuildKit brings the content (into a [`Stage`] or to a registry by digest) and never moves a tag; this room
//! moves the tags, after the checks of [`crate::domain::publish`]. It builds nothing and knows no repository settings.

pub mod blob_reader;
pub mod client;
pub mod copy;
pub mod credential_source;
pub mod credentials;
pub mod docker_config;
pub mod docker_keys;
pub mod image;
pub mod layout;
mod layout_error;
#[cfg(test)]
mod layout_tests;
mod prune;
pub mod publish;
pub mod read;
mod stage;
pub mod tag_move;

pub use crate::domain::reference::{self, ImageName, ReferenceError, Registry, check_host_name};
pub use client::Client;
pub use client::error::{Kind, NetworkError, NetworkFault, RegistryError};
pub use image::{Descriptor, Document, Documents, ImageInfo, Platform};
pub use layout::{Layout, LayoutError, LayoutTag};
pub use prune::Pruned;
pub use publish::{Built, Outcome, PublishError, Published, Target};
pub use stage::Stage;
