//! What docker-registry cannot show without a token service beside it: tokens, pages, and a moment's overload.
//!
//! A registry of a few lines on a loopback port answers as the distribution specification says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, Response, StatusCode, header};
use slipway::registry::client::{Client, Settings};
use slipway::registry::credentials::{Credential, Password};
use slipway::registry::publish::publish;
use slipway::registry::{Built, Kind, PublishError, Target};

use crate::tools::{PASSWORD, ada, client, origin};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;
const INDEX_PATH: &str =
    "/v2/acme/api/manifests/sha256:bc5857ac9458293d5111ab85c952172cd7f56bceb4e3014ddc4cafac8927b313";
/// `ada:lovelace`
const ADA: &str = "Basic YWRhOmxvdmVsYWNl";

/// Runs the registry; returns its `host:port`.
async fn start() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (realm, lists) = (format!("http://{host}/token"), Arc::new(AtomicUsize::new(0)));
    let app = Router::new().fallback(move |request: Request| answer(request, realm.clone(), lists.clone()));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    host
}

fn fields(text: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    url.query_pairs().into_owned().collect()
}

async fn answer(request: Request, realm: String, lists: Arc<AtomicUsize>) -> Response<Body> {
    let reply = |status: StatusCode, body: String| Response::builder().status(status).body(Body::from(body)).unwrap();
    let (parts, body) = request.into_parts();
    let query = fields(parts.uri.query().unwrap_or_default());
    let proof = parts.headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap()).to_owned();
    let path = parts.uri.path();
    if path == "/token" {
        let form = fields(std::str::from_utf8(&to_bytes(body, 10_000).await.unwrap()).unwrap());
        let by_token = parts.method == Method::POST
            && form.get("grant_type").is_some_and(|grant| grant == "refresh_token")
            && form.get("refresh_token").is_some_and(|token| token == "identity");
        if !by_token && proof != ADA {
            return reply(StatusCode::UNAUTHORIZED, r#"{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}"#.into());
        }
        let scope = if by_token { &form["scope"] } else { &query["scope"] };
        return reply(StatusCode::OK, format!(r#"{{"access_token":"may {scope}"}}"#));
    }
    let may = |action: &str| proof.starts_with("Bearer may repository:acme/api:") && proof.contains(action);
    match (&parts.method, path) {
        (&Method::GET, "/v2/acme/api/tags/list") if may("pull") => {
            if lists.fetch_add(1, Ordering::SeqCst) == 0 {
                return reply(StatusCode::SERVICE_UNAVAILABLE, "in a moment".into());
            }
            // Two at a time, whatever was asked for.
            let all = ["a", "b", "c", "d", "e"];
            let after = query.get("last").map_or("", String::as_str);
            let page: Vec<_> = all.into_iter().filter(|tag| *tag > after).take(2).collect();
            reply(StatusCode::OK, serde_json::json!({"name": "acme/api", "tags": page}).to_string())
        }
        (&Method::HEAD, "/v2/acme/api/manifests/v1") if may("pull") => {
            Response::builder().header("Docker-Content-Digest", DIGEST).body(Body::empty()).unwrap()
        }
        (&Method::DELETE, "/v2/acme/api/manifests/v1") if may("delete") => reply(StatusCode::ACCEPTED, String::new()),
        (&Method::GET, INDEX_PATH) if may("pull") => reply(StatusCode::OK, INDEX.into()),
        (&Method::GET, _) if path.starts_with("/v2/acme/api/manifests/") && may("pull") => {
            reply(StatusCode::NOT_FOUND, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#.into())
        }
        (&Method::PUT, "/v2/acme/api/manifests/latest") if may("push") => {
            reply(StatusCode::CONFLICT, r#"{"errors":[{"code":"TAG_INVALID","message":"latest is frozen"}]}"#.into())
        }
        // Without a Location, as some registries answer.
        (&Method::PUT, _) if may("push") => reply(StatusCode::CREATED, String::new()),
        _ => {
            let challenge = format!(r#"Bearer realm="{realm}",service="registry""#);
            let unauthorised = Response::builder().status(StatusCode::UNAUTHORIZED);
            unauthorised.header(header::WWW_AUTHENTICATE, challenge).body(Body::empty()).unwrap()
        }
    }
}

async fn as_(credential: Credential) -> Client {
    client(&start().await, &Settings { plain_http: true, ca_file: None }, Some(credential))
}

#[tokio::test]
async fn a_token_is_got_for_each_thing_that_is_done() {
    for credential in [ada(PASSWORD), Credential::IdentityToken(Password::new("identity"))] {
        let client = as_(credential).await;
        assert_eq!(client.head("v1").await.unwrap().as_deref(), Some(DIGEST));
        client.put("v1", b"{}", "application/json").await.unwrap();
        client.put(DIGEST, b"", "application/json").await.unwrap();
        assert_eq!(client.delete_tag("v1").await.unwrap(), DIGEST);
    }
}

#[tokio::test]
async fn a_wrong_token_or_password_is_told_as_such() {
    for credential in [ada("wrong"), Credential::IdentityToken(Password::new("wrong"))] {
        let client = as_(credential).await;
        let error = client.head("v1").await.unwrap_err();
        assert!(matches!(error.kind, Kind::Credentials { .. }), "{error}");
    }
}

#[tokio::test]
async fn every_page_of_tags_is_read_and_a_moments_overload_does_not_matter() {
    assert_eq!(as_(ada(PASSWORD)).await.tags().await.unwrap(), ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_registry_that_fails_after_the_first_tag_has_that_one_told() {
    let target = Target::from(as_(ada(PASSWORD)).await);
    let digest = INDEX_PATH.rsplit('/').next().unwrap().to_owned();
    let origin = origin("c1", 1);
    let annotations = origin.annotations();
    let image = Built { platform_builds: vec![digest], origin, annotations };
    let tags = ["latest", "v1-c1"].map(str::to_owned);
    let error = publish(&target, &image, &tags, false, |_| false).await.unwrap_err();
    assert!(error.to_string().contains("latest is frozen"), "{error}");
    let PublishError::Halfway { moved, .. } = error else { panic!("{error}") };
    assert_eq!(moved.iter().map(|one| one.tag.as_str()).collect::<Vec<_>>(), ["v1-c1"]);
}
