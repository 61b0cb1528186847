//! Questions about many builds: which ones, a page at a time, and the short form that lists show.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::build::{Build, BuildId, BuildState, Image, Trigger};
use super::name::RepositoryPath;
use super::push::{CommitId, Ref};

/// The most builds of one page: a client that asks for more gets a page of this size and the place to go on from.
pub const LONGEST_PAGE: usize = 500;

/// Which builds are asked for, newest first. The default is the newest of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildQuery {
    /// Only builds of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only builds of this repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryPath>,
    /// Only builds of the rule of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Only builds in one of these states; empty: in any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<BuildState>,
    /// Only builds with a lower number than this: the `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<BuildId>,
    /// At most this many builds, and at most [`LONGEST_PAGE`].
    pub limit: usize,
}

impl Default for BuildQuery {
    fn default() -> BuildQuery {
        BuildQuery { namespace: None, repository: None, rule: None, states: Vec::new(), before: None, limit: 50 }
    }
}

impl BuildQuery {
    /// Whether a build is one of those that are asked for, whatever its number.
    pub fn matches(&self, build: &BuildSummary) -> bool {
        self.namespace.as_ref().is_none_or(|name| *name == build.path.namespace)
            && self.repository.as_ref().is_none_or(|path| *path == build.path)
            && self.rule.as_ref().is_none_or(|rule| *rule == build.rule)
            && (self.states.is_empty() || self.states.contains(&build.state))
    }

    /// How many builds the page may hold.
    pub fn page_size(&self) -> usize {
        self.limit.min(LONGEST_PAGE)
    }
}

/// Builds that a query found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPage {
    /// Newest first.
    pub builds: Vec<BuildSummary>,
    /// Records among those that were looked at that can't be read, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<(BuildId, String)>,
    /// The `before` of the next page; none: there are no older builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<BuildId>,
    /// How many builds are older than this page, whether the query matches them or not.
    pub older: usize,
}

/// A build as lists show it: small, for there may be a million.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSummary {
    /// Its number.
    pub id: BuildId,
    /// Its repository.
    pub path: RepositoryPath,
    /// Its rule's name.
    pub rule: String,
    /// Where it stands.
    pub state: BuildState,
    /// One sentence: why it stands there, and what can be done.
    pub reason: String,
    /// The ref that is built.
    pub reference: Ref,
    /// Its commit.
    pub commit: CommitId,
    /// What its image is to be called.
    pub tags: Vec<String>,
    /// Why it exists.
    pub trigger: Trigger,
    /// Who asked for it.
    pub asked_by: String,
    /// When it was asked for.
    pub queued_at: DateTime<Utc>,
    /// When its runner started.
    pub started_at: Option<DateTime<Utc>>,
    /// When its state became final.
    pub finished_at: Option<DateTime<Utc>>,
    /// Where it runs, or ran.
    pub builders: Vec<String>,
    /// The images that it published.
    pub images: Vec<Image>,
}

impl From<&Build> for BuildSummary {
    fn from(build: &Build) -> BuildSummary {
        BuildSummary {
            id: build.id,
            path: build.path(),
            rule: build.rule.name.clone(),
            state: build.state,
            reason: build.reason.clone(),
            reference: build.reference.clone(),
            commit: build.commit.clone(),
            tags: build.tags.iter().map(ToString::to_string).collect(),
            trigger: build.trigger,
            asked_by: build.asked_by.to_string(),
            queued_at: build.queued_at,
            started_at: build.started_at,
            finished_at: build.finished_at,
            builders: build.builders.clone(),
            images: build.images.clone(),
        }
    }
}

impl BuildSummary {
    /// How long it has run, or ran; none before it started.
    pub fn duration(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        Some(self.finished_at.unwrap_or(now) - self.started_at?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::sample;

    #[test]
    fn every_part_of_a_query_narrows_it() {
        let build = BuildSummary::from(&sample());
        assert!(BuildQuery::default().matches(&build));
        let other = |query: BuildQuery| !query.matches(&build);
        assert!(other(BuildQuery { namespace: Some("other".into()), ..BuildQuery::default() }));
        assert!(other(BuildQuery { repository: Some("acme/other".parse().unwrap()), ..BuildQuery::default() }));
        assert!(other(BuildQuery { rule: Some("other".into()), ..BuildQuery::default() }));
        assert!(other(BuildQuery { states: vec![BuildState::Interrupted], ..BuildQuery::default() }));
        let same = BuildQuery {
            namespace: Some(build.path.namespace.clone()),
            repository: Some(build.path.clone()),
            rule: Some(build.rule.clone()),
            states: vec![BuildState::Interrupted, build.state],
            ..BuildQuery::default()
        };
        assert!(same.matches(&build));
        assert_eq!(BuildQuery { limit: usize::MAX, ..BuildQuery::default() }.page_size(), LONGEST_PAGE);
    }
}
