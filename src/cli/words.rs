//! Values of settings in words, and settings that options change.

use super::output::told;
use crate::domain::reason::{Phrase, phrase, reason};
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
    told(if on { phrase!("word.yes") } else { phrase!("word.no") })
}

/// A visibility in a word.
pub(super) fn visibility_word(visibility: Visibility) -> Phrase {
    match visibility {
        Visibility::Private => phrase!("word.private"),
        Visibility::Public => phrase!("word.public"),
    }
}

/// Where a secret is from, in words.
pub(super) fn where_from(reference: &SecretRef) -> String {
    told(match reference {
        SecretRef::File(name) => reason!("where_from.file", name),
        SecretRef::Env(name) => reason!("where_from.variable", name),
        SecretRef::Command(command) => reason!("where_from.command", command),
    })
}
