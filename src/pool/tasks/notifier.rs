//! Attempts to deliver a notification or a commit status: a request to a URL, a command, the API of a platform.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use rustix::process::Signal;

use super::{TaskContext, blocking, failed};
use crate::bounded;
use crate::domain::build::{Build, BuildId};
use crate::domain::build_query::{BuildQuery, MOST_OF_PAGE};
use crate::domain::config::{NotifyConfig, NotifyUrl, is_notify_url};
use crate::domain::notification::{Body, is_refusal};
use crate::domain::outbox::{Attempt, Content, Message};
use crate::domain::reason::{AsReason, Reason, display_as_reason, output, quoted, reason};
use crate::domain::repository::Source;
use crate::domain::source_platform::SourcePlatform;
use crate::log::sanitize::printable;
use crate::pool::core::Event;
use crate::pool::core::notifications::id_of_test;
use crate::protocol::{Error, ErrorKind, Reply};
use crate::services::{ServiceError, ServiceErrorKind, platforms};
use crate::source::platform::{self, causes};
use crate::source::webhook::sign;
use crate::store::Catalog;
use crate::store::secrets::{Secret, SecretError, Secrets};
use crate::sys::process;
use crate::sys::shell::{Shell, ShellError};
use crate::tls;

/// A receiver that does not answer within this time is asked again later.
const URL_LIMIT: Duration = Duration::from_secs(10);
/// The variable that tells a command, and all that it starts, which message it delivers.
const DELIVERY: &str = "SLIPWAY_DELIVERY";
/// What a command does may be slow, such as sending mail.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// So much of an answer is read, in bytes: enough to say what is wrong.
const ANSWER_BYTES: usize = 2_000;
/// So much of it is shown, in characters.
const ANSWER_SHOWN: usize = 300;

/// Why somebody was not told.
#[derive(Debug, thiserror::Error)]
enum SendError {
    /// It was taken out of the settings meanwhile.
    NotConfigured,
    /// The secret for its signature.
    Secret(#[from] SecretError),
    /// The secret that holds the address holds something else.
    NoUrl,
    /// No client for HTTP can be made.
    Client {
        /// Why.
        why: Reason,
    },
    /// It can't be reached, or does not answer in time.
    Unreachable {
        /// The host.
        host: String,
        /// Why.
        why: Reason,
    },
    /// It answered, and did not take it.
    Status {
        /// The host.
        host: String,
        /// The status.
        status: StatusCode,
        /// What it said, on one line; "": nothing.
        answer: String,
        /// How long it asks to be left alone.
        wait: Option<TimeDelta>,
    },
    /// It is elsewhere now: a body is posted where people said, and nowhere else.
    Redirected {
        /// The host.
        host: String,
        /// The status.
        status: StatusCode,
        /// Where to.
        to: SentTo,
    },
    /// The command can't be run, or took too long.
    Shell(#[from] ShellError),
    /// The command failed.
    Command {
        /// How it ended.
        how: Reason,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// The platform did not take a status.
    Platform(ServiceError),
    /// What it printed can't be read.
    Output(io::Error),
}

display_as_reason!(SendError);

impl AsReason for SendError {
    fn reason(&self) -> Reason {
        match self {
            SendError::NotConfigured => reason!("delivery.no_receiver"),
            SendError::Secret(error) => reason!("delivery.no_secret", error),
            SendError::NoUrl => reason!("delivery.no_url"),
            SendError::Client { why } => reason!("delivery.no_client", why = output(why)),
            SendError::Unreachable { host, why } => reason!("delivery.unreachable", host, why = output(why)),
            SendError::Status { host, status, answer, .. } => answered(host, *status, answer),
            SendError::Redirected { host, status, to: SentTo::Server(to) } => {
                reason!("delivery.redirected", host, status = output(status), to)
            }
            SendError::Redirected { host, status, to: SentTo::AnotherPath } => {
                reason!("delivery.redirected_within", host, status = output(status))
            }
            SendError::Shell(error) => reason!("delivery.command", why = error),
            SendError::Command { how, stderr } if stderr.is_empty() => reason!("delivery.command", why = how),
            SendError::Command { how, stderr } => reason!("delivery.command_said", how, said = output(stderr)),
            SendError::Platform(error) => error.reason(),
            SendError::Output(error) => reason!("delivery.output", error),
        }
    }
}

/// What a host answered; `said` is "" where it said nothing.
fn answered(host: &str, status: StatusCode, said: &str) -> Reason {
    match said {
        "" => reason!("delivery.answered", host, status = output(status)),
        said => reason!("delivery.answered_with", host, status = output(status), said = output(said)),
    }
}

impl SendError {
    /// Whether it is tried again.
    fn attempt(&self) -> Attempt {
        match self {
            SendError::NotConfigured | SendError::NoUrl => Attempt::Refused,
            SendError::Platform(error) if error.kind() != ServiceErrorKind::Unreachable => Attempt::Refused,
            SendError::Platform(error) => Attempt::Failed { wait: error.retry_at().map(|at| at - Utc::now()) },
            SendError::Status { status, .. } if is_refusal(status.as_u16()) => Attempt::Refused,
            SendError::Status { wait, .. } => Attempt::Failed { wait: *wait },
            // It did what it should.
            SendError::Output(_) => Attempt::Delivered,
            SendError::Secret(_)
            | SendError::Client { .. }
            | SendError::Unreachable { .. }
            | SendError::Redirected { .. }
            | SendError::Shell(_)
            | SendError::Command { .. } => Attempt::Failed { wait: None },
        }
    }
}

/// An event, ready to be sent.
#[derive(Debug, Clone, Copy)]
struct Delivery<'a> {
    pub id: &'a str,
    pub word: &'a str,
    pub build: Option<BuildId>,
    /// `namespace/repository`; "" where there is none.
    pub repository: &'a str,
    pub body: &'a str,
}

/// What sends messages. The client for URLs is made when the first one is sent to: most pools send to none.
#[derive(Debug, Clone, Default)]
pub(in crate::pool) struct Notifier {
    client: Arc<OnceLock<Client>>,
}

/// So often commands that an earlier pool left are looked for.
const LOOKS_FOR_COMMANDS: usize = 10;

/// A delivery that has begun when the pool ends may take so long still; one that is cut off is made again by the next
/// pool.
pub(in crate::pool) const LAST_DELIVERIES: Duration = Duration::from_secs(2);

/// Ends the commands that a killed pool had begun to tell of these messages, with all that they started: the messages are
/// delivered again, and never by two at once.
pub(in crate::pool) fn end_left_commands(messages: &[Message]) {
    let is_notification = |message: &&Message| matches!(message.content, Content::Notification { .. });
    let ids: Vec<&str> = messages.iter().filter(is_notification).map(|message| message.id.as_str()).collect();
    if ids.is_empty() {
        return;
    }
    // What one of them starts between the look and its end is met by the next look.
    for _ in 0..LOOKS_FOR_COMMANDS {
        let left = process::with_variable(DELIVERY, &ids);
        if left.is_empty() {
            return;
        }
        for command in left {
            tracing::info!("ending process {}, which an earlier pool left delivering a message", command.pid);
            if let Err(error) = command.signal(Signal::KILL) {
                tracing::warn!("cannot end process {}: {error}", command.pid);
            }
        }
    }
}

/// Makes one attempt and reports how it ended.
pub(in crate::pool) async fn deliver(context: TaskContext, notifier: Notifier, message: Message) {
    let sent = send(&context, &notifier, &message).await;
    let (attempt, why) = match sent {
        Ok(()) => (Attempt::Delivered, None),
        Err(SendError::NotConfigured) => (Attempt::Refused, None),
        Err(error) => (error.attempt(), Some(error.reason())),
    };
    context.report(Event::Sent { message: message.id, attempt, why });
}

/// Sends a test to a notification now: what came back.
pub(in crate::pool) async fn test(context: &TaskContext, name: &str) -> Result<Reply, Error> {
    let settings = context.settings();
    let notify = settings.config.notify.iter().find(|notify| notify.name == name).cloned();
    let notify =
        notify.ok_or_else(|| Error::new(ErrorKind::NotFound, reason!("notification.unknown", name = quoted(name))))?;
    let (catalog, wanted) = (context.catalog.clone(), notify.clone());
    let build = blocking(move || Ok(last_build(&catalog, &wanted))).await?;
    let now = Utc::now();
    let (id, host) = (id_of_test(&context.machine, name, now), &context.machine.host);
    let body = Body { id: &id, event: "test", at: now, host, build: build.as_ref().map(Into::into) }.json();
    let event = Delivery {
        id: &id,
        word: "test",
        build: build.as_ref().map(|build| build.id),
        repository: &build.as_ref().map_or_else(String::new, |build| build.path().to_string()),
        body: &body,
    };
    let answer = self::notify(context, &Notifier::default(), &notify, event).await.map_err(failed)?;
    Ok(Reply::Notified { answer })
}

/// The newest build that a notification is for.
fn last_build(catalog: &Catalog, notify: &NotifyConfig) -> Option<Build> {
    // What can't be listed or read is as though it were not there: the test goes without a build.
    let query = BuildQuery { limit: MOST_OF_PAGE, ..BuildQuery::default() };
    let newest = catalog.builds(&query, &BTreeMap::new()).map(|page| page.records).unwrap_or_default();
    newest.into_iter().find(|build| notify.is_for(&build.path()))
}

/// Sends a message, with the settings as they are now.
async fn send(context: &TaskContext, notifier: &Notifier, message: &Message) -> Result<(), SendError> {
    let settings = context.settings();
    match &message.content {
        Content::Notification { to, event, body } => {
            let notify = settings.config.notify.iter().find(|notify| notify.name == *to).cloned();
            let event = Delivery {
                id: &message.id,
                word: event.word(),
                build: Some(message.build),
                repository: &message.repository,
                body,
            };
            self::notify(context, notifier, &notify.ok_or(SendError::NotConfigured)?, event).await.map(drop)
        }
        Content::Status { to, source, commit, status } => {
            if !settings.platforms.get(to).is_some_and(SourcePlatform::takes_statuses) {
                return Err(SendError::NotConfigured);
            }
            let source = Source { platform: Some(to.clone()), url: source.clone(), ..Source::default() };
            platforms::set_status(&context.home, &settings, &source, commit, status).await.map_err(SendError::Platform)
        }
    }
}

/// Tells a notification of an event: what it answered.
async fn notify(
    context: &TaskContext,
    notifier: &Notifier,
    notify: &NotifyConfig,
    event: Delivery<'_>,
) -> Result<Reason, SendError> {
    match (&notify.url, &notify.command) {
        (Some(url), _) => post(context, notifier, notify, url, event).await,
        (None, Some(command)) => run(command, event).await,
        (None, None) => Err(SendError::NotConfigured),
    }
}

async fn post(
    context: &TaskContext,
    notifier: &Notifier,
    notify: &NotifyConfig,
    url: &NotifyUrl,
    event: Delivery<'_>,
) -> Result<Reason, SendError> {
    let url = match url {
        NotifyUrl::Plain(url) => Secret::new(url.as_str()),
        NotifyUrl::Secret(reference) => Secrets::at(context.home.secrets_dir()).resolve(reference).await?,
    };
    if !is_notify_url(url.expose()) {
        return Err(SendError::NoUrl);
    }
    let mut request = client(notifier)?
        .post(url.expose())
        .header(CONTENT_TYPE, "application/json")
        .header("X-Slipway-Event", event.word)
        .header("X-Slipway-Delivery", event.id)
        .body(event.body.to_owned());
    if let Some(reference) = &notify.secret {
        let secret = Secrets::at(context.home.secrets_dir()).resolve(reference).await?;
        let signature = format!("sha256={}", sign(secret.expose(), event.body.as_bytes()));
        request = request.header("X-Slipway-Signature-256", signature);
    }
    let host = notify.target();
    // The error's own words repeat the address, whose path may be a secret.
    let response = request
        .send()
        .await
        .map_err(|error| SendError::Unreachable { host: host.clone(), why: causes(&error.without_url()) })?;
    let (status, wait) = (response.status(), retry_after(response.headers(), Utc::now()));
    let location = response.headers().get(LOCATION).filter(|_| status.is_redirection());
    let sent_to = location.and_then(|location| sent_to(response.url(), location.to_str().ok()?));
    let text = beginning_of(response).await;
    if let Some(to) = sent_to {
        return Err(SendError::Redirected { host, status, to });
    }
    if status.is_success() {
        return Ok(answered(&host, status, &text));
    }
    Err(SendError::Status { host, status, answer: text, wait })
}

async fn run(command: &str, event: Delivery<'_>) -> Result<Reason, SendError> {
    let build = event.build.map_or_else(String::new, |build| build.0.to_string());
    let shell = Shell {
        command,
        arguments: &[],
        variables: &[
            (DELIVERY, event.id),
            ("SLIPWAY_EVENT", event.word),
            ("SLIPWAY_BUILD", &build),
            ("SLIPWAY_REPOSITORY", event.repository),
        ],
        input: event.body.as_bytes(),
        limit: COMMAND_LIMIT,
    };
    let ended = shell.run().await?;
    if !ended.status.success() {
        return Err(SendError::Command { how: ended.how(), stderr: ended.stderr() });
    }
    let printed = ended.stdout(ANSWER_BYTES as u64).map_err(SendError::Output)?;
    Ok(match one_line(&printed) {
        said if said.is_empty() => reason!("delivery.command_done"),
        said => reason!("delivery.command_done_saying", said = output(said)),
    })
}

/// The client for all URLs. It keeps no connection open, and follows no redirect: a body is posted where people said.
fn client(notifier: &Notifier) -> Result<&Client, SendError> {
    if let Some(client) = notifier.client.get() {
        return Ok(client);
    }
    let made = tls::http_client(&[])
        .timeout(URL_LIMIT)
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|error| SendError::Client { why: causes(&error) })?;
    Ok(notifier.client.get_or_init(|| made))
}

/// Where a redirect leads, as far as it can be shown: the path of such an address may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SentTo {
    /// Another path of the same server.
    AnotherPath,
    /// Another server.
    Server(String),
}

fn sent_to(from: &Url, location: &str) -> Option<SentTo> {
    let to = from.join(location).ok()?;
    let is_same = to.origin() == from.origin();
    Some(if is_same { SentTo::AnotherPath } else { SentTo::Server(to.origin().ascii_serialization()) })
}

/// The beginning of an answer's text, on one line; one that breaks off is as good as it came.
async fn beginning_of(mut response: Response) -> String {
    one_line(&String::from_utf8_lossy(&bounded::beginning(&mut response, ANSWER_BYTES).await))
}

/// What others said, on one line; "" where they said nothing.
fn one_line(text: &str) -> String {
    let line = printable(text).split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(ANSWER_SHOWN).collect()
}

/// How long a receiver asks to be left alone.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<TimeDelta> {
    let wait = platform::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?.trim(), now)? - now;
    (wait > TimeDelta::zero()).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_how_long_it_wants_to_be_left_alone() {
        let now = DateTime::UNIX_EPOCH;
        let asked = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now);
        assert_eq!(asked("120"), Some(TimeDelta::seconds(120)));
        assert_eq!(asked("Thu, 01 Jan 1970 00:02:00 GMT"), Some(TimeDelta::seconds(120)));
        for nothing in ["", "soon", "-5", "0", "Wed, 31 Dec 1969 23:00:00 GMT"] {
            assert_eq!(asked(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_redirect_says_where_it_leads_without_the_path() {
        let from = Url::parse("https://chat.example.com/s3cret").unwrap();
        let server = SentTo::Server("https://new.example.com".to_owned());
        assert_eq!(sent_to(&from, "https://new.example.com/s3cret?x"), Some(server));
        assert_eq!(sent_to(&from, "/v2/s3cret"), Some(SentTo::AnotherPath));
        assert_eq!(sent_to(&from, "http://["), None);
    }

    #[test]
    fn what_others_say_stays_on_its_line_and_is_harmless() {
        assert_eq!(one_line(" bad\r\n\x1b[2Jrequest \n"), "bad request");
        assert_eq!(one_line(" \n"), "");
        assert_eq!(one_line(&"x".repeat(9999)).len(), ANSWER_SHOWN);
    }

    #[test]
    fn what_can_be_mended_is_tried_again_and_what_is_refused_is_not() {
        let answered =
            |status| SendError::Status { host: "x".into(), status, answer: String::new(), wait: None }.attempt();
        for status in [StatusCode::BAD_GATEWAY, StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::FOUND] {
            assert_eq!(answered(status), Attempt::Failed { wait: None }, "{status}");
        }
        assert_eq!(answered(StatusCode::UNPROCESSABLE_ENTITY), Attempt::Refused);
        assert_eq!(SendError::NotConfigured.attempt(), Attempt::Refused);
    }
}
