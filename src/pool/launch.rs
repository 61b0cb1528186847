//! From a queued build to a running runner: its job, its secrets, its process.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::state::Pool;
use super::{client, grants, managed};
use crate::access::{registries, sources};
use crate::buildctl::handover::Handover;
use crate::buildctl::job::{Cache, Context, Destination, Job, JobGrants, Leg, LegDaemon, Managed, Ssh};
use crate::buildctl::runner;
use crate::buildkit::daemon::fresh;
use crate::buildkit::install;
use crate::domain::build::{Build, BuildId};
use crate::domain::builder::BuilderKind;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::namespace::LOCAL_REGISTRY;
use crate::domain::platform::Platform;
use crate::domain::push::CommitId;
use crate::domain::repository::Source;
use crate::domain::rule::Rule;
use crate::domain::tag::CACHE_PREFIX;
use crate::domain::tree_path::TreePath;
use crate::source::{Transport, checkout, origin};
use crate::store::builds;
use crate::store::environment::{ListedEnvironment as _, Receiver};
use crate::store::process::{self, ProcessId};
use crate::store::settings::Settings;

/// Starts the runner of a build on the builders that the scheduler chose, unless `abort` becomes true before.
pub(super) async fn launch(
    pool: &Arc<Pool>,
    id: BuildId,
    legs: &[(String, Vec<Platform>)],
    abort: &Arc<AtomicBool>,
) -> Result<ProcessId, Failure> {
    let (build, settings, legs) = {
        let state = pool.state();
        let entry = state.open.get(&id).ok_or_else(|| daemon_failure("the build is gone"))?;
        let legs = legs
            .iter()
            .map(|(name, platforms)| {
                let runtime =
                    state.builders.get(name).ok_or_else(|| daemon_failure(format!("builder {name} was removed")))?;
                Ok((name.clone(), runtime.config.clone(), runtime.address.clone(), platforms.clone()))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        (entry.build.clone(), state.settings.clone(), legs)
    };
    let several = legs.len() > 1;
    let uses_managed = legs.iter().any(|(_, config, _, _)| config.kind == BuilderKind::Managed);
    let legs = legs
        .into_iter()
        .map(|(name, config, address, platforms)| {
            let at = |address: Option<String>| {
                address.ok_or_else(|| daemon_failure(format!("builder {name} has no address")))
            };
            let daemon = match config.kind {
                BuilderKind::Managed => LegDaemon::At { address: at(address)?, tls: None },
                BuilderKind::Existing => LegDaemon::At { address: at(address)?, tls: config.tls },
                BuilderKind::Fresh => LegDaemon::Fresh {
                    tools: managed::tools(&pool.home, &settings).map_err(daemon_failure)?,
                    config: managed::daemon_config(&settings),
                },
                BuilderKind::Provisioned => {
                    let up = config.up.unwrap_or_default();
                    LegDaemon::Provisioned { up, down: config.down, tls: config.tls, plain: config.plain }
                }
            };
            let cache = cache(pool, &settings, &build, platforms.first().filter(|_| several));
            let host_network = match config.kind {
                BuilderKind::Managed | BuilderKind::Fresh => managed::host_network(&settings),
                BuilderKind::Existing | BuilderKind::Provisioned => None,
            };
            Ok(Leg { builder: name, daemon, platforms, cache, host_network })
        })
        .collect::<Result<Vec<_>, Failure>>()?;

    let home = pool.home.clone();
    let directory = home.build_dir(id.0);
    // What is missing fails the build before anything is fetched for it.
    let (mut grants, secrets) = grants::resolve(&home, &settings, &build).await?;
    let wish = ContextWish {
        source: &Source { platform: build.platform.clone(), url: build.source.clone(), fetch: build.fetch },
        rule: &build.rule,
        commit: &build.commit,
        checkout: directory.join(runner::CHECKOUT_DIR),
    };
    let (context, secret) = context(pool, &settings, wish, abort).await?;
    let dockerfile = dockerfile(&settings, &build, &context, &directory, &mut grants)?;
    let docker_config = directory.join(runner::DOCKER_CONFIG_DIR);
    registries::write_docker_config(&home, &settings, &docker_config)
        .await
        .map_err(|error| Failure::new(FailureKind::Credentials, error.to_string()))?;
    let job = Job {
        buildctl: install::find(&home)
            .tools()
            .ok_or_else(|| daemon_failure("buildctl is missing; run `slipway setup`"))?
            .buildctl,
        source_url: source_url(&context, &build),
        builder_id: builder_id(),
        grants,
        dockerfile,
        context,
        destination: destination(pool, &settings, &build),
        timeout_seconds: build.settings.timeout.unwrap_or(settings.config.pool.timeout).0.as_secs(),
        log_limit: settings.config.pool.log_limit,
        sockets: home.runtime_dir(),
        managed: uses_managed.then(|| Managed { directory: home.buildkit_dir(), pool_lock: home.pool_lock() }),
        legs,
        build,
    };
    let work = move || {
        builds::save(&directory.join(builds::JOB), &job)
            .map_err(|error| Failure::new(FailureKind::Disk, error.to_string()))?;
        spawn(&directory, &docker_config, &Handover { source: secret, secrets })
            .map_err(|error| daemon_failure(format!("cannot start the runner of build {id}: {error}")))
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(daemon_failure(format!("an internal task failed: {error}"))))
}

/// The directory with the Dockerfile, where the pool has the tree; what the Dockerfile asks for and does not get is noted.
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
    let checked = grants::check_dockerfile(tree, &name, &managed::frontends(settings), &into)?;
    grants.missing = grants::missing(build, grants, &checked.mounts);
    Ok(Some(checked.directory))
}

/// The source's URL for the image's label: of a repository on this machine the one that it was cloned from.
fn source_url(context: &Context, build: &Build) -> Option<String> {
    let url = sources::parse_url(&build.source).ok()?;
    match (url.local_path(), context) {
        (None, _) => Some(url.as_str().to_owned()),
        (Some(_), Context::Local { repository, .. }) => Some(origin::origin(repository)?.as_str().to_owned()),
        (Some(_), Context::Git { .. }) => None,
    }
}

/// Who builds, for the provenance: the same for all builds of a machine.
fn builder_id() -> String {
    format!("slipway://{}", rustix::system::uname().nodename().to_string_lossy())
}

fn daemon_failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Daemon, message)
}

/// What a context is made of.
pub(super) struct ContextWish<'a> {
    pub source: &'a Source,
    pub rule: &'a Rule,
    pub commit: &'a CommitId,
    /// Where the tree of a local source is put.
    pub checkout: PathBuf,
}

/// The context, and the secret that goes into the environment of `buildctl`.
pub(super) async fn context(
    pool: &Pool,
    settings: &Settings,
    wish: ContextWish<'_>,
    abort: &Arc<AtomicBool>,
) -> Result<(Context, Option<String>), Failure> {
    let ContextWish { source, rule, commit, checkout } = wish;
    let failure = |error: crate::protocol::Error| Failure::new(FailureKind::Source, error.message);
    let url = sources::parse_url(&source.url).map_err(failure)?;
    let paths = rule.build_paths().map_err(|error| Failure::new(FailureKind::Source, error.to_string()))?;
    if let Some(repository) = url.local_path() {
        let directory = check_out(repository.to_path_buf(), commit.clone(), checkout, paths.context, abort.clone());
        return Ok((Context::Local { repository: repository.to_path_buf(), directory: directory.await? }, None));
    }
    let access = sources::access(&pool.home, settings, source).await.map_err(failure)?;
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
    let ssh = (url.transport() == Transport::Ssh).then(|| credentials.ssh_key.map_or(Ssh::Agent, Ssh::Key));
    let context = url
        .buildkit_context(commit.as_str(), &paths.context)
        .ok_or_else(|| Failure::new(FailureKind::Source, format!("{url} can't be a build's context")))?;
    Ok((Context::Git { context, secret_id, ssh }, secret))
}

/// The tree of a local source at its commit; the context's directory in it.
///
/// Here and not in the runner: libgit2 reads the certificates of all authorities when it starts, which takes longer than
/// many a build; the pool has done it once.
async fn check_out(
    repository: PathBuf,
    commit: CommitId,
    root: PathBuf,
    context: TreePath,
    abort: Arc<AtomicBool>,
) -> Result<PathBuf, Failure> {
    let work = move || -> Result<PathBuf, String> {
        // A pool that was killed may have left a part of it.
        if root.exists() {
            fs::remove_dir_all(&root).map_err(|error| format!("cannot remove {}: {error}", root.display()))?;
        }
        checkout::checkout(&repository, commit.as_str(), &root, &abort).map_err(|error| error.to_string())?;
        checkout::resolve_inside(&root, &context).map_err(|error| error.to_string())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Failure::new(FailureKind::Source, error)),
        Err(error) => Err(daemon_failure(format!("an internal task failed: {error}"))),
    }
}

fn destination(pool: &Pool, settings: &Settings, build: &Build) -> Destination {
    if build.registry == LOCAL_REGISTRY {
        return Destination::Layout { directory: pool.home.image_layout(&build.namespace, &build.repository) };
    }
    let image = format!("{}/{}", build.registry, build.path());
    let of_host = settings.registry(host_of(&image));
    Destination::Registry { image, plain_http: of_host.plain_http, ca: of_host.ca.map(PathBuf::from) }
}

/// A rule's cache; that of one platform where several builders share the work.
fn cache(pool: &Pool, settings: &Settings, build: &Build, platform: Option<&Platform>) -> Cache {
    let of_platform = platform.map_or_else(String::new, |platform| format!("-{}", platform.as_str().replace('/', "-")));
    if build.registry == LOCAL_REGISTRY {
        let directory =
            pool.home.cache_layout(&build.namespace, &build.repository, &format!("{}{of_platform}", build.rule.name));
        return Cache::Layout { directory };
    }
    let image = format!("{}/{}", build.registry, build.path());
    let plain_http = settings.registry(host_of(&image)).plain_http;
    Cache::Registry { reference: format!("{image}:{CACHE_PREFIX}{}{of_platform}", build.rule.name), plain_http }
}

fn host_of(image: &str) -> &str {
    image.split('/').next().unwrap_or(image)
}

/// Starts `slipway runner` in a session of its own. It begins only once its process is on record and it has the values of its
/// secrets: should this pool die before, its end of the pipe closes, the runner leaves without a trace, and no build ever has two.
fn spawn(directory: &Path, docker_config: &Path, handover: &Handover) -> std::io::Result<ProcessId> {
    let errors = fs::OpenOptions::new().create(true).append(true).open(directory.join(runner::ERRORS))?;
    let mut command = Command::new(process::own_program()?);
    command
        .arg0("slipway")
        .arg("runner")
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(errors)
        .current_dir("/")
        .listed_environment(Receiver::Slipway)
        .env("DOCKER_CONFIG", docker_config);
    client::in_own_session(&mut command);
    let mut child = command.spawn()?;
    let pid = child.id();
    let begin = child.stdin.take();
    // Its end is awaited through its pidfd; this only collects it.
    std::thread::Builder::new().name("reap".into()).stack_size(64 * 1024).spawn(move || child.wait())?;
    let pid = i32::try_from(pid).map_err(std::io::Error::other)?;
    let process = ProcessId::of(pid)?.ok_or_else(|| std::io::Error::other("it ended at once"))?;
    // For the next pool, should this one end before the runner does.
    builds::save(&directory.join(builds::RUNNER), &process).map_err(std::io::Error::other)?;
    if let Some(begin) = begin {
        // One that has ended meanwhile is seen to have ended.
        let _ = handover.write(begin);
    }
    Ok(process)
}

/// Removes what a build needs only while it runs, also where its runner was killed.
pub(super) async fn clean_up(pool: &Arc<Pool>, id: BuildId) {
    let directory = pool.home.build_dir(id.0);
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
    for leftover in [runner::DOCKER_CONFIG_DIR, runner::CHECKOUT_DIR, runner::DOCKERFILE_DIR] {
        let leftover = directory.join(leftover);
        if leftover.exists()
            && let Err(error) = tokio::fs::remove_dir_all(&leftover).await
        {
            tracing::warn!("cannot remove {}: {error}", leftover.display());
        }
    }
}
