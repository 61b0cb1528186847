//! The actions that do more than move.

use std::path::PathBuf;

use rust_i18n::t;

use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;
use crate::lang::Lang;
use crate::protocol::{EntityName, Request};
use crate::tui::app::App;
use crate::tui::data::{BuildSummary, Link, Tags};
use crate::tui::effect::{Effect, Purpose};
use crate::tui::keymap::Action;
use crate::tui::list::Key;
use crate::tui::modal::{Confirm, CopyItem, Modal};
use crate::tui::place::Pane;
use crate::tui::popup::{Help, Messages};

/// The panes from the widest to the narrowest: where `h` and `l` lead.
const DEPTH: [Pane; 5] = [Pane::Namespaces, Pane::Repositories, Pane::Rules, Pane::Builds, Pane::Log];

impl App {
    /// Does what is the same in every pane, or needs more than the pane; none where the action is the pane's own.
    pub(super) fn act_everywhere(&mut self, action: Action) -> Option<Vec<Effect>> {
        let mut effects = Vec::new();
        match action {
            Action::FocusNamespaces => self.go_to(Pane::Namespaces),
            Action::FocusRepositories => self.go_to(Pane::Repositories),
            Action::FocusRules => self.go_to(Pane::Rules),
            Action::FocusBuilds => self.go_to(Pane::Builds),
            Action::FocusLog => self.go_to(Pane::Log),
            Action::FocusTags => self.go_to(Pane::Tags),
            Action::FocusBuilders => self.go_to(Pane::Builders),
            Action::FocusPushes => self.go_to(Pane::Pushes),
            Action::FocusPlatforms => self.go_to(Pane::Platforms),
            Action::TagHistory => effects.extend(self.ask_for_tag_history()),
            Action::CheckPlatform => effects.extend(self.check_platform()),
            Action::NextPane => self.turn(1),
            Action::PreviousPane => self.turn(Pane::ALL.len() - 1),
            Action::In | Action::Open if self.focus == Pane::Pushes => effects.extend(self.open_push()),
            Action::In | Action::Open if !self.single => self.enter_pane(),
            Action::Out if !self.single => self.leave_pane(),
            Action::Back => self.back(),
            Action::Quit => {
                if (self.zoomed && !self.single) || self.modal.is_some() {
                    self.back();
                } else {
                    return Some(self.quit());
                }
            }
            Action::Interrupt | Action::Suspend => {}
            Action::Zoom => self.zoomed = !self.zoomed,
            Action::Details => {
                self.details = !self.details;
                self.details_scroll = 0;
            }
            Action::Help => self.modal = Some(Modal::Help(Help::new(self.scopes()))),
            Action::Palette => self.open_palette(),
            Action::Messages => self.modal = Some(Modal::Messages(Messages::new())),
            Action::Copy => {
                // Whoever selected lines has said what is to be copied.
                if self.focus == Pane::Log
                    && let Some(log) = self.log.as_mut().filter(|log| log.is_selecting())
                {
                    let reply = log.act(action);
                    return Some(self.log_reply(reply));
                }
                self.open_copy_menu();
            }
            Action::Refresh => {
                self.data.tags.clear();
                self.data.progress.clear();
                self.data.last_builds.clear();
                self.data.build_windows.stale();
                self.data.push_windows.stale();
                effects.push(Effect::ReadSettings);
                if self.data.link == Link::Stopped {
                    effects.push(Effect::WantPool);
                }
            }
            Action::Redraw => effects.push(Effect::Redraw),
            Action::NextTheme => effects.push(Effect::NextTheme),
            Action::SwitchLanguage => self.speak(if self.manners.lang == Lang::En { Lang::ZhCn } else { Lang::En }),
            Action::ToggleMouse => {
                self.manners.mouse = !self.manners.mouse;
                let key = if self.manners.mouse { "notice.mouse_on" } else { "notice.mouse_off" };
                let text = self.text(key);
                self.say(text);
                effects.push(Effect::SetMouse(self.manners.mouse));
            }
            Action::Add => self.add(&mut effects),
            Action::Edit => self.edit(&mut effects),
            Action::EditToml => match self.file_in_question() {
                Some(file) => effects.push(Effect::Edit(file)),
                None => self.nothing_selected(),
            },
            Action::Delete => self.delete(),
            Action::UndoDelete => effects.extend(self.undo_delete()),
            Action::BuildNow => effects.extend(self.build_now()),
            Action::Replay if self.focus == Pane::Pushes => effects.extend(self.replay_push()),
            Action::Replay => self.replay(&mut effects),
            Action::Cancel => self.ask_to_cancel(),
            Action::MarkBuild if self.focus == Pane::Builds => self.lists.builds.mark(),
            Action::MarkBuild => {}
            Action::Retry => {
                for id in self.marked_builds(BuildSummary::can_be_retried) {
                    let request = Box::new(Request::Retry { id });
                    effects.push(Effect::Ask { request, purpose: Purpose::Retry(id) });
                }
                self.lists.builds.marked.clear();
            }
            Action::Pager => effects.extend(self.log_file().map(Effect::Page)),
            Action::EarlierAttempt => effects.extend(self.turn_to_attempt(false)),
            Action::LaterAttempt => effects.extend(self.turn_to_attempt(true)),
            Action::Export => effects.extend(self.log_of.map(|of| Effect::Export(of.log()))),
            _ => return None,
        }
        Some(effects)
    }

    /// The pane so many further on.
    fn turn(&mut self, by: usize) {
        let at = self.focus.number() - 1;
        self.focus = Pane::ALL[(at + by) % Pane::ALL.len()];
    }

    fn enter_pane(&mut self) {
        match DEPTH.iter().position(|pane| *pane == self.focus) {
            // What a list is narrowed to is chosen by entering the next.
            Some(at) if at + 1 < DEPTH.len() => {
                let empty = self.focus == Pane::Repositories && self.lists.repositories.name().is_none();
                // Without a repository there are no rules to go to.
                self.focus = if empty { Pane::Builds } else { DEPTH[at + 1] };
            }
            Some(_) => {}
            None => {
                self.details = true;
                self.details_scroll = 0;
            }
        }
    }

    fn leave_pane(&mut self) {
        if let Some(at) = DEPTH.iter().position(|pane| *pane == self.focus)
            && at > 0
        {
            let no_rules = DEPTH[at] == Pane::Builds && self.lists.repositories.name().is_none();
            self.focus = if no_rules { Pane::Repositories } else { DEPTH[at - 1] };
        } else if !DEPTH.contains(&self.focus) {
            self.focus = Pane::Builds;
        }
    }

    /// One step back: a message, a filter, the whole screen, details, the pane before.
    fn back(&mut self) {
        if self.notices.close(self.now) {
            return;
        }
        if let Some(list) = self.list_mut(self.focus).filter(|list| !list.filter.is_empty()) {
            list.filter.clear();
            return;
        }
        if let Some(list) = self.list_mut(self.focus).filter(|list| !list.marked.is_empty()) {
            list.marked.clear();
            return;
        }
        if self.single {
            return;
        }
        if self.zoomed {
            self.zoomed = false;
        } else if self.details {
            self.details = false;
        } else {
            self.leave_pane();
        }
    }

    fn nothing_selected(&mut self) {
        let text = self.text("notice.nothing_selected");
        self.say(text);
    }

    /// Speaks another language from now on.
    pub(super) fn speak(&mut self, lang: Lang) {
        self.manners.lang = lang;
        let text = self.text("notice.language");
        self.say(text);
    }

    /// What the pane's selection is called, for deleting and editing.
    pub(super) fn entity_in_question(&self) -> Option<EntityName> {
        match self.focus {
            Pane::Namespaces => Some(EntityName::Namespace(self.lists.namespaces.name()?.into())),
            Pane::Repositories => Some(EntityName::Repository(self.selected_repository()?)),
            Pane::Rules => Some(EntityName::Rule(self.selected_repository()?, self.lists.rules.name()?.into())),
            Pane::Builders => {
                let name = self.lists.builders.name()?;
                self.data.settings.builders.contains_key(name).then(|| EntityName::Builder(name.into()))
            }
            Pane::Platforms => Some(EntityName::Platform(self.lists.platforms.name()?.into())),
            Pane::Builds | Pane::Log => {
                let build = self.selected_build()?;
                Some(EntityName::Rule(build.path.clone(), build.rule.clone()))
            }
            Pane::Tags | Pane::Pushes => Some(EntityName::Repository(self.repository_in_question()?)),
        }
    }

    /// The file that holds what is selected.
    fn file_in_question(&self) -> Option<PathBuf> {
        self.client.file_of(&self.entity_in_question()?)
    }

    fn log_file(&self) -> Option<PathBuf> {
        let row = self.selected_build()?;
        let chosen = self.log_of.filter(|of| of.id == row.id).and_then(|of| of.chosen);
        self.client.log_of(row.id, chosen.unwrap_or_else(|| row.newest_attempt()))
    }

    fn build_now(&mut self) -> Option<Effect> {
        let (path, rule) = self.rule_in_question()?;
        let rule = Some(rule.name.clone());
        let request = Box::new(Request::Start { path, rule });
        Some(Effect::Ask { request, purpose: Purpose::Build })
    }

    fn ask_to_cancel(&mut self) {
        let open: Vec<BuildId> = self.marked_builds(|row| !row.state.is_final());
        let lang = self.manners.lang.code();
        let question = match open.as_slice() {
            [] => return,
            [id] => {
                let path = self.data.builds.get(id).map(|row| row.path.to_string()).unwrap_or_default();
                t!("confirm.cancel", locale = lang, id = id, path = path).into_owned()
            }
            ids => {
                let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
                t!("confirm.cancel_marked", locale = lang, count = ids.len(), ids = names.join(" ")).into_owned()
            }
        };
        let cancel = |id| (Request::Cancel { id }, Purpose::Cancel(id));
        let requests = open.into_iter().map(cancel).collect();
        self.modal = Some(Modal::Confirm(Confirm { question, requests }));
    }

    /// The builds that are marked, else the selected one, of those that something can be done to.
    fn marked_builds(&self, fits: impl Fn(&BuildSummary) -> bool) -> Vec<BuildId> {
        let fits = |id: &BuildId| self.data.builds.get(id).is_some_and(&fits);
        self.lists.builds.builds().into_iter().filter(fits).collect()
    }

    /// A tag is deleted after a question; for everything else the name has to be typed.
    fn delete(&mut self) {
        if self.focus == Pane::Tags {
            let (Some(path), Some(tag)) = (self.repository_in_question(), self.lists.tags.name()) else {
                return self.nothing_selected();
            };
            let name = format!("{path}:{tag}");
            let question = t!("confirm.delete_tag", locale = self.manners.lang.code(), name = name).into_owned();
            let request = Request::DeleteTag { path, tag: tag.into() };
            let requests = vec![(request, Purpose::Delete(name))];
            self.modal = Some(Modal::Confirm(Confirm { question, requests }));
            return;
        }
        match self.entity_in_question().filter(|_| !matches!(self.focus, Pane::Builds | Pane::Log | Pane::Pushes)) {
            Some(name) => self.open_delete_form(name),
            None => self.nothing_selected(),
        }
    }

    /// Shows this build, whatever the lists are narrowed to. One that is not known is asked for: the list shows it when it
    /// comes.
    pub(super) fn show_build(&mut self, id: BuildId) -> Option<Effect> {
        let path = self.data.builds.get(&id).map(|row| row.path.clone());
        let elsewhere = path.is_none_or(|path| {
            self.lists.namespaces.name().is_some_and(|namespace| namespace != path.namespace)
                || self.selected_repository().is_some_and(|selected| selected != path)
        });
        if elsewhere {
            self.lists.namespaces.go_to(0);
            self.lists.repositories.go_to(0);
        }
        self.lists.rules.go_to(0);
        self.lists.builds.filter.clear();
        self.arrange();
        self.lists.builds.choose(Key::Build(id));
        (!self.data.builds.contains_key(&id)).then(|| Effect::ReadRecords(vec![id]))
    }

    /// Shows this repository, or one of its rules.
    pub(super) fn show_repository(&mut self, path: &RepositoryPath, rule: Option<&str>) {
        self.lists.namespaces.filter.clear();
        self.lists.repositories.filter.clear();
        self.lists.rules.filter.clear();
        self.lists.namespaces.choose(Key::Name(path.namespace.clone()));
        self.arrange();
        self.lists.repositories.choose(Key::Name(path.to_string()));
        self.arrange();
        self.focus = Pane::Repositories;
        if let Some(rule) = rule {
            self.lists.rules.choose(Key::Name(rule.to_owned()));
            self.focus = Pane::Rules;
        }
    }

    fn open_copy_menu(&mut self) {
        let mut items: Vec<CopyItem> = Vec::new();
        let label = |key: &str| self.text(&format!("copy.{key}"));
        let mut add = |key: char, name: &str, text: Option<String>| {
            items.push(CopyItem { key, label: label(name), text });
        };
        match self.focus {
            Pane::Tags => {
                if let Some((path, Some(Tags::There(tags)))) = self.shown_tags()
                    && let Some(tag) = tags.iter().find(|tag| Some(tag.tag.as_str()) == self.lists.tags.name())
                {
                    add('t', "tag", Some(tag.tag.clone()));
                    add('i', "image", Some(tag.name.clone()));
                    add('d', "digest", Some(tag.digest.clone()));
                    add('p', "pull", Some(self.pull_command(&path, &tag.name, &tag.tag)));
                }
            }
            Pane::Builds | Pane::Log => {
                if self.focus == Pane::Log && self.log.is_some() && !self.details {
                    add('y', "line", None);
                }
                if let Some(build) = self.selected_build() {
                    add('b', "build", Some(build.id.to_string()));
                    add('c', "commit", Some(build.commit.to_string()));
                    add('t', "tag", build.tags.first().cloned());
                    if let Some(image) = build.images.first() {
                        let tag = image.name.rsplit(':').next().unwrap_or_default();
                        add('i', "image", Some(image.name.clone()));
                        add('d', "digest", Some(image.digest.clone()));
                        add('p', "pull", Some(self.pull_command(&build.path, &image.name, tag)));
                    }
                    add('r', "reason", Some(self.translated(&build.reason)));
                }
                add('f', "log_file", self.log_file().map(|file| file.display().to_string()));
            }
            Pane::Builders => {
                let name = self.lists.builders.name();
                let builders = self.data.status.iter().flat_map(|status| &status.builders);
                if let Some(builder) = builders.into_iter().find(|builder| Some(builder.name.as_str()) == name) {
                    add('n', "name", Some(builder.name.clone()));
                    if let Some(address) = &builder.address {
                        add('a', "address", Some(address.clone()));
                    }
                }
            }
            Pane::Platforms => {
                if let Some(name) = self.lists.platforms.name() {
                    let platform = self.data.settings.platforms.get(name);
                    add('n', "name", Some(name.to_owned()));
                    add('a', "address", platform.and_then(|platform| platform.url.clone()));
                    add('w', "webhook", self.data.webhook_url(name));
                }
            }
            Pane::Pushes => {
                if let Some(push) = self.selected_push() {
                    add('c', "commit", Some(push.commit.to_string()));
                    add('r', "ref", Some(push.reference.to_string()));
                    add('n', "name", Some(push.repository.to_string()));
                    add('b', "build", push.builds().next().map(|id| id.to_string()));
                }
            }
            Pane::Namespaces => add('n', "name", self.lists.namespaces.name().map(str::to_owned)),
            Pane::Repositories | Pane::Rules => {
                if let Some(path) = self.repository_in_question() {
                    let image = self.data.settings.namespaces.get(&path.namespace);
                    add('n', "name", Some(path.to_string()));
                    add('i', "image", image.map(|namespace| namespace.image_name(&path)));
                    let source = self.repository(&path).and_then(|repository| repository.source.as_ref());
                    add('s', "source", source.map(|source| source.url.clone()));
                }
                if let Some(rule) = self.lists.rules.name().filter(|_| self.focus == Pane::Rules) {
                    add('u', "rule", Some(rule.to_owned()));
                }
            }
        }
        items.retain(|item| item.key == 'y' || item.text.is_some());
        if items.is_empty() {
            return self.nothing_selected();
        }
        self.modal = Some(Modal::Copy(items));
    }

    /// What brings an image onto a machine: from the registry "local" it is copied out of its layout directory.
    fn pull_command(&self, path: &RepositoryPath, name: &str, tag: &str) -> String {
        let namespace = self.data.settings.namespaces.get(&path.namespace);
        if namespace.is_none_or(|namespace| !namespace.is_local()) {
            return format!("docker pull {name}");
        }
        let layout = self.client.images_of(path).map(|layout| layout.display().to_string());
        format!("skopeo copy oci:{}:{tag} docker-daemon:{name}", layout.unwrap_or_default())
    }
}
