//! Access tokens of a registry's token service, where oci-client has no way: identity tokens, and leave to delete.
//!
//! The protocol is that of the distribution project's token authentication: an unauthenticated request is answered with
//! where to ask, and the token service answers with a token for the scope asked for.

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;

use super::client::Client;
use super::credentials::{Credential, Password};
use super::error::{Kind, chain};

/// Puts our proof into a request, as the registry wants it: a token for `actions`, user and password, or nothing.
pub(super) async fn authorise(
    client: &Client,
    request: RequestBuilder,
    actions: &[&str],
) -> Result<RequestBuilder, Kind> {
    match (challenge(client).await?, client.credential()) {
        (Some(challenge), _) => Ok(request.bearer_auth(fetch(client, &challenge, actions).await?.reveal())),
        (None, Some(Credential::Basic { user, password })) => Ok(request.basic_auth(user, Some(password.reveal()))),
        (None, Some(Credential::IdentityToken(token))) => Ok(request.bearer_auth(token.reveal())),
        (None, None) => Ok(request),
    }
}

/// An access token for `actions`; the identity token itself where the registry has no token service.
pub(super) async fn access(client: &Client, actions: &[&str]) -> Result<Password, Kind> {
    match (challenge(client).await?, client.credential()) {
        (Some(challenge), _) => fetch(client, &challenge, actions).await,
        (None, Some(Credential::IdentityToken(token))) => Ok(token.clone()),
        (None, _) => Err(Kind::Unusable("the registry has no token service".to_owned())),
    }
}

/// Where tokens are to be had.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

async fn challenge(client: &Client) -> Result<Option<Challenge>, Kind> {
    let answer = client.http.get(client.address("")).send().await.map_err(|error| Kind::Network(chain(&error)))?;
    let header = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    Ok(header.and_then(parse))
}

/// The challenge in a `WWW-Authenticate: Bearer realm="…",service="…"`; nothing for another scheme.
fn parse(header: &str) -> Option<Challenge> {
    let (scheme, mut rest) = header.trim().split_once(' ')?;
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
    realm.map(|realm| Challenge { realm, service })
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

async fn fetch(client: &Client, challenge: &Challenge, actions: &[&str]) -> Result<Password, Kind> {
    let scope = format!("repository:{}:{}", client.path(), actions.join(","));
    let mut fields = vec![("scope", scope.as_str())];
    fields.extend(challenge.service.iter().map(|service| ("service", service.as_str())));
    let address = |fields: &[(&str, &str)]| {
        reqwest::Url::parse_with_params(&challenge.realm, fields)
            .map_err(|_| Kind::Unusable(format!("the registry's token address {:?} is no address", challenge.realm)))
    };
    let request = match client.credential() {
        Some(Credential::IdentityToken(token)) => {
            fields.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "slipway"),
                ("refresh_token", token.reveal()),
            ]);
            // The query of an address is exactly a form's encoding; the token itself goes in the body, not the address.
            let form = address(&fields)?.query().unwrap_or_default().to_owned();
            let post = client.http.post(&challenge.realm).body(form);
            post.header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        }
        Some(Credential::Basic { user, password }) => {
            client.http.get(address(&fields)?).basic_auth(user, Some(password.reveal()))
        }
        None => client.http.get(address(&fields)?),
    };
    let network = |error: reqwest::Error| Kind::Network(chain(&error));
    let answer = request.send().await.map_err(network)?;
    let status = answer.status();
    let body = answer.text().await.map_err(network)?;
    if status != StatusCode::OK {
        return Err(Kind::from_answer(status.as_u16(), &body, client.user()));
    }
    let answer: Answer = serde_json::from_str(&body)
        .map_err(|error| Kind::Unusable(format!("the registry's token service gave no token: {error}")))?;
    let token = answer.token.or(answer.access_token);
    token.map(Password::new).ok_or_else(|| Kind::Unusable("the registry's token service gave no token".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_where_tokens_are_to_be_had() {
        let header = r#"Bearer realm="https://auth.example/token?x=1",service="registry.example",scope="a,b""#;
        let challenge = parse(header).unwrap();
        assert_eq!(challenge.realm, "https://auth.example/token?x=1");
        assert_eq!(challenge.service.as_deref(), Some("registry.example"));
        assert_eq!(parse("bearer service=s, realm=https://r").unwrap().realm, "https://r");
        assert_eq!(parse(r#"Basic realm="r""#), None);
    }
}
