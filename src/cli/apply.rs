//! `slipway apply`: namespaces, repositories and rules from TOML, shown as a diff first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::output::{Format, print, print_text, say, told};
use super::{CliError, source};
use crate::client::{Client, toml_file};
use crate::domain::grant_keys::{NetworkMode, SecretRefs};
use crate::domain::grants;
use crate::domain::name::{NameKind, RepositoryPath, check};
use crate::domain::namespace::Namespace;
use crate::domain::reason::{Reason, output, phrase, quoted, reason};
use crate::domain::repository::{BuildSettings, Repository, Source, Visibility};
use crate::domain::rule::Rule;
use crate::domain::settings::Settings;
use crate::protocol::{Entity, EntityName, SaveMode};

/// Make namespaces, repositories and rules as TOML files say, shown as a diff first.
///
/// A file has [[namespace]] and [[repository]] entries, or is one of the files under namespaces/ as it is. What no file
/// names is left alone.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// A file, or - for standard input; may be given again
    #[arg(long, short = 'f', required = true, value_name = "FILE", num_args = 1..)]
    file: Vec<PathBuf>,
    /// Delete the repositories of the named namespaces that no file names
    #[arg(long)]
    prune: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// A file of many things.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    #[serde(default)]
    namespace: Vec<NamedNamespace>,
    #[serde(default)]
    repository: Vec<NamedRepository>,
}

/// `[[namespace]]`. Written out rather than flattened: flattening would let unknown keys pass.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedNamespace {
    name: String,
    registry: Option<String>,
    auto_create: Option<bool>,
    visibility: Option<Visibility>,
    immutable: Option<bool>,
    accelerate: Option<bool>,
    summary: Option<String>,
    source: Option<Source>,
    secrets: Option<SecretRefs>,
    ssh: Option<Vec<String>>,
    network_mode: Option<NetworkMode>,
    allow_host_network: Option<bool>,
    pull_from: Option<Vec<String>>,
}

/// `[[repository]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedRepository {
    name: RepositoryPath,
    visibility: Option<Visibility>,
    immutable: Option<bool>,
    accelerate: Option<bool>,
    summary: Option<String>,
    description: Option<String>,
    source: Option<Source>,
    build: Option<BuildSettings>,
    #[serde(default)]
    rule: Vec<Rule>,
}

impl NamedNamespace {
    fn over(self, mut value: Namespace) -> (String, Namespace) {
        use super::words::set;
        set(&mut value.registry, self.registry);
        set(&mut value.auto_create, self.auto_create);
        set(&mut value.visibility, self.visibility);
        set(&mut value.immutable, self.immutable);
        set(&mut value.accelerate, self.accelerate);
        set(&mut value.summary, self.summary);
        value.source = self.source.or(value.source);
        set(&mut value.secrets, self.secrets);
        set(&mut value.ssh, self.ssh);
        set(&mut value.network_mode, self.network_mode);
        set(&mut value.allow_host_network, self.allow_host_network);
        set(&mut value.pull_from, self.pull_from);
        (self.name, value)
    }
}

impl NamedRepository {
    /// Rules that the file names replace those of their name; the others stay.
    fn over(self, mut value: Repository) -> (RepositoryPath, Repository) {
        use super::words::set;
        set(&mut value.visibility, self.visibility);
        set(&mut value.immutable, self.immutable);
        set(&mut value.accelerate, self.accelerate);
        set(&mut value.summary, self.summary);
        set(&mut value.description, self.description);
        value.source = self.source.or(value.source);
        set(&mut value.build, self.build);
        for rule in self.rule {
            match value.rules.iter_mut().find(|other| other.name == rule.name) {
                Some(other) => *other = rule,
                None => value.rules.push(rule),
            }
        }
        (self.name, value)
    }
}

/// What is to be, by name.
#[derive(Default)]
struct Wanted {
    namespaces: BTreeMap<String, Namespace>,
    repositories: BTreeMap<RepositoryPath, Repository>,
}

/// What was done: the JSON of `apply`.
#[derive(Serialize)]
struct Done {
    applied: Vec<String>,
    deleted: Vec<String>,
}

impl Apply {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        let settings = source::settings(client).await?;
        let mut wanted = Wanted::default();
        for file in &self.file {
            wanted.read(file, &settings)?;
        }
        wanted.check(&settings)?;
        let changes = wanted.changes(client, &settings).await?;
        let pruned: Vec<RepositoryPath> = if self.prune { wanted.left_out(&settings) } else { Vec::new() };
        if format == Format::Text {
            for (_, diff) in &changes {
                print_text(diff)?;
            }
            for path in &pruned {
                print_text(&format!("{}\n", told(reason!("apply.delete_repository", path))))?;
            }
        }
        if changes.is_empty() && pruned.is_empty() {
            say(reason!("apply.nothing_to_change"));
        } else if !self.yes && !source::confirm(reason!("apply.confirm", pruned = changes.len() + pruned.len()))? {
            say(reason!("apply.nothing_changed"));
            return Ok(());
        }
        let mut done = Done { applied: Vec::new(), deleted: Vec::new() };
        let (mut applied, mut deleted) = (Vec::new(), Vec::new());
        for (entity, _) in changes {
            applied.push(entity.name());
            done.applied.push(entity.name().to_string());
            source::save(client, entity, SaveMode::Apply).await?;
        }
        for path in pruned {
            let name = EntityName::Repository(path);
            done.deleted.push(name.to_string());
            deleted.push(name.clone());
            client.delete(name).await?;
        }
        print(format, &done, || {
            let applied = applied.iter().map(|name| reason!("apply.applied", name));
            let deleted = deleted.iter().map(|name| reason!("apply.deleted", name));
            applied.chain(deleted).map(|line| told(line) + "\n").collect()
        })
    }
}

impl Wanted {
    fn read(&mut self, file: &Path, settings: &Settings) -> Result<(), CliError> {
        let usage = |error: toml_file::ReadError| match error.missing {
            true => CliError::not_found(error),
            false => CliError::usage(reason!("apply.unreadable", excerpt = output(error.excerpt()), error)),
        };
        let (text, shown) = if file == Path::new("-") {
            let text =
                std::io::read_to_string(std::io::stdin()).map_err(CliError::io(phrase!("verb.read_standard_input")))?;
            (text, PathBuf::from("<stdin>"))
        } else {
            (toml_file::text(file).map_err(usage)?, file.to_path_buf())
        };
        match name_by_place(file) {
            Some(Named::Namespace(name)) => {
                self.namespaces.insert(name, toml_file::parse(&shown, &text).map_err(usage)?);
            }
            Some(Named::Repository(path)) => {
                self.repositories.insert(path, toml_file::parse(&shown, &text).map_err(usage)?);
            }
            None => {
                let bundle: Bundle = toml_file::parse(&shown, &text).map_err(usage)?;
                for namespace in bundle.namespace {
                    let old = settings.namespaces.get(&namespace.name).cloned().unwrap_or_default();
                    let (name, value) = namespace.over(old);
                    self.namespaces.insert(name, value);
                }
                for repository in bundle.repository {
                    let path = &repository.name;
                    let namespace =
                        self.namespaces.get(&path.namespace).or_else(|| settings.namespaces.get(&path.namespace));
                    let fresh = namespace.cloned().unwrap_or_default().new_repository(&path.repository);
                    let old = settings.repositories.get(path).cloned().unwrap_or(fresh);
                    let (path, value) = repository.over(old);
                    self.repositories.insert(path, value);
                }
            }
        }
        Ok(())
    }

    /// All problems at once, before anything is written.
    fn check(&self, settings: &Settings) -> Result<(), CliError> {
        let mut problems: Vec<Reason> = Vec::new();
        for (name, namespace) in &self.namespaces {
            problems.extend(check(NameKind::Namespace, name).err().map(Reason::from));
            problems.extend(
                namespace
                    .problems()
                    .into_iter()
                    .map(|problem| reason!("apply.in_namespace", name = quoted(name), problem)),
            );
        }
        for (path, repository) in &self.repositories {
            problems
                .extend(repository.problems().into_iter().map(|problem| reason!("apply.in_repository", path, problem)));
            match self.namespaces.get(&path.namespace).or_else(|| settings.namespaces.get(&path.namespace)) {
                Some(namespace) => problems.extend(
                    repository
                        .rules
                        .iter()
                        .flat_map(|rule| grants::forbidden(&path.namespace, namespace, rule))
                        .map(|problem| reason!("apply.in_repository", path, problem)),
                ),
                None => problems.push(reason!("apply.no_namespace", path, name = quoted(&path.namespace))),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(CliError::usage(Reason::lines(problems))) }
    }

    /// What differs from what is there, each with its diff; namespaces first.
    async fn changes(&self, client: &Client, settings: &Settings) -> Result<Vec<(Entity, String)>, CliError> {
        let namespaces = self.namespaces.iter().filter(|(name, value)| settings.namespaces.get(*name) != Some(*value));
        let namespaces = namespaces.map(|(name, value)| Entity::Namespace { name: name.clone(), value: value.clone() });
        let repositories =
            self.repositories.iter().filter(|(path, value)| settings.repositories.get(*path) != Some(*value));
        let repositories =
            repositories.map(|(path, value)| Entity::Repository { path: path.clone(), value: value.clone() });
        let mut changes = Vec::new();
        for entity in namespaces.chain(repositories) {
            let preview = client.preview_save(entity.clone(), false).await?;
            changes.push((entity, preview.diff));
        }
        Ok(changes)
    }

    /// The repositories of the named namespaces that no file names.
    fn left_out(&self, settings: &Settings) -> Vec<RepositoryPath> {
        let namespaces: BTreeSet<&String> =
            self.namespaces.keys().chain(self.repositories.keys().map(|path| &path.namespace)).collect();
        let named =
            |path: &&RepositoryPath| namespaces.contains(&path.namespace) && !self.repositories.contains_key(path);
        settings.repositories.keys().filter(named).cloned().collect()
    }
}

enum Named {
    Namespace(String),
    Repository(RepositoryPath),
}

/// A file of the store says by its place what it is: `namespaces/acme.toml`, `namespaces/acme/api.toml`.
fn name_by_place(file: &Path) -> Option<Named> {
    let absolute = std::path::absolute(file).ok()?;
    let stem = absolute.file_name()?.to_str()?.strip_suffix(".toml")?.to_owned();
    let parent = absolute.parent()?;
    if parent.file_name()? == "namespaces" {
        return Some(Named::Namespace(stem));
    }
    if parent.parent()?.file_name()? == "namespaces" {
        let path = format!("{}/{stem}", parent.file_name()?.to_str()?);
        return path.parse().ok().map(Named::Repository);
    }
    None
}
