//! What we may do in a repository, found out without changing anything: pages are read, an upload is begun and given up,
//! and an image that cannot be there is deleted.

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, Url};

use super::Client;
use super::error::{Kind, RegistryError};
use super::session::{Call, Right};
use crate::domain::reason::{Phrase, phrase};

/// Bytes of an answer that is only looked at for its status.
const LARGEST: usize = 4 * 1024 * 1024;
/// The digest of nothing that anybody pushes: no content is known that has it.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

impl Client {
    /// Asks at the registry's front door.
    ///
    /// # Errors
    /// See [`Kind`]: [`Kind::Credentials`] where it does not know us.
    pub async fn sign_in(&self) -> Result<(), RegistryError> {
        let call = || Ok(self.probe(Method::GET, self.session.front_door(), Right::SignIn));
        self.try_out(phrase!("verb.sign_in_to_the_registry_of"), call).await
    }

    /// Asks for tags. A repository that the first push makes is no refusal.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn try_pull(&self) -> Result<(), RegistryError> {
        let call = || Ok(self.probe(Method::GET, self.session.address("tags/list?n=1")?, Right::Pull));
        match self.try_out(phrase!("verb.read"), call).await {
            Err(RegistryError { kind: Kind::NotFound, .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Asks for tags, and says whether they may be read; none: the registry did not say, or there is no such repository.
    pub async fn can_pull(&self) -> Option<bool> {
        let call = || Ok(self.probe(Method::GET, self.session.address("tags/list?n=1")?, Right::Pull));
        match self.try_out(phrase!("verb.read"), call).await {
            Ok(()) => Some(true),
            Err(RegistryError { kind: Kind::Credentials { .. }, .. }) => Some(false),
            Err(_) => None,
        }
    }

    /// Begins an upload and gives it up.
    ///
    /// # Errors
    /// See [`Kind`]: [`Kind::NotFound`] where repositories are not made by a push.
    pub async fn try_push(&self) -> Result<(), RegistryError> {
        self.within(phrase!("verb.push_to"), async || {
            let begin = self.probe(Method::POST, self.session.address("blobs/uploads/")?, Right::Push);
            let begun = self.session.send(&begin).await?;
            let location = begun.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let upload = location.and_then(|location| begun.url.join(location).ok());
            if let Some(upload) = upload.filter(|upload| self.session.is_own(upload)) {
                // Registries forget what is not ended, too.
                let _ = self.session.send(&self.probe(Method::DELETE, upload, Right::Push)).await;
            }
            Ok(())
        })
        .await
    }

    /// Deletes what is not there.
    ///
    /// # Errors
    /// See [`Kind`]: [`Kind::Refused`] where the registry deletes nothing.
    pub async fn try_delete(&self) -> Result<(), RegistryError> {
        let call = || self.manifest_call(Method::DELETE, NO_DIGEST, Right::Delete);
        match self.try_out(phrase!("verb.delete_from"), call).await {
            Err(RegistryError { kind: Kind::NotFound, .. }) => Ok(()),
            outcome => outcome,
        }
    }

    async fn try_out(&self, what: Phrase, call: impl FnOnce() -> Result<Call, Kind>) -> Result<(), RegistryError> {
        self.within(what, async || self.session.send(&call()?).await.map(drop)).await
    }

    fn probe(&self, method: Method, url: Url, right: Right) -> Call {
        Call { method, url, right, headers: HeaderMap::new(), body: Vec::new(), limit: LARGEST }
    }
}
