//! Images that were read before: what a digest names never changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::image_tag::TagInfo;

/// Images that are remembered; then all are read again.
const MOST: usize = 10_000;

/// What is known of images, by repository and digest.
#[derive(Debug, Default)]
pub struct ImageCache {
    known: Mutex<BTreeMap<(String, String), TagInfo>>,
}

impl ImageCache {
    /// What is known of an image, as that of the tag `tag`.
    pub(super) fn get(&self, image: &str, digest: &str, tag: &str) -> Option<TagInfo> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let info = known.get(&(image.to_owned(), digest.to_owned()))?.clone();
        let TagInfo { tag, name, .. } = TagInfo::named(image, tag);
        Some(TagInfo { tag, name, ..info })
    }

    /// Remembers an image of which everything is known.
    pub(super) fn put(&self, image: &str, info: &TagInfo) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((image.to_owned(), info.digest.clone()), info.clone());
    }
}
