//! May this build move that tag? The decision, and the order in which a build's tags are moved.
//!
//! Called for every tag before any of them moves; it reads no registry and no clock. The rules are those of tags that
//! are immutable, and of mutable tags that must never go back from a newer push to an older one.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::build::Build;

/// The annotation that holds the commit: OCI's own key.
pub const REVISION: &str = "org.opencontainers.image.revision";
/// The annotation that holds the git ref (`refs/heads/main`).
pub const REF: &str = "dev.slipway.ref";
/// The annotation that holds the time of the push, RFC 3339.
pub const PUSHED_AT: &str = "dev.slipway.pushed-at";
/// The annotation that holds the build's number.
pub const BUILD: &str = "dev.slipway.build";
/// The annotation that holds the rule's name.
pub const RULE: &str = "dev.slipway.rule";

/// The one tag that stays movable in an immutable repository.
pub const LATEST: &str = "latest";

/// Which push an image was built from: what its index's annotations say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The full git ref: `refs/heads/main`.
    pub reference: String,
    /// The commit's full id.
    pub commit: String,
    /// When the ref moved to the commit; none in an image that its commit alone makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_at: Option<DateTime<Utc>>,
    /// The build that made the image; none in an image that its commit alone makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<u64>,
    /// The rule that it was built by; none in images of slipway 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl Origin {
    /// The origin of a build's image. With `created = "commit"` it names neither push nor build, so that every build of
    /// the commit makes the same image.
    pub fn of(build: &Build) -> Origin {
        let names_build = build.rule.created.is_build();
        Origin {
            reference: build.reference.to_string(),
            commit: build.commit.to_string(),
            pushed_at: names_build.then_some(build.pushed_at),
            build: names_build.then_some(build.id.0),
            rule: Some(build.rule.name.clone()),
        }
    }

    /// The origin that an image's annotations tell, or nothing when slipway did not make the image, or one of the
    /// annotations is unreadable.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Option<Origin> {
        let of = |key: &str| annotations.get(key).filter(|text| !text.is_empty());
        let pushed_at = of(PUSHED_AT).map(|text| DateTime::parse_from_rfc3339(text)).transpose().ok()?;
        Some(Origin {
            reference: annotations.get(REF)?.clone(),
            commit: annotations.get(REVISION)?.clone(),
            pushed_at: pushed_at.map(|time| time.to_utc()),
            build: of(BUILD).map(|text| text.parse()).transpose().ok()?,
            rule: of(RULE).cloned(),
        })
    }

    /// Whether it is a push of the same ref to another commit.
    pub fn is_other_push_of_ref(&self, other: &Origin) -> bool {
        self.reference == other.reference && self.commit != other.commit
    }

    /// Whether it is a later push of the same ref to another commit, by the clocks of those who saw the two.
    pub fn is_later_than(&self, other: &Origin) -> bool {
        let later = self.pushed_at.zip(other.pushed_at).is_some_and(|(ours, others)| ours > others);
        self.is_other_push_of_ref(other) && later
    }

    /// Whether both are of one push and one rule: a build and its repetitions, whichever of them came how far. An image
    /// that names no push is of every push of its commit.
    pub fn is_same_push(&self, other: &Origin) -> bool {
        // Another rule may make another image for the same tag, which is no repetition.
        let one_build = self.build.is_some() && self.build == other.build;
        let one_rule = one_build || (self.rule.is_some() && self.rule == other.rule);
        let same_second = |(ours, others): (DateTime<Utc>, DateTime<Utc>)| ours.timestamp() == others.timestamp();
        one_rule
            && self.reference == other.reference
            && self.commit == other.commit
            && self.pushed_at.zip(other.pushed_at).is_none_or(same_second)
    }

    /// The annotations that tell this origin, for the index of a new image.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let mut annotations =
            BTreeMap::from([(REF.to_owned(), self.reference.clone()), (REVISION.to_owned(), self.commit.clone())]);
        let pushed_at = self.pushed_at.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        annotations.extend(pushed_at.map(|time| (PUSHED_AT.to_owned(), time)));
        annotations.extend(self.build.map(|build| (BUILD.to_owned(), build.to_string())));
        annotations.extend(self.rule.iter().map(|rule| (RULE.to_owned(), rule.clone())));
        annotations
    }

    /// The labels that tell this origin where there are no annotations: what it does not say is said to be nothing, for
    /// a Dockerfile or its base image may say something else.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.annotations();
        for key in [PUSHED_AT, BUILD, RULE] {
            labels.entry(key.to_owned()).or_default();
        }
        labels
    }
}

/// What a tag names now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// The digest of the index or manifest.
    pub digest: String,
    /// Where it came from; nothing when it says nothing (an image of another tool).
    pub origin: Option<Origin>,
}

/// What a build wants the tag to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// The digest of the index.
    pub digest: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// What happens to a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The tag is made, or moved to the new image.
    Move,
    /// The tag names this very image already: nothing to do, and no error.
    AlreadyPublished,
    /// The tag is immutable and names an image that an earlier try of this build published: that one is the build's
    /// image, and the build's other tags are to name it, too.
    Ours {
        /// What the tag names.
        existing: String,
    },
    /// The tag is immutable and names another image.
    RefusedImmutable {
        /// What the tag names.
        existing: String,
    },
    /// The tag names an image of a later push of the same ref.
    RefusedBackwards {
        /// That later push.
        existing: Origin,
    },
}

/// Whether `tag` is never overwritten in a repository whose tags are `immutable`: every tag but `latest`.
pub fn is_protected(tag: &str, immutable: bool) -> bool {
    immutable && tag != LATEST
}

/// What happens to `tag`, which names `existing` now, when a build brings `new`.
///
/// `is_later` says whether an image is of a later push of the same ref, such as [`Origin::is_later_than`]. It is always
/// false for builds that somebody started by hand: they may move a mutable tag back, but no more than anybody else
/// overwrite an immutable one. An image that does not say where it came from holds no tag back.
pub fn decide(
    tag: &str,
    existing: Option<&Existing>,
    new: &New,
    immutable: bool,
    is_later: impl Fn(&Origin) -> bool,
) -> Decision {
    let Some(existing) = existing else { return Decision::Move };
    if existing.digest == new.digest {
        return Decision::AlreadyPublished;
    }
    if is_protected(tag, immutable) {
        let is_ours = existing.origin.as_ref().is_some_and(|there| there.is_same_push(&new.origin));
        let existing = existing.digest.clone();
        return if is_ours { Decision::Ours { existing } } else { Decision::RefusedImmutable { existing } };
    }
    match &existing.origin {
        Some(there) if is_later(there) => Decision::RefusedBackwards { existing: there.clone() },
        _ => Decision::Move,
    }
}

/// The tags in the order in which they are moved: most specific first, `latest` last, no tag twice.
///
/// Of two tags the longer is the more specific: a time or a commit only ever makes a tag longer. Tags of one length
/// keep their order. Who finds `latest` moved can therefore rely on the exact tags being there.
pub fn order<T: AsRef<str>>(tags: &[T]) -> Vec<String> {
    let mut ordered: Vec<String> = Vec::with_capacity(tags.len());
    for tag in tags {
        if !ordered.iter().any(|seen| seen == tag.as_ref()) {
            ordered.push(tag.as_ref().to_owned());
        }
    }
    ordered.sort_by_key(|tag| (tag == LATEST, std::cmp::Reverse(tag.len())));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image_output::Created;

    fn origin(reference: &str, commit: &str, minute: u32) -> Origin {
        let pushed_at = format!("2020-10-15T08:{minute:02}:00Z").parse().unwrap();
        let (pushed_at, build) = (Some(pushed_at), Some(7));
        Origin { reference: reference.into(), commit: commit.into(), pushed_at, build, rule: Some("main".into()) }
    }

    fn existing(digest: &str, origin: Option<Origin>) -> Existing {
        Existing { digest: digest.into(), origin }
    }

    fn new(digest: &str, origin: Origin) -> New {
        New { digest: digest.into(), origin }
    }

    const MAIN: &str = "refs/heads/main";

    /// As for a build that nobody asked for.
    fn decide(tag: &str, existing: Option<&Existing>, new: &New, immutable: bool) -> Decision {
        super::decide(tag, existing, new, immutable, |there| there.is_later_than(&new.origin))
    }

    fn asked(tag: &str, existing: Option<&Existing>, new: &New, immutable: bool) -> Decision {
        super::decide(tag, existing, new, immutable, |_| false)
    }

    #[test]
    fn a_tag_that_is_not_there_is_made() {
        let ours = new("sha256:b", origin(MAIN, "b", 1));
        assert_eq!(decide("v1", None, &ours, true), Decision::Move);
    }

    #[test]
    fn the_same_digest_is_already_published_even_when_tags_are_immutable() {
        let there = existing("sha256:b", Some(origin(MAIN, "a", 9)));
        let ours = new("sha256:b", origin(MAIN, "b", 1));
        assert_eq!(decide("v1", Some(&there), &ours, true), Decision::AlreadyPublished);
    }

    #[test]
    fn an_immutable_tag_is_not_overwritten_by_anybody() {
        let there = existing("sha256:a", Some(origin(MAIN, "a", 1)));
        let ours = new("sha256:b", origin(MAIN, "b", 2));
        for decision in [decide("v1", Some(&there), &ours, true), asked("v1", Some(&there), &ours, true)] {
            assert_eq!(decision, Decision::RefusedImmutable { existing: "sha256:a".into() });
        }
    }

    #[test]
    fn an_immutable_tag_that_an_earlier_try_of_the_build_published_is_the_builds_own() {
        let ours = origin(MAIN, "a", 1);
        let decision = |there: Origin| {
            decide("v1", Some(&existing("sha256:a", Some(there))), &new("sha256:b", ours.clone()), true)
        };
        let kept = Decision::Ours { existing: "sha256:a".into() };
        assert_eq!(decision(ours.clone()), kept);
        assert_eq!(decision(Origin { build: Some(3), ..ours.clone() }), kept, "the same push, built again");
        assert_eq!(decision(Origin { rule: None, ..ours.clone() }), kept, "an image of slipway 0.1, of this build");
        let others = [
            Origin { build: Some(3), rule: Some("other".into()), ..ours.clone() },
            Origin { build: Some(3), rule: None, ..ours.clone() },
            origin(MAIN, "b", 1),
            origin(MAIN, "a", 2),
            origin("refs/heads/other", "a", 1),
        ];
        for other in others {
            let refused = Decision::RefusedImmutable { existing: "sha256:a".into() };
            assert_eq!(decision(other.clone()), refused, "{other:?}");
        }
    }

    #[test]
    fn latest_moves_where_tags_are_immutable_but_not_backwards() {
        let there = existing("sha256:a", Some(origin(MAIN, "a", 5)));
        assert_eq!(decide("latest", Some(&there), &new("sha256:b", origin(MAIN, "b", 6)), true), Decision::Move);
        let older = new("sha256:b", origin(MAIN, "b", 4));
        let refused = Decision::RefusedBackwards { existing: origin(MAIN, "a", 5) };
        assert_eq!(decide("latest", Some(&there), &older, true), refused);
    }

    #[test]
    fn a_person_may_move_a_mutable_tag_back() {
        let there = existing("sha256:a", Some(origin(MAIN, "a", 5)));
        assert_eq!(asked("v1", Some(&there), &new("sha256:b", origin(MAIN, "b", 4)), false), Decision::Move);
    }

    #[test]
    fn another_ref_another_tools_image_and_a_rebuild_of_one_commit_hold_nothing_back() {
        let ours = new("sha256:b", origin(MAIN, "b", 4));
        let later = [Some(origin("refs/heads/other", "a", 5)), None, Some(origin(MAIN, "b", 5))];
        for there in later {
            assert_eq!(decide("v1", Some(&existing("sha256:a", there)), &ours, false), Decision::Move);
        }
    }

    #[test]
    fn two_commits_pushed_at_one_moment_do_not_block_each_other() {
        let there = existing("sha256:a", Some(origin(MAIN, "a", 4)));
        assert_eq!(decide("v1", Some(&there), &new("sha256:b", origin(MAIN, "b", 4)), false), Decision::Move);
    }

    #[test]
    fn tags_go_most_specific_first_and_latest_last() {
        let tags = ["latest", "v1", "v1-20201015", "v2", "v1-202010151625-d4ef3d", "v1"];
        assert_eq!(order(&tags), ["v1-202010151625-d4ef3d", "v1-20201015", "v1", "v2", "latest"]);
    }

    #[test]
    fn an_image_that_its_commit_alone_makes_names_no_build_and_is_of_every_push_of_it() {
        let mut build = crate::domain::build::sample();
        let named = Origin::of(&build);
        build.rule.created = Created::Commit;
        let ours = Origin::of(&build);
        let keys: Vec<String> = ours.annotations().into_keys().collect();
        assert_eq!(keys, [REF, RULE, REVISION], "the same for every build of the commit");
        assert_eq!(Origin::from_annotations(&ours.annotations()), Some(ours.clone()));
        assert!(ours.is_same_push(&named) && named.is_same_push(&ours));
        let other = Origin { commit: "b".into(), ..ours.clone() };
        assert!(!other.is_same_push(&ours) && !other.is_later_than(&ours) && !ours.is_later_than(&other));
        assert!(!Origin { rule: Some("other".into()), ..ours.clone() }.is_same_push(&ours));
    }

    #[test]
    fn labels_leave_nothing_for_a_dockerfile_to_say() {
        let origin = Origin {
            reference: "refs/heads/main".into(),
            commit: "c".into(),
            pushed_at: None,
            build: None,
            rule: Some("main".into()),
        };
        let labels = origin.labels();
        assert_eq!((labels[PUSHED_AT].as_str(), labels[BUILD].as_str()), ("", ""));
        assert_eq!(Origin::from_annotations(&labels), Some(origin));
    }

    #[test]
    fn an_origin_survives_its_annotations() {
        let ours = origin(MAIN, "d4ef3d", 25);
        assert_eq!(Origin::from_annotations(&ours.annotations()), Some(ours.clone()));
        let mut damaged = ours.annotations();
        damaged.insert(PUSHED_AT.into(), "yesterday".into());
        assert_eq!(Origin::from_annotations(&damaged), None);
    }
}
