//! What requests are answered from, and how answers are made.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::logins::Logins;
use crate::domain::build::{Build, BuildId};
use crate::domain::reason::Reason;
use crate::pool::tasks::task_failed;
use crate::protocol::{Error, ErrorKind, Reply};
use crate::services::image_cache::ImageCache;
use crate::store::settings::Settings;
use crate::store::{Catalog, Home};

/// What a request is answered by: a snapshot, taken when the request came.
pub(in crate::pool) struct RequestContext {
    pub home: Home,
    pub settings: Arc<Settings>,
    /// Which settings they are: see [`crate::protocol::SettingsSnapshot`].
    pub stamp: u64,
    /// The builds that are not final, as the pool has them.
    pub open: BTreeMap<BuildId, Build>,
    pub catalog: Arc<Catalog>,
    pub logins: Arc<Logins>,
    /// Images that were read before.
    pub images: Arc<ImageCache>,
}

/// An answer with what comes along.
#[derive(Debug)]
pub(in crate::pool) struct Answered {
    pub reply: Reply,
    /// Open files that are handed over, where the stream is a unix socket.
    pub files: Vec<OwnedFd>,
    /// As many bytes as [`Reply::following_bytes`] says.
    pub bytes: Vec<u8>,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Answered {
        Answered { reply, files: Vec::new(), bytes: Vec::new() }
    }
}

/// A request that failed.
pub(super) fn failed(why: impl Into<Reason>) -> Error {
    Error::new(ErrorKind::Failed, why)
}

/// Runs file work off the threads of the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(failed(task_failed(&error))))
}
