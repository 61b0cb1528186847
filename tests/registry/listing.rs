//! A list of tags in which some can't be read: each is a row of its own, and no other row is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use slipway::domain::config::RegistrySettings;
use slipway::domain::image_tag::{MOST_TAGS, TagInfo};
use slipway::domain::namespace::Namespace;
use slipway::registry::image::sha256;
use slipway::services::image_cache::ImageCache;
use slipway::services::images;
use slipway::store::Home;
use slipway::store::settings::Settings;

const MANIFEST: &str = r#"{"schemaVersion":2,"layers":[{"mediaType":"l","digest":"sha256:l","size":7}]}"#;

/// A Helm chart; the digest is that of `{}`.
const CHART: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","size":2,
    "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}"#;
/// An index whose manifest is gone.
const LOST: &str = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":5,
    "digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000",
    "platform":{"os":"linux","architecture":"arm64"}}]}"#;

async fn answer(request: Request) -> Response<String> {
    let reply = |status: StatusCode, body: &str| Response::builder().status(status).body(body.to_owned()).unwrap();
    let listed = format!(
        r#"{{"tags":["good","{}","\u001b[2J.odd","broken","gone","another","old","chart","lost","{}"]}}"#,
        "-",
        "x".repeat(9000)
    );
    match request.uri().path() {
        "/v2/" => reply(StatusCode::OK, "{}"),
        "/v2/acme/api/tags/list" => reply(StatusCode::OK, &listed),
        "/v2/acme/api/manifests/good" | "/v2/acme/api/manifests/another" => reply(StatusCode::OK, MANIFEST),
        "/v2/acme/api/manifests/broken" => reply(StatusCode::OK, "<html>"),
        "/v2/acme/api/manifests/old" => reply(StatusCode::OK, r#"{"schemaVersion":1,"fsLayers":[]}"#),
        "/v2/acme/api/manifests/chart" => reply(StatusCode::OK, CHART),
        "/v2/acme/api/manifests/lost" => reply(StatusCode::OK, LOST),
        lost if lost.ends_with(&"0".repeat(64)) => reply(StatusCode::NOT_FOUND, ""),
        config if config.starts_with("/v2/acme/api/blobs/") => reply(StatusCode::OK, "{}"),
        "/v2/acme/api/manifests/gone" => reply(StatusCode::NOT_FOUND, ""),
        other => panic!("{other}"),
    }
}

/// Settings of a home whose namespace `acme` publishes at a host that speaks plain http.
fn publishing_at(host: String) -> Settings {
    let mut settings = Settings::default();
    settings.namespaces.insert("acme".into(), Namespace { registry: host.clone(), ..Namespace::default() });
    settings.registries.insert(host, RegistrySettings { plain_http: true, ..RegistrySettings::default() });
    settings
}

/// A registry of many tags, with pages that only it can name: how many requests it got, and how many are open at most.
#[derive(Default)]
struct Counts {
    all: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

const TAGS: usize = 3_000;
const PAGE: usize = 100;

/// The image of the tag with a number: `images` different ones, each an index of one manifest.
fn manifest(number: usize) -> String {
    format!(r#"{{"schemaVersion":2,"layers":[{{"mediaType":"l","digest":"sha256:l","size":{number}}}]}}"#)
}

fn index(number: usize) -> String {
    let digest = sha256(manifest(number).as_bytes());
    let platform = r#""platform":{"os":"linux","architecture":"amd64"}"#;
    format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":5,
        "digest":"{digest}",{platform}}}]}}"#
    )
}

fn of_many(path: &str, query: Option<&str>, images: usize) -> Response<String> {
    let reply = |body: String| Response::builder().body(body).unwrap();
    if path == "/v2/" {
        return reply("{}".into());
    }
    if path == "/v2/acme/api/tags/list" {
        let page: usize =
            query.and_then(|query| query.split_once("page=")).map_or(0, |(_, page)| page.parse().unwrap());
        let names: Vec<String> = (page * PAGE..(page + 1) * PAGE).map(|number| format!("\"t{number:04}\"")).collect();
        let mut answer = reply(format!(r#"{{"tags":[{}]}}"#, names.join(",")));
        if (page + 1) * PAGE < TAGS {
            let link = format!("</v2/acme/api/tags/list?page={}>; rel=\"next\"", page + 1);
            answer.headers_mut().insert("link", link.parse().unwrap());
        }
        return answer;
    }
    let reference = path.strip_prefix("/v2/acme/api/manifests/").unwrap();
    match reference.strip_prefix('t') {
        Some(number) => reply(index(number.parse::<usize>().unwrap() % images)),
        None => reply((0..images).map(manifest).find(|text| sha256(text.as_bytes()) == reference).unwrap()),
    }
}

/// Lists all tags as the command line does; how many requests that took, and at most at a time.
async fn list_many(images: usize) -> (Vec<TagInfo>, usize, usize) {
    let counts = Arc::new(Counts::default());
    let counted = counts.clone();
    let answer = move |request: Request| {
        let counts = counted.clone();
        async move {
            counts.all.fetch_add(1, Ordering::SeqCst);
            counts.most_open.fetch_max(counts.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            let answer = of_many(request.uri().path(), request.uri().query(), images);
            counts.open.fetch_sub(1, Ordering::SeqCst);
            answer
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = publishing_at(listener.local_addr().unwrap().to_string());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    let home = tempfile::tempdir().unwrap();
    let (home, path, cache) = (Home::at(home.path()), "acme/api".parse().unwrap(), ImageCache::default());
    let names = images::tag_names(&home, &settings, &path).await.unwrap().tags;
    let (mut tags, mut further) = (Vec::new(), 120);
    for some in names.chunks(MOST_TAGS) {
        let page = images::tags(&home, &settings, &cache, &path, some, further).await.unwrap();
        further -= page.further_requests;
        tags.extend(page.tags);
    }
    (tags, counts.all.load(Ordering::SeqCst), counts.most_open.load(Ordering::SeqCst))
}

#[tokio::test]
async fn three_thousand_tags_of_few_images_are_listed_whole_in_few_requests() {
    let (tags, requests, at_once) = list_many(40).await;
    assert_eq!(tags.len(), TAGS);
    assert!(tags.iter().enumerate().all(|(number, tag)| tag.tag == format!("t{number:04}")));
    assert!(tags.iter().enumerate().all(|(number, tag)| tag.size == Some(number as u64 % 40)), "sizes are known");
    assert!(requests <= 3_200, "{requests}");
    assert!((2..=8).contains(&at_once), "{at_once}");
}

#[tokio::test]
async fn three_thousand_tags_of_as_many_images_take_no_more_requests_and_say_what_their_indexes_say() {
    let (tags, requests, _) = list_many(TAGS).await;
    assert_eq!(tags.len(), TAGS);
    assert!(tags.iter().all(|tag| tag.platforms == ["linux/amd64"] && tag.problem.is_none()));
    assert!(tags.iter().any(|tag| tag.size.is_none()) && requests <= 3_200, "{requests}");
}

#[tokio::test]
async fn an_odd_tag_is_one_odd_row_and_no_lost_list() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });

    let home = tempfile::tempdir().unwrap();
    let settings = publishing_at(host);
    let (home, path) = (Home::at(home.path()), "acme/api".parse().unwrap());
    let names = images::tag_names(&home, &settings, &path).await.unwrap();
    let cache = ImageCache::default();
    let tags = images::tags(&home, &settings, &cache, &path, &names.tags, 100).await.unwrap().tags;
    let named = |name: &str| tags.iter().find(|tag| tag.tag == name).unwrap_or_else(|| panic!("{name}: {tags:#?}"));
    for good in ["good", "another"] {
        assert_eq!((named(good).size, &named(good).digest), (Some(7), &sha256(MANIFEST.as_bytes())));
        assert_eq!(named(good).problem, None);
    }
    assert!(named("broken").problem.as_ref().unwrap().to_string().contains("no manifest"));
    assert!(named("old").problem.as_ref().unwrap().to_string().contains("schema 1"));
    assert_eq!(named("chart").artifact.as_deref(), Some("application/vnd.cncf.helm.config.v1+json"));
    let lost = named("lost");
    assert!(lost.problem.as_ref().unwrap().to_string().contains("sha256:000000"), "{lost:?}");
    assert_eq!((&lost.platforms, lost.size), (&vec!["linux/arm64".to_owned()], None));
    let known = ["broken", "old", "lost"];
    let odd: Vec<_> = tags.iter().filter(|tag| tag.problem.is_some() && !known.contains(&tag.tag.as_str())).collect();
    assert_eq!(odd.len(), 3, "{tags:#?}");
    assert!(odd.iter().all(|tag| tag.tag.chars().count() <= 128 && !tag.tag.contains('\u{1b}')), "{odd:#?}");
    assert_eq!(tags.len(), 9, "{tags:#?}");
}
