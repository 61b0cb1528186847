//! Registries: who we are there, and what we may do.

use std::sync::Arc;

use super::RequestContext;
use crate::domain::reason::AsReason as _;
use crate::domain::registry_access::RegistryAccess;
use crate::protocol::{Error, ErrorKind};
use crate::registry::Kind;
use crate::services::registries::{self, RegistriesError};
use crate::services::registry_access;

/// Asks a registry what we may do in a repository, or in all that publish there.
pub(super) async fn check(
    context: Arc<RequestContext>,
    host: String,
    repository: Option<String>,
) -> Result<RegistryAccess, Error> {
    let work =
        async move || registry_access::check(&context.home, &context.settings, &host, repository.as_deref()).await;
    registries::on_own_thread(work).await.map_err(|error| Error::new(kind_of(&error), error.reason()))
}

fn kind_of(error: &RegistriesError) -> ErrorKind {
    match error {
        RegistriesError::Reference(_) => ErrorKind::Usage,
        RegistriesError::Registry(error) if matches!(error.kind, Kind::Network(_)) => ErrorKind::Unreachable,
        _ => ErrorKind::Failed,
    }
}
