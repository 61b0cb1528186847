//! `slipway namespace`: groups of repositories with shared defaults.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::output::{Table, fields, print, say, told};
use super::rule_options::{self, NamedSecret, NetworkChoice};
use super::words::{set, visibility_word, where_from, yes_no};
use super::{CliError, Format, source};
use crate::client::Client;
use crate::domain::grant_keys::SecretRefs;
use crate::domain::namespace::Namespace;
use crate::domain::reason::{phrase, quoted, reason};
use crate::domain::repository::{Source, Visibility};
use crate::domain::secret_ref::SecretRef;
use crate::domain::settings::Settings;
use crate::protocol::{Entity, EntityName, SaveMode};

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
    /// Of new repositories: who should be able to pull; slipway changes nothing at the registry
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
    /// A secret that the builds of every rule can ask for, as of `rule edit --secret`; may be given again; "" for none
    #[arg(long = "secret", value_name = "SECRET", value_parser = rule_options::secret)]
    secrets: Vec<Option<NamedSecret>>,
    /// A private key under secrets/ that the ssh agents of all builds hold; may be given again; "" for none
    #[arg(long, value_name = "NAME")]
    ssh: Vec<String>,
    /// The network of the commands of rules that name none: sandbox, none or host
    #[arg(long, value_name = "MODE", value_parser = rule_options::network_mode)]
    network_mode: Option<NetworkChoice>,
    /// Let rules choose the host's network
    #[arg(long, value_name = "BOOL")]
    allow_host_network: Option<bool>,
    /// A registry, or a path of it, whose credentials base images may be pulled with: HOST[:PORT][/PATH]; may be given
    /// again; "" for none
    #[arg(long, value_name = "PLACE")]
    pull_from: Vec<String>,
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
        set(&mut namespace.registry, self.registry);
        set(&mut namespace.auto_create, self.auto_create);
        set(&mut namespace.visibility, self.visibility.map(Into::into));
        set(&mut namespace.immutable, self.immutable);
        set(&mut namespace.accelerate, self.accelerate);
        set(&mut namespace.summary, self.summary);
        if let Some(url) = self.source {
            namespace.source = Some(Source { platform: self.platform, url, ..Source::default() });
        }
        rule_options::add_secrets(&mut namespace.secrets, self.secrets);
        rule_options::set_list(&mut namespace.ssh, self.ssh);
        if let Some(NetworkChoice(mode)) = self.network_mode {
            namespace.network_mode = mode.unwrap_or_default();
        }
        set(&mut namespace.allow_host_network, self.allow_host_network);
        rule_options::set_list(&mut namespace.pull_from, self.pull_from);
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
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List => {
                let settings = source::settings(client).await?;
                let views: Vec<View> =
                    settings.namespaces.iter().map(|(name, namespace)| view(&settings, name, namespace)).collect();
                print(format, &views, || list_text(&views))
            }
            Verb::Show { name } => {
                let settings = source::settings(client).await?;
                let namespace = source::namespace(&settings, &name)?;
                let view = view(&settings, &name, &namespace);
                print(format, &view, || show_text(&view))
            }
            Verb::Create { name, options } => {
                let mut value = Namespace::default();
                options.apply(&mut value);
                source::save(client, Entity::Namespace { name: name.clone(), value }, SaveMode::Create).await?;
                say(reason!("namespace.created", name = quoted(&name), name_2 = name));
                Ok(())
            }
            Verb::Edit { name, options } => {
                let mut value = source::namespace(&source::settings(client).await?, &name)?;
                options.apply(&mut value);
                source::save(client, Entity::Namespace { name, value }, SaveMode::Edit).await
            }
            Verb::Delete { name, yes } => source::delete(client, EntityName::Namespace(name), yes).await,
        }
    }
}

fn list_text(views: &[View]) -> String {
    if views.is_empty() {
        say(reason!("namespace.none_yet"));
        return String::new();
    }
    let mut table = Table::new([
        phrase!("label.name"),
        phrase!("label.registry"),
        phrase!("label.repositories"),
        phrase!("label.visibility"),
        phrase!("label.auto_create"),
        phrase!("label.summary"),
    ]);
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
        (phrase!("label.name"), view.name.into()),
        (phrase!("label.registry"), namespace.registry.clone()),
        (phrase!("label.auto_create"), yes_no(namespace.auto_create)),
        (phrase!("label.visibility"), told(visibility_word(namespace.visibility))),
        (phrase!("label.immutable"), yes_no(namespace.immutable)),
        (phrase!("label.accelerate"), yes_no(namespace.accelerate)),
        (phrase!("label.source"), namespace.source.as_ref().map_or_else(String::new, |source| source.url.clone())),
        (phrase!("label.summary"), namespace.summary.clone()),
        (phrase!("label.secrets"), secrets_text(&namespace.secrets)),
        (phrase!("label.ssh_keys"), namespace.ssh.join("\n")),
        (phrase!("label.network_mode"), namespace.network_mode.word().into()),
        (
            phrase!("label.host_network"),
            if namespace.allow_host_network { told(phrase!("word.allowed")) } else { String::new() },
        ),
        (phrase!("label.pulls_from"), namespace.pull_from.join("\n")),
        (phrase!("label.repositories"), view.repositories.join("\n")),
    ])
}

/// `npm, in secrets/npm`: an id and where its value is, a line each.
pub(super) fn secrets_text(secrets: &SecretRefs) -> String {
    let line = |(id, reference): (&String, &SecretRef)| format!("{id}: {}", where_from(reference));
    secrets.iter().map(line).collect::<Vec<_>>().join("\n")
}
