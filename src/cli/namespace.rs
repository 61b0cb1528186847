//! `slipway namespace`: groups of repositories with shared defaults.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::output::{Table, fields, print, say, told};
use super::{CliError, Format, source};
use crate::domain::namespace::Namespace;
use crate::domain::repository::{Source, Visibility};
use crate::protocol::{Entity, EntityName, SaveMode};
use crate::store::Home;
use crate::store::settings::Settings;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// All namespaces
    List,
    /// One namespace and its repositories
    Show {
        /// Its name
        name: String,
    },
    /// Make a namespace
    Create {
        /// 2 to 120 characters of a-z 0-9 . _ -
        name: String,
        #[command(flatten)]
        options: Options,
    },
    /// Change what is given, leave the rest
    Edit {
        /// Its name
        name: String,
        #[command(flatten)]
        options: Options,
    },
    /// Delete a namespace that has no repositories
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where images go: "local", or HOST[:PORT][/PREFIX]
    #[arg(long)]
    registry: Option<String>,
    /// Make repositories that a build or push names
    #[arg(long, value_name = "BOOL")]
    auto_create: Option<bool>,
    /// Of new repositories
    #[arg(long)]
    visibility: Option<VisibilityWord>,
    /// Of new repositories: a tag that exists is never overwritten
    #[arg(long, value_name = "BOOL")]
    immutable: Option<bool>,
    /// Of new repositories: also publish a lazily loadable image
    #[arg(long, value_name = "BOOL")]
    accelerate: Option<bool>,
    /// At most 100 characters
    #[arg(long)]
    summary: Option<String>,
    /// The source of repositories that are made automatically; ${repository} stands for their name
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// The platform of that source
    #[arg(long, requires = "source")]
    platform: Option<String>,
}

/// Who may pull.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum VisibilityWord {
    Private,
    Public,
}

impl From<VisibilityWord> for Visibility {
    fn from(word: VisibilityWord) -> Visibility {
        match word {
            VisibilityWord::Private => Visibility::Private,
            VisibilityWord::Public => Visibility::Public,
        }
    }
}

impl Options {
    fn apply(self, namespace: &mut Namespace) {
        let Options { registry, auto_create, visibility, immutable, accelerate, summary, source, platform } = self;
        set(&mut namespace.registry, registry);
        set(&mut namespace.auto_create, auto_create);
        set(&mut namespace.visibility, visibility.map(Into::into));
        set(&mut namespace.immutable, immutable);
        set(&mut namespace.accelerate, accelerate);
        set(&mut namespace.summary, summary);
        if let Some(url) = source {
            namespace.source = Some(Source { platform, url, ..Source::default() });
        }
    }
}

/// Takes what was given.
pub(super) fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *field = given;
    }
}

#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    #[serde(flatten)]
    namespace: &'a Namespace,
    repositories: Vec<String>,
}

fn view<'a>(settings: &'a Settings, name: &'a str, namespace: &'a Namespace) -> View<'a> {
    let paths = settings.repositories.keys().filter(|path| path.namespace == name);
    View { name, namespace, repositories: paths.map(ToString::to_string).collect() }
}

impl Verb {
    pub(super) async fn run(self, home: &Home, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List => {
                let settings = source::settings(home);
                let views: Vec<View> =
                    settings.namespaces.iter().map(|(name, namespace)| view(&settings, name, namespace)).collect();
                print(format, &views, || list_text(&views))
            }
            Verb::Show { name } => {
                let settings = source::settings(home);
                let namespace = source::namespace(&settings, &name)?;
                let view = view(&settings, &name, &namespace);
                print(format, &view, || show_text(&view))
            }
            Verb::Create { name, options } => {
                let mut value = Namespace::default();
                options.apply(&mut value);
                source::save(home, Entity::Namespace { name: name.clone(), value }, SaveMode::Create).await?;
                say(&format!("created namespace {name:?}; next: slipway repo create {name}/NAME --source URL"));
                Ok(())
            }
            Verb::Edit { name, options } => {
                let mut value = source::namespace(&source::settings(home), &name)?;
                options.apply(&mut value);
                source::save(home, Entity::Namespace { name, value }, SaveMode::Edit).await
            }
            Verb::Delete { name, yes } => source::delete(home, EntityName::Namespace(name), yes).await,
        }
    }
}

fn list_text(views: &[View]) -> String {
    if views.is_empty() {
        say("no namespaces yet; `slipway namespace create NAME` makes one");
        return String::new();
    }
    let mut table = Table::new(["NAME", "REGISTRY", "REPOSITORIES", "VISIBILITY", "AUTO-CREATE", "SUMMARY"]);
    for view in views {
        table.row([
            view.name.into(),
            view.namespace.registry.clone(),
            view.repositories.len().to_string(),
            told(visibility_word(view.namespace.visibility)),
            yes_no(view.namespace.auto_create),
            view.namespace.summary.clone(),
        ]);
    }
    table.text()
}

fn show_text(view: &View) -> String {
    let namespace = view.namespace;
    fields(&[
        ("name", view.name.into()),
        ("registry", namespace.registry.clone()),
        ("auto-create", yes_no(namespace.auto_create)),
        ("visibility", told(visibility_word(namespace.visibility))),
        ("immutable", yes_no(namespace.immutable)),
        ("accelerate", yes_no(namespace.accelerate)),
        ("source", namespace.source.as_ref().map_or_else(String::new, |source| source.url.clone())),
        ("summary", namespace.summary.clone()),
        ("repositories", view.repositories.join("\n")),
    ])
}

pub(super) fn yes_no(on: bool) -> String {
    told(if on { "yes" } else { "no" })
}

pub(super) fn visibility_word(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Public => "public",
    }
}
