//! The pool's socket: one call, one answer, for each connection.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::enqueue::blocking;
use super::listener::Listener;
use super::peer::{self, Refusals};
use super::requests::{self, Answered, RequestContext};
use super::state::{Order, Pool};
use super::{audit, builders, enqueue, entities, examine, news, notify};
use crate::domain::build::{Build, BuildId, BuildState, CancelRequest};
use crate::domain::grants::Grants;
use crate::domain::reason::{Reason, reason};
use crate::domain::requester::Requester;
use crate::protocol::{Answer, Call, Error, ErrorKind, PoolStatus, Reply, Request, Right, VERSION, WebhookRefusal};
use crate::store::settings::Settings;
use crate::sys::{fd_passing, users};

/// A call is small; a longer one is not from a client of ours.
const LONGEST_CALL_BYTES: u64 = 4 * 1024 * 1024;

/// How long clients that are being answered when the pool ends may take.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// How often is looked whether the socket is still there.
const SOCKET_LOOK: Duration = Duration::from_secs(5);

/// Accepts clients until the pool ends, and answers those that are there.
pub(super) async fn serve(pool: Arc<Pool>, mut listener: Listener) {
    let mut conversations = JoinSet::new();
    let refusals = Arc::new(Refusals::default());
    let mut changes = pool.changes.subscribe();
    changes.mark_changed();
    let mut looks = tokio::time::interval(SOCKET_LOOK);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => {
                    let (pool, refusals) = (pool.clone(), refusals.clone());
                    conversations.spawn(async move {
                        if let Err(error) = receive(&pool, stream, &refusals).await {
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
            Ok(()) = changes.changed() => {
                let shared = pool.state().settings.config.access.names_others();
                if let Err(error) = listener.share(shared) {
                    tracing::warn!("cannot change the mode of {}: {error}", pool.home.pool_socket().display());
                }
            }
            _ = looks.tick() => match listener.keep() {
                Ok(true) => tracing::warn!("{} was removed, and is there again", pool.home.pool_socket().display()),
                Ok(false) => {}
                Err(error) => tracing::warn!("cannot make {} again: {error}", pool.home.pool_socket().display()),
            },
            () = pool.stopped() => break,
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST_ANSWERS, async { while conversations.join_next().await.is_some() {} }).await;
}

/// Finds out who a client is and what that user may do, and answers it.
async fn receive(pool: &Arc<Pool>, stream: UnixStream, refusals: &Refusals) -> io::Result<()> {
    let access = pool.state().settings.config.access.clone();
    let found = tokio::task::spawn_blocking(move || {
        // Names and groups may be in a directory service.
        let by = peer::requester(&stream).ok();
        let right = by.as_ref().and_then(|by| peer::right(&access, by));
        (stream, by, right)
    });
    let (stream, by, right) = found.await.map_err(io::Error::other)?;
    match (by, right) {
        (Some(by), Some(right)) => converse(pool, stream, &by, right).await,
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

async fn converse(pool: &Arc<Pool>, mut stream: UnixStream, by: &Requester, right: Right) -> io::Result<()> {
    let (mut read, write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new((&mut read).take(LONGEST_CALL_BYTES));
    tokio::select! {
        // Whoever has said what it wants is answered, were it that the pool stops.
        biased;
        length = read.read_line(&mut line) => length?,
        () = pool.stopped() => return Ok(()),
    };
    let answer = match serde_json::from_str::<Call>(&line) {
        // The way out of a mismatch must be open to every version.
        Ok(Call { version: VERSION, request: Request::Watch }) => return news::tell(pool, read, write).await,
        Ok(call) if call.version == VERSION || matches!(call.request, Request::Stop) => {
            carry_out(pool, call.request, by, right).await
        }
        // A newer client's request need not parse here: tell it why.
        _ => Err(Error::new(
            ErrorKind::Unreachable,
            format!(
                "the pool that runs is slipway {} and does not understand this client; `slipway pool stop` ends it (builds go on), and the next command starts a new one",
                env!("CARGO_PKG_VERSION")
            ),
        )),
    };
    send(stream, answer).await
}

/// Carries a request out, where the user may ask for it; what changes something is recorded, and what was refused, too.
async fn carry_out(pool: &Arc<Pool>, request: Request, by: &Requester, right: Right) -> Result<Answered, Error> {
    let needed = request.right();
    let lacking = || peer::lacking(by, right, needed);
    if request.change().is_none() {
        return if right >= needed { answer(pool, request, by, right).await } else { Err(lacking()) };
    }
    let work = |request| async {
        if right < needed {
            return Err(lacking());
        }
        answer(pool, request, by, right).await.map(|answered| answered.reply)
    };
    audit::carry_out(pool, by, request, work).await.map(Answered::from)
}

/// Sends an answer: a line, the open files with its first byte, and the bytes that follow.
async fn send(mut stream: UnixStream, answered: Result<Answered, Error>) -> io::Result<()> {
    let (answer, files, bytes) = match answered {
        Ok(Answered { reply, files, bytes }) => (Answer::Reply(reply), files, bytes),
        Err(error) => (Answer::Error(error), Vec::new(), Vec::new()),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    let sent = if files.is_empty() { 0 } else { fd_passing::send(&stream, &text, &files).await? };
    stream.write_all(&text[sent..]).await?;
    stream.write_all(&bytes).await?;
    stream.shutdown().await
}

async fn answer(pool: &Arc<Pool>, request: Request, by: &Requester, right: Right) -> Result<Answered, Error> {
    let by = || by.clone();
    let reply = match request {
        Request::Status => Reply::Status(Box::new(status(pool))),
        Request::Stop => {
            pool.stopping.send_replace(true);
            Reply::Done
        }
        Request::Save { entity, mode } => {
            let warnings = entities::save(pool, *entity, mode).await?;
            Reply::Saved { warnings }
        }
        Request::Delete(name) => entities::delete(pool, name).await.map(|()| Reply::Done)?,
        Request::Start { path, rule } => enqueue::start(pool, &path, rule.as_deref(), by()).await?,
        Request::Replay { path, rule, reference } => enqueue::replay(pool, &path, &rule, reference, by()).await?,
        Request::Retry { id } => enqueue::retry(pool, id, by()).await?,
        Request::Cancel { id } => cancel(pool, id, by()).await?,
        Request::Wait { id, known } => Reply::Build(Box::new(wait(pool, id, known.as_ref()).await?)),
        Request::Examine { path, rule, reference } => {
            examine::examine(pool, &path, *rule, &reference).await.map(Reply::Outline)?
        }
        Request::TestNotification { name } => notify::test(pool, &name).await?,
        // Answered with more than one line: see `converse`.
        Request::Watch => return Err(Error::new(ErrorKind::Usage, "watching is a conversation of its own")),
        Request::Audit(query) => {
            let home = pool.home.clone();
            let cannot = |error: io::Error| enqueue::failed(format!("cannot read the audit log: {error}"));
            blocking(move || crate::store::audit::page(&home, &query).map_err(cannot)).await.map(Reply::Audit)?
        }
        Request::DeleteTag { path, tag } => entities::delete_tag(pool, &path, &tag).await.map(|()| Reply::Done)?,
        request => {
            if matches!(request, Request::Settings) {
                // What was edited a moment ago is told, whenever its notice comes.
                entities::reload(pool).await;
            }
            return requests::answer(context(pool, right), request).await;
        }
    };
    Ok(reply.into())
}

/// What the pool knows now, for a request that needs no more.
fn context(pool: &Pool, right: Right) -> RequestContext {
    let state = pool.state();
    RequestContext {
        home: pool.home.clone(),
        settings: Arc::new(state.settings.clone()),
        stamp: state.settings_changes,
        open: state.open.iter().map(|(id, entry)| (*id, entry.build.clone())).collect(),
        catalog: pool.catalog.clone(),
        logins: pool.logins.clone(),
        right,
    }
}

pub(super) fn status(pool: &Pool) -> PoolStatus {
    let state = pool.state();
    let running = state.open.values().filter(|entry| entry.build.state == BuildState::Running).count();
    let of_platforms = |refusal: &&WebhookRefusal| state.settings.platforms.contains_key(&refusal.platform);
    let webhook_refusals: Vec<_> = state.webhook_refusals.values().filter(of_platforms).cloned().collect();
    PoolStatus {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        started_at: pool.started_at,
        running,
        queued: state.open.len() - running,
        limit: state.limit(),
        builders: builders::statuses(&state),
        webhooks: state.webhooks.clone(),
        webhook_refusals: webhook_refusals.clone(),
        paused: pool.triggers.past.paused_rules(&state.settings),
        problems: state
            .settings
            .problems
            .values()
            .chain(state.watch_problems.values())
            .chain(state.untold.values())
            .cloned()
            .chain(refused_rules(&state.settings))
            .chain(webhook_refusals.iter().filter(|refusal| refusal.needs_people).map(ToString::to_string))
            .collect(),
    }
}

/// Rules whose builds are refused, as a file that was edited by hand may have them.
fn refused_rules(settings: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, repository) in &settings.repositories {
        let Some(namespace) = settings.namespaces.get(&path.namespace) else { continue };
        problems.extend(repository.rules.iter().filter_map(|rule| {
            let error = Grants::network_mode(&path.namespace, namespace, rule).err()?;
            Some(format!("builds of rule {:?} of {path} are refused: {error}", rule.name))
        }));
    }
    problems
}

async fn cancel(pool: &Arc<Pool>, id: BuildId, by: Requester) -> Result<Reply, Error> {
    let orders = {
        let state = pool.state();
        match state.open.get(&id) {
            Some(entry) => entry.orders.clone(),
            None => {
                drop(state);
                let build = finished(pool, id)?;
                return Err(Error::new(
                    ErrorKind::Refused,
                    format!("build {id} is {} already; there is nothing to cancel", build.state),
                ));
            }
        }
    };
    // The task may end between the look and the word: then the wait below tells how.
    let _ = orders.send(Order::Cancel(CancelRequest::of(by, chrono::Utc::now()))).await;
    wait(pool, id, None).await.map(|build| Reply::Build(Box::new(build)))
}

/// Waits for a build's end, or for another reason than the known one.
async fn wait(pool: &Arc<Pool>, id: BuildId, known: Option<&Reason>) -> Result<Build, Error> {
    let watching = pool.state().open.get(&id).map(|entry| entry.news.subscribe());
    let Some(mut news) = watching else {
        return finished(pool, id);
    };
    let gone = || {
        Error::new(ErrorKind::Unreachable, format!("the pool ended while build {id} was waited for; the build goes on"))
    };
    tokio::select! {
        build = next_news(&mut news, known) => match build {
            Some(build) => Ok(Build::clone(&build)),
            None => finished(pool, id),
        },
        () = pool.stopped() => Err(gone()),
    }
}

/// The record once it is final or has another reason; none where the build's task is gone.
async fn next_news(news: &mut watch::Receiver<Arc<Build>>, known: Option<&Reason>) -> Option<Arc<Build>> {
    let is_news = |build: &Arc<Build>| build.state.is_final() || known.is_some_and(|known| *known != build.reason);
    news.wait_for(is_news).await.ok().map(|build| build.clone())
}

/// The record of a build that is not open.
pub(super) fn finished(pool: &Pool, id: BuildId) -> Result<Build, Error> {
    let file = pool.home.build_dir(id.0).join(crate::store::builds::RECORD);
    if !file.exists() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no build {id}; `slipway build list` shows them"),
        ));
    }
    crate::store::builds::load(&pool.home, id).map_err(|error| Error::new(ErrorKind::Failed, error.to_string()))
}
