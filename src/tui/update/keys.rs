//! Keys: to whom they go, in which order.

use chrono::TimeDelta;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::tui::app::App;
use crate::tui::effect::Effect;
use crate::tui::keymap::{self, Action, Key};
use crate::tui::list::List;
use crate::tui::notice::Level;
use crate::tui::place::Pane;

/// Two presses within this are one wish.
pub(super) const TWICE: TimeDelta = TimeDelta::seconds(1);

impl App {
    pub(super) fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        // These two work wherever somebody is, in text, too.
        let bound = |action| self.manners.keymap.keys(action).contains(&Key::of(key));
        if bound(Action::Suspend) {
            return vec![Effect::Suspend];
        }
        if bound(Action::Interrupt) {
            return self.interrupt();
        }
        if self.modal.is_some() {
            return self.modal_key(key);
        }
        if self.list(self.focus).is_some_and(|list| list.typing) {
            self.filter_key(key);
            return Vec::new();
        }
        if self.focus == Pane::Log
            && !self.details
            && let Some(log) = &mut self.log
            && log.has_prompt()
        {
            let reply = log.key(key);
            return self.log_reply(reply);
        }
        match self.manners.keymap.action(key, self.scopes()) {
            // Nothing is done to a row that nobody sees: it is brought back first.
            Some(action) if action.is_for_a_row() && self.list_mut(self.focus).is_some_and(List::bring_back) => {
                Vec::new()
            }
            Some(action) => self.act(action),
            None => {
                if keymap::is_from_input_method(key) {
                    let text = self.text("notice.input_method");
                    self.notify(Level::Refusal, text);
                }
                Vec::new()
            }
        }
    }

    /// Ctrl-c: leaves what is open; twice leaves slipway. It never stops a build.
    fn interrupt(&mut self) -> Vec<Effect> {
        let twice = self.interrupted_at.is_some_and(|at| self.now - at <= TWICE);
        if twice {
            return self.quit();
        }
        self.interrupted_at = Some(self.now);
        if self.modal.take().is_some() {
            return Vec::new();
        }
        if let Some(list) = self.list_mut(self.focus)
            && list.typing
        {
            list.typing = false;
            list.filter.clear();
            return Vec::new();
        }
        let text = self.text("notice.interrupt");
        self.say(text);
        Vec::new()
    }

    pub(super) fn quit(&mut self) -> Vec<Effect> {
        if self.single {
            return vec![Effect::Quit];
        }
        vec![Effect::Remember(self.place()), Effect::Quit]
    }

    pub(super) fn paste(&mut self, text: &str) -> Vec<Effect> {
        if self.modal.is_some() {
            return self.modal_paste(text);
        }
        if let Some(list) = self.list_mut(self.focus)
            && list.typing
        {
            list.filter.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
            return Vec::new();
        }
        if let Some(log) = self.log.as_mut().filter(|log| log.has_prompt()) {
            log.paste(text);
            return Vec::new();
        }
        // What was pasted is never taken for keys.
        let text = self.text("notice.paste");
        self.say(text);
        Vec::new()
    }

    fn filter_key(&mut self, key: KeyEvent) {
        let Some(list) = self.list_mut(self.focus) else { return };
        match key.code {
            KeyCode::Enter => list.typing = false,
            KeyCode::Esc => {
                list.typing = false;
                list.filter.clear();
            }
            KeyCode::Backspace => {
                list.filter.pop();
            }
            KeyCode::Up => list.step(-1),
            KeyCode::Down => list.step(1),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => list.filter.clear(),
            KeyCode::Char('w') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                let kept = list.filter.trim_end().rfind(' ').map_or(0, |at| at + 1);
                list.filter.truncate(kept);
            }
            KeyCode::Char(c) if !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
                list.filter.push(c);
            }
            _ => {}
        }
    }

    /// What is to be done for an action.
    pub(super) fn act(&mut self, action: Action) -> Vec<Effect> {
        if let Some(why) = self.forbidden(action) {
            self.notify(Level::Refusal, why);
            return Vec::new();
        }
        // What can be copied is more than the log's own: there is a menu.
        if self.focus == Pane::Log
            && !self.details
            && action != Action::Copy
            && let Some(log) = &mut self.log
        {
            let reply = log.act(action);
            if let Some(effects) = self.log_took(reply) {
                return effects;
            }
        }
        if let Some(effects) = self.act_everywhere(action) {
            return effects;
        }
        if self.details && (self.focus == Pane::Log || self.details_cover_pane()) {
            self.scroll_details(action);
        } else if self.list(self.focus).is_some() {
            self.act_in_list(action);
        }
        Vec::new()
    }
}
