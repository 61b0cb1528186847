//! Tags of repositories and what they name.

use std::sync::Arc;

use super::{RequestContext, blocking, failed};
use crate::domain::image_tag::{MOST_TAGS, TagDetail, TagNames, TagPage};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::reason;
use crate::domain::reference::check_tag;
use crate::domain::tag_history::{HistoryQuery, MoveTo, TagHistory, TagMove};
use crate::protocol::{Error, ErrorKind};
use crate::services::tag_history::Records;
use crate::services::{images, registries, tag_detail, tag_moves};

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
    let (asked, of) = (context.clone(), (path.clone(), tag.clone()));
    let work = async move || tag_detail::tag(&asked.home, &asked.settings, &of.0, &of.1).await;
    let mut detail = registries::on_own_thread(work).await?;
    let query = HistoryQuery { path, tag, at: None, before: None, limit: 1 };
    let newest = history(context, query).await?.events.into_iter().next();
    if let Some(event) = newest.filter(|event| event.digest.as_ref() == Some(&detail.info.digest)) {
        detail.moved = Some(event.at);
        // An image that its commit alone makes names no build.
        if let Some(origin) = &mut detail.info.origin {
            origin.build = origin.build.or(event.build.map(|build| build.0));
        }
    }
    Ok(detail)
}

/// A part of a tag's history.
pub(super) async fn history(context: Arc<RequestContext>, query: HistoryQuery) -> Result<TagHistory, Error> {
    check_tag(&query.tag).map_err(|error| Error::new(ErrorKind::Usage, error))?;
    let cannot = |error: std::io::Error| failed(reason!("request.builds", error));
    blocking(move || records(&context).history(&query).map_err(cannot)).await
}

/// What a move of a tag would do.
pub(super) async fn plan_move(
    context: Arc<RequestContext>,
    path: RepositoryPath,
    tag: String,
    to: MoveTo,
) -> Result<TagMove, Error> {
    super::settings::repository(&context.settings, &path)?;
    let work = async move || tag_moves::plan(&context.settings, &records(&context), &path, &tag, &to).await;
    Ok(registries::on_own_thread(work).await?)
}

fn records(context: &RequestContext) -> Records<'_> {
    Records { home: &context.home, catalog: &context.catalog, open: &context.open }
}
