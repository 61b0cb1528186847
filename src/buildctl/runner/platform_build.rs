//! One platform build: a builder's daemon, and the `buildctl` that builds its platforms there.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use chrono::Utc;
use tokio::sync::watch;

use super::builder_up::{BuilderUp, PlatformBuildEnd, PlatformBuildRun, daemon_failure};
use super::disk_limit::{self, Watch};
use super::end::{End, Stop, is_stopped};
use super::finish;
use super::limits::StepLimits;
use super::output::{Output, StepsOf};
use super::platform_built::PlatformBuilt;
use super::process::{Buildctl, Finished};
use super::scanner;
use crate::buildctl::arguments::{GIT_SECRET_VARIABLE, Run, arguments, secret_variable};
use crate::buildctl::job::Cache;
use crate::buildctl::source_policy;
use crate::domain::failure::{Exit, Failure, FailureKind, classify};
use crate::domain::reason::reason;
use crate::domain::tag::ACCELERATED_SUFFIX;
use crate::registry::Layout;
use crate::sys::atomic;

/// What one `buildctl` is to make.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    /// The lazily loadable image.
    accelerated: bool,
    /// The tag under which an image goes to the registry again.
    again_as: Option<&'a str>,
}

/// Builds all platform builds at once; what they brought, in their order. The first that fails stops the others.
pub(super) async fn build_all(
    runs: &[PlatformBuildRun<'_>],
    output: &Output,
    stop: &Arc<watch::Sender<Option<Stop>>>,
) -> Result<Vec<PlatformBuilt>, End> {
    // Platform builds stop each other through a channel of their own, so that the first failure stays the build's.
    let others = watch::Sender::new(false);
    let one = |run| {
        let others = &others;
        async move {
            let result = build_one(run, output, stop, others).await;
            if result.is_err() {
                others.send_replace(true);
            }
            result
        }
    };
    let results = futures_util::future::join_all(runs.iter().map(one)).await;
    if let Some(reason) = *stop.borrow() {
        return Err(End::Stopped(reason));
    }
    let mut built = Vec::new();
    let mut first: Option<End> = None;
    for (run, result) in runs.iter().zip(results) {
        match result {
            Ok(platform_build) => built.push(platform_build),
            // The platform build that failed by itself says why, not those that it stopped.
            Err(PlatformBuildEnd::Failed(failure)) => {
                let failure = if runs.len() > 1 { failure.on(&run.platforms().join(",")) } else { failure };
                first = first.or(Some(End::Failed(failure)));
            }
            Err(PlatformBuildEnd::StoppedByAnother) => {}
        }
    }
    match first {
        Some(end) => Err(end),
        None => Ok(built),
    }
}

async fn build_one(
    run: &PlatformBuildRun<'_>,
    output: &Output,
    stop: &Arc<watch::Sender<Option<Stop>>>,
    others: &watch::Sender<bool>,
) -> Result<PlatformBuilt, PlatformBuildEnd> {
    let (mut stopped, mut stopped_by_another) = (stop.subscribe(), others.subscribe());
    // What is given up here ends by itself, or is ended by the pool: a builder can take minutes to come up.
    let builder = tokio::select! {
        builder = BuilderUp::bring_up(run, output) => builder?,
        () = until(&mut stopped, Option::is_some) => return Err(PlatformBuildEnd::StoppedByAnother),
        () = until(&mut stopped_by_another, |stopped| *stopped) => return Err(PlatformBuildEnd::StoppedByAnother),
    };
    let result = build_on(run, &builder, output, stop, others).await;
    if let Err(error) = builder.take_down(run).await {
        output.say(&format!("slipway: builder {} was not taken down: {error}", run.platform_build.builder));
    }
    result
}

/// The image, and then the lazily loadable one, which is made of the same layers and never fails the build.
async fn build_on(
    run: &PlatformBuildRun<'_>,
    builder: &BuilderUp,
    output: &Output,
    stop: &Arc<watch::Sender<Option<Stop>>>,
    others: &watch::Sender<bool>,
) -> Result<PlatformBuilt, PlatformBuildEnd> {
    let (mut stopped, mut stopped_by_another) = (stop.subscribe(), others.subscribe());
    tokio::select! {
        checked = scanner::check(run, builder) => checked?,
        () = until(&mut stopped, Option::is_some) => return Err(PlatformBuildEnd::StoppedByAnother),
        () = until(&mut stopped_by_another, |stopped| *stopped) => return Err(PlatformBuildEnd::StoppedByAnother),
    }
    let mut temporary_tags = Vec::new();
    let digest = bring(run, builder, false, output, stop, others, &mut temporary_tags).await?;
    if !run.job.build.accelerate {
        return Ok(PlatformBuilt { digest, accelerated: None, temporary_tags });
    }
    let accelerated = match bring(run, builder, true, output, stop, others, &mut temporary_tags).await {
        Ok(digest) => Ok(digest),
        Err(PlatformBuildEnd::Failed(failure)) => Err(failure),
        Err(end @ PlatformBuildEnd::StoppedByAnother) => return Err(end),
    };
    Ok(PlatformBuilt { digest, accelerated: Some(accelerated), temporary_tags })
}

/// Builds an image and brings it to where it is published. Some registries (Quay) know no digest before a tag names it:
/// there it goes a second time, under a tag of its own.
async fn bring(
    run: &PlatformBuildRun<'_>,
    builder: &BuilderUp,
    accelerated: bool,
    output: &Output,
    stop: &Arc<watch::Sender<Option<Stop>>>,
    others: &watch::Sender<bool>,
    temporary_tags: &mut Vec<String>,
) -> Result<String, PlatformBuildEnd> {
    let digest = run_buildctl(run, builder, Wanted { accelerated, again_as: None }, output, stop, others).await?;
    if finish::is_known(run.job, run.credentials, &digest, is_stopped(stop)).await {
        return Ok(digest);
    }
    let suffix = if accelerated { ACCELERATED_SUFFIX } else { "" };
    let tag = format!("slipway-{}-{}{suffix}", run.job.build.id.0, run.number);
    output.say(&format!(
        "slipway: the registry knows no image by its digest before a tag names it: it goes there again as {tag}, which \
         is deleted afterwards"
    ));
    temporary_tags.push(tag.clone());
    run_buildctl(run, builder, Wanted { accelerated, again_as: Some(&tag) }, output, stop, others).await
}

async fn run_buildctl(
    run: &PlatformBuildRun<'_>,
    builder: &BuilderUp,
    wanted: Wanted<'_>,
    output: &Output,
    stop: &Arc<watch::Sender<Option<Stop>>>,
    others: &watch::Sender<bool>,
) -> Result<String, PlatformBuildEnd> {
    let metadata = run.directory.join(format!("metadata-{}.json", run.number));
    let arguments = arguments_of(run, builder, wanted, &metadata)?;
    let limits = StepLimits::of(run, builder);
    let number = u32::try_from(run.number).unwrap_or(u32::MAX);
    let platforms = run.platforms();
    let platform = match platforms.as_slice() {
        [one] if run.job.platform_builds.len() > 1 => Some((*one).to_owned()),
        // BuildKit names the platform itself where one builder has several.
        _ => None,
    };
    let of = StepsOf { platform_build: number, platform };
    let trace = disk_limit::trace(run, wanted.accelerated);
    let mut watch = Watch::of(run, builder, &trace);
    let parent = disk_limit::traceparent(&trace);
    let mut environment = environment(run);
    environment.push(("TRACEPARENT".into(), &parent));
    let mut buildctl = Buildctl::start(&run.job.buildctl, &arguments, &environment, output, of)
        .map_err(|error| daemon_failure(reason!("platform_build.cannot_run", buildctl = run.job.buildctl, error)))?;
    let mut stopped = stop.subscribe();
    let mut stopped_by_another = others.subscribe();
    let finished = tokio::select! {
        finished = buildctl.finished() => finished,
        () = until(&mut stopped, Option::is_some) => buildctl.stop().await,
        () = until(&mut stopped_by_another, |stopped| *stopped) => {
            buildctl.stop().await.map_err(daemon_failure)?;
            return Err(PlatformBuildEnd::StoppedByAnother);
        }
        failure = exceeded(&mut watch, output) => {
            output.say(&format!("slipway: the build was ended: {}", failure.reason));
            buildctl.stop().await.map_err(daemon_failure)?;
            return Err(PlatformBuildEnd::Failed(failure));
        }
    };
    let Finished { status, text } = finished.map_err(daemon_failure)?;
    let digest = if status.success() { digest_of(&metadata) } else { None };
    let _ = std::fs::remove_file(&metadata);
    match digest {
        Some(digest) => {
            output.settle(number, &platforms);
            Ok(digest)
        }
        None => Err(PlatformBuildEnd::Failed(limits.explain(failure_of(&text, status, output)))),
    }
}

/// The arguments of `buildctl`, which writes the image's digest into `metadata`.
fn arguments_of(
    run: &PlatformBuildRun<'_>,
    builder: &BuilderUp,
    wanted: Wanted<'_>,
    metadata: &Path,
) -> Result<Vec<String>, PlatformBuildEnd> {
    let policy = source_policy(run)?;
    let (address, tls) = builder.address();
    let run_with = Run {
        address,
        tls,
        image_stage: run.image_stage,
        cache_stage: run.cache_stage,
        has_cache: match &run.platform_build.cache {
            // A layout that was only made for the cache to come holds none.
            Cache::Layout { directory } => Layout::new(directory).resolve("latest").is_ok_and(|found| found.is_some()),
            Cache::Registry { .. } => true,
        },
        metadata_file: metadata,
        source_policy: policy.as_deref(),
        accelerated: wanted.accelerated,
        again_as: wanted.again_as,
        started_at: run.job.build.started_at.unwrap_or_else(Utc::now),
    };
    arguments(run.job, run.platform_build, &run_with)
        .map_err(|error| PlatformBuildEnd::Failed(Failure::new(FailureKind::Source, error)))
}

/// The file with the source policy, where one applies; the platform builds of a build write the same one.
fn source_policy(run: &PlatformBuildRun) -> Result<Option<PathBuf>, PlatformBuildEnd> {
    let Some(policy) = source_policy::of(run.job) else { return Ok(None) };
    let file = run.directory.join(source_policy::FILE);
    atomic::write_volatile(&file, policy.to_string().as_bytes(), 0o600)
        .map_err(|error| PlatformBuildEnd::Failed(Failure::new(FailureKind::Disk, error)))?;
    Ok(Some(file))
}

/// Completes when the steps wrote more than they may.
async fn exceeded(watch: &mut Option<Watch>, output: &Output) -> Failure {
    match watch {
        Some(watch) => watch.exceeded(output).await,
        None => std::future::pending().await,
    }
}

/// The variables that carry the values of the build's secrets.
fn environment<'a>(run: &PlatformBuildRun<'a>) -> Vec<(String, &'a str)> {
    let source = run.handover.source.as_deref().map(|value| (GIT_SECRET_VARIABLE.to_owned(), value));
    let place = |(place, id): (usize, &String)| Some((secret_variable(place), run.handover.secrets.get(id)?.as_str()));
    run.job.grants.secrets.iter().enumerate().filter_map(place).chain(source).collect()
}

/// Waits for a value, and lets go of the channel: a holder of what `wait_for` returns locks all senders out, such
/// as the thread that reports a full disk.
async fn until<T>(receiver: &mut watch::Receiver<T>, is_wanted: impl FnMut(&T) -> bool) {
    // The senders outlive the platform builds.
    let _ = receiver.wait_for(is_wanted).await;
}

fn failure_of(text: &str, status: ExitStatus, output: &Output) -> Failure {
    if status.success() {
        return Failure::new(FailureKind::Daemon, reason!("platform_build.no_digest"));
    }
    let mut failure = classify(text, &output.steps(), exit_of(status));
    if failure.line.is_none() && text.contains("lint violation found") {
        // `# check=error=true` makes a failure of a warning, and only the warning says where.
        let warning = output.warnings().into_iter().find(|warning| warning.line.is_some());
        (failure.file, failure.line) = warning.map_or((None, None), |found| (Some(found.file), found.line));
    }
    failure
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (_, Some(signal)) => Exit::Signal(signal),
        (code, None) => Exit::Code(code.unwrap_or_default()),
    }
}

/// The digest that `buildctl --metadata-file` wrote.
fn digest_of(metadata: &Path) -> Option<String> {
    let text = std::fs::read(metadata).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
    value.get("containerimage.digest")?.as_str().map(str::to_owned)
}
