//! The device flow: what each answer of the platform means.

use std::sync::Mutex;
use std::time::Duration;

use slipway::domain::source_platform::{PlatformKind, SourcePlatform};
use slipway::source::platform::device::{DeviceFlow, Tokens};
use slipway::source::platform::{ApiError, ApiProblem, Connector, Said};
use wiremock::matchers::{body_string_contains, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{json, platform};

fn flow(kind: PlatformKind, server: &MockServer) -> DeviceFlow {
    let platform = SourcePlatform { oauth_client_id: Some("Iv1.slipway".into()), ..platform(kind, server) };
    DeviceFlow::new(&Connector::new(&platform).unwrap(), &platform).unwrap()
}

/// Answers the flow's first question, and the second with these in turn.
async fn serve(kind: PlatformKind, answers: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let (device, token, scope) = match kind {
        PlatformKind::Github => ("/login/device/code", "/login/oauth/access_token", "scope=repo"),
        _ => ("/oauth/authorize_device", "/oauth/token", "scope=api"),
    };
    let invitation = r#"{"device_code":"3584d83530557fdd1f46af8289938c8ef79f9dc5","user_code":"WDJB-MJHT",
        "verification_uri":"https://github.com/login/device","expires_in":900,"interval":5}"#;
    Mock::given(method("POST"))
        .and(path(device))
        .and(header("accept", "application/json"))
        .and(body_string_contains("client_id=Iv1.slipway"))
        .and(body_string_contains(scope))
        .respond_with(json(200, invitation))
        .mount(&server)
        .await;
    for answer in answers {
        Mock::given(method("POST"))
            .and(path(token))
            .and(body_string_contains("device_code=3584d83530557fdd1f46af8289938c8ef79f9dc5"))
            .and(body_string_contains("client_id=Iv1.slipway"))
            .respond_with(answer)
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    server
}

/// Logs in; what came of it, and how long was waited before each question, in seconds.
async fn log_in(kind: PlatformKind, answers: Vec<ResponseTemplate>) -> (Result<Tokens, ApiError>, Vec<u64>) {
    let server = serve(kind, answers).await;
    let flow = flow(kind, &server);
    let invitation = flow.begin().await.unwrap();
    assert_eq!(
        (invitation.address.as_str(), invitation.code.as_str()),
        ("https://github.com/login/device", "WDJB-MJHT")
    );
    assert_eq!(invitation.holds, Duration::from_secs(900));
    let waits = Mutex::new(Vec::new());
    let sleep = |time: Duration| {
        waits.lock().unwrap().push(time.as_secs());
        std::future::ready(())
    };
    let tokens = flow.wait(&invitation, sleep).await;
    (tokens, waits.into_inner().unwrap())
}

/// GitHub says 200 whatever happened.
fn github(error: &str) -> ResponseTemplate {
    json(200, &format!(r#"{{"error":"{error}","error_description":"The words.","error_uri":"https://docs"}}"#))
}

#[tokio::test]
async fn github_is_asked_until_somebody_said_yes_and_more_slowly_when_it_says_so() {
    let token = json(
        200,
        r#"{"access_token":"gho_16C7e42F292c6912E7710c838347Ae178B4a","token_type":"bearer","scope":"repo"}"#,
    );
    let answers = vec![github("authorization_pending"), github("slow_down"), github("authorization_pending"), token];
    let (tokens, waits) = log_in(PlatformKind::Github, answers).await;
    let tokens = tokens.unwrap();
    assert_eq!(tokens.token.expose(), "gho_16C7e42F292c6912E7710c838347Ae178B4a");
    assert!(tokens.refresh.is_none() && tokens.holds.is_none(), "it holds until it is revoked");
    assert_eq!(waits, [5, 10, 10]);
    assert!(!format!("{tokens:?}").contains("gho_"), "secrets are not shown");
}

#[tokio::test]
async fn gitlab_gives_a_token_that_ends_and_one_that_renews_it() {
    let pending = json(400, r#"{"error":"authorization_pending","error_description":"The request is still pending"}"#);
    let token = json(
        200,
        r#"{"access_token":"one","token_type":"Bearer","expires_in":7200,"refresh_token":"two","scope":"api","created_at":1}"#,
    );
    let (tokens, waits) = log_in(PlatformKind::Gitlab, vec![pending, token]).await;
    let tokens = tokens.unwrap();
    assert_eq!((tokens.holds, waits), (Some(Duration::from_secs(7200)), vec![5]));
    let server = MockServer::start().await;
    Mock::given(path("/oauth/token"))
        .and(body_string_contains("grant_type=refresh_token"))
        .and(body_string_contains("refresh_token=two"))
        .respond_with(json(
            200,
            r#"{"access_token":"three","token_type":"Bearer","expires_in":7200,"refresh_token":"four"}"#,
        ))
        .mount(&server)
        .await;
    let renewed = flow(PlatformKind::Gitlab, &server).refresh(&tokens.refresh.unwrap()).await.unwrap();
    assert_eq!((renewed.token.expose(), renewed.refresh.unwrap().expose()), ("three", "four"));
}

#[tokio::test]
async fn no_and_too_late_are_told_apart() {
    let reason = async |kind, answer| log_in(kind, vec![answer]).await.0.unwrap_err().reason;
    assert_eq!(reason(PlatformKind::Github, github("access_denied")).await, ApiProblem::Denied);
    assert_eq!(reason(PlatformKind::Github, github("expired_token")).await, ApiProblem::Expired);
    let gitlab = |error: &str| json(400, &format!(r#"{{"error":"{error}"}}"#));
    assert_eq!(reason(PlatformKind::Gitlab, gitlab("access_denied")).await, ApiProblem::Denied);
    assert_eq!(reason(PlatformKind::Gitlab, gitlab("expired_token")).await, ApiProblem::Expired);
    let other = reason(PlatformKind::Github, github("incorrect_device_code")).await;
    assert_eq!(
        other,
        ApiProblem::Refused { status: 400, said: Said::Words("incorrect_device_code: The words.".into()) }
    );
}

#[tokio::test]
async fn a_platform_that_is_out_of_order_for_a_moment_is_asked_again() {
    let page = ResponseTemplate::new(502).set_body_raw("<html>", "text/html");
    let token = json(200, r#"{"access_token":"one","token_type":"bearer"}"#);
    let (tokens, waits) = log_in(PlatformKind::Github, vec![page, token]).await;
    assert_eq!((tokens.unwrap().token.expose(), waits), ("one", vec![10]));
}

#[tokio::test]
async fn a_client_that_nobody_knows_is_told_in_the_platforms_words() {
    let server = MockServer::start().await;
    Mock::given(path("/login/device/code")).respond_with(github("device_flow_disabled")).mount(&server).await;
    let error = flow(PlatformKind::Github, &server).begin().await.unwrap_err();
    assert!(error.to_string().contains("device_flow_disabled: The words."), "{error}");
    let server = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_raw("<html>", "text/html");
    Mock::given(path("/login/device/code")).respond_with(page).mount(&server).await;
    let error = flow(PlatformKind::Github, &server).begin().await.unwrap_err();
    assert!(matches!(&error.reason, ApiProblem::Unreadable(why) if why.to_string().contains("text/html")), "{error}");
}

#[test]
fn who_has_no_device_flow_or_no_client_id_is_told_what_to_do() {
    let new = |platform: &SourcePlatform| DeviceFlow::new(&Connector::new(platform).unwrap(), platform);
    let error = new(&SourcePlatform::new(PlatformKind::Gitee)).err().unwrap();
    assert!(error.to_string().contains("--token-stdin"), "{error}");
    let error = new(&SourcePlatform::new(PlatformKind::Github)).err().unwrap();
    assert!(error.to_string().contains("--oauth-client-id"), "{error}");
    let mut open = SourcePlatform::new(PlatformKind::Gitlab);
    (open.url, open.oauth_client_id) = (Some("http://gitlab.example.com".into()), Some("id".into()));
    assert_eq!(new(&open).err().unwrap().reason, ApiProblem::PlainHttp);
}
