//! The dashboard's state, and what the panes show of it.

use std::cell::Cell;
use std::sync::Arc;

use chrono::{DateTime, FixedOffset, Utc};

use super::data::{BuildSummary, Data, Tags};
use super::effect::FormId;
use super::form::Form;
use super::glyphs::Glyphs;
use super::keymap::{Action, Keymap, Scope};
use super::list::{Key, List};
use super::log::{LogView, Waker};
use super::look::Look;
use super::modal::Modal;
use super::notice::{Level, Notices};
use super::place::{Pane, Place};
use super::theme::Theme;
use super::view::Areas;
use crate::client::Client;
use crate::domain::build::{BuildId, BuildState};
use crate::domain::journal::PushRecord;
use crate::domain::name::RepositoryPath;
use crate::domain::reason::Reason;
use crate::domain::repository::Repository;
use crate::domain::rule::Rule;
use crate::lang::{Lang, render};
use crate::protocol::Entity;
use crate::protocol::logs::BuildLog;

/// How the dashboard looks and listens, by config.toml and the terminal.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Which key does what.
    pub keymap: Keymap,
    /// The colours.
    pub theme: Theme,
    /// The names of all themes.
    pub themes: Vec<String>,
    /// The signs.
    pub glyphs: Glyphs,
    /// The language.
    pub lang: Lang,
    /// The zone that times are shown in.
    pub zone: FixedOffset,
    /// Clicks come to us.
    pub mouse: bool,
    /// This machine's name: many terminals look alike.
    pub host: String,
}

/// The list panes.
#[derive(Debug, Default)]
pub struct Lists {
    /// Groups of repositories.
    pub namespaces: List,
    /// Image repositories.
    pub repositories: List,
    /// Rules.
    pub rules: List,
    /// Builds.
    pub builds: List,
    /// Tags.
    pub tags: List,
    /// Builders.
    pub builders: List,
    /// Pushes.
    pub pushes: List,
    /// Platforms.
    pub platforms: List,
}

/// The dashboard.
pub struct App {
    /// The way to the pool.
    pub client: Client,
    /// What is known.
    pub data: Data,
    /// How it looks and listens.
    pub manners: Manners,
    /// The list panes.
    pub lists: Lists,
    /// The pane that has the focus.
    pub focus: Pane,
    /// That pane has the whole screen.
    pub zoomed: bool,
    /// There is nothing but a log: `slipway view`.
    pub single: bool,
    /// Details are shown in the place of the log.
    pub details: bool,
    /// How far the details are scrolled.
    pub details_scroll: usize,
    /// The log that is shown.
    pub log: Option<LogView>,
    /// What wakes the dashboard when the log has something new.
    pub waker: Waker,
    /// What `log` shows, or is to show.
    pub log_of: Option<LogTarget>,
    /// What is in front of everything.
    pub modal: Option<Modal>,
    /// A form that was left with something typed in it.
    pub draft: Option<Box<Form>>,
    /// The form that was opened last.
    pub last_form: FormId,
    /// The messages.
    pub notices: Notices,
    /// What was deleted last, to make it again.
    pub deleted: Option<Entity>,
    /// What would be to be made again, should what is asked for be deleted.
    pub doomed: Option<Entity>,
    /// When ctrl-c was last pressed.
    pub interrupted_at: Option<DateTime<Utc>>,
    /// Whether the terminal has the focus; none where it never said.
    pub attended: Option<bool>,
    /// The time.
    pub now: DateTime<Utc>,
    /// When a text on the screen changes by itself; none: when nothing happens, none does.
    pub changes_at: Cell<Option<DateTime<Utc>>>,
    /// Where everything was drawn last.
    pub areas: Areas,
}

/// The log that is shown, or is to be shown, and how its build stands: where that changes, the log is brought again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTarget {
    /// The build.
    pub id: BuildId,
    /// Its state.
    pub state: BuildState,
    /// The number of its newest attempt.
    pub newest: u32,
    /// The number of the attempt that was chosen; none: the newest, whichever that is by then.
    pub chosen: Option<u32>,
}

impl LogTarget {
    /// What is asked of the pool.
    pub fn log(&self) -> BuildLog {
        BuildLog { id: self.id, attempt: self.chosen }
    }
}

impl App {
    /// A dashboard that knows nothing yet, at the place where somebody left it.
    pub fn new(client: Client, manners: Manners, place: Place, now: DateTime<Utc>) -> App {
        let mut lists = Lists::default();
        let chosen = [
            (&mut lists.namespaces, place.namespace.map(Key::Name)),
            (&mut lists.repositories, place.repository.map(Key::Name)),
            (&mut lists.rules, place.rule.map(Key::Name)),
            (&mut lists.builds, place.build.map(Key::Build)),
        ];
        for (list, key) in chosen {
            if let Some(key) = key {
                list.choose(key);
            }
        }
        App {
            client,
            data: Data::default(),
            manners,
            lists,
            focus: place.pane,
            zoomed: false,
            single: false,
            details: false,
            details_scroll: 0,
            log: None,
            waker: Arc::new(|| {}),
            log_of: None,
            modal: None,
            draft: None,
            last_form: FormId::default(),
            notices: Notices::default(),
            deleted: None,
            doomed: None,
            interrupted_at: None,
            attended: None,
            now,
            changes_at: Cell::default(),
            areas: Areas::default(),
        }
    }

    /// How everything is drawn.
    pub fn look(&self) -> Look<'_> {
        Look {
            theme: &self.manners.theme,
            glyphs: self.manners.glyphs,
            lang: self.manners.lang,
            now: self.now,
            zone: self.manners.zone,
            keymap: &self.manners.keymap,
            changes_at: &self.changes_at,
        }
    }

    /// A text of the dashboard that has nothing to fill in but keys.
    pub fn text(&self, key: &str) -> String {
        self.manners.keymap.fill(rust_i18n::t!(key, locale = self.manners.lang.code())).into_owned()
    }

    /// Whether the details are in the place of the pane that has the focus: where only one is shown at a time.
    pub fn details_cover_pane(&self) -> bool {
        self.details && self.areas.panes.len() == 1
    }

    /// Brings a message up.
    pub fn say(&mut self, text: impl Into<String>) {
        self.notify(Level::Info, text);
    }

    /// Brings a message of that level up, in the dashboard's language already.
    pub fn notify(&mut self, level: Level, text: impl Into<String>) {
        self.notices.push(level, text, self.now);
    }

    /// Brings a message up that something went wrong.
    pub fn complain(&mut self, reason: impl Into<Reason>) {
        let text = self.translated(reason);
        self.notify(Level::Error, text);
    }

    /// Brings a message up that what somebody asked for is not done.
    pub fn refuse(&mut self, reason: impl Into<Reason>) {
        let text = self.translated(reason);
        self.notify(Level::Refusal, text);
    }

    /// An error or a reason in the language of the dashboard.
    pub fn translated(&self, reason: impl Into<Reason>) -> String {
        render(&reason.into(), self.manners.lang)
    }

    /// What is said to somebody who leaves while there are builds that are not finished.
    pub fn farewell(&self) -> Option<String> {
        let open = self.data.builds.values().filter(|build| !build.state.is_final()).count();
        (open > 0).then(|| rust_i18n::t!("farewell", locale = self.manners.lang.code(), n = open).into_owned())
    }

    /// Where somebody is.
    pub fn place(&self) -> Place {
        Place {
            pane: self.focus,
            namespace: self.lists.namespaces.name().map(str::to_owned),
            repository: self.lists.repositories.name().map(str::to_owned),
            rule: self.lists.rules.name().map(str::to_owned),
            // The newest is the newest tomorrow, too.
            build: self.lists.builds.build().filter(|_| self.lists.builds.index > 0),
        }
    }

    /// The scopes whose keys are at hand, the nearest first.
    pub fn scopes(&self) -> &'static [Scope] {
        match self.focus {
            Pane::Log if self.single => &[Scope::Log, Scope::Global],
            Pane::Log if self.details => &[Scope::Global],
            Pane::Log => &[Scope::Log, Scope::Build, Scope::Global],
            Pane::Builds => &[Scope::Build, Scope::List, Scope::Global],
            Pane::Platforms => &[Scope::Platform, Scope::List, Scope::Global],
            Pane::Tags => &[Scope::Tag, Scope::List, Scope::Global],
            _ => &[Scope::List, Scope::Global],
        }
    }

    /// A list pane's state; none for the log.
    pub fn list(&self, pane: Pane) -> Option<&List> {
        match pane {
            Pane::Namespaces => Some(&self.lists.namespaces),
            Pane::Repositories => Some(&self.lists.repositories),
            Pane::Rules => Some(&self.lists.rules),
            Pane::Builds => Some(&self.lists.builds),
            Pane::Tags => Some(&self.lists.tags),
            Pane::Builders => Some(&self.lists.builders),
            Pane::Pushes => Some(&self.lists.pushes),
            Pane::Platforms => Some(&self.lists.platforms),
            Pane::Log => None,
        }
    }

    /// A list pane's state, to be changed; none for the log.
    pub fn list_mut(&mut self, pane: Pane) -> Option<&mut List> {
        match pane {
            Pane::Namespaces => Some(&mut self.lists.namespaces),
            Pane::Repositories => Some(&mut self.lists.repositories),
            Pane::Rules => Some(&mut self.lists.rules),
            Pane::Builds => Some(&mut self.lists.builds),
            Pane::Tags => Some(&mut self.lists.tags),
            Pane::Builders => Some(&mut self.lists.builders),
            Pane::Pushes => Some(&mut self.lists.pushes),
            Pane::Platforms => Some(&mut self.lists.platforms),
            Pane::Log => None,
        }
    }

    /// The repository that is selected itself; none where all are.
    pub fn selected_repository(&self) -> Option<RepositoryPath> {
        self.lists.repositories.name()?.parse().ok()
    }

    /// The selected build.
    pub fn selected_build(&self) -> Option<&BuildSummary> {
        self.data.builds.get(&self.lists.builds.build()?)
    }

    /// The selected push.
    pub fn selected_push(&self) -> Option<&PushRecord> {
        self.data.pushes.get(&self.lists.pushes.push()?)
    }

    /// The repository that actions are about: among pushes, the selected push's; else the selected one, else that of
    /// the selected build.
    pub fn repository_in_question(&self) -> Option<RepositoryPath> {
        if let Some(push) = self.selected_push().filter(|_| self.focus == Pane::Pushes) {
            return Some(push.repository.clone());
        }
        self.selected_repository().or_else(|| Some(self.selected_build()?.path.clone()))
    }

    /// The number of the attempt before or after the one whose log is shown; none where there is none.
    pub fn attempt_beside(&self, later: bool) -> Option<u32> {
        let log = self.log.as_ref()?;
        let attempts = log.record()?.attempts();
        let mut numbers = attempts.iter().map(|attempt| attempt.number);
        let shown = log.attempt()?;
        if later { numbers.find(|number| *number > shown) } else { numbers.rfind(|number| *number < shown) }
    }

    /// What is configured of a repository.
    pub fn repository(&self, path: &RepositoryPath) -> Option<&Repository> {
        self.data.settings.repositories.get(path)
    }

    /// The rule that actions are about: the selected one; among builds, the selected build's; else the only one.
    pub fn rule_in_question(&self) -> Option<(RepositoryPath, &Rule)> {
        let path = self.repository_in_question()?;
        let repository = self.repository(&path)?;
        let of_build = || {
            let build = self.selected_build().filter(|build| build.path == path)?;
            (self.focus == Pane::Builds || self.focus == Pane::Log).then_some(build.rule.as_str())
        };
        let rule = match self.lists.rules.name().or_else(of_build) {
            Some(name) => repository.rule(name),
            None => Some(&repository.rules).filter(|rules| rules.len() == 1).and_then(|rules| rules.first()),
        };
        Some((path, rule?))
    }

    /// The rules of a push's repository, as they are now, that its ref is one of.
    pub fn rules_for(&self, push: &PushRecord) -> Vec<&str> {
        let rules = self.repository(&push.repository).map(|repository| repository.rules.as_slice()).unwrap_or_default();
        let matching = rules.iter().filter(|rule| rule.is_for(&push.reference));
        matching.map(|rule| rule.name.as_str()).collect()
    }

    /// Why something can be done to none of the builds that it would be done to.
    fn forbidden_for_builds(&self, fits: impl Fn(&BuildSummary) -> bool, why: &str) -> Option<String> {
        let builds = self.lists.builds.builds();
        let mut rows = builds.iter().filter_map(|id| self.data.builds.get(id)).peekable();
        if rows.peek().is_none() {
            return Some(self.text("action_forbidden.no_build"));
        }
        (!rows.any(fits)).then(|| self.text(why))
    }

    /// Why an action can't be done now; none where it can.
    pub fn forbidden(&self, action: Action) -> Option<String> {
        if self.single && !is_for_a_mere_log(action) {
            return Some(self.text("action_forbidden.single"));
        }
        match action {
            Action::BuildNow => match self.rule_in_question() {
                None => Some(self.text("action_forbidden.no_rule")),
                Some((_, rule)) => rule.build_now_ref().err().map(|error| self.translated(&error.reason)),
            },
            Action::Replay if self.focus == Pane::Pushes => match self.selected_push() {
                None => Some(self.text("action_forbidden.no_push")),
                Some(push) => self.rules_for(push).is_empty().then(|| self.text("action_forbidden.no_rule_matches")),
            },
            Action::Replay => self.rule_in_question().is_none().then(|| self.text("action_forbidden.no_rule")),
            Action::Cancel => self.forbidden_for_builds(|row| !row.state.is_final(), "action_forbidden.ended"),
            Action::Retry => self.forbidden_for_builds(BuildSummary::can_be_retried, "action_forbidden.not_ended"),
            Action::CheckPlatform => {
                self.lists.platforms.name().is_none().then(|| self.text("notice.nothing_selected"))
            }
            Action::TagHistory => self.lists.tags.name().is_none().then(|| self.text("notice.nothing_selected")),
            Action::EarlierAttempt => {
                self.attempt_beside(false).is_none().then(|| self.text("action_forbidden.no_earlier_attempt"))
            }
            Action::LaterAttempt => {
                self.attempt_beside(true).is_none().then(|| self.text("action_forbidden.no_later_attempt"))
            }
            Action::UndoDelete => self.deleted.is_none().then(|| self.text("action_forbidden.nothing_deleted")),
            _ => None,
        }
    }

    /// The repository whose tags are shown, with them.
    pub fn shown_tags(&self) -> Option<(RepositoryPath, Option<&Tags>)> {
        let path = self.repository_in_question()?;
        let tags = self.data.tags.get(&path);
        Some((path, tags))
    }
}

/// Whether an action means something where there is nothing but a log.
fn is_for_a_mere_log(action: Action) -> bool {
    action.scope() == Scope::Log
        || matches!(
            action,
            Action::Down
                | Action::Up
                | Action::Top
                | Action::Bottom
                | Action::HalfPageDown
                | Action::HalfPageUp
                | Action::PageDown
                | Action::PageUp
                | Action::Out
                | Action::In
                | Action::Back
                | Action::Search
                | Action::NextMatch
                | Action::PreviousMatch
                | Action::Help
                | Action::Copy
                | Action::Redraw
                | Action::NextTheme
                | Action::SwitchLanguage
                | Action::ToggleMouse
                | Action::Messages
                | Action::Quit
                | Action::Interrupt
                | Action::Suspend
        )
}
