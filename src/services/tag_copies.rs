//! Copying a tag to another repository of slipway's or of any registry.

use tokio::sync::watch;

use super::images::target;
use super::tag_moves::{build_of, check_name};
use super::{ServiceError, registries};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{quoted, reason};
use crate::domain::tag_copy::{TagCopy, names_a_registry, split};
use crate::registry::copy::{Terms, copy};
use crate::registry::tag_move::{Wanted, put_image};
use crate::registry::{ImageName, Target};
use crate::store::Home;
use crate::store::settings::Settings;

/// A copy that is done, and the tag of slipway's that it moved.
pub struct Copied {
    /// The copy.
    pub copy: TagCopy,
    /// The repository and the tag, where it is one of slipway's.
    pub moved: Option<(RepositoryPath, String)>,
}

/// Where a copy goes.
struct Goal {
    target: Target,
    repository: Option<RepositoryPath>,
    immutable: bool,
}

/// Copies a tag of a repository to `to`: `NAMESPACE/REPOSITORY[:TAG]` of slipway's, or `HOST/REPOSITORY[:TAG]`.
///
/// # Errors
/// When the tag is not there, the other tag is immutable, a registry fails, or `stopped` is true before all is sent. The
/// other tag has not moved then.
pub async fn copy_tag(
    home: &Home,
    settings: &Settings,
    path: &RepositoryPath,
    tag: &str,
    to: &str,
    stopped: watch::Receiver<bool>,
) -> Result<Copied, ServiceError> {
    let (name, to_tag) = split(to);
    let to_tag = to_tag.unwrap_or(tag);
    check_name(to_tag)?;
    let from = target(home, settings, path).await?;
    let Goal { target: to, repository, immutable } = goal(home, settings, path, name).await?;
    let to = mounting(&from, to);
    let root = from.raw(tag).await?;
    let before = to.root(to_tag).await?.map(|there| there.digest);
    let wanted = Wanted { tag: to_tag.to_owned(), digest: root.digest.clone(), before: before.clone(), immutable };
    // What is refused is not sent first.
    wanted.check(to.image(), before.as_deref())?;
    let build = build_of(&from.parse(&root)?.annotations);
    let held = match &to {
        // What has no tag yet must not be pruned.
        Target::Local(layout) => Some(layout.hold().map_err(crate::registry::PublishError::from)?),
        Target::Remote(_) => None,
    };
    let terms = Terms { min_free: settings.config.pool.min_free.0, stopped };
    let transfer = copy(&from, &to, &root, terms).await?;
    put_image(&to, &wanted, &root).await?;
    drop(held);
    let copy = TagCopy {
        from: format!("{path}:{tag}"),
        to: format!("{}:{to_tag}", to.image()),
        digest: root.digest,
        before,
        build,
        transfer,
    };
    Ok(Copied { copy, moved: repository.map(|repository| (repository, to_tag.to_owned())) })
}

async fn goal(home: &Home, settings: &Settings, path: &RepositoryPath, name: &str) -> Result<Goal, ServiceError> {
    let known = name.parse::<RepositoryPath>().ok().and_then(|path| Some((settings.repositories.get(&path)?, path)));
    if let Some((repository, path)) = known {
        let target = target(home, settings, &path).await?;
        return Ok(Goal { target, immutable: repository.immutable, repository: Some(path) });
    }
    if !names_a_registry(name) {
        return Err(ServiceError::missing(reason!("tag.no_such_target", name = quoted(name))));
    }
    let image = ImageName::remote(name).map_err(|error| ServiceError::unusable(error.into()))?;
    // One of this home, by the name that its registry has for it.
    if let Some((_, path, repository)) = registries::published(settings).find(|(published, ..)| *published == image) {
        let target = target(home, settings, path).await?;
        return Ok(Goal { target, immutable: repository.immutable, repository: Some(path.clone()) });
    }
    let target = registries::open_image(home, settings, &path.namespace, &image).await?;
    Ok(Goal { target, repository: None, immutable: false })
}

/// The same target, which takes blobs from the source where both are of one registry.
fn mounting(from: &Target, to: Target) -> Target {
    match (from, to) {
        (Target::Remote(from), Target::Remote(to)) if from.host() == to.host() && from.path() != to.path() => {
            Target::from((*to).mounting_from(from.path()))
        }
        (_, to) => to,
    }
}
