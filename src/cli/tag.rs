//! `slipway tag`: the tags of a repository and what they name.

use clap::Subcommand;
use serde::Serialize;

use super::output::{Table, fields, print, say};
use super::{CliError, Format, source};
use crate::access::registries;
use crate::domain::name::RepositoryPath;
use crate::pool::client;
use crate::protocol::{Error, ErrorKind, Request};
use crate::registry::{Kind, PublishError, Target, publish};
use crate::store::Home;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// The tags of a repository
    List {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
    },
    /// One tag and the image it names
    Show {
        /// NAMESPACE/REPOSITORY:TAG
        tag: TagPath,
    },
    /// Delete a tag; in the local registry, what nothing names any more is freed
    Delete {
        /// NAMESPACE/REPOSITORY:TAG
        tag: TagPath,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// `namespace/repository:tag`
#[derive(Debug, Clone)]
pub(super) struct TagPath {
    path: RepositoryPath,
    tag: String,
}

impl std::str::FromStr for TagPath {
    type Err = String;

    fn from_str(text: &str) -> Result<TagPath, String> {
        let (path, tag) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} is not NAMESPACE/REPOSITORY:TAG"))?;
        let path = path.parse::<RepositoryPath>().map_err(|error| error.to_string())?;
        let tag = crate::domain::tag::Tag::parse(tag).map_err(|error| error.to_string())?;
        Ok(TagPath { path, tag: tag.to_string() })
    }
}

#[derive(Serialize)]
struct View {
    tag: String,
    name: String,
    digest: String,
    platforms: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    created: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    commit: Option<String>,
    build: Option<u64>,
}

async fn target(home: &Home, path: &RepositoryPath) -> Result<Target, CliError> {
    let settings = source::settings(home);
    let namespace = source::namespace(&settings, &path.namespace)?;
    let target = registries::open(home, &settings, &namespace.registry, path).await;
    target.map_err(|error| CliError::failed(error.to_string()))
}

async fn view(target: &Target, tag: &str) -> Result<View, CliError> {
    let info = publish::inspect(target, tag).await.map_err(|error| error_of(&error))?;
    let origin = crate::domain::publish::Origin::from_annotations(&info.annotations);
    Ok(View {
        tag: tag.into(),
        name: format!("{}:{tag}", target.image()),
        digest: info.digest,
        platforms: info.platforms.iter().map(ToString::to_string).collect(),
        size: Some(info.size),
        created: info.created.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        reference: origin.as_ref().map(|origin| origin.reference.clone()),
        commit: origin.as_ref().map(|origin| origin.commit.clone()),
        build: origin.map(|origin| origin.build),
    })
}

fn error_of(error: &PublishError) -> CliError {
    let kind = match error {
        PublishError::Registry(error) => match error.kind {
            Kind::NotFound => ErrorKind::NotFound,
            Kind::Network { .. } => ErrorKind::Unreachable,
            _ => ErrorKind::Failed,
        },
        PublishError::Layout(crate::registry::LayoutError::NoTag { .. }) => ErrorKind::NotFound,
        _ => ErrorKind::Failed,
    };
    Error::new(kind, error.to_string()).into()
}

impl Verb {
    pub(super) async fn run(self, home: &Home, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List { path } => list(home, &path, format).await,
            Verb::Show { tag } => {
                let view = view(&target(home, &tag.path).await?, &tag.tag).await?;
                print(format, &view, || {
                    fields(&[
                        ("name", view.name.clone()),
                        ("digest", view.digest.clone()),
                        ("platforms", view.platforms.join(", ")),
                        ("size", view.size.map_or_else(String::new, size_text)),
                        ("created", view.created.clone().unwrap_or_default()),
                        ("ref", view.reference.clone().unwrap_or_default()),
                        ("commit", view.commit.clone().unwrap_or_default()),
                        ("build", view.build.map_or_else(String::new, |build| format!("#{build}"))),
                    ])
                })
            }
            Verb::Delete { tag, yes } => {
                if !yes && !source::confirm(&format!("delete {}:{}?", tag.path, tag.tag))? {
                    say("nothing was deleted");
                    return Ok(());
                }
                client::ask(home, Request::DeleteTag { path: tag.path.clone(), tag: tag.tag.clone() }).await?;
                say(&format!("deleted {}:{}", tag.path, tag.tag));
                Ok(())
            }
        }
    }
}

fn size_text(bytes: u64) -> String {
    crate::domain::config::ByteSize(bytes).to_string()
}

async fn list(home: &Home, path: &RepositoryPath, format: Format) -> Result<(), CliError> {
    let target = target(home, path).await?;
    let names: Vec<String> = match &target {
        Target::Local(layout) => {
            let tags = layout.tags().map_err(|error| CliError::failed(error.to_string()))?;
            tags.into_iter().map(|tag| tag.tag).collect()
        }
        Target::Remote(client) => match client.tags().await {
            Ok(tags) => tags,
            Err(error) if error.kind == Kind::NotFound => Vec::new(),
            Err(error) => return Err(error_of(&error.into())),
        },
    };
    let mut views = Vec::with_capacity(names.len());
    // A build's cache is stored beside its images, and is none.
    for name in names.iter().filter(|name| !name.starts_with("buildcache-")) {
        views.push(view(&target, name).await?);
    }
    print(format, &views, || {
        if views.is_empty() {
            say(&format!("no tags yet; `slipway build start {path}` makes the first"));
            return String::new();
        }
        let mut table = Table::new(["TAG", "DIGEST", "PLATFORMS", "SIZE", "CREATED", "BUILD"]);
        for view in &views {
            table.row([
                view.tag.clone(),
                view.digest.chars().take(19).collect(),
                view.platforms.join(", "),
                view.size.map_or_else(String::new, size_text),
                view.created.clone().unwrap_or_default(),
                view.build.map_or_else(String::new, |build| format!("#{build}")),
            ]);
        }
        table.text()
    })
}
