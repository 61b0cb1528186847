//! The files of a home that the things are kept in which clients save and delete.

use std::path::PathBuf;

use crate::protocol::EntityName;
use crate::store::Home;

/// The file that something is kept in; of a rule the repository's.
pub fn file_of(home: &Home, name: &EntityName) -> PathBuf {
    match name {
        EntityName::Namespace(name) => home.namespace_file(name),
        EntityName::Repository(path) | EntityName::Rule(path, _) => {
            home.repository_file(&path.namespace, &path.repository)
        }
        EntityName::Builder(name) => home.builders_dir().join(format!("{name}.toml")),
        EntityName::Platform(name) => home.platforms_dir().join(format!("{name}.toml")),
        EntityName::Registry(host) => home.registries_dir().join(format!("{host}.toml")),
        EntityName::Secret(name) => home.secrets_dir().join(name),
    }
}
