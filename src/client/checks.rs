//! Checks of what a person types, made before anything is sent: the pool makes them again.

use crate::domain::reason::Phrase;
use crate::domain::settings::Settings;
use crate::protocol::{Error, ErrorKind};
use crate::services::{platforms, sources};
use crate::sys::secret::{self, Secret};

/// Checks a source's URL.
///
/// # Errors
/// When it is none that git and BuildKit both know.
pub fn source_url(url: &str) -> Result<(), Error> {
    sources::parse_url(url)?;
    Ok(())
}

/// Checks the name of a registry's host.
///
/// # Errors
/// When it is no host, or has no valid port.
pub fn registry_host(host: &str) -> Result<(), Error> {
    crate::registry::check_host_name(host).map_err(|error| Error::new(ErrorKind::Usage, error))
}

/// Where the webhooks of a platform go.
///
/// # Errors
/// When config.toml has no public address, or no webhooks of this platform are taken.
pub fn webhook_url(settings: &Settings, platform: &str) -> Result<String, Error> {
    Ok(platforms::webhook_url(settings, platform)?)
}

/// The longest secret in bytes.
pub const LONGEST_SECRET: u64 = secret::LONGEST;

/// A secret from bytes that came from `from`, without the newline at their end.
///
/// # Errors
/// When they are no text, are empty or too long, or hold a NUL character.
pub fn secret(bytes: &[u8], from: Phrase) -> Result<Secret, Error> {
    crate::store::secrets::secret(bytes, || from.into()).map_err(|error| Error::new(ErrorKind::Usage, error))
}
