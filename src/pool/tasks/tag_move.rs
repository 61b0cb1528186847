//! Moving tags, and recording what people did to tags.

use chrono::Utc;

use super::{TaskContext, blocking};
use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;
use crate::domain::requester::Requester;
use crate::domain::tag_copy::TagCopy;
use crate::domain::tag_history::{TagAction, TagChange, TagMove};
use crate::protocol::Error;
use crate::services::registries;
use crate::services::tag_copies::{self, Copied};
use crate::services::tag_moves::{self, Move};
use crate::store::tag_changes;

/// Lets a tag name another image of its repository, and records that.
pub(in crate::pool) async fn move_tag(context: &TaskContext, wanted: Move, by: Requester) -> Result<TagMove, Error> {
    let (home, settings, path) = (context.home.clone(), context.settings(), wanted.path.clone());
    let work = async move || tag_moves::carry_out(&home, &settings, &wanted).await;
    let moved = registries::on_own_thread(work).await?;
    if !moved.is_done() {
        let done = Done {
            action: TagAction::Move,
            digest: Some(moved.digest.clone()),
            before: moved.before.clone(),
            build: moved.build,
            from: None,
        };
        record(context, &path, &moved.tag, by, done).await;
    }
    Ok(moved)
}

/// Copies a tag with its image to another repository, and records that where it is one of slipway's.
pub(in crate::pool) async fn copy_tag(
    context: &TaskContext,
    path: RepositoryPath,
    tag: String,
    to: String,
    by: Requester,
) -> Result<TagCopy, Error> {
    let (home, settings) = (context.home.clone(), context.settings());
    let stopped = context.stopping.clone();
    let work = async move || tag_copies::copy_tag(&home, &settings, &path, &tag, &to, stopped).await;
    let Copied { copy, moved } = registries::on_own_thread(work).await?;
    if let Some((repository, tag)) = moved.filter(|_| copy.before.as_ref() != Some(&copy.digest)) {
        let done = Done {
            action: TagAction::Copy,
            digest: Some(copy.digest.clone()),
            before: copy.before.clone(),
            build: copy.build,
            from: Some(copy.from.clone()),
        };
        record(context, &repository, &tag, by, done).await;
    }
    Ok(copy)
}

/// What was done to a tag.
pub(super) struct Done {
    pub action: TagAction,
    pub digest: Option<String>,
    pub before: Option<String>,
    pub build: Option<BuildId>,
    pub from: Option<String>,
}

/// Records what was done to a tag. It is done, whether or not it can be recorded.
pub(super) async fn record(context: &TaskContext, path: &RepositoryPath, tag: &str, by: Requester, done: Done) {
    let Done { action, digest, before, build, from } = done;
    let change = TagChange { id: 0, at: Utc::now(), by, action, digest, before, build, from };
    let (home, path, tag) = (context.home.clone(), path.clone(), tag.to_owned());
    let work = move || {
        if let Err(error) = tag_changes::record(&home, &path, &tag, change) {
            tracing::warn!("the change of {path}:{tag} is not in its history: {error}");
        }
        Ok(())
    };
    // It can't fail.
    let _ = blocking(work).await;
}
