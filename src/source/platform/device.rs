//! The OAuth device flow (RFC 8628): a person enters a code in any browser, and slipway gets a token. GitHub and GitLab have it.

use std::pin::Pin;
use std::time::Duration;

use oauth2::basic::{BasicClient, BasicErrorResponse, BasicTokenResponse};
use oauth2::{
    AsyncHttpClient, AuthType, ClientId, DeviceAuthorizationUrl, DeviceCodeErrorResponseType, EndpointNotSet,
    EndpointSet, ErrorResponse, HttpRequest, HttpResponse, RefreshToken, RequestTokenError, Scope,
    StandardDeviceAuthorizationResponse, TokenResponse, TokenUrl,
};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::Connector;
use super::error::{ApiError, ApiProblem, Said};
use super::http::{Answer, exchange, open_secret};
use super::place;
use crate::domain::reason::{Phrase, Reason, output, phrase, reason};
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::store::secrets::Secret;

/// Codes hold for 5 to 15 minutes; a longer time is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);
/// While the platform can't be reached, it is asked no less often.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

type Client = BasicClient<EndpointNotSet, EndpointSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// Logging in to one platform.
pub struct DeviceFlow {
    sender: Sender,
    client: Client,
    scope: &'static str,
    place: String,
}

/// What a person is asked to do.
#[derive(Debug)]
pub struct Invitation {
    /// Where the code is entered.
    pub address: String,
    /// What is entered there.
    pub code: String,
    /// How long it holds.
    pub holds: Duration,
    details: StandardDeviceAuthorizationResponse,
}

/// The tokens that somebody's consent is worth.
#[derive(Debug)]
pub struct Tokens {
    /// What opens the API and the repositories.
    pub token: Secret,
    /// What a new token is had with, once.
    pub refresh: Option<Secret>,
    /// How long the token holds; none: until it is revoked.
    pub holds: Option<Duration>,
}

impl DeviceFlow {
    /// The flow of a platform, for its `oauth_client_id`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the platform has no such flow, or no client id.
    pub fn new(connector: &Connector, platform: &SourcePlatform) -> Result<DeviceFlow, ApiError> {
        let fail = |reason| ApiError { attempted: LOG_IN, place: platform.kind.title().into(), reason };
        let (device, token, scope): (_, _, &'static str) = match platform.kind {
            PlatformKind::Github => ("login/device/code", "login/oauth/access_token", "repo"),
            PlatformKind::Gitlab => ("oauth/authorize_device", "oauth/token", "api"),
            kind => {
                let what = phrase!("api.no_device_flow");
                return Err(fail(ApiProblem::Unsupported { platform: kind.title(), what }));
            }
        };
        let Some(id) = &platform.oauth_client_id else {
            return Err(fail(ApiProblem::Setting(reason!("api.no_oauth_application"))));
        };
        let base = place::web(platform).map_err(fail)?;
        if open_secret(&base, platform.plain_http) {
            return Err(fail(ApiProblem::PlainHttp));
        }
        let at = |path: &str| {
            let mut url = base.clone();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.pop_if_empty().extend(path.split('/'));
            }
            url
        };
        let client = BasicClient::new(ClientId::new(id.clone()))
            .set_auth_type(AuthType::RequestBody)
            .set_device_authorization_url(DeviceAuthorizationUrl::from_url(at(device)))
            .set_token_uri(TokenUrl::from_url(at(token)));
        let place = base.host_str().unwrap_or_default().to_owned();
        Ok(DeviceFlow { sender: Sender(connector.client()), client, scope, place })
    }

    /// Asks for a code.
    ///
    /// # Errors
    /// When the platform can't be reached, or does not know the client.
    pub async fn begin(&self) -> Result<Invitation, ApiError> {
        let request = self.client.exchange_device_code().add_scope(Scope::new(self.scope.into()));
        let details: StandardDeviceAuthorizationResponse =
            request.request_async(&self.sender).await.map_err(|error| self.error(basic(error)))?;
        Ok(Invitation {
            address: details.verification_uri().to_string(),
            code: details.user_code().secret().clone(),
            holds: details.expires_in().min(LONGEST_WAIT),
            details,
        })
    }

    /// Waits until the person has said yes or no, asking as often as the platform wants; `sleep` is how it waits.
    ///
    /// # Errors
    /// When the person says no or nothing in time, or the platform breaks off.
    pub async fn wait<S: Future<Output = ()>>(
        &self,
        invitation: &Invitation,
        sleep: impl Fn(Duration) -> S,
    ) -> Result<Tokens, ApiError> {
        let request =
            self.client.exchange_device_access_token(&invitation.details).set_max_backoff_interval(LONGEST_BACKOFF);
        let answer = request.request_async(&self.sender, sleep, Some(invitation.holds)).await;
        let answer = answer.map_err(|error| {
            let reason = reason(error, |said| match said.error() {
                DeviceCodeErrorResponseType::AccessDenied => ApiProblem::Denied,
                DeviceCodeErrorResponseType::ExpiredToken => ApiProblem::Expired,
                other => refused(other.as_ref(), said.error_description()),
            });
            self.error(reason)
        })?;
        Ok(tokens(&answer))
    }

    /// A new token for an old one that ended. The refresh token is used up by it.
    ///
    /// # Errors
    /// When the platform can't be reached, or the consent was withdrawn.
    pub async fn refresh(&self, refresh: &Secret) -> Result<Tokens, ApiError> {
        let refresh = RefreshToken::new(refresh.expose().to_owned());
        let answer = self.client.exchange_refresh_token(&refresh).request_async(&self.sender).await;
        Ok(tokens(&answer.map_err(|error| self.error(basic(error)))?))
    }

    fn error(&self, reason: ApiProblem) -> ApiError {
        ApiError { attempted: LOG_IN, place: self.place.clone(), reason }
    }
}

const LOG_IN: Phrase = phrase!("verb.log_in");

/// Sends the flow's requests.
struct Sender(reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Sender {
    type Error = ApiProblem;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, ApiProblem>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let url = Url::parse(&head.uri.to_string())
                .map_err(|error| ApiProblem::Setting(reason!("api.url", error = output(error))))?;
            let request = self.0.request(head.method, url).headers(head.headers).body(body);
            let answer = exchange(request).await?;
            let mut response = HttpResponse::new(Vec::new());
            *response.status_mut() = status(&answer)?;
            *response.headers_mut() = answer.headers;
            *response.body_mut() = answer.body;
            Ok(response)
        })
    }
}

/// The status that RFC 6749 wants for such an answer: GitHub says 200 where the body is an error. What comes from something that
/// is out of order is none of the flow's answers: it is asked again.
fn status(answer: &Answer) -> Result<StatusCode, ApiProblem> {
    #[derive(Deserialize)]
    struct Refused {
        #[serde(rename = "error")]
        _error: String,
    }
    if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
        return Err(ApiProblem::OutOfOrder { status: answer.status.as_u16(), said: Said::of(&answer.body) });
    }
    let refused = serde_json::from_slice::<Refused>(&answer.body).is_ok();
    Ok(match answer.status {
        StatusCode::OK if refused => StatusCode::BAD_REQUEST,
        // GitLab makes its tokens with 200, others with 201.
        status if status.is_success() => StatusCode::OK,
        status => status,
    })
}

fn tokens(answer: &BasicTokenResponse) -> Tokens {
    Tokens {
        token: Secret::new(answer.access_token().secret().clone()),
        refresh: answer.refresh_token().map(|token| Secret::new(token.secret().clone())),
        holds: answer.expires_in(),
    }
}

fn basic(error: RequestTokenError<ApiProblem, BasicErrorResponse>) -> ApiProblem {
    reason(error, |said| refused(said.error().as_ref(), said.error_description()))
}

/// An error of the flow; `said` is what its own errors mean.
fn reason<E: ErrorResponse>(
    error: RequestTokenError<ApiProblem, E>,
    said: impl FnOnce(&E) -> ApiProblem,
) -> ApiProblem {
    match error {
        RequestTokenError::ServerResponse(error) => said(&error),
        RequestTokenError::Request(reason) => reason,
        // The answer itself may have a token in it.
        RequestTokenError::Parse(error, _) => ApiProblem::Unreadable(Reason::verbatim(error.inner().to_string())),
        RequestTokenError::Other(text) => ApiProblem::Unreadable(Reason::verbatim(text)),
    }
}

fn refused(error: &str, description: Option<&String>) -> ApiProblem {
    let said = description.map_or_else(|| error.to_owned(), |description| format!("{error}: {description}"));
    ApiProblem::Refused { status: StatusCode::BAD_REQUEST.as_u16(), said: Said::of_text(&said) }
}
