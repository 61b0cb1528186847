//! Deleting one tag of a remote registry, and nothing else with it.
//!
//! Registries agree on deleting a digest, which takes every tag that names it; deleting a tag alone is optional. So the
//! tag is asked for first, and a digest is deleted only when no other tag names it.

use reqwest::Method;

use super::Client;
use super::error::{Kind, RegistryError};
use super::session::Right;
use crate::domain::reason::reason;
use crate::domain::reference;

impl Client {
    /// Takes `tag` away. Other tags of the same image stay. Returns the digest that it named.
    ///
    /// # Errors
    /// See [`Kind`]: [`Kind::NotFound`] when there is no such tag, [`Kind::Refused`] with the registry's words when it
    /// deletes nothing, or deletes by digest only and other tags name the same image.
    pub async fn delete_tag(&self, tag: &str) -> Result<String, RegistryError> {
        self.within(reason!("registry.delete_tag", tag), async || self.take_away(tag).await).await
    }

    async fn take_away(&self, tag: &str) -> Result<String, Kind> {
        reference::check_tag(tag).map_err(|error| Kind::Unusable(error.into()))?;
        let digest = self.look_up(tag).await?;
        match self.delete(tag).await {
            Ok(()) => return Ok(digest),
            // 400 and 405 are what registries say that delete by digest only.
            Err(Kind::Refused { status: Some(400 | 405), .. }) => {}
            Err(kind) => return Err(kind),
        }
        let mut others = Vec::new();
        // A name that is no tag can't be looked up, and is none that a build moves.
        for other in self.list().await?.into_iter().filter(|other| other != tag && reference::check_tag(other).is_ok())
        {
            match self.look_up(&other).await {
                Ok(there) if there == digest => others.push(other),
                Ok(_) | Err(Kind::NotFound) => {}
                Err(kind) => return Err(kind),
            }
        }
        if !others.is_empty() {
            let message = reason!("registry.whole_images_only", others);
            return Err(Kind::Refused { status: None, message });
        }
        self.delete(&digest).await.map(|()| digest)
    }

    async fn delete(&self, reference: &str) -> Result<(), Kind> {
        let call = self.manifest_call(Method::DELETE, reference, Right::Delete)?;
        self.session.send(&call).await.map(drop)
    }
}
