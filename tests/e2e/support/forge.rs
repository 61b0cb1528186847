//! A platform: its API is a server of the test's own, its git is real.

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockGuard, MockServer, ResponseTemplate};

/// The API of a platform, until it is dropped.
pub struct Forge {
    runtime: Runtime,
    server: MockServer,
}

impl Forge {
    /// One that knows nothing yet.
    pub fn start() -> Forge {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(MockServer::start());
        Forge { runtime, server }
    }

    /// Its address.
    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// Answers a question with JSON.
    pub fn answer(&self, at: &str, body: Value) {
        self.mount(Mock::given(path(at)).respond_with(ResponseTemplate::new(200).set_body_json(body)));
    }

    /// Does as it is told, where nothing that it was told before fits.
    pub fn mount(&self, mock: Mock) {
        self.runtime.block_on(mock.mount(&self.server));
    }

    /// Does as it is told until that is dropped.
    pub fn mount_for_a_while(&self, mock: Mock) -> MockGuard {
        self.runtime.block_on(mock.mount_as_scoped(&self.server))
    }

    /// Has no webhooks yet, which it says with `none`, and takes new ones.
    pub fn take_webhooks(&self, none: &Value) {
        let empty = ResponseTemplate::new(200).set_body_json(none);
        self.mount(Mock::given(method("GET")).and(path_regex("/(web)?hooks$")).respond_with(empty));
        let made = ResponseTemplate::new(201).set_body_json(json!({ "id": 1 }));
        self.mount(Mock::given(method("POST")).and(path_regex("/(web)?hooks$")).respond_with(made));
    }

    /// Takes the statuses of commits.
    pub fn take_statuses(&self) {
        let taken = ResponseTemplate::new(201).set_body_json(json!({ "id": 1 }));
        self.mount(Mock::given(method("POST")).and(path_regex("/statuses(/|$)")).respond_with(taken));
    }

    /// The statuses of a commit that it was told, in their order.
    pub fn statuses(&self, commit: &str) -> Vec<String> {
        let of_it = |(asked, body): (String, Value)| {
            let told = asked.starts_with("POST ") && asked.contains("/statuses") && asked.contains(commit);
            told.then(|| body["state"].as_str().unwrap_or_default().to_lowercase())
        };
        self.asked().into_iter().filter_map(of_it).collect()
    }

    /// What it was asked: method and path, the body, in their order.
    pub fn asked(&self) -> Vec<(String, Value)> {
        let requests = self.runtime.block_on(self.server.received_requests()).unwrap();
        let one = |request: &wiremock::Request| {
            (
                format!("{} {}", request.method, request.url.path()),
                serde_json::from_slice(&request.body).unwrap_or_default(),
            )
        };
        requests.iter().map(one).collect()
    }
}
