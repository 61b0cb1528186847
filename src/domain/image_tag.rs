//! A tag of an image repository as clients see it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::publish::Origin;
use crate::domain::reason::{AsReason, Reason, reason, use_as_reason};

/// The most tags whose images one request asks for.
pub const MOST_TAGS: usize = 200;

/// The names of a repository's tags, without those that only hold something about an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TagNames {
    /// The tags, sorted, as the registry names them.
    pub tags: Vec<String>,
    /// Tags that hold signatures, attestations and the like.
    pub attached: Vec<AttachedTag>,
}

impl TagNames {
    /// Tells tags of images from those that hold something about an image.
    pub fn of(names: impl IntoIterator<Item = String>) -> TagNames {
        let mut all = TagNames::default();
        for name in names {
            match AttachedTag::parse(&name) {
                Some(attached) => all.attached.push(attached),
                None => all.tags.push(name),
            }
        }
        all
    }
}

/// A tag that holds something about an image, by the image's digest: cosign's `sha256-….sig`, `.att` and `.sbom`, and
/// `sha256-…`, the list of referrers where a registry keeps none itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedTag {
    /// The tag.
    pub tag: String,
    /// The digest of the image.
    pub digest: String,
    /// What it holds.
    pub kind: AttachedKind,
}

/// What a tag about an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachedKind {
    /// Signatures.
    Signature,
    /// Attestations.
    Attestation,
    /// A list of what is in the image.
    Sbom,
    /// Any of these, as a list of referrers.
    Referrers,
}

impl AttachedKind {
    /// As it is written in JSON.
    pub fn word(self) -> &'static str {
        match self {
            AttachedKind::Signature => "signature",
            AttachedKind::Attestation => "attestation",
            AttachedKind::Sbom => "sbom",
            AttachedKind::Referrers => "referrers",
        }
    }
}

use_as_reason!(AttachedKind);

impl AsReason for AttachedKind {
    fn reason(&self) -> Reason {
        match self {
            AttachedKind::Signature => reason!("attached.signature"),
            AttachedKind::Attestation => reason!("attached.attestation"),
            AttachedKind::Sbom => reason!("attached.sbom"),
            AttachedKind::Referrers => reason!("attached.referrers"),
        }
    }
}

impl AttachedTag {
    /// The tag's parts; none where it is a tag of an image.
    pub fn parse(tag: &str) -> Option<AttachedTag> {
        let (digest, kind) = match tag.split_once('.') {
            Some((digest, "sig")) => (digest, AttachedKind::Signature),
            Some((digest, "att")) => (digest, AttachedKind::Attestation),
            Some((digest, "sbom")) => (digest, AttachedKind::Sbom),
            Some(_) => return None,
            None => (tag, AttachedKind::Referrers),
        };
        let hex = digest.strip_prefix("sha256-")?;
        let is_digest = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_digest.then(|| AttachedTag { tag: tag.to_owned(), digest: format!("sha256:{hex}"), kind })
    }
}

/// A tag and the image that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagInfo {
    /// The tag: `v1`.
    pub tag: String,
    /// What pulls it: `registry.example.com/acme/api:v1`.
    pub name: String,
    /// `sha256:…`, of the index; "": not known.
    pub digest: String,
    /// What the index holds.
    pub platforms: Vec<String>,
    /// Bytes that a pull of every platform would fetch; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When the image was made, where it says so.
    pub created: Option<DateTime<Utc>>,
    /// Which build made it, of what; none for images that slipway did not make.
    pub origin: Option<Origin>,
    /// The digests of the manifests in the index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<String>,
    /// What it is where it is no image: the media type of a Helm chart's configuration, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// What is attached to the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<AttachedTag>,
    /// Why not all is known: the registry's name for it is no tag, or what it names can't be read.
    pub problem: Option<Reason>,
}

impl TagInfo {
    /// A tag of which nothing but its name is known; `image` is the name of the repository's images.
    pub fn named(image: &str, tag: &str) -> TagInfo {
        TagInfo {
            tag: tag.to_owned(),
            name: format!("{image}:{tag}"),
            digest: String::new(),
            platforms: Vec::new(),
            size: None,
            created: None,
            origin: None,
            manifests: Vec::new(),
            artifact: None,
            attached: Vec::new(),
            problem: None,
        }
    }

    /// What kinds of things are attached to the image, each once.
    pub fn attached_kinds(&self) -> Vec<AttachedKind> {
        let mut kinds: Vec<AttachedKind> = self.attached.iter().map(|attached| attached.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// Puts what is attached under the images that it is about; returns what is about no image here.
pub fn attach(tags: &mut [TagInfo], attached: &[AttachedTag]) -> Vec<AttachedTag> {
    let mut loose = Vec::new();
    for one in attached {
        let is_about = |tag: &&mut TagInfo| tag.digest == one.digest || tag.manifests.contains(&one.digest);
        let mut about = tags.iter_mut().filter(is_about).peekable();
        if about.peek().is_none() {
            loose.push(one.clone());
        }
        about.for_each(|tag| tag.attached.push(one.clone()));
    }
    loose
}

/// Images of tags, as one request found them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TagPage {
    /// The tags in the order in which they were asked for; one that is gone is left out.
    pub tags: Vec<TagInfo>,
    /// Requests to the registry beyond one for each tag.
    pub further_requests: usize,
}

/// Everything that there is to say about a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagDetail {
    /// The tag and its image in short.
    pub info: TagInfo,
    /// Since when the tag names the image, as far as slipway's own records know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<DateTime<Utc>>,
    /// The manifests of its platforms.
    pub parts: Vec<ImagePart>,
    /// The labels of the first platform.
    pub labels: BTreeMap<String, String>,
    /// What is attested about it: what the index holds, what refers to it, and what tags hold.
    pub attestations: Vec<Attestation>,
}

/// The image of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePart {
    /// The platform; none where the image does not say.
    pub platform: Option<String>,
    /// The manifest's digest.
    pub digest: String,
    /// Bytes of the configuration and the layers.
    pub size: u64,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The layer's digest.
    pub digest: String,
    /// Bytes as they are stored.
    pub size: u64,
    /// How they are stored.
    pub media_type: String,
}

/// Something that is attested about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// What it says: a type of predicate (`https://slsa.dev/provenance/v1`), a type of artifact, or a word of
    /// [`AttachedKind`].
    pub kind: String,
    /// The digest of the manifest that it is about.
    pub about: String,
    /// The digest or the tag by which it is found.
    pub reference: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn tags_of_signatures_attestations_and_referrers_are_no_tags_of_images() {
        let names = [
            format!("sha256-{HEX}.sig"),
            format!("sha256-{HEX}.att"),
            format!("sha256-{HEX}.sbom"),
            format!("sha256-{HEX}"),
            format!("sha256-{HEX}.other"),
            format!("sha256-{}", &HEX[1..]),
            "v1.sig".to_owned(),
        ];
        let names = TagNames::of(names);
        let kinds: Vec<_> = names.attached.iter().map(|one| one.kind.word()).collect();
        assert_eq!(kinds, ["signature", "attestation", "sbom", "referrers"]);
        assert!(names.attached.iter().all(|one| one.digest == format!("sha256:{HEX}")));
        assert_eq!(names.tags.len(), 3);
    }

    #[test]
    fn what_is_attached_is_under_every_tag_of_its_image_and_what_is_about_none_is_told() {
        let digest = format!("sha256:{HEX}");
        let whole = TagInfo { digest: digest.clone(), ..TagInfo::named("acme/api", "v1") };
        let part = TagInfo { manifests: vec![digest.clone()], ..TagInfo::named("acme/api", "v2") };
        let mut tags = [whole, part, TagInfo::named("acme/api", "v3")];
        let signature = AttachedTag::parse(&format!("sha256-{HEX}.sig")).unwrap();
        let other = AttachedTag { digest: "sha256:other".into(), ..signature.clone() };
        assert_eq!(attach(&mut tags, &[signature, other.clone()]), [other]);
        let counts: Vec<usize> = tags.iter().map(|tag| tag.attached.len()).collect();
        assert_eq!(counts, [1, 1, 0]);
        assert_eq!(tags[0].attached_kinds(), [AttachedKind::Signature]);
    }
}
