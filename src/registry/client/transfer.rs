//! Blobs on their way from one registry to another: looked for, mounted, or streamed without being held in memory.

use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};

use super::error::RegistryError;
use super::session::{Call, Right};
use super::{Client, Kind, found};
use crate::domain::reason::{quoted, reason};
use crate::domain::reference;
use crate::registry::blob_reader::{BlobReader, SLOWEST};

/// Bytes of an answer that is only looked at for its status.
const LARGEST: usize = 64 * 1024;

/// How a blob comes into a repository.
#[derive(Debug)]
pub enum Begun {
    /// It is there: the registry took it from another of its repositories.
    Mounted,
    /// It is to be sent to this address.
    Upload(Url),
}

impl Client {
    /// The repository within the registry.
    pub fn path(&self) -> &str {
        self.session.path()
    }

    /// `host[:port]` of the registry.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The same client, whose uploads may take blobs from another repository of the registry.
    #[must_use]
    pub fn mounting_from(mut self, path: &str) -> Client {
        self.session.mounts_from = Some(path.to_owned());
        self
    }

    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn has_blob(&self, digest: &str) -> Result<bool, RegistryError> {
        let ask = async || self.session.send(&self.blob_call(Method::HEAD, digest, Right::Pull)?).await.map(drop);
        Ok(found(self.within(reason!("registry.look_up_blob", digest), ask).await)?.is_some())
    }

    /// A blob's content, to be read piece by piece.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn open_blob(&self, digest: &str) -> Result<Response, RegistryError> {
        let open = async || self.session.open(&self.blob_call(Method::GET, digest, Right::Pull)?).await;
        self.within(reason!("registry.read", reference = digest), open).await
    }

    /// Begins to bring a blob: from another repository of the registry, where the registry can do that.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn begin_blob(&self, digest: &str) -> Result<Begun, RegistryError> {
        let what = reason!("registry.send_blob", digest);
        if let Some(from) = &self.session.mounts_from {
            let mount = async || {
                let mut url = self.session.address("blobs/uploads/")?;
                url.query_pairs_mut().append_pair("mount", digest).append_pair("from", from);
                self.begin(url).await
            };
            // Whoever may not mount may well send.
            if let Ok(begun) = self.within(what.clone(), mount).await {
                return Ok(begun);
            }
        }
        let begin = async || self.begin(self.session.address("blobs/uploads/")?).await;
        self.within(what, begin).await
    }

    async fn begin(&self, url: Url) -> Result<Begun, Kind> {
        let call = self.call(Method::POST, url, Right::Push);
        let answer = self.session.send(&call).await?;
        if answer.status == StatusCode::CREATED {
            return Ok(Begun::Mounted);
        }
        let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match answer.url.join(location) {
            Ok(url) if self.session.is_own(&url) && !location.is_empty() => Ok(Begun::Upload(url)),
            // The proof of who we are would go to another server.
            _ => Err(Kind::Unusable(reason!("registry.upload_elsewhere", url = quoted(location)))),
        }
    }

    /// Sends a blob to where its upload was begun.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn send_blob(&self, at: Url, digest: &str, size: u64, blob: BlobReader) -> Result<(), RegistryError> {
        let what = reason!("registry.send_blob", digest);
        let mut url = at;
        url.query_pairs_mut().append_pair("digest", digest);
        let headers = HeaderMap::from_iter([
            (CONTENT_LENGTH, HeaderValue::from(size)),
            (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        ]);
        let limit = self.patience + Duration::from_secs(size / SLOWEST);
        let body = Body::wrap_stream(blob.stream());
        self.session.stream(Method::PUT, url, headers, body, limit).await.map_err(|kind| self.error(what, kind))
    }

    fn blob_call(&self, method: Method, digest: &str, right: Right) -> Result<Call, Kind> {
        reference::check_digest(digest).map_err(|error| Kind::Unusable(error.into()))?;
        Ok(self.call(method, self.session.address(&format!("blobs/{digest}"))?, right))
    }

    fn call(&self, method: Method, url: Url, right: Right) -> Call {
        Call { method, url, right, headers: HeaderMap::new(), body: Vec::new(), limit: LARGEST }
    }
}
