//! The pool's main loop: take the lock, take over what an earlier pool left, serve, schedule, end.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::schedule::{Decision, schedule};
use super::state::{Pool, State};
use super::trigger::{self, Triggers};
use super::{builders, enqueue, entities, notify, retention, server};
use crate::buildkit::daemon::in_use;
use crate::domain::build::{BuildId, BuildState};
use crate::domain::config::ByteSize;
use crate::protocol::ALREADY_RUNS;
use crate::store::settings::{self, Settings};
use crate::store::trust::Untrusted;
use crate::store::watch::{self, Change};
use crate::store::{Catalog, Home, builds};
use crate::sys::process::ProcessId;
use crate::sys::{atomic, environment, lock};

/// How often the number of a pool that has just taken the lock is looked for, and how soon again.
const LOOKS_FOR_NUMBER: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How soon a full disk is looked at again.
const DISK_AGAIN: Duration = Duration::from_secs(2);
/// How often builds that are no longer kept are deleted.
const RETENTION_EVERY: Duration = Duration::from_secs(60 * 60);

/// Why a pool does not run.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Another one holds the lock.
    #[error("a pool runs already in {home}, as process {pid}; `slipway pool status` shows it", home = home.display())]
    AlreadyRuns {
        /// The home.
        home: PathBuf,
        /// The other pool's process.
        pid: String,
    },
    /// Another process holds the lock, and is no pool.
    #[error("no pool can start: {path} is locked by {holders}; end that process", path = path.display())]
    LockHeld {
        /// The lock.
        path: PathBuf,
        /// The processes that hold it.
        holders: String,
    },
    /// Another user controls the home.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The home can't be used.
    #[error("the pool cannot use {path}: {source}", path = path.display())]
    Home {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl PoolError {
    /// The status that the process ends with.
    pub fn exit_status(&self) -> u8 {
        match self {
            PoolError::AlreadyRuns { .. } => ALREADY_RUNS,
            PoolError::LockHeld { .. } | PoolError::Untrusted(_) | PoolError::Home { .. } => 1,
        }
    }
}

/// Runs the pool of a home until it is told to stop.
///
/// # Errors
/// When another one runs, or the home can't be used.
pub async fn run(home: Home) -> Result<(), PoolError> {
    let at = |path: PathBuf| move |source| PoolError::Home { path, source };
    home.check()?;
    home.create().map_err(at(home.state_dir().to_path_buf()))?;
    atomic::create_dir_all(&home.buildkit_dir()).map_err(|error| at(home.buildkit_dir())(io::Error::other(error)))?;
    let lock = take_lock(&home)?;
    if let Err(error) = settings::clean(&home) {
        tracing::warn!("{error}");
    }
    // Nobody else asks anything in a home whose lock is held.
    match fs::remove_dir_all(home.scratch_dir()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("cannot empty {}: {error}", home.scratch_dir().display());
        }
        _ => {}
    }
    let (catalog, start) = Catalog::open(&home).map_err(at(home.builds_dir()))?;
    let catalog = Arc::new(catalog);
    let listener = listen(&home).map_err(at(home.pool_socket()))?;
    // Before the files are read: an edit in between would never be noticed.
    let edits = watch_edits(&home);

    let settings = Settings::take_over(&home, &Settings::default());
    environment::pass_on(&settings.config.pool.environment);
    let pool = Arc::new(Pool {
        started_at: Utc::now(),
        state: Mutex::new(State {
            settings,
            settings_changes: 0,
            open: std::collections::BTreeMap::new(),
            next_id: start.last_build + 1,
            written: super::news::Written::default(),
            builders: std::collections::BTreeMap::new(),
            blocked: None,
            webhooks: None,
            webhook_refusals: std::collections::BTreeMap::new(),
            watch_problems: std::collections::BTreeMap::new(),
            untold: std::collections::BTreeMap::new(),
        }),
        admission: tokio::sync::Mutex::new(()),
        edits: tokio::sync::Mutex::new(()),
        triggers: Triggers::new(catalog.clone()),
        catalog,
        woken: Notify::new(),
        changes: tokio::sync::watch::Sender::new(0),
        outgoing: notify::Outgoing::of_earlier(&home),
        stopping: tokio::sync::watch::Sender::new(false),
        home,
    });
    tracing::info!("the pool of {} runs as process {}", pool.home.state_dir().display(), std::process::id());
    for problem in pool.state().settings.problems.values() {
        tracing::warn!("{problem}");
    }
    if let Err(error) = in_use::withdraw_stop_request(&pool.home.buildkit_dir()) {
        tracing::warn!("{error}");
    }
    let tender = tokio::spawn(trigger::past::tend(pool.clone()));
    tokio::spawn(trigger::past::read(pool.clone()));
    take_over(&pool, start.open).await;
    // What they start must see what is open already.
    let triggers = trigger::begin(&pool);
    builders::follow_settings(&pool);

    let server = tokio::spawn(server::serve(pool.clone(), listener));
    let edits = tokio::spawn(follow_edits(pool.clone(), edits));
    let keeper = tokio::spawn(keep(pool.clone()));
    let scheduler = tokio::spawn(schedule_all(pool.clone()));
    let deliverer = tokio::spawn(notify::deliver(pool.clone()));
    wait_for_end(&pool).await;
    scheduler.abort();
    triggers.end().await;
    let _ = deliverer.await;
    let _ = tender.await;
    edits.abort();
    keeper.abort();
    end(&pool).await;
    let _ = fs::remove_file(pool.home.pool_socket());
    // Clients that ask from here on start a new pool; those that wait are told.
    let _ = server.await;
    drop(lock);
    let _ = in_use::stop_if_idle(&pool.home.buildkit_dir(), &pool.home.pool_lock()).await;
    tracing::info!("the pool ended");
    Ok(())
}

/// One pool for each home.
fn take_lock(home: &Home) -> Result<lock::Held, PoolError> {
    let path = home.pool_lock();
    let error = |source| PoolError::Home { path: path.clone(), source };
    let Some(held) = lock::try_exclusive(&path).map_err(error)? else {
        return Err(lock_held(home, path));
    };
    let mut file = held.file();
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    // The number is for people; on a full disk the lock holds without it.
    let _ = written;
    Ok(held)
}

/// Who holds the lock. A pool writes its number into the file, a moment after it took the lock; whoever else holds it
/// is named by the kernel.
fn lock_held(home: &Home, path: PathBuf) -> PoolError {
    let mut looks = 0;
    loop {
        let mut pid = fs::read_to_string(&path).unwrap_or_default();
        pid.truncate(pid.trim_end().len());
        let holders = lock::holders(&path);
        if holders.is_empty() || holders.contains(&format!("process {pid} ")) {
            return PoolError::AlreadyRuns { home: home.state_dir().to_path_buf(), pid };
        }
        if looks == LOOKS_FOR_NUMBER {
            return PoolError::LockHeld { path, holders };
        }
        looks += 1;
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The socket, for this user alone: the umask is 077, so nobody else can connect between its making and its mode.
/// Whoever holds the lock may take the place of a dead pool's socket.
fn listen(home: &Home) -> io::Result<UnixListener> {
    let path = home.pool_socket();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Carries on with the builds that an earlier pool left open; the newest first, so that a build that was tried again
/// already is not tried again twice.
async fn take_over(pool: &Arc<Pool>, open: std::collections::BTreeSet<BuildId>) {
    for id in open.into_iter().rev() {
        let directory = pool.home.build_dir(id.0);
        if !directory.join(builds::RECORD).exists() {
            // Its client was never told that it is queued.
            tracing::warn!("build {id} was never recorded; its directory is removed");
            if let Err(error) = pool.catalog.delete(&[id]) {
                tracing::warn!("cannot remove {}: {error}", directory.display());
            }
            continue;
        }
        if let Err(error) = atomic::clean(&directory) {
            tracing::warn!("{error}");
        }
        let build = match builds::load(&pool.home, id) {
            Ok(build) => build,
            Err(error) => {
                tracing::error!("build {id} can't be taken over: {error}");
                continue;
            }
        };
        if build.state.is_final() {
            notify::close(pool, &build).await;
            pool.triggers.past.learn(&build).await;
            continue;
        }
        let runner = builds::load_if_there::<ProcessId>(&directory.join(builds::RUNNER)).ok().flatten();
        match runner {
            // Its record may not say yet that it runs: the pool died in between.
            Some(runner) => adopt(pool, build, runner).await,
            None if build.state == BuildState::Running => {
                enqueue::enter(pool, build, Some(ProcessId { pid: 0, start: 0 }));
            }
            None => enqueue::enter(pool, build, None),
        }
    }
}

async fn adopt(pool: &Arc<Pool>, mut build: crate::domain::build::Build, runner: ProcessId) {
    let id = build.id;
    if build.state != BuildState::Running {
        let job = pool.home.build_dir(id.0).join(builds::JOB);
        let job = builds::load_if_there::<crate::buildctl::job::Job>(&job).ok().flatten();
        build.builders = job
            .map(|job| job.platform_builds.into_iter().map(|platform_build| platform_build.builder).collect())
            .unwrap_or_default();
        let _ = build.become_state(BuildState::Running, format!("builds on {}", build.builders.join(", ")), Utc::now());
        notify::tell(pool, &build).await;
    }
    tracing::info!(
        "build {id} is carried on with (runner {}, {})",
        runner.pid,
        if runner.is_alive() { "alive" } else { "gone" }
    );
    enqueue::enter(pool, build, Some(runner));
}

/// Starts what can be started, whenever something changed, and tells the rest why it waits.
async fn schedule_all(pool: Arc<Pool>) {
    let mut asked_for_platforms = false;
    loop {
        let now = Utc::now();
        let mut blocked = disk_is_low(&pool);
        if let Some(low) = &blocked {
            retention::free_disk(&pool, low.missing).await;
            blocked = disk_is_low(&pool);
        }
        let blocked = blocked.map(|low| low.reason);
        let (next, lacks_platform) = {
            let mut state = pool.state();
            state.blocked = blocked;
            let waiting = state.waiting();
            let decisions = schedule(now, &waiting, &state.builder_views(), &state.pool_view());
            let lacks = decisions
                .values()
                .any(|decision| matches!(decision, Decision::Hold(reason) if reason.starts_with(super::schedule::NO_PLATFORM)));
            state.apply(decisions, now);
            let retry_at = waiting.iter().filter_map(|build| build.not_before).filter(|at| *at > now).min();
            let next = retry_at.map(|at| (at - now).to_std().unwrap_or_default() + Duration::from_millis(1));
            let disk = state.blocked.is_some().then_some(DISK_AGAIN);
            (next.into_iter().chain(disk).min(), lacks)
        };
        pool.tell_watchers();
        if lacks_platform && !asked_for_platforms {
            // Emulators may have been installed since the builders were asked.
            asked_for_platforms = true;
            builders::refresh_platforms(&pool).await;
            continue;
        }
        asked_for_platforms = lacks_platform;
        let timer = async {
            match next {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pool.woken.notified() => asked_for_platforms = false,
            () = timer => {}
        }
    }
}

/// Less is free than `pool.min_free`.
struct LowDisk {
    /// How many bytes are missing.
    missing: u64,
    /// Why nothing may start.
    reason: String,
}

/// Whether nothing may start for lack of space, where builds wait.
fn disk_is_low(pool: &Pool) -> Option<LowDisk> {
    let min_free = {
        let state = pool.state();
        if state.open.is_empty() {
            return None;
        }
        state.settings.config.pool.min_free
    };
    let directory = pool.home.state_dir();
    let stat = rustix::fs::statvfs(directory).ok()?;
    let free = ByteSize(stat.f_bavail.saturating_mul(stat.f_frsize));
    (free < min_free).then(|| LowDisk {
        missing: min_free.0 - free.0,
        reason: format!(
            "only {free} are free in {}, and pool.min_free is {min_free}; free some space, and it goes on by itself",
            directory.display()
        ),
    })
}

/// Watches what people edit by hand.
fn watch_edits(home: &Home) -> watch::Watcher {
    watch::watch(vec![
        home.config_file(),
        home.namespaces_dir(),
        home.builders_dir(),
        home.registries_dir(),
        home.platforms_dir(),
    ])
}

/// Takes over what people edit by hand.
async fn follow_edits(pool: Arc<Pool>, mut edits: watch::Watcher) {
    while let Some(change) = edits.next().await {
        match change {
            Change::Polling { reason } => tracing::warn!("{reason}"),
            Change::Files(paths) => {
                if entities::reload(&pool).await {
                    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                    tracing::info!("taken over: {}", paths.join(", "));
                }
            }
        }
    }
}

async fn keep(pool: Arc<Pool>) {
    loop {
        retention::apply(&pool).await;
        retention::tidy_sources(&pool).await;
        tokio::time::sleep(RETENTION_EVERY).await;
    }
}

async fn wait_for_end(pool: &Pool) {
    let on = |kind| signal(kind).expect("a handler for a signal that can be caught");
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate()), on(SignalKind::interrupt()));
    tokio::select! {
        () = pool.stopped() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    pool.stopping.send_replace(true);
}

/// Leaves the running builds to their runners, and the managed daemon to the last of them.
async fn end(pool: &Arc<Pool>) {
    let running =
        pool.state().open.values().any(|entry| entry.starting.is_some() || entry.build.state == BuildState::Running);
    if running && let Err(error) = in_use::ask_to_stop_when_idle(&pool.home.buildkit_dir()) {
        tracing::warn!("{error}");
    }
    builders::leave(pool, running).await;
}
