//! `slipway tag`: the tags of a repository and what they name.

use clap::Subcommand;
use serde::Serialize;

use super::complaint::WrongValue;
use super::output::{Table, fields, print, say};
use super::{CliError, Format, source};
use crate::client::Client;
use crate::domain::image_tag::TagInfo;
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{phrase, quoted, reason};

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
    type Err = WrongValue;

    fn from_str(text: &str) -> Result<TagPath, WrongValue> {
        let (path, tag) =
            text.rsplit_once(':').ok_or_else(|| WrongValue(reason!("argument.no_tag_path", text = quoted(text))))?;
        let path = path.parse::<RepositoryPath>().map_err(WrongValue::from)?;
        let tag = crate::domain::tag::Tag::parse(tag).map_err(WrongValue::from)?;
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
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl From<TagInfo> for View {
    fn from(info: TagInfo) -> View {
        let origin = info.origin;
        View {
            tag: info.tag,
            name: info.name,
            digest: info.digest,
            platforms: info.platforms,
            // Of an image that can't be read, it is not known.
            size: info.problem.is_none().then_some(info.size),
            created: info.created.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
            reference: origin.as_ref().map(|origin| origin.reference.clone()),
            commit: origin.as_ref().map(|origin| origin.commit.clone()),
            build: origin.map(|origin| origin.build),
            problem: info.problem.map(|problem| problem.to_string()),
        }
    }
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List { path } => list(client, &path, format).await,
            Verb::Show { tag } => {
                let view = View::from(client.tag(tag.path, tag.tag).await?);
                print(format, &view, || {
                    fields(&[
                        (phrase!("label.name"), view.name.clone()),
                        (phrase!("label.digest"), view.digest.clone()),
                        (phrase!("label.platforms"), view.platforms.join(", ")),
                        (phrase!("label.size"), view.size.map_or_else(String::new, size_text)),
                        (phrase!("label.created"), view.created.clone().unwrap_or_default()),
                        (phrase!("label.ref"), view.reference.clone().unwrap_or_default()),
                        (phrase!("label.commit"), view.commit.clone().unwrap_or_default()),
                        (phrase!("label.build"), view.build.map_or_else(String::new, |build| format!("#{build}"))),
                    ])
                })
            }
            Verb::Delete { tag, yes } => {
                if !yes && !source::confirm(reason!("tag.delete", path = tag.path, tag = tag.tag))? {
                    say(reason!("cli.nothing_deleted"));
                    return Ok(());
                }
                client.delete_tag(tag.path.clone(), tag.tag.clone()).await?;
                say(reason!("tag.deleted", path = tag.path, tag = tag.tag));
                Ok(())
            }
        }
    }
}

fn size_text(bytes: u64) -> String {
    crate::domain::config::ByteSize(bytes).to_string()
}

async fn list(client: &Client, path: &RepositoryPath, format: Format) -> Result<(), CliError> {
    source::repository(&source::settings(client).await?, path)?;
    let tags = client.tags(path.clone()).await?;
    let views: Vec<View> = tags.into_iter().map(View::from).collect();
    print(format, &views, || {
        if views.is_empty() {
            say(reason!("tag.none_yet", path));
            return String::new();
        }
        let mut table = Table::new([
            phrase!("label.tag"),
            phrase!("label.digest"),
            phrase!("label.platforms"),
            phrase!("label.size"),
            phrase!("label.created"),
            phrase!("label.build"),
        ]);
        for view in &views {
            table.row([
                view.tag.clone(),
                view.digest.chars().take(19).collect(),
                view.problem.clone().unwrap_or_else(|| view.platforms.join(", ")),
                view.size.map_or_else(String::new, size_text),
                view.created.clone().unwrap_or_default(),
                view.build.map_or_else(String::new, |build| format!("#{build}")),
            ]);
        }
        table.text()
    })
}
