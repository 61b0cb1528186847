//! The pool's socket: one call, one answer, for each connection.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::enqueue::blocking;
use super::peer::{self, Refusals};
use super::state::{Order, Pool};
use super::{audit, builders, enqueue, entities, examine, news, notify};
use crate::domain::build::{Build, BuildId, BuildState, CancelRequest};
use crate::domain::grants::Grants;
use crate::domain::reason::Reason;
use crate::domain::requester::Requester;
use crate::protocol::{Answer, Call, Error, ErrorKind, PoolStatus, Reply, Request, VERSION, WebhookRefusal};
use crate::store::settings::Settings;
use crate::sys::users;

/// A call is small; a longer one is not from a client of ours.
const LONGEST_CALL_BYTES: u64 = 4 * 1024 * 1024;

/// How long clients that are being answered when the pool ends may take.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Accepts clients until the pool ends, and answers those that are there.
pub(super) async fn serve(pool: Arc<Pool>, listener: UnixListener) {
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
                    let pool = pool.clone();
                    conversations.spawn(async move {
                        if let Err(error) = converse(&pool, stream, &by).await {
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
            () = pool.stopped() => break,
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

async fn converse(pool: &Arc<Pool>, mut stream: UnixStream, by: &Requester) -> io::Result<()> {
    let (mut read, mut write) = stream.split();
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
            match audit::carry_out(pool, by, call.request, |request| answer(pool, request, by)).await {
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

async fn answer(pool: &Arc<Pool>, request: Request, by: &Requester) -> Result<Reply, Error> {
    let by = || by.clone();
    match request {
        Request::Status => Ok(Reply::Status(Box::new(status(pool)))),
        Request::Stop => {
            pool.stopping.send_replace(true);
            Ok(Reply::Done)
        }
        Request::OpenBuilds => Ok(Reply::Builds(pool.state().open.values().map(|entry| entry.build.clone()).collect())),
        Request::Save { entity, mode } => entities::save(pool, *entity, mode).await.map(|()| Reply::Done),
        Request::Delete(name) => entities::delete(pool, name).await.map(|()| Reply::Done),
        Request::Start { path, rule } => enqueue::start(pool, &path, rule.as_deref(), by()).await,
        Request::Replay { path, rule, reference } => enqueue::replay(pool, &path, &rule, reference, by()).await,
        Request::Retry { id } => enqueue::retry(pool, id, by()).await,
        Request::Cancel { id } => cancel(pool, id, by()).await,
        Request::Wait { id, known } => wait(pool, id, known.as_ref()).await.map(|build| Reply::Build(Box::new(build))),
        Request::Examine { path, rule, reference } => {
            examine::examine(pool, &path, *rule, &reference).await.map(Reply::Outline)
        }
        Request::TestNotification { name } => notify::test(pool, &name).await,
        // Answered with more than one line: see `converse`.
        Request::Watch => Err(Error::new(ErrorKind::Usage, "watching is a conversation of its own")),
        Request::Audit(query) => {
            let home = pool.home.clone();
            let cannot = |error: io::Error| enqueue::failed(format!("cannot read the audit log: {error}"));
            blocking(move || crate::store::audit::page(&home, &query).map_err(cannot)).await.map(Reply::Audit)
        }
        Request::DeleteTag { path, tag } => entities::delete_tag(pool, &path, &tag).await.map(|()| Reply::Done),
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
