//! An HTTP server on loopback that is told things: it answers as it was told to and remembers what it was sent.

use serde_json::Value;
use tokio::runtime::Runtime;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// The server; it ends when dropped.
pub struct Receiver {
    server: MockServer,
    runtime: Runtime,
}

/// What it was sent.
pub struct Received(Request);

impl Receiver {
    /// One that answers with these statuses, one after the other; the last one for ever.
    pub fn answering(statuses: &[u16]) -> Receiver {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let receiver = Receiver { server: runtime.block_on(MockServer::start()), runtime };
        receiver.answer(statuses);
        receiver
    }

    /// Forgets what it was sent, and answers with these statuses from now on.
    pub fn answer(&self, statuses: &[u16]) {
        let (last, first) = statuses.split_last().unwrap();
        let answer = |status: u16| Mock::given(any()).respond_with(ResponseTemplate::new(status).set_body_string("{}"));
        self.runtime.block_on(async {
            self.server.reset().await;
            for status in first {
                answer(*status).up_to_n_times(1).mount(&self.server).await;
            }
            answer(*last).mount(&self.server).await;
        });
    }

    /// Its address, without a path.
    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// What it was sent with POST, the oldest first.
    pub fn received(&self) -> Vec<Received> {
        let requests = self.runtime.block_on(self.server.received_requests()).unwrap();
        requests.into_iter().filter(|request| request.method.as_str() == "POST").map(Received).collect()
    }
}

impl Received {
    /// Its path.
    pub fn path(&self) -> &str {
        self.0.url.path()
    }

    /// A header; "" where it has none of the name.
    pub fn header(&self, name: &str) -> &str {
        self.0.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as it came.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0.body).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0.body).unwrap()
    }
}
