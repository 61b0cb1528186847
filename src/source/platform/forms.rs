//! What the platforms share: rights, names that fit, webhooks.

use crate::domain::platform_account::Lack;
use crate::domain::reason::{Phrase, phrase};

/// A right that slipway uses: one of some scopes, for a purpose.
pub(super) struct Need {
    pub scopes: &'static [&'static str],
    pub purpose: Phrase,
}

/// What of the needs the scopes do not cover; the first scope of each need is the one to ask for.
pub(super) fn lacks(scopes: &[String], needs: &[Need]) -> Vec<Lack> {
    let covered = |need: &&Need| need.scopes.iter().any(|scope| scopes.iter().any(|given| given == scope));
    let lack = |need: &Need| Lack { right: need.scopes[0].into(), purpose: need.purpose.into() };
    needs.iter().filter(|need| !covered(need)).map(lack).collect()
}

pub(super) const READ: Phrase = phrase!("token_use.read_repositories");
pub(super) const STATUS: Phrase = phrase!("token_use.set_statuses");
pub(super) const WEBHOOKS: Phrase = phrase!("token_use.register_webhooks");

/// A name of at most so many characters that two names do not share: what is cut off leaves its digest.
pub(super) fn at_most(name: &str, characters: usize) -> String {
    use sha2::{Digest as _, Sha256};
    const DIGEST: usize = 8;
    if name.chars().count() <= characters {
        return name.to_owned();
    }
    let kept: String = name.chars().take(characters - DIGEST - 1).collect();
    format!("{kept}-{}", &hex::encode(Sha256::digest(name))[..DIGEST])
}

/// Whether a repository's name has what somebody looks for, where the platform has no search of its own.
pub(super) fn has(name: &str, filter: &str) -> bool {
    name.to_lowercase().contains(&filter.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_cut_stays_its_own() {
        assert_eq!(at_most("slipway/acme/api/main", 40), "slipway/acme/api/main");
        let [one, other] = ["a", "b"].map(|end| at_most(&format!("slipway/acme/{}{end}", "x".repeat(60)), 40));
        assert_eq!((one.len(), other.len()), (40, 40));
        assert_ne!(one, other);
    }

    #[test]
    fn what_a_token_lacks_is_named_by_the_right_to_ask_for() {
        let needs = [Need { scopes: &["repo", "public_repo"], purpose: READ }];
        assert_eq!(lacks(&["public_repo".into()], &needs), []);
        assert_eq!(lacks(&["gist".into()], &needs), [Lack { right: "repo".into(), purpose: READ.into() }]);
    }
}
