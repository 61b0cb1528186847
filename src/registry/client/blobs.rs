//! The configurations of images. Layers never pass through here: BuildKit pushes them.

use reqwest::Method;
use reqwest::header::HeaderMap;

use super::Client;
use super::error::Kind;
use super::manifests::check;
use super::session::{Call, Right};
use crate::domain::reference;
use crate::registry::image::Descriptor;

/// Bytes of a configuration; one that claims to be larger is not read.
const LARGEST_CONFIG: u64 = 8 * 1024 * 1024;

impl Client {
    /// The content of a configuration; none for one that is too large to be an image's.
    pub(super) async fn config(&self, config: &Descriptor) -> Result<Option<Vec<u8>>, Kind> {
        if config.size > LARGEST_CONFIG {
            return Ok(None);
        }
        reference::check_digest(&config.digest).map_err(|error| Kind::Unusable(error.into()))?;
        let call = Call {
            method: Method::GET,
            url: self.session.address(&format!("blobs/{}", config.digest))?,
            right: Right::Pull,
            headers: HeaderMap::new(),
            body: Vec::new(),
            limit: config.size as usize,
        };
        let answer = self.session.send(&call).await?;
        check(&answer.body, &config.digest)?;
        Ok(Some(answer.body))
    }
}
