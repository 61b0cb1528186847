//! Manifests and indexes: what tags name, checked against their digests, and moved.

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha512};

use super::error::{Kind, RegistryError};
use super::raw::Raw;
use super::session::{Call, Right};
use super::{Client, found};
use crate::bounded;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::reference;
use crate::registry::image::{self, Document, Documents, ImageConfig, ImageInfo};

/// Bytes of a manifest or an index: the limit that registries have themselves.
const LARGEST: usize = 4 * 1024 * 1024;
/// Manifests of one index that are looked at.
const MOST_CHILDREN: usize = 1000;
/// Bytes of all manifests of one index.
pub(in crate::registry) const LARGEST_IMAGE: usize = 16 * 1024 * 1024;
/// The documents that a tag may name.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                        application/vnd.docker.distribution.manifest.list.v2+json, \
                        application/vnd.docker.distribution.manifest.v2+json";
/// The header in which a registry says what digest a reference has.
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Client {
    /// The digest that `tag` names, or nothing when there is no such tag or repository.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn head(&self, tag: &str) -> Result<Option<String>, RegistryError> {
        let what = reason!("registry.look_up", tag);
        found(self.within(what, async || self.look_up(tag).await).await)
    }

    /// The document that `reference` (a tag or a digest) names, or nothing when there is none.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn manifest(&self, reference: &str) -> Result<Option<Raw>, RegistryError> {
        let what = reason!("registry.read", reference);
        let read = async || self.read(reference).await.map(|(raw, _)| raw);
        found(self.within(what, read).await)
    }

    /// The document that `tag` names, or nothing when there is none. Some registries (Artifactory) forbid to read a tag that
    /// is not there: the list of tags tells.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn tagged(&self, tag: &str) -> Result<Option<Raw>, RegistryError> {
        let read = self.manifest(tag).await;
        let is_forbidden = matches!(&read, Err(error) if matches!(error.kind, Kind::Credentials { .. }));
        if is_forbidden && self.tags().await.is_ok_and(|tags| !tags.iter().any(|there| there == tag)) {
            return Ok(None);
        }
        read
    }

    /// Lets `reference` (a tag, or the content's own digest) name the document `content`.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn put(&self, reference: &str, content: &[u8], media_type: &str) -> Result<(), RegistryError> {
        let what = if reference.contains(':') {
            reason!("registry.push_index")
        } else {
            reason!("registry.move_tag", reference)
        };
        let put = async || {
            let media_type = HeaderValue::from_str(media_type)
                .map_err(|_| Kind::Unusable(reason!("registry.media_type", name = quoted(media_type))))?;
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
            let call = self.manifest_call(Method::PUT, reference, Right::Push)?;
            self.session.send(&Call { headers, body: content.to_vec(), ..call }).await.map(drop)
        };
        self.within(what, put).await
    }

    /// What there is to say about the image that `reference` (a tag or a digest) names.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn inspect(&self, reference: &str) -> Result<ImageInfo, RegistryError> {
        let read = async || {
            let (raw, root) = self.read(reference).await?;
            Ok(self.complete(raw.digest, root).await?.info())
        };
        self.within(reason!("registry.read", reference), read).await
    }

    /// The documents of an image whose index or manifest is `root`.
    ///
    /// # Errors
    /// See [`Kind`]; [`Kind::Unusable`] where one that the index names is gone.
    pub async fn documents(&self, digest: &str, root: Document) -> Result<Documents, RegistryError> {
        let read = async || self.complete(digest.to_owned(), root).await;
        self.within(reason!("registry.read", reference = digest), read).await
    }

    async fn complete(&self, digest: String, root: Document) -> Result<Documents, Kind> {
        let mut manifests = Vec::new();
        if root.manifests.is_some() {
            let mut bytes = 0;
            for child in root.runnable() {
                let (raw, manifest) = self.read(&child.digest).await.map_err(|kind| lost(kind, &child.digest))?;
                bytes += raw.content.len();
                if bytes > LARGEST_IMAGE {
                    return Err(Kind::Unusable(reason!("registry.large_image", most = LARGEST_IMAGE)));
                }
                manifests.push(manifest);
            }
        } else {
            manifests.push(root.clone());
        }
        let config = match manifests.iter().find_map(|manifest| manifest.config.as_ref()) {
            Some(config) => self.config(config).await.map_err(|kind| lost(kind, &config.digest))?,
            None => None,
        };
        // A configuration that does not parse is that of an artifact and not of an image: there is nothing to tell.
        let config = config.and_then(|raw| serde_json::from_slice::<ImageConfig>(&raw).ok());
        Ok(Documents { digest, root, manifests, config })
    }

    pub(super) async fn look_up(&self, tag: &str) -> Result<String, Kind> {
        let call = self.manifest_call(Method::HEAD, tag, Right::Pull)?;
        let told = match self.session.send(&call).await {
            Ok(answer) => answer.headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()).map(str::to_owned),
            // A registry that does not know the method.
            Err(Kind::Refused { status: Some(405 | 501), .. }) => None,
            Err(kind) => return Err(kind),
        };
        match told {
            Some(digest) if reference::check_digest(&digest).is_ok() => Ok(digest),
            _ => Ok(self.read(tag).await?.0.digest),
        }
    }

    /// A document, checked: it has the digest that it was asked by, or that the registry says that it has.
    async fn read(&self, reference: &str) -> Result<(Raw, Document), Kind> {
        let call = self.manifest_call(Method::GET, reference, Right::Pull)?;
        let answer = self.session.send(&call).await?;
        let told = answer.headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        let expected = if reference.contains(':') { Some(reference) } else { told };
        let digest = match expected {
            Some(digest) if reference::check_digest(digest).is_ok() => {
                check(&answer.body, digest).map_err(|kind| of_old_schema(kind, &answer.body))?;
                digest.to_owned()
            }
            _ => image::sha256(&answer.body),
        };
        let no_manifest = |why: Reason| Kind::Unusable(reason!("registry.no_manifest", why));
        let document: Document = bounded::json(&answer.body).map_err(|error| no_manifest(error.into()))?;
        if document.schema_version < 2 {
            return Err(Kind::Unusable(reason!("registry.schema_1")));
        }
        if let Some(children) = document.manifests.as_ref().filter(|children| children.len() > MOST_CHILDREN) {
            return Err(no_manifest(reason!("registry.many_manifests", count = children.len(), most = MOST_CHILDREN)));
        }
        Ok((Raw { media_type: document.kind().to_owned(), content: answer.body, digest }, document))
    }

    pub(super) fn manifest_call(&self, method: Method, reference: &str, right: Right) -> Result<Call, Kind> {
        let check = if reference.contains(':') { reference::check_digest } else { reference::check_tag };
        check(reference).map_err(|error| Kind::Unusable(error.into()))?;
        Ok(Call {
            method,
            url: self.session.address(&format!("manifests/{reference}"))?,
            right,
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]),
            body: Vec::new(),
            limit: LARGEST,
        })
    }
}

/// What a manifest of an index that is gone means: the image is there, and not whole.
fn lost(kind: Kind, digest: &str) -> Kind {
    match kind {
        Kind::NotFound => Kind::Unusable(reason!("registry.part_lost", digest)),
        kind => kind,
    }
}

/// Images of Docker before 1.10 have a digest that is not of all their bytes.
fn of_old_schema(kind: Kind, body: &[u8]) -> Kind {
    match Document::parse(body) {
        Ok(document) if document.schema_version < 2 => Kind::Unusable(reason!("registry.schema_1")),
        _ => kind,
    }
}

/// Whether content has a digest, which must be well formed.
pub(super) fn check(content: &[u8], digest: &str) -> Result<(), Kind> {
    let actual = match digest.starts_with("sha512:") {
        true => format!("sha512:{}", hex::encode(Sha512::digest(content))),
        false => image::sha256(content),
    };
    if actual == digest {
        return Ok(());
    }
    Err(Kind::Unusable(reason!("registry.other_digest", digest, actual)))
}
