//! A remote registry, for one repository: read what tags name, move tags, list and delete them.
//!
//! Every answer is bounded in bytes, items and time, and content is checked against its digest: the registry may be one
//! that only a Dockerfile names. [`RegistryError`] says what a person has to do. The layers of builds never pass through
//! here: BuildKit pushes them. Those of copies are streamed.
//!
//! | file | what it does |
//! | --- | --- |
//! | `http` | one request and its answer, with the limits and redirects |
//! | `token` | a proof of identity from a token service |
//! | `session` | requests with the proof that the registry asks for |
//! | `retry` | which requests are repeated, and after which pauses |
//! | `manifests`, `tags`, `referrers`, `blobs`, `delete` | the operations |
//! | `transfer` | blobs on their way to another registry |
//! | `rights` | what we may do, tried out without changing anything |

mod blobs;
mod delete;
pub mod error;
mod http;
mod manifests;
mod raw;
mod referrers;
mod retry;
mod rights;
mod session;
mod tags;
#[cfg(test)]
mod tests;
mod token;
mod transfer;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::watch;

use self::error::RegistryError;
use self::http::Http;
use self::retry::Pauses;
use self::session::Session;
use super::credentials::Credential;
use crate::domain::reason::{Reason, output, phrase, quoted, reason};
use crate::domain::reference::ImageName;

pub use self::error::Kind;
pub(super) use self::manifests::LARGEST_IMAGE;
pub use self::raw::Raw;
pub use self::transfer::Begun;

/// The longest time for one operation with all its requests, such as a list of many pages.
const OPERATION: Duration = Duration::from_secs(300);

/// How a registry is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Without TLS.
    pub plain_http: bool,
    /// A file with the certificates of further CAs to trust, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// One repository of a registry. Make one for each piece of work: it keeps the access tokens that it got, and those
/// end.
///
/// Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY`, …).
pub struct Client {
    host: String,
    session: Session,
    /// Why there is no credential, where that is no decision: a helper failed, say.
    no_credential: Option<Reason>,
    /// The longest time for one operation; [`OPERATION`] but in tests.
    patience: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let credential = self.session.credential();
        f.debug_struct("Client").field("image", &self.image()).field("credential", &credential).finish()
    }
}

impl Client {
    /// A client for the repository `name`, which must be in a remote registry. Nothing is sent yet.
    ///
    /// # Errors
    /// When the CA file cannot be read or holds no certificate, or `name` is in the registry "local".
    pub fn new(name: &ImageName, settings: &Settings, credential: Option<Credential>) -> Result<Client, RegistryError> {
        let unusable = |why: Reason| RegistryError {
            attempted: phrase!("verb.speak_to_the_registry_of").into(),
            image: name.to_string(),
            kind: Kind::Unusable(why),
        };
        let host = name.host().ok_or_else(|| unusable(reason!("registry.local")))?;
        let scheme = if settings.plain_http { "http" } else { "https" };
        let server = if host == "docker.io" { "index.docker.io" } else { host };
        let base = Url::parse(&format!("{scheme}://{server}/v2/"))
            .map_err(|error| unusable(reason!("registry.address", name = quoted(server), error = output(error))))?;
        let http = Http::new(settings.ca_file.as_deref()).map_err(unusable)?;
        let session = Session::new(http, base, name.path().to_owned(), credential);
        Ok(Client { host: host.to_owned(), session, no_credential: None, patience: OPERATION })
    }

    /// The same client, which says why it has no credential should the registry want one.
    #[must_use]
    pub fn without_credential(mut self, why: Reason) -> Client {
        self.no_credential = Some(why);
        self
    }

    /// The same client, which waits up to `longest` in all where the registry asks for pauses, until `given_up` becomes
    /// true; others wait a few seconds.
    #[must_use]
    pub fn waiting(mut self, longest: Duration, given_up: watch::Receiver<bool>) -> Client {
        self.session.pauses = Pauses::of(longest, given_up);
        self
    }

    /// The image's full name, without a tag.
    pub fn image(&self) -> String {
        format!("{}/{}", self.host, self.session.path())
    }

    /// Carries an operation out, within the time that one may take without the pauses that the registry asks for; `what`
    /// is what its errors say was attempted.
    async fn within<T>(
        &self,
        what: impl Into<Reason>,
        operation: impl AsyncFnOnce() -> Result<T, Kind>,
    ) -> Result<T, RegistryError> {
        let outcome = tokio::time::timeout(self.patience + self.session.pauses.longest(), operation()).await;
        outcome.unwrap_or_else(|_| Err(http::too_slow(self.patience))).map_err(|kind| self.error(what, kind))
    }

    /// What it means that there is no such tag or image.
    pub fn missing(&self, reference: &str) -> RegistryError {
        self.error(reason!("registry.read", reference), Kind::NotFound)
    }

    /// What it means that a document does not parse.
    pub(super) fn unreadable(&self, reference: &str, error: &serde_json::Error) -> RegistryError {
        let why = Reason::verbatim(error.to_string());
        self.error(reason!("registry.read", reference), Kind::Unusable(reason!("registry.no_manifest", why)))
    }

    pub(super) fn error(&self, what: impl Into<Reason>, kind: Kind) -> RegistryError {
        let kind = match (kind, &self.no_credential) {
            (Kind::Credentials { status, user: None, .. }, Some(why)) => {
                Kind::Credentials { status, user: None, message: why.clone() }
            }
            (kind, _) => kind,
        };
        RegistryError { attempted: what.into(), image: self.image(), kind }
    }
}

/// An answer, or nothing where the registry has nothing of that name.
fn found<T>(asked: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(RegistryError { kind: Kind::NotFound, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
