//! A list of tags in which some can't be read: each is a row of its own, and no other row is lost.

use axum::Router;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use slipway::domain::config::RegistrySettings;
use slipway::domain::namespace::Namespace;
use slipway::registry::image::sha256;
use slipway::services::images;
use slipway::store::Home;
use slipway::store::settings::Settings;

const MANIFEST: &str = r#"{"schemaVersion":2,"layers":[{"mediaType":"l","digest":"sha256:l","size":7}]}"#;

async fn answer(request: Request) -> Response<String> {
    let reply = |status: StatusCode, body: &str| Response::builder().status(status).body(body.to_owned()).unwrap();
    let listed =
        format!(r#"{{"tags":["good","{}","\u001b[2J.odd","broken","gone","another","{}"]}}"#, "-", "x".repeat(9000));
    match request.uri().path() {
        "/v2/" => reply(StatusCode::OK, "{}"),
        "/v2/acme/api/tags/list" => reply(StatusCode::OK, &listed),
        "/v2/acme/api/manifests/good" | "/v2/acme/api/manifests/another" => reply(StatusCode::OK, MANIFEST),
        "/v2/acme/api/manifests/broken" => reply(StatusCode::OK, "<html>"),
        "/v2/acme/api/manifests/gone" => reply(StatusCode::NOT_FOUND, ""),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_odd_tag_is_one_odd_row_and_no_lost_list() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });

    let home = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.namespaces.insert("acme".into(), Namespace { registry: host.clone(), ..Namespace::default() });
    settings.registries.insert(host, RegistrySettings { plain_http: true, ..RegistrySettings::default() });
    let tags = images::tags(&Home::at(home.path()), &settings, &"acme/api".parse().unwrap()).await.unwrap();
    let named = |name: &str| tags.iter().find(|tag| tag.tag == name).unwrap_or_else(|| panic!("{name}: {tags:#?}"));
    for good in ["good", "another"] {
        assert_eq!((named(good).size, &named(good).digest), (7, &sha256(MANIFEST.as_bytes())));
        assert_eq!(named(good).problem, None);
    }
    assert!(named("broken").problem.as_ref().unwrap().to_string().contains("no manifest"));
    let odd: Vec<_> = tags.iter().filter(|tag| tag.problem.is_some() && tag.tag != "broken").collect();
    assert_eq!(odd.len(), 3, "{tags:#?}");
    assert!(odd.iter().all(|tag| tag.tag.chars().count() <= 128 && !tag.tag.contains('\u{1b}')), "{odd:#?}");
    assert_eq!(tags.len(), 6, "{tags:#?}");
}
