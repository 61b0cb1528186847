//! A remote registry, for one repository: read what tags name, move tags, list and delete them.
//!
//! It speaks through oci-client, and says in [`RegistryError`] what a person has to do. Layers never pass through here:
//! BuildKit pushes them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client as Oci, Reference};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use super::credentials::Credential;
use super::error::{Kind, RegistryError, chain};
use super::image::{self, Descriptor, Document, ImageConfig, ImageInfo};
use super::reference::{self, ImageName};
use super::token;
use crate::tls;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long one request may take in all.
const REQUEST: Duration = Duration::from_secs(60);
/// The pauses before a request is sent again that failed for a reason that passes.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];
/// Tags asked for at a time; registries may give fewer.
const PAGE: usize = 1000;
/// No configuration is larger (the limit that registries have for documents); what claims to be is not read.
const LARGEST_CONFIG: u64 = 4 * 1024 * 1024;
/// The documents that a tag may name.
const ACCEPTED: [&str; 4] = [
    image::INDEX,
    image::MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// How a registry is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Without TLS.
    pub plain_http: bool,
    /// A file with the certificates of further CAs to trust, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// A document of a registry as it is stored there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The bytes that the digest is of.
    pub content: Vec<u8>,
    /// An index's or a manifest's media type.
    pub media_type: String,
    /// `sha256:…` of the content.
    pub digest: String,
}

impl Raw {
    /// The document, parsed; the error says what is wrong with it.
    pub fn document(&self) -> Result<Document, serde_json::Error> {
        Document::parse(&self.content)
    }
}

/// One repository of a registry. Make one for each piece of work: it keeps the access tokens that it got, and those end.
///
/// Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY`, …).
pub struct Client {
    host: String,
    path: String,
    credential: Option<Credential>,
    pub(super) plain_http: bool,
    oci: Oci,
    pub(super) http: reqwest::Client,
    // oci-client knows users and access tokens; an identity token is first changed into an access token, once.
    auth: OnceCell<RegistryAuth>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("image", &self.image()).field("credential", &self.credential).finish()
    }
}

impl Client {
    /// A client for the repository `name`, which must be in a remote registry. Nothing is sent yet.
    ///
    /// # Errors
    /// When the CA file cannot be read or holds no certificate, or `name` is in the registry "local".
    pub fn new(name: &ImageName, settings: &Settings, credential: Option<Credential>) -> Result<Client, RegistryError> {
        let unusable = |why: String| RegistryError {
            attempted: "speak to the registry of".to_owned(),
            image: name.to_string(),
            kind: Kind::Unusable(why),
        };
        let host = name.host().ok_or_else(|| unusable("the registry \"local\" is a directory".to_owned()))?;
        let certificates = match &settings.ca_file {
            Some(file) => tls::certificates(file)
                .map_err(|error| unusable(format!("{error}; fix `ca` in the registry's settings")))?,
            None => Vec::new(),
        };
        let http = tls::http_client(&certificates).connect_timeout(CONNECT).timeout(REQUEST);
        let der = |certificate: tls::Certificate| Certificate {
            encoding: CertificateEncoding::Der,
            data: certificate.to_vec(),
        };
        let oci = Oci::try_from(ClientConfig {
            protocol: if settings.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: certificates.into_iter().map(der).collect(),
            connect_timeout: Some(CONNECT),
            read_timeout: Some(REQUEST),
            user_agent: concat!("slipway/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        Ok(Client {
            host: host.to_owned(),
            path: name.path().to_owned(),
            credential,
            plain_http: settings.plain_http,
            oci: oci.map_err(|error| unusable(chain(&error)))?,
            http: http.build().map_err(|error| unusable(chain(&error)))?,
            auth: OnceCell::new(),
        })
    }

    /// The image's full name, without a tag.
    pub fn image(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The digest that `tag` names, or nothing when there is no such tag or repository.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn head(&self, tag: &str) -> Result<Option<String>, RegistryError> {
        let what = format!("look up tag {tag} of");
        let reference = self.reference(tag, &what)?;
        let asked = self.ask(&what, async |auth| self.oci.fetch_manifest_digest(&reference, auth).await).await;
        found(asked)
    }

    /// The document that `reference` (a tag or a digest) names, or nothing when there is none.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn manifest(&self, reference: &str) -> Result<Option<Raw>, RegistryError> {
        let what = format!("read {reference} of");
        let at = self.reference(reference, &what)?;
        let asked = self.ask(&what, async |auth| self.oci.pull_manifest_raw(&at, auth, &ACCEPTED).await).await;
        let Some((content, digest)) = found(asked)? else { return Ok(None) };
        let document = Document::parse(&content).map_err(|error| {
            self.error(&what, Kind::Unusable(format!("the registry's answer is no manifest: {error}")))
        })?;
        Ok(Some(Raw { content: content.to_vec(), media_type: document.kind().to_owned(), digest }))
    }

    /// Lets `reference` (a tag, or the content's own digest) name the document `content`.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn put(&self, reference: &str, content: &[u8], media_type: &str) -> Result<(), RegistryError> {
        let what =
            if reference.contains(':') { "push an index to".to_owned() } else { format!("move tag {reference} of") };
        self.reference(reference, &what)?;
        // Even a digest goes in as the tag: it makes the same address, and oci-client's way around registries
        // that answer without a Location takes the address to end in the tag.
        let at = Reference::with_tag(self.host.clone(), self.path.clone(), reference.to_owned());
        let media_type: reqwest::header::HeaderValue = media_type
            .parse()
            .map_err(|_| self.error(&what, Kind::Unusable(format!("{media_type:?} is no media type"))))?;
        let put = async |auth: &RegistryAuth| {
            self.oci.store_auth_if_needed(at.resolve_registry(), auth).await;
            self.oci.push_manifest_raw(&at, content.to_vec(), media_type.clone()).await
        };
        self.ask(&what, put).await.map(|_address| ())
    }

    /// All tags, sorted; none when the repository does not exist.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let what = "list the tags of";
        let at = Reference::with_tag(self.host.clone(), self.path.clone(), "latest".to_owned());
        let mut all = BTreeSet::new();
        let mut last: Option<String> = None;
        loop {
            let page = async |auth: &RegistryAuth| self.oci.list_tags(&at, auth, Some(PAGE), last.as_deref()).await;
            let Some(page) = found(self.ask(what, page).await)? else { break };
            let before = all.len();
            last = page.tags.last().cloned();
            all.extend(page.tags);
            // Registries cap pages as they like, and some know no pages and give everything each time: only a page
            // that brings nothing new is the end.
            if all.len() == before {
                break;
            }
        }
        Ok(all.into_iter().collect())
    }

    /// What there is to say about the image that `reference` (a tag or a digest) names.
    ///
    /// # Errors
    /// See [`Kind`].
    pub async fn inspect(&self, reference: &str) -> Result<ImageInfo, RegistryError> {
        let what = format!("read {reference} of");
        let (digest, root) = self.need(reference, &what).await?;
        let mut manifests = Vec::new();
        match &root.manifests {
            Some(children) => {
                for child in children {
                    manifests.push(self.need(&child.digest, &what).await?.1);
                }
            }
            None => manifests.push(root.clone()),
        }
        let config = match manifests.iter().find_map(|manifest| manifest.config.as_ref()) {
            Some(config) if config.size <= LARGEST_CONFIG => Some(self.config(config, &what).await?),
            _ => None,
        };
        // A configuration that does not parse is that of an artifact and not of an image: there is nothing to tell.
        let config = config.and_then(|raw| serde_json::from_slice::<ImageConfig>(&raw).ok());
        Ok(image::describe(&digest, &root, &manifests, config.as_ref()))
    }

    async fn need(&self, reference: &str, what: &str) -> Result<(String, Document), RegistryError> {
        let raw = self.manifest(reference).await?.ok_or_else(|| self.error(what, Kind::NotFound))?;
        let document = raw.document().map_err(|error| self.error(what, Kind::Unusable(error.to_string())))?;
        Ok((raw.digest, document))
    }

    async fn config(&self, config: &Descriptor, what: &str) -> Result<Vec<u8>, RegistryError> {
        let at = self.reference(&config.digest, what)?;
        let get = async |auth: &RegistryAuth| {
            self.oci.store_auth_if_needed(at.resolve_registry(), auth).await;
            let mut content = Vec::new();
            self.oci.pull_blob(&at, config.digest.as_str(), &mut content).await.map(|()| content)
        };
        self.ask(what, get).await
    }

    /// Asks, again where that may help, and says what went wrong.
    async fn ask<T>(
        &self,
        what: &str,
        request: impl AsyncFn(&RegistryAuth) -> Result<T, OciDistributionError>,
    ) -> Result<T, RegistryError> {
        let auth = self.auth(what).await?;
        self.retrying(what, async || match timeout(REQUEST, request(auth)).await {
            Ok(answer) => answer.map_err(|error| Kind::of(error, self.user())),
            Err(_) => Err(too_slow()),
        })
        .await
    }

    /// Tries up to three times, pausing in between, while the reason may pass. Only for requests that may be repeated.
    pub(super) async fn retrying<T>(
        &self,
        what: &str,
        attempt: impl AsyncFn() -> Result<T, Kind>,
    ) -> Result<T, RegistryError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            match (attempt().await, pauses.next()) {
                (Ok(answer), _) => return Ok(answer),
                // Who has waited out a time-out has waited enough.
                (Err(kind), Some(pause)) if kind.is_transient() && kind != too_slow() => sleep(pause).await,
                (Err(kind), _) => return Err(self.error(what, kind)),
            }
        }
    }

    async fn auth(&self, what: &str) -> Result<&RegistryAuth, RegistryError> {
        let make = async || match &self.credential {
            None => Ok(RegistryAuth::Anonymous),
            Some(Credential::Basic { user, password }) => {
                Ok(RegistryAuth::Basic(user.clone(), password.reveal().to_owned()))
            }
            Some(Credential::IdentityToken(_)) => {
                let exchange = async || token::access(self, &["pull", "push"]).await;
                let access = self.retrying(what, exchange).await?;
                Ok(RegistryAuth::Bearer(access.reveal().to_owned()))
            }
        };
        self.auth.get_or_try_init(make).await
    }

    fn reference(&self, reference: &str, what: &str) -> Result<Reference, RegistryError> {
        let unusable = |error: reference::ReferenceError| self.error(what, Kind::Unusable(error.to_string()));
        let (host, path) = (self.host.clone(), self.path.clone());
        if reference.contains(':') {
            reference::check_digest(reference).map_err(unusable)?;
            return Ok(Reference::with_digest(host, path, reference.to_owned()));
        }
        reference::check_tag(reference).map_err(unusable)?;
        Ok(Reference::with_tag(host, path, reference.to_owned()))
    }

    pub(super) fn error(&self, what: &str, kind: Kind) -> RegistryError {
        RegistryError { attempted: what.to_owned(), image: self.image(), kind }
    }

    pub(super) fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.credential.as_ref().map(Credential::user)
    }

    /// The repository within the registry.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The address of `path` under the registry's `/v2/`.
    pub(super) fn address(&self, path: &str) -> String {
        let scheme = if self.plain_http { "http" } else { "https" };
        let host = if self.host == "docker.io" { "index.docker.io" } else { &self.host };
        format!("{scheme}://{host}/v2/{path}")
    }
}

fn too_slow() -> Kind {
    Kind::Network(format!("no answer within {} s", REQUEST.as_secs()))
}

/// An answer, or nothing where the registry has nothing of that name.
fn found<T>(asked: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(RegistryError { kind: Kind::NotFound, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
