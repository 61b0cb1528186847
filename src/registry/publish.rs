//! Giving a finished image its names: check every tag, then move them in order, in either kind of registry.
//!
//! Called when `buildctl` has brought the content; before any work, [`check`] tells which tags are there already.

use super::client::error::{Kind, RegistryError};
use super::client::{Client, Raw};
use super::image::{self, Annotations, ComposeError, ImageInfo, Part};
use super::layout::{Layout, LayoutError};
use crate::domain::publish::{self, Decision, Existing, New, Origin};
use crate::domain::reason::{AsReason, Reason, display_as_reason, phrase, reason};

/// Where a repository's images are.
#[derive(Debug)]
pub enum Target {
    /// An OCI layout directory of this machine.
    Local(Layout),
    /// A repository of a registry.
    Remote(Box<Client>),
}

/// An image whose content is at its target already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The digest of the index or manifest that each builder made, in the order of the builders; usually one.
    pub platform_builds: Vec<String>,
    /// The push that it was built from.
    pub origin: Origin,
    /// The annotations of an index that is made of what several builders made.
    pub annotations: Annotations,
}

/// What became of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is new, or names the new image now.
    Moved,
    /// It named this very image before.
    AlreadyPublished,
}

/// A tag that names the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The tag.
    pub tag: String,
    /// The digest of the image's index.
    pub digest: String,
    /// Whether that is news.
    pub outcome: Outcome,
    /// The origin of the image that it named before, where that was another one and says it.
    pub before: Option<Origin>,
}

/// A tag that is there before a build begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The tag.
    pub tag: String,
    /// The digest that it names.
    pub digest: String,
    /// Whether it is immutable: a build that makes another image can't have it.
    pub immutable: bool,
}

/// Why tags were not moved.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A tag of an immutable repository names another image.
    Immutable {
        /// The image's name.
        image: String,
        /// The tag.
        tag: String,
        /// The digest that it names.
        existing: String,
    },
    /// A tag names an image of a later push.
    Backwards {
        /// The image's name.
        image: String,
        /// The tag.
        tag: String,
        /// The later push.
        existing: Box<Origin>,
    },
    /// A tag was to be moved away from what it no longer names.
    MovedMeanwhile {
        /// The image's name.
        image: String,
        /// The tag.
        tag: String,
        /// What it names now; none: nothing.
        now: Option<String>,
    },
    /// The registry takes the image and refuses the tag, such as one that it holds immutable itself.
    TagRefused(#[source] Box<RegistryError>),
    /// Some tags were moved, and then the registry failed.
    Halfway {
        /// The tags that name the image already.
        moved: Vec<Published>,
        /// What happened to the next.
        source: Box<RegistryError>,
    },
    /// The builders' results make no common image.
    Compose {
        /// The image's name.
        image: String,
        /// Why not.
        source: ComposeError,
    },
    /// No builder made anything.
    Nothing {
        /// The image's name.
        image: String,
    },
    /// The registry failed; no tag was moved.
    Registry(#[source] Box<RegistryError>),
    /// The layout failed; no tag was moved.
    Layout(#[from] LayoutError),
}

display_as_reason!(PublishError);

impl AsReason for PublishError {
    fn reason(&self) -> Reason {
        match self {
            PublishError::Immutable { image, tag, existing } => reason!("publish.immutable", image, tag, existing),
            PublishError::Backwards { image, tag, existing } => backwards(image, tag, existing),
            PublishError::MovedMeanwhile { image, tag, now: Some(now) } => {
                reason!("publish.moved_meanwhile", image, tag, now)
            }
            PublishError::MovedMeanwhile { image, tag, now: None } => {
                reason!("publish.deleted_meanwhile", image, tag)
            }
            PublishError::Halfway { moved, source } => reason!("publish.halfway", source, moved = names(moved)),
            PublishError::Compose { image, source } => reason!("publish.compose", image, source),
            PublishError::Nothing { image } => reason!("publish.nothing", image),
            PublishError::TagRefused(error) | PublishError::Registry(error) => error.reason(),
            PublishError::Layout(error) => error.reason(),
        }
    }
}

/// That a tag names an image of a later push.
fn backwards(image: &str, tag: &str, existing: &Origin) -> Reason {
    let Origin { reference, commit, .. } = existing;
    match (existing.pushed_at, existing.build) {
        (Some(at), Some(build)) => {
            reason!("publish.backwards", image, tag, commit, reference, pushed_at = at.to_rfc3339(), build)
        }
        _ => reason!("publish.backwards_to_commit", image, tag, commit, reference),
    }
}

impl From<RegistryError> for PublishError {
    fn from(error: RegistryError) -> PublishError {
        PublishError::Registry(Box::new(error))
    }
}

impl From<Layout> for Target {
    fn from(layout: Layout) -> Target {
        Target::Local(layout)
    }
}

impl From<Client> for Target {
    fn from(client: Client) -> Target {
        Target::Remote(Box::new(client))
    }
}

impl Target {
    /// The image's name without a tag, as messages show it.
    pub fn image(&self) -> String {
        match self {
            Target::Local(layout) => layout.label(),
            Target::Remote(client) => client.image(),
        }
    }
}

/// Lets `tags` name the image, most specific first and `latest` last. All are checked before any moves, also whether one
/// names an image that `is_later`: see [`publish::decide`]. The indexes of several builders become one index first.
///
/// The result has every tag once, in the order of the moves. In a layout all tags move in one step; keep the
/// [`super::Stage`]s until this returns. Where an immutable tag names what an earlier try of this build published, that
/// is the image that the other tags are given.
///
/// # Errors
/// When a tag is refused, content is missing, or the registry fails. Only [`PublishError::Halfway`] leaves tags moved.
pub async fn publish(
    target: &Target,
    image: &Built,
    tags: &[String],
    immutable: bool,
    is_later: impl Fn(&Origin) -> bool + Send + Sync + 'static,
) -> Result<Vec<Published>, PublishError> {
    let tags = publish::order(tags);
    let rules = Rules { image: target.image(), immutable, is_later: Box::new(is_later) };
    match target {
        Target::Local(layout) => {
            let (layout, image) = (layout.clone(), image.clone());
            blocking(move || publish_local(&layout, &image, &tags, &rules)).await
        }
        Target::Remote(client) => publish_remote(client, image, &tags, &rules).await,
    }
}

/// Those of `tags` that are there already, asked before a build begins.
///
/// # Errors
/// When the registry or the layout cannot be read.
pub async fn check(target: &Target, tags: &[String], immutable: bool) -> Result<Vec<Taken>, PublishError> {
    let mut taken = Vec::new();
    for tag in publish::order(tags) {
        let digest = match target {
            Target::Local(layout) => layout.resolve(&tag)?,
            Target::Remote(client) => client.head(&tag).await?,
        };
        if let Some(digest) = digest {
            taken.push(Taken { immutable: publish::is_protected(&tag, immutable), tag, digest });
        }
    }
    Ok(taken)
}

/// What there is to say about the image that `reference` (a tag or a digest) names.
///
/// # Errors
/// When there is no such image, or the registry or the layout cannot be read.
pub async fn inspect(target: &Target, reference: &str) -> Result<ImageInfo, PublishError> {
    match target {
        Target::Local(layout) => {
            let (layout, reference) = (layout.clone(), reference.to_owned());
            blocking(move || Ok(layout.inspect(&reference)?)).await
        }
        Target::Remote(client) => Ok(client.inspect(reference).await?),
    }
}

/// What the decisions need to know beside the tags.
struct Rules {
    image: String,
    immutable: bool,
    is_later: Box<dyn Fn(&Origin) -> bool + Send + Sync>,
}

/// What was decided of all tags.
struct Decided {
    /// The image that tags move to: the new one, or that of an earlier try.
    digest: String,
    published: Vec<Published>,
}

impl Rules {
    /// What becomes of each tag, or why none may move.
    fn decide(&self, new: &New, there: Vec<(String, Option<Existing>)>) -> Result<Decided, PublishError> {
        let decide = |tag: &str, existing: Option<&Existing>, new: &New| {
            publish::decide(tag, existing, new, self.immutable, &self.is_later)
        };
        let earlier = there.iter().find_map(|(tag, existing)| match decide(tag, existing.as_ref(), new) {
            Decision::Ours { existing } => Some(existing),
            _ => None,
        });
        let new = New { digest: earlier.unwrap_or_else(|| new.digest.clone()), origin: new.origin.clone() };
        let one = |(tag, existing): (String, Option<Existing>)| {
            let image = self.image.clone();
            let (outcome, digest) = match decide(&tag, existing.as_ref(), &new) {
                Decision::Move => (Outcome::Moved, new.digest.clone()),
                Decision::AlreadyPublished => (Outcome::AlreadyPublished, new.digest.clone()),
                Decision::Ours { existing } => (Outcome::AlreadyPublished, existing),
                Decision::RefusedImmutable { existing } => {
                    return Err(PublishError::Immutable { image, tag, existing });
                }
                Decision::RefusedBackwards { existing } => {
                    return Err(PublishError::Backwards { image, tag, existing: Box::new(existing) });
                }
            };
            let before = existing.filter(|_| outcome == Outcome::Moved).and_then(|existing| existing.origin);
            Ok(Published { tag, digest, outcome, before })
        };
        let published = there.into_iter().map(one).collect::<Result<_, _>>()?;
        Ok(Decided { digest: new.digest, published })
    }

    /// One index of what the builders made.
    fn compose(&self, parts: &[Part], annotations: &Annotations) -> Result<Raw, PublishError> {
        let error = |source| PublishError::Compose { image: self.image.clone(), source };
        let index = image::compose(parts, annotations).map_err(error)?;
        let content = serde_json::to_vec(&index).map_err(|error| RegistryError {
            attempted: phrase!("verb.write_the_index_of").into(),
            image: self.image.clone(),
            kind: Kind::Unusable(Reason::verbatim(error.to_string())),
        })?;
        Ok(Raw { digest: image::sha256(&content), media_type: index.kind().to_owned(), content })
    }

    fn nothing(&self) -> PublishError {
        PublishError::Nothing { image: self.image.clone() }
    }
}

fn publish_local(
    layout: &Layout,
    image: &Built,
    tags: &[String],
    rules: &Rules,
) -> Result<Vec<Published>, PublishError> {
    let digest = match image.platform_builds.as_slice() {
        [] => return Err(rules.nothing()),
        [one] => one.clone(),
        several => {
            let parts = several.iter().map(|digest| layout.part(digest)).collect::<Result<Vec<_>, LayoutError>>()?;
            layout.put(&rules.compose(&parts, &image.annotations)?.content)?
        }
    };
    let new = New { digest, origin: image.origin.clone() };
    let mut published = Vec::new();
    layout.publish(tags, |there| {
        let decided = rules.decide(&new, there)?;
        published = decided.published;
        let moved = published.iter().filter(|one| one.outcome == Outcome::Moved);
        Ok::<_, PublishError>((decided.digest, moved.map(|one| one.tag.clone()).collect()))
    })?;
    Ok(published)
}

/// What a registry says to a tag for which it has just taken the image: what it forbids is the tag (ACR), and not us.
pub(super) fn of_tag(error: RegistryError) -> RegistryError {
    match error.kind {
        Kind::Credentials { status: status @ 403, message, .. } => {
            RegistryError { kind: Kind::Refused { status: Some(status), message }, ..error }
        }
        _ => error,
    }
}

async fn publish_remote(
    client: &Client,
    image: &Built,
    tags: &[String],
    rules: &Rules,
) -> Result<Vec<Published>, PublishError> {
    let mut platform_builds = Vec::with_capacity(image.platform_builds.len());
    for digest in &image.platform_builds {
        platform_builds.push(client.manifest(digest).await?.ok_or_else(|| client.missing(digest))?);
    }
    let (index, composed) = match platform_builds.as_slice() {
        [] => return Err(rules.nothing()),
        [one] => (one.clone(), false),
        several => {
            let mut parts = Vec::with_capacity(several.len());
            for raw in several {
                parts.push(part(client, raw).await?);
            }
            (rules.compose(&parts, &image.annotations)?, true)
        }
    };
    let (mut there, mut documents) = (Vec::with_capacity(tags.len()), Vec::new());
    for tag in tags {
        let raw = client.tagged(tag).await?;
        let named = match &raw {
            Some(raw) => Some(existing(client, raw).await?),
            None => None,
        };
        there.push((tag.clone(), named));
        documents.extend(raw);
    }
    let new = New { digest: index.digest.clone(), origin: image.origin.clone() };
    let decided = rules.decide(&new, there)?;
    let image = documents.into_iter().find(|there| there.digest == decided.digest).unwrap_or(index);
    if composed && image.digest == new.digest {
        client.put(&image.digest, &image.content, &image.media_type).await?;
    }
    move_tags(client, &image, decided.published).await
}

/// Lets the tags that were chosen name the image, in their order.
async fn move_tags(client: &Client, image: &Raw, chosen: Vec<Published>) -> Result<Vec<Published>, PublishError> {
    let mut published: Vec<Published> = Vec::with_capacity(chosen.len());
    for one in chosen {
        if one.outcome == Outcome::Moved
            && let Err(error) = client.put(&one.tag, &image.content, &image.media_type).await
        {
            let error = of_tag(error);
            published.retain(|before| before.outcome == Outcome::Moved);
            return Err(match published.is_empty() {
                true if error.kind.is_refusal() => PublishError::TagRefused(Box::new(error)),
                true => error.into(),
                false => PublishError::Halfway { moved: published, source: Box::new(error) },
            });
        }
        published.push(one);
    }
    Ok(published)
}

/// What a builder made, with the platform of a single manifest.
async fn part(client: &Client, raw: &Raw) -> Result<Part, PublishError> {
    let document = raw.document().map_err(|error| client.unreadable(&raw.digest, &error))?;
    let platform = match document.manifests {
        Some(_) => None,
        None => client.inspect(&raw.digest).await?.platforms.into_iter().next(),
    };
    Ok(Part { digest: raw.digest.clone(), size: raw.content.len() as u64, document, platform })
}

/// What a tag names, by its document; in Docker's format by its configuration.
async fn existing(client: &Client, raw: &Raw) -> Result<Existing, RegistryError> {
    let digest = raw.digest.clone();
    // What is no document of ours says nothing of where it comes from.
    let Ok(document) = raw.document() else { return Ok(Existing { digest, origin: None }) };
    let mut origin = Origin::from_annotations(&document.annotations);
    if origin.is_none() && document.is_docker() {
        origin = match client.inspect(&digest).await {
            Ok(info) => info.origin(),
            // An image that is not whole must not keep a build from replacing it.
            Err(RegistryError { kind: Kind::NotFound | Kind::Unusable(_), .. }) => None,
            Err(error) => return Err(error),
        };
    }
    Ok(Existing { digest, origin })
}

/// Files and their locks can take a while: they wait on a thread of their own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn names(published: &[Published]) -> String {
    published.iter().map(|one| one.tag.as_str()).collect::<Vec<_>>().join(", ")
}
