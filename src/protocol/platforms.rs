//! Sources and their platforms as clients get them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::preview::PreviewRow;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::Reason;
use crate::domain::rule::Rule;

/// The refs of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRefs {
    /// The short name of the default branch; none where the repository is empty or its HEAD names no branch.
    pub default_branch: Option<String>,
    /// Branches and tags with the commits that they point at, sorted by name.
    pub refs: Vec<(Ref, CommitId)>,
    /// How many branches and tags are left out, because their names are none that slipway takes.
    pub left_out: usize,
}

/// What a rule would do with the refs of its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulePreview {
    /// One row a ref of the kind that the rule is for.
    pub rows: Vec<PreviewRow>,
    /// How many refs the source has.
    pub refs: usize,
    /// How many refs are left out, because their names are none that slipway takes.
    pub left_out: usize,
    /// The source's URL.
    pub source: String,
}

/// What saving something would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavePreview {
    /// The change to the file; "" where there is none, or where the file is a secret.
    pub diff: String,
    /// The rule that a new repository starts with, for its source's default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starter: Option<Box<Rule>>,
    /// What people should know before it is saved.
    pub warnings: Vec<Reason>,
}

/// The number of a login that has begun; the pool that began it knows it, no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoginId(pub u64);

/// What a person is asked to do to log in to a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginInvitation {
    /// The login.
    pub login: LoginId,
    /// The web page where the code is entered.
    pub address: String,
    /// The code.
    pub code: String,
    /// How long the code holds.
    pub holds: Duration,
}

/// A file under `secrets/`: never its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// Its name.
    pub name: String,
    /// The settings that name it, as people call them.
    pub used_by: Vec<String>,
}

/// A notification of config.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationState {
    /// Its name.
    pub name: String,
    /// Where it goes, without the path of the address, which may be a secret; none: to a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The command that it is handed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The events that it is sent for.
    pub events: Vec<crate::domain::notification::Event>,
    /// Globs of repositories; empty: all.
    pub repositories: Vec<String>,
    /// Whether its messages are signed.
    pub signed: bool,
    /// How many messages are not delivered yet.
    pub waiting: usize,
}
