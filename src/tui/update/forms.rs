//! Forms: opened, answered, left; and what needs the refs of a source.

use std::collections::BTreeSet;

use crate::domain::name::RepositoryPath;
use crate::domain::preview::{self, preview};
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::Reason;
use crate::domain::repository::Source;
use crate::domain::rule::Rule;
use crate::protocol::{Entity, EntityName, Request, SaveMode};
use crate::tui::app::App;
use crate::tui::data::Tags;
use crate::tui::effect::{Effect, FormId, Purpose};
use crate::tui::form::{Form, Kind};
use crate::tui::keymap::Action;
use crate::tui::list::Key;
use crate::tui::modal::{Modal, Replay};
use crate::tui::place::Pane;
use crate::tui::popup::{Candidate, Palette};

impl App {
    /// Opens a form; what was typed into the same one before is there again.
    fn open_form(&mut self, form: Form) {
        let mut form = match self.draft.take() {
            Some(mut draft) if draft.identity() == form.identity() => {
                draft.source = form.source;
                draft
            }
            _ => Box::new(form),
        };
        // What was sent is still waited for; any other answer that is on its way has become old.
        if !form.is_sent() {
            self.last_form = FormId(self.last_form.0 + 1);
            form.id = self.last_form;
        }
        self.modal = Some(Modal::Form(form));
    }

    /// The form that is open, if it is this one.
    pub(super) fn form_with(&mut self, id: FormId) -> Option<&mut Form> {
        match &mut self.modal {
            Some(Modal::Form(form)) if form.id == id => Some(form),
            _ => None,
        }
    }

    /// Leaves a form; what was typed is kept for the next time.
    pub(super) fn leave_form(&mut self) {
        let Some(Modal::Form(mut form)) = self.modal.take() else { return };
        if form.is_sent() {
            // The pool's answer says whether it is still needed.
            self.draft = Some(form);
        } else if form.touched && !matches!(form.kind, Kind::Delete { .. }) {
            form.set_aside();
            self.draft = Some(form);
            let text = self.text("form.draft");
            self.say(text);
        }
    }

    /// The pool answered what a form asked for that was left meanwhile: it is no draft any more, or one with the
    /// reason.
    fn left_form_answered(&mut self, id: FormId, result: Result<(), Reason>) -> Vec<Effect> {
        let left = self.draft.take_if(|draft| draft.id == id);
        if let Err(why) = result {
            if let Some(mut draft) = left {
                draft.refused(why.clone());
                self.draft = Some(draft);
            }
            self.complain(why);
            return Vec::new();
        }
        if left.is_some() {
            let text = self.text("notice.saved");
            self.say(text);
        }
        vec![Effect::ReadSettings]
    }

    /// The pool answered what a form asked for: the form closes, or stays with the reason.
    pub(super) fn form_answered(&mut self, id: FormId, result: Result<(), Reason>) -> Vec<Effect> {
        let Some(form) = self.form_with(id) else { return self.left_form_answered(id, result) };
        if let Err(why) = result {
            form.refused(why);
            return Vec::new();
        }
        let (saved, deleted) = (
            form.saved(),
            match &form.kind {
                Kind::Delete { name, .. } => Some(name.clone()),
                _ => None,
            },
        );
        self.modal = None;
        if let Some(name) = deleted {
            self.deleted = self.doomed.take();
            self.data.tags.clear();
            let key = if self.deleted.is_some() { "notice.deleted_undo" } else { "notice.deleted" };
            let undo = self.manners.keymap.key(Action::UndoDelete);
            let text = rust_i18n::t!(key, locale = self.manners.lang.code(), name = name, key = undo);
            self.say(text);
        } else {
            let text = self.text("notice.saved");
            self.say(text);
        }
        match saved {
            // The next step is in the next pane.
            Some(Entity::Namespace { name, .. }) => {
                let empty = !self.data.settings.repositories.keys().any(|path| path.namespace == name);
                self.lists.namespaces.choose(Key::Name(name));
                if empty {
                    self.focus = Pane::Repositories;
                }
            }
            Some(Entity::Repository { path, .. }) => {
                self.lists.repositories.choose(Key::Name(path.to_string()));
                self.focus = Pane::Repositories;
            }
            Some(Entity::Platform { name, .. }) => self.lists.platforms.choose(Key::Name(name)),
            Some(Entity::Rule { value, .. }) => self.lists.rules.choose(Key::Name(value.name)),
            _ => {}
        }
        // The pool tells of the change, too; but not to one that it has lost.
        vec![Effect::ReadSettings]
    }

    pub(super) fn open_delete_form(&mut self, name: EntityName) {
        // What is to be made again, should it be a mistake.
        let settings = &self.data.settings;
        self.doomed = match &name {
            EntityName::Namespace(name) => settings
                .namespaces
                .get(name)
                .map(|value| Entity::Namespace { name: name.clone(), value: value.clone() }),
            EntityName::Repository(path) => settings
                .repositories
                .get(path)
                .map(|value| Entity::Repository { path: path.clone(), value: value.clone() }),
            EntityName::Rule(path, rule) => settings
                .repositories
                .get(path)
                .and_then(|repository| repository.rule(rule))
                .map(|value| Entity::Rule { path: path.clone(), value: value.clone() }),
            EntityName::Builder(name) => {
                settings.builders.get(name).map(|value| Entity::Builder { name: name.clone(), value: value.clone() })
            }
            // Its secrets are deleted with it, and can't be brought back.
            EntityName::Platform(name) => {
                settings.platforms.get(name).filter(|value| !value.keeps_secrets()).map(|value| Entity::Platform {
                    name: name.clone(),
                    value: value.clone(),
                    token: None,
                    webhook_secret: None,
                })
            }
            EntityName::Registry(_) | EntityName::Secret(_) => None,
        };
        self.open_form(Form::delete(name));
    }

    /// Makes again what was deleted last.
    pub(super) fn undo_delete(&mut self) -> Option<Effect> {
        let entity = self.deleted.clone()?;
        let name = entity.name().to_string();
        let request = Request::Save { entity: Box::new(entity), mode: SaveMode::Create };
        Some(Effect::Ask { request: Box::new(request), purpose: Purpose::Undo(name) })
    }

    /// A form for what belongs into the pane.
    pub(super) fn add(&mut self, effects: &mut Vec<Effect>) {
        match self.focus {
            Pane::Namespaces => self.open_form(Form::namespace(&self.data.settings, None)),
            Pane::Repositories => {
                let first = self.data.settings.namespaces.keys().next();
                let Some(namespace) = self.lists.namespaces.name().or(first.map(String::as_str)) else {
                    let text = self.text("empty.namespaces");
                    self.focus = Pane::Namespaces;
                    return self.say(text);
                };
                self.open_form(Form::new_repository(&self.data.settings, namespace));
            }
            Pane::Rules => {
                let Some(path) = self.repository_in_question() else {
                    let text = self.text("empty.rules_of_all");
                    return self.say(text);
                };
                let (form, ask) = Form::rule(&self.data.settings, &path, None, self.tags_of(&path));
                effects.extend(ask);
                self.open_form(form);
            }
            Pane::Builders => self.open_form(Form::builder(&self.data.settings, None)),
            Pane::Platforms => self.open_form(Form::platform(&self.data.settings, None)),
            Pane::Builds | Pane::Tags | Pane::Log | Pane::Pushes => effects.extend(self.act(Action::BuildNow)),
        }
    }

    /// The tags of a repository, as far as they were looked at.
    fn tags_of(&self, path: &RepositoryPath) -> BTreeSet<String> {
        match self.data.tags.get(path) {
            Some(Tags::There(tags)) => tags.iter().map(|tag| tag.tag.clone()).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// A form for what is selected.
    pub(super) fn edit(&mut self, effects: &mut Vec<Effect>) {
        let settings = &self.data.settings;
        let form = match self.entity_in_question() {
            Some(EntityName::Namespace(name)) => Form::namespace(settings, Some(&name)),
            Some(EntityName::Repository(path)) => Form::repository(settings, &path),
            Some(EntityName::Rule(path, rule)) => {
                let (form, ask) = Form::rule(settings, &path, Some(&rule), self.tags_of(&path));
                effects.extend(ask);
                form
            }
            Some(EntityName::Builder(name)) => Form::builder(settings, Some(&name)),
            Some(EntityName::Platform(name)) => Form::platform(settings, Some(&name)),
            _ => {
                let text = self.text("notice.nothing_selected");
                return self.say(text);
            }
        };
        self.open_form(form);
    }

    /// Lets a ref be chosen that a rule is replayed for.
    pub(super) fn replay(&mut self, effects: &mut Vec<Effect>) {
        let Some((path, rule)) = self.rule_in_question().map(|(path, rule)| (path, rule.name.clone())) else { return };
        let Some(source) = self.repository(&path).and_then(|repository| repository.source.clone()) else { return };
        effects.push(Effect::ListRefs(source.clone()));
        self.modal = Some(Modal::Replay(Box::new(Replay { path, rule, source, refs: None })));
    }

    /// The refs of a source came, for whoever still waits for them.
    pub(super) fn refs_came(&mut self, source: &Source, result: Result<Vec<(Ref, CommitId)>, Reason>) {
        let now = self.now;
        match &mut self.modal {
            Some(Modal::Form(form)) => form.take_refs(source, result, now),
            Some(Modal::Replay(replay)) if replay.source == *source => {
                let repository = self.data.settings.repositories.get(&replay.path);
                let rule = repository.and_then(|repository| repository.rule(&replay.rule));
                let immutable = repository.is_some_and(|repository| repository.immutable);
                let tags = match self.data.tags.get(&replay.path) {
                    Some(Tags::There(tags)) => tags.iter().map(|tag| tag.tag.clone()).collect(),
                    _ => BTreeSet::new(),
                };
                replay.refs = Some(result.map(|refs| Palette::new(candidates(rule, &refs, &tags, immutable, now))));
            }
            _ => {}
        }
    }

    /// What the settings were read for may have gone.
    pub(super) fn settings_changed(&mut self) -> Vec<Effect> {
        let repositories = &self.data.settings.repositories;
        self.data.tags.retain(|path, _| repositories.contains_key(path));
        // Another token may have been given.
        self.data.checks.clear();
        Vec::new()
    }
}

/// The refs that a rule matches, with the tags that they would get.
fn candidates(
    rule: Option<&Rule>,
    refs: &[(Ref, CommitId)],
    tags: &BTreeSet<String>,
    immutable: bool,
    now: chrono::DateTime<chrono::Utc>,
) -> Vec<Candidate<Ref>> {
    let Some(rule) = rule else { return Vec::new() };
    // A rule whose pattern does not compile can't be saved.
    let rows = preview(rule, refs, tags, immutable, now).unwrap_or_default();
    let matching = rows.into_iter().filter(|row| row.answer == preview::Answer::Match);
    matching
        .map(|row| Candidate {
            text: row.reference.name.clone(),
            detail: format!("{} {}", row.tags.join(" "), row.notes.join("; ")),
            target: row.reference,
        })
        .collect()
}
