//! Speaking to a platform's API: where it is, who we are, how long it may take, and what its answers mean.
//!
//! The token goes to the API's own host and to nobody else, and over plain http only where that was allowed.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use chrono::Utc;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, Proxy, Request, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokio::time::timeout;

use super::error::{ApiError, ApiProblem, Said, causes};
use super::{limit, paging};
use crate::bounded::{self, BodyError};
use crate::domain::reason::{Phrase, Reason, quoted, reason};
use crate::domain::source_platform::SourcePlatform;
use crate::source::url::is_loopback;
use crate::store::secrets::Secret;
use crate::tls;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long one request may take in all: somebody waits for it.
const REQUEST: Duration = Duration::from_secs(30);
/// The pause before a question that failed for a reason that passes is asked again; the second pause is four times as
/// long, and there is no third. What changes something is sent once.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// In bytes. A page of a hundred repositories has some 700 KB on GitHub, which says most.
const LARGEST: usize = 8 * 1024 * 1024;
/// Bytes read of an answer that is an error: enough for the platform's words.
const ERROR_BYTES: usize = 64 * 1024;
/// A renamed repository is one step away; more are a loop.
const REDIRECTS: usize = 4;
/// A list that goes on after so many pages is no list of a repository's webhooks.
const PAGES: usize = 50;
/// The longest time for all pages of a list.
const LIST: Duration = Duration::from_secs(120);

/// The proof of identity that requests carry.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// Nobody.
    Nothing,
    /// `Authorization: Bearer …`
    Bearer(Secret),
    /// HTTP's basic authentication.
    Basic(String, Secret),
    /// A header of the platform's own.
    Header(&'static str, Secret),
}

/// What an API answered; its status is a success, or 304.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What the token may do, where the answer says so: GitHub and Bitbucket say it in this header.
    pub(super) fn scopes(&self) -> Option<Vec<String>> {
        let scopes = self.header("x-oauth-scopes")?.split(',').map(str::trim);
        Some(scopes.filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
    }
}

/// The API of one platform, as one user.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    /// Everything is below it; it ends in a slash.
    base: Url,
    proof: Proof,
    /// What every request says, such as the API's version.
    headers: HeaderMap,
}

/// A client that trusts the platform's CA and goes through its proxy. Making one is dear: it reads the system's CAs.
pub(super) fn client(platform: &SourcePlatform) -> Result<Client, Reason> {
    let private = match &platform.ca {
        Some(ca) => tls::certificates(Path::new(ca))?,
        None => Vec::new(),
    };
    let mut client = tls::http_client(&private)
        .connect_timeout(CONNECT)
        .timeout(REQUEST)
        // What changes something would be made a question on the way: see `exchange`.
        .redirect(redirect::Policy::none());
    if let Some(proxy) = &platform.proxy {
        let proxy = Proxy::all(proxy).map_err(|error| reason!("api.proxy", proxy = quoted(proxy), error))?;
        client = client.proxy(proxy);
    }
    client.build().map_err(|error| causes(&error))
}

/// Whether what is sent there could be read on the way, and that was not allowed.
pub(super) fn open_secret(url: &Url, plain_http: bool) -> bool {
    url.scheme() == "http" && !plain_http && !is_loopback(url.host_str().unwrap_or_default())
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

impl Http {
    /// Speaks to the API below `base`. Nothing is sent yet.
    ///
    /// # Errors
    /// When a proof would be sent over plain http that may not be.
    pub(super) fn new(client: Client, mut base: Url, proof: Proof, plain_http: bool) -> Result<Http, ApiProblem> {
        if open_secret(&base, plain_http) && !matches!(proof, Proof::Nothing) {
            return Err(ApiProblem::PlainHttp);
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Http { client, base, proof, headers })
    }

    /// Says this with every request.
    pub(super) fn saying(mut self, name: &'static str, value: &'static str) -> Http {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The host, for errors.
    pub(super) fn place(&self) -> String {
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.base.host_str().unwrap_or_default())
    }

    /// The address of a thing, each part of its path encoded.
    pub(super) fn at<S: AsRef<str>>(&self, path: impl IntoIterator<Item = S>) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// The address of a list, with its parameters.
    pub(super) fn list<S: AsRef<str>>(&self, path: impl IntoIterator<Item = S>, query: &[(&str, &str)]) -> Url {
        let mut url = self.at(path);
        url.query_pairs_mut().extend_pairs(query);
        url
    }

    /// The address of a page that an earlier answer named.
    ///
    /// # Errors
    /// When it is not on this server: the token would go to another.
    pub(super) fn page(&self, attempted: Phrase, url: &str) -> Result<Url, ApiError> {
        match Url::parse(url) {
            Ok(page) if same_origin(&page, &self.base) => Ok(page),
            Ok(page) => Err(self.error(attempted, ApiProblem::Elsewhere(Some(shown(&page))))),
            Err(_) => {
                Err(self.error(attempted, ApiProblem::Unreadable(reason!("api.page_address", url = quoted(url)))))
            }
        }
    }

    /// Asks a question, again where that may help.
    pub(super) async fn ask(&self, attempted: Phrase, url: &Url, headers: HeaderMap) -> Result<Answer, ApiError> {
        let pauses = ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_factor(4.0).with_max_times(2);
        let ask = || self.send(attempted, self.client.get(url.clone()).headers(headers.clone()));
        let passes = |error: &ApiError| matches!(error.reason, ApiProblem::OutOfOrder { .. } | ApiProblem::Network(_));
        ask.retry(pauses).when(passes).await
    }

    /// Asks a question whose answer is JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, attempted: Phrase, url: &Url) -> Result<(T, Answer), ApiError> {
        let answer = self.ask(attempted, url, HeaderMap::new()).await?;
        Ok((self.read(attempted, &answer)?, answer))
    }

    /// One page of a list, and where the next one is.
    pub(super) async fn get_page<T: DeserializeOwned>(
        &self,
        attempted: Phrase,
        url: &Url,
    ) -> Result<(Vec<T>, Option<Url>), ApiError> {
        let (items, answer): (Vec<T>, Answer) = self.get(attempted, url).await?;
        let next = paging::next(url, &answer.headers, items.len());
        Ok((items, next))
    }

    /// The first thing of a list that is wanted, page by page.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        attempted: Phrase,
        first: Url,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, ApiError> {
        let search = async {
            let mut url = first;
            let mut seen = HashSet::new();
            while seen.len() < PAGES && seen.insert(url.clone()) {
                let (items, next) = self.get_page::<T>(attempted, &url).await?;
                if let Some(found) = items.into_iter().find(&wanted) {
                    return Ok(Some(found));
                }
                match next {
                    Some(next) => url = self.page(attempted, next.as_str())?,
                    None => return Ok(None),
                }
            }
            Err(self.error(attempted, ApiProblem::Unreadable(reason!("api.endless_list", pages = seen.len()))))
        };
        let too_slow = || ApiProblem::Network(reason!("api.slow_list", seconds = LIST.as_secs()));
        timeout(LIST, search).await.unwrap_or_else(|_| Err(self.error(attempted, too_slow())))
    }

    /// Changes something.
    pub(super) async fn tell(
        &self,
        attempted: Phrase,
        method: Method,
        url: &Url,
        body: &Value,
    ) -> Result<Answer, ApiError> {
        let answer = self.send(attempted, self.client.request(method, url.clone()).json(body)).await?;
        if answer.body.trim_ascii_start().starts_with(b"<") {
            // A web page with status 200 is that of a proxy or a login, and nothing was changed.
            self.read::<IgnoredAny>(attempted, &answer)?;
        }
        Ok(answer)
    }

    /// The JSON of an answer.
    pub(super) fn read<T: DeserializeOwned>(&self, attempted: Phrase, answer: &Answer) -> Result<T, ApiError> {
        bounded::json(&answer.body).map_err(|error| {
            let what = match (answer.body.trim_ascii_start().starts_with(b"<"), answer.header("content-type")) {
                (true, Some(kind)) => reason!("api.web_page", kind),
                (true, None) => reason!("api.unnamed_web_page"),
                (false, _) => error.into(),
            };
            self.error(attempted, ApiProblem::Unreadable(what))
        })
    }

    pub(super) fn error(&self, attempted: Phrase, reason: ApiProblem) -> ApiError {
        ApiError { attempted, place: self.place(), reason }
    }

    async fn send(&self, attempted: Phrase, request: RequestBuilder) -> Result<Answer, ApiError> {
        let request = request.headers(self.headers.clone());
        let request = match &self.proof {
            Proof::Nothing => request,
            Proof::Bearer(token) => request.bearer_auth(token.expose()),
            Proof::Basic(user, token) => request.basic_auth(user, Some(token.expose())),
            Proof::Header(name, token) => {
                let mut value = HeaderValue::from_str(token.expose())
                    .map_err(|_| self.error(attempted, ApiProblem::Setting(reason!("api.token_characters"))))?;
                value.set_sensitive(true);
                request.header(*name, value)
            }
        };
        let answer = exchange(request).await.map_err(|reason| self.error(attempted, reason))?;
        match refusal(&answer) {
            Some(reason) => Err(self.error(attempted, reason)),
            None => Ok(answer),
        }
    }
}

/// Sends a request, on to where the server says as long as that is on itself, and reads the whole answer, whatever it
/// says.
pub(super) async fn exchange(request: RequestBuilder) -> Result<Answer, ApiProblem> {
    let (client, request) = request.build_split();
    let network = |error: reqwest::Error| ApiProblem::Network(causes(&error));
    let mut request = request.map_err(network)?;
    for _ in 0..REDIRECTS {
        let again = request.try_clone();
        let response = client.execute(request).await.map_err(network)?;
        match again.and_then(|again| sent_on(again, &response)) {
            Some(next) => request = next,
            None => return read(response).await,
        }
    }
    read(client.execute(request).await.map_err(network)?).await
}

/// The same request where the answer sends it, if it may go there as it is.
fn sent_on(mut request: Request, response: &Response) -> Option<Request> {
    let keeps_method = match response.status() {
        // GitHub answers so for a repository that was renamed, whatever the method, and asks for the same request there.
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::SEE_OTHER => request.method() == Method::GET,
        _ => false,
    };
    let to = request.url().join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    if !keeps_method || !same_origin(&to, request.url()) {
        return None;
    }
    *request.url_mut() = to;
    Some(request)
}

async fn read(mut response: Response) -> Result<Answer, ApiProblem> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = match status.is_success() {
        true => body(response).await?,
        false => bounded::beginning(&mut response, ERROR_BYTES).await,
    };
    Ok(Answer { status, headers, body })
}

async fn body(mut response: Response) -> Result<Vec<u8>, ApiProblem> {
    bounded::body(&mut response, LARGEST).await.map_err(|error| match error {
        BodyError::TooLarge { .. } => ApiProblem::Unreadable(error.into()),
        BodyError::Cut(error) => ApiProblem::Network(reason!("http.cut", why = causes(&error))),
    })
}

/// What an answer refuses; none where it is one that was hoped for.
fn refusal(answer: &Answer) -> Option<ApiProblem> {
    let status = answer.status;
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return None;
    }
    if status.is_redirection() {
        let to = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let shown = to.map(|to| Url::parse(to).map_or_else(|_| to.to_owned(), |url| shown(&url)));
        return Some(ApiProblem::Elsewhere(shown));
    }
    let said = Said::of(&answer.body);
    if let Some(until) = limit::limited(status, &answer.headers, said.words(), Utc::now()) {
        return Some(ApiProblem::Limited { until });
    }
    Some(match status {
        StatusCode::UNAUTHORIZED => ApiProblem::Unknown { said },
        StatusCode::FORBIDDEN => ApiProblem::Forbidden { said },
        StatusCode::NOT_FOUND | StatusCode::GONE => ApiProblem::NotFound { said },
        _ if status.is_server_error() => ApiProblem::OutOfOrder { status: status.as_u16(), said },
        _ => ApiProblem::Refused { status: status.as_u16(), said },
    })
}

/// An address without what may be secret in it.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
