//! Deleting one tag of a remote registry, and nothing else with it.
//!
//! Registries agree on deleting a digest, which takes every tag that names it; deleting a tag alone is optional. So the
//! tag is asked for first, and a digest is deleted only when no other tag names it.

use reqwest::Method;

use super::client::Client;
use super::error::{Kind, RegistryError, chain};
use super::{reference, token};

/// What is needed of a token to delete: some registries want leave to pull and push as well.
const ACTIONS: [&str; 3] = ["pull", "push", "delete"];

impl Client {
    /// Takes `tag` away. Other tags of the same image stay. Returns the digest that it named.
    ///
    /// # Errors
    /// See [`Kind`]: [`Kind::NotFound`] when there is no such tag, [`Kind::Refused`] with the registry's words when it
    /// deletes nothing, or deletes by digest only and other tags name the same image.
    pub async fn delete_tag(&self, tag: &str) -> Result<String, RegistryError> {
        let what = format!("delete tag {tag} of");
        reference::check_tag(tag).map_err(|error| self.error(&what, Kind::Unusable(error.to_string())))?;
        let digest = self.head(tag).await?.ok_or_else(|| self.error(&what, Kind::NotFound))?;
        match self.delete(&what, tag).await {
            Ok(()) => return Ok(digest),
            // 400 and 405 are what registries say that delete by digest only.
            Err(RegistryError { kind: Kind::Refused { status: Some(400 | 405), .. }, .. }) => {}
            Err(error) => return Err(error),
        }
        let mut others = Vec::new();
        for other in self.tags().await?.into_iter().filter(|other| other != tag) {
            if self.head(&other).await?.as_ref() == Some(&digest) {
                others.push(other);
            }
        }
        if !others.is_empty() {
            let message = format!(
                "it deletes whole images only, and {} would go with it; delete them first, or move them to another image",
                others.join(", ")
            );
            return Err(self.error(&what, Kind::Refused { status: None, message }));
        }
        self.delete(&what, &digest).await.map(|()| digest)
    }

    async fn delete(&self, what: &str, reference: &str) -> Result<(), RegistryError> {
        let address = self.address(&format!("{}/manifests/{reference}", self.path()));
        self.retrying(what, async || {
            let request = token::authorise(self, self.http.request(Method::DELETE, &address), &ACTIONS).await?;
            let answer = request.send().await.map_err(|error| Kind::Network(chain(&error)))?;
            let status = answer.status();
            if status.is_success() {
                return Ok(());
            }
            let body = answer.text().await.unwrap_or_default();
            Err(Kind::from_answer(status.as_u16(), &body, self.user()))
        })
        .await
    }
}
