//! What forms are for.

use std::collections::BTreeSet;

use crate::domain::builder::Builder;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::repository::Repository;
use crate::domain::rule::Rule;
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::EntityName;

/// What a form is for.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A namespace.
    Namespace {
        /// The one that is edited.
        name: Option<String>,
        /// What it was.
        base: Namespace,
    },
    /// A repository.
    Repository {
        /// The one that is edited.
        path: Option<RepositoryPath>,
        /// What it was.
        base: Box<Repository>,
    },
    /// A rule.
    Rule {
        /// Its repository.
        path: RepositoryPath,
        /// What it was.
        base: Box<Rule>,
        /// It is not there yet.
        is_new: bool,
        /// The tags that an immutable repository has; none where tags may be overwritten.
        taken: Option<BTreeSet<String>>,
    },
    /// A builder.
    Builder {
        /// The one that is edited.
        name: Option<String>,
        /// What it was.
        base: Box<Builder>,
    },
    /// A platform.
    Platform {
        /// The one that is edited.
        name: Option<String>,
        /// What it was.
        base: Box<SourcePlatform>,
    },
    /// Something is to be deleted: its name has to be typed.
    Delete {
        /// It.
        name: EntityName,
        /// What has to be typed.
        typed: String,
    },
}
