//! Values of settings in words, and settings that options change.

use super::output::told;
use crate::domain::repository::Visibility;
use crate::domain::secret_ref::SecretRef;

/// Takes what was given.
pub(super) fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *field = given;
    }
}

/// `yes` or `no`.
pub(super) fn yes_no(on: bool) -> String {
    told(if on { "yes" } else { "no" })
}

/// A visibility, as TOML has it.
pub(super) fn visibility_word(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Public => "public",
    }
}

/// Where a secret is from, in words.
pub(super) fn where_from(reference: &SecretRef) -> String {
    match reference {
        SecretRef::File(name) => format!("in secrets/{name}"),
        SecretRef::Env(name) => format!("in the variable {name}"),
        SecretRef::Command(command) => format!("printed by: {command}"),
    }
}
