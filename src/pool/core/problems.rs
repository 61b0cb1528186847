//! What people should see to: problems by their things, refused webhooks, paused rules.

use super::command::LogLevel;
use super::tables::Core;
use crate::domain::name::RepositoryPath;
use crate::domain::problem::{Problem, Topic};
use crate::domain::reason::Reason;
use crate::domain::rule_history::RuleHistory;
use crate::protocol::{PausedRule, PoolStatus, WebhookRefusal};

impl Core {
    /// Keeps what people should see to, or that it is well again; in the log once, until it is another.
    pub(super) fn set_problem(&mut self, topic: Topic, problem: Option<Reason>) {
        if let Some(reason) = self.problems.set(topic, problem) {
            self.log(LogLevel::Warn, reason.to_string());
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
        let problem = |topic: Topic, reason: &Reason| Problem { topic, reason: reason.clone() };
        let of_files = self.settings.problems.iter().map(|(file, reason)| problem(Topic::File(file.clone()), reason));
        let of_topics = problems.by_topic.iter().map(|(topic, reason)| problem(topic.clone(), reason));
        let needing_people = refusals.iter().filter(|refusal| refusal.needs_people);
        let needing_people =
            needing_people.map(|refusal| problem(Topic::PlatformWebhooks(refusal.platform.clone()), &refusal.into()));
        let shown = of_files.chain(of_topics).chain(problems.refused_rules.iter().cloned()).chain(needing_people);
        PoolStatus {
            pid: self.machine.pid,
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.started_at,
            running,
            queued: builds.len() - running,
            limit: self.limit(),
            builders: self.builders.statuses(|name, _| load(name)),
            webhooks: problems.webhooks.clone(),
            problems: shown.collect(),
            webhook_refusals: refusals,
            paused: problems.paused.clone(),
        }
    }
}
