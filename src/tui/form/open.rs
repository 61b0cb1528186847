//! How each form begins.

use std::collections::BTreeSet;

use super::field::Field;
use super::kind::Kind;
use super::page::Page;
use super::state::{Form, Refs};
use super::{content, platform, rule};
use crate::domain::builder::{Builder, BuilderKind};
use crate::domain::name::RepositoryPath;
use crate::domain::rule::Rule;
use crate::domain::settings::Settings;
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::protocol::EntityName;
use crate::tui::effect::Effect;

impl Form {
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
        form.source.clone_from(&source);
        (form, source.map(|source| Effect::ListRefs(source, None)))
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
            | EntityName::Platform(name)
            | EntityName::Secret(name) => name.clone(),
            EntityName::Repository(path) => path.to_string(),
            EntityName::Rule(_, rule) => rule.clone(),
        };
        let page = Page { title: "form.page.delete", fields: vec![Field::text("typed_name", "")] };
        Form::with(Kind::Delete { name, typed }, vec![page])
    }
}
