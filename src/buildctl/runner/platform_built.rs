//! The outcome of a platform build, which the publication takes over.

use crate::domain::failure::Failure;

/// What a platform build brought: digests of indexes that hold its platforms.
pub(super) struct PlatformBuilt {
    pub digest: String,
    /// The lazily loadable image, where one is wanted, or why it was not made.
    pub accelerated: Option<Result<String, Failure>>,
    /// Tags that were needed on the way, and are to go once the image has its own.
    pub temporary_tags: Vec<String>,
}
