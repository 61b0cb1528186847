//! Moving one tag to an image that its repository has.

use super::client::Client;
use super::layout::{Layout, LayoutError};
use super::publish::{PublishError, Target, blocking, of_tag};
use crate::domain::publish::is_protected;

/// What a tag is to name, and what it named when that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The tag.
    pub tag: String,
    /// The digest of an index or a manifest of the repository.
    pub digest: String,
    /// What the tag named; none: nothing.
    pub before: Option<String>,
    /// Tags that exist are never overwritten.
    pub immutable: bool,
}

impl Wanted {
    /// Whether the tag may be moved, when it names `now`.
    ///
    /// # Errors
    /// When it is immutable, or names something else by now.
    pub fn check(&self, image: String, now: Option<&str>) -> Result<(), PublishError> {
        let tag = self.tag.clone();
        if let Some(existing) = now.filter(|now| *now != self.digest && is_protected(&tag, self.immutable)) {
            return Err(PublishError::Immutable { image, tag, existing: existing.to_owned() });
        }
        if now != self.before.as_deref() && now != Some(&self.digest) {
            return Err(PublishError::MovedMeanwhile { image, tag, now: now.map(str::to_owned) });
        }
        Ok(())
    }
}

/// Lets a tag name an image that its repository has.
///
/// # Errors
/// When the tag may not be moved, the image is not there or not whole, or the registry fails. The tag has not moved then.
pub async fn move_tag(target: &Target, wanted: &Wanted) -> Result<(), PublishError> {
    match target {
        Target::Local(layout) => {
            let (layout, wanted) = (layout.clone(), wanted.clone());
            blocking(move || move_local(&layout, &wanted)).await
        }
        Target::Remote(client) => move_remote(client, wanted).await,
    }
}

fn move_local(layout: &Layout, wanted: &Wanted) -> Result<(), PublishError> {
    // Asked first, so that a mistyped repository makes no directory.
    layout.document(&wanted.digest)?;
    let tags = [wanted.tag.clone()];
    layout.publish(&tags, |there| {
        let now = there.into_iter().find_map(|(_, existing)| existing).map(|existing| existing.digest);
        wanted.check(layout.label(), now.as_deref())?;
        Ok::<_, PublishError>((wanted.digest.clone(), tags.to_vec()))
    })
}

async fn move_remote(client: &Client, wanted: &Wanted) -> Result<(), PublishError> {
    let image = client.manifest(&wanted.digest).await?.ok_or_else(|| client.missing(&wanted.digest))?;
    wanted.check(client.image(), client.head(&wanted.tag).await?.as_deref())?;
    match client.put(&wanted.tag, &image.content, &image.media_type).await.map_err(of_tag) {
        Err(error) if error.kind.is_refusal() => Err(PublishError::TagRefused(Box::new(error))),
        outcome => Ok(outcome?),
    }
}

/// Whether an error says that the image of the move is not there.
pub fn is_of_missing_image(error: &PublishError) -> bool {
    match error {
        PublishError::Registry(error) => matches!(error.kind, super::Kind::NotFound),
        PublishError::Layout(error) => matches!(error, LayoutError::Missing { .. }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(tag: &str, immutable: bool) -> Wanted {
        Wanted { tag: tag.into(), digest: "sha256:b".into(), before: Some("sha256:a".into()), immutable }
    }

    fn check(wanted: &Wanted, now: Option<&str>) -> Result<(), PublishError> {
        wanted.check("acme/api".into(), now)
    }

    #[test]
    fn an_immutable_tag_stays_and_latest_does_not() {
        let refused = check(&wanted("v1", true), Some("sha256:a")).unwrap_err();
        assert!(matches!(refused, PublishError::Immutable { .. }));
        assert!(check(&wanted("latest", true), Some("sha256:a")).is_ok());
        assert!(check(&wanted("v1", false), Some("sha256:a")).is_ok());
        assert!(check(&wanted("v1", true), Some("sha256:b")).is_ok(), "it names the image already");
        assert!(check(&Wanted { before: None, ..wanted("v1", true) }, None).is_ok(), "a new tag");
    }

    #[test]
    fn a_tag_that_somebody_else_moved_meanwhile_stays() {
        for now in [Some("sha256:c"), None] {
            let refused = check(&wanted("v1", false), now).unwrap_err();
            assert!(matches!(refused, PublishError::MovedMeanwhile { .. }));
        }
    }
}
