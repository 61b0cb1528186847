//! What people should see to: problems by their things, refused webhooks, paused rules.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Core;
use super::command::LogLevel;
use super::event::Topic;
use crate::domain::grants::Grants;
use crate::domain::name::RepositoryPath;
use crate::domain::outbox::Receiver;
use crate::domain::repository::Source;
use crate::domain::rule_history::RuleHistory;
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::{PausedRule, PoolStatus, WebhookRefusal};
use crate::store::settings::Settings;

/// What is out of order.
#[derive(Debug, Default)]
pub(super) struct Problems {
    by_topic: BTreeMap<Topic, String>,
    /// Who can't be told of builds, of which repository ("": of all), and why.
    undelivered: BTreeMap<(Receiver, String), String>,
    /// Where webhooks are taken.
    pub webhooks: Option<String>,
    /// What the webhooks of platforms were last refused for, until one is taken.
    webhook_refusals: BTreeMap<String, WebhookRefusal>,
    /// Rules whose builds are refused, as a file that was edited by hand may have them.
    refused_rules: Vec<String>,
    /// Rules that failed too often to be built by themselves.
    paused: Vec<PausedRule>,
    /// The paused rules may be others by now.
    pub stale: bool,
}

impl Problems {
    /// Keeps a problem, or forgets it. The text where it is new.
    fn set(&mut self, topic: Topic, problem: Option<String>) -> Option<String> {
        let Some(problem) = problem else {
            self.by_topic.remove(&topic);
            return None;
        };
        let is_new = self.by_topic.insert(topic, problem.clone()).as_ref() != Some(&problem);
        is_new.then_some(problem)
    }

    pub(super) fn set_undelivered(
        &mut self,
        receiver: Receiver,
        repository: String,
        problem: Option<String>,
    ) -> Option<String> {
        let key = (receiver, repository);
        let Some(problem) = problem else {
            self.undelivered.remove(&key);
            return None;
        };
        let is_new = self.undelivered.insert(key, problem.clone()).as_ref() != Some(&problem);
        is_new.then_some(problem)
    }

    pub(super) fn webhook_taken(&mut self, platform: &str) {
        self.webhook_refusals.remove(platform);
    }

    /// Keeps what a platform's webhook was refused for, until one is taken.
    pub(super) fn webhook_refused(
        &mut self,
        platform: String,
        status: u16,
        reason: String,
        needs_people: bool,
        at: DateTime<Utc>,
    ) {
        let known = self.webhook_refusals.remove(&platform);
        let count = known.as_ref().map_or(0, |known| known.count) + 1;
        // What people must see to is not hidden by the next stranger.
        let refusal = match known.filter(|known| known.needs_people && !needs_people) {
            Some(known) => WebhookRefusal { count, ..known },
            None => {
                WebhookRefusal { platform: platform.clone(), at, status, reason: reason.into(), count, needs_people }
            }
        };
        self.webhook_refusals.insert(platform, refusal);
    }

    /// Forgets what is no longer configured. What was said of a source is not true of another one.
    pub(super) fn follow(&mut self, before: &Settings, settings: &Settings) {
        self.stale = true;
        self.undelivered.retain(|key, _| is_configured(settings, key));
        self.webhook_refusals.retain(|platform, _| settings.platforms.contains_key(platform));
        fn source<'a>(settings: &'a Settings, path: &RepositoryPath) -> Option<&'a Source> {
            settings.repositories.get(path).and_then(|repository| repository.source.as_ref())
        }
        let is_watched = |path: &RepositoryPath| {
            source(before, path) == source(settings, path)
                && settings
                    .repositories
                    .get(path)
                    .is_some_and(|repository| repository.build.auto && repository.source.is_some())
        };
        self.by_topic.retain(|topic, _| match topic {
            Topic::Source(path) | Topic::SourceName(path) => is_watched(path),
            Topic::Schedule(path, rule) => {
                let rule = settings.repositories.get(path).and_then(|repository| repository.rule(rule));
                rule.is_some_and(|rule| rule.schedule.is_some())
            }
            _ => true,
        });
        self.refused_rules = refused_rules(settings);
    }
}

fn is_configured(settings: &Settings, (receiver, repository): &(Receiver, String)) -> bool {
    let receiver = match receiver {
        Receiver::Notification(name) => settings.config.notify.iter().any(|notify| notify.name == *name),
        Receiver::Platform(name) => settings.platforms.get(name).is_some_and(SourcePlatform::takes_statuses),
    };
    let is_there = |path: RepositoryPath| settings.repositories.contains_key(&path);
    receiver && (repository.is_empty() || repository.parse().is_ok_and(is_there))
}

fn refused_rules(settings: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, repository) in &settings.repositories {
        let Some(namespace) = settings.namespaces.get(&path.namespace) else { continue };
        problems.extend(repository.rules.iter().filter_map(|rule| {
            let error = Grants::network_mode(&path.namespace, namespace, rule).err()?;
            Some(format!("builds of rule {:?} of {path} are refused: {error}", rule.name))
        }));
    }
    problems
}

impl Core {
    /// Keeps what people should see to, or that it is well again; in the log once, until it is another.
    pub(super) fn set_problem(&mut self, topic: Topic, problem: Option<String>) {
        if let Some(text) = self.problems.set(topic, problem) {
            self.log(LogLevel::Warn, text);
        }
    }

    /// Brings the paused rules up to date: they are shown in every snapshot, and seldom change.
    pub(super) fn refresh_paused(&mut self) {
        if !std::mem::take(&mut self.problems.stale) {
            return;
        }
        let settings = &self.settings;
        let paused = |((path, name), history): (&(RepositoryPath, String), &RuleHistory)| {
            let rule = settings.repositories.get(path)?.rule(name)?;
            let failures = history.paused(rule, settings.config.pool.pause_after)?;
            Some(PausedRule { repository: path.clone(), rule: name.clone(), failures })
        };
        self.problems.paused = self.failing.iter().filter_map(paused).collect();
    }

    /// The pool as clients see it.
    pub(super) fn status(&self) -> PoolStatus {
        let problems = &self.problems;
        let builds = self.shown_builds();
        let running = builds.values().filter(|build| build.state == crate::domain::build::BuildState::Running).count();
        let views = self.builder_views();
        let load =
            |name: &str| views.iter().find(|view| view.name == name).map_or((0, 0), |view| (view.slots, view.busy));
        let refusals: Vec<WebhookRefusal> = problems.webhook_refusals.values().cloned().collect();
        let texts = self.settings.problems.values().chain(problems.by_topic.values());
        let texts = texts.chain(problems.undelivered.values()).chain(&problems.refused_rules).cloned();
        let needing_people = refusals.iter().filter(|refusal| refusal.needs_people).map(ToString::to_string);
        PoolStatus {
            pid: self.machine.pid,
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.started_at,
            running,
            queued: builds.len() - running,
            limit: self.limit(),
            builders: self.builders.statuses(|name, _| load(name)),
            webhooks: problems.webhooks.clone(),
            problems: texts.chain(needing_people).collect(),
            webhook_refusals: refusals,
            paused: problems.paused.clone(),
        }
    }
}
