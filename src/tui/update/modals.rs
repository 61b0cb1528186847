//! What is in front of everything: keys to it, and what it wants; and what the log wants.

use crossterm::event::{KeyCode, KeyEvent, MouseEvent, MouseEventKind};

use crate::lang::Lang;
use crate::tui::app::App;
use crate::tui::effect::{Effect, Purpose};
use crate::tui::form;
use crate::tui::keymap::Action;
use crate::tui::list::Key;
use crate::tui::log::Reply;
use crate::tui::modal::{Answer, Confirm, CopyItem, Modal, Target};
use crate::tui::notice::Level;
use crate::tui::place::Pane;
use crate::tui::popup::{Candidate, Outcome, Palette};

/// What a terminal's clipboard takes at most, in bytes: 74,994 of base64, as terminals limit a sequence.
const LONGEST_COPY: usize = 74_994 / 4 * 3;

impl App {
    pub(super) fn modal_key(&mut self, key: KeyEvent) -> Vec<Effect> {
        let Some(modal) = &mut self.modal else { return Vec::new() };
        match modal {
            Modal::Help(help) => {
                if !matches!(help.key(key), Outcome::Open) {
                    self.modal = None;
                }
            }
            Modal::Messages(messages) => {
                if !matches!(messages.key(key), Outcome::Open) {
                    self.modal = None;
                }
            }
            Modal::Palette(palette) => match palette.key(key) {
                Outcome::Open => {}
                Outcome::Closed => self.modal = None,
                Outcome::Chosen(target) => {
                    self.modal = None;
                    return self.go(target);
                }
            },
            Modal::Confirm(confirm) => match Confirm::answer(key) {
                Answer::Waits => {}
                Answer::No => self.modal = None,
                Answer::Yes => {
                    let requests = std::mem::take(&mut confirm.requests);
                    if requests.iter().any(|(_, purpose)| matches!(purpose, Purpose::Delete(_))) {
                        // What is deleted after a mere question can't be brought back.
                        self.deleted = None;
                    }
                    if requests.iter().any(|(_, purpose)| matches!(purpose, Purpose::Cancel(_))) {
                        self.lists.builds.marked.clear();
                    }
                    self.modal = None;
                    let ask = |(request, purpose)| Effect::Ask { request: Box::new(request), purpose };
                    return requests.into_iter().map(ask).collect();
                }
            },
            Modal::Copy(items) => {
                let chosen = items.iter().find(|item| key.code == KeyCode::Char(item.key)).cloned();
                self.modal = None;
                if let Some(item) = chosen {
                    return self.copy_item(item);
                }
            }
            Modal::Replay(replay) => match &mut replay.refs {
                Some(Ok(refs)) => match refs.key(key) {
                    Outcome::Open => {}
                    Outcome::Closed => self.modal = None,
                    Outcome::Chosen(reference) => {
                        let (path, rule) = (replay.path.clone(), replay.rule.clone());
                        self.modal = None;
                        return vec![self.ask_to_replay(path, rule, reference)];
                    }
                },
                _ => self.modal = None,
            },
            Modal::ReplayPush(replay) => match replay.rules.key(key) {
                Outcome::Open => {}
                Outcome::Closed => self.modal = None,
                Outcome::Chosen(rule) => {
                    let (path, reference) = (replay.path.clone(), replay.reference.clone());
                    self.modal = None;
                    return vec![self.ask_to_replay(path, rule, reference)];
                }
            },
            Modal::TagHistory(history) => match &mut history.events {
                Some(Ok(events)) => match events.key(key) {
                    Outcome::Open => {}
                    Outcome::Closed => self.modal = None,
                    Outcome::Chosen(event) => {
                        let (path, tag) = (history.path.clone(), history.tag.clone());
                        self.modal = None;
                        return self.plan_tag_move(path, tag, event).into_iter().collect();
                    }
                },
                _ => self.modal = None,
            },
            // It is not shown again: no other key closes it.
            Modal::NewSecret(new) => match key.code {
                KeyCode::Char('y') => {
                    let secret = new.secret.expose().to_owned();
                    let text = self.text("secret.copied");
                    self.say(text);
                    return vec![Effect::Copy(secret)];
                }
                KeyCode::Esc | KeyCode::Enter => self.modal = None,
                _ => {}
            },
            Modal::Form(form) => match form.key(key, self.now) {
                form::Answer::Open(effects) => return effects,
                form::Answer::Closed => self.leave_form(),
            },
        }
        Vec::new()
    }

    /// Does what the palette led to.
    fn go(&mut self, target: Target) -> Vec<Effect> {
        match target {
            Target::Action(action) => return self.act(action),
            Target::Namespace(name) => {
                self.lists.namespaces.filter.clear();
                self.lists.namespaces.choose(Key::Name(name));
                self.focus = Pane::Namespaces;
            }
            Target::Repository(path) => self.show_repository(&path, None),
            Target::Rule(path, rule) => self.show_repository(&path, Some(&rule)),
            Target::Build(id) => {
                self.focus = Pane::Builds;
                return self.show_build(id).into_iter().collect();
            }
            Target::Theme(name) => return vec![Effect::Theme(name)],
            Target::Lang(lang) => self.speak(lang),
        }
        Vec::new()
    }

    pub(super) fn open_palette(&mut self) {
        let mut candidates: Vec<Candidate<Target>> = Vec::new();
        let mut add = |text: String, detail: String, target: Target| {
            candidates.push(Candidate { text, detail, target });
        };
        let look = self.look();
        for action in Action::ALL.iter().copied().filter(|action| self.scopes().contains(&action.scope())) {
            if matches!(action, Action::Palette | Action::Interrupt) || self.forbidden(action).is_some() {
                continue;
            }
            let text = look.text(&format!("action.{}", action.name())).into_owned();
            add(text, self.manners.keymap.keys_text(action), Target::Action(action));
        }
        let settings = &self.data.settings;
        let kind = |pane: Pane| look.text(pane.text_key()).into_owned();
        for name in settings.namespaces.keys() {
            add(name.clone(), kind(Pane::Namespaces), Target::Namespace(name.clone()));
        }
        for (path, repository) in &settings.repositories {
            add(path.to_string(), kind(Pane::Repositories), Target::Repository(path.clone()));
            for rule in &repository.rules {
                let target = Target::Rule(path.clone(), rule.name.clone());
                add(format!("{path} {}", rule.name), kind(Pane::Rules), target);
            }
        }
        for row in self.data.builds.values().rev().take(500) {
            add(format!("{} {} {}", row.id, row.path, row.rule), kind(Pane::Builds), Target::Build(row.id));
        }
        let theme = look.text("palette.theme").into_owned();
        for name in &self.manners.themes {
            add(name.clone(), theme.clone(), Target::Theme(name.clone()));
        }
        for lang in [Lang::En, Lang::ZhCn] {
            add(lang.code().to_owned(), look.text("action.switch_language").into_owned(), Target::Lang(lang));
        }
        self.modal = Some(Modal::Palette(Palette::new(candidates)));
    }

    pub(super) fn modal_paste(&mut self, text: &str) -> Vec<Effect> {
        let now = self.now;
        match &mut self.modal {
            Some(Modal::Palette(palette)) => palette.paste(text),
            Some(Modal::Form(form)) => return form.paste(text, now),
            Some(Modal::ReplayPush(replay)) => replay.rules.paste(text),
            Some(Modal::TagHistory(history)) => {
                if let Some(Ok(events)) = &mut history.events {
                    events.paste(text);
                }
            }
            Some(Modal::Replay(replay)) => {
                if let Some(Ok(refs)) = &mut replay.refs {
                    refs.paste(text);
                }
            }
            _ => {}
        }
        Vec::new()
    }

    /// What is in front is used by keys; the wheel scrolls it as the arrows do.
    pub(super) fn modal_mouse(&mut self, mouse: MouseEvent) -> Vec<Effect> {
        let code = match mouse.kind {
            MouseEventKind::ScrollDown => KeyCode::Down,
            MouseEventKind::ScrollUp => KeyCode::Up,
            _ => return Vec::new(),
        };
        if matches!(self.modal, Some(Modal::Confirm(_) | Modal::Copy(_))) {
            return Vec::new();
        }
        self.modal_key(KeyEvent::from(code))
    }

    fn copy_item(&mut self, item: CopyItem) -> Vec<Effect> {
        match item.text {
            Some(text) => self.copy(text),
            None => {
                let Some(log) = &mut self.log else { return Vec::new() };
                let reply = log.act(Action::Copy);
                self.log_reply(reply)
            }
        }
    }

    /// Sends a text to the clipboard, and says so.
    pub(super) fn copy(&mut self, text: String) -> Vec<Effect> {
        let lang = self.manners.lang.code();
        if text.len() > LONGEST_COPY {
            let key = self.manners.keymap.key(Action::Export);
            let refusal = rust_i18n::t!("notice.too_long", locale = lang, n = text.len(), key = key);
            self.notify(Level::Refusal, refusal);
            return Vec::new();
        }
        let first = text.lines().next().unwrap_or_default();
        self.say(rust_i18n::t!("notice.copied", locale = lang, text = first));
        vec![Effect::Copy(text)]
    }

    /// What the log made of an action; none where it was not the log's.
    pub(super) fn log_took(&mut self, reply: Reply) -> Option<Vec<Effect>> {
        if matches!(reply, Reply::NotMine) { None } else { Some(self.log_reply(reply)) }
    }

    pub(super) fn log_reply(&mut self, reply: Reply) -> Vec<Effect> {
        match reply {
            Reply::Nothing | Reply::NotMine => Vec::new(),
            Reply::Copy(text) => self.copy(text),
            Reply::Say(key) => {
                let text = self.text(key);
                self.say(text);
                Vec::new()
            }
        }
    }
}
