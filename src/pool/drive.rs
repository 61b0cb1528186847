//! One build's life: it waits, its runner works, its end is concluded. One task for each open build, and the only
//! writer of that build's record.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};

use super::conclude::{Conclusion, Ended, conclude};
use super::state::{Order, Pool};
use super::{builders, enqueue, launch, notify};
use crate::buildctl::job::RunResult;
use crate::domain::build::{Build, BuildId, BuildState, CancelRequest, RetryCause};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::journal::{Origin, SERVER_LAG};
use crate::domain::platform::Platform;
use crate::domain::reason::{Reason, reason};
use crate::registry::docker_config::DockerConfig;
use crate::services::credential_scope::CredentialScope;
use crate::store::{builds, pushes};
use crate::sys::process::ProcessId;

/// A runner that was told to stop and is still there is killed: final within 15 s, whatever `buildctl` does.
const KILL_AFTER: Duration = Duration::from_secs(13);
/// How soon a server is asked again for a commit that a webhook told of.
const ASK_FOR_COMMIT_AGAIN: chrono::TimeDelta = chrono::TimeDelta::seconds(3);
/// How soon a record that can't be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// Drives a build to its end; `runner` is there where an earlier pool has started it.
pub(super) async fn drive(pool: Arc<Pool>, id: BuildId, mut orders: mpsc::Receiver<Order>, runner: Option<ProcessId>) {
    let ended = match runner {
        Some(runner) => watch(&pool, id, &mut orders, runner).await,
        None => match wait_for_start(&pool, id, &mut orders).await {
            Waited::Ended(ended) => ended,
            Waited::Cancelled => {
                finish_waiting(&pool, id).await;
                return;
            }
            Waited::PoolEnds => return,
        },
    };
    // Without an end it is the pool that ends: the runner goes on, and the next pool adopts it.
    if let Some(ended) = ended {
        finish(&pool, id, ended).await;
    }
}

enum Waited {
    /// It started, and its runner ended, unless the pool ends first.
    Ended(Option<Ended>),
    Cancelled,
    PoolEnds,
}

async fn wait_for_start(pool: &Arc<Pool>, id: BuildId, orders: &mut mpsc::Receiver<Order>) -> Waited {
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = pool.stopped() => return Waited::PoolEnds,
        };
        match order {
            None => return Waited::PoolEnds,
            Some(Order::Cancel(request)) => {
                pool.update(id, |build| build.cancel = Some(request));
                return Waited::Cancelled;
            }
            Some(Order::Start(platform_builds)) => match launch_or_abort(pool, id, &platform_builds, orders).await {
                Ok(runner) => {
                    tell_that_it_runs(pool, id, platform_builds).await;
                    return Waited::Ended(watch(pool, id, orders, runner).await);
                }
                Err(failure) if await_commit(pool, id, &failure).await => {}
                Err(failure) => return Waited::Ended(Some(Ended::NotStarted(failure))),
            },
        }
    }
}

async fn tell_that_it_runs(pool: &Arc<Pool>, id: BuildId, platform_builds: Vec<(String, Vec<Platform>)>) {
    let names: Vec<String> = platform_builds.into_iter().map(|(name, _)| name).collect();
    let now = Utc::now();
    let running = pool.update(id, |build| {
        build.builders.clone_from(&names);
        // The one that it waited through.
        build.failure = None;
        // Queued and held builds may run: see `BuildState::can_become`.
        let _ = build.become_state(BuildState::Running, format!("builds on {}", names.join(", ")), now);
    });
    if let Some(entry) = pool.state().open.get_mut(&id) {
        entry.starting = None;
    }
    if let Some(build) = running {
        let noted = notify::note(pool, &build).await;
        write_record(pool, &build).await;
        notify::send(pool, noted);
    }
}

/// Puts a build back into the queue whose commit the server does not have yet; false where it failed for good.
async fn await_commit(pool: &Arc<Pool>, id: BuildId, failure: &Failure) -> bool {
    let Some(build) = pool.state().open.get(&id).map(|entry| entry.build.clone()) else { return false };
    let now = Utc::now();
    if failure.kind != FailureKind::NoCommit || build.cancel.is_some() || !may_lag(pool, &build, now).await {
        return false;
    }
    tracing::info!("build {id} waits: {}", failure.reason);
    launch::clean_up(pool, id).await;
    pool.update(id, |build| {
        build.failure = Some(failure.clone());
        build.not_before = Some(now + ASK_FOR_COMMIT_AGAIN);
    });
    if let Some(entry) = pool.state().open.get_mut(&id) {
        entry.starting = None;
    }
    pool.wake();
    true
}

/// Whether a webhook told of a build's commit so lately that its server may still answer from a copy without it.
async fn may_lag(pool: &Pool, build: &Build, now: chrono::DateTime<Utc>) -> bool {
    let is_new = (now - build.queued_at).to_std().is_ok_and(|age| age < SERVER_LAG);
    let Some(push) = build.push.filter(|_| is_new && build.retry_cause != Some(RetryCause::Person)) else {
        return false;
    };
    let home = pool.home.clone();
    let push = tokio::task::spawn_blocking(move || pushes::load(&home, push)).await;
    push.is_ok_and(|push| push.is_ok_and(|push| push.origin == Origin::Webhook))
}

/// Starts the runner; a cancel that comes meanwhile is noted, and ends a long fetch or checkout.
async fn launch_or_abort(
    pool: &Arc<Pool>,
    id: BuildId,
    platform_builds: &[(String, Vec<Platform>)],
    orders: &mut mpsc::Receiver<Order>,
) -> Result<ProcessId, Failure> {
    let abort = watch::Sender::new(false);
    let mut launching = std::pin::pin!(launch::launch(pool, id, platform_builds, &abort));
    loop {
        tokio::select! {
            launched = &mut launching => return launched,
            Some(Order::Cancel(request)) = orders.recv() => {
                abort.send_replace(true);
                pool.update(id, |build| build.cancel = Some(request));
            }
        }
    }
}

/// Watches a runner until it ends; none where the pool ends first.
async fn watch(pool: &Arc<Pool>, id: BuildId, orders: &mut mpsc::Receiver<Order>, runner: ProcessId) -> Option<Ended> {
    let mut kill_at: Option<tokio::time::Instant> = None;
    if pool.state().open.get(&id).is_some_and(|entry| entry.build.cancel.is_some()) {
        // An earlier pool was asked to cancel it.
        tell_to_stop(runner);
        kill_at = Some(tokio::time::Instant::now() + KILL_AFTER);
    }
    loop {
        let kill = async {
            match kill_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            exited = runner.exited() => {
                let Err(error) = exited else { break };
                // Out of file descriptors, most likely. It may well run: only its end is its end.
                tracing::error!("cannot watch the runner of build {id}: {error}");
                tokio::time::sleep(WRITE_AGAIN).await;
            }
            order = orders.recv() => match order {
                Some(Order::Cancel(request)) if kill_at.is_none() => {
                    // On disk before the runner hears of it: whoever reads the result then knows that it was asked for.
                    request_cancel(pool, id, request).await;
                    tell_to_stop(runner);
                    kill_at = Some(tokio::time::Instant::now() + KILL_AFTER);
                }
                _ => {}
            },
            () = kill => {
                tracing::warn!("the runner of build {id} did not stop; it is killed");
                let _ = runner.signal(Signal::KILL);
                kill_at = Some(tokio::time::Instant::now() + KILL_AFTER);
            }
            () = pool.stopped() => return None,
        }
    }
    Some(result_of(pool, id))
}

fn tell_to_stop(runner: ProcessId) {
    // One that has just ended has nothing to hear.
    let _ = runner.signal(Signal::TERM);
}

async fn request_cancel(pool: &Arc<Pool>, id: BuildId, request: CancelRequest) {
    let build = pool.update(id, |build| {
        build.reason = match request.superseded_by {
            Some(newer) => reason!("build.superfluous", newer),
            None => reason!("build.cancel_requested", by = request.by),
        };
        build.cancel = Some(request);
    });
    // On a full disk the build is cancelled all the same: that may be what frees it.
    if let Some(build) = build
        && let Err(error) = save_record(pool, &build).await
    {
        tracing::error!("{error}");
    }
}

/// What a runner that is gone left behind.
fn result_of(pool: &Pool, id: BuildId) -> Ended {
    let file = pool.home.build_dir(id.0).join(builds::RESULT);
    match builds::load_if_there::<RunResult>(&file) {
        Ok(Some(result)) => Ended::Result(result),
        Ok(None) => Ended::Died,
        Err(error) => {
            tracing::error!("{error}");
            Ended::Died
        }
    }
}

/// Concludes a build whose runner ended: its final record, what was left behind, and a retry where one is due.
pub(super) async fn finish(pool: &Arc<Pool>, id: BuildId, mut ended: Ended) {
    launch::clean_up(pool, id).await;
    let config = pool.state().settings.config.pool.clone();
    let now = match &ended {
        Ended::Result(result) => result.finished_at,
        Ended::Died | Ended::NotStarted(_) => Utc::now(),
    };
    let Some(mut build) = pool.state().open.get(&id).map(|entry| entry.build.clone()) else { return };
    explain_refusal(pool, &build, &mut ended);
    let lags = may_lag(pool, &build, now).await;
    let conclusion = conclude(&build, &ended, &config, lags, now);
    if let Ended::Result(result) = &ended {
        build.images.clone_from(&result.images);
        build.warnings.extend(result.notes.iter().cloned());
    }
    if conclusion.state == BuildState::Failed {
        builders::ask_again(pool, &build.builders);
    }
    build.builders.iter().for_each(|name| builders::weigh_cache(pool, name));
    let retried_as = match conclusion.retry {
        Some((cause, at)) => retry(pool, &build, cause, at).await,
        None => None,
    };
    let Conclusion { state, mut reason, failure, .. } = conclusion;
    build.failure = failure;
    build.retried_as = retried_as;
    if let Some(retried_as) = retried_as {
        reason = reason!("build.retried_as", reason, id = retried_as);
    }
    close(pool, build, state, reason, now).await;
}

/// Where a registry refused a build that was not given its credential, the hint on the failure says so.
fn explain_refusal(pool: &Pool, build: &Build, ended: &mut Ended) {
    let Ended::Result(RunResult { failure: Some(failure), .. }) = ended else { return };
    if failure.kind != FailureKind::Credentials {
        return;
    }
    let settings = pool.state().settings.clone();
    let scope = CredentialScope::new(&settings, &build.namespace, &build.registry);
    // A configuration that can't be read gave no build a credential.
    let docker = DockerConfig::of_user().unwrap_or_default();
    if let Some(denial) = scope.withheld(&failure.reason.to_string(), &docker) {
        failure.hint = Some(denial.into());
    }
}

/// A build that was cancelled before it started.
async fn finish_waiting(pool: &Arc<Pool>, id: BuildId) {
    let Some(build) = pool.state().open.get(&id).map(|entry| entry.build.clone()) else { return };
    let Some((state, reason)) = build.cancel.as_ref().map(|cancel| cancel.conclusion(id, true)) else { return };
    close(pool, build, state, reason, Utc::now()).await;
}

async fn retry(pool: &Arc<Pool>, build: &Build, cause: RetryCause, at: chrono::DateTime<Utc>) -> Option<BuildId> {
    match enqueue::retry_by_itself(pool, build, cause, at).await {
        Ok(id) => Some(id),
        Err(error) => {
            tracing::error!("build {} cannot be tried again: {error}", build.id);
            None
        }
    }
}

async fn close(pool: &Arc<Pool>, mut build: Build, state: BuildState, reason: Reason, at: chrono::DateTime<Utc>) {
    // A build that never ran fails from the queue: `BuildState::can_become` allows what is concluded here.
    if let Err(error) = build.become_state(state, reason, at) {
        tracing::error!("{error}");
    }
    write_record(pool, &build).await;
    notify::close(pool, &build).await;
    tracing::info!("build {} of {} {}: {}", build.id, build.path(), build.state, build.reason);
    pool.triggers.past.learn(&build).await;
    let entry = {
        let mut state = pool.state();
        if build.state == BuildState::Succeeded {
            let path = build.path().to_string();
            for (name, builder) in &mut state.builders {
                if build.builders.contains(name) {
                    builder.warm.insert(path.clone());
                } else {
                    builder.warm.remove(&path);
                }
            }
        }
        state.open.remove(&build.id)
    };
    if let Some(entry) = entry {
        entry.news.send_replace(Arc::new(build));
    }
    builders::restart_if_config_changed(pool);
    pool.wake();
}

/// Writes a record, however long the disk is full: a build is never lost to it.
async fn write_record(pool: &Arc<Pool>, build: &Build) {
    let mut told = false;
    while let Err(error) = save_record(pool, build).await {
        if !told {
            tracing::error!("{error}; it is tried again until it works");
            told = true;
        }
        tokio::time::sleep(WRITE_AGAIN).await;
    }
}

async fn save_record(pool: &Arc<Pool>, build: &Build) -> Result<(), crate::protocol::Error> {
    let (catalog, record) = (pool.catalog.clone(), build.clone());
    enqueue::blocking(move || catalog.save(&record).map_err(enqueue::failed)).await
}
