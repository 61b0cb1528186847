//! Where a repository's images go, with the credentials to get in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::domain::config::RegistrySettings;
use crate::domain::name::RepositoryPath;
use crate::registry::client::Settings as ClientSettings;
use crate::registry::credentials::{self, Credential, Password};
use crate::registry::{Client, ImageName, Layout, Registry, Target};
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
    if image.host().is_none() {
        let layout = Layout::new(home.image_layout(&path.namespace, &path.repository)).named(path.to_string());
        return Ok(layout.into());
    }
    Ok(client(home, settings, &image).await?.into())
}

/// The digest that a tag of any image names now, asked of the mirrors of its registry first, as a build does; none where there is no
/// such tag.
///
/// # Errors
/// When no host can be asked.
pub async fn digest(
    home: &Home,
    settings: &Settings,
    image: &str,
    tag: &str,
) -> Result<Option<String>, RegistriesError> {
    let image = ImageName::remote(image)?;
    let host = image.host().unwrap_or_default();
    let of_host = settings.registry(host).mirrors;
    let of_all = settings.config.buildkit.mirrors.get(host).cloned().unwrap_or_default();
    for mirror in of_host.into_iter().chain(of_all) {
        // A mirror that fails, or lacks it, is passed over.
        if let Ok(client) = client(home, settings, &image.on(&mirror)).await
            && let Ok(Some(digest)) = client.head(tag).await
        {
            return Ok(Some(digest));
        }
    }
    Ok(client(home, settings, &image).await?.head(tag).await?)
}

async fn client(home: &Home, settings: &Settings, image: &ImageName) -> Result<Client, RegistriesError> {
    let host = image.host().unwrap_or_default();
    let of_host = settings.registry(host);
    let credential = match explicit(home, host, &of_host).await? {
        Some(credential) => Some(credential),
        None => match credentials::docker_config_file() {
            // It may run a credential helper.
            Some(file) => tokio::task::block_in_place(|| credentials::from_docker(host, &file))?,
            None => None,
        },
    };
    let settings = ClientSettings { plain_http: of_host.plain_http, ca_file: of_host.ca.map(PathBuf::from) };
    Ok(Client::new(image, &settings, credential)?)
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
