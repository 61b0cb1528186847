//! What speaks against building a push that a rule is asked of. Pure.

use super::tables::CommitFacts;
use crate::domain::changed_files::of_interest;
use crate::domain::commit_message::asks_for_no_build;
use crate::domain::journal::{PushRecord, Verdict};
use crate::domain::pattern::Pattern;
use crate::domain::push::RefKind;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::rule::Rule;
use crate::domain::rule_history::Past;

/// Why a rule does not build a push for what its commit says or changes. While another commit of the ref `is_building`,
/// that may be what the push takes back.
pub(super) fn not_of_interest(
    push: &PushRecord,
    commit: &CommitFacts,
    rule: &Rule,
    past: &Past,
    is_building: bool,
) -> Option<(Verdict, Reason)> {
    if let Some(why) = &commit.not_a_commit {
        return Some((Verdict::Refused, reason!("journal.not_a_commit", why)));
    }
    let kind = if rule.tag.is_some() { RefKind::Tag } else { RefKind::Branch };
    if let Some(words) = push.subject.as_deref().and_then(|subject| asks_for_no_build(subject, kind)) {
        return Some((Verdict::Skipped, reason!("journal.skip_words", words)));
    }
    // Where it is not known what changed, it is built: an image too many is better than one that is missing.
    let (id, good) = past.good.as_ref().filter(|_| rule.looks_at_files() && !is_building)?;
    let changed = commit.changed.get(good)?;
    match of_interest(&rule.paths, &rule.ignore_paths, changed) {
        Ok(None) => {
            let count = changed.len();
            Some((Verdict::Paths, reason!("journal.no_path", count, id = *id)))
        }
        // A glob that does not compile can't have been saved.
        Ok(Some(_)) | Err(_) => None,
    }
}

/// What people should know of a rule for a branch that is not there, of a push to the default branch: that may have
/// been renamed.
pub(super) fn renamed_default(rule: &Rule, push: &PushRecord, missing: &[String], against: Reason) -> Reason {
    let literal = rule.branch.as_ref().filter(|pattern| !pattern.is_regex()).map(Pattern::text);
    match literal.filter(|name| missing.iter().any(|missing| missing == name)) {
        Some(name) => {
            let default = quoted(&push.reference.name);
            reason!("rule.renamed_default", against, name = quoted(name), default)
        }
        None => against,
    }
}
