//! Tags of repositories and what they name.

use std::sync::Arc;

use super::RequestContext;
use crate::domain::image_tag::TagInfo;
use crate::domain::name::RepositoryPath;
use crate::protocol::Error;
use crate::services::{images, registries};

/// The tags of a repository with what they name.
pub(super) async fn list(context: Arc<RequestContext>, path: RepositoryPath) -> Result<Vec<TagInfo>, Error> {
    super::settings::repository(&context.settings, &path)?;
    let work = async move || images::tags(&context.home, &context.settings, &path).await;
    Ok(registries::on_own_thread(work).await?)
}

/// One tag and what it names.
pub(super) async fn one(context: Arc<RequestContext>, path: RepositoryPath, tag: String) -> Result<TagInfo, Error> {
    let work = async move || images::tag(&context.home, &context.settings, &path, &tag).await;
    Ok(registries::on_own_thread(work).await?)
}
