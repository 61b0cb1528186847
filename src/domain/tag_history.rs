//! What a tag named when: builds that published it, and moves, copies and deletions that people asked for. Pure.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::build::{Build, BuildId};
use super::name::RepositoryPath;
use super::requester::Requester;
use super::tag::ACCELERATED_SUFFIX;
use crate::domain::reason::{AsReason, Reason, reason, use_as_reason};

/// The most events of one page.
pub const MOST_EVENTS: usize = 200;

/// What happened to a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagAction {
    /// A build published its image under it.
    Build,
    /// A person moved it to another image of the repository.
    Move,
    /// A person copied an image of another place to it.
    Copy,
    /// A person deleted it.
    Delete,
}

use_as_reason!(TagAction);

impl AsReason for TagAction {
    fn reason(&self) -> Reason {
        match self {
            TagAction::Build => reason!("tag_action.build"),
            TagAction::Move => reason!("tag_action.move"),
            TagAction::Copy => reason!("tag_action.copy"),
            TagAction::Delete => reason!("tag_action.delete"),
        }
    }
}

/// A change of a tag that a person asked for: `tags/<namespace>/<repository>/<tag>/<id>.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagChange {
    /// Its number among the changes of the tag; it only grows.
    pub id: u64,
    /// When it was done.
    pub at: DateTime<Utc>,
    /// Who asked for it.
    pub by: Requester,
    /// What was done.
    pub action: TagAction,
    /// What the tag names since: an index or a manifest; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it named before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The build that made the image, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// The image that was copied: `acme/api:v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// An entry of a tag's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagEvent {
    /// When the tag was moved.
    pub at: DateTime<Utc>,
    /// How.
    pub action: TagAction,
    /// What it names since: an index or a manifest; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The build that made the image, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// The ref that the build was of.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The commit that the build was of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who asked for it; nobody: a push or a schedule did.
    #[serde(default, skip_serializing_if = "Requester::is_nobody")]
    pub by: Requester,
    /// The image that was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl TagEvent {
    /// What a build did to a tag; none where it did not publish it.
    pub fn of_build(build: &Build, tag: &str) -> Option<TagEvent> {
        let image = build.images.iter().find(|image| image.name.rsplit_once(':').is_some_and(|(_, of)| of == tag))?;
        Some(TagEvent {
            at: build.finished_at?,
            action: TagAction::Build,
            digest: Some(image.digest.clone()),
            build: Some(build.id),
            reference: Some(build.reference.to_string()),
            commit: Some(build.commit.to_string()),
            by: build.asked_by.clone(),
            from: None,
        })
    }
}

impl From<TagChange> for TagEvent {
    fn from(change: TagChange) -> TagEvent {
        let TagChange { at, by, action, digest, build, from, .. } = change;
        TagEvent { at, action, digest, build, reference: None, commit: None, by, from }
    }
}

/// The tag of a build's rule that a published tag comes from: that of a lazily loadable image has a suffix.
pub fn tag_of_rule(tag: &str) -> &str {
    tag.strip_suffix(ACCELERATED_SUFFIX).filter(|tag| !tag.is_empty()).unwrap_or(tag)
}

/// Where a page of a history ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HistoryCursor {
    /// The build before which the next page begins; none: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// The change before which the next page begins; none: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<u64>,
}

/// Which part of a tag's history is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryQuery {
    /// The repository.
    pub path: RepositoryPath,
    /// The tag.
    pub tag: String,
    /// Only what the tag named at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// Where the last page ended; none: from the newest on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<HistoryCursor>,
    /// The most events, at most [`MOST_EVENTS`].
    pub limit: usize,
}

/// A part of a tag's history, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TagHistory {
    /// The events.
    pub events: Vec<TagEvent>,
    /// Where the next page begins; none: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<HistoryCursor>,
}

/// A page of what builds and changes, each the newest first, did to a tag. `ends` says that there are no older ones.
pub fn page(
    builds: &[(BuildId, TagEvent)],
    changes: &[TagChange],
    before: HistoryCursor,
    limit: usize,
    ends: bool,
) -> TagHistory {
    let (mut builds, mut changes) = (builds.iter().peekable(), changes.iter().peekable());
    let (mut events, mut cursor) = (Vec::new(), before);
    while events.len() < limit {
        let order = match (builds.peek(), changes.peek()) {
            (None, None) => break,
            // Builds that are not read yet may be newer than the next change.
            (None, Some(_)) if !ends => break,
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (Some((_, build)), Some(change)) => build.at.cmp(&change.at),
        };
        if order == Ordering::Greater
            && let Some((id, event)) = builds.next()
        {
            cursor.build = Some(*id);
            events.push(event.clone());
        } else if let Some(change) = changes.next() {
            cursor.change = Some(change.id);
            events.push(TagEvent::from(change.clone()));
        }
    }
    let more = !ends || builds.peek().is_some() || changes.peek().is_some();
    // Builds end in another order than that of their numbers.
    events.sort_by_key(|event| std::cmp::Reverse(event.at));
    TagHistory { events: without_repetitions(events), next: more.then_some(cursor) }
}

/// The events, the newest first, without those after which the tag named what it had named before.
fn without_repetitions(events: Vec<TagEvent>) -> Vec<TagEvent> {
    let mut kept: Vec<TagEvent> = Vec::with_capacity(events.len());
    for event in events {
        if kept.last().is_some_and(|newer| newer.digest == event.digest) {
            kept.pop();
        }
        kept.push(event);
    }
    kept
}

/// The image that a tag which names `now` named before that was published: of `events`, the newest first. Moves do not
/// count as publications, so that going back twice goes further back.
pub fn before(events: &[TagEvent], now: &str) -> Option<TagEvent> {
    let names = |event: &TagEvent| event.digest.as_deref() == Some(now);
    let made = events.iter().position(|event| names(event) && event.action == TagAction::Build);
    let since = made.or_else(|| events.iter().position(names));
    // Whatever the tag names now, slipway did not put it there: the newest that is known is what it named before.
    let older = since.map_or(events, |since| &events[since + 1..]);
    older.iter().find(|event| event.digest.is_some() && !names(event)).cloned()
}

/// Where a tag is to be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveTo {
    /// To the image with this digest.
    Digest(String),
    /// To what another tag of the repository names.
    Tag(String),
    /// To the image that this build published.
    Build(BuildId),
    /// To what it named before its image was published.
    Back,
}

/// A move of a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagMove {
    /// The tag.
    pub tag: String,
    /// What it named until then; none: there was no such tag.
    pub before: Option<String>,
    /// The build that made that.
    pub before_build: Option<BuildId>,
    /// What it names then.
    pub digest: String,
    /// The build that made that.
    pub build: Option<BuildId>,
}

impl TagMove {
    /// The question before the move.
    pub fn question(&self, path: &RepositoryPath) -> Reason {
        let (tag, to) = (&self.tag, image(&self.digest, self.build));
        match &self.before {
            Some(before) => reason!("tag.move_question", path, tag, from = image(before, self.before_build), to),
            None => reason!("tag.create_question", path, tag, to),
        }
    }

    /// What there is to say once it is done.
    pub fn report(&self, path: &RepositoryPath) -> Reason {
        let (tag, to) = (&self.tag, image(&self.digest, self.build));
        match self.is_done() {
            true => reason!("tag.names_it_already", path, tag, to),
            false => reason!("tag.moved", path, tag, to),
        }
    }

    /// Whether the tag names the image already.
    pub fn is_done(&self) -> bool {
        self.before.as_ref() == Some(&self.digest)
    }
}

/// An image in a sentence: its digest in short, and its build.
fn image(digest: &str, build: Option<BuildId>) -> Reason {
    let digest = short(digest);
    match build {
        Some(build) => reason!("tag.image_of_build", digest, build),
        None => Reason::verbatim(digest),
    }
}

/// The first digits of a digest.
pub fn short(digest: &str) -> String {
    digest.chars().take(19).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{BuildState, Image, sample};

    fn at(minute: u32) -> DateTime<Utc> {
        format!("2020-10-15T08:{minute:02}:00Z").parse().unwrap()
    }

    fn built(id: u64, minute: u32, digest: &str) -> (BuildId, TagEvent) {
        let image =
            |tag: &str| Image { name: format!("r:5000/acme/api:{tag}"), digest: digest.into(), platforms: vec![] };
        let build = Build {
            id: BuildId(id),
            state: BuildState::Succeeded,
            finished_at: Some(at(minute)),
            images: vec![image("v1"), image("latest")],
            ..sample()
        };
        (build.id, TagEvent::of_build(&build, "latest").unwrap())
    }

    fn change(id: u64, minute: u32, action: TagAction, digest: Option<&str>) -> TagChange {
        TagChange {
            id,
            at: at(minute),
            by: Requester::part("kim"),
            action,
            digest: digest.map(str::to_owned),
            before: None,
            build: None,
            from: None,
        }
    }

    fn digests(history: &TagHistory) -> Vec<&str> {
        history.events.iter().map(|event| event.digest.as_deref().unwrap_or("-")).collect()
    }

    #[test]
    fn a_build_is_in_the_history_of_the_tags_that_it_published_alone() {
        let (_, event) = built(7, 1, "a");
        assert_eq!((event.build, event.digest.as_deref()), (Some(BuildId(7)), Some("a")));
        assert_eq!(TagEvent::of_build(&sample(), "latest"), None);
        assert_eq!(tag_of_rule("v1_accelerated"), "v1");
        assert_eq!(tag_of_rule("_accelerated"), "_accelerated");
    }

    #[test]
    fn builds_and_changes_are_one_history_in_pages() {
        let builds = [built(9, 9, "c"), built(5, 5, "b"), built(1, 1, "a")];
        let changes = [change(2, 7, TagAction::Delete, None), change(1, 6, TagAction::Move, Some("a"))];
        let whole = page(&builds, &changes, HistoryCursor::default(), 10, true);
        assert_eq!(digests(&whole), ["c", "-", "a", "b", "a"]);
        assert_eq!(whole.next, None);
        let unread = page(&[], &changes, HistoryCursor::default(), 10, false);
        assert!(unread.events.is_empty() && unread.next.is_some(), "builds that are not read yet may be newer");
        let first = page(&builds, &changes, HistoryCursor::default(), 2, true);
        assert_eq!(digests(&first), ["c", "-"]);
        assert_eq!(first.next, Some(HistoryCursor { build: Some(BuildId(9)), change: Some(2) }));
        let second = page(&builds[1..], &changes[1..], first.next.unwrap(), 10, true);
        assert_eq!(digests(&second), ["a", "b", "a"]);
        assert!(
            page(&builds, &[], HistoryCursor::default(), 10, false).next.is_some(),
            "older builds are not read yet"
        );
    }

    #[test]
    fn what_changed_nothing_is_left_out() {
        let builds = [built(3, 3, "a"), built(2, 2, "a"), built(1, 1, "b")];
        let history = page(&builds, &[], HistoryCursor::default(), 10, true);
        assert_eq!(digests(&history), ["a", "b"]);
        assert_eq!(history.events[0].build, Some(BuildId(2)), "since then the tag names it");
    }

    #[test]
    fn going_back_goes_further_back_each_time() {
        let builds = [built(3, 3, "c"), built(2, 2, "b"), built(1, 1, "a")];
        let mut events: Vec<TagEvent> = builds.into_iter().map(|(_, event)| event).collect();
        let to = |events: &[TagEvent], now: &str| before(events, now).and_then(|event| event.digest);
        assert_eq!(to(&events, "c").as_deref(), Some("b"));
        events.insert(0, change(1, 4, TagAction::Move, Some("b")).into());
        assert_eq!(to(&events, "b").as_deref(), Some("a"));
        assert_eq!(to(&events, "a"), None);
        assert_eq!(to(&events, "of somebody else").as_deref(), Some("b"), "what slipway knew last");
    }
}
