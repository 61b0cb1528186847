//! Copies of tags to other repositories. Pure.

use serde::{Deserialize, Serialize};

use super::build::BuildId;
use super::config::ByteSize;
use crate::domain::reason::{Reason, reason};

/// What a copy moved; blobs and documents are counted alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transfer {
    /// Those that were sent.
    pub sent: usize,
    /// Bytes of the blobs that were sent.
    pub sent_bytes: u64,
    /// Those that the registry took from another of its repositories.
    pub mounted: usize,
    /// Those that were there already.
    pub there: usize,
    /// Signatures, attestations and the like that were copied with the image.
    pub referrers: usize,
    /// Those of them whose tags named something else at the other place, and stayed as they were.
    #[serde(default)]
    pub kept: usize,
}

/// A tag that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagCopy {
    /// What was copied: `acme/api:v1`.
    pub from: String,
    /// What pulls the copy: `registry.example.com/prod/api:v1`.
    pub to: String,
    /// The digest of both.
    pub digest: String,
    /// What the tag of the copy named before; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The build that made the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// What it took.
    pub transfer: Transfer,
}

impl TagCopy {
    /// What there is to say once it is done.
    pub fn report(&self) -> Reason {
        let TagCopy { from, to, transfer, .. } = self;
        let Transfer { sent, sent_bytes, mounted, there, referrers, kept } = *transfer;
        let bytes = ByteSize(sent_bytes).to_string();
        let copied = reason!("tag.copied", from, to, sent, bytes, mounted, there, referrers);
        if kept == 0 { copied } else { reason!("tag.copied_and_kept", copied, kept) }
    }
}

/// `name[:tag]` as its parts.
pub fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        // A colon before a slash is that of a port.
        Some((name, tag)) if !tag.contains('/') && !name.is_empty() => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Whether a name begins with a registry's host, as docker tells it.
pub fn names_a_registry(name: &str) -> bool {
    let Some((host, _)) = name.split_once('/') else { return false };
    host == "localhost" || host.contains(['.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag_and_a_host_is_no_namespace() {
        assert_eq!(split("acme/api"), ("acme/api", None));
        assert_eq!(split("acme/api:v1"), ("acme/api", Some("v1")));
        assert_eq!(split("r:5000/acme/api"), ("r:5000/acme/api", None));
        assert_eq!(split("r:5000/acme/api:v1"), ("r:5000/acme/api", Some("v1")));
        for registry in ["r.example/acme/api", "r:5000/api", "localhost/api"] {
            assert!(names_a_registry(registry), "{registry}");
        }
        for none in ["acme/api", "api"] {
            assert!(!names_a_registry(none), "{none}");
        }
    }
}
