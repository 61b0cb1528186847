//! The start of a pool: its lock, its socket, and what an earlier pool left.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::core::{Found, FoundBuild};
use super::tasks::notifier;
use crate::buildctl::job::Job;
use crate::domain::build::BuildId;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::protocol::ALREADY_RUNS;
use crate::store::catalog::Start;
use crate::store::settings::{self, Settings};
use crate::store::trust::Untrusted;
use crate::store::{Catalog, Home, builds, outbox, watch};
use crate::sys::process::ProcessId;
use crate::sys::{atomic, lock};

/// How often the number of a pool that has just taken the lock is looked for, and how soon again.
const LOOKS_FOR_NUMBER: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long a runner that an earlier pool has just started may take to begin, or to leave.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);
/// How long a pool that ends waits for a runner that it has just started.
const LAST_BEGINNINGS: Duration = Duration::from_secs(10);

/// Why a pool does not run.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Another one holds the lock.
    AlreadyRuns {
        /// The home.
        home: PathBuf,
        /// The other pool's process.
        pid: String,
    },
    /// Another process holds the lock, and is no pool.
    LockHeld {
        /// The lock.
        path: PathBuf,
        /// The processes that hold it.
        holders: Vec<lock::Holder>,
    },
    /// Another user controls the home.
    Untrusted(#[from] Untrusted),
    /// The home can't be used.
    Home {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

display_as_reason!(PoolError);

impl AsReason for PoolError {
    fn reason(&self) -> Reason {
        match self {
            PoolError::AlreadyRuns { home, pid } => reason!("pool.runs_already", home, pid),
            PoolError::LockHeld { path, holders } => reason!("pool.lock_held", path, holders),
            PoolError::Untrusted(error) => error.reason(),
            PoolError::Home { path, source } => reason!("pool.home_unusable", path, source),
        }
    }
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

/// Makes the home's directories, and clears up what writers that are gone left.
///
/// # Errors
/// When the home can't be used.
pub(super) fn prepare(home: &Home) -> Result<lock::Held, PoolError> {
    let at = |path: PathBuf| move |source| PoolError::Home { path, source };
    home.check()?;
    home.create().map_err(at(home.state_dir().to_path_buf()))?;
    atomic::create_dir_all(&home.buildkit_dir()).map_err(|error| at(home.buildkit_dir())(io::Error::other(error)))?;
    let lock = take_lock(home)?;
    for cleaned in [settings::clean(home), outbox::clean(home)] {
        if let Err(error) = cleaned {
            tracing::warn!("{error}");
        }
    }
    // Nobody else asks anything in a home whose lock is held.
    match fs::remove_dir_all(home.scratch_dir()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("cannot empty {}: {error}", home.scratch_dir().display());
        }
        _ => {}
    }
    Ok(lock)
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
        if holders.is_empty() || holders.iter().any(|holder| holder.pid.to_string() == pid) {
            return PoolError::AlreadyRuns { home: home.state_dir().to_path_buf(), pid };
        }
        if looks == LOOKS_FOR_NUMBER {
            return PoolError::LockHeld { path, holders };
        }
        looks += 1;
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Watches what people edit by hand.
pub(super) fn watch_edits(home: &Home) -> watch::Watcher {
    watch::watch(vec![
        home.config_file(),
        home.namespaces_dir(),
        home.builders_dir(),
        home.registries_dir(),
        home.platforms_dir(),
    ])
}

/// What an earlier pool left on disk.
pub(super) fn find(home: &Home, catalog: &Catalog, start: &Start, settings: Arc<Settings>) -> Found {
    let (messages, problems) = outbox::load(home).unwrap_or_else(|error| {
        tracing::error!("cannot list {}: {error}", outbox::directory(home).display());
        (Vec::new(), Vec::new())
    });
    problems.iter().for_each(|problem| tracing::warn!("{problem}"));
    notifier::end_left_commands(&messages);
    Found {
        settings,
        last_build: start.last_build,
        builds: start.open.iter().filter_map(|id| find_build(home, catalog, *id)).collect(),
        last_push: start.last_push,
        messages,
    }
}

/// An open build of an earlier pool.
fn find_build(home: &Home, catalog: &Catalog, id: BuildId) -> Option<FoundBuild> {
    let directory = home.build_dir(id.0);
    if !directory.join(builds::RECORD).exists() {
        // Its client was never told that it is queued.
        tracing::warn!("build {id} was never recorded; its directory is removed");
        if let Err(error) = catalog.delete(&[id]) {
            tracing::warn!("cannot remove {}: {error}", directory.display());
        }
        return None;
    }
    if let Err(error) = atomic::clean(&directory) {
        tracing::warn!("{error}");
    }
    let build = match builds::load(home, id) {
        Ok(build) => build,
        Err(error) => {
            tracing::error!("build {id} can't be taken over: {error}");
            return None;
        }
    };
    // Whatever an earlier attempt left is no concern of the one that is to run.
    let directory = home.attempt_dir(id.0, build.present_attempt());
    if let Err(error) = atomic::clean(&directory) {
        tracing::warn!("{error}");
    }
    let runner = builds::load_if_there::<ProcessId>(&directory.join(builds::RUNNER)).ok().flatten();
    let runner = runner.filter(|runner| !build.state.is_final() && has_begun(&directory, *runner));
    let job = runner.and_then(|_| builds::load_if_there::<Job>(&directory.join(builds::JOB)).ok().flatten());
    let builders = job.map(|job| job.platform_builds.into_iter().map(|share| share.builder).collect());
    Some(FoundBuild { build, runner, builders: builders.unwrap_or_default() })
}

/// Whether a runner has begun to work. One whose pool died before it said that it may begin leaves at once, without a
/// trace: its build is still to be started.
fn has_begun(directory: &Path, runner: ProcessId) -> bool {
    wait_for_begin(directory, runner, BEGINS_WITHIN) || runner.is_alive()
}

/// Waits until a runner has begun to work, as far as it is to: then it holds the daemon that it needs.
fn wait_for_begin(directory: &Path, runner: ProcessId, within: Duration) -> bool {
    let begun = || [builds::LOG, builds::RESULT].iter().any(|file| directory.join(file).exists());
    let until = std::time::Instant::now() + within;
    while !begun() && runner.is_alive() && std::time::Instant::now() < until {
        std::thread::sleep(LOOK_AGAIN);
    }
    begun()
}

/// Waits until the runners of builds hold the managed daemon, which would be idle without them: what a pool does before it
/// ends and they go on.
pub(super) async fn runners_begin(home: &Home, builds: Vec<BuildId>) {
    let directories: Vec<PathBuf> = builds.into_iter().map(|id| home.build_dir(id.0)).collect();
    let wait = move || {
        for directory in directories {
            if let Ok(Some(runner)) = builds::load_if_there::<ProcessId>(&directory.join(builds::RUNNER)) {
                wait_for_begin(&directory, runner, LAST_BEGINNINGS);
            }
        }
    };
    // It only waits.
    let _ = tokio::task::spawn_blocking(wait).await;
}
