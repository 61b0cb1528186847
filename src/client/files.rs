//! Where things are on the disk of this machine, for editors, pagers and people. Of a pool elsewhere: nowhere.

use std::path::PathBuf;

use super::address::{Client, Way};
use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;
use crate::protocol::EntityName;
use crate::services::entity_files;
use crate::store::builds;

impl Client {
    /// The file that something is kept in.
    pub fn file_of(&self, name: &EntityName) -> Option<PathBuf> {
        self.is_here().then(|| entity_files::file_of(&self.home, name))
    }

    /// The directory of a build.
    pub fn directory_of(&self, id: BuildId) -> Option<PathBuf> {
        self.is_here().then(|| self.home.build_dir(id.0))
    }

    /// The log of an attempt of a build.
    pub fn log_of(&self, id: BuildId, attempt: u32) -> Option<PathBuf> {
        self.is_here().then(|| self.home.attempt_dir(id.0, attempt).join(builds::LOG))
    }

    /// The OCI layout of a repository in the registry "local".
    pub fn images_of(&self, path: &RepositoryPath) -> Option<PathBuf> {
        self.is_here().then(|| self.home.image_layout(&path.namespace, &path.repository))
    }

    /// Whether the pool's home is this user's own, on this machine.
    fn is_here(&self) -> bool {
        matches!(self.way, Way::Home)
    }
}
