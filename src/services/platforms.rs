//! The platforms' APIs, by the settings of a home and with the tokens that it keeps.

use crate::domain::commit_status::CommitStatus;
use crate::domain::platform_account::{Identity, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{quoted, reason};
use crate::domain::repository::Source;
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::{Error, ErrorKind};
use crate::source::platform::device::{DeviceFlow, Invitation, Tokens};
use crate::source::platform::{Api, ApiError, ApiProblem, Connector};
use crate::store::Home;
use crate::store::secrets::Secrets;
use crate::store::settings::Settings;

use super::{sources, tokens};

/// Who the token of a platform is, what it may do, what it lacks, and when it ends.
///
/// # Errors
/// When there is no such platform, it has no API or no token, or it can't be reached or does not know the token.
pub async fn check(home: &Home, settings: &Settings, name: &str) -> Result<Identity, Error> {
    let platform = named(settings, name)?;
    let (api, has_token) = api(home, name, platform).await?;
    if !has_token {
        let text = reason!("platforms.platform_token_give_one", name = quoted(&name), name_2 = name);
        return Err(Error::new(ErrorKind::Usage, text));
    }
    api.identity().await.map_err(|error| error_of(&error))
}

/// The repositories that the token of a platform sees whose names contain `filter`; the first page, or the one that an earlier
/// page's `next` names.
///
/// # Errors
/// When there is no such platform, it has no API, or it can't be reached or refuses.
pub async fn repositories(
    home: &Home,
    settings: &Settings,
    name: &str,
    filter: &str,
    page: Option<&str>,
) -> Result<RepositoryPage, Error> {
    let (api, _) = api(home, name, named(settings, name)?).await?;
    api.repositories(filter, page).await.map_err(|error| error_of(&error))
}

/// Sets a status of a commit on the platform of a source.
///
/// # Errors
/// When the source names no platform, the platform has no statuses, or it can't be reached or refuses. The kind is
/// [`ErrorKind::Unreachable`] where the same may work later.
pub async fn set_status(
    home: &Home,
    settings: &Settings,
    source: &Source,
    commit: &CommitId,
    status: &CommitStatus,
) -> Result<(), Error> {
    let (name, platform) = of_source(settings, source)?;
    let url = sources::parse_url(&source.url)?;
    let (api, _) = api(home, name, platform).await?;
    api.set_status(&url, commit, status).await.map_err(|error| error_of(&error))
}

/// Makes the webhook of a source's repository that sends to `url`, with the secret of its platform; one with the same URL is
/// brought in line instead.
///
/// # Errors
/// When the source names no platform, the platform has no webhook_secret, or it can't be reached or refuses.
pub async fn register_webhook(
    home: &Home,
    settings: &Settings,
    source: &Source,
    url: &str,
) -> Result<RegisteredWebhook, Error> {
    let (name, platform) = of_source(settings, source)?;
    let secret = Secrets::at(home.secrets_dir()).resolve(webhook_secret(name, platform)?).await.map_err(|error| {
        Error::new(ErrorKind::Failed, reason!("platforms.cannot_secret_webhooks", name = quoted(&name), error))
    })?;
    let address = sources::parse_url(&source.url)?;
    let (api, _) = api(home, name, platform).await?;
    api.register_webhook(&address, url, &secret).await.map_err(|error| error_of(&error))
}

/// Where the webhooks of a platform go: below the public address that config.toml has.
///
/// # Errors
/// When config.toml has none, or no webhooks of this platform are taken.
pub fn webhook_url(settings: &Settings, name: &str) -> Result<String, Error> {
    webhook_secret(name, named(settings, name)?)?;
    let url = settings.config.webhook.url.as_deref().map(|url| url.trim_end_matches('/'));
    match url {
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => Ok(format!("{url}/{name}")),
        Some(url) => {
            let text = reason!("platforms.webhook_url_config_toml", url = quoted(&url));
            Err(Error::new(ErrorKind::Usage, text))
        }
        None => {
            let text = "the platforms are not told where slipway listens: set webhook.url in config.toml to the address under \
                        which they reach it, such as \"https://build.example.com\"";
            Err(Error::new(ErrorKind::Usage, text))
        }
    }
}

/// Begins a login: asks a platform for a code that a person enters.
///
/// # Errors
/// When there is no such platform, it has no device flow or no OAuth application, or it can't be reached.
pub async fn invite(settings: &Settings, name: &str) -> Result<(DeviceFlow, Invitation), Error> {
    let platform = named(settings, name)?;
    let flow = Connector::new(platform).and_then(|connector| DeviceFlow::new(&connector, platform));
    let flow = flow.map_err(|error| error_of(&error))?;
    let invitation = flow.begin().await.map_err(|error| error_of(&error))?;
    Ok((flow, invitation))
}

/// Waits until the person has entered the code.
///
/// # Errors
/// When the person says no or nothing in time, or the platform breaks off.
pub async fn logged_in(flow: &DeviceFlow, invitation: &Invitation) -> Result<Tokens, Error> {
    flow.wait(invitation, tokio::time::sleep).await.map_err(|error| error_of(&error))
}

fn webhook_secret<'a>(name: &str, platform: &'a SourcePlatform) -> Result<&'a SecretRef, Error> {
    platform.webhook_secret.as_ref().ok_or_else(|| {
        let text = reason!("platforms.platform_secret_webhooks_make", name = quoted(&name), name_2 = name);
        Error::new(ErrorKind::Usage, text)
    })
}

/// The platform of that name.
fn named<'a>(settings: &'a Settings, name: &str) -> Result<&'a SourcePlatform, Error> {
    settings.platforms.get(name).ok_or_else(|| {
        let text = reason!("platforms.there_platform_shows_them", name = quoted(&name));
        Error::new(ErrorKind::NotFound, text)
    })
}

/// The platform that a source names.
fn of_source<'a>(settings: &'a Settings, source: &'a Source) -> Result<(&'a str, &'a SourcePlatform), Error> {
    let platform = sources::platform(settings, source)?;
    match (&source.platform, platform) {
        (Some(name), Some(platform)) => Ok((name, platform)),
        _ => {
            let text = reason!("platforms.source_names_platform_give", url = source.url);
            Err(Error::new(ErrorKind::Usage, text))
        }
    }
}

/// A platform's API, and whether it has a token.
async fn api(home: &Home, name: &str, platform: &SourcePlatform) -> Result<(Api, bool), Error> {
    let token = tokens::of(home, name, platform).await?;
    let has_token = token.is_some();
    let api = Connector::new(platform).and_then(|connector| Api::new(&connector, platform, token));
    Ok((api.map_err(|error| error_of(&error))?, has_token))
}

/// As the pool and the command line tell it.
pub(crate) fn error_of(error: &ApiError) -> Error {
    let kind = match &error.reason {
        reason if reason.is_transient() => ErrorKind::Unreachable,
        ApiProblem::NotFound { .. } => ErrorKind::NotFound,
        ApiProblem::NoApi { .. } | ApiProblem::Unsupported { .. } | ApiProblem::PlainHttp => ErrorKind::Refused,
        ApiProblem::Setting(_) | ApiProblem::NoRepository { .. } => ErrorKind::Usage,
        _ => ErrorKind::Failed,
    };
    let retry_at = match error.reason {
        ApiProblem::Limited { until } => until,
        _ => None,
    };
    Error { retry_at, ..Error::new(kind, error.to_string()) }
}
