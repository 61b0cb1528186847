//! The images of a repository: its tags and what they name.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{ServiceError, ServiceErrorKind, registries};
use crate::domain::image_tag::TagInfo;
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::tag::CACHE_PREFIX;
use crate::registry::reference::check_tag;
use crate::registry::{ImageInfo, Kind, LayoutError, PublishError, Target, publish};
use crate::store::Home;
use crate::store::settings::Settings;

/// The longest time for looking at all tags of a repository; the names that are left are listed without their images.
const LIST: Duration = Duration::from_secs(120);
/// Characters of an odd name that are listed.
const SHOWN_NAME: usize = 128;

/// The names of a repository's tags; none where nothing was pushed yet.
///
/// # Errors
/// When the namespace is not there, or its registry can't be reached or read.
pub async fn tag_names(
    home: &Home,
    settings: &Settings,
    path: &RepositoryPath,
) -> Result<BTreeSet<String>, ServiceError> {
    names(&target(home, settings, path).await?).await
}

/// The tags of a repository with what they name, in the order of their names.
///
/// # Errors
/// When the namespace is not there, or its registry can't be reached or read.
pub async fn tags(home: &Home, settings: &Settings, path: &RepositoryPath) -> Result<Vec<TagInfo>, ServiceError> {
    let target = target(home, settings, path).await?;
    let mut tags = Vec::new();
    let until = Instant::now() + LIST;
    for name in names(&target).await? {
        if let Err(error) = check_tag(&name) {
            tags.push(TagInfo::unread(&target, &shown(&name), error.why));
            continue;
        }
        let Ok(inspected) = timeout_at(until, publish::inspect(&target, &name)).await else {
            let why = reason!("images.too_slow", limit = LIST);
            tags.push(TagInfo::unread(&target, &name, why));
            continue;
        };
        match inspected {
            Ok(info) => tags.push(TagInfo::new(&target, &name, info)),
            Err(error) if concerns_all(&error) => return Err(error.into()),
            Err(error) => match ServiceError::from(error) {
                // It went since it was listed.
                error if error.kind() == ServiceErrorKind::NotFound => {}
                error => tags.push(TagInfo::unread(&target, &name, error.into())),
            },
        }
    }
    Ok(tags)
}

/// Whether a failure to read one image is one to read any other as well.
fn concerns_all(error: &PublishError) -> bool {
    match error {
        PublishError::Registry(error) => matches!(error.kind, Kind::Network(_) | Kind::Credentials { .. }),
        PublishError::Layout(error) => matches!(error, LayoutError::Io { .. }),
        _ => false,
    }
}

/// A name that is no tag, fit for a line of a list.
fn shown(name: &str) -> String {
    name.escape_debug().take(SHOWN_NAME).collect()
}

impl TagInfo {
    fn new(target: &Target, tag: &str, info: ImageInfo) -> TagInfo {
        TagInfo {
            tag: tag.into(),
            name: format!("{}:{tag}", target.image()),
            origin: info.origin(),
            digest: info.digest,
            platforms: info.platforms.iter().map(ToString::to_string).collect(),
            size: info.size,
            created: info.created,
            problem: None,
        }
    }

    /// A tag of whose image nothing is known.
    fn unread(target: &Target, tag: &str, problem: Reason) -> TagInfo {
        TagInfo {
            tag: tag.into(),
            name: format!("{}:{tag}", target.image()),
            digest: String::new(),
            platforms: Vec::new(),
            size: 0,
            created: None,
            origin: None,
            problem: Some(problem),
        }
    }
}

/// One tag and what it names.
///
/// # Errors
/// When there is no such tag, or the registry can't be reached or read.
pub async fn tag(home: &Home, settings: &Settings, path: &RepositoryPath, tag: &str) -> Result<TagInfo, ServiceError> {
    let target = target(home, settings, path).await?;
    let info = publish::inspect(&target, tag).await?;
    Ok(TagInfo::new(&target, tag, info))
}

async fn target(home: &Home, settings: &Settings, path: &RepositoryPath) -> Result<Target, ServiceError> {
    let namespace = settings.namespaces.get(&path.namespace).ok_or_else(|| {
        let name = &path.namespace;
        ServiceError::missing(reason!("images.no_namespace", name = quoted(&name)))
    })?;
    Ok(registries::open(home, settings, &namespace.registry, path).await?)
}

async fn names(target: &Target) -> Result<BTreeSet<String>, ServiceError> {
    let names: Vec<String> = match target {
        Target::Local(layout) => {
            let tags = layout.tags().map_err(PublishError::from)?;
            tags.into_iter().map(|tag| tag.tag).collect()
        }
        Target::Remote(client) => client.tags().await.map_err(PublishError::from)?,
    };
    Ok(names.into_iter().filter(|name| !name.starts_with(CACHE_PREFIX)).collect())
}
