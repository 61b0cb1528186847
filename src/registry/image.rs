//! The OCI documents that slipway reads and writes: index, manifest, configuration, and what they say of an image.
//!
//! Pure: the layout and the client fetch the bytes. Fields that slipway has no use for are kept as they are, so that a
//! document which is read, changed and written loses nothing. That is why these are not the types of the crate
//! `oci-spec`, which drop what they do not know, and refuse a document for a digest or a platform that they do not know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::domain::publish::Origin;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// The media type of an OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of an OCI manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media types of the configurations of images; a manifest with another one is of an artifact.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// BuildKit marks the manifests of attestations (provenance) with this annotation.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// The annotation that says which manifest an attestation is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// The annotation of an attestation's layer that says what it attests.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// Annotations, by key.
pub type Annotations = BTreeMap<String, String>;

/// A reference to content by digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// `sha256:…` of the content.
    pub digest: String,
    /// The content's size in bytes.
    pub size: u64,
    /// What the image runs on; only in an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Notes, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor of `content` without platform and annotations.
    pub fn of(media_type: &str, digest: &str, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.to_owned(),
            size,
            platform: None,
            annotations: Annotations::new(),
            rest: Map::new(),
        }
    }

    /// Whether it names an index or a manifest, which names more content in turn.
    pub fn is_document(&self) -> bool {
        self.is_index() || matches!(self.media_type.as_str(), MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether it names an index or Docker's manifest list.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), INDEX | DOCKER_LIST)
    }

    /// Whether it names an attestation about another manifest, rather than something that runs.
    pub fn is_attestation(&self) -> bool {
        self.annotations.contains_key(REFERENCE_TYPE)
    }

    /// The digest of the manifest that an attestation is about.
    pub fn attests(&self) -> Option<&str> {
        self.annotations.get(REFERENCE_DIGEST).map(String::as_str)
    }

    /// What it holds, where it is an artifact in a list of referrers.
    pub fn artifact_type(&self) -> Option<&str> {
        self.rest.get("artifactType").and_then(Value::as_str)
    }
}

/// What an image runs on; written `linux/arm64` or `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub architecture: String,
    /// `v7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().filter(|variant| !variant.is_empty()).try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// An index or a manifest: whichever of the fields the document has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Always 2.
    pub schema_version: u64,
    /// An index or a manifest; older OCI tools leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// An index's manifests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<Descriptor>>,
    /// A manifest's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    /// A manifest's layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<Descriptor>>,
    /// Notes, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Document {
    /// An index of `manifests`.
    pub fn index(manifests: Vec<Descriptor>, annotations: Annotations) -> Document {
        Document {
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            manifests: Some(manifests),
            config: None,
            layers: None,
            annotations,
            rest: Map::new(),
        }
    }

    /// The document in `raw`.
    ///
    /// # Errors
    /// When `raw` is not JSON of this shape, with line and column.
    pub fn parse(raw: &[u8]) -> Result<Document, serde_json::Error> {
        serde_json::from_slice(raw)
    }

    /// What kind of document it is, where the document leaves it out as well.
    pub fn kind(&self) -> &str {
        match (&self.media_type, &self.manifests) {
            (Some(media_type), _) => media_type,
            (None, Some(_)) => INDEX,
            (None, None) => MANIFEST,
        }
    }

    /// Whether it is in Docker's format, whose documents have no annotations.
    pub fn is_docker(&self) -> bool {
        is_docker(self.kind())
    }

    /// What it is where it is no image: the type that it says, or that of its configuration.
    pub fn artifact(&self) -> Option<&str> {
        if self.manifests.is_some() {
            return None;
        }
        let config = self.config.as_ref().map(|config| config.media_type.as_str());
        let said = self.rest.get("artifactType").and_then(Value::as_str).filter(|said| !said.is_empty());
        said.or(config.filter(|config| config.contains('/') && !IMAGE_CONFIGS.contains(config)))
    }

    /// What an attestation attests: the types of its predicates.
    pub fn predicates(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().flatten().filter_map(|layer| layer.annotations.get(PREDICATE_TYPE)).map(String::as_str)
    }

    /// The digest of what it refers to, where it is a referrer.
    pub fn subject(&self) -> Option<&str> {
        self.rest.get("subject")?.get("digest")?.as_str()
    }

    /// The manifests that run, of an index.
    pub fn runnable(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().flatten().filter(|one| !one.is_attestation())
    }

    /// The attestations that an index holds.
    pub fn attestations(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().flatten().filter(|one| one.is_attestation())
    }

    /// Everything it names: manifests, or configuration and layers.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().flatten().chain(&self.config).chain(self.layers.iter().flatten())
    }
}

/// The documents of an image.
#[derive(Debug, Clone)]
pub struct Documents {
    /// The digest of `root`.
    pub digest: String,
    /// The index, or the manifest where there is no index.
    pub root: Document,
    /// The manifests that run, in the order of the index; for an image without an index: `root` itself.
    pub manifests: Vec<Document>,
    /// The configuration of the first of them; none where it is too large, or of something that is no image.
    pub config: Option<ImageConfig>,
}

impl Documents {
    /// What there is to say about the image.
    pub fn info(&self) -> ImageInfo {
        describe(&self.digest, &self.root, &self.manifests, self.config.as_ref())
    }

    /// The manifests that run, each with its descriptor; none of an image without an index.
    pub fn parts(&self) -> impl Iterator<Item = (Option<&Descriptor>, &Document)> {
        let descriptors = self.root.runnable().map(Some).chain(std::iter::repeat(None));
        descriptors.zip(&self.manifests)
    }
}

/// What there is to say about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageInfo {
    /// The digest of the index, or of the manifest where there is no index.
    pub digest: String,
    /// The media type of what `digest` names.
    pub media_type: String,
    /// What it runs on; attestations left out.
    pub platforms: Vec<Platform>,
    /// Configurations and layers of all that runs, in bytes as they are stored, each counted once.
    pub size: u64,
    /// When it was built, as its configuration says.
    pub created: Option<DateTime<Utc>>,
    /// The notes on the topmost document.
    pub annotations: Annotations,
    /// The labels of its configuration.
    pub labels: BTreeMap<String, String>,
}

impl ImageInfo {
    /// Where the image comes from: its annotations say it, and in Docker's format, which has none, its labels.
    pub fn origin(&self) -> Option<Origin> {
        let labels = || is_docker(&self.media_type).then(|| Origin::from_annotations(&self.labels)).flatten();
        Origin::from_annotations(&self.annotations).or_else(labels)
    }
}

fn is_docker(media_type: &str) -> bool {
    matches!(media_type, DOCKER_LIST | DOCKER_MANIFEST)
}

/// What a configuration says that matters here.
#[derive(Debug, Clone, Deserialize)]
pub struct ImageConfig {
    created: Option<DateTime<Utc>>,
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
    /// Whatever is in it: a label that is no text must not hide the rest.
    #[serde(default)]
    config: Value,
}

impl ImageConfig {
    /// The labels that are texts.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.config.get("Labels").and_then(Value::as_object).into_iter().flatten();
        labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// What the image runs on.
    pub fn platform(&self) -> Option<Platform> {
        let (os, architecture) = (self.os.clone()?, self.architecture.clone()?);
        Some(Platform { os, architecture, variant: self.variant.clone(), rest: Map::new() })
    }
}

/// The image whose top document is `root`, whose manifests are `manifests` (for an image without an index: `root`
/// itself), and whose configuration is `config` where there is one.
pub fn describe(digest: &str, root: &Document, manifests: &[Document], config: Option<&ImageConfig>) -> ImageInfo {
    let mut counted = BTreeSet::new();
    let blobs = manifests.iter().flat_map(|manifest| manifest.config.iter().chain(manifest.layers.iter().flatten()));
    // Sizes are what a registry claims.
    let size = blobs
        .filter(|blob| counted.insert(blob.digest.as_str()))
        .fold(0_u64, |sum, blob| sum.saturating_add(blob.size));
    let platforms = match &root.manifests {
        Some(_) => root.runnable().filter_map(|one| one.platform.clone()).collect(),
        None => config.and_then(ImageConfig::platform).into_iter().collect(),
    };
    ImageInfo {
        digest: digest.to_owned(),
        media_type: root.kind().to_owned(),
        platforms,
        size,
        created: config.and_then(|config| config.created),
        annotations: root.annotations.clone(),
        labels: config.map(ImageConfig::labels).unwrap_or_default(),
    }
}

/// `sha256:…` of `content`.
pub fn sha256(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

/// Why the indexes of several builders make no common index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// A builder's result is a single manifest whose configuration does not say what it runs on.
    NoPlatform {
        /// That result.
        digest: String,
    },
    /// Two builders made the same platform differently.
    SamePlatform {
        /// The platform.
        platform: String,
        /// One manifest.
        first: String,
        /// The other.
        second: String,
    },
}

display_as_reason!(ComposeError);

impl AsReason for ComposeError {
    fn reason(&self) -> Reason {
        match self {
            ComposeError::NoPlatform { digest } => reason!("compose.no_platform", digest),
            ComposeError::SamePlatform { platform, first, second } => {
                reason!("compose.same_platform", platform, first, second)
            }
        }
    }
}

/// What one of several builders made: an index, or a single manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its digest.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
    /// The document.
    pub document: Document,
    /// What a single manifest runs on.
    pub platform: Option<Platform>,
}

impl Part {
    /// Its manifests: those of an index, or itself.
    fn manifests(&self) -> Result<Vec<Descriptor>, ComposeError> {
        if let Some(manifests) = &self.document.manifests {
            return Ok(manifests.clone());
        }
        let platform = self.platform.clone().ok_or_else(|| ComposeError::NoPlatform { digest: self.digest.clone() })?;
        let descriptor = Descriptor::of(self.document.kind(), &self.digest, self.size);
        Ok(vec![Descriptor { platform: Some(platform), ..descriptor }])
    }
}

/// One index of everything that several builders made, in their order: platform manifests and the attestations about
/// them. `annotations` come on top of those that the builders' indexes have. Of manifests in Docker's format it is a
/// list in Docker's format, which has no annotations.
///
/// # Errors
/// When two builders have different images for one platform, or one does not say what its image runs on.
pub fn compose(parts: &[Part], annotations: &Annotations) -> Result<Document, ComposeError> {
    let mut manifests: Vec<Descriptor> = Vec::new();
    let mut all_annotations = Annotations::new();
    for part in parts {
        for one in part.manifests()? {
            if manifests.iter().any(|there| there.digest == one.digest) {
                continue;
            }
            let same = |there: &&Descriptor| !there.is_attestation() && there.platform == one.platform;
            if let Some(there) = manifests.iter().find(same).filter(|_| !one.is_attestation()) {
                return Err(ComposeError::SamePlatform {
                    platform: one.platform.as_ref().map_or_else(|| "unknown".to_owned(), Platform::to_string),
                    first: there.digest.clone(),
                    second: one.digest.clone(),
                });
            }
            manifests.push(one);
        }
        if part.document.manifests.is_some() {
            all_annotations.extend(part.document.annotations.clone());
        }
    }
    if !manifests.is_empty() && manifests.iter().all(|one| one.media_type == DOCKER_MANIFEST) {
        let list = Document::index(manifests, Annotations::new());
        return Ok(Document { media_type: Some(DOCKER_LIST.to_owned()), ..list });
    }
    all_annotations.extend(annotations.clone());
    Ok(Document::index(manifests, all_annotations))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform_build(name: &str, arch: &str) -> Part {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[
                {{"mediaType":"{MANIFEST}","digest":"sha256:{name}","size":5,"platform":{{"os":"linux","architecture":"{arch}","os.version":"1"}}}},
                {{"mediaType":"{MANIFEST}","digest":"sha256:{name}-about","size":6,"platform":{{"os":"unknown","architecture":"unknown"}},
                  "annotations":{{"vnd.docker.reference.digest":"sha256:{name}","vnd.docker.reference.type":"attestation-manifest"}}}}],
                "annotations":{{"platform_build":"{name}","kept":"yes"}}}}"#
        );
        let document = Document::parse(text.as_bytes()).unwrap();
        Part { digest: format!("sha256:platform_build-{name}"), size: 7, document, platform: None }
    }

    /// A builder's single manifest.
    fn single(name: &str, media_type: &str, arch: Option<&str>) -> Part {
        let text = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","annotations":{{"own":"{name}"}}}}"#);
        let platform = arch.map(|arch| Platform {
            os: "linux".into(),
            architecture: arch.into(),
            variant: None,
            rest: Map::new(),
        });
        let document = Document::parse(text.as_bytes()).unwrap();
        Part { digest: format!("sha256:{name}"), size: 9, document, platform }
    }

    #[test]
    fn single_manifests_of_two_builders_become_an_index_with_their_platforms() {
        let annotations = Annotations::from([("from".to_owned(), "here".to_owned())]);
        let parts = [single("a", MANIFEST, Some("amd64")), single("b", MANIFEST, Some("arm64"))];
        let index = compose(&parts, &annotations).unwrap();
        assert_eq!((index.kind(), &index.annotations), (INDEX, &annotations), "a manifest's annotations are its own");
        let found: Vec<_> = index.children().map(|one| (one.digest.as_str(), one.size)).collect();
        assert_eq!(found, [("sha256:a", 9), ("sha256:b", 9)]);
        let platforms = describe("sha256:x", &index, &[], None).platforms;
        assert_eq!(platforms.iter().map(Platform::to_string).collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
        let parts = [single("a", DOCKER_MANIFEST, Some("amd64")), single("b", DOCKER_MANIFEST, Some("arm64"))];
        let list = compose(&parts, &annotations).unwrap();
        assert_eq!((list.kind(), list.annotations.len()), (DOCKER_LIST, 0));
        let error = compose(&[single("a", MANIFEST, None), single("b", MANIFEST, None)], &annotations).unwrap_err();
        assert!(error.to_string().contains("sha256:a"), "{error}");
    }

    #[test]
    fn an_image_in_dockers_format_says_in_its_labels_where_it_comes_from() {
        let labels = r#"{"dev.slipway.ref":"refs/heads/main","dev.slipway.build":"7","dev.slipway.rule":"main",
            "dev.slipway.pushed-at":"2020-10-15T08:25:00Z","org.opencontainers.image.revision":"d4ef"}"#;
        let config = |text: &str| serde_json::from_str::<ImageConfig>(text).unwrap();
        let with = config(&format!(r#"{{"os":"linux","architecture":"amd64","config":{{"Labels":{labels}}}}}"#));
        let root = single("a", DOCKER_MANIFEST, None).document;
        let origin = describe("sha256:a", &root, &[], Some(&with)).origin().unwrap();
        assert_eq!((origin.reference.as_str(), origin.commit.as_str()), ("refs/heads/main", "d4ef"));
        let without = config(r#"{"os":"linux","config":{"Labels":null}}"#);
        assert_eq!(describe("sha256:a", &root, &[], Some(&without)).origin(), None);
    }

    #[test]
    fn the_indexes_of_two_builders_become_one_with_platforms_and_attestations() {
        let annotations = Annotations::from([("platform_build".to_owned(), "all".to_owned())]);
        let index = compose(&[platform_build("a", "amd64"), platform_build("b", "arm64")], &annotations).unwrap();
        let digests: Vec<_> = index.children().map(|one| one.digest.as_str()).collect();
        assert_eq!(digests, ["sha256:a", "sha256:a-about", "sha256:b", "sha256:b-about"]);
        assert_eq!(index.annotations["platform_build"], "all");
        assert_eq!(index.annotations["kept"], "yes");
        let info = describe("sha256:x", &index, &[], None);
        assert_eq!(info.platforms.iter().map(Platform::to_string).collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
        let again = Document::parse(&serde_json::to_vec(&index).unwrap()).unwrap();
        assert_eq!(again, index);
    }

    #[test]
    fn two_builders_with_one_platform_are_refused() {
        let error =
            compose(&[platform_build("a", "amd64"), platform_build("b", "amd64")], &Annotations::new()).unwrap_err();
        assert!(error.to_string().contains("linux/amd64"), "{error}");
    }

    #[test]
    fn a_layer_that_two_platforms_share_is_counted_once() {
        let text = r#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:c","size":3},
            "layers":[{"mediaType":"l","digest":"sha256:l","size":10}]}"#;
        let manifest = Document::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.kind(), MANIFEST);
        let root = platform_build("a", "amd64").document;
        assert_eq!(describe("sha256:x", &root, &[manifest.clone(), manifest], None).size, 13);
    }

    #[test]
    fn fields_without_a_use_here_survive_reading_and_writing() {
        let text = r#"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"d","size":1,"artifactType":"t","data":"e30="}],"subject":{"x":1}}"#;
        let document = Document::parse(text.as_bytes()).unwrap();
        let written: Value = serde_json::from_slice(&serde_json::to_vec(&document).unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn an_artifact_says_what_it_is_and_an_image_is_none() {
        let of = |config: &str, more: &str| {
            let text = format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"sha256:c","size":3}},"layers":[]{more}}}"#
            );
            Document::parse(text.as_bytes()).unwrap().artifact().map(str::to_owned)
        };
        for config in IMAGE_CONFIGS {
            assert_eq!(of(config, ""), None);
        }
        let chart = "application/vnd.cncf.helm.config.v1+json";
        assert_eq!(of(chart, "").as_deref(), Some(chart));
        let said = r#","artifactType":"application/vnd.example""#;
        assert_eq!(of("application/vnd.oci.empty.v1+json", said).as_deref(), Some("application/vnd.example"));
        assert_eq!(platform_build("a", "amd64").document.artifact(), None);
    }

    #[test]
    fn labels_are_read_and_one_that_is_no_text_hides_nothing() {
        let text = r#"{"created":"2020-10-15T08:25:00Z","config":{"Labels":{"a":"b","c":1}}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.labels(), BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        assert!(config.created.is_some());
    }

    #[test]
    fn sizes_that_no_number_holds_together_are_the_largest_one() {
        let blob =
            |digit: &str| Descriptor::of("application/octet-stream", &format!("sha256:{}", digit.repeat(64)), u64::MAX);
        let mut manifest = Document::index(Vec::new(), Annotations::new());
        manifest.layers = Some(vec![blob("1"), blob("2")]);
        let root = Document::index(Vec::new(), Annotations::new());
        assert_eq!(describe("sha256:0", &root, &[manifest], None).size, u64::MAX);
    }
}
