//! What becomes of the dashboard when something happens: an event in, the state changed, effects out. No I/O, no clock.

mod actions;
mod forms;
mod keys;
mod lists;
mod modals;
mod platforms;
mod pointer;
mod pool;
mod pushes;
mod tags;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::app::{App, LogTarget};
use super::data::{BuildSummary, Check, Progress, Tags};
use super::effect::Effect;
use super::event::Event;
use super::log::{LogView, Subject};
use super::modal::Modal;
use super::place::Pane;
use crate::domain::build::BuildState;
use crate::domain::history::{Past, expected_starts};
use crate::protocol::logs::BuildLog;

/// Builds that are not final are among so many of the newest.
const MOST_OPEN: usize = 1000;

impl App {
    /// Takes an event in at a time, and says what is to be done.
    pub fn update(&mut self, event: Event, now: DateTime<Utc>) -> Vec<Effect> {
        self.now = now;
        // These come often, and change no list.
        let same_lists = matches!(
            event,
            Event::LogWoken | Event::LogRefreshed { .. } | Event::Resize | Event::ThemeFiles | Event::Focus(_)
        );
        let mut effects = match event {
            Event::Key(key) => self.key(key),
            Event::Paste(text) => self.paste(&text),
            Event::Mouse(mouse) => self.mouse(mouse),
            // Nothing to do but to draw again.
            Event::Resize | Event::ThemeFiles => Vec::new(),
            Event::Focus(attended) => {
                self.attended = Some(attended);
                Vec::new()
            }
            Event::Tick => self.tick(),
            Event::News(news) => self.news(*news),
            Event::PoolLost(reason) => self.pool_lost(reason),
            Event::PoolSilent(since) => self.pool_silent(since),
            Event::PoolAnswers => self.pool_answers(),
            Event::PoolStopped => self.pool_stopped(),
            Event::Answered { purpose, result } => self.answered(purpose, result),
            Event::Settings(settings) => {
                self.data.settings = *settings;
                self.settings_changed()
            }
            Event::Records { rows, unreadable, page } => {
                let effects = self.ended(&rows);
                self.records(rows);
                page.iter().for_each(|page| self.data.build_windows.take(page));
                self.data.unreadable.extend(unreadable);
                effects
            }
            Event::Pushes { records, page } => {
                self.data.read_pushes(records);
                page.iter().for_each(|page| self.data.push_windows.take(page));
                Vec::new()
            }
            Event::BuildGone(id) => self.build_gone(id),
            Event::LastBuilds(last) => {
                self.data.read_last_builds(last);
                Vec::new()
            }
            Event::NoBuildPage => {
                self.data.build_windows.fail();
                Vec::new()
            }
            Event::NoPushPage => {
                self.data.push_windows.fail();
                Vec::new()
            }
            Event::Steps(steps) => {
                self.data.progress.extend(steps);
                Vec::new()
            }
            Event::Tags(path, result) => {
                self.data.take_tags(path, result);
                Vec::new()
            }
            Event::Refs(source, result) => {
                self.refs_came(&source, result);
                Vec::new()
            }
            Event::Preview { form: id, result } => {
                if let Some(form) = self.form_with(id) {
                    form.take_preview(result);
                }
                Vec::new()
            }
            Event::Repositories(query, result) => match &mut self.modal {
                Some(Modal::Form(form)) => form.take_repositories(&query, result).into_iter().collect(),
                _ => Vec::new(),
            },
            Event::Checked { name, id, result } => {
                if self.data.checks.get(&name) == Some(&Check::Asked(id)) {
                    self.data.checks.insert(name, result.map_or_else(Check::Failed, Check::Known));
                }
                Vec::new()
            }
            Event::SavedWithSecret { form, name, secret, result } => self.saved_with_secret(form, name, secret, result),
            Event::LogOpened(of, subject) => {
                self.log_opened(of, subject);
                Vec::new()
            }
            Event::LogRefreshed { of, steps, log, stderr } => {
                let is_it = |view: &&mut LogView| view.build() == Some(of.id) && view.attempt() == of.attempt;
                if let Some(view) = self.log.as_mut().filter(is_it) {
                    view.take_steps(steps, log, stderr);
                }
                Vec::new()
            }
            Event::LogWoken => {
                if let Some(log) = &mut self.log {
                    log.woken();
                }
                Vec::new()
            }
            Event::Exported(Ok(path)) => {
                let text = rust_i18n::t!("notice.exported", locale = self.manners.lang.code(), path = path.display());
                self.say(text);
                Vec::new()
            }
            Event::Exported(Err(reason)) => {
                self.complain(reason);
                Vec::new()
            }
            Event::ProgramEnded { problem, .. } => {
                if let Some(problem) = problem {
                    self.complain(problem);
                }
                // The pool notices the edit by itself, and tells; one that it does not take over is told as a problem.
                vec![Effect::Redraw]
            }
        };
        if !self.single && !same_lists {
            self.arrange();
            self.look_where_selected(&mut effects);
        }
        effects
    }

    /// Works out when waiting builds will start.
    pub(super) fn expect_starts(&mut self) {
        let waits = self.data.builds.values().rev().take(MOST_OPEN).any(|row| row.state == BuildState::Queued);
        let slots = self.data.status.as_ref().map_or(1, |status| status.limit);
        self.data.starts = if waits {
            let past: Vec<Past> = self.data.builds.values().rev().take(MOST_OPEN).map(Past::from).collect();
            expected_starts(&past, slots, self.now)
        } else {
            BTreeMap::new()
        };
    }

    /// Whether the time matters for what is on the screen: ages of what runs, messages that go.
    pub fn wants_ticks(&self) -> bool {
        let waits = self.data.builds.values().rev().take(MOST_OPEN).any(|row| !row.state.is_final());
        waits || self.notices.fades(self.now) || self.interrupted_at.is_some()
    }

    fn tick(&mut self) -> Vec<Effect> {
        if self.interrupted_at.is_some_and(|at| self.now - at > keys::TWICE) {
            self.interrupted_at = None;
        }
        let open = self.data.builds.values().rev().take(MOST_OPEN).filter(|row| !row.state.is_final());
        let running: Vec<_> = open.filter(|row| row.started_at.is_some()).map(|row| row.id).collect();
        if running.is_empty() { Vec::new() } else { vec![Effect::ReadSteps(running)] }
    }

    fn records(&mut self, rows: Vec<BuildSummary>) {
        for row in &rows {
            // What was counted while it ran may lack its last steps.
            self.data.progress.remove(&row.id);
        }
        self.data.read(rows);
    }

    /// Brings the log, the tags and the progress of what is selected or visible.
    fn look_where_selected(&mut self, effects: &mut Vec<Effect>) {
        let build = self.lists.builds.build();
        let stands = build.and_then(|id| {
            let row = self.data.builds.get(&id)?;
            let before = self.log_of.filter(|before| before.id == id);
            let chosen = before.and_then(|before| before.chosen);
            Some(LogTarget { id, state: row.state, newest: row.newest_attempt(), chosen })
        });
        if stands != self.log_of {
            if stands.map(|of| of.id) != self.log_of.map(|of| of.id) {
                self.details_scroll = 0;
            }
            self.log_of = stands;
            if build.is_none() {
                self.log = None;
            }
            effects.extend(build.map(|id| Effect::ShowLog(stands.map_or(BuildLog::newest(id), |of| of.log()))));
        }
        if let Some((path, None)) = self.shown_tags() {
            self.data.tags.insert(path.clone(), Tags::Asked);
            effects.push(Effect::ListTags(path));
        }
        effects.extend(self.records_wanted());
    }

    /// Asks for what is on the screen, or will be soon, and is not known; to be called once it was drawn, too.
    pub fn records_wanted(&mut self) -> Vec<Effect> {
        // A mere log needs no pool.
        if self.single {
            return Vec::new();
        }
        let wanted = [self.progress_wanted(), self.builds_wanted(), self.journal_wanted(), self.last_builds_wanted()];
        wanted.into_iter().flatten().collect()
    }

    /// Asks for the progress of the builds that are on the screen, where it is not known.
    fn progress_wanted(&mut self) -> Option<Effect> {
        let visible = self.lists.builds.visible().iter().filter_map(|key| match key {
            super::list::Key::Build(id) => Some(*id),
            _ => None,
        });
        let started = |id: &_| self.data.builds.get(id).is_some_and(|row| row.started_at.is_some());
        let lacking: Vec<_> = visible.filter(|id| started(id) && !self.data.progress.contains_key(id)).collect();
        for id in &lacking {
            // Asked for once; a build without steps has none.
            self.data.progress.insert(*id, Progress::default());
        }
        (!lacking.is_empty()).then_some(Effect::ReadSteps(lacking))
    }

    /// Shows the log of the attempt before or after the one that is shown. The newest is shown as such: the attempt
    /// that follows it takes its place.
    pub(super) fn turn_to_attempt(&mut self, later: bool) -> Option<Effect> {
        let number = self.attempt_beside(later)?;
        let of = self.log_of.as_mut()?;
        of.chosen = (number < of.newest).then_some(number);
        Some(Effect::ShowLog(of.log()))
    }

    /// The log of an attempt came, or that it has none.
    fn log_opened(&mut self, of: BuildLog, subject: Option<Box<Subject>>) {
        // Another one is selected by now.
        if self.log_of.is_some_and(|wanted| wanted.log() != of) {
            return;
        }
        match (&mut self.log, subject) {
            (log, None) => *log = None,
            (Some(log), Some(subject)) if log.build() == Some(of.id) && log.attempt() == subject.attempt => {
                log.subject_changed(*subject);
            }
            (_, Some(subject)) => match LogView::open(*subject, self.waker.clone()) {
                Ok(log) => self.log = Some(log),
                Err(error) => {
                    self.log = None;
                    self.complain(&error);
                }
            },
        }
    }

    /// Asks for the steps of the build whose log grew; to be called once it was looked at.
    pub fn log_wanted(&mut self) -> Option<Effect> {
        let log = self.log.as_mut()?;
        let id = log.asks_for_steps(self.now)?;
        let of = BuildLog { id, attempt: log.attempt() };
        Some(Effect::RefreshLog { of, files: log.asks_for_files() })
    }

    /// Gives a pane the focus.
    pub(super) fn go_to(&mut self, pane: Pane) {
        self.focus = pane;
    }
}

#[cfg(test)]
mod tests;
