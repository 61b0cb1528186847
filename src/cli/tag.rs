//! `slipway tag`: the tags of a repository and what they name.

use std::collections::BTreeMap;

use chrono::{DateTime, Local, SecondsFormat, Utc};
use clap::{ArgGroup, Subcommand, ValueEnum};
use serde::Serialize;

use super::complaint::WrongValue;
use super::limit::Limit;
use super::output::{Table, fields, print, say, told};
use super::{CliError, Format, source};
use crate::client::Client;
use crate::domain::build::BuildId;
use crate::domain::image_tag::{AttachedTag, Attestation, ImagePart, MOST_TAGS, TagDetail, TagInfo, TagNames, attach};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{Reason, phrase, quoted, reason};
use crate::domain::tag_history::{HistoryQuery, MOST_EVENTS, MoveTo, TagEvent, TagMove, short};
use crate::domain::usage::{self, ImageOfTag, PeerNetwork, UseError, UseOptions, UseWith};
use crate::domain::when;
use crate::protocol::{Error, ErrorKind};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// The tags of a repository
    List {
        /// NAMESPACE/REPOSITORY
        path: RepositoryPath,
        /// At most so many
        #[arg(long)]
        limit: Option<Limit>,
        /// Only the tags after this one, in the order of their names
        #[arg(long, value_name = "TAG")]
        after: Option<String>,
        /// Sizes and times of all images, however many there are
        #[arg(long)]
        full: bool,
    },
    /// One tag and the image it names: platforms, layers, labels, attestations
    Show {
        /// NAMESPACE/REPOSITORY:TAG
        tag: TagPath,
    },
    /// What a tag named when, by which build
    History {
        /// NAMESPACE/REPOSITORY:TAG
        tag: TagPath,
        /// What it named at this time: 2026-11-24, "2026-11-24 10:00", yesterday, "last tuesday", 3d (ago), or RFC 3339
        #[arg(long, value_name = "TIME", value_parser = time)]
        at: Option<DateTime<Utc>>,
        /// At most so many events, the newest first
        #[arg(long, default_value = "50")]
        limit: Limit,
    },
    /// Let a tag name another image of its repository: roll back or forward
    #[command(group(ArgGroup::new("target").required(true)))]
    Move {
        /// NAMESPACE/REPOSITORY:TAG
        tag: TagPath,
        /// The image: a digest, or another tag of the repository
        #[arg(long, value_name = "DIGEST|TAG", group = "target")]
        to: Option<String>,
        /// The image that this build published
        #[arg(long, value_name = "BUILD", group = "target")]
        to_build: Option<BuildId>,
        /// What the tag named before its image was published
        #[arg(long, group = "target")]
        back: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Copy a tag with its image, attestations and signatures to another repository, by digest
    Copy {
        /// NAMESPACE/REPOSITORY:TAG
        tag: TagPath,
        /// NAMESPACE/REPOSITORY[:TAG] of slipway's, or HOST/REPOSITORY[:TAG]
        target: String,
    },
    /// Commands and manifests that use a tag's image: by tag and by digest
    Use {
        /// NAMESPACE/REPOSITORY:TAG
        tag: TagPath,
        /// The tool or the manifest; pull is docker's, hosts is containerd's hosts.toml
        #[arg(long = "as", value_enum, default_value_t = UseAs::Pull)]
        with: UseAs,
        /// The name of the Deployment's pull secret, with the commands that make it
        #[arg(long, value_name = "NAME")]
        secret: Option<String>,
        /// A mirror that containerd asks first
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
        /// A network of peers that containerd asks first
        #[arg(long, value_enum, conflicts_with = "mirror")]
        peers: Option<Peers>,
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

/// What an image is to be used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum UseAs {
    Pull,
    Podman,
    Nerdctl,
    Skopeo,
    Deployment,
    Hosts,
}

impl From<UseAs> for UseWith {
    fn from(with: UseAs) -> UseWith {
        match with {
            UseAs::Pull => UseWith::Docker,
            UseAs::Podman => UseWith::Podman,
            UseAs::Nerdctl => UseWith::Nerdctl,
            UseAs::Skopeo => UseWith::Skopeo,
            UseAs::Deployment => UseWith::Deployment,
            UseAs::Hosts => UseWith::Hosts,
        }
    }
}

/// A network of peers that hands images on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Peers {
    Dragonfly,
    Spegel,
}

impl From<Peers> for PeerNetwork {
    fn from(peers: Peers) -> PeerNetwork {
        match peers {
            Peers::Dragonfly => PeerNetwork::Dragonfly,
            Peers::Spegel => PeerNetwork::Spegel,
        }
    }
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

/// Requests to a registry, beyond one for each tag, that a long list makes.
const FURTHER: usize = 120;
/// A list of at most so many tags has sizes and times of all.
const SHORT_LIST: usize = 100;

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
    artifact: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attached: Vec<AttachedTag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Reason>,
}

impl From<TagInfo> for View {
    fn from(info: TagInfo) -> View {
        let origin = info.origin;
        View {
            tag: info.tag,
            name: info.name,
            digest: info.digest,
            platforms: info.platforms,
            size: info.size,
            created: info.created.map(rfc3339),
            reference: origin.as_ref().map(|origin| origin.reference.clone()),
            commit: origin.as_ref().map(|origin| origin.commit.clone()),
            build: origin.and_then(|origin| origin.build),
            artifact: info.artifact,
            attached: info.attached,
            problem: info.problem,
        }
    }
}

impl View {
    /// What it is: its platforms with what is attached, or why it is no image that can be read.
    fn content(&self) -> String {
        if let Some(problem) = &self.problem {
            return told(problem);
        }
        if let Some(artifact) = &self.artifact {
            return told(reason!("tag.artifact", artifact));
        }
        let mut kinds: Vec<_> = self.attached.iter().map(|attached| attached.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let attached: String = kinds.into_iter().map(|kind| format!(" +{}", told(kind))).collect();
        format!("{}{attached}", self.platforms.join(", "))
    }
}

#[derive(Serialize)]
struct DetailView {
    #[serde(flatten)]
    tag: View,
    #[serde(skip_serializing_if = "Option::is_none")]
    moved: Option<String>,
    parts: Vec<ImagePart>,
    labels: BTreeMap<String, String>,
    attestations: Vec<Attestation>,
}

impl From<TagDetail> for DetailView {
    fn from(detail: TagDetail) -> DetailView {
        let TagDetail { info, moved, parts, labels, attestations } = detail;
        DetailView { tag: info.into(), moved: moved.map(rfc3339), parts, labels, attestations }
    }
}

impl DetailView {
    fn text(&self) -> String {
        let view = &self.tag;
        let problem = view.problem.as_ref().map(told).unwrap_or_default();
        let mut text = fields(&[
            (phrase!("label.name"), view.name.clone()),
            (phrase!("label.digest"), view.digest.clone()),
            (phrase!("label.problem"), problem),
            (phrase!("label.artifact"), view.artifact.clone().unwrap_or_default()),
            (phrase!("label.platforms"), view.platforms.join(", ")),
            (phrase!("label.size"), view.size.map_or_else(String::new, size_text)),
            (phrase!("label.created"), view.created.clone().unwrap_or_default()),
            (phrase!("label.moved"), self.moved.clone().unwrap_or_default()),
            (phrase!("label.ref"), view.reference.clone().unwrap_or_default()),
            (phrase!("label.commit"), view.commit.clone().unwrap_or_default()),
            (phrase!("label.build"), view.build.map_or_else(String::new, |build| format!("#{build}"))),
        ]);
        for part in &self.parts {
            let size = size_text(part.size);
            let platform = part.platform.clone().unwrap_or_default();
            let digest = &part.digest;
            text.push_str(&format!("\n{} {digest} {size}\n", if platform.is_empty() { "-" } else { &platform }));
            for layer in &part.layers {
                text.push_str(&format!("  {:>8}  {}  {}\n", size_text(layer.size), layer.digest, layer.media_type));
            }
        }
        if !self.labels.is_empty() {
            text.push_str(&format!("\n{}\n", told(phrase!("label.labels"))));
            for (key, value) in &self.labels {
                text.push_str(&format!("  {key}={value}\n"));
            }
        }
        if !self.attestations.is_empty() {
            text.push_str(&format!("\n{}\n", told(phrase!("label.attestations"))));
            for Attestation { kind, about, reference } in &self.attestations {
                text.push_str(&format!("  {kind}  {reference}  ({about})\n"));
            }
        }
        text
    }
}

impl Verb {
    pub(super) async fn run(self, client: &Client, format: Format) -> Result<(), CliError> {
        match self {
            Verb::List { path, limit, after, full } => {
                list(client, &path, Part { limit: limit.map(Limit::get), after, full }, format).await
            }
            Verb::Show { tag } => {
                let view = DetailView::from(client.tag(tag.path, tag.tag).await?);
                print(format, &view, || view.text())
            }
            Verb::History { tag, at, limit } => history(client, tag, at, limit.get(), format).await,
            Verb::Move { tag, to, to_build, back: _, yes } => {
                let to = match (to, to_build) {
                    (Some(to), _) if to.contains(':') => MoveTo::Digest(to),
                    (Some(to), _) => MoveTo::Tag(to),
                    (None, Some(build)) => MoveTo::Build(build),
                    (None, None) => MoveTo::Back,
                };
                move_tag(client, tag, to, yes, format).await
            }
            Verb::Copy { tag, target } => {
                let copy = client.copy_tag(tag.path, tag.tag, target).await?;
                say(copy.report());
                print(format, &copy, || format!("{} {}", copy.to, copy.digest))
            }
            Verb::Use { tag, with, secret, mirror, peers } => {
                let options = UseOptions { secret, mirror, peers: peers.map(PeerNetwork::from) };
                use_tag(client, tag, with, &options, format).await
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

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn size_text(bytes: u64) -> String {
    crate::domain::config::ByteSize(bytes).to_string()
}

/// A point in time of a flag.
fn time(text: &str) -> Result<DateTime<Utc>, WrongValue> {
    when::parse(text, &Local::now())
        .ok_or_else(|| WrongValue(reason!("argument.no_point_in_time", text = quoted(text))))
}

async fn history(
    client: &Client,
    TagPath { path, tag }: TagPath,
    at: Option<DateTime<Utc>>,
    limit: usize,
    format: Format,
) -> Result<(), CliError> {
    source::repository(&source::settings(client).await?, &path)?;
    let mut query = HistoryQuery { path: path.clone(), tag: tag.clone(), at, before: None, limit };
    let mut events: Vec<TagEvent> = Vec::new();
    loop {
        query.limit = limit.saturating_sub(events.len()).min(MOST_EVENTS);
        let page = client.tag_history(query.clone()).await?;
        events.extend(page.events);
        query.before = page.next;
        if page.next.is_none() || events.len() >= limit {
            break;
        }
    }
    events.truncate(limit);
    if let (Some(at), true) = (at, events.is_empty()) {
        return Err(CliError::not_found(reason!("tag.unknown_then", path, tag, at = rfc3339(at))));
    }
    print(format, &events, || history_table(&path, &tag, &events))
}

fn history_table(path: &RepositoryPath, tag: &str, events: &[TagEvent]) -> String {
    if events.is_empty() {
        say(reason!("tag.no_history", path, tag));
        return String::new();
    }
    let mut table = Table::new([
        phrase!("label.since"),
        phrase!("label.action"),
        phrase!("label.digest"),
        phrase!("label.build"),
        phrase!("label.ref"),
        phrase!("label.commit"),
        phrase!("label.by"),
    ]);
    for event in events {
        let by = event.by.to_string();
        table.row([
            rfc3339(event.at),
            told(event.action),
            event.digest.as_deref().map(short).unwrap_or_default(),
            event.build.map_or_else(String::new, |build| build.to_string()),
            event.reference.clone().or_else(|| event.from.clone()).unwrap_or_default(),
            event.commit.as_deref().unwrap_or_default().chars().take(12).collect(),
            by,
        ]);
    }
    table.text()
}

#[derive(Serialize)]
struct UseView {
    name: String,
    digest: String,
    text: String,
}

async fn use_tag(
    client: &Client,
    TagPath { path, tag }: TagPath,
    with: UseAs,
    options: &UseOptions,
    format: Format,
) -> Result<(), CliError> {
    let settings = source::settings(client).await?;
    source::repository(&settings, &path)?;
    let namespace = source::namespace(&settings, &path.namespace)?;
    let info = client.tag(path.clone(), tag).await?.info;
    let layout = match namespace.is_local() {
        true => Some(client.images_of(&path).map_or_else(|| "IMAGES".to_owned(), |at| at.display().to_string())),
        false => None,
    };
    let host = info.name.split('/').next().unwrap_or_default();
    let registry = settings.registry(host);
    let image = ImageOfTag {
        name: info.name.clone(),
        digest: info.digest.clone(),
        platforms: info.platforms,
        layout,
        repository: path.repository,
    };
    let text = usage::text(with.into(), &image, &registry, options).map_err(|error| match error {
        UseError::OnlyHere { .. } => Error::new(ErrorKind::Refused, error),
        UseError::Mirror { .. } => Error::new(ErrorKind::Usage, error),
    })?;
    let view = UseView { name: info.name, digest: info.digest, text };
    print(format, &view, || view.text.clone())
}

#[derive(Serialize)]
struct MoveView {
    name: String,
    #[serde(flatten)]
    moved: TagMove,
}

async fn move_tag(
    client: &Client,
    TagPath { path, tag }: TagPath,
    to: MoveTo,
    yes: bool,
    format: Format,
) -> Result<(), CliError> {
    let mut moved = client.plan_tag_move(path.clone(), tag, to).await?;
    if !moved.is_done() {
        if !yes && !source::confirm(moved.question(&path))? {
            say(reason!("tag.nothing_moved"));
            return Ok(());
        }
        moved = client.move_tag(path.clone(), moved).await?;
    }
    say(moved.report(&path));
    let view = MoveView { name: format!("{path}:{}", moved.tag), moved };
    print(format, &view, || format!("{} {}", view.name, view.moved.digest))
}

/// Which tags are listed, and how thoroughly.
struct Part {
    limit: Option<usize>,
    after: Option<String>,
    full: bool,
}

async fn list(client: &Client, path: &RepositoryPath, part: Part, format: Format) -> Result<(), CliError> {
    source::repository(&source::settings(client).await?, path)?;
    let TagNames { mut tags, attached } = client.tag_names(path.clone()).await?;
    let is_part = part.limit.is_some() || part.after.is_some();
    tags.retain(|tag| part.after.as_ref().is_none_or(|after| tag > after));
    tags.truncate(part.limit.unwrap_or(usize::MAX));
    let mut further = if part.full || tags.len() <= SHORT_LIST { usize::MAX } else { FURTHER };
    let mut infos: Vec<TagInfo> = Vec::with_capacity(tags.len());
    for some in tags.chunks(MOST_TAGS) {
        let page = client.tags(path.clone(), some.to_vec(), further).await?;
        further = further.saturating_sub(page.further_requests);
        infos.extend(page.tags);
    }
    let loose = attach(&mut infos, &attached);
    let lacks_sizes = infos.iter().any(|info| info.size.is_none() && info.problem.is_none());
    let views: Vec<View> = infos.into_iter().map(View::from).collect();
    print(format, &views, || table(path, &views))?;
    if format == Format::Text {
        if lacks_sizes {
            say(reason!("tag.sizes_left_out"));
        }
        // What is about the image of a tag that is not listed is not loose.
        if !is_part {
            loose.iter().for_each(|one| say(reason!("tag.loose", kind = one.kind, tag = one.tag, digest = one.digest)));
        }
    }
    Ok(())
}

fn table(path: &RepositoryPath, views: &[View]) -> String {
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
    for view in views {
        table.row([
            view.tag.clone(),
            view.digest.chars().take(19).collect(),
            view.content(),
            view.size.map_or_else(String::new, size_text),
            view.created.clone().unwrap_or_default(),
            view.build.map_or_else(String::new, |build| format!("#{build}")),
        ]);
    }
    table.text()
}
