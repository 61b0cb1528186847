//! Payloads of Bitbucket Cloud and of Bitbucket Data Center (once Server): several refs in one push.

use serde::Deserialize;

use super::hook::{Hook, Pushed, RemoteRepository, Side, named};
use super::lenient::{Beginning, Identifier, lenient, lenient_objects};
use super::request::HookError;
use crate::domain::push::Ref;
use crate::domain::source_platform::PlatformKind;

/// A `repo:push` of Bitbucket Cloud.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CloudPush {
    #[serde(default, deserialize_with = "lenient")]
    push: CloudChanges,
    #[serde(default, deserialize_with = "lenient")]
    repository: Repository,
}

#[derive(Debug, Default, Deserialize)]
struct CloudChanges {
    #[serde(default, deserialize_with = "lenient")]
    changes: Vec<CloudChange>,
}

#[derive(Debug, Default, Deserialize)]
struct CloudChange {
    #[serde(default, deserialize_with = "lenient")]
    old: CloudRef,
    #[serde(default, deserialize_with = "lenient")]
    new: CloudRef,
    #[serde(default, deserialize_with = "lenient")]
    created: bool,
}

#[derive(Debug, Default, Deserialize)]
struct CloudRef {
    #[serde(default, rename = "type", deserialize_with = "lenient")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    target: CloudTarget,
}

#[derive(Debug, Default, Deserialize)]
struct CloudTarget {
    #[serde(default, deserialize_with = "lenient")]
    hash: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    message: Beginning,
}

/// A `repo:refs_changed` of Bitbucket Data Center.
#[derive(Debug, Default, Deserialize)]
pub(super) struct DataCenterPush {
    #[serde(default, deserialize_with = "lenient")]
    changes: Vec<DataCenterChange>,
    #[serde(default, deserialize_with = "lenient")]
    repository: Repository,
}

#[derive(Debug, Default, Deserialize)]
struct DataCenterChange {
    #[serde(default, rename = "ref", deserialize_with = "lenient")]
    reference: DataCenterRef,
    #[serde(default, rename = "refId", deserialize_with = "lenient")]
    ref_id: Option<String>,
    #[serde(default, rename = "fromHash", deserialize_with = "lenient")]
    from: Option<String>,
    #[serde(default, rename = "toHash", deserialize_with = "lenient")]
    to: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct DataCenterRef {
    #[serde(default, deserialize_with = "lenient")]
    id: Option<String>,
}

/// A repository of either.
#[derive(Debug, Default, Deserialize)]
struct Repository {
    /// Of Data Center.
    #[serde(default, deserialize_with = "lenient")]
    id: Identifier,
    /// Of Cloud.
    #[serde(default, deserialize_with = "lenient")]
    uuid: Option<String>,
    /// Of Cloud: `workspace/repository`.
    #[serde(default, deserialize_with = "lenient")]
    full_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    links: Links,
    #[serde(default, deserialize_with = "lenient")]
    slug: Option<String>,
    /// Of Data Center: the first part of its path.
    #[serde(default, deserialize_with = "lenient")]
    project: ProjectKey,
}

#[derive(Debug, Default, Deserialize)]
struct ProjectKey {
    #[serde(default, deserialize_with = "lenient")]
    key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Links {
    #[serde(default, deserialize_with = "lenient")]
    html: Link,
    #[serde(default, deserialize_with = "lenient")]
    clone: Vec<Link>,
}

#[derive(Debug, Default, Deserialize)]
struct Link {
    #[serde(default, deserialize_with = "lenient")]
    href: Option<String>,
}

lenient_objects!(
    CloudPush,
    CloudChanges,
    CloudChange,
    CloudRef,
    CloudTarget,
    DataCenterPush,
    DataCenterChange,
    DataCenterRef,
    Repository,
    ProjectKey,
    Links,
    Link,
);

impl Repository {
    fn named(self) -> Result<RemoteRepository, HookError> {
        let clone = self.links.clone.into_iter().filter_map(|link| link.href);
        let urls = self.links.html.href.into_iter().chain(clone).collect();
        // Over http a repository of Data Center is below /scm.
        let of_project = self.project.key.zip(self.slug);
        let below = of_project.map(|(key, slug)| [format!("{key}/{slug}"), format!("scm/{key}/{slug}")]);
        let paths = self.full_name.into_iter().chain(below.into_iter().flatten()).collect();
        named(PlatformKind::Bitbucket, RemoteRepository { urls, paths, id: self.uuid.or(self.id.0) })
    }
}

impl CloudRef {
    fn reference(&self) -> Option<Ref> {
        let kind = match self.kind.as_deref()? {
            "branch" | "named_branch" => "heads",
            "tag" | "annotated_tag" => "tags",
            _ => return None,
        };
        format!("refs/{kind}/{}", self.name.as_deref()?).parse().ok()
    }
}

/// Reads a push of Bitbucket Cloud, where `old` or `new` is null for a ref that was not there.
pub(super) fn cloud(push: CloudPush) -> Result<Hook, HookError> {
    let repository = push.repository.named()?;
    let one = |change: CloudChange| {
        let (new, old) = (change.new.reference(), change.old.reference());
        let before = match Side::of(change.old.target.hash.as_deref()) {
            Side::Unsaid if change.created => Side::Absent,
            before => before,
        };
        let (reference, after) = match (new, old) {
            (Some(new), _) => (new, Side::of(change.new.target.hash.as_deref())),
            (None, Some(old)) => (old, Side::Absent),
            (None, None) => return None,
        };
        Some(Pushed { reference, before, after, at: None, message: change.new.target.message.0 })
    };
    Ok(Hook::Pushed { repository, pushed: push.push.changes.into_iter().filter_map(one).collect() })
}

/// Reads a push of Bitbucket Data Center.
pub(super) fn data_center(push: DataCenterPush) -> Result<Hook, HookError> {
    let repository = push.repository.named()?;
    let one = |change: DataCenterChange| {
        let reference = change.reference.id.or(change.ref_id)?.parse().ok()?;
        let (before, after) = (Side::of(change.from.as_deref()), Side::of(change.to.as_deref()));
        Some(Pushed { reference, before, after, at: None, message: None })
    };
    Ok(Hook::Pushed { repository, pushed: push.changes.into_iter().filter_map(one).collect() })
}
