//! Reading images in either kind of registry.

use super::client::Kind;
use super::image::{Descriptor, Document, Documents};
use super::publish::{PublishError, Target, blocking};
use crate::registry::LayoutError;

/// An index or a manifest, and its digest.
#[derive(Debug, Clone)]
pub struct Root {
    /// The digest.
    pub digest: String,
    /// The document.
    pub document: Document,
}

impl Target {
    /// The names of all tags, in no order.
    ///
    /// # Errors
    /// When the registry or the layout's index can't be read.
    pub async fn tag_names(&self) -> Result<Vec<String>, PublishError> {
        match self {
            Target::Local(layout) => Ok(layout.tags()?.into_iter().map(|tag| tag.tag).collect()),
            Target::Remote(client) => Ok(client.tags().await?),
        }
    }

    /// The document that `reference` (a tag or a digest) names, or nothing when there is none.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn root(&self, reference: &str) -> Result<Option<Root>, PublishError> {
        match self {
            Target::Local(layout) => {
                let (layout, reference) = (layout.clone(), reference.to_owned());
                blocking(move || {
                    let digest = match reference.contains(':') {
                        true => Some(reference),
                        false => layout.resolve(&reference)?,
                    };
                    let Some(digest) = digest else { return Ok(None) };
                    match layout.document(&digest) {
                        Ok(document) => Ok(Some(Root { digest, document })),
                        Err(LayoutError::Missing { .. }) => Ok(None),
                        Err(error) => Err(error.into()),
                    }
                })
                .await
            }
            Target::Remote(client) => {
                let Some(raw) = client.manifest(reference).await? else { return Ok(None) };
                let unreadable = |error: serde_json::Error| client.unreadable(reference, &error);
                let document = raw.document().map_err(unreadable)?;
                Ok(Some(Root { digest: raw.digest, document }))
            }
        }
    }

    /// The documents of the image whose index or manifest is `root`.
    ///
    /// # Errors
    /// When one of them is gone or can't be read.
    pub async fn documents(&self, root: Root) -> Result<Documents, PublishError> {
        match self {
            Target::Local(layout) => {
                let layout = layout.clone();
                blocking(move || Ok(layout.documents(&root.digest)?)).await
            }
            Target::Remote(client) => Ok(client.documents(&root.digest, root.document).await?),
        }
    }

    /// What refers to a manifest; none where no list is kept but that of a tag.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub async fn referrers(&self, digest: &str) -> Result<Option<Vec<Descriptor>>, PublishError> {
        match self {
            Target::Local(_) => Ok(None),
            Target::Remote(client) => Ok(client.referrers(digest).await?),
        }
    }

    /// What it means that there is no such tag or image.
    pub fn missing(&self, reference: &str) -> PublishError {
        match self {
            Target::Local(layout) => layout.missing(reference).into(),
            Target::Remote(client) => client.missing(reference).into(),
        }
    }
}

impl PublishError {
    /// Whether a failure to read one image is one to read any other as well.
    pub fn concerns_all(&self) -> bool {
        match self {
            PublishError::Registry(error) => matches!(error.kind, Kind::Network(_) | Kind::Credentials { .. }),
            PublishError::Layout(error) => matches!(error, LayoutError::Io { .. }),
            _ => false,
        }
    }
}
