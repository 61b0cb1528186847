//! The pool's socket: one call, one answer, for each connection.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::listener::Listener;
use super::peer::{self, Refusals};
use super::settings_lines::SettingsLines;
use super::subscription;
use crate::domain::build::{Build, BuildId};
use crate::domain::reason::reason;
use crate::domain::requester::Requester;
use crate::pool::core::{Ask, Response};
use crate::pool::requests::logins::Logins;
use crate::pool::requests::{self, Answered, RequestContext};
use crate::pool::tasks::settings_service::SettingsService;
use crate::pool::tasks::tag_deletion::delete_tag;
use crate::pool::tasks::tag_move;
use crate::pool::tasks::{TaskContext, audit, blocking, dockerfile_outline, failed, notifier};
use crate::protocol::{Answer, Call, Entity, Error, ErrorKind, Reply, Request, Right, SaveMode, VERSION};
use crate::services::image_cache::ImageCache;
use crate::services::tag_moves::Move;
use crate::services::{save_warnings, tokens};
use crate::store::builds;
use crate::sys::{fd_passing, users};

/// A call is small; a longer one is not from a client of ours.
const LONGEST_CALL_BYTES: u64 = 4 * 1024 * 1024;

/// How long clients that are being answered when the pool ends may take.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What answers clients: the core, and the service that edits settings.
#[derive(Clone)]
pub(in crate::pool) struct Client {
    pub context: TaskContext,
    pub settings: SettingsService,
    /// Logins at platforms that have begun.
    pub logins: Arc<Logins>,
    /// Images that were read before.
    pub images: Arc<ImageCache>,
    /// The settings as they are sent.
    pub lines: Arc<SettingsLines>,
}

/// How often is looked whether the socket is still there.
const SOCKET_LOOK: Duration = Duration::from_secs(5);

/// Accepts clients until the pool ends, and answers those that are there.
pub(in crate::pool) async fn serve(client: Client, mut listener: Listener) {
    let mut conversations = JoinSet::new();
    let refusals = Arc::new(Refusals::default());
    let mut snapshots = client.context.snapshots();
    snapshots.mark_changed();
    let mut looks = tokio::time::interval(SOCKET_LOOK);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => {
                    let (client, refusals) = (client.clone(), refusals.clone());
                    conversations.spawn(async move {
                        if let Err(error) = receive(&client, stream, &refusals).await {
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
            Ok(()) = snapshots.changed() => {
                let shared = snapshots.borrow_and_update().settings.config.access.names_others();
                if let Err(error) = listener.share(shared) {
                    tracing::warn!("cannot change the mode of {}: {error}", client.context.home.pool_socket().display());
                }
            }
            _ = looks.tick() => match listener.keep() {
                Ok(true) => tracing::warn!("{} was removed, and is there again", client.context.home.pool_socket().display()),
                Ok(false) => {}
                Err(error) => tracing::warn!("cannot make {} again: {error}", client.context.home.pool_socket().display()),
            },
            () = client.context.stopped() => break,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST_ANSWERS, async { while conversations.join_next().await.is_some() {} }).await;
}

/// Finds out who a client is and what that user may do, and answers it.
async fn receive(client: &Client, stream: UnixStream, refusals: &Refusals) -> io::Result<()> {
    let access = client.context.settings().config.access.clone();
    let found = tokio::task::spawn_blocking(move || {
        // Names and groups may be in a directory service.
        let by = peer::requester(&stream).ok();
        let right = by.as_ref().and_then(|by| peer::right(&access, by));
        (stream, by, right)
    });
    let (stream, by, right) = found.await.map_err(io::Error::other)?;
    match (by, right) {
        (Some(by), Some(right)) => converse(client, stream, &by, right).await,
        (by, _) => {
            // Nothing is read of what a stranger says, and nobody waits for a stranger to listen.
            refuse(&stream);
            if let Some(count) = refusals.count(Instant::now()) {
                let who = by.and_then(|by| by.uid).map_or("an unknown user".into(), users::shown);
                tracing::warn!("refused {who} on the pool's socket ({count} since the last such line)");
            }
            Ok(())
        }
    }
}

/// Tells a stranger why there is no answer.
fn refuse(stream: &UnixStream) {
    let owner = users::shown(rustix::process::geteuid().as_raw());
    let error = Error::new(ErrorKind::Refused, reason!("access.stranger", owner));
    if let Ok(mut text) = serde_json::to_vec(&Answer::Error(error)) {
        text.push(b'\n');
        // It fits into the socket's empty buffer.
        let _ = stream.try_write(&text);
    }
}

async fn converse(client: &Client, mut stream: UnixStream, by: &Requester, right: Right) -> io::Result<()> {
    let (mut read, write) = stream.split();
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
            return subscription::tell(&client.context, read, write, right).await;
        }
        Ok(call) if call.version == VERSION || matches!(call.request, Request::Stop) => {
            carry_out(client, call.request, by, right).await
        }
        // A newer client's request need not parse here: tell it why.
        _ => Err(Error::new(
            ErrorKind::Unreachable,
            reason!("request.other_version", version = env!("CARGO_PKG_VERSION")),
        )),
    };
    send(client, stream, answer, right < Right::Operate).await
}

/// Carries a request out, where the user may ask for it; what changes something is recorded, and what was refused, too.
async fn carry_out(client: &Client, request: Request, by: &Requester, right: Right) -> Result<Answered, Error> {
    let needed = request.right();
    if right < needed {
        let error = peer::lacking(by, right, needed);
        audit::record_refusal(&client.context, by, &request, &error).await;
        return Err(error);
    }
    if request.change().is_none() {
        return answer(client, request, by).await;
    }
    let work = |request| async { answer(client, request, by).await.map(|answered| answered.reply) };
    audit::carry_out(&client.context, by, request, work).await.map(Answered::from)
}

/// Sends an answer: a line, the open files with its first byte, and the bytes that follow. What only operators may read is
/// taken out of one that is `masked`.
async fn send(
    client: &Client,
    mut stream: UnixStream,
    answered: Result<Answered, Error>,
    masked: bool,
) -> io::Result<()> {
    let (answer, files, bytes) = match answered {
        Ok(Answered { reply: Reply::Settings(snapshot), .. }) => {
            stream.write_all(&client.lines.of(*snapshot, masked)?).await?;
            return stream.shutdown().await;
        }
        Ok(Answered { mut reply, files, bytes }) => {
            if masked {
                reply.mask();
            }
            (Answer::Reply(reply), files, bytes)
        }
        Err(error) => (Answer::Error(error), Vec::new(), Vec::new()),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    let sent = if files.is_empty() { 0 } else { fd_passing::send(&stream, &text, &files).await? };
    stream.write_all(&text[sent..]).await?;
    stream.write_all(&bytes).await?;
    stream.shutdown().await
}

async fn answer(client: &Client, request: Request, by: &Requester) -> Result<Answered, Error> {
    let Client { context, settings, .. } = client;
    let by = || by.clone();
    let reply = match request {
        Request::Status => Reply::Status(Box::new(context.snapshot().status.as_ref().clone())),
        Request::Save { entity, mode } => save(client, *entity, mode, by()).await?,
        Request::Delete(_) => settings.edit(request, by()).await?,
        Request::Stop => replied(context.ask(Ask::Stop).await)?,
        Request::Start { path, rule } => replied(context.ask(Ask::Start { path, rule, by: by() }).await)?,
        Request::Replay { path, rule, reference } => {
            replied(context.ask(Ask::Replay { path, rule, reference, by: by() }).await)?
        }
        Request::Retry { id } => retry(context, id, by()).await?,
        Request::Cancel { id } => cancel(context, id, by()).await?,
        Request::Wait { id, known } => match context.ask(Ask::Wait { id, known }).await {
            Response::NotOpen => Reply::Build(Box::new(finished(context, id)?)),
            response => replied(response)?,
        },
        Request::Examine { path, rule, reference } => {
            Reply::Outline(dockerfile_outline::examine(context, &path, *rule, &reference).await?)
        }
        Request::TestNotification { name } => {
            settings.refresh().await;
            notifier::test(context, &name).await?
        }
        // Answered with more than one line: see `converse`.
        Request::Watch => return Err(Error::new(ErrorKind::Usage, reason!("request.unanswered"))),
        Request::Audit(query) => {
            let home = context.home.clone();
            let cannot = |error: io::Error| failed(reason!("request.audit", error));
            let page = move || crate::store::audit::page(&home, &query).map_err(cannot);
            Reply::Audit(blocking(page).await?)
        }
        Request::DeleteTag { path, tag } => {
            delete_tag(context, &path, &tag, by()).await?;
            Reply::Done
        }
        Request::MoveTag { path, tag, digest, before } => {
            Reply::TagMove(tag_move::move_tag(context, Move { path, tag, digest, before }, by()).await?)
        }
        request => {
            if matches!(request, Request::Settings) {
                // What was edited a moment ago is told, whenever its notice comes.
                settings.refresh().await;
            }
            return requests::answer(request_context(client), request).await;
        }
    };
    Ok(reply.into())
}

/// What is known now, for a request that needs no more.
fn request_context(client: &Client) -> RequestContext {
    let Client { context, logins, images, .. } = client;
    let snapshot = context.snapshot();
    RequestContext {
        home: context.home.clone(),
        settings: snapshot.settings.clone(),
        stamp: snapshot.settings_changes,
        open: snapshot.builds.iter().map(|(id, build)| (*id, Build::clone(build))).collect(),
        catalog: context.catalog.clone(),
        logins: logins.clone(),
        images: images.clone(),
    }
}

/// Saves something; the token of a finished login is kept with its platform.
async fn save(client: &Client, mut entity: Entity, mode: SaveMode, by: Requester) -> Result<Reply, Error> {
    let Client { context, settings, logins, .. } = client;
    let mut login_of = None;
    if let Entity::Platform { name, token, login: Some(login), .. } = &mut entity {
        let tokens = logins.take(*login, name)?;
        *token = Some(tokens.token.expose().to_owned());
        login_of = Some((name.clone(), tokens));
    }
    settings.edit(Request::Save { entity: Box::new(entity.clone()), mode }, by).await?;
    let (home, settings) = (context.home.clone(), context.settings());
    let warnings = blocking(move || {
        if let Some((name, tokens)) = login_of {
            tokens::keep_renewal(&home, &name, &tokens)?;
        }
        Ok(save_warnings::of(&home, &settings, &entity))
    });
    Ok(Reply::Saved { warnings: warnings.await? })
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
        Response::NotOpen | Response::Builder { .. } => {
            Err(failed(reason!("journal.unexpected", answer = response.to_string())))
        }
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
            Err(Error::new(ErrorKind::Refused, reason!("build.ended_already", id, state = build.state)))
        }
        response => replied(response),
    }
}

/// The record of a build that is not open.
fn finished(context: &TaskContext, id: BuildId) -> Result<Build, Error> {
    let file = context.home.build_dir(id.0).join(builds::RECORD);
    if !file.exists() {
        return Err(Error::new(ErrorKind::NotFound, reason!("pool.no_such_build", id)));
    }
    builds::load(&context.home, id).map_err(failed)
}
