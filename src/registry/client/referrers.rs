//! What refers to an image: signatures, attestations and the like, where the registry keeps a list of them.

use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};

use super::error::RegistryError;
use super::session::{Call, Right};
use super::{Client, Kind, found};
use crate::bounded;
use crate::domain::reason::reason;
use crate::domain::reference;
use crate::registry::image::{Descriptor, Document, INDEX};

/// Bytes of a list.
const LARGEST: usize = 4 * 1024 * 1024;

impl Client {
    /// What refers to the manifest with the digest `digest`; none where the registry keeps no such lists.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn referrers(&self, digest: &str) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let ask = async || {
            reference::check_digest(digest).map_err(|error| Kind::Unusable(error.into()))?;
            let call = Call {
                method: Method::GET,
                url: self.session.address(&format!("referrers/{digest}"))?,
                right: Right::Pull,
                headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(INDEX))]),
                body: Vec::new(),
                limit: LARGEST,
            };
            let answer = match self.session.send(&call).await {
                // What registries say that do not know the question.
                Err(Kind::Refused { status: Some(400 | 405), .. }) => return Err(Kind::NotFound),
                answer => answer?,
            };
            let list: Document = bounded::json(&answer.body)
                .map_err(|error| Kind::Unusable(reason!("registry.no_manifest", why = error)))?;
            Ok(list.manifests.unwrap_or_default())
        };
        found(self.within(reason!("registry.read_referrers", digest), ask).await)
    }
}
