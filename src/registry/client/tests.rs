//! Registries that lie: endless, slow, circular, nonsensical. What is read of them is counted by the servers
//! themselves.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;
use crate::domain::reference::check_tag;
use crate::registry::credentials::Password;
use crate::registry::image::{self, sha256};

const MIB: usize = 1024 * 1024;
/// What the kernel holds between a server and a client that has stopped to read, at most.
const IN_FLIGHT: usize = 12 * MIB;
const MANIFEST: &str = r#"{"schemaVersion":2,"layers":[]}"#;

/// What a server does with a request.
enum Reply {
    /// Headers and a body, with its length.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A success that says this and then repeats that for ever.
    Endless(&'static str, Vec<u8>),
    /// An error with a body that never ends.
    EndlessError(u16),
    /// One byte of an answer at a time, until the client hangs up.
    Drip,
}

fn ok(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Whole(200, Vec::new(), body.into())
}

fn status(status: u16) -> Reply {
    Reply::Whole(status, Vec::new(), Vec::new())
}

/// A request as a server sees it.
struct Seen {
    method: String,
    /// Path and query.
    path: String,
    head: String,
}

#[derive(Clone)]
struct Server {
    host: String,
    sent: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&Seen, &str) -> Reply + Send + Sync + 'static) -> Server {
        Server::listen(answer, |stream| Box::new(stream))
    }

    fn listen(
        answer: impl Fn(&Seen, &str) -> Reply + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let server = Server { host: host.clone(), sent: Arc::default(), seen: Arc::default() };
        let (counted, answer) = (server.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (counted, answer, mut stream) = (counted.clone(), answer.clone(), wrap(stream));
                // A client that has heard enough hangs up.
                thread::spawn(move || {
                    let _ = counted.serve(&mut *stream, &*answer);
                });
            }
        });
        server
    }

    fn serve(&self, stream: &mut dyn Stream, answer: &dyn Fn(&Seen, &str) -> Reply) -> std::io::Result<()> {
        let seen = request(stream)?;
        self.seen.lock().unwrap().push(format!("{} {}\n{}", seen.method, seen.path, seen.head));
        let mut send = |bytes: &[u8]| {
            self.sent.fetch_add(bytes.len(), Ordering::SeqCst);
            stream.write_all(bytes)
        };
        let head = |status: u16| format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
        match answer(&seen, &self.host) {
            Reply::Whole(status, headers, body) => {
                let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                send(format!("{}{headers}Content-Length: {}\r\n\r\n", head(status), body.len()).as_bytes())?;
                if seen.method != "HEAD" {
                    send(&body)?;
                }
                stream.finish()
            }
            Reply::Endless(begin, again) => {
                send(format!("{}\r\n{begin}", head(200)).as_bytes())?;
                loop {
                    send(&again)?;
                }
            }
            Reply::EndlessError(status) => {
                send(format!("{}\r\n", head(status)).as_bytes())?;
                loop {
                    send(&[b'x'; 4096])?;
                }
            }
            Reply::Drip => {
                send(format!("{}Content-Length: 1000000\r\n\r\n", head(200)).as_bytes())?;
                loop {
                    send(b" ")?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    fn client(&self, settings: &Settings, credential: Option<Credential>) -> Client {
        let name = ImageName::remote(&format!("{}/acme/api", self.host)).unwrap();
        Client::new(&name, settings, credential).unwrap()
    }

    fn plain(&self) -> Client {
        self.client(&Settings { plain_http: true, ca_file: None }, None)
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

trait Stream: Read + Write + Send {
    fn finish(&mut self) -> std::io::Result<()> {
        self.flush()
    }
}

impl Stream for TcpStream {}

impl Stream for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn finish(&mut self) -> std::io::Result<()> {
        self.conn.send_close_notify();
        self.flush()
    }
}

fn request(stream: &mut dyn Stream) -> std::io::Result<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    stream.read_exact(&mut vec![0; length])?;
    let mut first = head.split(' ').map(str::to_owned);
    Ok(Seen { method: first.next().unwrap().to_uppercase(), path: first.next().unwrap(), head: head.clone() })
}

/// A registry that lets everyone in, with these answers below `/v2/acme/api/`.
fn registry(answer: impl Fn(&Seen, &str) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |seen, host| match seen.path.strip_prefix("/v2/acme/api") {
        Some(_) => answer(seen, host),
        None => ok("{}"),
    })
}

fn ada() -> Option<Credential> {
    Some(Credential::Basic { user: "ada".into(), password: Password::new("lovelace") })
}

fn unusable<T: std::fmt::Debug>(outcome: Result<T, RegistryError>) -> String {
    match outcome {
        Err(RegistryError { kind: Kind::Unusable(why), .. }) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_endless_manifest_is_left_after_four_mebibytes() {
    let endless = || Reply::Endless("{\"schemaVersion\":2,\"x\":\"", vec![b'x'; 64 * 1024]);
    let server = registry(move |seen, _| if seen.method == "HEAD" { status(200) } else { endless() });
    let client = server.plain();
    assert!(unusable(client.head("v1").await).contains("more than 4194304 bytes"));
    assert!(unusable(client.manifest("v1").await).contains("bytes"));
    assert!(unusable(client.inspect("v1").await).contains("bytes"));
    assert!(server.sent() < 3 * (4 * MIB + IN_FLIGHT), "{}", server.sent());
}

#[tokio::test]
async fn an_answer_that_says_that_it_is_too_large_is_not_read() {
    let server = registry(|_, _| Reply::Whole(200, vec![], vec![b' '; 40 * MIB]));
    assert!(unusable(server.plain().manifest("v1").await).contains("bytes"));
    assert!(server.sent() <= 40 * MIB + 1000);
}

#[tokio::test]
async fn endless_error_texts_are_cut_to_their_beginning() {
    let server = registry(|_, _| Reply::EndlessError(400));
    let error = server.plain().manifest("v1").await.unwrap_err();
    let Kind::Refused { status: Some(400), message } = error.kind else { panic!("{error}") };
    assert_eq!(message.to_string(), "x".repeat(300));
    assert!(server.sent() < MIB + IN_FLIGHT, "{}", server.sent());
}

#[tokio::test]
async fn an_endless_token_is_left() {
    let server = Server::start(|seen, host| {
        if seen.path.starts_with("/token") {
            return Reply::Endless("{\"token\":\"", vec![b'x'; 64 * 1024]);
        }
        Reply::Whole(401, vec![("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\""))], vec![])
    });
    assert!(unusable(server.plain().tags().await).contains("more than 1048576 bytes"));
    assert!(server.sent() < 2 * MIB + IN_FLIGHT, "{}", server.sent());
}

#[tokio::test]
async fn a_list_of_tags_without_end_is_left_after_a_hundred_thousand() {
    let page = AtomicUsize::new(0);
    let server = registry(move |_, _| {
        let page = page.fetch_add(1, Ordering::SeqCst);
        let tags: Vec<String> = (0..1000).map(|tag| format!("t{page}-{tag}")).collect();
        ok(serde_json::json!({ "tags": tags }).to_string())
    });
    assert!(unusable(server.plain().tags().await).contains("more than 100000 tags"));
    let lists = server.seen().iter().filter(|seen| seen.contains("/tags/list")).count();
    assert_eq!(lists, 101);
}

#[tokio::test]
async fn pages_that_bring_nothing_and_never_end_are_left_by_their_number() {
    let page = AtomicUsize::new(0);
    let server = registry(move |_, _| {
        let next = format!("</v2/acme/api/tags/list?page={}>; rel=\"next\"", page.fetch_add(1, Ordering::SeqCst));
        Reply::Whole(200, vec![("Link", next)], b"{\"tags\":[]}".to_vec())
    });
    assert!(unusable(server.plain().tags().await).contains("2000 pages"));
}

#[tokio::test]
async fn pages_in_a_circle_are_read_once() {
    for next in ["?page=2", "/v2/acme/api/tags/list?page=2", "?n=1000"] {
        let server = registry(move |seen, _| {
            let tag = if seen.path.contains("page=2") { "two" } else { "one" };
            let body = format!("{{\"tags\":[\"{tag}\"]}}");
            Reply::Whole(200, vec![("Link", format!("<{next}>; rel=\"next\""))], body.into_bytes())
        });
        let expected: &[&str] = if next.contains("page") { &["one", "two"] } else { &["one"] };
        assert_eq!(server.plain().tags().await.unwrap(), expected, "{next}");
    }
    let everything = registry(|_, _| ok("{\"tags\":[\"b\",\"a\"]}"));
    assert_eq!(everything.plain().tags().await.unwrap(), ["a", "b"]);
    assert_eq!(everything.seen().iter().filter(|seen| seen.contains("/tags/list")).count(), 2);
}

#[tokio::test]
async fn a_page_on_another_server_is_not_asked_for() {
    let stranger = registry(|_, _| ok("{\"tags\":[\"x\"]}"));
    let there = stranger.host.clone();
    let server = registry(move |_, _| {
        let next = format!("<http://{there}/v2/acme/api/tags/list>; rel=\"next\"");
        Reply::Whole(200, vec![("Link", next)], b"{\"tags\":[\"a\"]}".to_vec())
    });
    assert!(unusable(server.plain().tags().await).contains("another server"));
    assert!(stranger.seen().is_empty());
}

#[tokio::test]
async fn odd_names_of_tags_are_listed_and_break_nothing() {
    let odd = ["", ".hidden", "v1", "a b", "\u{9b}31m", &"x".repeat(200)].map(str::to_owned);
    let body = serde_json::json!({ "name": 7, "tags": odd }).to_string();
    let server = registry(move |seen, _| match seen.path.contains("/tags/list") {
        true => ok(body.clone()),
        false => status(404),
    });
    let client = server.plain();
    let tags = client.tags().await.unwrap();
    assert_eq!(tags.len(), odd_count(&tags) + 1);
    // None of them becomes a part of an address.
    assert!(unusable(client.head(".hidden").await).contains("begin with"));
    assert!(!server.seen().iter().any(|seen| seen.contains("hidden")));
}

fn odd_count(tags: &[String]) -> usize {
    tags.iter().filter(|tag| check_tag(tag).is_err()).count()
}

#[tokio::test]
async fn a_server_that_drips_or_never_answers_costs_no_more_than_its_time() {
    let server = registry(|_, _| Reply::Drip);
    let mut client = server.plain();
    client.session.http.patience = Duration::from_millis(200);
    let error = client.manifest("v1").await.unwrap_err();
    assert!(
        matches!(&error.kind, Kind::Network(error) if error.why.to_string().contains("no answer within")),
        "{error}"
    );
    // Not repeated: one request to the front door, one for the manifest.
    assert_eq!(server.seen().len(), 2);

    let mut client = server.plain();
    client.patience = Duration::from_millis(200);
    let error = client.tags().await.unwrap_err();
    assert!(
        matches!(&error.kind, Kind::Network(error) if error.why.to_string().contains("no answer within")),
        "{error}"
    );
}

#[tokio::test]
async fn content_must_have_the_digest_that_it_goes_by() {
    let other = sha256(b"other");
    let told = other.clone();
    let server = registry(move |seen, _| match seen.path.as_str() {
        "/v2/acme/api/manifests/honest" => {
            Reply::Whole(200, vec![("Docker-Content-Digest", sha256(MANIFEST.as_bytes()))], MANIFEST.into())
        }
        "/v2/acme/api/manifests/silent" => ok(MANIFEST),
        "/v2/acme/api/manifests/odd" => {
            Reply::Whole(200, vec![("Docker-Content-Digest", "md5:x".into())], MANIFEST.into())
        }
        _ => Reply::Whole(200, vec![("Docker-Content-Digest", told.clone())], MANIFEST.into()),
    });
    let client = server.plain();
    for tag in ["honest", "silent", "odd"] {
        assert_eq!(client.manifest(tag).await.unwrap().unwrap().digest, sha256(MANIFEST.as_bytes()), "{tag}");
        assert_eq!(client.head(tag).await.unwrap(), Some(sha256(MANIFEST.as_bytes())), "{tag}");
    }
    assert!(unusable(client.manifest("liar").await).contains("another digest"));
    assert!(unusable(client.manifest(&other).await).contains("another digest"));
    let sha512 = format!("sha512:{}", "0".repeat(128));
    assert!(unusable(client.manifest(&sha512).await).contains("another digest"));
}

#[tokio::test]
async fn a_registry_that_knows_no_head_is_asked_for_the_manifest() {
    let server = registry(|seen, _| if seen.method == "HEAD" { status(405) } else { ok(MANIFEST) });
    assert_eq!(server.plain().head("v1").await.unwrap(), Some(sha256(MANIFEST.as_bytes())));
    let server = registry(|_, _| status(404));
    assert_eq!(server.plain().head("v1").await.unwrap(), None);
}

#[tokio::test]
async fn nonsense_is_told_as_such_and_harms_nothing() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many = format!("{{\"schemaVersion\":2,\"x\":[{}1]}}", "1,".repeat(MIB));
    let sizes = format!(
        "{{\"schemaVersion\":2,\"layers\":[{}]}}",
        (0..3)
            .map(|layer| format!("{{\"mediaType\":\"l\",\"digest\":\"{layer}\",\"size\":{}}}", u64::MAX))
            .collect::<Vec<_>>()
            .join(",")
    );
    let children = |count: usize| {
        let child = format!("{{\"mediaType\":\"{}\",\"digest\":\"{}\",\"size\":1}}", image::MANIFEST, sha256(b"x"));
        format!("{{\"schemaVersion\":2,\"manifests\":[{}]}}", vec![child; count].join(","))
    };
    for (body, word) in [
        ("null".to_owned(), "no manifest"),
        ("[]".to_owned(), "no manifest"),
        ("{\"schemaVersion\":\"two\"}".to_owned(), "no manifest"),
        ("{\"schemaVersion\":2,\"manifests\":{}}".to_owned(), "no manifest"),
        ("\u{feff}<html>".to_owned(), "no manifest"),
        (deep, "no manifest"),
        (many, "elements"),
        (children(1001), "1001 manifests"),
    ] {
        let server = registry(move |_, _| ok(body.clone()));
        let why = unusable(server.plain().inspect("v1").await);
        assert!(why.contains(word), "{why}");
    }
    let server = registry(move |_, _| ok(sizes.clone()));
    assert_eq!(server.plain().inspect("v1").await.unwrap().size, u64::MAX);
    for tags in ["[]", "{\"tags\":[1]}", "{\"tags\":\"x\"}", "{\"tags\":{}}", "no"] {
        let server = registry(move |_, _| ok(tags));
        assert!(unusable(server.plain().tags().await).contains("no list of tags"), "{tags}");
    }
    for none in ["{}", "{\"tags\":null}"] {
        let server = registry(move |_, _| ok(none));
        assert_eq!(server.plain().tags().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_image_of_many_large_manifests_is_left_and_a_large_configuration_is_not_read() {
    let manifest = |number: usize| format!("{{\"schemaVersion\":2,\"x\":\"{number}{}\"}}", "x".repeat(3 * MIB));
    let children: Vec<String> = (0..8)
        .map(|number| {
            let digest = sha256(manifest(number).as_bytes());
            format!("{{\"mediaType\":\"{}\",\"digest\":\"{digest}\",\"size\":1}}", image::MANIFEST)
        })
        .collect();
    let index = format!("{{\"schemaVersion\":2,\"manifests\":[{}]}}", children.join(","));
    let by_digest: Vec<(String, usize)> = (0..8).map(|number| (sha256(manifest(number).as_bytes()), number)).collect();
    let server = registry(move |seen, _| match by_digest.iter().find(|(digest, _)| seen.path.ends_with(digest)) {
        Some((_, number)) => ok(manifest(*number)),
        None => ok(index.clone()),
    });
    assert!(unusable(server.plain().inspect("v1").await).contains("16777216"));
    assert!(server.sent() < 30 * MIB, "{}", server.sent());

    let large = format!(
        "{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"c\",\"digest\":\"{}\",\"size\":{}}},\"layers\":[]}}",
        sha256(b"c"),
        1_u64 << 40
    );
    let server =
        registry(
            move |seen, _| {
                if seen.path.contains("/blobs/") { Reply::Endless("", vec![0; 65536]) } else { ok(large.clone()) }
            },
        );
    assert_eq!(server.plain().inspect("v1").await.unwrap().created, None);
    assert!(!server.seen().iter().any(|seen| seen.contains("/blobs/")));

    let lying = format!(
        "{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"c\",\"digest\":\"{}\",\"size\":100}},\"layers\":[]}}",
        sha256(b"c")
    );
    let server =
        registry(
            move |seen, _| {
                if seen.path.contains("/blobs/") { Reply::Endless("", vec![0; 65536]) } else { ok(lying.clone()) }
            },
        );
    assert!(unusable(server.plain().inspect("v1").await).contains("more than 100 bytes"));
    assert!(server.sent() < MIB + IN_FLIGHT, "{}", server.sent());
}

#[tokio::test]
async fn a_blob_on_another_server_is_fetched_without_credentials() {
    let config = r#"{"created":"2020-01-01T00:00:00Z"}"#;
    let storage = Server::start(move |_, _| ok(config));
    let there = storage.host.clone();
    let manifest = format!(
        "{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"c\",\"digest\":\"{}\",\"size\":{}}},\"layers\":[]}}",
        sha256(config.as_bytes()),
        config.len()
    );
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        _ if !seen.head.contains("authorization: basic ywrhomxvdmvsywnl") => {
            Reply::Whole(401, vec![("WWW-Authenticate", "Basic realm=\"r\"".into())], vec![])
        }
        "/v2/" => ok("{}"),
        path if path.contains("/blobs/") => {
            Reply::Whole(307, vec![("Location", format!("http://{there}/signed?x=1"))], vec![])
        }
        _ => ok(manifest.clone()),
    });
    let client = server.client(&Settings { plain_http: true, ca_file: None }, ada());
    assert!(client.inspect("v1").await.unwrap().created.is_some());
    let seen = storage.seen();
    assert!(seen.len() == 1 && seen[0].contains("get /signed") && !seen[0].contains("authorization"), "{seen:?}");
}

#[tokio::test]
async fn redirects_without_end_and_of_changes_are_not_followed() {
    let server = registry(|seen, _| Reply::Whole(307, vec![("Location", format!("{}x", seen.path))], vec![]));
    assert!(unusable(server.plain().manifest("v1").await).contains("more than 5 times"));
    let stranger = Server::start(|_, _| status(201));
    let there = stranger.host.clone();
    let server = registry(move |_, _| Reply::Whole(307, vec![("Location", format!("http://{there}/take"))], vec![]));
    assert!(unusable(server.plain().put("v1", b"{}", "application/json").await).contains("is not sent on"));
    assert!(stranger.seen().is_empty());
}

#[tokio::test]
async fn a_registry_that_is_spoken_to_over_tls_sends_nobody_to_plain_http() {
    let eavesdropper = Server::start(|_, _| ok("{\"token\":\"x\"}"));
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(at("c.pem"), certificate.pem()).unwrap();
    std::fs::write(at("k.pem"), key.serialize_pem()).unwrap();
    let config = Arc::new(crate::tls::server(&at("c.pem"), &at("k.pem")).unwrap());
    let wrap = move |stream| -> Box<dyn Stream> {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        Box::new(rustls::StreamOwned::new(connection, stream))
    };
    let there = eavesdropper.host.clone();
    let server = Server::listen(
        move |seen, _| match seen.path.as_str() {
            "/v2/" => ok("{}"),
            path if path.contains("/tags/") => {
                Reply::Whole(401, vec![("WWW-Authenticate", format!("Bearer realm=\"http://{there}/token\""))], vec![])
            }
            _ => Reply::Whole(302, vec![("Location", format!("http://{there}/manifest"))], vec![]),
        },
        wrap,
    );
    let client = server.client(&Settings { plain_http: false, ca_file: Some(at("c.pem")) }, ada());
    let why = unusable(client.tags().await);
    assert!(why.contains("plain http") && why.contains("/token"), "{why}");
    assert!(unusable(client.manifest("v1").await).contains("which is not https"));
    assert!(eavesdropper.seen().is_empty());
}

#[tokio::test]
async fn a_token_that_has_ended_is_had_again() {
    let tokens = AtomicUsize::new(0);
    let server = Server::start(move |seen, host| {
        if seen.path.starts_with("/token") {
            return ok(format!("{{\"token\":\"t{}\"}}", tokens.fetch_add(1, Ordering::SeqCst)));
        }
        // The first token ends at once.
        let valid = seen.head.contains("authorization: bearer t") && !seen.head.contains("bearer t0");
        match valid && seen.path != "/v2/" {
            true => ok(MANIFEST),
            false => {
                Reply::Whole(401, vec![("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\""))], vec![])
            }
        }
    });
    let client = server.plain();
    assert!(client.manifest("v1").await.unwrap().is_some());
    assert!(client.manifest("v2").await.unwrap().is_some());
    assert_eq!(server.seen().iter().filter(|seen| seen.contains("/token")).count(), 2);
}

/// A server that answers the first `times` requests for a manifest with 429 and this `Retry-After`.
fn busy(times: usize, retry_after: &'static str) -> Server {
    let asked = AtomicUsize::new(0);
    Server::start(move |seen, _| {
        if seen.path == "/v2/" {
            return ok("{}");
        }
        match asked.fetch_add(1, Ordering::SeqCst) < times {
            true => Reply::Whole(429, vec![("Retry-After", retry_after.to_owned())], b"slow down".to_vec()),
            false => ok(MANIFEST),
        }
    })
}

#[tokio::test]
async fn a_registry_that_asks_for_a_pause_is_asked_again_after_it_more_often_than_one_that_just_fails() {
    let server = busy(5, "0");
    assert!(server.plain().manifest("v1").await.unwrap().is_some());
    let broken = Server::start(|seen, _| if seen.path == "/v2/" { ok("{}") } else { status(503) });
    let error = broken.plain().manifest("v1").await.unwrap_err();
    assert!(matches!(error.kind, Kind::Refused { status: Some(503), .. }), "{error}");
    assert_eq!(broken.seen().iter().filter(|seen| seen.contains("/manifests/")).count(), 3);
}

#[tokio::test]
async fn a_pause_that_is_too_long_is_told_and_not_waited_for() {
    let server = busy(usize::MAX, "3600");
    let error = server.plain().manifest("v1").await.unwrap_err();
    assert!(error.to_string().contains("slow down (Retry-After: 3600 s)"), "{error}");
    assert_eq!(server.seen().iter().filter(|seen| seen.contains("/manifests/")).count(), 1);
}

#[tokio::test]
async fn a_pause_ends_when_the_caller_gives_up() {
    let server = busy(usize::MAX, "3600");
    let (give_up, given_up) = tokio::sync::watch::channel(false);
    let client = server.plain().waiting(Duration::from_secs(7200), given_up);
    let asked = async {
        while !server.seen().iter().any(|seen| seen.contains("/manifests/")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        give_up.send_replace(true);
    };
    let (answer, ()) = tokio::join!(client.manifest("v1"), asked);
    assert!(matches!(answer.unwrap_err().kind, Kind::Refused { status: Some(429), .. }));
}
