//! The pool's socket: one call, one answer, for each connection.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::peer::{self, Refusals};
use super::subscription;
use crate::domain::build::{Build, BuildId};
use crate::domain::requester::Requester;
use crate::pool::core::{Ask, Response};
use crate::pool::tasks::settings_service::{self, SettingsService};
use crate::pool::tasks::{TaskContext, audit, blocking, dockerfile_outline, failed, notifier};
use crate::protocol::{Answer, Call, Error, ErrorKind, Reply, Request, VERSION};
use crate::store::builds;
use crate::sys::users;

/// A call is small; a longer one is not from a client of ours.
const LONGEST_CALL_BYTES: u64 = 4 * 1024 * 1024;

/// How long clients that are being answered when the pool ends may take.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What answers clients: the core, and the service that edits settings.
#[derive(Clone)]
pub(in crate::pool) struct Client {
    pub context: TaskContext,
    pub settings: SettingsService,
}

/// Accepts clients until the pool ends, and answers those that are there.
pub(in crate::pool) async fn serve(client: Client, listener: UnixListener) {
    let mut conversations = JoinSet::new();
    let refusals = Refusals::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Some(by) = known(&stream, &refusals) else {
                        // Nothing is read of what a stranger says, and nobody waits for a stranger to listen.
                        refuse(&stream);
                        continue;
                    };
                    let client = client.clone();
                    conversations.spawn(async move {
                        if let Err(error) = converse(&client, stream, &by).await {
                            tracing::debug!("a client left: {error}");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a client: {error}");
                    // Out of file descriptors, most likely: others must close theirs first.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = conversations.join_next() => {}
            () = client.context.stopped() => break,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST_ANSWERS, async { while conversations.join_next().await.is_some() {} }).await;
}

/// The user at the other end, where the pool serves that one; else it is logged that somebody was refused.
fn known(stream: &UnixStream, refusals: &Refusals) -> Option<Requester> {
    let requester = peer::requester(stream).ok();
    if let Some(requester) = requester.clone().filter(|requester| peer::is_served(requester.uid)) {
        return Some(requester);
    }
    if let Some(count) = refusals.count(Instant::now()) {
        let who = requester.and_then(|requester| requester.uid).map_or("an unknown user".into(), users::shown);
        tracing::warn!("refused {who} on the pool's socket ({count} since the last such line)");
    }
    None
}

/// Tells a stranger why there is no answer.
fn refuse(stream: &UnixStream) {
    let us = users::shown(rustix::process::geteuid().as_raw());
    let error = Error::new(
        ErrorKind::Refused,
        format!(
            "this pool belongs to {us} and serves that user and root alone; use a pool of your own: unset SLIPWAY_HOME"
        ),
    );
    if let Ok(mut text) = serde_json::to_vec(&Answer::Error(error)) {
        text.push(b'\n');
        // It fits into the socket's empty buffer.
        let _ = stream.try_write(&text);
    }
}

async fn converse(client: &Client, mut stream: UnixStream, by: &Requester) -> io::Result<()> {
    let (mut read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new((&mut read).take(LONGEST_CALL_BYTES));
    tokio::select! {
        // Whoever has said what it wants is answered, were it that the pool stops.
        biased;
        length = read.read_line(&mut line) => length?,
        () = client.context.stopped() => return Ok(()),
    };
    let answer = match serde_json::from_str::<Call>(&line) {
        // The way out of a mismatch must be open to every version.
        Ok(Call { version: VERSION, request: Request::Watch }) => {
            return subscription::tell(&client.context, read, write).await;
        }
        Ok(call) if call.version == VERSION || matches!(call.request, Request::Stop) => {
            match audit::carry_out(&client.context, by, call.request, |request| answer(client, request, by)).await {
                Ok(reply) => Answer::Reply(reply),
                Err(error) => Answer::Error(error),
            }
        }
        // A newer client's request need not parse here: tell it why.
        _ => Answer::Error(Error::new(
            ErrorKind::Unreachable,
            format!(
                "the pool that runs is slipway {} and does not understand this client; `slipway pool stop` ends it (builds go on), and the next command starts a new one",
                env!("CARGO_PKG_VERSION")
            ),
        )),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    write.shutdown().await
}

async fn answer(client: &Client, request: Request, by: &Requester) -> Result<Reply, Error> {
    let Client { context, settings } = client;
    let by = || by.clone();
    match request {
        Request::Status => Ok(Reply::Status(Box::new(context.snapshot().status.as_ref().clone()))),
        Request::OpenBuilds => {
            Ok(Reply::Builds(context.snapshot().builds.values().map(|build| Build::clone(build)).collect()))
        }
        Request::Save { .. } | Request::Delete(_) => settings.edit(request, by()).await,
        Request::Stop => replied(context.ask(Ask::Stop).await),
        Request::Start { path, rule } => replied(context.ask(Ask::Start { path, rule, by: by() }).await),
        Request::Replay { path, rule, reference } => {
            replied(context.ask(Ask::Replay { path, rule, reference, by: by() }).await)
        }
        Request::Retry { id } => retry(context, id, by()).await,
        Request::Cancel { id } => cancel(context, id, by()).await,
        Request::Wait { id, known } => match context.ask(Ask::Wait { id, known }).await {
            Response::NotOpen => finished(context, id).map(|build| Reply::Build(Box::new(build))),
            response => replied(response),
        },
        Request::Examine { path, rule, reference } => {
            dockerfile_outline::examine(context, &path, *rule, &reference).await.map(Reply::Outline)
        }
        Request::TestNotification { name } => {
            settings.refresh().await;
            notifier::test(context, &name).await
        }
        // Answered with more than one line: see `converse`.
        Request::Watch => Err(Error::new(ErrorKind::Usage, "watching is a conversation of its own")),
        Request::Audit(query) => {
            let home = context.home.clone();
            let cannot = |error: io::Error| failed(format!("cannot read the audit log: {error}"));
            blocking(move || crate::store::audit::page(&home, &query).map_err(cannot)).await.map(Reply::Audit)
        }
        Request::DeleteTag { path, tag } => {
            settings_service::delete_tag(context, &path, &tag).await.map(|()| Reply::Done)
        }
    }
}

/// The core's answer as clients read it.
fn replied(response: Response) -> Result<Reply, Error> {
    match response {
        Response::Done => Ok(Reply::Done),
        Response::Queued { build, already } => {
            Ok(Reply::Queued { build: Box::new(Arc::unwrap_or_clone(build)), already })
        }
        Response::Build(build) => Ok(Reply::Build(Box::new(Arc::unwrap_or_clone(build)))),
        Response::Error(error) => Err(error),
        Response::NotOpen | Response::Builder { .. } => Err(failed(format!("the pool answered {response}"))),
    }
}

/// Builds again what a build was, once it is at its end.
async fn retry(context: &TaskContext, id: BuildId, by: Requester) -> Result<Reply, Error> {
    // One that is open is refused, whatever its record says.
    let earlier = match context.snapshot().builds.get(&id) {
        Some(open) => Build::clone(open),
        None => finished(context, id)?,
    };
    replied(context.ask(Ask::Retry { earlier: Box::new(earlier), by }).await)
}

async fn cancel(context: &TaskContext, id: BuildId, by: Requester) -> Result<Reply, Error> {
    match context.ask(Ask::Cancel { id, by }).await {
        Response::NotOpen => {
            let build = finished(context, id)?;
            let text = format!("build {id} is {} already; there is nothing to cancel", build.state);
            Err(Error::new(ErrorKind::Refused, text))
        }
        response => replied(response),
    }
}

/// The record of a build that is not open.
fn finished(context: &TaskContext, id: BuildId) -> Result<Build, Error> {
    let file = context.home.build_dir(id.0).join(builds::RECORD);
    if !file.exists() {
        let text = format!("there is no build {id}; `slipway build list` shows them");
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    builds::load(&context.home, id).map_err(|error| failed(error.to_string()))
}
