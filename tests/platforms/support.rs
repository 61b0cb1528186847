//! A platform that is a server of the test's own.

use serde_json::Value;
use slipway::domain::commit_status::{CommitState, CommitStatus};
use slipway::domain::push::CommitId;
use slipway::domain::source_platform::{PlatformKind, SourcePlatform};
use slipway::source::SourceUrl;
use slipway::source::platform::{Api, Connector};
use slipway::store::secrets::Secret;
use wiremock::{MockServer, Request, ResponseTemplate};

pub const TOKEN: &str = "a-token-that-nobody-else-has";

/// A platform of that kind at that server.
pub fn platform(kind: PlatformKind, server: &MockServer) -> SourcePlatform {
    let organization = matches!(kind, PlatformKind::Codeup | PlatformKind::Bitbucket).then(|| "acme".to_owned());
    SourcePlatform { url: Some(server.uri()), organization, ..SourcePlatform::new(kind) }
}

/// Its API, with a token.
pub fn api(kind: PlatformKind, server: &MockServer) -> Api {
    let platform = platform(kind, server);
    Api::new(&Connector::new(&platform).unwrap(), &platform, Some(Secret::new(TOKEN))).unwrap()
}

/// The repository `acme/api`.
pub fn source() -> SourceUrl {
    SourceUrl::parse("https://git.example.com/acme/api.git").unwrap()
}

pub fn commit() -> CommitId {
    "6dcb09b5b57875f334f61aebed695e2e4193db5e".parse().unwrap()
}

pub fn status(state: CommitState) -> CommitStatus {
    let reference = Some("main".to_owned());
    CommitStatus { state, context: "slipway/acme/api/main".into(), description: "#1042 succeeded".into(), reference }
}

/// An answer in JSON.
pub fn json(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(body, "application/json; charset=utf-8")
}

/// What the server was asked: method, path with query, body.
pub async fn asked(server: &MockServer) -> Vec<(String, String, Value)> {
    let one = |request: &Request| {
        let url = &request.url;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        (request.method.to_string(), format!("{}{query}", url.path()), body)
    };
    server.received_requests().await.unwrap().iter().map(one).collect()
}
