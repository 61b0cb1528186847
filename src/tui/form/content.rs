//! From what is configured to fields, and back.

use std::collections::BTreeMap;

use super::field::Field;
use super::grants;
use super::kind::Kind;
use super::page::Page;
use super::platform::platform;
use super::reader::{ANY, Problems, Reader, words};
use super::rule::rule;
use crate::client::checks;
use crate::domain::builder::{Builder, BuilderKind};
use crate::domain::duration::HumanDuration;
use crate::domain::name::{self, NameKind, RepositoryPath};
use crate::domain::namespace::Namespace;
use crate::domain::platform::Platform;
use crate::domain::reason::reason;
use crate::domain::repository::{Fetch, Repository, Source, Visibility};
use crate::domain::settings::Settings;
use crate::protocol::Entity;

fn visibility_word(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Public => "public",
    }
}

fn visibility(word: &str) -> Visibility {
    if word == "public" { Visibility::Public } else { Visibility::Private }
}

fn any_of<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    std::iter::once(ANY.to_owned()).chain(names.cloned()).collect()
}

pub(super) fn namespace_pages(name: Option<&str>, value: &Namespace) -> Vec<Page> {
    let mut fields = Vec::new();
    if name.is_none() {
        fields.push(Field::text("name", ""));
    }
    fields.extend([
        Field::text("summary", &value.summary),
        Field::text("registry", &value.registry),
        Field::choice("visibility", words(["private", "public"]), visibility_word(value.visibility)),
        Field::toggle("immutable", value.immutable),
        Field::toggle("accelerate", value.accelerate),
        Field::toggle("auto_create", value.auto_create),
        Field::text("source_template", value.source.as_ref().map_or("", |source| &source.url)),
    ]);
    vec![
        Page { title: "form.page.information", fields },
        Page { title: grants::PAGE, fields: grants::namespace_fields(value) },
    ]
}

pub(super) fn repository_pages(
    settings: &Settings,
    path: Option<&RepositoryPath>,
    namespace: &str,
    value: &Repository,
) -> Vec<Page> {
    let mut information = Vec::new();
    if path.is_none() {
        information.push(Field::choice("namespace", settings.namespaces.keys().cloned(), namespace));
        information.push(Field::text("name", ""));
    }
    information.extend([
        Field::text("summary", &value.summary),
        Field::text("description", &value.description),
        Field::choice("visibility", words(["private", "public"]), visibility_word(value.visibility)),
        Field::toggle("immutable", value.immutable),
        Field::toggle("accelerate", value.accelerate),
    ]);
    let source = value.source.as_ref();
    let build = &value.build;
    let platform = source.and_then(|source| source.platform.as_deref()).unwrap_or(ANY);
    let builder = if build.builder.is_empty() { ANY } else { &build.builder };
    let text = |time: Option<HumanDuration>| time.map_or_else(String::new, |time| time.to_string());
    let by_builder = source.is_some_and(|source| !source.fetch.is_by_slipway());
    let fetch = if by_builder { "builder" } else { "slipway" };
    let sources = vec![
        Field::text("url", source.map_or("", |source| &source.url)),
        Field::choice("platform", any_of(settings.platforms.keys()), platform),
        Field::toggle("auto", build.auto),
        Field::text("poll", &text(build.poll)),
        Field::toggle("cache", build.cache),
        Field::toggle("overseas", build.overseas),
        Field::text("network", &build.network),
        Field::choice("builder", any_of(settings.builders.keys()), builder),
        Field::text("timeout", &text(build.timeout)),
        Field::choice("fetch", words(["slipway", "builder"]), fetch),
    ];
    vec![
        Page { title: "form.page.information", fields: information },
        Page { title: "form.page.source", fields: sources },
    ]
}

pub(super) fn builder_pages(name: Option<&str>, value: &Builder) -> Vec<Page> {
    let mut fields = Vec::new();
    if name.is_none() {
        fields.push(Field::text("name", ""));
    }
    let labels: Vec<String> = value.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let platforms: Vec<String> = value.platforms.iter().map(ToString::to_string).collect();
    fields.extend([
        Field::choice("kind", words(BuilderKind::ALL.map(BuilderKind::word)), value.kind.word()),
        Field::text("address", value.address.as_deref().unwrap_or_default()),
        Field::toggle("plain", value.plain),
        Field::text("slots", &value.slots.map_or_else(String::new, |slots| slots.to_string())),
        Field::text("labels", &labels.join(", ")),
        Field::text("platforms", &platforms.join(", ")),
        Field::text("up", value.up.as_deref().unwrap_or_default()),
        Field::text("down", value.down.as_deref().unwrap_or_default()),
    ]);
    vec![Page { title: "form.page.builder", fields }]
}

/// What the fields say, and what is wrong with it.
pub(super) fn read(kind: &Kind, pages: &[Page]) -> (Option<Entity>, Problems) {
    let mut reader = Reader::new(pages);
    let entity = match kind {
        Kind::Namespace { name, base } => Some(namespace(&mut reader, name.as_deref(), base)),
        Kind::Repository { path, base } => repository(&mut reader, path.as_ref(), base),
        Kind::Rule { path, base, is_new, .. } => Some(rule(&mut reader, path, base, *is_new)),
        Kind::Builder { name, base } => Some(builder(&mut reader, name.as_deref(), base)),
        Kind::Platform { name, base } => Some(platform(&mut reader, name.as_deref(), base)),
        Kind::Delete { .. } => None,
    };
    (entity, reader.problems)
}

fn namespace(reader: &mut Reader, name: Option<&str>, base: &Namespace) -> Entity {
    let name = name.map_or_else(|| reader.text("name"), str::to_owned);
    if let Err(error) = Namespace::check_name(&name) {
        reader.wrong("name", 0, error);
    }
    let url = reader.optional("source_template");
    let mut value = Namespace {
        summary: reader.text("summary"),
        registry: reader.text("registry"),
        visibility: visibility(&reader.text("visibility")),
        immutable: reader.is_on("immutable"),
        accelerate: reader.is_on("accelerate"),
        auto_create: reader.is_on("auto_create"),
        source: url.map(|url| Source { url, ..base.source.clone().unwrap_or_default() }),
        ..base.clone()
    };
    grants::read_namespace(reader, &mut value);
    reader.take_problems(value.problems());
    Entity::Namespace { name, value }
}

fn repository(reader: &mut Reader, path: Option<&RepositoryPath>, base: &Repository) -> Option<Entity> {
    let path = match path {
        Some(path) => path.clone(),
        None => {
            let name = reader.text("name");
            if let Err(error) = name::check(NameKind::Repository, &name) {
                reader.wrong("name", 0, error);
            }
            RepositoryPath { namespace: reader.text("namespace"), repository: name }
        }
    };
    let url = reader.text("url");
    if url.is_empty() {
        reader.wrong("url", 0, reason!("form.source_needed"));
    } else if let Err(error) = checks::source_url(&url) {
        reader.wrong("url", 0, error.reason);
    }
    let mut value = Repository {
        summary: reader.text("summary"),
        description: reader.text("description"),
        visibility: visibility(&reader.text("visibility")),
        immutable: reader.is_on("immutable"),
        accelerate: reader.is_on("accelerate"),
        source: Some(Source {
            url,
            platform: reader.optional("platform"),
            fetch: if reader.text("fetch") == "builder" { Fetch::Builder } else { Fetch::Slipway },
            submodules: base.source.as_ref().map(|source| source.submodules.clone()).unwrap_or_default(),
        }),
        ..base.clone()
    };
    value.build.auto = reader.is_on("auto");
    value.build.cache = reader.is_on("cache");
    value.build.overseas = reader.is_on("overseas");
    value.build.network = reader.text("network");
    value.build.builder = reader.optional("builder").unwrap_or_default();
    value.build.poll = reader.duration("poll");
    value.build.timeout = reader.duration("timeout");
    reader.take_problems(value.problems());
    Some(Entity::Repository { path, value })
}

fn builder(reader: &mut Reader, name: Option<&str>, base: &Builder) -> Entity {
    let name = name.map_or_else(|| reader.text("name"), str::to_owned);
    if let Err(error) = name::check(NameKind::Builder, &name) {
        reader.wrong("name", 0, error);
    }
    let word = reader.text("kind");
    let kind = BuilderKind::ALL.into_iter().find(|kind| kind.word() == word).unwrap_or(BuilderKind::Managed);
    let slots = reader.optional("slots");
    let parsed = slots.as_deref().map(str::parse::<u32>);
    if matches!(parsed, Some(Err(_))) {
        reader.wrong("slots", 0, reason!("form.slots"));
    }
    let mut labels = BTreeMap::new();
    for part in reader.list::<String>("labels") {
        match part.split_once('=') {
            Some((name, value)) => {
                labels.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            None => reader.wrong("labels", 0, reason!("form.labels")),
        }
    }
    let value = Builder {
        kind,
        address: reader.optional("address"),
        plain: reader.is_on("plain"),
        slots: parsed.and_then(Result::ok),
        labels,
        platforms: reader.list::<Platform>("platforms"),
        up: reader.optional("up"),
        down: reader.optional("down"),
        ..base.clone()
    };
    reader.take_problems(value.problems_to_save());
    Entity::Builder { name, value }
}
