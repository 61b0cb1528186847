//! What the pool says.

use chrono::{DateTime, Utc};
use rust_i18n::t;

use crate::domain::build::{Build, BuildId, BuildState};
use crate::domain::reason::{Reason, quoted, reason};
use crate::protocol::{Error, News, Reply};
use crate::tui::app::App;
use crate::tui::data::{Link, Tags};
use crate::tui::effect::{Effect, Purpose};
use crate::tui::modal::Modal;
use crate::tui::notice::Level;
use crate::tui::place::Pane;

impl App {
    pub(super) fn news(&mut self, news: News) -> Vec<Effect> {
        let problems = news.status.problems.clone();
        let known = self.data.status.as_ref().map(|status| status.problems.clone()).unwrap_or_default();
        let were_down = down(&self.data);
        if let Link::Lost(reason) = &self.data.link {
            self.notices.settle(&self.lost(reason));
        }
        if matches!(self.data.link, Link::Lost(_) | Link::Stopped) {
            let text = self.text("notice.pool_back");
            self.say(text);
        }
        let learnt = self.data.learn(news);
        // What is wrong with a builder or a file is told once, and stays in its details or in the header until it is mended.
        self.tell_changes(&were_down, &down(&self.data));
        self.tell_changes(&known, &problems);
        self.expect_starts();
        let mut effects = Vec::new();
        if learnt.settings {
            effects.push(Effect::ReadSettings);
        }
        if !learnt.ended.is_empty() {
            effects.push(Effect::ReadRecords(learnt.ended));
        }
        let mut pushes = learnt.pushes;
        if learnt.missed {
            pushes.extend(self.data.unsettled());
        }
        if !pushes.is_empty() {
            effects.push(Effect::ReadPushes(pushes));
        }
        effects
    }

    pub(super) fn pool_lost(&mut self, reason: Reason) -> Vec<Effect> {
        match self.data.link {
            Link::Connected | Link::Silent(_) | Link::Stopped => self.notify(Level::Error, self.lost(&reason)),
            Link::Connecting => {}
            Link::Lost(_) => return Vec::new(),
        }
        self.data.link = Link::Lost(reason);
        Vec::new()
    }

    /// The header says so; what was known is still shown.
    pub(super) fn pool_silent(&mut self, since: DateTime<Utc>) -> Vec<Effect> {
        self.data.link = Link::Silent(since);
        Vec::new()
    }

    pub(super) fn pool_answers(&mut self) -> Vec<Effect> {
        if matches!(self.data.link, Link::Silent(_)) {
            self.data.link = Link::Connected;
        }
        Vec::new()
    }

    pub(super) fn pool_stopped(&mut self) -> Vec<Effect> {
        if let Link::Lost(reason) = &self.data.link {
            self.notices.settle(&self.lost(reason));
        }
        if self.data.link != Link::Stopped {
            let text = self.text("notice.pool_stopped");
            self.say(text);
            self.data.link = Link::Stopped;
        }
        Vec::new()
    }

    fn lost(&self, reason: &Reason) -> String {
        let reason = self.translated(reason);
        t!("notice.pool_lost", locale = self.manners.lang.code(), reason = reason).into_owned()
    }

    /// Tells what is wrong since, and takes down what is no more.
    pub(in crate::tui) fn tell_changes<R: Clone + PartialEq + Into<Reason>>(&mut self, before: &[R], now: &[R]) {
        for mended in before.iter().filter(|problem| !now.contains(problem)) {
            self.notices.settle(&self.translated(mended.clone()));
        }
        for new in now.iter().filter(|problem| !before.contains(problem)) {
            self.complain(new.clone());
        }
    }

    /// A build's record became final: its tags may have moved, and somebody may want to know.
    pub(super) fn ended(&mut self, rows: &[crate::tui::data::BuildSummary]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for row in rows.iter().filter(|row| row.state.is_final()) {
            let was_open = self.data.builds.get(&row.id).is_some_and(|known| !known.state.is_final());
            if !was_open {
                continue;
            }
            if row.state == BuildState::Succeeded && matches!(self.data.tags.get(&row.path), Some(Tags::There(_))) {
                effects.push(Effect::ListTags(row.path.clone()));
            }
            let state = self.text(&format!("state.{}", row.state.word()));
            let text =
                t!("notice.ended", locale = self.manners.lang.code(), id = row.id, path = row.path, state = state)
                    .into_owned();
            if row.state == BuildState::Failed || row.state == BuildState::TimedOut {
                self.notify(Level::Error, format!("{text}: {}", self.translated(&row.reason)));
            } else {
                self.say(text.clone());
            }
            if self.attended != Some(true) {
                effects.push(Effect::Tell(text));
            }
        }
        effects
    }

    pub(super) fn answered(&mut self, purpose: Purpose, result: Result<Reply, Error>) -> Vec<Effect> {
        let lang = self.manners.lang.code();
        if let Purpose::Form(form) = purpose {
            return self.form_answered(form, result.map(|_| ()).map_err(|error| error.reason));
        }
        if let Purpose::Outline(question) = &purpose {
            if let Some(Modal::Form(form)) = &mut self.modal {
                let outline = result.map_err(|error| error.reason).and_then(|reply| match reply {
                    Reply::Outline(outline) => Ok(outline),
                    other => Err(reason!("journal.unexpected", answer = quoted(&other))),
                });
                form.take_outline(question, outline);
            }
            return Vec::new();
        }
        if let Purpose::TagHistory(path, tag) = &purpose {
            let history = result.map_err(|error| error.reason).and_then(|reply| match reply {
                Reply::TagHistory(history) => Ok(history),
                other => Err(reason!("journal.unexpected", answer = quoted(&other))),
            });
            self.tag_history_came(path, tag, history);
            return Vec::new();
        }
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => {
                self.refuse(error.reason);
                return Vec::new();
            }
        };
        match (purpose, reply) {
            (Purpose::Build, Reply::Queued { build, already }) => return self.queued(&build, already, None),
            (Purpose::Retry(id), Reply::Queued { build, already }) => return self.queued(&build, already, Some(id)),
            (Purpose::Cancel(id), Reply::Build(build)) => {
                let state = self.text(&format!("state.{}", build.state.word()));
                self.say(t!("notice.ended", locale = lang, id = id, path = build.path(), state = state));
            }
            (Purpose::Delete(name), _) => {
                self.data.tags.clear();
                self.say(t!("notice.deleted", locale = lang, name = name));
            }
            (Purpose::PlanTagMove(path), Reply::TagMove(plan)) => self.confirm_tag_move(path, plan),
            (Purpose::MoveTag(path), Reply::TagMove(moved)) => self.tag_moved(&path, &moved),
            (Purpose::Undo(name), _) => {
                self.deleted = None;
                self.say(t!("notice.undone", locale = lang, name = name));
            }
            _ => {}
        }
        Vec::new()
    }

    /// A build is queued, was refused, or was there already; one that was to be `retried` and waits for its next attempt
    /// is attempted now.
    fn queued(&mut self, build: &Build, already: bool, retried: Option<BuildId>) -> Vec<Effect> {
        let id = build.id;
        if build.state == BuildState::Refused {
            self.notify(Level::Refusal, format!("{id}: {}", self.translated(&build.reason)));
        } else if retried == Some(id) {
            let attempt = build.present_attempt();
            let most = build.most_attempts.unwrap_or(attempt);
            let text = self.translated(&reason!("build.attempt_starts", attempt, most, id));
            self.say(text);
        } else {
            let key = if already { "notice.already" } else { "notice.queued" };
            self.say(t!(key, locale = self.manners.lang.code(), id = id));
        }
        for warning in &build.warnings {
            self.complain(warning.clone());
        }
        self.data.builds.entry(id).or_insert_with(|| build.into());
        if self.focus != Pane::Log {
            self.focus = Pane::Builds;
        }
        self.show_build(id).into_iter().collect()
    }
}

/// The builders that are down, and why.
fn down(data: &crate::tui::data::Data) -> Vec<Reason> {
    let builders = data.status.iter().flat_map(|status| &status.builders);
    let down = builders.filter_map(|builder| Some((&builder.name, builder.readiness.reason()?)));
    down.map(|(name, reason)| reason!("tui.builder_is_down", name, reason)).collect()
}
