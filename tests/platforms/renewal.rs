//! The token of a login ends, and is renewed before that, by one of those who need it.

use std::time::Duration;

use slipway::domain::secret_ref::SecretRef;
use slipway::domain::source_platform::{PlatformKind, SourcePlatform, token_file};
use slipway::services::tokens;
use slipway::source::platform::device::Tokens;
use slipway::store::Home;
use slipway::store::secrets::{Secret, Secrets};
use wiremock::matchers::{body_string_contains, path};
use wiremock::{Mock, MockServer};

use crate::support::{asked, json, platform};

/// A home with the token of a login that holds for so long.
fn home(holds: Duration, server: &MockServer) -> (tempfile::TempDir, Home, SourcePlatform) {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::at(directory.path());
    let platform = SourcePlatform {
        oauth_client_id: Some("slipway".into()),
        token: Some(SecretRef::File(token_file("lab"))),
        ..platform(PlatformKind::Gitlab, server)
    };
    let token = Tokens { token: Secret::new("one"), refresh: Some(Secret::new("refresh-one")), holds: Some(holds) };
    Secrets::at(home.secrets_dir()).put(&token_file("lab"), &token.token).unwrap();
    tokens::keep_renewal(&home, "lab", &token).unwrap();
    (directory, home, platform)
}

async fn renewing(answer: wiremock::ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let used = body_string_contains("refresh_token=refresh-one");
    Mock::given(path("/oauth/token")).and(used).respond_with(answer).mount(&server).await;
    server
}

fn renewed() -> wiremock::ResponseTemplate {
    json(200, r#"{"access_token":"two","token_type":"Bearer","expires_in":7200,"refresh_token":"refresh-two"}"#)
}

#[tokio::test]
async fn a_token_that_is_about_to_end_is_renewed_once_by_all_who_need_it() {
    let server = renewing(renewed()).await;
    let (_directory, home, platform) = home(Duration::from_secs(60), &server);
    let of = || tokens::of(&home, "lab", &platform);
    let (one, other, third) = tokio::join!(of(), of(), of());
    for token in [one, other, third, of().await] {
        assert_eq!(token.unwrap().unwrap().expose(), "two");
    }
    assert_eq!(asked(&server).await.len(), 1, "a refresh token is good for one time");
}

#[tokio::test]
async fn a_token_that_holds_and_one_that_a_person_gave_since_are_left_alone() {
    let server = renewing(renewed()).await;
    let (_directory, home, platform) = home(Duration::from_secs(7200), &server);
    assert_eq!(tokens::of(&home, "lab", &platform).await.unwrap().unwrap().expose(), "one");
    let (_directory, home, platform) = self::home(Duration::from_secs(0), &server);
    Secrets::at(home.secrets_dir()).put(&token_file("lab"), &Secret::new("by hand")).unwrap();
    assert_eq!(tokens::of(&home, "lab", &platform).await.unwrap().unwrap().expose(), "by hand");
    assert_eq!(asked(&server).await, []);
}

#[tokio::test]
async fn a_token_that_can_not_be_renewed_is_used_until_it_ends() {
    let server = renewing(json(400, r#"{"error":"invalid_grant","error_description":"It was revoked."}"#)).await;
    let (_directory, home, platform) = home(Duration::from_secs(60), &server);
    assert_eq!(tokens::of(&home, "lab", &platform).await.unwrap().unwrap().expose(), "one");
    let (_directory, home, platform) = self::home(Duration::from_secs(0), &server);
    let error = tokens::of(&home, "lab", &platform).await.unwrap_err().to_string();
    assert!(error.contains("invalid_grant") && error.contains("slipway platform login lab"), "{error}");
    assert!(!error.contains("refresh-one"), "{error}");
}
