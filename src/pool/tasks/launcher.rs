//! From a queued build to a running runner: its job, its secrets, its process.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::{TaskContext, grants, managed_builder};
use crate::buildctl::handover::Handover;
use crate::buildctl::job::{Cache, Context, Destination, Job, JobGrants, Managed, PlatformBuild, PlatformDaemon};
use crate::buildctl::runner;
use crate::buildkit::daemon::fresh;
use crate::buildkit::install;
use crate::domain::build::{Build, BuildId};
use crate::domain::builder::BuilderKind;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::image_output::Created;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::LOCAL_REGISTRY;
use crate::domain::platform::Platform;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::{Reason, io_error, reason};
use crate::domain::repository::{Fetch, Source};
use crate::domain::rule::{BuildPaths, Rule};
use crate::domain::tag::CACHE_PREFIX;
use crate::pool::core::{ChosenBuilder, Event};
use crate::services::ServiceError;
use crate::services::credential_scope::CredentialScope;
use crate::services::sources::NotLooked;
use crate::services::trees::{self, Unprepared};
use crate::services::{registries, sources};
use crate::source::tree::{Slot, resolve_inside};
use crate::source::{Transport, Wanted};
use crate::store::settings::Settings;
use crate::store::{Home, builds};
use crate::sys::atomic;
use crate::sys::environment::{ListedEnvironment as _, Receiver};
use crate::sys::process::{self, ProcessId};

/// A local source that does not say by then where it was cloned from has no label of it.
const ORIGIN_LIMIT: Duration = Duration::from_secs(30);

/// Starts the runner of a build on the builders that the scheduler chose, unless `abort` becomes true before, and
/// reports how that went. Nothing is left of an attempt that failed.
pub(in crate::pool) async fn launch(
    context: TaskContext,
    build: Arc<Build>,
    builders: Vec<ChosenBuilder>,
    abort: watch::Sender<bool>,
) {
    let settings = context.settings();
    let (id, attempt) = (build.id, build.present_attempt());
    match start(&context, &settings, &build, builders, &abort).await {
        Ok((runner, warnings)) => context.report(Event::Launched { build: id, runner, warnings }),
        Err(failure) => {
            clean_up(&context.home, id, attempt).await;
            context.report(Event::NotLaunched { build: id, failure });
        }
    }
}

/// One builder's share of a build.
fn platform_build(
    context: &TaskContext,
    settings: &Settings,
    build: &Build,
    builder: ChosenBuilder,
    several: bool,
) -> Result<PlatformBuild, Failure> {
    let ChosenBuilder { name, config, address, platforms } = builder;
    let at = |address: Option<String>| address.ok_or_else(|| daemon_failure(reason!("build.no_builder_address", name)));
    let daemon = match config.kind {
        BuilderKind::Managed => PlatformDaemon::At { address: at(address)?, tls: None },
        BuilderKind::Existing => PlatformDaemon::At { address: at(address)?, tls: config.tls },
        BuilderKind::Fresh => PlatformDaemon::Fresh {
            tools: managed_builder::tools(&context.home, settings).map_err(daemon_failure)?,
            config: managed_builder::daemon_config(settings),
        },
        BuilderKind::Provisioned => {
            let up = config.up.unwrap_or_default();
            PlatformDaemon::Provisioned { up, down: config.down, tls: config.tls, plain: config.plain }
        }
    };
    let cache = cache(&context.home, settings, build, platforms.first().filter(|_| several));
    let host_network = match config.kind {
        BuilderKind::Managed | BuilderKind::Fresh => managed_builder::host_network(settings),
        BuilderKind::Existing | BuilderKind::Provisioned => None,
    };
    Ok(PlatformBuild { builder: name, daemon, platforms, cache, host_network })
}

/// The shares of all builders of a build.
fn platform_builds(
    context: &TaskContext,
    settings: &Settings,
    build: &Build,
    builders: Vec<ChosenBuilder>,
) -> Result<Vec<PlatformBuild>, Failure> {
    let several = builders.len() > 1;
    builders.into_iter().map(|builder| platform_build(context, settings, build, builder, several)).collect()
}

async fn start(
    context: &TaskContext,
    settings: &Settings,
    build: &Build,
    builders: Vec<ChosenBuilder>,
    abort: &watch::Sender<bool>,
) -> Result<(ProcessId, Vec<Reason>), Failure> {
    let id = build.id;
    let uses_managed = builders.iter().any(|builder| builder.config.kind == BuilderKind::Managed);
    let platform_builds = platform_builds(context, settings, build, builders)?;

    let home = context.home.clone();
    let directory = home.attempt_dir(id.0, build.present_attempt());
    atomic::create_dir_all(&directory).map_err(|error| Failure::of_error(&error, FailureKind::Host))?;
    // What is missing fails the build before anything is fetched for it.
    let (mut grants, secrets) = grants::resolve(&home, settings, build).await?;
    let source = source(settings, build);
    let wish = ContextRequest {
        path: &build.path(),
        source: &source,
        rule: &build.rule,
        reference: &build.reference,
        commit: &build.commit,
    };
    let Prepared { context, secret, slot } = prepare(&home, settings, wish, abort).await?;
    let dockerfile = dockerfile(settings, build, &context, &directory, &mut grants)?;
    let committed_at = committed_at(&home, settings, build, &source).await?;
    let docker_config = directory.join(runner::DOCKER_CONFIG_DIR);
    let scope = CredentialScope::new(settings, &build.namespace, &build.registry);
    let credentials = registries::write_renewed_docker_config(&home, settings, &scope, &docker_config)
        .await
        .map_err(|error| Failure::of_error(&error, FailureKind::Credentials))?;
    let warnings: Vec<Reason> = credentials.missing.iter().map(Reason::from).collect();
    // What people should know stands in the record that the runner reads, too.
    let mut build = build.clone();
    build.warnings.extend(warnings.iter().cloned());
    let job = Job {
        buildctl: install::find(&home).tools().ok_or_else(|| daemon_failure(reason!("builder.no_buildctl")))?.buildctl,
        source_url: source_url(&build).await,
        committed_at,
        sbom_scanner: build.rule.sbom.then(|| settings.config.buildkit.sbom_scanner.clone()),
        builder_id: builder_id(),
        grants,
        dockerfile,
        context,
        destination: destination(&home, settings, &build),
        timeout_seconds: build.settings.timeout.unwrap_or(settings.config.pool.timeout).0.as_secs(),
        log_limit: settings.config.pool.log_limit,
        disk_limit: settings.config.buildkit.disk_limit,
        min_free: settings.config.pool.min_free,
        sockets: home.runtime_dir(),
        managed: uses_managed.then(|| Managed { directory: home.buildkit_dir(), pool_lock: home.pool_lock() }),
        platform_builds,
        credentials: credentials.sources,
        build,
    };
    let work = move || {
        builds::save_volatile(&directory.join(builds::JOB), &job)
            .map_err(|error| Failure::of_error(&error, FailureKind::Host))?;
        let runner = spawn(&directory, &docker_config, &Handover { source: secret, secrets }, slot.as_ref());
        let runner = runner.map_err(|error| {
            let kind = FailureKind::of_io(&error).unwrap_or(FailureKind::Host);
            Failure::new(kind, reason!("build.runner_not_started", id, error))
        })?;
        Ok((runner, warnings))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(daemon_failure(reason!("task.failed", error))))
}

/// The source of a build. Its submodules are those that are listed now: one that was taken off the list since the push is
/// not fetched any more.
fn source(settings: &Settings, build: &Build) -> Source {
    let bound = settings.repositories.get(&build.path()).and_then(|repository| repository.source.as_ref());
    Source {
        platform: build.platform.clone(),
        url: build.source.clone(),
        fetch: build.fetch,
        submodules: bound.map(|source| source.submodules.clone()).unwrap_or_default(),
    }
}

/// When the commit of a build was made, where its rule wants to know. Its source was brought for the tree already.
async fn committed_at(
    home: &Home,
    settings: &Settings,
    build: &Build,
    source: &Source,
) -> Result<Option<DateTime<Utc>>, Failure> {
    if build.rule.created == Created::Build {
        return Ok(None);
    }
    let wanted = Wanted {
        store: home.git_dir(&build.path()),
        reference: build.reference.clone(),
        commit: build.commit.clone(),
        since: Vec::new(),
        within: None,
    };
    match sources::look(home, settings, source, wanted).await {
        Ok(commit) => match commit.committed_at {
            Some(time) => Ok(Some(time)),
            None => {
                let reason = reason!("build.commit_says_no_time", commit = build.commit);
                Err(Failure::new(FailureKind::Source, reason))
            }
        },
        Err(NotLooked::NotACommit(reason)) => Err(Failure::new(FailureKind::Source, reason)),
        Err(NotLooked::Unreadable(error)) => Err(Unprepared::from(error).into()),
    }
}

/// The directory with the Dockerfile, where the pool has the tree; what the Dockerfile asks for and does not get is
/// noted.
fn dockerfile(
    settings: &Settings,
    build: &Build,
    context: &Context,
    directory: &Path,
    grants: &mut JobGrants,
) -> Result<Option<PathBuf>, Failure> {
    let Context::Local { directory: tree, .. } = context else { return Ok(None) };
    let name = grants::dockerfile_of(&build.rule)?;
    let into = directory.join(runner::DOCKERFILE_DIR);
    let checked = grants::check_dockerfile(tree, &name, &managed_builder::frontends(settings), &into)?;
    grants.missing = grants::missing(build, grants, &checked.mounts);
    Ok(Some(checked.directory))
}

/// The source's URL for the image's label: of a repository on this machine the one that it was cloned from.
async fn source_url(build: &Build) -> Option<String> {
    let url = sources::parse_url(&build.source).ok()?;
    match url.local_path() {
        None => Some(url.as_str().to_owned()),
        Some(_) => Some(sources::git().origin(&url, ORIGIN_LIMIT).await?.as_str().to_owned()),
    }
}

/// Who builds, for the provenance: the same for all builds of a machine.
fn builder_id() -> String {
    format!("slipway://{}", rustix::system::uname().nodename().to_string_lossy())
}

fn daemon_failure(message: impl Into<Reason>) -> Failure {
    Failure::new(FailureKind::Daemon, message)
}

/// What a context is made of.
pub(in crate::pool) struct ContextRequest<'a> {
    pub path: &'a RepositoryPath,
    pub source: &'a Source,
    pub rule: &'a Rule,
    pub reference: &'a Ref,
    pub commit: &'a CommitId,
}

/// A context that is ready.
pub(in crate::pool) struct Prepared {
    pub context: Context,
    /// The secret that goes into the environment of `buildctl`.
    pub secret: Option<String>,
    /// The tree that the context is in. Whoever uses it holds its lock.
    pub slot: Option<Slot>,
}

/// Makes a context ready, unless `abort` becomes true before.
pub(in crate::pool) async fn prepare(
    home: &Home,
    settings: &Settings,
    wish: ContextRequest<'_>,
    abort: &watch::Sender<bool>,
) -> Result<Prepared, Failure> {
    if wish.source.fetch == Fetch::Builder {
        return fetched_by_builder(home, settings, &wish).await;
    }
    let paths = build_paths(wish.rule)?;
    let tree = trees::Wish {
        path: wish.path,
        source: wish.source,
        reference: wish.reference,
        commit: wish.commit,
        keep_git: wish.rule.keep_git,
    };
    let mut aborted = abort.subscribe();
    let slot = tokio::select! {
        slot = trees::prepare(home, settings, tree) => slot?,
        _ = aborted.wait_for(|abort| *abort) => return Err(daemon_failure(reason!("build.cancelled_before_its_tree"))),
    };
    let directory =
        resolve_inside(&slot.root(), &paths.context).map_err(|error| Failure::of_error(&error, FailureKind::Source))?;
    let context = Context::Local { directory };
    Ok(Prepared { context, secret: None, slot: Some(slot) })
}

fn build_paths(rule: &Rule) -> Result<BuildPaths, Failure> {
    rule.build_paths().map_err(|error| Failure::new(FailureKind::Source, error))
}

/// The context of a source that only the builder's network reaches: its address, and the credentials that open it.
async fn fetched_by_builder(home: &Home, settings: &Settings, wish: &ContextRequest<'_>) -> Result<Prepared, Failure> {
    let failure = |error: ServiceError| Failure::from(Unprepared::from(error));
    let url = sources::parse_url(&wish.source.url).map_err(|error| failure(error.into()))?;
    let paths = build_paths(wish.rule)?;
    let access = sources::access(home, settings, wish.source).await.map_err(failure)?;
    let credentials = access.credentials;
    let mut host = url.host().unwrap_or_default().to_owned();
    if let Some(port) = url.port() {
        host = format!("{host}:{port}");
    }
    let over_http = matches!(url.transport(), Transport::Http | Transport::Https);
    let (secret_id, secret) = match (credentials.username, credentials.token) {
        (Some(user), Some(token)) if over_http => {
            let basic = STANDARD.encode(format!("{user}:{}", token.expose()));
            (Some(format!("GIT_AUTH_HEADER.{host}")), Some(format!("basic {basic}")))
        }
        // BuildKit gives a bare token a user name that the usual hosts accept.
        (None, Some(token)) if over_http => (Some(format!("GIT_AUTH_TOKEN.{host}")), Some(token.expose().to_owned())),
        _ => (None, None),
    };
    let ssh_key = credentials.ssh_key.filter(|_| url.transport() == Transport::Ssh);
    if url.transport() == Transport::Ssh && ssh_key.is_none() {
        let message = reason!("source.no_agent_for_builder", url = url.to_string());
        let hint = reason!("hint.platform_ssh_key");
        return Err(Failure { hint: Some(hint), ..Failure::new(FailureKind::Settings, message) });
    }
    let context = url
        .buildkit_context(wish.commit.as_str(), &paths.context)
        .ok_or_else(|| Failure::new(FailureKind::Source, reason!("source.not_for_builder", url)))?;
    Ok(Prepared { context: Context::Git { context, secret_id, ssh_key }, secret, slot: None })
}

fn destination(home: &Home, settings: &Settings, build: &Build) -> Destination {
    if build.registry == LOCAL_REGISTRY {
        return Destination::Layout { directory: home.image_layout(&build.namespace, &build.repository) };
    }
    let image = format!("{}/{}", build.registry, build.path());
    let of_host = settings.registry(host_of(&image));
    Destination::Registry { image, plain_http: of_host.plain_http, ca: of_host.ca.map(PathBuf::from) }
}

/// A rule's cache; that of one platform where several builders share the work.
fn cache(home: &Home, settings: &Settings, build: &Build, platform: Option<&Platform>) -> Cache {
    let of_platform = platform.map_or_else(String::new, |platform| format!("-{}", platform.as_str().replace('/', "-")));
    if build.registry == LOCAL_REGISTRY {
        let directory =
            home.cache_layout(&build.namespace, &build.repository, &format!("{}{of_platform}", build.rule.name));
        return Cache::Layout { directory };
    }
    let image = format!("{}/{}", build.registry, build.path());
    let plain_http = settings.registry(host_of(&image)).plain_http;
    Cache::Registry { reference: format!("{image}:{CACHE_PREFIX}{}{of_platform}", build.rule.name), plain_http }
}

fn host_of(image: &str) -> &str {
    image.split('/').next().unwrap_or(image)
}

/// Starts `slipway runner` in a session of its own. It begins only once its process is on record and it has the values
/// of its secrets: should this pool die before, its end of the pipe closes, the runner leaves without a trace, and no
/// build ever has two.
///
/// The runner has its tree's lock as its standard output, which it prints nothing on: so the tree is its own for as
/// long as it runs, even where this pool ends before.
fn spawn(
    directory: &Path,
    docker_config: &Path,
    handover: &Handover,
    slot: Option<&Slot>,
) -> std::io::Result<ProcessId> {
    let errors = fs::OpenOptions::new().create(true).append(true).open(directory.join(runner::ERRORS))?;
    let mut command = Command::new(process::own_program()?);
    command
        .arg0("slipway")
        .arg("runner")
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(match slot {
            Some(slot) => slot.lock_file().try_clone()?.into(),
            None => Stdio::null(),
        })
        .stderr(errors)
        .current_dir("/")
        .listed_environment(Receiver::Slipway)
        .env("DOCKER_CONFIG", docker_config);
    crate::sys::process::in_own_session(&mut command);
    let mut child = command.spawn()?;
    let pid = child.id();
    let begin = child.stdin.take();
    // Its end is awaited through its pidfd; this only collects it.
    std::thread::Builder::new().name("reap".into()).stack_size(64 * 1024).spawn(move || child.wait())?;
    let pid = i32::try_from(pid).map_err(std::io::Error::other)?;
    let process = ProcessId::of(pid)?.ok_or_else(|| io_error(reason!("build.runner_ended_at_once")))?;
    // For the next pool, should this one end before the runner does.
    builds::save_volatile(&directory.join(builds::RUNNER), &process)?;
    if let Some(begin) = begin {
        // One that has ended meanwhile is seen to have ended.
        let _ = handover.write(begin);
    }
    Ok(process)
}

/// Removes what an attempt of a build needs only while it runs, also where its runner was killed.
pub(in crate::pool) async fn clean_up(home: &Home, id: BuildId, attempt: u32) {
    let directory = home.attempt_dir(id.0, attempt);
    let fresh = runner::fresh_directories(&directory);
    for directory in fresh {
        if let Err(error) = fresh::discard(&directory).await {
            tracing::warn!("cannot remove the builder of build {id}: {error}");
        }
    }
    let left_up = directory.clone();
    // A machine may take minutes to go; the build's end does not wait for that.
    tokio::spawn(async move {
        for error in runner::take_down_leftovers(&left_up).await {
            tracing::warn!("a builder of build {id} is still up: {error}");
        }
    });
    for leftover in [runner::DOCKER_CONFIG_DIR, runner::CHECKOUT_DIR, runner::DOCKERFILE_DIR, runner::SCANNER_DIR] {
        let leftover = directory.join(leftover);
        if leftover.exists()
            && let Err(error) = tokio::fs::remove_dir_all(&leftover).await
        {
            tracing::warn!("cannot remove {}: {error}", leftover.display());
        }
    }
}
