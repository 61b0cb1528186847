//! `slipway builder`: BuildKit daemons that builds can run on.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::output::{Table, fields, print, told};
use super::{CliError, Format, source};

use crate::client::Client;
use crate::domain::builder::{Builder, BuilderKind, BuilderTls};
use crate::domain::config::ByteSize;
use crate::domain::platform::Platform;
use crate::domain::reason::{phrase, quoted, reason};
use crate::protocol::{BuilderStatus, Entity, EntityName, SaveMode};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// All builders and how they are
    List,
    /// One builder
    Show {
        /// Its name
        name: String,
    },
    /// Make a builder
    Create {
        /// Its name
        name: String,
        /// How it comes to be
        #[arg(long, value_enum, default_value = "existing")]
        kind: KindWord,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Change what is given, leave the rest
    Edit {
        /// Its name
        name: String,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Delete a builder; its daemon is left alone
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum KindWord {
    /// Started and kept by slipway
    Managed,
    /// There already, reached at --address
    Existing,
    /// A new, empty managed daemon for every build
    Fresh,
    /// --up prints an address, --down takes it down
    Provisioned,
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// unix://, tcp://, ssh://, docker-container://, podman-container:// or kube-pod://
    #[arg(long)]
    address: Option<String>,
    /// How many builds it runs at once
    #[arg(long)]
    slots: Option<u32>,
    /// What builds may ask for; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = source::key_value)]
    labels: Vec<(String, String)>,
    /// What it builds for, where the daemon's own word is not to be taken
    #[arg(long = "image-platform", value_delimiter = ',', value_name = "OS/ARCH")]
    platforms: Vec<Platform>,
    /// The CA that signed the daemon's certificate
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// Our certificate
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Our key
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// The name in the daemon's certificate
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Let a tcp:// address of another machine go without TLS: passwords and images are then unprotected on the way
    #[arg(long)]
    plain: bool,
    /// Of provisioned builders: a command whose first line of output is the address
    #[arg(long, value_name = "COMMAND")]
    up: Option<String>,
    /// Of provisioned builders: a command that takes it down; the address is $1
    #[arg(long, value_name = "COMMAND")]
    down: Option<String>,
}

impl Options {
    fn apply(self, builder: &mut Builder) {
        builder.address = self.address.or(builder.address.take());
        builder.slots = self.slots.or(builder.slots);
        builder.labels.extend(self.labels);
        if !self.platforms.is_empty() {
            builder.platforms = self.platforms;
        }
        let old = builder.tls.take().unwrap_or_default();
        let tls = BuilderTls {
            ca: self.tls_ca.or(old.ca),
            cert: self.tls_cert.or(old.cert),
            key: self.tls_key.or(old.key),
            server_name: self.tls_server_name.or(old.server_name),
        };
        builder.tls = Some(tls).filter(|tls| *tls != BuilderTls::default());
        builder.plain |= self.plain;
        builder.up = self.up.or(builder.up.take());
        builder.down = self.down.or(builder.down.take());
    }
}

#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    status: BuilderStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Builder>,
}

async fn views(client: &Client) -> Result<Vec<View>, CliError> {
    let settings = source::settings(client).await?;
    let view = |status: BuilderStatus| View { config: settings.builders.get(&status.name).cloned(), status };
    Ok(client.status().await?.builders.into_iter().map(view).collect())
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List => {
                let views = views(client).await?;
                print(format, &views, || list(&views))
            }
            Verb::Show { name } => {
                let view = views(client)
                    .await?
                    .into_iter()
                    .find(|view| view.status.name == name)
                    .ok_or_else(|| CliError::not_found(reason!("builder.not_found", name = quoted(&name))))?;
                print(format, &view, || details(&view.status))
            }
            Verb::Create { name, kind, options } => {
                let mut value = Builder::of(match kind {
                    KindWord::Managed => BuilderKind::Managed,
                    KindWord::Existing => BuilderKind::Existing,
                    KindWord::Fresh => BuilderKind::Fresh,
                    KindWord::Provisioned => BuilderKind::Provisioned,
                });
                options.apply(&mut value);
                source::save(client, Entity::Builder { name, value }, SaveMode::Create).await
            }
            Verb::Edit { name, options } => {
                let settings = source::settings(client).await?;
                let mut value = settings
                    .builders
                    .get(&name)
                    .cloned()
                    .ok_or_else(|| CliError::not_found(reason!("builder.not_configured", name = quoted(&name))))?;
                options.apply(&mut value);
                source::save(client, Entity::Builder { name, value }, SaveMode::Edit).await
            }
            Verb::Delete { name, yes } => source::delete(client, EntityName::Builder(name), yes).await,
        }
    }
}

/// The builders as people read them.
fn list(views: &[View]) -> String {
    let mut table = Table::new([
        phrase!("label.name"),
        phrase!("label.kind"),
        phrase!("label.state"),
        phrase!("label.slots"),
        phrase!("label.cache"),
        phrase!("label.platforms"),
        phrase!("label.labels"),
        phrase!("label.reason"),
    ]);
    for View { status, .. } in views {
        table.row([
            status.name.clone(),
            status.kind.word().to_owned(),
            told(status.readiness.state()),
            format!("{}/{}", status.busy, status.slots),
            cache_text(status),
            status.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            labels_text(status),
            status.readiness.reason().map_or_else(String::new, told),
        ]);
    }
    table.text()
}

/// A builder as people read it.
fn details(status: &BuilderStatus) -> String {
    fields(&[
        (phrase!("label.name"), status.name.clone()),
        (phrase!("label.kind"), status.kind.word().to_owned()),
        (phrase!("label.state"), told(status.readiness.state())),
        (phrase!("label.reason"), status.readiness.reason().map_or_else(String::new, told)),
        (phrase!("label.address"), status.address.clone().unwrap_or_default()),
        (phrase!("label.slots"), told(reason!("builder.busy_slots", busy = status.busy, slots = status.slots))),
        (phrase!("label.cache_takes"), cache_text(status)),
        (phrase!("label.platforms"), status.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        (phrase!("label.labels"), labels_text(status)),
    ])
}

/// How much its cache takes, `1.2 GB`; empty before it has said so.
fn cache_text(status: &BuilderStatus) -> String {
    status.cache_bytes.map(|bytes| ByteSize(bytes).to_string()).unwrap_or_default()
}

fn labels_text(status: &BuilderStatus) -> String {
    status.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}
