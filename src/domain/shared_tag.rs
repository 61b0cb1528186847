//! Two refs that become one image tag, because a tag can't hold all characters of their names. Pure.

use super::publish::Origin;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// A tag that named the image of another ref until now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedTag {
    /// The tag.
    pub tag: String,
    /// The other ref's image.
    pub before: Origin,
}

impl SharedTag {
    /// The other ref that a tag is taken from, where one is. `altered` are the tags of the build in which characters of
    /// the ref's name were replaced: a tag that two refs share otherwise is meant to be shared.
    pub fn of(tag: &str, altered: &[String], before: Option<&Origin>, ours: &Origin) -> Option<SharedTag> {
        let before = before.filter(|before| before.reference != ours.reference)?;
        let is_altered = altered.iter().any(|altered| altered == tag);
        is_altered.then(|| SharedTag { tag: tag.to_owned(), before: before.clone() })
    }
}

display_as_reason!(SharedTag);

impl AsReason for SharedTag {
    fn reason(&self) -> Reason {
        let SharedTag { tag, before } = self;
        match before.build {
            Some(build) => reason!("tag.taken_from_ref", tag, reference = before.reference, build),
            None => reason!("tag.taken_from_commit_of_ref", tag, reference = before.reference, commit = before.commit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(reference: &str) -> Origin {
        let pushed_at = "2020-10-15T08:25:00Z".parse().unwrap();
        Origin {
            reference: reference.into(),
            commit: "a".repeat(40),
            pushed_at: Some(pushed_at),
            build: Some(7),
            rule: None,
        }
    }

    #[test]
    fn a_tag_that_another_ref_has_is_told_where_its_characters_were_replaced() {
        let (ours, other) = (origin("refs/heads/feat/x-需求"), origin("refs/heads/feat/x-登录"));
        let altered = ["x---".to_owned()];
        let shared = SharedTag::of("x---", &altered, Some(&other), &ours).unwrap();
        assert!(shared.to_string().contains("refs/heads/feat/x-登录 (build #7)"), "{shared}");
        assert_eq!(SharedTag::of("x---", &altered, Some(&ours), &ours), None, "its own image before");
        assert_eq!(SharedTag::of("latest", &altered, Some(&other), &ours), None, "meant to be shared");
        assert_eq!(SharedTag::of("x---", &altered, None, &ours), None);
    }
}
