//! What people should see to: problems by their things, refused webhooks, paused rules.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::domain::grants::Grants;
use crate::domain::name::RepositoryPath;
use crate::domain::outbox::Receiver;
use crate::domain::problem::{Problem, Topic};
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::repository::Source;
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::{PausedRule, WebhookRefusal};
use crate::store::settings::Settings;

/// What is out of order.
#[derive(Debug, Default)]
pub struct Problems {
    pub by_topic: BTreeMap<Topic, Reason>,
    /// Where webhooks are taken.
    pub webhooks: Option<String>,
    /// What the webhooks of platforms were last refused for, until one is taken.
    pub webhook_refusals: BTreeMap<String, WebhookRefusal>,
    /// Rules whose builds are refused, as a file that was edited by hand may have them.
    pub refused_rules: Vec<Problem>,
    /// Rules that failed too often to be built by themselves.
    pub paused: Vec<PausedRule>,
    /// The paused rules may be others by now.
    pub stale: bool,
}

impl Problems {
    /// Keeps a problem, or forgets it. The reason where it is new.
    pub fn set(&mut self, topic: Topic, problem: Option<Reason>) -> Option<Reason> {
        let Some(problem) = problem else {
            self.by_topic.remove(&topic);
            return None;
        };
        let is_new = self.by_topic.insert(topic, problem.clone()).as_ref() != Some(&problem);
        is_new.then_some(problem)
    }

    pub fn webhook_taken(&mut self, platform: &str) {
        self.webhook_refusals.remove(platform);
    }

    /// Keeps what a platform's webhook was refused for, until one is taken.
    pub fn webhook_refused(
        &mut self,
        platform: String,
        status: u16,
        reason: Reason,
        needs_people: bool,
        at: DateTime<Utc>,
    ) {
        let known = self.webhook_refusals.remove(&platform);
        let count = known.as_ref().map_or(0, |known| known.count) + 1;
        // What people must see to is not hidden by the next stranger.
        let refusal = match known.filter(|known| known.needs_people && !needs_people) {
            Some(known) => WebhookRefusal { count, ..known },
            None => WebhookRefusal { platform: platform.clone(), at, status, reason, count, needs_people },
        };
        self.webhook_refusals.insert(platform, refusal);
    }

    /// Forgets what is no longer configured. What was said of a source is not true of another one.
    pub fn follow(&mut self, before: &Settings, settings: &Settings) {
        self.stale = true;
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
            Topic::Deliveries(receiver, repository) => is_configured(settings, receiver, repository),
            _ => true,
        });
        self.refused_rules = refused_rules(settings);
    }
}

fn is_configured(settings: &Settings, receiver: &Receiver, repository: &str) -> bool {
    let receiver = match receiver {
        Receiver::Notification(name) => settings.config.notify.iter().any(|notify| notify.name == *name),
        Receiver::Platform(name) => settings.platforms.get(name).is_some_and(SourcePlatform::takes_statuses),
    };
    let is_there = |path: RepositoryPath| settings.repositories.contains_key(&path);
    receiver && (repository.is_empty() || repository.parse().is_ok_and(is_there))
}

fn refused_rules(settings: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, repository) in &settings.repositories {
        let Some(namespace) = settings.namespaces.get(&path.namespace) else { continue };
        problems.extend(repository.rules.iter().filter_map(|rule| {
            let error = Grants::network_mode(&path.namespace, namespace, rule).err()?;
            let reason = reason!("problem.rule_refused", rule = quoted(&rule.name), path, error);
            Some(Problem { topic: Topic::Rule(path.clone(), rule.name.clone()), reason })
        }));
    }
    problems
}
