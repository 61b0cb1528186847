//! What the dashboard knows of the pool and of what is on disk: plain data, for the panes.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::domain::build::{BuildId, BuildState};
pub use crate::domain::build_summary::BuildSummary;
use crate::domain::image_tag::TagInfo;
use crate::domain::journal::{PushId, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::platform_account::Identity;
use crate::domain::problem::Topic;
use crate::domain::reason::Reason;
use crate::domain::repository::Repository;
use crate::domain::settings::Settings;
use crate::domain::step::{Step, StepState, progress};
use crate::protocol::{News, PausedRule, PoolStatus};

use super::window::{Scope, Windows};

/// How far a build's steps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The Dockerfile's steps that are finished.
    pub done: usize,
    /// Those that are known.
    pub total: usize,
    /// Those that came from the cache.
    pub cached: usize,
}

impl Progress {
    /// Counts a build's steps.
    pub fn of(steps: &[Step]) -> Progress {
        let (done, total) = progress(steps);
        let cached = |step: &&Step| !step.internal && (step.cached || step.state == StepState::Cached);
        Progress { done, total, cached: steps.iter().filter(cached).count() }
    }
}

/// The tags of a repository, as they were last asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// They are being asked for.
    Asked,
    /// These are there.
    There(Vec<TagInfo>),
    /// Why they can't be told.
    Failed(Reason),
}

/// Tells a question to a platform from those before it: its token may have become another one meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckId(pub u64);

/// What a platform says of its token, as it was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// It is being asked.
    Asked(CheckId),
    /// This is who the token is.
    Known(Identity),
    /// Why it does not say.
    Failed(Reason),
}

/// The way to the pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Link {
    /// It is being started or connected to.
    #[default]
    Connecting,
    /// It tells us of every change.
    Connected,
    /// It is there and has not answered since then.
    Silent(DateTime<Utc>),
    /// It went away, for this reason; it is tried again.
    Lost(Reason),
    /// It was told to stop; it is started again when somebody asks for it.
    Stopped,
}

/// Everything that the dashboard knows.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// What is configured.
    pub settings: Settings,
    /// The builds that were read.
    pub builds: BTreeMap<BuildId, BuildSummary>,
    /// Which builds these are.
    pub build_windows: Windows<BuildId>,
    /// The last builds of namespaces, repositories and rules that are older than the known part of all builds; none: there
    /// is none, or it is being asked for.
    pub last_builds: BTreeMap<Scope, Option<BuildId>>,
    /// Records that can't be read, each with the reason.
    pub unreadable: BTreeMap<BuildId, Reason>,
    /// The pushes that were read.
    pub pushes: BTreeMap<PushId, PushRecord>,
    /// Which pushes these are.
    pub push_windows: Windows<PushId>,
    /// How far the steps of a build are, where somebody looked.
    pub progress: BTreeMap<BuildId, Progress>,
    /// When waiting builds will start, as past ones let expect.
    pub starts: BTreeMap<BuildId, DateTime<Utc>>,
    /// The tags of repositories that were looked at.
    pub tags: BTreeMap<RepositoryPath, Tags>,
    /// What platforms say of their tokens, where somebody asked.
    pub checks: BTreeMap<String, Check>,
    /// The last question to a platform.
    pub last_check: CheckId,
    /// How the pool is, as it last said.
    pub status: Option<PoolStatus>,
    /// The way to it.
    pub link: Link,
    /// How often it took over the settings on disk, as it last said.
    pub settings_changes: Option<u64>,
}

/// What is to be done for news.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Learnt {
    /// Builds that ended: their records are to be read.
    pub ended: Vec<BuildId>,
    /// Pushes that are new or were answered: they are to be read.
    pub pushes: Vec<PushId>,
    /// The pool could not tell of everything until now.
    pub missed: bool,
    /// The settings are to be read again.
    pub settings: bool,
}

impl Data {
    /// Takes the pool's news over.
    pub fn learn(&mut self, news: News) -> Learnt {
        // After the pool was away, builds may have ended that its successor knows nothing of.
        let mut ended: BTreeSet<BuildId> = news.ended.into_iter().collect();
        if self.link != Link::Connected {
            let open: BTreeSet<BuildId> = news.builds.iter().map(|build| build.id).collect();
            let lost = |row: &&BuildSummary| !row.state.is_final() && !open.contains(&row.id);
            ended.extend(self.builds.values().filter(lost).map(|row| row.id));
        }
        for build in &news.builds {
            self.builds.insert(build.id, BuildSummary::from(build));
        }
        let missed = self.link != Link::Connected;
        if missed {
            self.build_windows.stale();
            self.push_windows.stale();
        }
        let settings = self.settings_changes != Some(news.settings_changes) || self.link != Link::Connected;
        self.status = Some(news.status);
        self.link = Link::Connected;
        self.settings_changes = Some(news.settings_changes);
        Learnt { ended: ended.into_iter().collect(), pushes: news.pushes, missed, settings }
    }

    /// Takes over what was read from disk. What the pool says of an open build is newer than its record.
    pub fn read(&mut self, rows: Vec<BuildSummary>) {
        for row in rows {
            match self.builds.get(&row.id) {
                Some(_) if !row.state.is_final() => {}
                _ => {
                    self.builds.insert(row.id, row);
                }
            }
        }
    }

    /// Takes over what was read of the journal. What became of a push does not change any more.
    pub fn read_pushes(&mut self, records: Vec<PushRecord>) {
        for record in records {
            let settled = self.pushes.get(&record.id).is_some_and(|known| known.settled);
            if record.settled || !settled {
                self.pushes.insert(record.id, record);
            }
        }
    }

    /// Takes over the last builds of namespaces, repositories and rules.
    pub fn read_last_builds(&mut self, last: Vec<(Scope, Option<BuildSummary>)>) {
        for (scope, row) in last {
            self.last_builds.insert(scope, row.as_ref().map(|row| row.id));
            self.read(row.into_iter().collect());
        }
    }

    /// Takes over what is known of the tags of a repository. Of a tag whose image is still being asked for, what was known
    /// stays.
    pub fn take_tags(&mut self, path: RepositoryPath, result: Result<Vec<TagInfo>, Reason>) {
        let mut tags = match result {
            Ok(tags) => tags,
            Err(reason) => return drop(self.tags.insert(path, Tags::Failed(reason))),
        };
        if let Some(Tags::There(before)) = self.tags.get(&path) {
            let before: BTreeMap<&str, &TagInfo> = before.iter().map(|tag| (tag.tag.as_str(), tag)).collect();
            for tag in tags.iter_mut().filter(|tag| tag.digest.is_empty() && tag.problem.is_none()) {
                if let Some(known) = before.get(tag.tag.as_str()) {
                    *tag = (*known).clone();
                }
            }
        }
        self.tags.insert(path, Tags::There(tags));
    }

    /// The pushes whose rules are still being asked, as far as it is known here.
    pub fn unsettled(&self) -> Vec<PushId> {
        self.pushes.values().filter(|push| !push.settled).map(|push| push.id).collect()
    }

    /// Why the source of a repository is not watched now; none where it is, or need not be.
    pub fn unwatched(&self, path: &RepositoryPath) -> Option<&Reason> {
        let mut problems = self.status.iter().flat_map(|status| &status.problems);
        let found = problems.find(|problem| matches!(&problem.topic, Topic::Source(source) if source == path));
        found.map(|problem| &problem.reason)
    }

    /// How a rule is paused; none where it is not.
    pub fn paused(&self, path: &RepositoryPath, rule: &str) -> Option<&PausedRule> {
        let mut paused = self.status.iter().flat_map(|status| &status.paused);
        paused.find(|paused| paused.repository == *path && paused.rule == rule)
    }

    /// The repositories whose sources are on a platform.
    pub fn bound_to<'a>(&'a self, platform: &'a str) -> impl Iterator<Item = &'a RepositoryPath> {
        let repositories = self.settings.repositories.iter();
        let on_it = move |(path, repository): (&'a RepositoryPath, &'a Repository)| {
            let source = repository.source.as_ref()?;
            (source.platform.as_deref() == Some(platform)).then_some(path)
        };
        repositories.filter_map(on_it)
    }

    /// Where the webhooks of a platform go; none where it has no secret for them, or the pool takes none.
    pub fn webhook_url(&self, platform: &str) -> Option<String> {
        self.settings.platforms.get(platform)?.webhook_secret.as_ref()?;
        Some(format!("{}/{platform}", self.status.as_ref()?.webhooks.as_ref()?))
    }

    /// The newest builds without a gap, the newest first.
    pub fn newest_builds(&self) -> impl Iterator<Item = &BuildSummary> {
        let all = Scope::default();
        self.builds.values().rev().take_while(move |row| self.build_windows.has(&all, row.id))
    }

    /// The last build of a namespace, a repository or a rule, as far as it is known.
    pub fn last_build(&self, scope: &Scope) -> Option<&BuildSummary> {
        let older = || self.builds.get(self.last_builds.get(scope)?.as_ref()?);
        self.newest_builds().find(|row| scope.has_build(row)).or_else(older)
    }

    /// Whether the last build of a namespace, a repository or a rule is still to be asked for.
    pub fn lacks_last_build(&self, scope: &Scope) -> bool {
        let all = Scope::default();
        self.build_windows.has_begun(&all)
            && !self.build_windows.is_whole(&all)
            && !self.last_builds.contains_key(scope)
            && self.last_build(scope).is_none()
    }

    /// How many builds are in a state.
    pub fn count(&self, state: BuildState) -> usize {
        self.builds.values().filter(|row| row.state == state).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{Build, sample};
    use crate::tui::testing::news;

    #[test]
    fn builds_that_ended_while_the_pool_was_away_are_read_again() {
        let mut data = Data::default();
        data.learn(news(vec![sample()], Vec::new()));
        data.link = Link::Lost(Reason::verbatim("killed"));
        assert_eq!(data.learn(news(Vec::new(), Vec::new())).ended, [sample().id]);
        assert_eq!(data.link, Link::Connected);
    }

    #[test]
    fn a_record_that_is_older_than_the_pools_word_changes_nothing() {
        let mut data = Data::default();
        data.learn(news(vec![Build { state: BuildState::Running, ..sample() }], Vec::new()));
        data.read(vec![BuildSummary::from(&sample())]);
        assert_eq!(data.builds[&sample().id].state, BuildState::Running);
        data.read(vec![BuildSummary::from(&Build { state: BuildState::Succeeded, ..sample() })]);
        assert_eq!(data.builds[&sample().id].state, BuildState::Succeeded);
    }

    #[test]
    fn what_is_known_of_a_tag_stays_while_it_is_asked_for_again() {
        let (mut data, path) = (Data::default(), RepositoryPath { namespace: "acme".into(), repository: "api".into() });
        let unknown = |tag| TagInfo::named("acme/api", tag);
        let known = |tag, digest: &str| TagInfo { digest: digest.into(), ..unknown(tag) };
        data.take_tags(path.clone(), Ok(vec![known("a", "sha256:1"), known("b", "sha256:2")]));
        data.take_tags(path.clone(), Ok(vec![unknown("a"), known("b", "sha256:3"), unknown("c")]));
        let expected = vec![known("a", "sha256:1"), known("b", "sha256:3"), unknown("c")];
        assert_eq!(data.tags[&path], Tags::There(expected));
    }

    #[test]
    fn a_push_that_was_answered_is_never_shown_as_unanswered_again() {
        let mut data = Data::default();
        let push = |settled| PushRecord { settled, ..crate::domain::journal::sample() };
        data.read_pushes(vec![push(false)]);
        assert_eq!(data.unsettled(), [push(false).id]);
        data.read_pushes(vec![push(true)]);
        data.read_pushes(vec![push(false)]);
        assert_eq!(data.unsettled(), []);
    }

    #[test]
    fn what_was_pushed_while_the_pool_was_away_is_read_when_it_is_back() {
        let mut data = Data::default();
        assert!(data.learn(news(Vec::new(), Vec::new())).missed);
        assert!(!data.learn(news(Vec::new(), Vec::new())).missed);
        data.link = Link::Lost(Reason::verbatim("killed"));
        assert!(data.learn(news(Vec::new(), Vec::new())).missed);
    }
}
