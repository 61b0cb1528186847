//! Requests to one repository of a registry: each with the proof that the registry asks for, and again where that may
//! help.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::Retryable as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::OnceCell;

use super::error::Kind;
use super::http::{self, Answer, Http, too_slow};
use super::retry::{Failed, Pauses};
use super::token::{self, Challenge};
use crate::domain::reason::{output, quoted, reason};
use crate::registry::credentials::Credential;

/// Bytes read of the answer to a request that only asks for the challenge.
const PROBE: usize = 64 * 1024;

/// The rights that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    /// To nothing but the front door.
    SignIn,
    Pull,
    Push,
    /// Some registries want the rights to pull and push as well.
    Delete,
}

impl Right {
    /// The scopes of a token for it; `from` is the repository that blobs may be taken from.
    fn scopes(self, path: &str, from: Option<&str>) -> Vec<String> {
        let actions = match self {
            Right::SignIn => return Vec::new(),
            Right::Pull => "pull",
            Right::Push => "pull,push",
            Right::Delete => "pull,push,delete",
        };
        let mut scopes = vec![format!("repository:{path}:{actions}")];
        if self == Right::Push {
            scopes.extend(from.map(|from| format!("repository:{from}:pull")));
        }
        scopes
    }
}

/// A request to the repository; it may be repeated.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub method: Method,
    pub url: Url,
    pub right: Right,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Bytes of a success's body at most.
    pub limit: usize,
}

/// One repository of a registry, as one user.
pub(super) struct Session {
    pub(super) http: Http,
    /// The repository within the registry.
    path: String,
    /// The address of the registry's `/v2/`.
    base: Url,
    credential: Option<Credential>,
    /// The proof that the registry asks for at its front door.
    challenge: OnceCell<Option<Challenge>>,
    /// Values of the header `Authorization` that were had for each right.
    proofs: Mutex<BTreeMap<Right, HeaderValue>>,
    pub(super) pauses: Pauses,
    /// A repository of the registry that blobs may be taken from.
    pub(super) mounts_from: Option<String>,
}

impl Session {
    pub(super) fn new(http: Http, base: Url, path: String, credential: Option<Credential>) -> Session {
        Session {
            http,
            path,
            base,
            credential,
            challenge: OnceCell::new(),
            proofs: Mutex::default(),
            pauses: Pauses::default(),
            mounts_from: None,
        }
    }

    /// The repository within the registry.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.credential.as_ref().map(Credential::user)
    }

    /// The address of a part of the repository: `manifests/v1`. The parts are checked names, tags and digests.
    pub(super) fn address(&self, rest: &str) -> Result<Url, Kind> {
        let text = format!("{}/{rest}", self.path);
        self.base
            .join(&text)
            .map_err(|error| Kind::Unusable(reason!("registry.address", name = quoted(&text), error = output(error))))
    }

    /// The address at which the registry says whether it knows us.
    pub(super) fn front_door(&self) -> Url {
        self.base.clone()
    }

    /// Whether an address is the registry's own.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// A success's answer to a call, which is repeated while the reason of its failure may pass.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Kind> {
        let (slow, pauses) = (too_slow(self.http.patience), self.pauses.clone());
        let answer = (|| self.attempt(call))
            .retry(Pauses::usual())
            .when(|failed| failed.kind.is_transient() && failed.kind != slow)
            .adjust(|failed, usual| self.pauses.before_next(failed, usual))
            .sleep(move |pause| pauses.wait(pause))
            .await;
        answer.map_err(Failed::into_kind)
    }

    async fn attempt(&self, call: &Call) -> Result<Answer, Failed> {
        let proof = self.proof(call.right).await?;
        let mut answer = self.exchange(call, proof.as_ref()).await?;
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some(challenge) = token::challenge(&answer.headers)
            && let Some(fresh) = self.prove(Some(&challenge), call.right).await?
            && Some(&fresh) != proof.as_ref()
        {
            // A token that has ended, or a repository that asks for another proof than the front door.
            answer = self.exchange(call, Some(&fresh)).await?;
        }
        if answer.status.is_success() {
            return Ok(answer);
        }
        self.proofs().remove(&call.right);
        Err(Failed::of(&answer, self.user()))
    }

    async fn exchange(&self, call: &Call, proof: Option<&HeaderValue>) -> Result<Answer, Kind> {
        self.http.exchange(self.request(call, proof), call.limit).await
    }

    fn request(&self, call: &Call, proof: Option<&HeaderValue>) -> RequestBuilder {
        let mut request = self.http.request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        if let Some(proof) = proof {
            request = request.header(AUTHORIZATION, proof);
        }
        if !call.body.is_empty() || matches!(call.method, Method::PUT | Method::POST) {
            request = request.body(call.body.clone());
        }
        request
    }

    /// A success's answer, whose body is still to be read.
    pub(super) async fn open(&self, call: &Call) -> Result<Response, Kind> {
        let proof = self.proof(call.right).await.map_err(Failed::into_kind)?;
        let (mut response, mut url) = self.http.open(self.request(call, proof.as_ref())).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(challenge) = token::challenge(response.headers())
            && let Some(fresh) = self.prove(Some(&challenge), call.right).await.map_err(Failed::into_kind)?
            && Some(&fresh) != proof.as_ref()
        {
            (response, url) = self.http.open(self.request(call, Some(&fresh))).await?;
        }
        if response.status().is_success() {
            return Ok(response);
        }
        self.proofs().remove(&call.right);
        let answer = http::read(response, url, call.limit).await?;
        Err(Failed::of(&answer, self.user()).into_kind())
    }

    /// Sends a body that comes piece by piece, and can be sent but once.
    pub(super) async fn stream(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Body,
        limit: Duration,
    ) -> Result<(), Kind> {
        let proof = self.proof(Right::Push).await.map_err(Failed::into_kind)?;
        let mut request = self.http.request(method, url).headers(headers).body(body);
        if let Some(proof) = &proof {
            request = request.header(AUTHORIZATION, proof);
        }
        let answer = self.http.send(request, limit).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        self.proofs().remove(&Right::Push);
        Err(Failed::of(&answer, self.user()).into_kind())
    }

    /// The proof that was had before, else the one that the front door asks for.
    async fn proof(&self, right: Right) -> Result<Option<HeaderValue>, Failed> {
        if let Some(proof) = self.proofs().get(&right) {
            return Ok(Some(proof.clone()));
        }
        let ask = async || {
            let answer = self.http.exchange(self.http.request(Method::GET, self.base.clone()), PROBE).await?;
            Ok::<_, Kind>(token::challenge(&answer.headers))
        };
        let challenge = self.challenge.get_or_try_init(ask).await?;
        self.prove(challenge.as_ref(), right).await
    }

    /// The proof that a challenge asks for; none where nothing is known that would be one.
    async fn prove(&self, challenge: Option<&Challenge>, right: Right) -> Result<Option<HeaderValue>, Failed> {
        let proof = match (challenge, &self.credential) {
            (Some(Challenge::Bearer { realm, service }), credential) => {
                let scopes = right.scopes(&self.path, self.mounts_from.as_deref());
                let plain_http = self.base.scheme() == "http";
                let (service, credential) = (service.as_deref(), credential.as_ref());
                token::fetch(&self.http, realm, service, &scopes, credential, plain_http).await?
            }
            (_, Some(Credential::Basic { user, password })) => basic(user, password.reveal()),
            (_, Some(Credential::IdentityToken(token))) => token::bearer(token.reveal())?,
            (_, None) => return Ok(None),
        };
        self.proofs().insert(right, proof.clone());
        Ok(Some(proof))
    }

    fn proofs(&self) -> std::sync::MutexGuard<'_, BTreeMap<Right, HeaderValue>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let mut value = HeaderValue::from_str(&text).expect("base64 is fit for a header");
    value.set_sensitive(true);
    value
}
