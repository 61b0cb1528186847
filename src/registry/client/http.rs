//! One exchange with a registry or its token service: bounded in bytes and time, redirects checked.
//!
//! Redirects are followed here and not by reqwest, so that a proof of identity never goes to another server.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION};
use reqwest::{Method, Request, RequestBuilder, Response, StatusCode, Url, redirect};

use super::error::{Kind, NetworkError, NetworkFault, chain};
use crate::bounded::{self, BodyError};
use crate::domain::reason::{Reason, quoted, reason};
use crate::tls;

/// The longest time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest time for one request and its whole answer.
pub(super) const REQUEST: Duration = Duration::from_secs(60);
/// Bytes read of an answer that is an error: enough for the registry's words.
const ERROR_BYTES: usize = 64 * 1024;
/// Steps of one request; registries need one, to where the blobs are.
const REDIRECTS: usize = 5;

/// A server's answer, of any status.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The whole body of a success, the beginning of the body of anything else.
    pub body: Vec<u8>,
    /// The address that answered, after redirects.
    pub url: Url,
}

/// A client for one registry. Connections are kept while it lives.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    /// The longest time for one request; [`REQUEST`] but in tests.
    pub(super) patience: Duration,
}

impl Http {
    /// A client that trusts the system's store and the certificates in `ca_file`.
    ///
    /// # Errors
    /// When the file can't be used; the error says why.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Http, Reason> {
        let private = match ca_file {
            Some(file) => tls::certificates(file).map_err(|error| reason!("registry.ca", error))?,
            None => Vec::new(),
        };
        let client = tls::http_client(&private).connect_timeout(CONNECT).redirect(redirect::Policy::none());
        let client = client.build().map_err(|error| Reason::verbatim(chain(&error)))?;
        Ok(Http { client, patience: REQUEST })
    }

    /// A request that [`Http::exchange`] sends.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request and reads the answer: at most `limit` bytes of a success.
    ///
    /// # Errors
    /// [`Kind::Network`] where no answer came in time; [`Kind::Unusable`] for one that is too large, or a redirect to
    /// where a request must not go.
    pub(super) async fn exchange(&self, request: RequestBuilder, limit: usize) -> Result<Answer, Kind> {
        let request = request.build().map_err(|error| Kind::Unusable(Reason::verbatim(chain(&error))))?;
        match tokio::time::timeout(self.patience, self.follow(request, limit)).await {
            Ok(answer) => answer,
            Err(_) => Err(too_slow(self.patience)),
        }
    }

    /// Sends a request; the answer's body is still to be read, by [`read`] or piece by piece.
    ///
    /// # Errors
    /// As those of [`Http::exchange`].
    pub(super) async fn open(&self, request: RequestBuilder) -> Result<(Response, Url), Kind> {
        let request = request.build().map_err(|error| Kind::Unusable(Reason::verbatim(chain(&error))))?;
        match tokio::time::timeout(self.patience, self.respond(request)).await {
            Ok(response) => response,
            Err(_) => Err(too_slow(self.patience)),
        }
    }

    /// Sends a request whose body comes piece by piece, and can be sent but once; it may take until `limit`.
    ///
    /// # Errors
    /// As those of [`Http::exchange`].
    pub(super) async fn send(&self, request: RequestBuilder, limit: Duration) -> Result<Answer, Kind> {
        let request = request.build().map_err(|error| Kind::Unusable(Reason::verbatim(chain(&error))))?;
        let url = request.url().clone();
        let send = async {
            let response = self.client.execute(request).await;
            read(response.map_err(|error| Kind::Network(NetworkError::of(&error)))?, url, ERROR_BYTES).await
        };
        tokio::time::timeout(limit, send).await.unwrap_or_else(|_| Err(too_slow(limit)))
    }

    async fn follow(&self, request: Request, limit: usize) -> Result<Answer, Kind> {
        let (response, url) = self.respond(request).await?;
        read(response, url, limit).await
    }

    async fn respond(&self, mut request: Request) -> Result<(Response, Url), Kind> {
        for _ in 0..REDIRECTS {
            let again = request.try_clone();
            let url = request.url().clone();
            let response =
                self.client.execute(request).await.map_err(|error| Kind::Network(NetworkError::of(&error)))?;
            match redirected(again, &response)? {
                Some(next) => request = next,
                None => return Ok((response, url)),
            }
        }
        Err(Kind::Unusable(reason!("registry.redirects", most = REDIRECTS)))
    }
}

/// The time-out of a request: a client that has waited it out has waited enough, and does not ask again.
pub(super) fn too_slow(after: Duration) -> Kind {
    let why = reason!("source.no_answer", seconds = after.as_secs_f32().to_string());
    Kind::Network(NetworkError { fault: NetworkFault::Connection, why })
}

/// The same request where the answer sends it; none for an answer that is no redirect.
fn redirected(request: Option<Request>, response: &Response) -> Result<Option<Request>, Kind> {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let (Some(mut request), Some(location)) = (request, location) else { return Ok(None) };
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let from = request.url().clone();
    let to = from
        .join(location)
        .map_err(|_| Kind::Unusable(reason!("registry.redirect_address", location = quoted(location))))?;
    let same = to.origin() == from.origin();
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(Kind::Unusable(reason!("registry.redirect_to_http", url = shown(&to))));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let may_change = same && matches!(status.as_u16(), 307 | 308);
    if !(reads || may_change) {
        return Err(Kind::Unusable(reason!("registry.redirect_of_change", url = shown(&to))));
    }
    if !same {
        request.headers_mut().remove(AUTHORIZATION);
    }
    *request.url_mut() = to;
    Ok(Some(request))
}

pub(super) async fn read(mut response: Response, url: Url, limit: usize) -> Result<Answer, Kind> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = match status.is_success() {
        true => bounded::body(&mut response, limit).await.map_err(|error| match error {
            BodyError::TooLarge { .. } => Kind::Unusable(error.into()),
            BodyError::Cut(error) => Kind::Network(NetworkError::of(&error)),
        })?,
        false => bounded::beginning(&mut response, ERROR_BYTES).await,
    };
    Ok(Answer { status, headers, body, url })
}

/// An address without its query, which may hold a signature.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
