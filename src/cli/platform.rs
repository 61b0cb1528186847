//! `slipway platform`: who we are on the platforms that sources live on, and the secrets of their webhooks.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Table, fields, print, say};
use super::registry::{from_stdin, where_from};
use super::{CliError, Format, source};
use crate::access::sources;
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::pool::client;
use crate::protocol::{Entity, EntityName, ErrorKind, Reply, Request, SaveMode};
use crate::store::Home;
use crate::store::secrets::Secret;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// All platforms
    List,
    /// One platform, and where its webhooks go
    Show {
        /// Its name
        name: String,
    },
    /// Make a platform; sources name it with --platform
    Create {
        /// 1 to 64 characters of A-Z a-z 0-9 . _ -
        name: String,
        /// What it is
        #[arg(long, value_parser = kind, value_name = "KIND")]
        kind: PlatformKind,
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
    /// Ask the sources that name it for their refs, with its credentials
    Check {
        /// Its name
        name: String,
    },
    /// Delete a platform that no repository names, and the secrets that are kept for it
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
    /// The user name for https; without it the one that the kind has for tokens
    #[arg(long)]
    username: Option<String>,
    /// Read the token from standard input and keep it in a file under secrets/
    #[arg(long, conflicts_with_all = ["token_env", "token_command"])]
    token_stdin: bool,
    /// An environment variable of the pool that holds the token
    #[arg(long, value_name = "NAME", conflicts_with = "token_command")]
    token_env: Option<String>,
    /// A command that prints the token
    #[arg(long, value_name = "COMMAND")]
    token_command: Option<String>,
    /// A private key's file for ssh; without it the ssh agent is asked
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<String>,
    /// CA certificates in PEM, for a server with a certificate of a private CA
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Make a new secret for its webhooks, keep it under secrets/, and print it once
    #[arg(long, conflicts_with_all = ["webhook_secret_env", "webhook_secret_command"])]
    new_webhook_secret: bool,
    /// An environment variable of the pool that holds the secret of its webhooks
    #[arg(long, value_name = "NAME", conflicts_with = "webhook_secret_command")]
    webhook_secret_env: Option<String>,
    /// A command that prints the secret of its webhooks
    #[arg(long, value_name = "COMMAND")]
    webhook_secret_command: Option<String>,
}

fn kind(text: &str) -> Result<PlatformKind, String> {
    let words = || PlatformKind::ALL.map(PlatformKind::word).join(", ");
    PlatformKind::ALL.into_iter().find(|kind| kind.word() == text).ok_or_else(|| format!("known are {}", words()))
}

#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    #[serde(flatten)]
    platform: &'a SourcePlatform,
    /// Repositories whose source names it.
    repositories: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
}

/// A source that was asked.
#[derive(Serialize)]
struct Checked {
    repository: String,
    source: String,
    refs: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Verb {
    pub(super) async fn run(self, home: &Home, format: Format) -> Result<(), CliError> {
        let settings = source::settings(home);
        let find = |name: &str| {
            let none = || format!("there is no platform {name:?}; `slipway platform list` shows them");
            settings.platforms.get(name).cloned().ok_or_else(|| CliError::not_found(none()))
        };
        let bound = |name: &str| -> Vec<_> {
            let named = |platform: Option<&str>| platform == Some(name);
            let sources = settings.repositories.iter().filter_map(|(path, value)| Some((path, value.source.as_ref()?)));
            sources.filter(|(_, source)| named(source.platform.as_deref())).collect()
        };
        match self {
            Verb::List => {
                let views = settings.platforms.iter().map(|(name, platform)| View {
                    name,
                    platform,
                    repositories: paths(&bound(name)),
                    webhook: None,
                });
                let views: Vec<View> = views.collect();
                print(format, &views, || {
                    if views.is_empty() {
                        say("there are no platforms; `slipway platform create NAME --kind KIND` makes one");
                        return String::new();
                    }
                    let mut table = Table::new(["NAME", "KIND", "TOKEN", "WEBHOOKS", "REPOSITORIES"]);
                    for View { name, platform, repositories, .. } in &views {
                        table.row([
                            (*name).into(),
                            platform.kind.word().into(),
                            super::namespace::yes_no(platform.token.is_some()),
                            super::namespace::yes_no(platform.webhook_secret.is_some()),
                            repositories.len().to_string(),
                        ]);
                    }
                    table.text()
                })
            }
            Verb::Show { name } => {
                let platform = find(&name)?;
                let webhook = if platform.webhook_secret.is_some() { webhook(home, &name).await } else { None };
                let view = View { name: &name, platform: &platform, repositories: paths(&bound(&name)), webhook };
                print(format, &view, || {
                    let secret = |secret: &Option<SecretRef>| secret.as_ref().map_or_else(String::new, where_from);
                    fields(&[
                        ("name", name.clone()),
                        ("kind", platform.kind.word().into()),
                        ("username", platform.username.clone().unwrap_or_default()),
                        ("token", secret(&platform.token)),
                        ("ssh key", platform.ssh_key.clone().unwrap_or_default()),
                        ("ca", platform.ca.clone().unwrap_or_default()),
                        ("webhook secret", secret(&platform.webhook_secret)),
                        ("webhook", view.webhook.clone().unwrap_or_default()),
                        ("repositories", view.repositories.join("\n")),
                    ])
                })
            }
            Verb::Create { name, kind, options } => {
                options.save(home, name, SourcePlatform::new(kind), SaveMode::Create).await
            }
            Verb::Edit { name, options } => {
                let value = find(&name)?;
                options.save(home, name, value, SaveMode::Edit).await
            }
            Verb::Check { name } => {
                find(&name)?;
                let bound = bound(&name);
                if bound.is_empty() {
                    let text = format!("no repository's source names the platform {name:?}; there is nothing to ask");
                    return Err(CliError::Answer(crate::protocol::Error::new(ErrorKind::Refused, text)));
                }
                let mut checked = Vec::new();
                for (path, source) in bound {
                    let refs = sources::list_refs(home, &settings, source).await;
                    let (refs, error) = match refs {
                        Ok(refs) => (refs.refs.len(), None),
                        Err(error) => (0, Some(error.message)),
                    };
                    checked.push(Checked { repository: path.to_string(), source: source.url.clone(), refs, error });
                }
                print(format, &checked, || {
                    let mut table = Table::new(["REPOSITORY", "REFS", "SOURCE"]);
                    for one in &checked {
                        let refs = if one.error.is_some() { "-".to_owned() } else { one.refs.to_string() };
                        table.row([one.repository.clone(), refs, one.error.clone().unwrap_or(one.source.clone())]);
                    }
                    table.text()
                })?;
                let failed = checked.iter().filter(|one| one.error.is_some()).count();
                if failed == 0 {
                    return Ok(());
                }
                let text = format!("{failed} of {} sources of the platform {name:?} can't be read", checked.len());
                Err(CliError::Answer(crate::protocol::Error::new(ErrorKind::Unreachable, text)))
            }
            Verb::Delete { name, yes } => source::delete(home, EntityName::Platform(name), yes).await,
        }
    }
}

impl Options {
    async fn save(self, home: &Home, name: String, mut value: SourcePlatform, mode: SaveMode) -> Result<(), CliError> {
        value.username = self.username.or(value.username);
        value.ssh_key = self.ssh_key.or(value.ssh_key);
        value.ca = self.ca.or(value.ca);
        let token = self.token_env.map(SecretRef::Env).or(self.token_command.map(SecretRef::Command));
        value.token = token.or(value.token);
        let hook = self.webhook_secret_env.map(SecretRef::Env).or(self.webhook_secret_command.map(SecretRef::Command));
        value.webhook_secret = hook.or(value.webhook_secret);
        let token = if self.token_stdin { Some(from_stdin("token")?) } else { None };
        let webhook_secret = if self.new_webhook_secret {
            Some(Secret::random().map_err(CliError::io("read /dev/urandom"))?.expose().to_owned())
        } else {
            None
        };
        let made = webhook_secret.clone();
        source::save(home, Entity::Platform { name: name.clone(), value, token, webhook_secret }, mode).await?;
        if let Some(secret) = made {
            say("give the platform this secret for its webhooks; it is not shown again");
            let url = webhook(home, &name).await;
            let none = "set webhook.listen in config.toml, such as \"127.0.0.1:8484\", and webhooks are taken";
            say(&url.map_or_else(|| none.to_owned(), |url| format!("webhooks go to {url}")));
            return super::output::print_bytes(format!("{secret}\n").as_bytes());
        }
        Ok(())
    }
}

/// Where a platform's webhooks go, where the pool takes some.
async fn webhook(home: &Home, name: &str) -> Option<String> {
    match client::ask_if_running(home, Request::Status).await {
        Ok(Some(Reply::Status(status))) => Some(format!("{}/{name}", status.webhooks?)),
        _ => None,
    }
}

fn paths<T>(bound: &[(&crate::domain::name::RepositoryPath, T)]) -> Vec<String> {
    bound.iter().map(|(path, _)| path.to_string()).collect()
}
