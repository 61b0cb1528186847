//! Platforms: whose a token is, what it sees, webhooks.

use super::RequestContext;
use crate::domain::name::RepositoryPath;
use crate::domain::platform_account::{Identity, RepositoryPage};
use crate::domain::reason::reason;
use crate::protocol::{Error, ErrorKind, Reply};
use crate::services::platforms;

/// Who the token of a platform is.
pub(super) async fn check(context: &RequestContext, name: &str) -> Result<Identity, Error> {
    Ok(platforms::check(&context.home, &context.settings, name).await?)
}

/// Some of the repositories that the token of a platform sees.
pub(super) async fn repositories(
    context: &RequestContext,
    name: &str,
    filter: &str,
    page: Option<&str>,
) -> Result<RepositoryPage, Error> {
    Ok(platforms::repositories(&context.home, &context.settings, name, filter, page).await?)
}

/// Makes the webhook of a repository's source on its platform.
pub(super) async fn register_webhook(context: &RequestContext, path: &RepositoryPath) -> Result<Reply, Error> {
    let repository = super::settings::repository(&context.settings, path)?;
    let missing = || Error::new(ErrorKind::Usage, reason!("webhooks.no_source", path));
    let source = repository.source.as_ref().ok_or_else(missing)?;
    let url = platforms::webhook_url(&context.settings, source.platform.as_deref().ok_or_else(missing)?)?;
    let outcome = platforms::register_webhook(&context.home, &context.settings, source, &url).await?;
    Ok(Reply::WebhookRegistered { outcome, url })
}
