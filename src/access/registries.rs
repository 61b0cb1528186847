//! Where a repository's images go, with the credentials to get in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::domain::config::RegistrySettings;
use crate::domain::name::RepositoryPath;
use crate::registry::credentials::{self, Credential, Password};
use crate::registry::{Client, Layout, Registry, Target, client};
use crate::store::Home;
use crate::store::secrets::Secrets;
use crate::store::settings::Settings;

/// Why a registry can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// Its name is none.
    #[error(transparent)]
    Reference(#[from] crate::registry::ReferenceError),
    /// No client can be made for it.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// Docker's configuration can't be used.
    #[error(transparent)]
    Credentials(#[from] credentials::CredentialsError),
    /// The password that its settings name.
    #[error("cannot have the password of registry {host}: {why}")]
    Password {
        /// The registry.
        host: String,
        /// Why.
        why: String,
    },
}

/// Where the images of a repository are: a directory of this home, or a repository of a registry.
///
/// # Errors
/// When the registry's name is none, or its credentials can't be had.
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
    let of_host = settings.registry(host);
    let credential = match explicit(home, host, &of_host).await? {
        Some(credential) => Some(credential),
        None => match credentials::docker_config_file() {
            // It may run a credential helper.
            Some(file) => tokio::task::block_in_place(|| credentials::from_docker(host, &file))?,
            None => None,
        },
    };
    let settings = client::Settings { plain_http: of_host.plain_http, ca_file: of_host.ca.map(PathBuf::from) };
    Ok(Client::new(&image, &settings, credential)?.into())
}

/// The credential that `registries/<host>.toml` names.
async fn explicit(home: &Home, host: &str, settings: &RegistrySettings) -> Result<Option<Credential>, RegistriesError> {
    let (Some(user), Some(reference)) = (&settings.username, &settings.password) else {
        return Ok(None);
    };
    let password = Secrets::at(home.secrets_dir())
        .resolve(reference)
        .await
        .map_err(|error| RegistriesError::Password { host: host.into(), why: error.to_string() })?;
    Ok(Some(Credential::Basic { user: user.clone(), password: Password::new(password.expose()) }))
}

/// Writes the private `DOCKER_CONFIG` of a build: docker's own configuration with slipway's registries over it.
///
/// # Errors
/// When a password can't be had, or the file can't be written.
pub async fn write_docker_config(home: &Home, settings: &Settings, directory: &Path) -> Result<(), RegistriesError> {
    let mut hosts = BTreeMap::new();
    for (host, of_host) in &settings.registries {
        if let Some(credential) = explicit(home, host, of_host).await? {
            hosts.insert(host.clone(), credential);
        }
    }
    let theirs = credentials::docker_config_file();
    credentials::write_docker_config(directory, theirs.as_deref(), &hosts)?;
    Ok(())
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
