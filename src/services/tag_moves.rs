//! Moving tags to other images of their repository: what a move would do, and the move.

use super::ServiceError;
use super::images::target;
use super::tag_history::Records;
use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;
use crate::domain::publish::Origin;
use crate::domain::reason::{output, quoted, reason};
use crate::domain::reference::{check_digest, check_tag};
use crate::domain::tag::Tag;
use crate::domain::tag_history::{HistoryQuery, MOST_EVENTS, MoveTo, TagMove, before, tag_of_rule};
use crate::registry::Target;
use crate::registry::tag_move::{self, Wanted, is_of_missing_image};
use crate::store::settings::Settings;
use crate::store::{Home, builds};

/// A move of a tag of a repository.
#[derive(Debug, Clone)]
pub struct Move {
    /// The repository.
    pub path: RepositoryPath,
    /// The tag.
    pub tag: String,
    /// The digest that it is to name.
    pub digest: String,
    /// The digest that it named when the move was decided; none: it was not there.
    pub before: Option<String>,
}

/// What a move of a tag would do; nothing is changed.
///
/// # Errors
/// When the tag or the image is not there, the tag is immutable, or the registry fails.
pub async fn plan(
    settings: &Settings,
    records: &Records<'_>,
    path: &RepositoryPath,
    tag: &str,
    to: &MoveTo,
) -> Result<TagMove, ServiceError> {
    check_name(tag)?;
    let target = target(records.home, settings, path).await?;
    let now = target.root(tag).await?;
    let before = now.as_ref().map(|root| root.digest.clone());
    let before_build = now.as_ref().and_then(|root| build_of(&root.document.annotations));
    let digest = match to {
        MoveTo::Digest(digest) => {
            check_digest(digest).map_err(|error| ServiceError::unusable(error.into()))?;
            digest.clone()
        }
        MoveTo::Tag(other) => {
            check_tag(other).map_err(|error| ServiceError::unusable(error.into()))?;
            target.root(other).await?.ok_or_else(|| target.missing(other))?.digest
        }
        MoveTo::Build(build) => of_build(records, path, tag, *build)?,
        MoveTo::Back => back(records, path, tag, before.as_deref())?,
    };
    let root = target.root(&digest).await?;
    let Some(root) = root else { return Err(image_gone(path, &digest)) };
    let wanted = wanted(settings, path, tag, &digest, before.clone());
    wanted.check(target.image(), before.as_deref())?;
    let build = build_of(&root.document.annotations);
    Ok(TagMove { tag: tag.to_owned(), before, before_build, digest, build })
}

/// Moves a tag, if it still names what it did when that was decided.
///
/// # Errors
/// When it does not, the image is not there, the tag is immutable, or the registry fails. The tag has not moved then.
pub async fn carry_out(home: &Home, settings: &Settings, wanted: &Move) -> Result<TagMove, ServiceError> {
    let Move { path, tag, digest, before } = wanted;
    check_name(tag)?;
    check_digest(digest).map_err(|error| ServiceError::unusable(error.into()))?;
    let target = target(home, settings, path).await?;
    let before_build = match before {
        Some(before) => build_at(&target, before).await,
        None => None,
    };
    let build = build_at(&target, digest).await;
    let outcome = tag_move::move_tag(&target, &self::wanted(settings, path, tag, digest, before.clone())).await;
    match outcome {
        Err(error) if is_of_missing_image(&error) => Err(image_gone(path, digest)),
        outcome => {
            outcome?;
            let (tag, before, digest) = (tag.clone(), before.clone(), digest.clone());
            Ok(TagMove { tag, before, before_build, digest, build })
        }
    }
}

/// Whether people may have a tag of that name.
pub(super) fn check_name(tag: &str) -> Result<(), ServiceError> {
    let unusable = |error: crate::domain::tag::TagError| ServiceError::unusable(error.into());
    Tag::parse(tag).map_err(unusable)?.check_free().map_err(unusable)
}

fn wanted(settings: &Settings, path: &RepositoryPath, tag: &str, digest: &str, before: Option<String>) -> Wanted {
    let immutable = settings.repositories.get(path).is_some_and(|repository| repository.immutable);
    Wanted { tag: tag.to_owned(), digest: digest.to_owned(), before, immutable }
}

fn image_gone(path: &RepositoryPath, digest: &str) -> ServiceError {
    ServiceError::missing(reason!("tag.image_gone", path, digest))
}

/// The build that made an image, as its annotations say.
pub(super) fn build_of(annotations: &crate::registry::image::Annotations) -> Option<BuildId> {
    Origin::from_annotations(annotations)?.build.map(BuildId)
}

/// The build that made the image with a digest, as far as that can be told.
async fn build_at(target: &Target, digest: &str) -> Option<BuildId> {
    let root = target.root(digest).await.ok().flatten()?;
    build_of(&root.document.annotations)
}

/// The image of a build: the lazily loadable one for the tags of those.
fn of_build(records: &Records<'_>, path: &RepositoryPath, tag: &str, id: BuildId) -> Result<String, ServiceError> {
    let build = match records.open.get(&id) {
        Some(build) => Some(build.clone()),
        None => builds::load(records.home, id).ok(),
    };
    let build = build.filter(|build| build.path() == *path);
    let build = build.ok_or_else(|| ServiceError::missing(reason!("tag.no_build", id, path)))?;
    let is_accelerated = |tag: &str| build.accelerate && tag_of_rule(tag) != tag;
    let wanted = is_accelerated(tag);
    let fits = |name: &str| name.rsplit_once(':').is_some_and(|(_, of)| is_accelerated(of) == wanted);
    let image = build.images.iter().find(|image| fits(&image.name));
    let image = image.ok_or_else(|| ServiceError::missing(reason!("tag.build_without_image", id)))?;
    Ok(image.digest.clone())
}

/// What a tag named before its image was published.
fn back(records: &Records<'_>, path: &RepositoryPath, tag: &str, now: Option<&str>) -> Result<String, ServiceError> {
    let (path, tag) = (path.clone(), tag.to_owned());
    let mut query = HistoryQuery { path, tag, at: None, before: None, limit: MOST_EVENTS };
    let mut events = Vec::new();
    loop {
        let page = records.history(&query).map_err(|error| {
            let reason = reason!("request.builds", error = output(&error));
            ServiceError::host(reason, error)
        })?;
        events.extend(page.events);
        if let Some(digest) = before(&events, now.unwrap_or_default()).and_then(|event| event.digest) {
            return Ok(digest);
        }
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Err(no_way_back(&query.path, &query.tag)),
        }
    }
}

fn no_way_back(path: &RepositoryPath, tag: &str) -> ServiceError {
    ServiceError::missing(reason!("tag.no_way_back", name = quoted(&format!("{path}:{tag}"))))
}
