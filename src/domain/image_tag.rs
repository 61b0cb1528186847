//! A tag of an image repository as clients see it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::publish::Origin;
use crate::domain::reason::Reason;

/// A tag and the image that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagInfo {
    /// The tag: `v1`.
    pub tag: String,
    /// What pulls it: `registry.example.com/acme/api:v1`.
    pub name: String,
    /// `sha256:…`, of the index.
    pub digest: String,
    /// What the index holds.
    pub platforms: Vec<String>,
    /// Bytes of all that a pull of every platform would fetch.
    pub size: u64,
    /// When the image was made, where it says so.
    pub created: Option<DateTime<Utc>>,
    /// Which build made it, of what; none for images that slipway did not make.
    pub origin: Option<Origin>,
    /// Why nothing but the name is known: the registry's name for it is no tag, or what it names can't be read.
    pub problem: Option<Reason>,
}
