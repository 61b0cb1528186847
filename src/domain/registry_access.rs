//! What a registry lets slipway do, as the registry itself says.

use serde::{Deserialize, Serialize};

use super::reason::Reason;

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
        let repository = |pull, push, delete| RepositoryAccess { repository: "acme/api".into(), pull, push, delete };
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
}
