//! `slipway platform`: who we are on the platforms that sources live on, what we may do there, and the secrets of their
//! webhooks.

mod check;
mod login;
mod options;
mod repos;

use clap::Subcommand;
use serde::Serialize;

use super::complaint::WrongValue;
use super::limit::Limit;
use super::output::{Table, fields, print, say, told};
use super::words::{where_from, yes_no};
use super::{CliError, Format, source};
use crate::client::Client;
use crate::domain::reason::{joined, phrase, quoted, reason};
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::protocol::{EntityName, PoolStatus, SaveMode, WebhookRefusal};
use check::Bound;
use options::{Options, webhook};

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
    /// Who its token is, what that may do and when it ends; then ask the sources that name it for their refs
    Check {
        /// Its name
        name: String,
    },
    /// The repositories on it that its token sees
    Repos {
        /// Its name
        name: String,
        /// Only those whose names contain this
        #[arg(long, default_value = "", hide_default_value = true)]
        filter: String,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<Limit>,
    },
    /// Get a token by entering a code in a browser, on any machine (GitHub, GitLab)
    Login {
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

fn kind(text: &str) -> Result<PlatformKind, WrongValue> {
    let known = || WrongValue(reason!("argument.known_are", words = joined(PlatformKind::ALL.map(PlatformKind::word))));
    PlatformKind::ALL.into_iter().find(|kind| kind.word() == text).ok_or_else(known)
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
    /// What its webhook was last refused for, where the last one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_refusal: Option<WebhookRefusal>,
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        let settings = source::settings(client).await?;
        let find = |name: &str| {
            let none = || reason!("platform.not_found", name = quoted(&name));
            settings.platforms.get(name).cloned().ok_or_else(|| CliError::not_found(none()))
        };
        let bound = |name: &str| -> Vec<Bound<'_>> {
            let named = |platform: Option<&str>| platform == Some(name);
            let sources = settings.repositories.iter().filter_map(|(path, value)| Some((path, value.source.as_ref()?)));
            sources.filter(|(_, source)| named(source.platform.as_deref())).collect()
        };
        match self {
            Verb::List => {
                let status = client.status_if_running().await;
                let views = settings.platforms.iter().map(|(name, platform)| View {
                    name,
                    platform,
                    repositories: paths(&bound(name)),
                    webhook: None,
                    webhook_refusal: refusal(status.as_ref(), name),
                });
                let views: Vec<View> = views.collect();
                print(format, &views, || {
                    if views.is_empty() {
                        say(reason!("platform.none_yet"));
                        return String::new();
                    }
                    list(&views)
                })
            }
            Verb::Show { name } => {
                let platform = find(&name)?;
                let status = client.status_if_running().await;
                let takes = platform.webhook_secret.is_some();
                let webhook = if takes { webhook(&settings, status.as_ref(), &name) } else { None };
                let webhook_refusal = refusal(status.as_ref(), &name);
                let repositories = paths(&bound(&name));
                let view = View { name: &name, platform: &platform, repositories, webhook, webhook_refusal };
                print(format, &view, || details(&view))
            }
            Verb::Create { name, kind, options } => {
                options.save(client, name, SourcePlatform::new(kind), SaveMode::Create).await
            }
            Verb::Edit { name, options } => {
                let value = find(&name)?;
                options.save(client, name, value, SaveMode::Edit).await
            }
            Verb::Check { name } => check::run(client, &find(&name)?, &name, &bound(&name), format).await,
            Verb::Repos { name, filter, limit } => repos::run(client, name, filter, limit, format).await,
            Verb::Login { name } => login::run(client, find(&name)?, name, format).await,
            Verb::Delete { name, yes } => source::delete(client, EntityName::Platform(name), yes).await,
        }
    }
}

/// The platforms as people read them.
fn list(views: &[View<'_>]) -> String {
    let mut table = Table::new([
        phrase!("label.name"),
        phrase!("label.kind"),
        phrase!("label.token"),
        phrase!("label.webhooks"),
        phrase!("label.repositories"),
    ]);
    for View { name, platform, repositories, .. } in views {
        table.row([
            (*name).into(),
            platform.kind.word().into(),
            yes_no(platform.token.is_some()),
            yes_no(platform.webhook_secret.is_some()),
            repositories.len().to_string(),
        ]);
    }
    table.text()
}

/// A platform as people read it.
fn details(view: &View<'_>) -> String {
    let platform = view.platform;
    let secret = |secret: &Option<SecretRef>| secret.as_ref().map_or_else(String::new, where_from);
    fields(&[
        (phrase!("label.name"), view.name.to_owned()),
        (phrase!("label.kind"), platform.kind.word().into()),
        (phrase!("label.url"), platform.url.clone().unwrap_or_default()),
        (phrase!("label.hosts"), platform.hosts.join("\n")),
        (phrase!("label.organization"), platform.organization.clone().unwrap_or_default()),
        (phrase!("label.username"), platform.username.clone().unwrap_or_default()),
        (phrase!("label.token"), secret(&platform.token)),
        (phrase!("label.ssh_key"), platform.ssh_key.clone().unwrap_or_default()),
        (phrase!("label.ca"), platform.ca.clone().unwrap_or_default()),
        (phrase!("label.proxy"), platform.proxy.clone().unwrap_or_default()),
        (phrase!("label.statuses"), yes_no(platform.takes_statuses())),
        (phrase!("label.plain_http"), if platform.plain_http { "yes".into() } else { String::new() }),
        (phrase!("label.oauth_client_id"), platform.oauth_client_id.clone().unwrap_or_default()),
        (phrase!("label.webhook_secret"), secret(&platform.webhook_secret)),
        (phrase!("label.webhook"), view.webhook.clone().unwrap_or_default()),
        (phrase!("label.refused"), view.webhook_refusal.as_ref().map_or_else(String::new, told)),
        (phrase!("label.repositories"), view.repositories.join("\n")),
    ])
}

fn refusal(status: Option<&PoolStatus>, name: &str) -> Option<WebhookRefusal> {
    status?.webhook_refusals.iter().find(|refusal| refusal.platform == name).cloned()
}

fn paths(bound: &[Bound<'_>]) -> Vec<String> {
    bound.iter().map(|(path, _)| path.to_string()).collect()
}
