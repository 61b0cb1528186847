//! What a registry lets slipway do, as the registry itself says.

use serde::{Deserialize, Serialize};

use super::reason::{Reason, quoted, reason};
use super::repository::Visibility;

/// A registry that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAccess {
    /// The registry: HOST\[:PORT\].
    pub host: String,
    /// As whom it was asked; none: as nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Why there is no credential although one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_credential: Option<Reason>,
    /// Whether it lets us in.
    pub sign_in: Access,
    /// Its repositories that were asked for.
    pub repositories: Vec<RepositoryAccess>,
    /// How many more publish there and were not asked for.
    #[serde(default)]
    pub more: usize,
}

/// What may be done with one repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryAccess {
    /// The image's name within the registry: `acme/api`.
    pub repository: String,
    /// Reading tags and images.
    pub pull: Access,
    /// Bringing images and moving tags.
    pub push: Access,
    /// Deleting tags and images.
    pub delete: Access,
    /// Whether anybody may read them, without any credential; none: the registry did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anybody: Option<bool>,
    /// What a repository of this home that publishes there says of itself; none: no such repository does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
}

impl RepositoryAccess {
    /// How the registry differs from what the repository says of its visibility; none where it does not, or did not say.
    pub fn difference(&self) -> Option<Reason> {
        let repository = quoted(&self.repository);
        match (self.visibility?, self.anybody?) {
            (Visibility::Private, true) => Some(reason!("registry_access.is_public", repository)),
            (Visibility::Public, false) => Some(reason!("registry_access.is_private", repository)),
            (Visibility::Private, false) | (Visibility::Public, true) => None,
        }
    }
}

/// Whether something may be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It may.
    Granted,
    /// It may not, or can't.
    Refused(Reason),
}

impl Access {
    /// Whether it may be done.
    pub fn is_granted(&self) -> bool {
        *self == Access::Granted
    }

    /// Why not.
    pub fn refusal(&self) -> Option<&Reason> {
        match self {
            Access::Granted => None,
            Access::Refused(reason) => Some(reason),
        }
    }
}

impl RegistryAccess {
    /// Whether a build can publish: we are let in, and may read and write every repository that was asked for. Deleting
    /// is only for people.
    pub fn is_enough_for_builds(&self) -> bool {
        let is_enough = |one: &RepositoryAccess| one.pull.is_granted() && one.push.is_granted();
        self.sign_in.is_granted() && self.repositories.iter().all(is_enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_need_to_read_and_write_and_not_to_delete() {
        let refused = || Access::Refused(Reason::verbatim("no"));
        let repository = |pull, push, delete| RepositoryAccess {
            repository: "acme/api".into(),
            pull,
            push,
            delete,
            anybody: None,
            visibility: None,
        };
        let access = |sign_in, repository| RegistryAccess {
            host: "registry.example.com".into(),
            user: None,
            no_credential: None,
            sign_in,
            repositories: vec![repository],
            more: 0,
        };
        use Access::Granted;
        assert!(access(Granted, repository(Granted, Granted, refused())).is_enough_for_builds());
        assert!(!access(Granted, repository(Granted, refused(), Granted)).is_enough_for_builds());
        assert!(!access(Granted, repository(refused(), Granted, Granted)).is_enough_for_builds());
        assert!(!access(refused(), repository(Granted, Granted, Granted)).is_enough_for_builds());
    }

    #[test]
    fn a_registry_that_shows_more_or_less_than_the_repository_says_is_told() {
        let difference = |visibility, anybody| {
            let (pull, push, delete) = (Access::Granted, Access::Granted, Access::Granted);
            let repository = "acme/api".into();
            let access = RepositoryAccess { repository, pull, push, delete, anybody, visibility };
            access.difference().map(|reason| reason.to_string())
        };
        use Visibility::{Private, Public};
        assert!(difference(Some(Private), Some(true)).unwrap().contains("anybody can pull"));
        assert!(difference(Some(Public), Some(false)).unwrap().contains("nobody can pull"));
        for (visibility, anybody) in [(Some(Private), Some(false)), (Some(Public), Some(true)), (Some(Private), None)] {
            assert_eq!(difference(visibility, anybody), None);
        }
        assert_eq!(difference(None, Some(true)), None);
    }
}
