//! The distribution project's token authentication: a request without a proof is answered with the address of a token
//! service, and the service with a token for the scope.

use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::error::Kind;
use super::http::Http;
use super::retry::Failed;
use crate::bounded;
use crate::domain::reason::{quoted, reason};
use crate::registry::credentials::Credential;

/// Bytes of a token service's answer at most; the longest tokens of clouds have some kilobytes.
const LARGEST: usize = 1024 * 1024;

/// The proof that a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token of a token service.
    Bearer {
        /// The service's address.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
    },
    /// User and password.
    Basic,
}

/// The challenge of an answer; a token is preferred to a password.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let headers = headers.get_all(WWW_AUTHENTICATE).into_iter();
    let challenges: Vec<Challenge> =
        headers.filter_map(|value| value.to_str().ok()).filter_map(parse).take(8).collect();
    challenges.iter().find(|one| matches!(one, Challenge::Bearer { .. })).or(challenges.first()).cloned()
}

/// The challenge in a `WWW-Authenticate: Bearer realm="…",service="…"` or `Basic …`; none for another scheme.
fn parse(header: &str) -> Option<Challenge> {
    let (scheme, mut rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        match key.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            _ => {}
        }
        rest = next;
    }
    realm.map(|realm| Challenge::Bearer { realm, service })
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The header `Authorization` with a token for `scopes`: `repository:acme/api:pull`; none: for the front door alone.
///
/// `plain_http` is how the registry itself is spoken to: one that is spoken to over TLS may not name a token service
/// without it, which would get the password in clear.
pub(super) async fn fetch(
    http: &Http,
    realm: &str,
    service: Option<&str>,
    scopes: &[String],
    credential: Option<&Credential>,
    plain_http: bool,
) -> Result<HeaderValue, Failed> {
    // In a form, they are one field.
    let together = scopes.join(" ");
    let mut fields: Vec<(&str, &str)> = match credential {
        Some(Credential::IdentityToken(_)) if !scopes.is_empty() => vec![("scope", &together)],
        Some(Credential::IdentityToken(_)) => Vec::new(),
        _ => scopes.iter().map(|scope| ("scope", scope.as_str())).collect(),
    };
    fields.extend(service.map(|service| ("service", service)));
    let no_address = || Kind::Unusable(reason!("registry.token_address", realm = quoted(realm)));
    let service_at = Url::parse(realm).map_err(|_| no_address())?;
    match service_at.scheme() {
        "https" => {}
        "http" if plain_http => {}
        "http" => {
            return Err(Kind::Unusable(reason!("registry.token_over_http", realm = quoted(realm))).into());
        }
        _ => return Err(no_address().into()),
    }
    let address = |fields: &[(&str, &str)]| Url::parse_with_params(realm, fields).map_err(|_| no_address());
    let request = match credential {
        Some(Credential::IdentityToken(token)) => {
            fields.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "slipway"),
                ("refresh_token", token.reveal()),
            ]);
            // The query of an address is exactly a form's encoding; the token itself goes in the body, not the address.
            let form = address(&fields)?.query().unwrap_or_default().to_owned();
            let post = http.request(Method::POST, service_at).body(form);
            post.header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        }
        Some(Credential::Basic { user, password }) => {
            http.request(Method::GET, address(&fields)?).basic_auth(user, Some(password.reveal()))
        }
        None => http.request(Method::GET, address(&fields)?),
    };
    let answer = http.exchange(request, LARGEST).await?;
    if answer.status != StatusCode::OK {
        return Err(Failed::of(&answer, credential.map(Credential::user)));
    }
    let answer: Answer =
        bounded::json(&answer.body).map_err(|error| Kind::Unusable(reason!("registry.token_unreadable", error)))?;
    let token = answer.token.or(answer.access_token);
    let token = token.ok_or_else(|| Kind::Unusable(reason!("registry.no_token")))?;
    Ok(bearer(&token)?)
}

/// The header `Authorization` with a token.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, Kind> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Kind::Unusable(reason!("registry.token_characters")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) })
    }

    #[test]
    fn a_challenge_names_the_token_service() {
        let header = r#"Bearer realm="https://auth.example/token?x=1",service="registry.example",scope="a,b""#;
        assert_eq!(parse(header), bearer("https://auth.example/token?x=1", Some("registry.example")));
        assert_eq!(parse("bearer service=s, realm=https://r"), bearer("https://r", Some("s")));
        assert_eq!(parse(r#"Basic realm="r""#), Some(Challenge::Basic));
        for none in ["", "Bearer", "Bearer realm=\"x", "Bearer scope=\"x\"", "Negotiate", "Digest realm=\"r\""] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"r\""));
        assert_eq!(challenge(&headers), Some(Challenge::Basic));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"https://r\""));
        assert_eq!(challenge(&headers), bearer("https://r", None));
    }
}
