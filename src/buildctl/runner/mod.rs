//! The runner: the process that owns the `buildctl`s of one build and outlives the pool that started it.
//!
//! `slipway runner <attempt's directory>`. It reads `job.toml`, writes `log` and `steps.toml` while it works, moves the
//! tags, and leaves `result.toml`. It begins once it has a whole [`Handover`] from its standard input, and stops on
//! SIGTERM. It talks to nobody.

mod builder_up;
pub mod credentials;
mod disk_limit;
mod end;
mod files;
mod finish;
mod limits;
mod machine;
mod output;
mod platform_build;
mod platform_built;
mod process;
mod scanner;
mod secrets;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::{oneshot, watch};

use super::handover::Handover;
use super::job::{Cache, Destination, Job, Outcome, RunResult};
use crate::buildkit::daemon::{DaemonError, in_use};
use crate::domain::build::Image;
use crate::domain::failure::{Failure, FailureKind, Hint};
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::log::mask::Mask;
use crate::registry::{Layout, Stage};
use crate::store::builds;

use builder_up::PlatformBuildRun;
use credentials::Credentials;
use end::{End, Stop, is_stopped, watch_for_stop};
use files::RESERVE;
pub use files::{CHECKOUT_DIR, DOCKER_CONFIG_DIR, DOCKERFILE_DIR, ERRORS, SCANNER_DIR, fresh_directories};
pub use machine::take_down_leftovers;
use output::Output;

/// Bytes that are set aside for the result.
const RESERVE_BYTES: u64 = 64 * 1024;
/// More of a failure's message, or of a note, is not kept.
const LONGEST_WORDS: usize = 4 * 1024;
/// More notes on a build are not kept.
const MOST_NOTES: usize = 100;
/// Why a runner could not even begin.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The job is not there or does not parse.
    Job(#[from] crate::store::read::ReadError),
    /// The result could not be written; the pool will take the build for interrupted.
    Result(#[from] crate::sys::atomic::WriteError),
    /// Nobody knows of this runner: the pool ended before it was recorded, and starts the build again.
    Forsaken,
    /// The process could not be set up.
    Start(#[from] io::Error),
    /// The build is done, but the managed daemon that nobody needs any more could not be stopped.
    Idle(#[source] DaemonError),
}

display_as_reason!(RunnerError);

impl AsReason for RunnerError {
    fn reason(&self) -> Reason {
        match self {
            RunnerError::Job(error) => error.reason(),
            RunnerError::Result(error) => error.reason(),
            RunnerError::Forsaken => reason!("runner.forsaken"),
            RunnerError::Start(error) => reason!("runner.start", error),
            RunnerError::Idle(error) => reason!("runner.idle", error),
        }
    }
}

/// Runs the job in an attempt's directory to its end, once the pool says that it may begin.
///
/// # Errors
/// When the pool died before it said so, there is no job, or its result can't be written.
pub fn run(directory: &Path) -> Result<(), RunnerError> {
    let handover = Handover::read(io::stdin().lock())?.ok_or(RunnerError::Forsaken)?;
    let job: Job = crate::store::read::load(&directory.join(builds::JOB))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let reserve = reserve(directory);
        let result = work(directory, &job, &handover).await;
        drop(reserve);
        // What was set aside makes room for the result.
        let _ = fs::remove_file(directory.join(RESERVE));
        for done_with in [DOCKER_CONFIG_DIR, DOCKERFILE_DIR, SCANNER_DIR] {
            // Credentials first of all; what can't be removed here, the pool removes.
            let _ = fs::remove_dir_all(directory.join(done_with));
        }
        builds::save(&directory.join(builds::RESULT), &result)?;
        if let Some(managed) = &job.managed {
            in_use::stop_if_idle(&managed.directory, &managed.pool_lock).await.map_err(RunnerError::Idle)?;
        }
        Ok(())
    })
}

fn reserve(directory: &Path) -> io::Result<File> {
    let file = File::create(directory.join(RESERVE))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES)?;
    Ok(file)
}

/// Builds, publishes, and says how it ended; the managed daemon is in use meanwhile.
async fn work(directory: &Path, job: &Job, handover: &Handover) -> RunResult {
    let mut result = RunResult {
        id: job.build.id,
        outcome: Outcome::Failed,
        finished_at: Utc::now(),
        failure: None,
        notes: Vec::new(),
        images: Vec::new(),
    };
    let mask = secrets::mask(handover);
    let stop = watch_for_stop(Duration::from_secs(job.timeout_seconds));
    let in_use = match &job.managed {
        Some(managed) => in_use::use_daemon(&managed.directory).await.map(Some),
        None => Ok(None),
    };
    let done = match in_use {
        Ok(_in_use) => build(directory, job, handover, &stop, &mask, &mut result.notes).await,
        Err(error) => Err(End::Failed(Failure::of_error(&error, FailureKind::Daemon))),
    };
    free_unused(job, &mut result.notes);
    match done {
        Ok(images) => {
            result.outcome = Outcome::Succeeded;
            result.images = images;
        }
        Err(End::Stopped(Stop::Told)) => result.outcome = Outcome::Stopped,
        Err(End::Stopped(Stop::TimedOut)) => {
            result.outcome = Outcome::TimedOut;
            let limit = Duration::from_secs(job.timeout_seconds);
            result.failure = Some(Failure::new(FailureKind::Timeout, reason!("build.ran_too_long", limit)));
        }
        Err(End::Stopped(Stop::DiskFull)) => {
            let reason = reason!("build.log_disk_full", directory);
            result.failure = Some(Failure::new(FailureKind::Disk, reason));
        }
        Err(End::Stopped(Stop::LogFull)) => {
            let hint = reason!("build.raise_log_limit");
            let failure = Failure::new(FailureKind::LogLimit, output::full(job.log_limit));
            result.failure = Some(Failure { hint: Some(hint), ..failure });
        }
        Err(End::Failed(mut failure)) => {
            let may_be_why = match &failure.hint {
                // A command that lacks an optional secret fails in words of its own.
                None => failure.exit_code.is_some(),
                Some(hint) => Hint::is_of_grants(hint),
            };
            if may_be_why && !job.grants.missing.is_empty() {
                let missing = job.grants.missing.iter().cloned();
                failure.hint = missing.reduce(|first, next| reason!("reasons.sentence", first, next));
            }
            result.failure = Some(failure);
        }
        Err(End::Refused(failure)) => {
            result.outcome = Outcome::Refused;
            result.failure = Some(failure);
        }
    }
    make_fit(&mut result, &mask);
    result.finished_at = Utc::now();
    result
}

/// Frees what no tag of the repository names any more, of former images and of this build where it was not published.
/// While another build exports into it nothing goes: the last one does it.
fn free_unused(job: &Job, notes: &mut Vec<Reason>) {
    if let Destination::Layout { directory } = &job.destination
        && let Err(error) = Layout::new(directory).prune()
    {
        notes.push(reason!("publish.former_images_stay", error));
    }
}

/// What others said of the build may hold secrets, and may be long.
fn make_fit(result: &mut RunResult, mask: &Mask) {
    let mut fit = |text: &mut String| {
        mask.apply(text);
        if text.len() > LONGEST_WORDS {
            text.truncate(text.floor_char_boundary(LONGEST_WORDS));
            text.push('…');
        }
    };
    if let Some(failure) = &mut result.failure {
        failure.reason.for_each_text(&mut fit);
        if let Some(hint) = &mut failure.hint {
            hint.for_each_text(&mut fit);
        }
        failure.file.as_mut().map(&mut fit);
    }
    result.notes.truncate(MOST_NOTES);
    result.notes.iter_mut().for_each(|note| note.for_each_text(&mut fit));
}

async fn build(
    directory: &Path,
    job: &Job,
    handover: &Handover,
    stop: &Arc<watch::Sender<Option<Stop>>>,
    mask: &Mask,
    notes: &mut Vec<Reason>,
) -> Result<Vec<Image>, End> {
    let disk = |error: Reason| End::Failed(Failure::new(FailureKind::Disk, error));
    let output =
        Output::create(directory, stop.clone(), mask.clone(), job.log_limit).map_err(|error| disk(error.into()))?;
    for missing in &job.grants.missing {
        output.say(&format!("slipway: {missing}"));
    }
    for note in
        job.platform_builds.iter().filter_map(|platform_build| platform_build.host_network.as_ref()).map(Reason::from)
    {
        output.say(&format!("slipway: {note}"));
        notes.push(note);
    }
    let stages = Stages::open(job).map_err(|error| disk(error.into()))?;
    let docker_config = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let credentials = Arc::new(Credentials::of(job, docker_config.as_deref(), mask));
    let server = docker_config.map(|there| credentials.serve(&there, output.clone())).transpose();
    let _server = server.map_err(|error| End::Failed(Failure::of_error(&error, FailureKind::Host)))?;
    let (done, keep_until) = oneshot::channel::<()>();
    let keeper = tokio::spawn(output::keep_steps(output.clone(), directory.to_path_buf(), keep_until));

    let runs: Vec<PlatformBuildRun> = job
        .platform_builds
        .iter()
        .enumerate()
        .map(|(number, platform_build)| PlatformBuildRun {
            directory,
            job,
            handover,
            credentials: &credentials,
            platform_build,
            number,
            image_stage: stages.images.get(number).map(Stage::dir),
            cache_stage: stages.caches.get(number).map(Stage::dir),
        })
        .collect();
    let built = platform_build::build_all(&runs, &output, stop).await;
    // Its last write must not come after the final one.
    drop(done);
    let _ = keeper.await;
    let written = output.finish(directory);
    let built = built?;
    written.map_err(|error| disk(error.into()))?;
    notes.extend(output.notes());
    let images =
        match (finish::publish(directory, job, &credentials, &built, notes, is_stopped(stop)).await, *stop.borrow()) {
            (Err(End::Failed(_)), Some(reason)) => return Err(End::Stopped(reason)),
            (published, _) => published?,
        };
    stages.close(notes);
    Ok(images)
}

/// The staging directories of a build whose image or cache stays on this machine.
struct Stages {
    images: Vec<Stage>,
    caches: Vec<Stage>,
}

impl Stages {
    fn open(job: &Job) -> Result<Stages, crate::registry::LayoutError> {
        let (id, attempt) = (job.build.id.0, job.build.present_attempt());
        let name = |platform_build: usize| format!("{id}.{attempt}-{platform_build}");
        let images = match &job.destination {
            Destination::Layout { directory } => {
                let layout = Layout::new(directory);
                (0..job.platform_builds.len())
                    .map(|platform_build| layout.stage(&name(platform_build)))
                    .collect::<Result<_, _>>()?
            }
            Destination::Registry { .. } => Vec::new(),
        };
        let caches = job.platform_builds.iter().filter_map(|platform_build| match &platform_build.cache {
            Cache::Layout { directory } => Some(Layout::new(directory).stage(&name(0))),
            Cache::Registry { .. } => None,
        });
        Ok(Stages { images, caches: caches.collect::<Result<_, _>>()? })
    }

    /// Makes the new caches the caches, once the image is published.
    fn close(self, notes: &mut Vec<Reason>) {
        for error in self.caches.into_iter().filter_map(|cache| cache.publish_cache().err()) {
            notes.push(reason!("build.cache_not_kept", error));
        }
    }
}
