//! `slipway repo`: image repositories, each bound to a source.

use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::complaint::WrongValue;
use super::namespace::VisibilityWord;
use super::output::{Table, fields, print, say, told, warn};
use super::words::{set, visibility_word, yes_no};
use super::{CliError, Format, rule_options, source};
use crate::client::{Client, checks};
use crate::domain::duration::HumanDuration;
use crate::domain::name::RepositoryPath;
use crate::domain::platform_account::RegisteredWebhook;
use crate::domain::reason::{phrase, quoted, reason};
use crate::domain::repository::{Fetch, Repository, Source, builder_fetches};
use crate::domain::rule::Rule;
use crate::domain::settings::Settings;
use crate::protocol::{Entity, EntityName, SaveMode};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// All repositories, or those of a namespace
    List {
        /// Only of this namespace
        namespace: Option<String>,
    },
    /// One repository and its rules
    Show {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
    },
    /// Make a repository; it starts with a rule for the source's default branch
    Create {
        /// NAMESPACE/REPOSITORY; 2 to 64 characters of a-z 0-9 . _ -
        path: RepositoryPath,
        #[command(flatten)]
        options: Box<Options>,
        /// Start without a rule
        #[arg(long)]
        no_rule: bool,
    },
    /// Change what is given, leave the rest
    Edit {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Delete a repository, its local images and its cache; builds and logs stay
    Delete {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The git repository that it is built from: a URL or a path
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// The platform whose credentials read the source
    #[arg(long)]
    platform: Option<String>,
    /// Who fetches the source: slipway, or the builder, with the platform's credentials within reach of every
    /// Dockerfile
    #[arg(long)]
    fetch: Option<FetchWord>,
    /// Submodules of another owner or server that are fetched with credentials: HOST/PATH with * for a name; may be
    /// given again; "" for none
    #[arg(long, value_name = "ADDRESS")]
    submodule: Vec<String>,
    /// Make the webhook on the platform that tells slipway of pushes; needs webhook.url in config.toml
    #[arg(long)]
    register_webhook: bool,
    /// Who should be able to pull; slipway changes nothing at the registry, and `registry check` tells what it does
    #[arg(long)]
    visibility: Option<VisibilityWord>,
    /// A tag that exists is never overwritten, "latest" excepted
    #[arg(long, value_name = "BOOL")]
    immutable: Option<bool>,
    /// Also publish a lazily loadable image, tag <tag>_accelerated
    #[arg(long, value_name = "BOOL")]
    accelerate: Option<bool>,
    /// At most 100 characters
    #[arg(long)]
    summary: Option<String>,
    /// Markdown, at most 2,000 characters
    #[arg(long)]
    description: Option<String>,
    /// Build when a matching ref is pushed
    #[arg(long, value_name = "BOOL")]
    auto: Option<bool>,
    /// false: every build starts without cache and resolves base images again
    #[arg(long, value_name = "BOOL")]
    cache: Option<bool>,
    /// Build on a builder labelled region = "overseas"
    #[arg(long, value_name = "BOOL")]
    overseas: Option<bool>,
    /// Only builders labelled with this network
    #[arg(long)]
    network: Option<String>,
    /// Only this builder
    #[arg(long)]
    builder: Option<String>,
    /// How long a build may run: 90s, 30m, 2h
    #[arg(long, value_parser = duration)]
    timeout: Option<HumanDuration>,
}

/// Who fetches a source.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum FetchWord {
    /// slipway itself
    Slipway,
    /// The builder
    Builder,
}

impl From<FetchWord> for Fetch {
    fn from(word: FetchWord) -> Fetch {
        match word {
            FetchWord::Slipway => Fetch::Slipway,
            FetchWord::Builder => Fetch::Builder,
        }
    }
}

/// Says what it means that the builder fetches.
fn warn_of_builder(repository: &Repository) {
    if repository.source.as_ref().is_some_and(|source| !source.fetch.is_by_slipway()) {
        say(builder_fetches());
    }
}

fn duration(text: &str) -> Result<HumanDuration, WrongValue> {
    HumanDuration::parse(text).ok_or_else(|| WrongValue(reason!("argument.no_duration", text = quoted(text))))
}

impl Options {
    fn apply(self, repository: &mut Repository) -> Result<(), CliError> {
        if let Some(url) = self.source {
            let before = repository.source.take().unwrap_or_default();
            let platform = self.platform.or(before.platform);
            repository.source = Some(Source { platform, url: checked_url(&url)?, ..before });
        } else if let Some(platform) = self.platform {
            let source = repository.source.as_mut();
            source.ok_or_else(|| CliError::usage(reason!("repo.platform_needs_source")))?.platform = Some(platform);
        }
        if let Some(fetch) = self.fetch {
            let source = repository.source.as_mut();
            source.ok_or_else(|| CliError::usage(reason!("repo.fetch_needs_source")))?.fetch = fetch.into();
        }
        if !self.submodule.is_empty() {
            let source = repository.source.as_mut();
            let source = source.ok_or_else(|| CliError::usage(reason!("repo.submodule_needs_source")))?;
            rule_options::set_list(&mut source.submodules, self.submodule);
        }
        set(&mut repository.visibility, self.visibility.map(Into::into));
        set(&mut repository.immutable, self.immutable);
        set(&mut repository.accelerate, self.accelerate);
        set(&mut repository.summary, self.summary);
        set(&mut repository.description, self.description);
        let build = &mut repository.build;
        set(&mut build.auto, self.auto);
        set(&mut build.cache, self.cache);
        set(&mut build.overseas, self.overseas);
        set(&mut build.network, self.network);
        set(&mut build.builder, self.builder);
        build.timeout = self.timeout.or(build.timeout);
        Ok(())
    }
}

/// A URL that parses; a relative path is made absolute, as the pool works elsewhere.
fn checked_url(url: &str) -> Result<String, CliError> {
    let here = Path::new(url);
    let url = if !url.contains("://") && !url.contains(':') && here.is_relative() && here.exists() {
        let absolute = here.canonicalize().map_err(CliError::io(reason!("cli.find", url)))?;
        absolute.display().to_string()
    } else {
        url.to_owned()
    };
    checks::source_url(&url)?;
    Ok(url)
}

#[derive(Serialize)]
struct View<'a> {
    name: String,
    namespace: &'a str,
    repository: &'a str,
    image: String,
    #[serde(flatten)]
    value: &'a Repository,
}

fn view<'a>(settings: &Settings, path: &'a RepositoryPath, value: &'a Repository) -> View<'a> {
    let image = settings.namespaces.get(&path.namespace).map(|namespace| namespace.image_name(path));
    View {
        name: path.to_string(),
        namespace: &path.namespace,
        repository: &path.repository,
        image: image.unwrap_or_else(|| path.to_string()),
        value,
    }
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List { namespace } => {
                let settings = source::settings(client).await?;
                if let Some(name) = &namespace {
                    source::namespace(&settings, name)?;
                }
                let wanted = |path: &RepositoryPath| namespace.as_ref().is_none_or(|name| *name == path.namespace);
                let views: Vec<View> = settings
                    .repositories
                    .iter()
                    .filter(|(path, _)| wanted(path))
                    .map(|(path, value)| view(&settings, path, value))
                    .collect();
                print(format, &views, || list_text(&views))
            }
            Verb::Show { path } => {
                let settings = source::settings(client).await?;
                let value = source::repository(&settings, &path)?;
                let view = view(&settings, &path, &value);
                print(format, &view, || show_text(&view))
            }
            Verb::Create { path, options, no_rule } => create(client, path, *options, no_rule).await,
            Verb::Edit { path, options } => {
                let settings = source::settings(client).await?;
                let mut value = source::repository(&settings, &path)?;
                let register = options.register_webhook;
                options.apply(&mut value)?;
                if register {
                    check_hook(&settings, &value)?;
                }
                warn_of_builder(&value);
                source::save(client, Entity::Repository { path: path.clone(), value }, SaveMode::Edit).await?;
                if register { register_webhook(client, &settings, path).await } else { Ok(()) }
            }
            Verb::Delete { path, yes } => source::delete(client, EntityName::Repository(path), yes).await,
        }
    }
}

async fn create(client: &Client, path: RepositoryPath, options: Options, no_rule: bool) -> Result<(), CliError> {
    let settings = source::settings(client).await?;
    let namespace = source::namespace(&settings, &path.namespace)?;
    let mut value = namespace.new_repository(&path.repository);
    let register = options.register_webhook;
    options.apply(&mut value)?;
    if register {
        check_hook(&settings, &value)?;
    }
    if let (Some(bound), false) = (value.source.clone(), no_rule) {
        let branch = default_branch(client, &bound).await;
        value.rules = vec![Rule::starter(&branch)];
    }
    warn_of_builder(&value);
    let rules: Vec<String> = value.rules.iter().map(|rule| rule.name.clone()).collect();
    source::save(client, Entity::Repository { path: path.clone(), value }, SaveMode::Create).await?;
    match rules.first() {
        Some(rule) => say(reason!("repo.created_with_rule", path, rule = quoted(&rule))),
        None => say(reason!("repo.created_without_rule", path)),
    }
    if register { register_webhook(client, &settings, path).await } else { Ok(()) }
}

/// What is missing for a webhook is told before anything is saved.
fn check_hook(settings: &Settings, value: &Repository) -> Result<(), CliError> {
    let source = value.source.as_ref();
    let source = source.ok_or_else(|| CliError::usage(reason!("repo.webhook_needs_source")))?;
    let platform = source.platform.as_deref().ok_or_else(|| CliError::usage(reason!("repo.webhook_needs_platform")))?;
    checks::webhook_url(settings, platform)?;
    Ok(())
}

async fn register_webhook(client: &Client, settings: &Settings, path: RepositoryPath) -> Result<(), CliError> {
    match client.register_webhook(path).await? {
        (RegisteredWebhook::Created, url) => say(reason!("repo.webhook_created", url)),
        (RegisteredWebhook::Updated, url) => say(reason!("repo.webhook_updated", url)),
    }
    if settings.config.webhook.listen.is_none() {
        say(reason!("repo.no_webhook_listener"));
    }
    Ok(())
}

/// The source's default branch; `main` where the source can't be asked, which is said.
async fn default_branch(client: &Client, bound: &Source) -> String {
    const USUAL: &str = "main";
    match client.refs(bound.clone()).await {
        Ok(refs) => refs.default_branch.unwrap_or_else(|| {
            warn(reason!("cli.no_default_branch_yet", url = bound.url, usual = quoted(USUAL)));
            USUAL.into()
        }),
        Err(error) => {
            warn(reason!("cli.usual_branch", error, usual = quoted(USUAL)));
            USUAL.into()
        }
    }
}

fn list_text(views: &[View]) -> String {
    if views.is_empty() {
        say(reason!("repo.none_yet"));
        return String::new();
    }
    let mut table = Table::new([
        phrase!("label.name"),
        phrase!("label.source"),
        phrase!("label.rules"),
        phrase!("label.visibility"),
        phrase!("label.immutable"),
        phrase!("label.summary"),
    ]);
    for view in views {
        table.row([
            view.name.clone(),
            view.value.source.as_ref().map_or_else(|| "-".into(), |source| source.url.clone()),
            view.value.rules.len().to_string(),
            told(visibility_word(view.value.visibility)),
            yes_no(view.value.immutable),
            view.value.summary.clone(),
        ]);
    }
    table.text()
}

fn show_text(view: &View) -> String {
    let value = view.value;
    let build = &value.build;
    let source =
        |part: fn(&Source) -> Option<&String>| value.source.as_ref().and_then(part).cloned().unwrap_or_default();
    fields(&[
        (phrase!("label.name"), view.name.clone()),
        (phrase!("label.image"), view.image.clone()),
        (phrase!("label.source"), source(|source| Some(&source.url))),
        (phrase!("label.platform"), source(|source| source.platform.as_ref())),
        (
            phrase!("label.submodules"),
            value.source.as_ref().map_or_else(String::new, |source| source.submodules.join("\n")),
        ),
        (phrase!("label.visibility"), told(visibility_word(value.visibility))),
        (phrase!("label.immutable"), yes_no(value.immutable)),
        (phrase!("label.accelerate"), yes_no(value.accelerate)),
        (phrase!("label.auto"), yes_no(build.auto)),
        (phrase!("label.cache"), yes_no(build.cache)),
        (phrase!("label.overseas"), yes_no(build.overseas)),
        (phrase!("label.network"), build.network.clone()),
        (phrase!("label.builder"), build.builder.clone()),
        (phrase!("label.timeout"), build.timeout.map_or_else(String::new, |timeout| timeout.to_string())),
        (phrase!("label.summary"), value.summary.clone()),
        (phrase!("label.description"), value.description.clone()),
        (phrase!("label.rules"), value.rules.iter().map(super::rule::one_line).collect::<Vec<_>>().join("\n")),
    ])
}
