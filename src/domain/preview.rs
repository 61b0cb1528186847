//! What a rule would do with the refs of a source: which match, which nearly do, and the tags they would get.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::push::{CommitId, Push, Ref};
use super::rule::{Rule, RuleError};

/// One ref, seen by a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewRow {
    /// The ref.
    #[serde(rename = "ref")]
    pub reference: Ref,
    /// Where it points.
    pub commit: CommitId,
    /// How the rule answers.
    pub answer: Answer,
    /// The tags it would get, in the order of the versions.
    pub tags: Vec<String>,
    /// What people should know: changed captures, collisions, tags that exist, why it nearly matched or makes no tag.
    pub notes: Vec<String>,
}

/// How a rule answers a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is built.
    Match,
    /// It matches but makes no valid tag: its build is refused.
    Refused,
    /// It nearly matches.
    Near,
    /// It is not built.
    None,
}

/// Previews a rule over refs as though each were pushed at `now`; matches first, then near misses, then the rest.
///
/// `existing` are the tags that the repository has; they matter where it is immutable.
///
/// # Errors
/// When the rule's pattern does not compile.
pub fn preview(
    rule: &Rule,
    refs: &[(Ref, CommitId)],
    existing: &BTreeSet<String>,
    immutable: bool,
    now: DateTime<Utc>,
) -> Result<Vec<PreviewRow>, RuleError> {
    let (kind, matcher) = rule.matcher()?;
    let mut rows = Vec::with_capacity(refs.len());
    for (reference, commit) in refs.iter().filter(|(reference, _)| reference.kind == kind) {
        let push = Push { reference: reference.clone(), commit: commit.clone(), at: now };
        let mut row = PreviewRow {
            reference: reference.clone(),
            commit: commit.clone(),
            answer: Answer::None,
            tags: Vec::new(),
            notes: Vec::new(),
        };
        match rule.tags(&push) {
            Ok(Some(tags)) => {
                row.answer = Answer::Match;
                row.notes.extend(tags.replaced.iter().map(ToString::to_string));
                row.tags = tags.tags.iter().map(ToString::to_string).collect();
                for tag in
                    tags.tags.iter().filter(|tag| immutable && !tag.is_latest() && existing.contains(tag.as_str()))
                {
                    row.notes.push(format!("{tag} exists and the repository is immutable: its build would be refused"));
                }
            }
            Ok(None) => {
                if let Some(near) = matcher.near_miss(&reference.name) {
                    row.answer = Answer::Near;
                    row.notes.push(near.to_string());
                }
            }
            Err(error) => {
                row.answer = Answer::Refused;
                row.notes.push(error.reason.to_string());
            }
        }
        rows.push(row);
    }
    note_collisions(&mut rows);
    rows.sort_by(|a, b| (a.answer, &a.reference).cmp(&(b.answer, &b.reference)));
    Ok(rows)
}

/// Two refs that would share a tag overwrite each other's image. `latest` of one literal ref never collides.
fn note_collisions(rows: &mut [PreviewRow]) {
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows.iter() {
        for tag in &row.tags {
            owners.entry(tag.clone()).or_default().push(row.reference.name.clone());
        }
    }
    for row in rows {
        for tag in &row.tags {
            let others: Vec<&str> =
                owners[tag].iter().map(String::as_str).filter(|other| *other != row.reference.name).collect();
            if let Some((first, rest)) = others.split_first() {
                let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                row.notes.push(format!("{tag} is also the tag of {first}{more}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pattern::Pattern;
    use crate::domain::version::Version;

    fn refs(names: &[&str]) -> Vec<(Ref, CommitId)> {
        names.iter().map(|name| (name.parse().unwrap(), "a".repeat(40).parse().unwrap())).collect()
    }

    fn rule(regex: &str, version: &str) -> Rule {
        Rule {
            branch: Some(Pattern::Regex(regex.into())),
            versions: vec![Version::named(version)],
            ..Rule::starter("main")
        }
    }

    fn now() -> DateTime<Utc> {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn matches_come_first_then_refusals_and_near_misses_and_the_other_kind_of_ref_never() {
        let rows = preview(
            &rule(r"release-(?<v>\w*)", "${v}"),
            &refs(&[
                "refs/heads/main",
                "refs/heads/release-v1.2",
                "refs/heads/release-",
                "refs/heads/release-v1",
                "refs/tags/release-v1",
            ]),
            &BTreeSet::new(),
            false,
            now(),
        )
        .unwrap();
        let answers: Vec<_> = rows.iter().map(|row| (row.reference.name.as_str(), row.answer)).collect();
        assert_eq!(
            answers,
            [
                ("release-v1", Answer::Match),
                ("release-", Answer::Refused),
                ("release-v1.2", Answer::Near),
                ("main", Answer::None)
            ]
        );
    }

    #[test]
    fn two_refs_that_share_a_tag_are_told_of_each_other() {
        let rows = preview(
            &rule("(?<b>.+)", "${b}"),
            &refs(&["refs/heads/feature/x", "refs/heads/feature-x"]),
            &BTreeSet::new(),
            false,
            now(),
        )
        .unwrap();
        assert!(rows[0].notes.contains(&"feature-x is also the tag of feature/x".to_owned()), "{rows:?}");
        assert_eq!(rows[1].notes.len(), 2, "{rows:?}");
    }

    #[test]
    fn a_tag_that_exists_matters_where_tags_are_immutable() {
        let existing = BTreeSet::from(["v1".to_owned(), "latest".to_owned()]);
        let notes = |immutable| {
            let refs = refs(&["refs/heads/release-v1"]);
            preview(&rule(r"release-(?<v>\w*)", "${v}"), &refs, &existing, immutable, now()).unwrap()[0].notes.clone()
        };
        assert!(notes(false).is_empty());
        assert_eq!(notes(true).len(), 1);
    }
}
