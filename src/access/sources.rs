//! Sources: their refs, listed and resolved with the credentials of their platform.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::tokens;
use crate::domain::push::{CommitId, Ref, RefKind};
use crate::domain::repository::Source;
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::{Error, ErrorKind};
use crate::source::commits::Wanted;
use crate::source::{Access, Commit, Credentials, Git, Kind, Refs, SourceError, SourceUrl};
use crate::store::Home;
use crate::store::settings::Settings;

/// A server that has not listed its refs by then is given up: somebody waits for the answer.
const LIST_LIMIT: Duration = Duration::from_secs(30);
/// A commit that could not be looked at by then is given up: its tree may have to be fetched for it.
const LOOK_LIMIT: Duration = Duration::from_secs(120);

/// The processes that speak git for us.
static GIT: LazyLock<Git> = LazyLock::new(|| {
    // This very program, whatever an upgrade puts in its place meanwhile: another one may speak otherwise.
    Git::new(PathBuf::from("/proc/self/exe"))
});

/// The commit that a ref of a source points at now.
///
/// # Errors
/// When the source can't be read, or has no such ref.
pub async fn resolve(home: &Home, settings: &Settings, source: &Source, reference: &Ref) -> Result<CommitId, Error> {
    let refs = list_refs(home, settings, source).await?;
    let name = reference.to_string();
    let found = refs.refs.iter().find(|found| found.name == name);
    let found = found.ok_or_else(|| {
        let (kind, missing) = (reference.kind.word(), format!("{} has no", source.url));
        let text = match default_branch_of(&refs).filter(|_| reference.kind == RefKind::Branch) {
            Some(default) => format!("{missing} {kind} {:?}; its default branch is {default:?}", reference.name),
            None => format!("{missing} {kind} {:?}", reference.name),
        };
        Error::new(ErrorKind::NotFound, text)
    })?;
    found.commit.parse().map_err(|error| Error::new(ErrorKind::Failed, format!("{}: {error}", source.url)))
}

/// The branch that the source's HEAD names.
///
/// # Errors
/// When the source can't be read, or is empty.
pub async fn default_branch(home: &Home, settings: &Settings, source: &Source) -> Result<String, Error> {
    let refs = list_refs(home, settings, source).await?;
    default_branch_of(&refs).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("{} has no default branch; push something to it first", source.url))
    })
}

/// The short name of the branch that HEAD names; none in an empty repository.
pub fn default_branch_of(refs: &Refs) -> Option<String> {
    refs.head.as_ref()?.strip_prefix("refs/heads/").map(str::to_owned)
}

/// Lists the refs of a source, with the credentials of its platform.
///
/// # Errors
/// When the source can't be read: the kind tells whether it is there at all.
pub async fn list_refs(home: &Home, settings: &Settings, source: &Source) -> Result<Refs, Error> {
    let url = parse_url(&source.url)?;
    let access = access(home, settings, source).await?;
    GIT.list(&url, &access).await.map_err(told)
}

/// Looks at a commit of a source, with the credentials of its platform.
///
/// # Errors
/// When the source can't be read, or does not have the commit.
pub async fn look(home: &Home, settings: &Settings, source: &Source, wanted: Wanted) -> Result<Commit, Error> {
    let url = parse_url(&source.url)?;
    let access = Access { timeout: LOOK_LIMIT, ..access(home, settings, source).await? };
    GIT.look(&url, &access, wanted).await.map_err(told)
}

fn told(error: SourceError) -> Error {
    let kind = match error.kind {
        Kind::NotFound | Kind::NotARepository => ErrorKind::NotFound,
        _ => ErrorKind::Unreachable,
    };
    Error::new(kind, error.to_string())
}

/// Reads a source's URL.
///
/// # Errors
/// When it is none that git and BuildKit both know.
pub fn parse_url(url: &str) -> Result<SourceUrl, Error> {
    SourceUrl::parse(url).map_err(|error| Error::new(ErrorKind::Usage, error.to_string()))
}

/// The platform that a source names, where it names one.
pub(super) fn platform<'a>(settings: &'a Settings, source: &Source) -> Result<Option<&'a SourcePlatform>, Error> {
    match &source.platform {
        None => Ok(None),
        Some(name) => settings.platforms.get(name).map(Some).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("the source names the platform {name:?}, and there is no platforms/{name}.toml"),
            )
        }),
    }
}

/// How a source is reached: with the credentials of its platform.
///
/// # Errors
/// When there is no such platform, its token can't be had, or it would go over plain http and may not.
pub async fn access(home: &Home, settings: &Settings, source: &Source) -> Result<Access, Error> {
    let (Some(platform), Some(name)) = (platform(settings, source)?, &source.platform) else {
        return Ok(Access { timeout: LIST_LIMIT, ..Access::default() });
    };
    let token = tokens::of(home, name, platform).await?;
    if token.is_some() && !platform.plain_http && parse_url(&source.url)?.is_in_the_open() {
        let text = format!(
            "the token of the platform {name:?} is not sent to {}: over plain http everyone on the way can read it; name the source \
             with https, or say plain_http = true in platforms/{name}.toml where the network is your own",
            source.url
        );
        return Err(Error::new(ErrorKind::Refused, text));
    }
    Ok(Access {
        credentials: Credentials {
            username: platform.username.clone().or_else(|| platform.kind.username().map(str::to_owned)),
            token,
            ssh_key: platform.ssh_key.as_ref().map(PathBuf::from),
            ssh_passphrase: None,
        },
        ca: platform.ca.as_ref().map(PathBuf::from),
        proxy: platform.proxy.clone(),
        timeout: LIST_LIMIT,
    })
}
