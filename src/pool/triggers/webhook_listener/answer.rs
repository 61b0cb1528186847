//! Answers of the webhook listener, in words that the platform shows beside its delivery.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::Full;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::Deliveries;
use super::body::{self, BodyError, Rooms, Verified};
use super::connections::{Connection, Phase};
use super::matching::{Matched, built_from};
use super::secret_cache::SecretCache;
use crate::domain::source_platform::SourcePlatform;
use crate::pool::core::{Announcement, Event, Topic};
use crate::pool::triggers::TriggerContext;
use crate::source::webhook::{Claim, Headers, Hook, HookError, Pushed, RemoteRepository, Trust, event, read};
use crate::store::secrets::Secrets;

/// How many webhooks wait for the core at most; the platforms send the others again, and the next poll catches them, too.
const WAITING: usize = 1024;
/// The longest name of a platform, in bytes.
const LONGEST_NAME: usize = 64;
/// Refusals of senders that have no secret are logged once in this time at most.
const WARN_AGAIN: Duration = Duration::from_secs(60);
/// A push that is older, by the platform's signed word, is no news: somebody who overheard its webhook may play it
/// again.
const NEWS: TimeDelta = TimeDelta::hours(1);
/// How many refs and names an answer lists.
const LISTED: usize = 5;
/// How much of a name in a payload is repeated, in characters.
const REPEATED: usize = 200;

/// What answers requests.
pub(super) struct Desk {
    pub(super) context: TriggerContext,
    /// Those that the core has not answered yet.
    waiting: Semaphore,
    secrets: SecretCache,
    rooms: Arc<Rooms>,
    /// None until they are read.
    deliveries: Arc<Mutex<Option<Deliveries>>>,
    /// When the refusal of a sender without the secret was logged last.
    warned: Mutex<Option<Instant>>,
}

/// Why a webhook of a platform is not taken.
struct Refusal {
    status: StatusCode,
    reason: String,
    /// The sender has the secret, or slipway itself is at fault: people must do something.
    needs_people: bool,
}

impl Refusal {
    /// Of a sender that has not shown that it has the secret.
    fn of_anyone(status: StatusCode, reason: impl Into<String>) -> Refusal {
        Refusal { status, reason: reason.into(), needs_people: false }
    }

    /// Of the platform itself.
    fn of_platform(status: StatusCode, reason: impl Into<String>) -> Refusal {
        Refusal { status, reason: reason.into(), needs_people: true }
    }
}

impl From<HookError> for Refusal {
    fn from(error: HookError) -> Refusal {
        let reason = error.to_string();
        match error {
            HookError::Unsigned { .. }
            | HookError::IllFormed { .. }
            | HookError::Forged { .. }
            | HookError::Stale { .. } => Refusal::of_anyone(StatusCode::UNAUTHORIZED, reason),
            HookError::NoEvent { .. } => Refusal::of_anyone(StatusCode::BAD_REQUEST, reason),
            HookError::NoWebhooks { .. } => Refusal::of_anyone(StatusCode::NOT_FOUND, reason),
            HookError::Malformed { .. } => Refusal::of_platform(StatusCode::BAD_REQUEST, reason),
            HookError::UnknownPush { .. } => Refusal::of_platform(StatusCode::UNPROCESSABLE_ENTITY, reason),
        }
    }
}

impl Headers for HeaderMap {
    fn header(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }
}

impl Desk {
    pub(super) fn new(context: TriggerContext) -> Desk {
        Desk {
            context,
            waiting: Semaphore::new(WAITING),
            secrets: SecretCache::default(),
            rooms: Arc::default(),
            deliveries: Arc::default(),
            warned: Mutex::default(),
        }
    }

    /// Reads which bodies were believed before, unless that is known.
    pub(super) fn know_deliveries(&self) -> io::Result<()> {
        let mut deliveries = lock(&self.deliveries);
        if deliveries.is_none() {
            *deliveries = Some(Deliveries::open(&self.context.home)?);
        }
        Ok(())
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, connection: &Connection) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let (name, platform) = match self.platform(&head) {
            Ok(found) => found,
            Err((status, text)) => {
                tracing::debug!("{} {:?}: {status}", head.method, head.uri.path());
                return response(status, text);
            }
        };
        match self.take(&name, &platform, head, body, connection).await {
            Ok((status, text)) => {
                tracing::info!("a webhook of {name:?}: {text}");
                self.context.report(Event::WebhookTaken { platform: name });
                response(status, text)
            }
            Err(refusal) => {
                self.note(&name, &refusal);
                response(refusal.status, refusal.reason)
            }
        }
    }

    /// The platform that a request is for.
    fn platform(&self, head: &Parts) -> Result<(String, SourcePlatform), (StatusCode, String)> {
        let path = head.uri.path().trim_matches('/');
        if path.is_empty() {
            let text = "slipway takes webhooks here: send them to /PLATFORM, the name of a platform, such as /github";
            return Err((StatusCode::NOT_FOUND, text.into()));
        }
        let name: String = path.chars().take(LONGEST_NAME).collect();
        let platform = self.context.settings().platforms.get(path).cloned();
        let Some(platform) = platform.filter(|_| path.len() <= LONGEST_NAME) else {
            return Err((StatusCode::NOT_FOUND, format!("there is no platform {name:?}")));
        };
        if head.method != Method::POST {
            let text = format!("webhooks are sent with POST: give the platform this address, /{name}, for its pushes");
            return Err((StatusCode::METHOD_NOT_ALLOWED, text));
        }
        Ok((name, platform))
    }

    /// Takes a webhook: what can be refused without the secret first, then what can be refused without the body.
    async fn take(
        &self,
        name: &str,
        platform: &SourcePlatform,
        head: Parts,
        body: Incoming,
        connection: &Connection,
    ) -> Result<(StatusCode, String), Refusal> {
        let Some(secret) = &platform.webhook_secret else {
            let text = format!("the platform {name:?} has no webhook_secret, so its webhooks are not taken");
            return Err(Refusal::of_anyone(StatusCode::NOT_FOUND, text));
        };
        let now = Utc::now();
        event(platform.kind, &head.headers)?;
        let claim = Claim::of(platform.kind, &head.headers, now)?;
        if body.size_hint().lower() > body::LARGEST as u64 {
            return Err(too_large());
        }
        connection.enter(Phase::Work);
        let secret = self.secrets.of(name, secret, &Secrets::at(self.context.home.secrets_dir())).await;
        let secret = secret.map_err(|error| {
            let text = format!("cannot have the secret of the webhooks of {name:?}: {error}");
            Refusal::of_platform(StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        let verifier = claim.begin(secret.expose())?;
        connection.enter(Phase::Body);
        let body = body::take(body, verifier, &self.rooms, connection.peer).await.map_err(refusal_of_body)?;
        connection.enter(Phase::Work);
        match read(platform.kind, &head.headers, &body.bytes)? {
            Hook::Ping => Ok((StatusCode::OK, "slipway listens".into())),
            Hook::Other(what) => Ok((StatusCode::OK, format!("{what} is no push of a branch or tag; ignored"))),
            Hook::Pushed { pushed, .. } if pushed.is_empty() => {
                Ok((StatusCode::OK, "nothing was pushed that can be built; ignored".into()))
            }
            Hook::Pushed { repository, pushed } => self.pushed(name, &body, repository, pushed, now).await,
        }
    }

    /// Hands a push to the core, for each repository that is built from it.
    async fn pushed(
        &self,
        name: &str,
        body: &Verified,
        remote: RemoteRepository,
        pushed: Vec<Pushed>,
        now: DateTime<Utc>,
    ) -> Result<(StatusCode, String), Refusal> {
        let matched = {
            let snapshot = self.context.snapshot();
            built_from(&snapshot.settings, name, &remote, &snapshot.remote_ids)
        };
        if matched.is_empty() {
            let called = remote.urls.iter().chain(&remote.paths).take(LISTED).map(|name| repeated(name));
            let called: Vec<String> = called.collect();
            let text = format!(
                "no repository that builds by itself has the platform {name:?} and the source {}",
                called.join(" or ")
            );
            return Err(Refusal::of_platform(StatusCode::NOT_FOUND, text));
        }
        self.tell_of_new_names(&matched, &remote);
        let signed = body.trust == Trust::Body && self.is_news(&body.bytes, &pushed, now).await;
        let refs: Vec<String> = pushed.iter().take(LISTED).map(|pushed| pushed.reference.to_string()).collect();
        let more = pushed.len().saturating_sub(LISTED);
        let announcement = Announcement { pushed, signed, at: now, remote_id: remote.id };
        let unavailable = |why: String| Refusal::of_platform(StatusCode::SERVICE_UNAVAILABLE, why);
        let Ok(_room) = self.waiting.try_acquire() else {
            return Err(unavailable("too much is pushed at once; the next poll sees it".to_owned()));
        };
        for Matched { path, .. } in &matched {
            // In the journal, or about to be asked of the source, before the platform hears that it was taken.
            let announced = self.context.announce(path.clone(), announcement.clone()).await;
            announced.map_err(|error| unavailable(error.reason.to_string()))?;
        }
        let refs = refs.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() };
        let paths: Vec<String> = matched.iter().map(|matched| matched.path.to_string()).collect();
        Ok((StatusCode::ACCEPTED, format!("{refs} of {}", paths.join(", "))))
    }

    /// Whether a body comes for the first time and tells of a push of these days. What is played again is a hint at
    /// most: the source is asked.
    async fn is_news(&self, body: &[u8], pushed: &[Pushed], now: DateTime<Utc>) -> bool {
        if pushed.iter().any(|pushed| pushed.at.is_some_and(|at| now - at > NEWS)) {
            return false;
        }
        // Where the platform signs when all of it was pushed, it need not be remembered for longer than that is news.
        let ends: Option<Vec<_>> = pushed.iter().map(|pushed| pushed.at.map(|at| at + NEWS)).collect();
        let until = ends.and_then(|ends| ends.into_iter().max());
        let (deliveries, body) = (self.deliveries.clone(), body.to_vec());
        let remembered = tokio::task::spawn_blocking(move || match lock(&deliveries).as_mut() {
            Some(deliveries) => deliveries.remember(&body, until),
            None => Ok(false),
        });
        match remembered.await {
            Ok(Ok(first)) => first,
            Ok(Err(error)) => {
                tracing::warn!("a webhook is taken for a hint: that it came can't be written down: {error}");
                false
            }
            Err(error) => {
                tracing::error!("an internal task failed: {error}");
                false
            }
        }
    }

    /// Tells people of sources whose platform calls them by another name now.
    fn tell_of_new_names(&self, matched: &[Matched], remote: &RemoteRepository) {
        for Matched { path, renamed } in matched {
            let called = remote.urls.first().or(remote.paths.first()).filter(|_| *renamed);
            let problem = called.map(|called| {
                let called = repeated(called);
                format!(
                    "the source of {path} is called {called} on its platform now; name it so: `slipway repo edit {path} --source URL`"
                )
            });
            self.context.problem(Topic::SourceName(path.clone()), problem);
        }
    }

    /// Reports what a platform's webhook was refused for.
    fn note(&self, name: &str, refusal: &Refusal) {
        let Refusal { status, reason, needs_people } = refusal;
        self.context.report(Event::WebhookRefused {
            platform: name.to_owned(),
            status: status.as_u16(),
            reason: reason.clone(),
            needs_people: *needs_people,
        });
        if *needs_people || self.may_warn() {
            tracing::warn!("a webhook of {name:?} is not taken: {status}: {reason}");
        }
    }

    /// Whether the refusal of a sender without the secret is worth a line in the log: strangers could fill the disk
    /// with them.
    fn may_warn(&self) -> bool {
        let mut warned = lock(&self.warned);
        let may = warned.is_none_or(|warned| warned.elapsed() >= WARN_AGAIN);
        if may {
            *warned = Some(Instant::now());
        }
        may
    }
}

fn too_large() -> Refusal {
    let text = format!("the request has more than {} bytes; slipway reads the source at the next poll", body::LARGEST);
    Refusal::of_anyone(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn refusal_of_body(error: BodyError) -> Refusal {
    match error {
        BodyError::TooLarge => too_large(),
        BodyError::NoRoom => {
            Refusal::of_anyone(StatusCode::SERVICE_UNAVAILABLE, "other large webhooks arrive now; send it again")
        }
        BodyError::CutShort => Refusal::of_anyone(StatusCode::BAD_REQUEST, "the request is cut short"),
        BodyError::Hook(error) => error.into(),
    }
}

/// A name from a payload, as one short line.
fn repeated(name: &str) -> String {
    format!("{:?}", name.chars().take(REPEATED).collect::<String>())
}

fn response(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What panicked while it held the lock left plain data behind, which is as good as it was.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
