//! Deleting tags.

use super::tag_move::{Done, record};
use super::{TaskContext, blocking, failed};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{quoted, reason};
use crate::domain::requester::Requester;
use crate::domain::tag_history::TagAction;
use crate::protocol::{Error, ErrorKind};
use crate::registry::{self, Layout, LayoutError, Target};
use crate::services::registries;

/// Removes a tag; in the local registry, what no tag names any more is freed.
pub(in crate::pool) async fn delete_tag(
    context: &TaskContext,
    path: &RepositoryPath,
    tag: &str,
    by: Requester,
) -> Result<(), Error> {
    let (digest, layout) = take_away(context, path, tag).await?;
    let done = Done { action: TagAction::Delete, digest: None, before: Some(digest), build: None, from: None };
    record(context, path, tag, by, done).await;
    // The tag is gone, whether or not its image can be freed.
    match layout {
        Some(layout) => blocking(move || layout.prune().map_err(failed)).await.map(drop),
        None => Ok(()),
    }
}

/// Removes a tag; the digest that it named, and where its image may have to be freed.
async fn take_away(context: &TaskContext, path: &RepositoryPath, tag: &str) -> Result<(String, Option<Layout>), Error> {
    let settings = context.settings();
    let namespace = settings.namespaces.get(&path.namespace).cloned();
    let namespace = namespace
        .ok_or_else(|| Error::new(ErrorKind::NotFound, reason!("namespace.unknown", name = quoted(&path.namespace))))?;
    match registries::open(&context.home, &settings, &namespace.registry, path).await.map_err(failed)? {
        Target::Local(layout) => {
            let tag = tag.to_owned();
            let freed = layout.clone();
            let digest = blocking(move || layout.delete_tag(&tag).map_err(not_found_or_failed)).await?;
            Ok((digest, Some(freed)))
        }
        Target::Remote(client) => {
            let tag = tag.to_owned();
            match registries::on_own_thread(async move || client.delete_tag(&tag).await).await {
                Ok(digest) => Ok((digest, None)),
                Err(error) if error.kind == registry::Kind::NotFound => Err(Error::new(ErrorKind::NotFound, error)),
                Err(error) => Err(failed(error)),
            }
        }
    }
}

fn not_found_or_failed(error: LayoutError) -> Error {
    match error {
        LayoutError::NoTag { .. } => Error::new(ErrorKind::NotFound, error),
        error => failed(error),
    }
}
