//! What registries let slipway do, found out before any build needs it.

use std::sync::Arc;

use futures_util::future::join_all;

use super::registries::{self, RegistriesError};
use crate::domain::reason::AsReason as _;
use crate::domain::registry_access::{Access, RegistryAccess, RepositoryAccess};
use crate::domain::repository::Visibility;
use crate::domain::settings::Settings;
use crate::registry::docker_config::DockerConfig;
use crate::registry::{Client, ImageName, Kind, RegistryError};
use crate::store::Home;

/// Repositories that are asked for at a time.
const MOST: usize = 20;

/// Who we are at a registry and what we may do in `repository`, or in all repositories of this home that publish there.
///
/// # Errors
/// When it can't be reached, or a credential that its settings name is unavailable.
pub async fn check(
    home: &Home,
    settings: &Settings,
    host: &str,
    repository: Option<&str>,
) -> Result<RegistryAccess, RegistriesError> {
    let mut images = published_at(settings, host);
    if let Some(repository) = repository {
        let named = ImageName::remote(&format!("{host}/{repository}"))?;
        let visibility = images.iter().find(|(image, _)| *image == named).and_then(|(_, visibility)| *visibility);
        images = vec![(named, visibility)];
    }
    let more = images.len().saturating_sub(MOST);
    images.truncate(MOST);
    let docker = DockerConfig::of_user().map_err(Arc::new);
    let (credential, no_credential) = match registries::credential(home, settings, host, &docker).await {
        Ok(credential) => (credential, None),
        Err(error) if error.is_of_docker() => (None, Some(error.reason())),
        Err(error) => return Err(error),
    };
    let user = credential.as_ref().map(|credential| credential.user().to_owned());
    let client_settings = registries::client_settings(settings, host);
    let open = |image: &ImageName| Client::new(image, &client_settings, credential.clone());
    // The front door is the same for all repositories.
    let any = images
        .first()
        .map(|(image, _)| image.clone())
        .map_or_else(|| ImageName::remote(&format!("{host}/slipway")), Ok)?;
    let sign_in = match open(&any)?.sign_in().await {
        Err(error) if matches!(error.kind, Kind::Network(_)) => return Err(error.into()),
        outcome => access(outcome),
    };
    let ask = |(image, visibility): (ImageName, Option<Visibility>)| {
        let (client, anybody) = (open(&image), Client::new(&image, &client_settings, None));
        async move {
            let (client, anybody) = (client?, anybody?);
            Ok::<_, RegistryError>(RepositoryAccess {
                repository: image.path().to_owned(),
                pull: access(client.try_pull().await),
                push: access(client.try_push().await),
                delete: access(client.try_delete().await),
                anybody: readable_by_anybody(&client, &anybody).await,
                visibility,
            })
        }
    };
    // Whoever is not let in is refused everything else in the same words.
    let images = if sign_in.is_granted() { images } else { Vec::new() };
    let repositories = join_all(images.into_iter().map(ask)).await.into_iter().collect::<Result<_, _>>()?;
    Ok(RegistryAccess { host: host.to_owned(), user, no_credential, sign_in, repositories, more })
}

/// The images of all repositories that publish at a host, and what these say of their visibility.
fn published_at(settings: &Settings, host: &str) -> Vec<(ImageName, Option<Visibility>)> {
    let there = registries::published(settings).filter(|(image, ..)| image.host() == Some(host));
    there.map(|(image, _, repository)| (image, Some(repository.visibility))).collect()
}

/// Whether anybody may read a repository; none: it is not there yet, or the registry did not say. Some hide from nobodies
/// that there is one.
async fn readable_by_anybody(client: &Client, anybody: &Client) -> Option<bool> {
    match anybody.can_pull().await {
        None => (client.can_pull().await == Some(true)).then_some(false),
        told => told,
    }
}

fn access(outcome: Result<(), RegistryError>) -> Access {
    match outcome {
        Ok(()) => Access::Granted,
        Err(error) => Access::Refused(error.reason()),
    }
}
