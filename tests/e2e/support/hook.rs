//! A platform that sends webhooks to a pool.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use sha2::Sha256;

/// What an answer says: the status and the text.
pub type Answer = (u16, String);

/// HMAC-SHA256, as all signatures are made.
pub fn hmac(secret: &str, text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The header that GitHub signs a body with.
pub fn github_signature(secret: &str, body: &str) -> String {
    format!("X-Hub-Signature-256: sha256={}", hex::encode(hmac(secret, body)))
}

/// A push as GitHub tells it, at a time in seconds since 1970.
pub fn github_push_at(at: i64, source: &Path, before: &str, after: &str) -> Value {
    serde_json::json!({
        "ref": "refs/heads/main", "before": before, "after": after, "deleted": false,
        "repository": { "clone_url": format!("file://{}", source.display()), "pushed_at": at },
    })
}

/// A push as GitHub tells it, a moment ago.
pub fn github_push(source: &Path, before: &str, after: &str) -> Value {
    github_push_at(chrono::Utc::now().timestamp() - 1, source, before, after)
}

/// Sends a push to `PLATFORM`, signed as GitHub does.
pub fn send_github(url: &str, platform: &str, secret: &str, body: &str) -> Answer {
    let signature = github_signature(secret, body);
    send(url, platform, &["X-GitHub-Event: push", &signature], body)
}

/// Sends a webhook.
pub fn send(url: &str, platform: &str, headers: &[&str], body: &str) -> Answer {
    answer(exchange(connect(url), &request(platform, headers, body)))
}

/// Sends a webhook over TLS.
pub fn send_securely(url: &str, ca: &[u8], platform: &str, headers: &[&str], body: &str) -> Answer {
    let stream = connect(url);
    let config = slipway::tls::client(&[CertificateDer::from_pem_slice(ca).unwrap()]);
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    answer(exchange(StreamOwned::new(session, stream), &request(platform, headers, body)))
}

/// A connection to where webhooks are taken, to misuse.
pub fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.split_once("://").unwrap().1).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// The request of a webhook.
pub fn request(platform: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    format!("POST /{platform} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

fn exchange(mut stream: impl Write + Read, request: &str) -> String {
    // A server that has heard enough may close before it has read all.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn answer(text: String) -> Answer {
    let status = text.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {text:?}")).parse().unwrap();
    (status, text.split_once("\r\n\r\n").unwrap().1.to_owned())
}
