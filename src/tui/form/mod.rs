//! The forms: what is configured, page by page, checked as it is typed, shown as the TOML that it will be before it is saved.

mod content;
mod draw;
mod field;
mod outline;
mod platform;
mod rule;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Position;

pub use field::{Field, Value};

use super::effect::{Effect, Purpose};
use crate::domain::builder::{Builder, BuilderKind};
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::preview::{PreviewRow, preview};
use crate::domain::push::{CommitId, Ref};
use crate::domain::repository::Repository;
use crate::domain::rule::{MOST_ARGS, Rule};
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::protocol::{Entity, EntityName, Request, SaveMode};
use crate::store::secrets::Secret;
use crate::store::settings::Settings;

/// What a form is for.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A namespace.
    Namespace {
        /// The one that is edited.
        name: Option<String>,
        /// What it was.
        base: Namespace,
    },
    /// A repository.
    Repository {
        /// The one that is edited.
        path: Option<RepositoryPath>,
        /// What it was.
        base: Box<Repository>,
    },
    /// A rule.
    Rule {
        /// Its repository.
        path: RepositoryPath,
        /// What it was.
        base: Box<Rule>,
        /// It is not there yet.
        is_new: bool,
        /// The tags that an immutable repository has; none where tags may be overwritten.
        taken: Option<BTreeSet<String>>,
    },
    /// A builder.
    Builder {
        /// The one that is edited.
        name: Option<String>,
        /// What it was.
        base: Box<Builder>,
    },
    /// A platform.
    Platform {
        /// The one that is edited.
        name: Option<String>,
        /// What it was.
        base: Box<SourcePlatform>,
    },
    /// Something is to be deleted: its name has to be typed.
    Delete {
        /// It.
        name: EntityName,
        /// What has to be typed.
        typed: String,
    },
}

/// A page of a form.
#[derive(Debug, Clone)]
pub struct Page {
    /// The key of its title.
    pub title: &'static str,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// The refs of a rule's source.
#[derive(Debug, Clone, Default)]
pub enum Refs {
    /// There is no source to ask.
    #[default]
    None,
    /// They are asked for.
    Asked,
    /// They are there.
    There(Vec<(Ref, CommitId)>),
    /// Why they can't be had.
    Failed(String),
}

/// A form.
#[derive(Debug, Clone)]
pub struct Form {
    /// What it is for.
    pub kind: Kind,
    /// Its pages.
    pub pages: Vec<Page>,
    /// Which page is shown.
    pub page: usize,
    /// Which of its fields has the focus.
    pub focus: usize,
    /// What else is wrong, and what the pool said.
    pub error: Option<String>,
    /// The change to the TOML, once it is to be saved; none: the fields are shown.
    pub diff: Option<String>,
    /// It is being saved.
    pub saving: bool,
    /// Something was typed.
    pub touched: bool,
    /// The refs of a rule's source, and what the rule makes of them.
    pub refs: Refs,
    /// What the rule makes of the refs.
    pub preview: Vec<PreviewRow>,
    /// The refs have the whole form on a narrow screen.
    pub shows_refs: bool,
    /// Errors are shown of fields that nobody has come to yet.
    pub tried: bool,
    offered: outline::Offered,
    offset: usize,
    cursor: Option<Position>,
}

/// What became of a key.
#[derive(Debug)]
pub enum Answer {
    /// The form stays.
    Open(Vec<Effect>),
    /// It is left.
    Closed,
}

impl Form {
    fn with(kind: Kind, pages: Vec<Page>) -> Form {
        let mut form = Form {
            kind,
            pages,
            page: 0,
            focus: 0,
            error: None,
            diff: None,
            saving: false,
            touched: false,
            refs: Refs::None,
            preview: Vec::new(),
            shows_refs: false,
            tried: false,
            offered: outline::Offered::default(),
            offset: 0,
            cursor: None,
        };
        form.check();
        form
    }

    /// A namespace, new or to be changed.
    pub fn namespace(settings: &Settings, name: Option<&str>) -> Form {
        let base = name.and_then(|name| settings.namespaces.get(name)).cloned().unwrap_or_default();
        let pages = content::namespace_pages(name, &base);
        Form::with(Kind::Namespace { name: name.map(str::to_owned), base }, pages)
    }

    /// A repository, to be changed.
    pub fn repository(settings: &Settings, path: &RepositoryPath) -> Form {
        let base = settings.repositories.get(path).cloned().unwrap_or_default();
        let pages = content::repository_pages(settings, Some(path), &path.namespace, &base);
        Form::with(Kind::Repository { path: Some(path.clone()), base: Box::new(base) }, pages)
    }

    /// A repository that is not there yet, with the defaults of a namespace.
    pub fn new_repository(settings: &Settings, namespace: &str) -> Form {
        let base = settings.namespaces.get(namespace).map(|value| value.new_repository("")).unwrap_or_default();
        let pages = content::repository_pages(settings, None, namespace, &base);
        let mut form = Form::with(Kind::Repository { path: None, base: Box::new(base) }, pages);
        // Its namespace is chosen already, its name is not.
        form.focus = form.pages[0].fields.iter().position(|field| field.key == "name").unwrap_or_default();
        form
    }

    /// A rule, new or to be changed, of a repository that has these tags; the refs of the source are to be asked for.
    pub fn rule(
        settings: &Settings,
        path: &RepositoryPath,
        name: Option<&str>,
        tags: BTreeSet<String>,
    ) -> (Form, Option<Effect>) {
        let repository = settings.repositories.get(path);
        let known = name.and_then(|name| repository?.rule(name)).cloned();
        let is_new = known.is_none();
        let base = known.unwrap_or_else(|| Rule { name: String::new(), ..Rule::starter("") });
        let pages = rule::rule_pages(is_new, &base);
        let taken = repository.is_some_and(|repository| repository.immutable).then_some(tags);
        let kind = Kind::Rule { path: path.clone(), base: Box::new(base), is_new, taken };
        let mut form = Form::with(kind, pages);
        let source = repository.and_then(|repository| repository.source.clone());
        if source.is_some() {
            form.refs = Refs::Asked;
        }
        (form, source.map(Effect::ListRefs))
    }

    /// A builder, new or to be changed.
    pub fn builder(settings: &Settings, name: Option<&str>) -> Form {
        let known = name.and_then(|name| settings.builders.get(name)).cloned();
        let base = known.unwrap_or_else(|| Builder::of(BuilderKind::Existing));
        let pages = content::builder_pages(name, &base);
        Form::with(Kind::Builder { name: name.map(str::to_owned), base: Box::new(base) }, pages)
    }

    /// A platform, new or to be changed.
    pub fn platform(settings: &Settings, name: Option<&str>) -> Form {
        let known = name.and_then(|name| settings.platforms.get(name)).cloned();
        let base = known.unwrap_or_else(|| SourcePlatform::new(PlatformKind::Github));
        let pages = platform::platform_pages(name, &base);
        Form::with(Kind::Platform { name: name.map(str::to_owned), base: Box::new(base) }, pages)
    }

    /// Asks for the name of what is to be deleted.
    pub fn delete(name: EntityName) -> Form {
        let typed = match &name {
            EntityName::Namespace(name)
            | EntityName::Builder(name)
            | EntityName::Registry(name)
            | EntityName::Platform(name) => name.clone(),
            EntityName::Repository(path) => path.to_string(),
            EntityName::Rule(_, rule) => rule.clone(),
        };
        let page = Page { title: "form.page.delete", fields: vec![Field::text("typed_name", "")] };
        Form::with(Kind::Delete { name, typed }, vec![page])
    }

    /// What the form is about: a draft of one form is no draft of another.
    pub fn identity(&self) -> String {
        match &self.kind {
            Kind::Namespace { name, .. } => format!("namespace {name:?}"),
            Kind::Repository { path, .. } => format!("repository {path:?}"),
            Kind::Rule { path, base, is_new, .. } => format!("rule {path} {:?} {is_new}", base.name),
            Kind::Builder { name, .. } => format!("builder {name:?}"),
            Kind::Platform { name, .. } => format!("platform {name:?}"),
            Kind::Delete { name, .. } => format!("delete {name}"),
        }
    }

    fn focused(&mut self) -> Option<&mut Field> {
        self.pages.get_mut(self.page)?.fields.get_mut(self.focus)
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent, now: DateTime<Utc>) -> Answer {
        if self.saving {
            // What was sent can't be taken back; the answer comes soon.
            return if key.code == KeyCode::Esc { Answer::Closed } else { Answer::Open(Vec::new()) };
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let mut effects = match key.code {
            KeyCode::Esc if self.diff.take().is_some() => Vec::new(),
            KeyCode::Esc if self.shows_refs => {
                self.shows_refs = false;
                Vec::new()
            }
            KeyCode::Esc => return Answer::Closed,
            KeyCode::Enter | KeyCode::F(2) if self.diff.is_some() => self.save(),
            _ if self.diff.is_some() => {
                self.scroll(key.code);
                Vec::new()
            }
            KeyCode::F(2) => self.submit(),
            KeyCode::Enter if control => self.submit(),
            KeyCode::F(3) => {
                match self.take_offer() {
                    Ok(()) => self.changed(now),
                    Err(why) => self.error = Some(why.to_owned()),
                }
                Vec::new()
            }
            KeyCode::F(4) => {
                self.shows_refs = !self.shows_refs;
                Vec::new()
            }
            KeyCode::Enter => self.enter(),
            KeyCode::Tab | KeyCode::Down => {
                self.turn(true);
                Vec::new()
            }
            KeyCode::BackTab | KeyCode::Up => {
                self.turn(false);
                Vec::new()
            }
            KeyCode::PageDown => {
                self.go_to_page(self.page + 1);
                Vec::new()
            }
            KeyCode::PageUp => {
                self.go_to_page(self.page.saturating_sub(1));
                Vec::new()
            }
            _ => {
                if self.focused().is_some_and(|field| field.key(key)) {
                    self.changed(now);
                }
                Vec::new()
            }
        };
        effects.extend(self.ask_outline());
        Answer::Open(effects)
    }

    /// Scrolls the change to the TOML; how far it goes is seen when it is drawn.
    fn scroll(&mut self, key: KeyCode) {
        self.offset = match key {
            KeyCode::Down | KeyCode::Char('j') => self.offset + 1,
            KeyCode::Up | KeyCode::Char('k') => self.offset.saturating_sub(1),
            KeyCode::PageDown => self.offset + 10,
            KeyCode::PageUp => self.offset.saturating_sub(10),
            _ => self.offset,
        };
    }

    /// Takes what was pasted.
    pub fn paste(&mut self, text: &str, now: DateTime<Utc>) {
        if self.diff.is_none()
            && let Some(field) = self.focused()
        {
            field.paste(text);
            self.changed(now);
        }
    }

    fn changed(&mut self, now: DateTime<Utc>) {
        self.touched = true;
        self.error = None;
        self.add_argument();
        self.mask_token();
        self.check();
        self.look_at_refs(now);
    }

    /// There is always an empty line for one more argument.
    fn add_argument(&mut self) {
        let Some(page) = self.pages.iter_mut().find(|page| page.title == "form.page.arguments") else { return };
        let args: Vec<&Field> = page.fields.iter().filter(|field| field.key == "arg").collect();
        let full = args.last().is_some_and(|field| !field.content().is_empty());
        let number = args.len();
        if full && number < MOST_ARGS {
            page.fields.push(Field::text("arg", "").numbered(number));
        }
    }

    /// A token is not shown where it is typed.
    fn mask_token(&mut self) {
        let masked = platform::is_token_typed(&self.pages);
        for field in self.pages.iter_mut().flat_map(|page| &mut page.fields).filter(|field| field.key == "token") {
            if let Value::Text(input) = &mut field.value {
                input.set_masked(masked);
            }
        }
    }

    /// What the fields say is checked; errors stand beside the fields.
    fn check(&mut self) {
        let (_, problems) = content::read(&self.kind, &self.pages);
        for field in self.pages.iter_mut().flat_map(|page| &mut page.fields) {
            let found = problems.iter().find(|(key, number, _)| key == field.key && *number == field.number);
            field.error = found.map(|(_, _, why)| why.clone());
        }
    }

    /// What the rule, as it stands, makes of the refs.
    fn look_at_refs(&mut self, now: DateTime<Utc>) {
        let (Kind::Rule { taken, .. }, Refs::There(refs)) = (&self.kind, &self.refs) else { return };
        let (entity, _) = content::read(&self.kind, &self.pages);
        let Some(Entity::Rule { value, .. }) = entity else { return };
        let none = BTreeSet::new();
        let tags = taken.as_ref().unwrap_or(&none);
        // A pattern that does not compile yet is told at its field.
        self.preview = preview(&value, refs, tags, taken.is_some(), now).unwrap_or_default();
    }

    /// Takes over the refs of the source.
    pub fn take_refs(&mut self, refs: Result<Vec<(Ref, CommitId)>, String>, now: DateTime<Utc>) {
        self.refs = refs.map_or_else(Refs::Failed, Refs::There);
        self.look_at_refs(now);
    }

    /// The next field; after the last one the next page, and from there to saving.
    fn enter(&mut self) -> Vec<Effect> {
        let last_field = self.focus + 1 >= self.pages[self.page].fields.len();
        if !last_field {
            self.focus += 1;
            return Vec::new();
        }
        if self.page + 1 < self.pages.len() {
            self.go_to_page(self.page + 1);
            return Vec::new();
        }
        self.submit()
    }

    fn turn(&mut self, forwards: bool) {
        let count = self.pages[self.page].fields.len().max(1);
        if forwards && self.focus + 1 < count {
            self.focus += 1;
        } else if forwards && self.page + 1 < self.pages.len() {
            self.go_to_page(self.page + 1);
        } else if !forwards && self.focus > 0 {
            self.focus -= 1;
        } else if !forwards && self.page > 0 {
            self.go_to_page(self.page - 1);
            self.focus = self.pages[self.page].fields.len().saturating_sub(1);
        }
    }

    fn go_to_page(&mut self, page: usize) {
        self.page = page.min(self.pages.len() - 1);
        self.focus = 0;
        self.offset = 0;
    }

    /// Checks everything, and shows the change to the file; where something is wrong, goes there.
    fn submit(&mut self) -> Vec<Effect> {
        self.tried = true;
        if let Kind::Delete { name, typed } = &self.kind {
            if self.pages[0].fields[0].content() != typed {
                self.pages[0].fields[0].error = Some(format!("\"{typed}\" has to be typed"));
                return Vec::new();
            }
            let request = Box::new(Request::Delete(name.clone()));
            self.saving = true;
            return vec![Effect::Ask { request, purpose: Purpose::Form }];
        }
        let (entity, problems) = content::read(&self.kind, &self.pages);
        self.check();
        if let Some((key, number, why)) = problems.first() {
            let place = self.pages.iter().enumerate().find_map(|(page, content)| {
                let at = content.fields.iter().position(|field| field.key == key && field.number == *number)?;
                Some((page, at))
            });
            match place {
                Some((page, at)) => {
                    self.go_to_page(page);
                    self.focus = at;
                }
                None => self.error = Some(why.clone()),
            }
            return Vec::new();
        }
        entity.map(|entity| Effect::PreviewToml(Box::new(entity))).into_iter().collect()
    }

    /// Takes over the change that saving would make; an empty one is told as such.
    pub fn take_diff(&mut self, diff: Result<String, String>) {
        match diff {
            Ok(diff) => (self.diff, self.offset) = (Some(diff), 0),
            Err(error) => self.error = Some(error),
        }
    }

    fn save(&mut self) -> Vec<Effect> {
        let (Some(entity), _) = content::read(&self.kind, &self.pages) else { return Vec::new() };
        let is_new = match &self.kind {
            Kind::Namespace { name, .. } | Kind::Builder { name, .. } | Kind::Platform { name, .. } => name.is_none(),
            Kind::Repository { path, .. } => path.is_none(),
            Kind::Rule { is_new, .. } => *is_new,
            Kind::Delete { .. } => false,
        };
        let mode = if is_new { SaveMode::Create } else { SaveMode::Edit };
        self.saving = true;
        // A new repository starts with a rule for its source's default branch.
        if let (Entity::Repository { path, value }, true) = (&entity, is_new)
            && let Some(source) = value.source.clone()
        {
            return vec![Effect::SaveWithRule { path: path.clone(), value: Box::new(value.clone()), source }];
        }
        if platform::wants_new_secret(&self.pages)
            && let Entity::Platform { name, value, token, .. } = entity
        {
            let token = token.map(Secret::new);
            return vec![Effect::SaveWithSecret { name, value: Box::new(value), token, mode }];
        }
        vec![Effect::Ask {
            request: Box::new(Request::Save { entity: Box::new(entity), mode }),
            purpose: Purpose::Form,
        }]
    }

    /// The pool refused what was to be saved: the form stays, with the reason.
    pub fn refused(&mut self, why: String) {
        self.saving = false;
        self.diff = None;
        self.error = Some(why);
    }

    /// What was saved, for where to go next.
    pub fn saved(&self) -> Option<Entity> {
        content::read(&self.kind, &self.pages).0
    }

    /// Where the cursor belongs.
    pub fn cursor(&self) -> Option<Position> {
        self.cursor
    }
}
