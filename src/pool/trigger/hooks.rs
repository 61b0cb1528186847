//! The listener for webhooks, where config.toml asks for one: `POST /PLATFORM`, one path for each platform.
//!
//! A webhook is verified, matched with the repositories that are built from its source, handed to the watcher, and answered: what
//! becomes of the push is settled afterwards. What the watcher can't take is caught by the next poll.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{self, HttpBody as _};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chrono::{TimeDelta, Utc};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::sight::Told;
use crate::domain::config::WebhookConfig;
use crate::domain::name::RepositoryPath;
use crate::pool::state::Pool;
use crate::source::SourceUrl;
use crate::source::webhook::{Headers, Hook, HookError, Trust, read, verify};
use crate::store::secrets::Secrets;
use crate::store::settings::Settings;
use crate::tls;

/// What its problem is called among those of the sources.
pub(super) const NAME: &str = "[webhook]";
/// So many webhooks wait for the watcher at most; the platforms send the others again, and the next poll catches them, too.
pub(super) const WAITING: usize = 1024;
/// So many are connected at once.
const AT_ONCE: usize = 64;
/// In bytes. A push has some kilobytes; whoever sends more than this need not have the secret, and the next poll sees the push.
const LARGEST: usize = 5 * 1024 * 1024;
/// A request that is not whole by then is given up.
const WHOLE_WITHIN: Duration = Duration::from_secs(10);
/// An address that can't be listened on is tried again after this time.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// The longest name of a platform, in bytes.
const LONGEST_NAME: usize = 64;
/// Webhooks that are not taken are told in the log once in this time at most.
const WARN_AGAIN: Duration = Duration::from_secs(1);
/// So many bodies are remembered, to know one that is played again.
const REMEMBERED: usize = 4096;
/// A push that is older, by the platform's signed word, is no news: somebody who overheard its webhook may play it again.
const NEWS: TimeDelta = TimeDelta::hours(1);

type Tell = mpsc::Sender<(RepositoryPath, Told)>;

/// Listens as config.toml says, until the pool ends.
pub(super) async fn listen(pool: Arc<Pool>, tell: Tell) {
    let mut changes = pool.changes.subscribe();
    loop {
        // Where the platforms reach it is nothing to it.
        let wanted = || WebhookConfig { url: None, ..pool.state().settings.config.webhook.clone() };
        let config = wanted();
        let changed = async {
            while wanted() == config {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        let listening = async {
            match config.listen {
                None => {
                    pool.tell_problem(NAME, None);
                    std::future::pending().await
                }
                Some(address) => loop {
                    let Err(error) = serve(&pool, &tell, address, &config).await;
                    let text = format!("no webhooks are taken: cannot listen on {address}: {error}; it is tried again");
                    pool.tell_problem(NAME, Some(text));
                    tokio::time::sleep(LISTEN_AGAIN).await;
                },
            }
        };
        tokio::select! {
            () = pool.stopped() => return,
            () = changed => {}
            () = listening => {}
        }
        pool.state().webhooks = None;
    }
}

/// Takes connections for ever. An error: it can't begin.
async fn serve(
    pool: &Arc<Pool>,
    tell: &Tell,
    address: SocketAddr,
    config: &WebhookConfig,
) -> io::Result<std::convert::Infallible> {
    let (mut tls, mut files) = (acceptor(config)?, changed_at(config));
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let url = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    tracing::info!("webhooks are taken on {url}/PLATFORM");
    pool.state().webhooks = Some(url);
    pool.tell_problem(NAME, None);
    let taker =
        Arc::new(Taker { pool: pool.clone(), tell: tell.clone(), played: Mutex::default(), warned: Mutex::default() });
    let router = Router::new().route("/{platform}", post(take)).with_state(taker);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut connections = JoinSet::new();
    loop {
        let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No file descriptors are left, most likely: others are given back soon.
                tracing::warn!("a webhook's connection can't be taken: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        // Certificates are renewed every few weeks.
        let now = changed_at(config);
        if now != files {
            match acceptor(config) {
                Ok(renewed) => (tls, files) = (renewed, now),
                // Half written, perhaps: it is tried with the next connection.
                Err(error) => tracing::warn!("the new certificate of the webhooks can't be used: {error}"),
            }
        }
        let (router, tls) = (router.clone(), tls.clone());
        connections.spawn(async move {
            // One request for each connection: whoever sends slowly or nothing holds it no longer than that.
            let _ = tokio::time::timeout(WHOLE_WITHIN, connection(stream, tls, router)).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    match tls {
        None => speak(stream, router).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                speak(stream, router).await;
            }
        }
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!("a webhook's connection: {error}");
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

impl Headers for HeaderMap {
    fn header(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }
}

/// Answers a webhook, in words that the platform shows beside its delivery.
async fn take(State(taker): State<Arc<Taker>>, Path(name): Path<String>, request: Request) -> (StatusCode, String) {
    if name.len() > LONGEST_NAME {
        return (StatusCode::NOT_FOUND, "no platform has so long a name\n".into());
    }
    let (head, body) = request.into_parts();
    let too_large = body.size_hint().lower() > LARGEST as u64;
    let body = if too_large { None } else { body::to_bytes(body, LARGEST).await.ok() };
    let (status, text) = match body {
        Some(body) => taker.take(&name, &head.headers, &body).await,
        None => (StatusCode::PAYLOAD_TOO_LARGE, format!("the request is cut short, or has more than {LARGEST} bytes")),
    };
    match status {
        StatusCode::OK | StatusCode::ACCEPTED => tracing::info!("a webhook of {name:?}: {text}"),
        _ if taker.may_warn() => tracing::warn!("a webhook of {name:?} is not taken: {status}: {text}"),
        _ => {}
    }
    (status, format!("{text}\n"))
}

/// Takes webhooks.
struct Taker {
    pool: Arc<Pool>,
    tell: Tell,
    /// The digests of the bodies that were taken last, the oldest first.
    played: Mutex<VecDeque<[u8; 32]>>,
    /// When one that was not taken was told last.
    warned: Mutex<Option<Instant>>,
}

impl Taker {
    /// Whether one that is not taken is worth a line in the log: strangers could fill the disk with them.
    fn may_warn(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let may = warned.is_none_or(|warned| warned.elapsed() >= WARN_AGAIN);
        if may {
            *warned = Some(Instant::now());
        }
        may
    }

    /// Whether a body comes for the first time, as far as is remembered.
    fn is_first(&self, body: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(body).into();
        let mut played = self.played.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if played.contains(&digest) {
            return false;
        }
        if played.len() >= REMEMBERED {
            played.pop_front();
        }
        played.push_back(digest);
        true
    }

    async fn take(&self, name: &str, headers: &impl Headers, body: &[u8]) -> (StatusCode, String) {
        let (pool, tell) = (&self.pool, &self.tell);
        let now = Utc::now();
        let settings = pool.state().settings.clone();
        let Some(platform) = settings.platforms.get(name) else {
            return (StatusCode::NOT_FOUND, format!("there is no platform {name:?}"));
        };
        let Some(secret) = &platform.webhook_secret else {
            return (
                StatusCode::NOT_FOUND,
                format!("the platform {name:?} has no webhook_secret, so its webhooks are not taken"),
            );
        };
        let secret = match Secrets::at(pool.home.secrets_dir()).resolve(secret).await {
            Ok(secret) => secret,
            Err(error) => {
                tracing::error!("the secret of the webhooks of {name:?}: {error}");
                return (StatusCode::SERVICE_UNAVAILABLE, "the secret of this platform's webhooks can't be had".into());
            }
        };
        let trust = match verify(platform.kind, headers, body, secret.expose(), now) {
            Ok(trust) => trust,
            Err(error) => return (refusal(&error), error.to_string()),
        };
        let (urls, pushed) = match read(platform.kind, headers, body) {
            Err(error) => return (refusal(&error), error.to_string()),
            Ok(Hook::Ping) => return (StatusCode::OK, "slipway listens".into()),
            Ok(Hook::Other(what)) => return (StatusCode::OK, format!("{what} is no push of a branch or tag; ignored")),
            Ok(Hook::Pushed { pushed, .. }) if pushed.is_empty() => {
                return (StatusCode::OK, "nothing was pushed that can be built; ignored".into());
            }
            Ok(Hook::Pushed { urls, pushed }) => (urls, pushed),
        };
        let paths = built_from(&settings, name, &urls);
        if paths.is_empty() {
            let text = format!(
                "no repository that builds by itself has the platform {name:?} and the source {}",
                urls.join(" or ")
            );
            return (StatusCode::NOT_FOUND, text);
        }
        // What is played again is a hint at most: the source is asked.
        let news = pushed.iter().all(|pushed| pushed.at.is_none_or(|at| now - at <= NEWS)) && self.is_first(body);
        let told = Told { pushed, signed: trust == Trust::Body && news, at: now };
        for path in &paths {
            let why = match tell.try_send((path.clone(), told.clone())) {
                Ok(()) => continue,
                Err(TrySendError::Full(_)) => "too much is pushed at once; the next poll sees it",
                Err(TrySendError::Closed(_)) => "sources are not watched; `slipway pool status` says why",
            };
            return (StatusCode::SERVICE_UNAVAILABLE, why.into());
        }
        let refs: Vec<String> = told.pushed.iter().map(|pushed| pushed.reference.to_string()).collect();
        let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
        (StatusCode::ACCEPTED, format!("{} of {}", refs.join(", "), paths.join(", ")))
    }
}

fn refusal(error: &HookError) -> StatusCode {
    match error {
        HookError::Unsigned { .. } | HookError::Forged { .. } | HookError::Stale { .. } => StatusCode::UNAUTHORIZED,
        HookError::Malformed { .. } => StatusCode::BAD_REQUEST,
        HookError::NoWebhooks { .. } => StatusCode::NOT_FOUND,
    }
}

/// The repositories that build by themselves from one of the URLs, with the credentials of that platform.
fn built_from(settings: &Settings, platform: &str, urls: &[String]) -> Vec<RepositoryPath> {
    let urls: Vec<SourceUrl> = urls.iter().filter_map(|url| SourceUrl::parse(url).ok()).collect();
    let of_it =
        |url: &str| SourceUrl::parse(url).is_ok_and(|source| urls.iter().any(|url| url.is_same_repository(&source)));
    settings
        .repositories
        .iter()
        .filter(|(_, repository)| repository.build.auto)
        .filter(|(_, repository)| {
            let source = repository.source.as_ref();
            source.is_some_and(|source| source.platform.as_deref() == Some(platform) && of_it(&source.url))
        })
        .map(|(path, _)| path.clone())
        .collect()
}
