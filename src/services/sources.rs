//! Sources: their refs, listed and resolved with the credentials of their platform.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::{ServiceError, agent, tokens};
use crate::domain::push::{CommitId, Ref, RefKind};
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::repository::Source;
use crate::domain::source_platform::SourcePlatform;
use crate::source::Wanted;
use crate::source::git::{FetchLimits, ssh};
use crate::source::{Access, Commit, Credentials, Git, Kind, Refs, SourceUrl, UrlError};
use crate::store::Home;
use crate::store::settings::Settings;

/// A server that has not listed its refs by then is given up: somebody waits for the answer.
const LIST_LIMIT: Duration = Duration::from_secs(30);
/// A commit that could not be looked at by then is given up; its fetch goes on for the next caller.
const LOOK_LIMIT: Duration = Duration::from_secs(120);

static GIT: LazyLock<Git> = LazyLock::new(|| {
    // This very program, whatever an upgrade puts in its place meanwhile: another one may speak otherwise.
    Git::new(PathBuf::from("/proc/self/exe"))
});

/// The way to all sources.
pub fn git() -> &'static Git {
    &GIT
}

/// What a fetch may take, by the settings.
pub fn fetch_limits(settings: &Settings) -> FetchLimits {
    FetchLimits::new(settings.config.git.fetch_timeout.0, settings.config.git.fetch_limit.0)
}

/// The commit that a ref of a source points at now.
///
/// # Errors
/// When the source can't be read, or has no such ref.
pub async fn resolve(
    home: &Home,
    settings: &Settings,
    source: &Source,
    reference: &Ref,
) -> Result<CommitId, ServiceError> {
    let refs = list_refs(home, settings, source).await?;
    let name = reference.to_string();
    let found = refs.refs.iter().find(|found| found.name == name);
    let found = found.ok_or_else(|| {
        let (url, kind, name) = (&source.url, reference.kind.word(), quoted(&reference.name));
        ServiceError::missing(match default_branch_of(&refs).filter(|_| reference.kind == RefKind::Branch) {
            Some(default) => reason!("sources.no_branch", url, name, default = quoted(&default)),
            None => reason!("sources.no_ref", url, kind, name),
        })
    })?;
    // The listing took the line for one of a ref.
    found.commit.parse().map_err(|_| {
        ServiceError::unusable(reason!("sources.no_commit", url = source.url, commit = quoted(&found.commit)))
    })
}

/// The branch that the source's HEAD names.
///
/// # Errors
/// When the source can't be read, or is empty.
pub async fn default_branch(home: &Home, settings: &Settings, source: &Source) -> Result<String, ServiceError> {
    let refs = list_refs(home, settings, source).await?;
    default_branch_of(&refs)
        .ok_or_else(|| ServiceError::missing(reason!("sources.no_default_branch", url = source.url)))
}

/// The short name of the branch that HEAD names; none in an empty repository.
pub fn default_branch_of(refs: &Refs) -> Option<String> {
    refs.head.as_ref()?.strip_prefix("refs/heads/").map(str::to_owned)
}

/// Lists the refs of a source, with the credentials of its platform.
///
/// # Errors
/// When the source can't be read: the kind tells whether it is there at all.
pub async fn list_refs(home: &Home, settings: &Settings, source: &Source) -> Result<Refs, ServiceError> {
    let url = parse_url(&source.url)?;
    let access = access(home, settings, source).await?;
    Ok(GIT.list(&url, &access).await?)
}

/// Why a commit was not looked at.
#[derive(Debug)]
pub enum NotLooked {
    /// What the ref names is a tree or a blob: a tag may name anything.
    NotACommit(Reason),
    /// The source can't be read, or does not have the commit.
    Unreadable(ServiceError),
}

impl std::fmt::Display for NotLooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotLooked::NotACommit(why) => why.fmt(f),
            NotLooked::Unreadable(error) => error.fmt(f),
        }
    }
}

impl From<ServiceError> for NotLooked {
    fn from(error: ServiceError) -> NotLooked {
        NotLooked::Unreadable(error)
    }
}

/// Looks at a commit of a source, with the credentials of its platform.
///
/// # Errors
/// When the source can't be read, or does not have the commit.
pub async fn look(home: &Home, settings: &Settings, source: &Source, wanted: Wanted) -> Result<Commit, NotLooked> {
    let url = parse_url(&source.url).map_err(ServiceError::from)?;
    let access = access(home, settings, source).await?;
    let limits = fetch_limits(settings);
    let gone_on = url.clone();
    let looking = tokio::spawn(async move { GIT.look(&gone_on, &access, wanted, limits).await });
    match tokio::time::timeout(LOOK_LIMIT, looking).await {
        Ok(Ok(Err(error))) if error.kind == Kind::NoRef => Err(NotLooked::NotACommit(error.reason)),
        Ok(Ok(looked)) => Ok(looked.map_err(ServiceError::from)?),
        Ok(Err(error)) => Err(ServiceError::Task(reason!("task.failed", error)).into()),
        Err(_) => {
            let why = reason!("sources.still_fetching", url, seconds = LOOK_LIMIT.as_secs());
            Err(ServiceError::Late(why).into())
        }
    }
}

/// Reads a source's URL.
///
/// # Errors
/// When it is none that git and BuildKit both know.
pub fn parse_url(url: &str) -> Result<SourceUrl, UrlError> {
    SourceUrl::parse(url)
}

/// The platform that a source names, where it names one.
pub(super) fn platform<'a>(
    settings: &'a Settings,
    source: &Source,
) -> Result<Option<&'a SourcePlatform>, ServiceError> {
    match &source.platform {
        None => Ok(None),
        Some(name) => settings
            .platforms
            .get(name)
            .map(Some)
            .ok_or_else(|| ServiceError::missing(reason!("sources.no_such_platform", quoted = quoted(&name), name))),
    }
}

/// Checks that the credentials of a platform may go to the host of a source.
///
/// # Errors
/// When it is none of the platform's hosts: the text says what to write where.
pub fn check_host(name: &str, platform: &SourcePlatform, url: &SourceUrl) -> Result<(), ServiceError> {
    let Some(server) = url.credentials_go_to() else { return Ok(()) };
    let (what, is_used) = match server.over_http {
        true => ("token", platform.token.is_some()),
        false => ("ssh_key", platform.ssh_key.is_some()),
    };
    if !is_used || platform.covers(server) {
        return Ok(());
    }
    let host = url.port().map_or_else(|| server.host.to_owned(), |port| format!("{}:{port}", server.host));
    Err(ServiceError::forbidden(reason!("sources.other_host", what, quoted = quoted(name), name, host)))
}

/// Checks a source that is to be saved: its URL, and that its platform's credentials may go there. Returns its URL as
/// it is kept: without a user name that is of no use.
///
/// # Errors
/// When it is no URL, there is no such platform, or the host is none of the platform's.
pub fn checked(settings: &Settings, source: &Source) -> Result<String, ServiceError> {
    let url = parse_url(&source.url)?;
    if url.local_path().is_some() && !source.fetch.is_by_slipway() {
        return Err(ServiceError::unusable(reason!("sources.local_for_builder", url)));
    }
    if let (Some(name), Some(platform)) = (&source.platform, platform(settings, source)?) {
        check_host(name, platform, &url)?;
    }
    Ok(url.to_string())
}

/// How a source is reached: with the credentials of its platform.
///
/// # Errors
/// When there is no such platform, its token is unavailable, or it would go over plain http and may not.
pub async fn access(home: &Home, settings: &Settings, source: &Source) -> Result<Access, ServiceError> {
    let (Some(platform), Some(name)) = (platform(settings, source)?, &source.platform) else {
        return Ok(Access { timeout: LIST_LIMIT, agent: agent::current(home), ..Access::default() });
    };
    let url = parse_url(&source.url)?;
    check_host(name, platform, &url)?;
    let token = tokens::of(home, name, platform).await?;
    if token.is_some() && !platform.plain_http && url.is_in_the_open() {
        let url = &source.url;
        return Err(ServiceError::forbidden(reason!("sources.plain_http", quoted = quoted(name), name, url)));
    }
    Ok(Access {
        credentials: Credentials {
            username: platform.username.clone().or_else(|| platform.kind.username().map(str::to_owned)),
            token,
            ssh_key: platform.ssh_key.as_deref().map(ssh::expanded),
        },
        ca: platform.ca.as_ref().map(PathBuf::from),
        proxy: platform.proxy.clone(),
        agent: agent::current(home),
        anonymous: false,
        timeout: LIST_LIMIT,
    })
}

/// How a server is asked for what anybody may read: by the CA and the proxy of the platform that covers it, and with no
/// credential.
pub(super) fn anonymous_access(platform: Option<&SourcePlatform>) -> Access {
    Access {
        credentials: Credentials::default(),
        ca: platform.and_then(|platform| platform.ca.as_ref()).map(PathBuf::from),
        proxy: platform.and_then(|platform| platform.proxy.clone()),
        agent: None,
        anonymous: true,
        timeout: LIST_LIMIT,
    }
}
