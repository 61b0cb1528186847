//! What goes wrong with an API, and what is said of it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use slipway::domain::commit_status::CommitState;
use slipway::domain::source_platform::{PlatformKind, SourcePlatform};
use slipway::source::SourceUrl;
use slipway::source::platform::{Api, ApiError, ApiProblem, Connector, Said};
use slipway::store::secrets::Secret;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{TOKEN, api, asked, commit, json, platform, source, status};

/// What is said where everything is answered like that.
async fn said(kind: PlatformKind, answer: ResponseTemplate) -> ApiError {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    api(kind, &server).set_status(&source(), &commit(), &status(CommitState::Success)).await.unwrap_err()
}

#[tokio::test]
async fn each_refusal_is_told_apart_and_says_what_to_do() {
    let github = PlatformKind::Github;
    let error = said(github, json(401, r#"{"message":"Bad credentials","status":"401"}"#)).await;
    assert_eq!(error.reason, ApiProblem::Unknown { said: Said::Words("Bad credentials".into()) });
    let text = error.to_string();
    assert!(text.starts_with("cannot set the status of a commit on 127.0.0.1:"), "{text}");
    assert!(text.contains("platform edit") && !text.contains(TOKEN), "{text}");
    let error = said(github, json(403, r#"{"message":"Resource not accessible by personal access token"}"#)).await;
    assert_eq!(
        error.reason,
        ApiProblem::Forbidden { said: Said::Words("Resource not accessible by personal access token".into()) }
    );
    let error = said(PlatformKind::Gitlab, json(404, r#"{"message":"404 Project Not Found"}"#)).await;
    assert_eq!(error.reason, ApiProblem::NotFound { said: Said::Words("404 Project Not Found".into()) });
    let invalid = r#"{"message":"Validation Failed","errors":[{"resource":"Status","code":"custom","message":"description is too long (maximum is 140 characters)"}],"status":"422"}"#;
    let error = said(github, json(422, invalid)).await;
    assert!(error.to_string().contains("422: Validation Failed; description is too long"), "{error}");
    let page = ResponseTemplate::new(502).set_body_raw("<html>Bad Gateway</html>", "text/html");
    let error = said(PlatformKind::Bitbucket, page).await;
    assert_eq!(error.reason, ApiProblem::OutOfOrder { status: 502, said: Said::WebPage });
    assert!(error.reason.is_transient());
}

#[tokio::test]
async fn too_many_questions_are_told_with_the_time_when_more_may_be_asked() {
    let reset = chrono::Utc::now().timestamp() + 600;
    let limited = json(403, r#"{"message":"API rate limit exceeded for user ID 1."}"#)
        .insert_header("x-ratelimit-remaining", "0")
        .insert_header("x-ratelimit-reset", reset.to_string().as_str());
    let error = said(PlatformKind::Github, limited).await;
    assert_eq!(error.reason, ApiProblem::Limited { until: chrono::DateTime::from_timestamp(reset, 0) });
    assert!(error.reason.is_transient());
    let error = said(PlatformKind::Gitlab, ResponseTemplate::new(429).insert_header("retry-after", "60")).await;
    let ApiProblem::Limited { until: Some(until) } = error.reason else { panic!("{error}") };
    assert!((50..=60).contains(&(until - chrono::Utc::now()).num_seconds()), "{until}");
}

#[tokio::test]
async fn a_question_is_asked_again_where_that_helps_and_a_change_is_made_once() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(json(503, "{}")).up_to_n_times(2).mount(&server).await;
    Mock::given(any()).respond_with(json(200, r#"{"login":"octocat"}"#)).mount(&server).await;
    api(PlatformKind::Github, &server).identity().await.unwrap();
    assert_eq!(asked(&server).await.len(), 3);
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(json(503, "{}")).mount(&server).await;
    let told = api(PlatformKind::Github, &server).set_status(&source(), &commit(), &status(CommitState::Success)).await;
    assert!(told.unwrap_err().reason.is_transient());
    assert_eq!(asked(&server).await.len(), 1);
}

#[tokio::test]
async fn a_page_in_place_of_an_answer_is_called_that() {
    let server = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_raw("<!DOCTYPE html><title>Sign in</title>", "text/html");
    Mock::given(any()).respond_with(page).mount(&server).await;
    let error = api(PlatformKind::Gitlab, &server).identity().await.unwrap_err();
    let ApiProblem::Unreadable(why) = error.reason else { panic!("{error}") };
    assert_eq!(why.to_string(), "it is a web page (text/html)");
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(json(200, r#"{"login":"#)).mount(&server).await;
    let error = api(PlatformKind::Github, &server).identity().await.unwrap_err();
    assert!(matches!(error.reason, ApiProblem::Unreadable(_)), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_cut_or_endless_is_no_answer() {
    /// Answers every connection with the same bytes, and hangs up.
    fn serve(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let _ = connection.read(&mut [0; 4096]);
                // Whoever has enough hangs up first.
                let _ = connection.write_all(&answer);
            }
        });
        url
    }
    let ask = async |url: String| {
        let platform = SourcePlatform { url: Some(url), ..SourcePlatform::new(PlatformKind::Github) };
        let api = Api::new(&Connector::new(&platform).unwrap(), &platform, None).unwrap();
        api.identity().await.unwrap_err()
    };
    let cut = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"login\":".to_vec();
    let error = ask(serve(cut)).await;
    assert!(matches!(&error.reason, ApiProblem::Network(why) if why.to_string().contains("cut")), "{error}");
    let mut endless = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".to_vec();
    endless.resize(9 * 1024 * 1024, b' ');
    let error = ask(serve(endless)).await;
    assert!(matches!(&error.reason, ApiProblem::Unreadable(why) if why.to_string().contains("more than")), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_told_with_the_address() {
    let server = MockServer::start().await;
    let mut platform = platform(PlatformKind::Gitea, &server);
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    platform.url = Some(format!("http://{free}"));
    let api = Api::new(&Connector::new(&platform).unwrap(), &platform, None).unwrap();
    let error = api.identity().await.unwrap_err();
    assert_eq!(error.place, free.to_string());
    assert!(matches!(&error.reason, ApiProblem::Network(why) if why.to_string().contains("refused")), "{error}");
}

#[tokio::test]
async fn a_token_goes_over_plain_http_only_where_that_is_allowed() {
    let mut platform = SourcePlatform::new(PlatformKind::Gitlab);
    platform.url = Some("http://gitlab.example.com".into());
    let connector = Connector::new(&platform).unwrap();
    let error = Api::new(&connector, &platform, Some(Secret::new(TOKEN))).unwrap_err();
    assert_eq!(error.reason, ApiProblem::PlainHttp);
    assert!(Api::new(&connector, &platform, None).is_ok(), "there is nothing to hide");
    platform.plain_http = true;
    assert!(Api::new(&connector, &platform, Some(Secret::new(TOKEN))).is_ok());
}

#[tokio::test]
async fn what_has_no_api_says_so_and_what_is_no_repository_too() {
    for kind in [PlatformKind::Git, PlatformKind::AliyunCode] {
        let platform = SourcePlatform::new(kind);
        let error = Api::new(&Connector::new(&platform).unwrap(), &platform, None).unwrap_err();
        assert_eq!(error.reason, ApiProblem::NoApi { platform: kind.title() });
    }
    let server = MockServer::start().await;
    let here = SourceUrl::parse("/srv/git/acme/api.git").unwrap();
    let told = api(PlatformKind::Github, &server).set_status(&here, &commit(), &status(CommitState::Success)).await;
    assert!(matches!(told.unwrap_err().reason, ApiProblem::NoRepository { .. }));
    let mut platform = platform(PlatformKind::Bitbucket, &server);
    platform.organization = None;
    let api = Api::new(&Connector::new(&platform).unwrap(), &platform, None).unwrap();
    let error = api.repositories("", None).await.unwrap_err();
    assert!(error.to_string().contains("--organization WORKSPACE"), "{error}");
    let central = SourcePlatform::new(PlatformKind::Codeup);
    let api = Api::new(&Connector::new(&central).unwrap(), &central, None).unwrap();
    let error = api.repositories("", None).await.unwrap_err();
    assert!(error.to_string().contains("--organization ID"), "{error}");
}

#[test]
fn a_ca_and_a_proxy_that_are_none_are_told() {
    let mut platform = SourcePlatform::new(PlatformKind::Github);
    platform.ca = Some("/nowhere/ca.pem".into());
    let error = Connector::new(&platform).unwrap_err().to_string();
    assert!(error.contains("cannot read the certificates in /nowhere/ca.pem"), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    platform.ca = Some(file.path().display().to_string());
    let error = Connector::new(&platform).unwrap_err().to_string();
    assert!(error.contains("holds no certificate"), "{error}");
}
