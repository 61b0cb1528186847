//! The platforms' APIs, by the settings of a home and with the tokens that it keeps.

use crate::domain::commit_status::CommitStatus;
use crate::domain::platform_account::{Identity, RegisteredWebhook, RepositoryPage};
use crate::domain::push::CommitId;
use crate::domain::reason::{quoted, reason};
use crate::domain::repository::Source;
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::SourcePlatform;
use crate::source::platform::device::{DeviceFlow, Invitation, Tokens};
use crate::source::platform::{Api, Connector};
use crate::store::Home;
use crate::store::secrets::Secrets;
use crate::store::settings::Settings;

use super::{ServiceError, sources, tokens};

/// Who the token of a platform is, what it may do, what it lacks, and when it ends.
///
/// # Errors
/// When there is no such platform, it has no API or no token, or it can't be reached or does not know the token.
pub async fn check(home: &Home, settings: &Settings, name: &str) -> Result<Identity, ServiceError> {
    let platform = named(settings, name)?;
    let (api, has_token) = api(home, name, platform).await?;
    if !has_token {
        return Err(ServiceError::unusable(reason!("platforms.no_token", quoted = quoted(&name), name)));
    }
    Ok(api.identity().await?)
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
) -> Result<RepositoryPage, ServiceError> {
    let (api, _) = api(home, name, named(settings, name)?).await?;
    Ok(api.repositories(filter, page).await?)
}

/// Sets a status of a commit on the platform of a source.
///
/// # Errors
/// When the source names no platform, the platform has no statuses, or it can't be reached or refuses. The kind is
/// [`super::ServiceErrorKind::Unreachable`] where the same may work later.
pub async fn set_status(
    home: &Home,
    settings: &Settings,
    source: &Source,
    commit: &CommitId,
    status: &CommitStatus,
) -> Result<(), ServiceError> {
    let (name, platform) = of_source(settings, source)?;
    let url = sources::parse_url(&source.url)?;
    let (api, _) = api(home, name, platform).await?;
    Ok(api.set_status(&url, commit, status).await?)
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
) -> Result<RegisteredWebhook, ServiceError> {
    let (name, platform) = of_source(settings, source)?;
    let secret = Secrets::at(home.secrets_dir()).resolve(webhook_secret(name, platform)?).await.map_err(|error| {
        ServiceError::host(reason!("platforms.webhook_secret_unavailable", name = quoted(&name), error), error)
    })?;
    let address = sources::parse_url(&source.url)?;
    let (api, _) = api(home, name, platform).await?;
    Ok(api.register_webhook(&address, url, &secret).await?)
}

/// Where the webhooks of a platform go: below the public address that config.toml has.
///
/// # Errors
/// When config.toml has none, or no webhooks of this platform are taken.
pub fn webhook_url(settings: &Settings, name: &str) -> Result<String, ServiceError> {
    webhook_secret(name, named(settings, name)?)?;
    let url = settings.config.webhook.url.as_deref().map(|url| url.trim_end_matches('/'));
    match url {
        Some(url) if url.starts_with("https://") || url.starts_with("http://") => Ok(format!("{url}/{name}")),
        Some(url) => Err(ServiceError::unusable(reason!("platforms.webhook_url_invalid", url = quoted(&url)))),
        None => Err(ServiceError::unusable(reason!("platforms.no_webhook_url"))),
    }
}

/// Begins a login: asks a platform for a code that a person enters.
///
/// # Errors
/// When there is no such platform, it has no device flow or no OAuth application, or it can't be reached.
pub async fn invite(settings: &Settings, name: &str) -> Result<(DeviceFlow, Invitation), ServiceError> {
    let platform = named(settings, name)?;
    let flow = Connector::new(platform).and_then(|connector| DeviceFlow::new(&connector, platform));
    let flow = flow?;
    let invitation = flow.begin().await?;
    Ok((flow, invitation))
}

/// Waits until the person has entered the code.
///
/// # Errors
/// When the person says no or nothing in time, or the platform breaks off.
pub async fn logged_in(flow: &DeviceFlow, invitation: &Invitation) -> Result<Tokens, ServiceError> {
    Ok(flow.wait(invitation, tokio::time::sleep).await?)
}

fn webhook_secret<'a>(name: &str, platform: &'a SourcePlatform) -> Result<&'a SecretRef, ServiceError> {
    platform
        .webhook_secret
        .as_ref()
        .ok_or_else(|| ServiceError::unusable(reason!("platforms.no_webhook_secret", quoted = quoted(&name), name)))
}

/// The platform of that name.
fn named<'a>(settings: &'a Settings, name: &str) -> Result<&'a SourcePlatform, ServiceError> {
    settings
        .platforms
        .get(name)
        .ok_or_else(|| ServiceError::missing(reason!("platforms.unknown", name = quoted(&name))))
}

/// The platform that a source names.
fn of_source<'a>(settings: &'a Settings, source: &'a Source) -> Result<(&'a str, &'a SourcePlatform), ServiceError> {
    let platform = sources::platform(settings, source)?;
    match (&source.platform, platform) {
        (Some(name), Some(platform)) => Ok((name, platform)),
        _ => Err(ServiceError::unusable(reason!("platforms.source_without_platform", url = source.url))),
    }
}

/// A platform's API, and whether it has a token.
async fn api(home: &Home, name: &str, platform: &SourcePlatform) -> Result<(Api, bool), ServiceError> {
    let token = tokens::of(home, name, platform).await?;
    let has_token = token.is_some();
    let api = Connector::new(platform).and_then(|connector| Api::new(&connector, platform, token));
    Ok((api?, has_token))
}
