//! The images of a repository: its tags and what they name.
//!
//! The names of tags are listed alone. What they name is asked for some tags at a time: one request for each, and
//! further ones, as many as the caller allows, for the images that they name, each image once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use super::image_cache::ImageCache;
use super::{ServiceError, registries};
use crate::domain::image_tag::{TagInfo, TagNames, TagPage};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::tag::CACHE_PREFIX;
use crate::registry::image::describe;
use crate::registry::reference::check_tag;
use crate::registry::{Documents, PublishError, Target, read::Root};
use crate::store::Home;
use crate::store::settings::Settings;

/// The longest time for looking at the tags of one request; the names that are left are told without their images.
const LOOK: Duration = Duration::from_secs(120);
/// Requests to a registry at a time.
const AT_ONCE: usize = 8;
/// Characters of an odd name that are listed.
const SHOWN_NAME: usize = 128;

/// The names of a repository's tags; none where nothing was pushed yet.
///
/// # Errors
/// When the namespace is not there, or its registry can't be reached or read.
pub async fn tag_names(home: &Home, settings: &Settings, path: &RepositoryPath) -> Result<TagNames, ServiceError> {
    names(&target(home, settings, path).await?).await
}

/// What tags of a repository name, in the order in which they are given; one that is gone is left out. At most so many
/// `further` requests to the registry are made beyond one for each tag: sizes and times of some images may not be known.
///
/// # Errors
/// When the namespace is not there, or its registry can't be reached or read.
pub async fn tags(
    home: &Home,
    settings: &Settings,
    cache: &ImageCache,
    path: &RepositoryPath,
    tags: &[String],
    further: usize,
) -> Result<TagPage, ServiceError> {
    let target = target(home, settings, path).await?;
    let digests = match &target {
        // Its index is read once, and not for each tag.
        Target::Local(layout) => {
            let there = layout.tags().map_err(PublishError::from)?;
            Some(there.into_iter().map(|tag| (tag.tag, tag.digest)).collect())
        }
        Target::Remote(_) => None,
    };
    let look = Look { target: &target, image: target.image(), cache, digests, until: Instant::now() + LOOK };
    Ok(look.at(tags, further).await?)
}

/// The registry of a repository, opened.
///
/// # Errors
/// When the namespace is not there, or its registry can't be opened.
pub async fn target(home: &Home, settings: &Settings, path: &RepositoryPath) -> Result<Target, ServiceError> {
    let namespace = settings.namespaces.get(&path.namespace).ok_or_else(|| {
        let name = &path.namespace;
        ServiceError::missing(reason!("images.no_namespace", name = quoted(&name)))
    })?;
    Ok(registries::open(home, settings, &namespace.registry, path).await?)
}

/// The names of the tags of a repository but those of caches.
pub(super) async fn names(target: &Target) -> Result<TagNames, ServiceError> {
    let names: BTreeSet<String> = target.tag_names().await?.into_iter().collect();
    Ok(TagNames::of(names.into_iter().filter(|name| !name.starts_with(CACHE_PREFIX))))
}

/// A tag, as far as its own document told of it.
enum Row {
    /// Nothing more is to be found out.
    Told(TagInfo),
    /// It names this.
    Names(String, Root),
    /// It is gone since it was listed.
    Gone,
}

/// One look at some tags.
struct Look<'a> {
    target: &'a Target,
    image: String,
    cache: &'a ImageCache,
    /// What all tags name, where that is known already.
    digests: Option<BTreeMap<String, String>>,
    until: Instant,
}

impl Look<'_> {
    async fn at(&self, tags: &[String], further: usize) -> Result<TagPage, PublishError> {
        let rows = stream::iter(tags).map(|tag| self.row(tag)).buffered(AT_ONCE).try_collect::<Vec<Row>>().await?;
        let mut left = further;
        let mut wanted: BTreeMap<&str, &Root> = BTreeMap::new();
        for row in &rows {
            let Row::Names(tag, root) = row else { continue };
            let cost = root.document.runnable().count() + 1;
            let is_known =
                wanted.contains_key(root.digest.as_str()) || self.cache.get(&self.image, &root.digest, tag).is_some();
            if !is_known && cost <= left {
                left -= cost;
                wanted.insert(&root.digest, root);
            }
        }
        let looked = stream::iter(wanted.into_values()).map(|root| self.whole(root)).buffered(AT_ONCE);
        let problems: BTreeMap<String, Reason> = looked.try_filter_map(async |found| Ok(found)).try_collect().await?;
        let told = |row: Row| match row {
            Row::Told(info) => Some(info),
            Row::Gone => None,
            Row::Names(tag, root) => {
                let known = self.cache.get(&self.image, &root.digest, &tag);
                let problem = problems.get(&root.digest).cloned();
                Some(known.unwrap_or_else(|| TagInfo { problem, ..in_short(&self.image, &tag, &root) }))
            }
        };
        Ok(TagPage { tags: rows.into_iter().filter_map(told).collect(), further_requests: further - left })
    }

    async fn row(&self, tag: &str) -> Result<Row, PublishError> {
        if let Err(error) = check_tag(tag) {
            let problem = Some(error.why);
            return Ok(Row::Told(TagInfo { problem, ..TagInfo::named(&self.image, &shown(tag)) }));
        }
        let unread = |why: Reason| Row::Told(TagInfo { problem: Some(why), ..TagInfo::named(&self.image, tag) });
        let reference = match &self.digests {
            Some(digests) => digests.get(tag).map(String::as_str),
            None => Some(tag),
        };
        let Some(reference) = reference else { return Ok(Row::Gone) };
        match timeout_at(self.until, self.target.root(reference)).await {
            Err(_) => Ok(unread(reason!("images.too_slow", limit = LOOK))),
            Ok(Ok(Some(root))) => Ok(Row::Names(tag.to_owned(), root)),
            Ok(Ok(None)) if reference == tag => Ok(Row::Gone),
            Ok(Ok(None)) => {
                let problem = Some(self.target.missing(reference).into());
                Ok(Row::Told(TagInfo { digest: reference.to_owned(), problem, ..TagInfo::named(&self.image, tag) }))
            }
            Ok(Err(error)) if error.concerns_all() => Err(error),
            Ok(Err(error)) => Ok(unread(error.into())),
        }
    }

    /// Reads an image, and remembers it; the digest and the problem of one that is not whole.
    async fn whole(&self, root: &Root) -> Result<Option<(String, Reason)>, PublishError> {
        let digest = root.digest.clone();
        match timeout_at(self.until, self.target.documents(root.clone())).await {
            Err(_) => Ok(Some((digest, reason!("images.too_slow", limit = LOOK)))),
            Ok(Ok(documents)) => {
                self.cache.put(&self.image, &of_documents(&self.image, "", &documents));
                Ok(None)
            }
            Ok(Err(error)) if error.concerns_all() => Err(error),
            Ok(Err(error)) => Ok(Some((digest, error.into()))),
        }
    }
}

/// What the index or the manifest alone says.
pub(super) fn in_short(image: &str, tag: &str, root: &Root) -> TagInfo {
    let manifests = match root.document.manifests {
        Some(_) => Vec::new(),
        None => vec![root.document.clone()],
    };
    let documents = Documents { digest: root.digest.clone(), root: root.document.clone(), manifests, config: None };
    let info = of_documents(image, tag, &documents);
    TagInfo { size: info.size.filter(|_| root.document.manifests.is_none()), ..info }
}

/// What the documents of an image say.
pub(super) fn of_documents(image: &str, tag: &str, documents: &Documents) -> TagInfo {
    let Documents { digest, root, manifests, config } = documents;
    let info = describe(digest, root, manifests, config.as_ref());
    let origin = info.origin();
    TagInfo {
        digest: info.digest,
        platforms: info.platforms.iter().map(|platform| shown(&platform.to_string())).collect(),
        size: Some(info.size),
        created: info.created,
        origin,
        manifests: root.manifests.iter().flatten().map(|one| one.digest.clone()).collect(),
        artifact: root.artifact().map(shown),
        ..TagInfo::named(image, tag)
    }
}

/// A text of somebody else's, fit for a line of a list.
pub(super) fn shown(text: &str) -> String {
    text.escape_debug().take(SHOWN_NAME).collect()
}
