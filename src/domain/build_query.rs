//! Queries for builds and pushes, newest first and in pages: what a client asks for and what it gets. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::build::{Build, BuildId, BuildState, Trigger};
use super::journal::{PushId, PushRecord};
use super::name::RepositoryPath;
use super::push::Ref;

/// The most records that one page holds.
pub const MOST_OF_PAGE: usize = 1_000;
/// The number of records of a page where the client does not say.
pub const USUAL_PAGE: usize = 50;

fn usual_page() -> usize {
    USUAL_PAGE
}

/// Which builds of a pool a client wants to see; absent filters match every build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildQuery {
    /// Namespace of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryPath>,
    /// Name of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Ref that was built.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Ref>,
    /// States; empty: every state.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub states: BTreeSet<BuildState>,
    /// Trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// First digits of the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Words that must each occur in the number, repository, rule, ref, commit, tags, state, trigger or requester.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Only builds with a lower number: the next page of an earlier query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<BuildId>,
    /// The most builds of the page, at most [`MOST_OF_PAGE`].
    #[serde(default = "usual_page")]
    pub limit: usize,
}

impl Default for BuildQuery {
    fn default() -> BuildQuery {
        BuildQuery {
            namespace: None,
            repository: None,
            rule: None,
            reference: None,
            states: BTreeSet::new(),
            trigger: None,
            commit: None,
            text: String::new(),
            before: None,
            limit: USUAL_PAGE,
        }
    }
}

impl BuildQuery {
    /// Whether a build belongs to the answer; `before` and `limit` aside.
    pub fn matches(&self, build: &Build) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == build.namespace)
            && self
                .repository
                .as_ref()
                .is_none_or(|path| path.namespace == build.namespace && path.repository == build.repository)
            && self.rule.as_ref().is_none_or(|rule| *rule == build.rule.name)
            && self.reference.as_ref().is_none_or(|reference| *reference == build.reference)
            && (self.states.is_empty() || self.states.contains(&build.state))
            && self.trigger.is_none_or(|trigger| trigger == build.trigger)
            && self.commit.as_ref().is_none_or(|digits| has_prefix(build.commit.as_str(), digits))
            && self.has_words(build)
    }

    /// Whether the query asks for every build.
    pub fn is_unfiltered(&self) -> bool {
        let BuildQuery { namespace, repository, rule, reference, states, trigger, commit, text, .. } = self;
        namespace.is_none()
            && repository.is_none()
            && rule.is_none()
            && reference.is_none()
            && states.is_empty()
            && trigger.is_none()
            && commit.is_none()
            && text.trim().is_empty()
    }

    /// The number of builds to answer with.
    pub fn page_size(&self) -> usize {
        self.limit.clamp(1, MOST_OF_PAGE)
    }

    /// The words of [`BuildQuery::text`], in lower case.
    pub fn words(&self) -> Vec<String> {
        words(&self.text)
    }

    fn has_words(&self, build: &Build) -> bool {
        let words = self.words();
        if words.is_empty() {
            return true;
        }
        let (text, id) = (search_text(build), build.id.to_string());
        words.iter().all(|word| text.contains(word) || id.contains(word) || build.state.word().contains(word.as_str()))
    }
}

/// What the words of a query are looked for in, apart from number and state: in lower case, one text a line.
pub fn search_text(build: &Build) -> String {
    let mut text = format!(
        "{}/{}\n{}\n{}\n{}\n{}\n{}",
        build.namespace,
        build.repository,
        build.rule.name,
        build.reference.name,
        build.commit.short(12),
        build.trigger.word(),
        build.asked_by
    );
    for tag in &build.tags {
        text.push('\n');
        text.push_str(tag.as_str());
    }
    text.to_lowercase()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}

fn has_prefix(commit: &str, digits: &str) -> bool {
    commit.get(..digits.len()).is_some_and(|start| start.eq_ignore_ascii_case(digits))
}

/// Which pushes of the journal a client wants to see; absent filters match every push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushQuery {
    /// Namespace of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Repository whose source was pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryPath>,
    /// Ref that moved.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Ref>,
    /// First digits of the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Only pushes with a lower number: the next page of an earlier query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PushId>,
    /// The most pushes of the page, at most [`MOST_OF_PAGE`].
    #[serde(default = "usual_page")]
    pub limit: usize,
}

impl Default for PushQuery {
    fn default() -> PushQuery {
        PushQuery { namespace: None, repository: None, reference: None, commit: None, before: None, limit: USUAL_PAGE }
    }
}

impl PushQuery {
    /// Whether a push belongs to the answer; `before` and `limit` aside.
    pub fn matches(&self, push: &PushRecord) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == push.repository.namespace)
            && self.repository.as_ref().is_none_or(|path| *path == push.repository)
            && self.reference.as_ref().is_none_or(|reference| *reference == push.reference)
            && self.commit.as_ref().is_none_or(|digits| has_prefix(push.commit.as_str(), digits))
    }

    /// The number of pushes to answer with.
    pub fn page_size(&self) -> usize {
        self.limit.clamp(1, MOST_OF_PAGE)
    }
}

/// One page of records, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T, Id> {
    /// The records.
    pub records: Vec<T>,
    /// Records that can't be read, each with the reason; only in answers to queries without a filter.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<(Id, String)>,
    /// The `before` of the next page; absent: no older record matches. While the pool reads its records anew, a page may
    /// be short, even empty, and still have a next one.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub more: Option<Id>,
}

fn none<Id>() -> Option<Id> {
    None
}

impl<T, Id> Default for Page<T, Id> {
    fn default() -> Page<T, Id> {
        Page { records: Vec::new(), unreadable: Vec::new(), more: None }
    }
}

/// A page of builds.
pub type BuildPage = Page<Build, BuildId>;
/// A page of pushes.
pub type PushPage = Page<PushRecord, PushId>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::sample;

    #[test]
    fn a_query_matches_what_all_of_its_filters_match() {
        let build = sample();
        let all = BuildQuery {
            namespace: Some("acme".into()),
            repository: Some(build.path()),
            rule: Some(build.rule.name.clone()),
            reference: Some(build.reference.clone()),
            states: BTreeSet::from([BuildState::Queued]),
            trigger: Some(Trigger::Manual),
            commit: Some("D4EF".into()),
            text: "API main #7 queued LATEST".into(),
            ..BuildQuery::default()
        };
        assert!(all.matches(&build) && !all.is_unfiltered());
        let others = [
            BuildQuery { namespace: Some("acm".into()), ..all.clone() },
            BuildQuery { repository: Some("acme/web".parse().unwrap()), ..all.clone() },
            BuildQuery { rule: Some("other".into()), ..all.clone() },
            BuildQuery { reference: Some(Ref::tag("main")), ..all.clone() },
            BuildQuery { states: BTreeSet::from([BuildState::Held]), ..all.clone() },
            BuildQuery { trigger: Some(Trigger::Push), ..all.clone() },
            BuildQuery { commit: Some("4ef".into()), ..all.clone() },
            BuildQuery { text: "api web".into(), ..all.clone() },
        ];
        assert!(others.iter().all(|query| !query.matches(&build)));
        assert!(BuildQuery::default().matches(&build) && BuildQuery::default().is_unfiltered());
    }

    #[test]
    fn a_query_of_a_client_is_bounded_and_short() {
        let query: BuildQuery = serde_json::from_str(r#"{"limit": 1000000, "states": ["failed"]}"#).unwrap();
        assert_eq!((query.page_size(), query.states.len()), (MOST_OF_PAGE, 1));
        assert_eq!(serde_json::to_string(&PushQuery::default()).unwrap(), r#"{"limit":50}"#);
        let page: BuildPage = serde_json::from_str(r#"{"records": []}"#).unwrap();
        assert_eq!(page, BuildPage::default());
    }
}
