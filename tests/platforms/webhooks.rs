//! Webhooks are made once, and brought in line where they are there.

use serde_json::{Value, json};
use slipway::domain::platform_account::RegisteredWebhook;
use slipway::domain::source_platform::PlatformKind;
use slipway::store::secrets::Secret;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer};

use crate::support::{api, asked, json as json_answer, source};

const URL: &str = "https://build.example.com/forge";
const SECRET: &str = "a secret that nobody guesses";

/// How a platform has webhooks.
struct Way {
    kind: PlatformKind,
    /// Where its list is.
    list: &'static str,
    /// A list with ours at its end, and another's.
    there: Value,
    /// How ours is changed: method and path.
    change: (&'static str, &'static str),
    /// What ours is to be.
    body: Value,
    /// What is said only when it is made.
    made: Value,
}

fn ways() -> Vec<Way> {
    let like_github = json!({ "active": true, "events": ["push"],
        "config": { "url": URL, "content_type": "json", "secret": SECRET, "insecure_ssl": "0" } });
    let hooks = json!([{ "id": 1, "type": "Repository", "config": { "url": "https://other.example.com/forge" } },
        { "id": 12, "type": "Repository", "config": { "url": URL, "secret": "********" } }]);
    let flat = json!([{ "id": 1, "url": "https://other.example.com/forge" }, { "id": 12, "url": URL }]);
    vec![
        Way {
            kind: PlatformKind::Github,
            list: "/api/v3/repos/acme/api/hooks",
            there: hooks.clone(),
            change: ("PATCH", "/api/v3/repos/acme/api/hooks/12"),
            body: like_github.clone(),
            made: json!({ "name": "web" }),
        },
        Way {
            kind: PlatformKind::Gitea,
            list: "/api/v1/repos/acme/api/hooks",
            there: hooks,
            change: ("PATCH", "/api/v1/repos/acme/api/hooks/12"),
            body: like_github,
            made: json!({ "type": "gitea" }),
        },
        Way {
            kind: PlatformKind::Gitlab,
            list: "/api/v4/projects/acme%2Fapi/hooks",
            there: flat.clone(),
            change: ("PUT", "/api/v4/projects/acme%2Fapi/hooks/12"),
            body: json!({ "url": URL, "token": SECRET, "push_events": true, "tag_push_events": true,
                "enable_ssl_verification": true }),
            made: json!({}),
        },
        Way {
            kind: PlatformKind::Bitbucket,
            list: "/2.0/repositories/acme/api/hooks",
            there: json!({ "pagelen": 100, "values": [{ "uuid": "{b}", "url": URL, "secret_set": true }] }),
            change: ("PUT", "/2.0/repositories/acme/api/hooks/%7Bb%7D"),
            body: json!({ "description": "slipway", "url": URL, "active": true, "events": ["repo:push"],
                "secret": SECRET }),
            made: json!({}),
        },
        Way {
            kind: PlatformKind::Gitee,
            list: "/api/v5/repos/acme/api/hooks",
            there: flat.clone(),
            change: ("PATCH", "/api/v5/repos/acme/api/hooks/12"),
            body: json!({ "url": URL, "password": SECRET, "encryption_type": 1, "push_events": true,
                "tag_push_events": true }),
            made: json!({}),
        },
        Way {
            kind: PlatformKind::Codeup,
            list: "/oapi/v1/codeup/organizations/acme/repositories/acme%2Fapi/webhooks",
            there: flat,
            change: ("PUT", "/oapi/v1/codeup/organizations/acme/repositories/acme%2Fapi/webhooks/12"),
            body: json!({ "description": "slipway", "url": URL, "token": SECRET, "pushEvents": true,
                "tagPushEvents": true, "mergeRequestsEvents": false, "noteEvents": false,
                "enableSslVerification": true }),
            made: json!({}),
        },
    ]
}

/// Registers ours where the list is `there`; what came of it, and the last request.
async fn register(way: &Way, there: &Value) -> (RegisteredWebhook, (String, String, Value)) {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path(way.list))
        .respond_with(json_answer(200, &there.to_string()))
        .mount(&server)
        .await;
    for changing in ["POST", "PUT", "PATCH"] {
        Mock::given(method(changing)).respond_with(json_answer(201, "{\"id\":12}")).mount(&server).await;
    }
    let registered = api(way.kind, &server).register_webhook(&source(), URL, &Secret::new(SECRET)).await;
    (registered.unwrap_or_else(|error| panic!("{:?}: {error}", way.kind)), asked(&server).await.pop().unwrap())
}

#[tokio::test]
async fn a_webhook_is_made_on_every_platform() {
    for way in ways() {
        let none = if way.there.is_array() { json!([]) } else { json!({ "values": [] }) };
        let mut body = way.body.clone();
        body.as_object_mut().unwrap().extend(way.made.as_object().unwrap().clone());
        let (registered, request) = register(&way, &none).await;
        assert_eq!(registered, RegisteredWebhook::Created, "{:?}", way.kind);
        assert_eq!(request, ("POST".into(), way.list.into(), body), "{:?}", way.kind);
    }
}

#[tokio::test]
async fn a_webhook_that_is_there_gets_the_secret_and_the_events() {
    for way in ways() {
        let (registered, request) = register(&way, &way.there).await;
        assert_eq!(registered, RegisteredWebhook::Updated, "{:?}", way.kind);
        let (method, path) = way.change;
        assert_eq!(request, (method.into(), path.into(), way.body.clone()), "{:?}", way.kind);
    }
}

#[tokio::test]
async fn a_webhook_is_found_on_a_later_page() {
    let way = &ways()[0];
    let server = MockServer::start().await;
    let next = "</api/v3/repos/acme/api/hooks?page=2>; rel=\"next\"";
    let second = json_answer(200, &way.there.to_string());
    Mock::given(wiremock::matchers::query_param("page", "2")).respond_with(second).mount(&server).await;
    let first = json_answer(200, "[]").insert_header("link", next);
    Mock::given(method("GET")).and(path(way.list)).respond_with(first).mount(&server).await;
    Mock::given(method("PATCH")).respond_with(json_answer(200, "{}")).mount(&server).await;
    let registered = api(way.kind, &server).register_webhook(&source(), URL, &Secret::new(SECRET)).await;
    assert_eq!(registered.unwrap(), RegisteredWebhook::Updated);
}
