//! Tags of repositories and what they name.

use std::sync::Arc;

use super::{RequestContext, failed};
use crate::domain::image_tag::{MOST_TAGS, TagDetail, TagNames, TagPage};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::reason;
use crate::protocol::Error;
use crate::services::{images, registries, tag_detail};

/// The names of a repository's tags.
pub(super) async fn names(context: Arc<RequestContext>, path: RepositoryPath) -> Result<TagNames, Error> {
    super::settings::repository(&context.settings, &path)?;
    let work = async move || images::tag_names(&context.home, &context.settings, &path).await;
    Ok(registries::on_own_thread(work).await?)
}

/// What tags of a repository name.
pub(super) async fn page(
    context: Arc<RequestContext>,
    path: RepositoryPath,
    tags: Vec<String>,
    further: usize,
) -> Result<TagPage, Error> {
    super::settings::repository(&context.settings, &path)?;
    if tags.len() > MOST_TAGS {
        return Err(failed(reason!("request.many_tags", count = tags.len(), MOST_TAGS)));
    }
    let work = async move || {
        let RequestContext { home, settings, images, .. } = &*context;
        images::tags(home, settings, images, &path, &tags, further).await
    };
    Ok(registries::on_own_thread(work).await?)
}

/// Everything about one tag.
pub(super) async fn one(context: Arc<RequestContext>, path: RepositoryPath, tag: String) -> Result<TagDetail, Error> {
    let work = async move || tag_detail::tag(&context.home, &context.settings, &path, &tag).await;
    Ok(registries::on_own_thread(work).await?)
}
