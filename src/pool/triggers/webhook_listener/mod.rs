//! The listener for webhooks, where config.toml asks for one: `POST /PLATFORM`, one path for each platform.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `connections` | how many there are, from whom, and for how long |
//! | `answer` | what a request is answered: refused, or handed to the core |
//! | `body` | bodies, within a limit for each and one for all |
//! | `secret_cache` | secrets of platforms, without a process for each request |
//! | `matching` | which repositories a webhook is about |
//!
//! Checks are made in the order of what they cost: path, method and headers first, then the secret, then the body.
//! Whoever has no secret costs neither a process nor a line in the log.

mod answer;
mod body;
mod connections;
mod matching;
mod secret_cache;

use std::convert::Infallible;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::answer::Desk;
use self::connections::{Connection, Connections, Peer, Phase};
use super::{Trigger, TriggerContext};
use crate::domain::config::WebhookConfig;
use crate::pool::core::{Event, Topic};
use crate::store::deliveries::Deliveries;
use crate::tls;

/// An address that can't be listened on is tried again after this time.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 32 * 1024;
/// How much of a body that is not wanted is thrown away, in bytes, so that its sender gets to reading why.
const THROWN_AWAY: usize = 64 * 1024 * 1024;

/// Takes webhooks as config.toml says.
pub(super) struct WebhookListener;

impl Trigger for WebhookListener {
    fn name(&self) -> &'static str {
        "webhooks"
    }

    fn run(self: Box<Self>, context: TriggerContext) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(listen(context))
    }
}

/// Listens as config.toml says, until the pool ends.
async fn listen(context: TriggerContext) {
    let desk = Arc::new(Desk::new(context.clone()));
    // Where the platforms reach the listener does not matter to it.
    let wanted = || WebhookConfig { url: None, ..context.settings().config.webhook.clone() };
    let problem = |problem| context.problem(Topic::Webhooks, problem);
    while !context.is_stopping() {
        let config = wanted();
        let changed = async {
            let mut known = context.snapshot().settings_changes;
            while wanted() == config {
                known = context.settings_changed(known).await;
            }
        };
        let listening = async {
            match (config.listen, config.in_clear()) {
                (None, _) => {
                    problem(None);
                    std::future::pending().await
                }
                (Some(_), Some(why)) => {
                    problem(Some(format!("no webhooks are taken: {why}")));
                    std::future::pending().await
                }
                (Some(address), None) => loop {
                    let Err(error) = serve(&desk, address, &config).await;
                    problem(Some(format!(
                        "no webhooks are taken: cannot listen on {address}: {error}; it is tried again"
                    )));
                    tokio::time::sleep(LISTEN_AGAIN).await;
                },
            }
        };
        tokio::select! {
            () = context.stopped() => return,
            () = changed => {}
            () = listening => {}
        }
        context.report(Event::WebhooksListen(None));
    }
}

/// Takes connections for ever. An error: it can't begin.
async fn serve(desk: &Arc<Desk>, address: SocketAddr, config: &WebhookConfig) -> io::Result<Infallible> {
    let (mut tls, mut files) = (acceptor(config)?, changed_at(config));
    desk.know_deliveries()?;
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let url = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    tracing::info!("webhooks are taken on {url}/PLATFORM");
    desk.context.report(Event::WebhooksListen(Some(url)));
    desk.context.problem(Topic::Webhooks, None);
    let connections = Arc::new(Connections::default());
    let mut tasks = JoinSet::new();
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No file descriptors are left, most likely: others are given back soon.
                tracing::warn!("a webhook's connection can't be taken: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        // Certificates are renewed every few weeks.
        let now = changed_at(config);
        if now != files {
            match acceptor(config) {
                Ok(renewed) => (tls, files) = (renewed, now),
                // Half written, perhaps: it is tried with the next connection.
                Err(error) => tracing::warn!("the new certificate of the webhooks can't be used: {error}"),
            }
        }
        let Some(connection) = connections.admit(Peer::of(from.ip())) else { continue };
        let (desk, tls) = (desk.clone(), tls.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = handle(stream, tls, &desk, &connection) => {}
                () = connection.over() => {}
            }
        });
    }
}

async fn handle(stream: TcpStream, tls: Option<TlsAcceptor>, desk: &Desk, connection: &Connection) {
    match tls {
        None => speak(stream, desk, connection).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                speak(stream, desk, connection).await;
            }
        }
    }
}

/// Answers one request, and sees to it that the answer can be read.
async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, desk: &Desk, connection: &Connection) {
    let service = service_fn(|request| Box::pin(async { Ok::<_, Infallible>(desk.answer(request, connection).await) }));
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = poll_fn(|context| http.poll_without_shutdown(context)).await {
        tracing::debug!("a webhook's connection: {error}");
    }
    connection.enter(Phase::Farewell);
    let mut stream = http.into_parts().io.into_inner();
    if stream.shutdown().await.is_err() {
        return;
    }
    // Closed with bytes unread, the connection would be reset, and the answer lost on its way.
    let (mut thrown_away, mut buffer) = (0, [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        thrown_away += length;
        if thrown_away > THROWN_AWAY {
            break;
        }
    }
}

/// When the files of the certificate and the key changed last.
fn changed_at(config: &WebhookConfig) -> [Option<SystemTime>; 2] {
    let at = |file: &Option<PathBuf>| fs::metadata(file.as_ref()?).ok()?.modified().ok();
    [at(&config.certificate), at(&config.key)]
}

/// What speaks TLS; none where plain http is spoken.
fn acceptor(config: &WebhookConfig) -> io::Result<Option<TlsAcceptor>> {
    let (certificate, key) = match (&config.certificate, &config.key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => return Err(io::Error::other("webhook.certificate and webhook.key need each other; give both or neither")),
    };
    let config = tls::server(certificate, key).map_err(io::Error::other)?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
