//! Where a repository's images go, with the credentials to get in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;

use super::credential_scope::{CredentialScope, Denial};
use crate::domain::name::RepositoryPath;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::domain::repository::Repository;
use crate::registry::client::Settings as ClientSettings;
use crate::registry::credential_source::CredentialSource;
use crate::registry::credentials::{self, Credential, CredentialsError, Password};
use crate::registry::docker_config::DockerConfig;
use crate::registry::docker_keys::canonical_host;
use crate::registry::{Client, ImageName, Layout, Registry, Target};
use crate::store::Home;
use crate::store::secrets::{SecretError, SecretRef, Secrets};
use crate::store::settings::Settings;

/// Why a registry can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// Its name is none.
    Reference(#[from] crate::registry::ReferenceError),
    /// No client can be made for it.
    Registry(#[from] crate::registry::RegistryError),
    /// A helper gives no credential, or the build's own configuration can't be written.
    Credentials(#[from] CredentialsError),
    /// Docker's configuration can't be read.
    Docker {
        /// The registry.
        host: String,
        /// Why.
        #[source]
        cause: Arc<CredentialsError>,
    },
    /// The credential is not for the namespace.
    Denied(#[from] Denial),
    /// The password that its settings name.
    Password {
        /// The registry.
        host: String,
        /// Why.
        #[source]
        cause: SecretError,
    },
}

display_as_reason!(RegistriesError);

impl AsReason for RegistriesError {
    fn reason(&self) -> Reason {
        match self {
            RegistriesError::Reference(error) => error.reason(),
            RegistriesError::Registry(error) => error.reason(),
            RegistriesError::Credentials(error) => error.reason(),
            RegistriesError::Docker { host, cause } => reason!("registries.docker", host, why = cause),
            RegistriesError::Denied(error) => error.reason(),
            RegistriesError::Password { host, cause } => reason!("registries.password", host, why = cause),
        }
    }
}

/// Where the images of a repository are: a directory of this home, or a repository of a registry.
///
/// # Errors
/// When the registry's name is none, its credential is unavailable, or is not for the namespace.
pub async fn open(
    home: &Home,
    settings: &Settings,
    registry: &str,
    path: &RepositoryPath,
) -> Result<Target, RegistriesError> {
    let image = registry.parse::<Registry>()?.image(&path.namespace, &path.repository)?;
    let Some(host) = image.host() else {
        let layout = Layout::new(home.image_layout(&path.namespace, &path.repository)).named(path.to_string());
        return Ok(layout.into());
    };
    if let Some(denial) = CredentialScope::new(settings, &path.namespace, registry).denial(host, None) {
        return Err(denial.into());
    }
    let credential = credential(home, settings, host, &DockerConfig::of_user().map_err(Arc::new)).await;
    Ok(client(settings, &image, credential)?.into())
}

/// The images that the repositories of this home publish, with these.
pub fn published(settings: &Settings) -> impl Iterator<Item = (ImageName, &RepositoryPath, &Repository)> {
    settings.repositories.iter().filter_map(|(path, repository)| {
        let registry = settings.namespaces.get(&path.namespace)?.registry.parse::<Registry>().ok()?;
        Some((registry.image(&path.namespace, &path.repository).ok()?, path, repository))
    })
}

/// Any image of a registry, as a namespace's own credentials reach it.
///
/// # Errors
/// When the credential is unavailable, or is not for the namespace.
pub async fn open_image(
    home: &Home,
    settings: &Settings,
    namespace: &str,
    image: &ImageName,
) -> Result<Target, RegistriesError> {
    let host = image.host().unwrap_or_default();
    if let Some(denial) = CredentialScope::new(settings, namespace, host).denial(host, None) {
        return Err(denial.into());
    }
    let credential = credential(home, settings, host, &DockerConfig::of_user().map_err(Arc::new)).await;
    Ok(client(settings, image, credential)?.into())
}

/// The digest that a tag of any image names now, asked of the mirrors of its registry first, as a build does; none
/// where there is no such tag. Credentials are used as far as the scope goes.
///
/// # Errors
/// When no host can be asked.
pub async fn digest(
    home: &Home,
    settings: &Settings,
    scope: &CredentialScope<'_>,
    image: &str,
    tag: &str,
) -> Result<Option<String>, RegistriesError> {
    let image = ImageName::remote(image)?;
    let host = image.host().unwrap_or_default();
    let docker = DockerConfig::of_user().map_err(Arc::new);
    let ask = async |image: &ImageName| {
        let host = image.host().unwrap_or_default();
        let credential = match scope.denial(host, Some(image.path())) {
            None => credential(home, settings, host, &docker).await,
            Some(_) => Ok(None),
        };
        Ok::<_, RegistriesError>(client(settings, image, credential)?.head(tag).await?)
    };
    let of_host = settings.registry(host).mirrors;
    let of_all = settings.config.buildkit.mirrors.get(host).cloned().unwrap_or_default();
    for mirror in of_host.into_iter().chain(of_all) {
        // A mirror that fails, or lacks it, is passed over.
        if let Ok(Some(digest)) = ask(&image.on(&mirror)).await {
            return Ok(Some(digest));
        }
    }
    ask(&image).await
}

/// A client; one without a credential where docker's configuration gives none, for the registry may want none.
fn client(
    settings: &Settings,
    image: &ImageName,
    credential: Result<Option<Credential>, RegistriesError>,
) -> Result<Client, RegistriesError> {
    let (credential, problem) = match credential {
        Ok(credential) => (credential, None),
        Err(error) if error.is_of_docker() => (None, Some(Reason::from(&error))),
        Err(error) => return Err(error),
    };
    let settings = client_settings(settings, image.host().unwrap_or_default());
    let client = Client::new(image, &settings, credential)?;
    Ok(match problem {
        Some(why) => client.without_credential(why),
        None => client,
    })
}

/// How a registry is spoken to.
pub(super) fn client_settings(settings: &Settings, host: &str) -> ClientSettings {
    let of_host = settings.registry(host);
    ClientSettings { plain_http: of_host.plain_http, ca_file: of_host.ca.map(PathBuf::from) }
}

impl RegistriesError {
    /// Whether docker's configuration or a helper of it is at fault: docker and buildctl go on without a credential
    /// then.
    pub(super) fn is_of_docker(&self) -> bool {
        match self {
            RegistriesError::Docker { .. } => true,
            RegistriesError::Credentials(error) => {
                matches!(error, CredentialsError::Docker { .. } | CredentialsError::Helper { .. })
            }
            _ => false,
        }
    }
}

/// The credential of a host: what `registries/<host>.toml` names, else what docker's configuration has.
pub(super) async fn credential(
    home: &Home,
    settings: &Settings,
    host: &str,
    docker: &Result<DockerConfig, Arc<CredentialsError>>,
) -> Result<Option<Credential>, RegistriesError> {
    let of_host = settings.registry(host);
    if let (Some(user), Some(reference)) = (&of_host.username, &of_host.password) {
        let password = Secrets::at(home.secrets_dir())
            .resolve(reference)
            .await
            .map_err(|cause| RegistriesError::Password { host: host.into(), cause })?;
        return Ok(Some(Credential::Basic { user: user.clone(), password: Password::new(password.expose()) }));
    }
    match docker {
        Ok(docker) => Ok(docker.credential(host).await?),
        Err(cause) => Err(RegistriesError::Docker { host: host.into(), cause: cause.clone() }),
    }
}

/// The credentials that a build has.
#[derive(Debug, Default)]
pub struct BuildCredentials {
    /// Why some are missing; the build may not need them.
    pub missing: Vec<RegistriesError>,
    /// By host: what gives those that are asked for again while the build runs.
    pub sources: BTreeMap<String, CredentialSource>,
}

/// Writes a private `DOCKER_CONFIG` for a `buildctl` that runs for a moment: the credentials that are in the scope, and no
/// others.
///
/// # Errors
/// When the password of the destination is unavailable or is not for the namespace, or the file can't be written.
pub async fn write_docker_config(
    home: &Home,
    settings: &Settings,
    scope: &CredentialScope<'_>,
    directory: &Path,
) -> Result<(), RegistriesError> {
    let (hosts, _) = find_all(home, settings, scope).await?;
    Ok(credentials::write_docker_config(directory, &hosts, [])?)
}

/// Writes the private `DOCKER_CONFIG` of a build, as [`write_docker_config`]; its runner asks the sources again while it
/// runs.
///
/// # Errors
/// As [`write_docker_config`].
pub async fn write_renewed_docker_config(
    home: &Home,
    settings: &Settings,
    scope: &CredentialScope<'_>,
    directory: &Path,
) -> Result<BuildCredentials, RegistriesError> {
    let (hosts, found) = find_all(home, settings, scope).await?;
    credentials::write_docker_config(directory, &hosts, found.sources.keys())?;
    Ok(found)
}

/// Asks for all credentials that are in a scope; by host.
async fn find_all(
    home: &Home,
    settings: &Settings,
    scope: &CredentialScope<'_>,
) -> Result<(BTreeMap<String, Credential>, BuildCredentials), RegistriesError> {
    let destination = scope.destination().map(canonical_host);
    if let Some(denial) = destination.and_then(|host| scope.denial(host, None)) {
        return Err(denial.into());
    }
    let docker = DockerConfig::of_user().map_err(Arc::new);
    let (mut hosts, mut found_all) = (BTreeMap::new(), BuildCredentials::default());
    // Helpers and commands may take their time: all are asked at once.
    let asked = scope.hosts().into_iter().map(async |host| {
        let found = credential(home, settings, &host, &docker).await;
        (host, found)
    });
    for (host, found) in join_all(asked).await {
        match found {
            Ok(None) => {}
            Ok(Some(credential)) => {
                let source = source(settings, &host, docker.as_ref().ok());
                found_all.sources.extend(source.map(|source| (host.clone(), source)));
                hosts.insert(host, credential);
            }
            Err(error) if destination == Some(host.as_str()) && !error.is_of_docker() => return Err(error),
            Err(error) => found_all.missing.push(error),
        }
    }
    Ok((hosts, found_all))
}

/// What gives the credential of a host each time that it is asked; none where it is stored.
fn source(settings: &Settings, host: &str, docker: Option<&DockerConfig>) -> Option<CredentialSource> {
    let of_host = settings.registry(host);
    match (of_host.username, of_host.password) {
        (Some(user), Some(SecretRef::Command(command))) => Some(CredentialSource::Command { user, command }),
        (Some(_), Some(SecretRef::File(_) | SecretRef::Env(_))) => None,
        _ => docker?.helper(host).map(|helper| CredentialSource::Helper { helper: helper.to_owned() }),
    }
}

/// Runs a conversation with a registry on a thread of its own: its futures can't change threads.
///
/// # Panics
/// When the conversation does.
pub async fn on_own_thread<T, F>(conversation: F) -> T
where
    T: Send + 'static,
    F: AsyncFnOnce() -> T + Send + 'static,
{
    let runtime = tokio::runtime::Handle::current();
    let work = move || runtime.block_on(conversation());
    tokio::task::spawn_blocking(work).await.expect("a conversation does not panic and is not aborted")
}
