//! Questions about a rule's Dockerfile, answered by BuildKit's frontend on a builder; nothing is built.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::watch;

use super::launcher::{self, ContextRequest, Prepared};
use super::{TaskContext, failed, grants, managed_builder};
use crate::buildctl::arguments::GIT_SECRET_VARIABLE;
use crate::buildctl::job::Context;
use crate::buildctl::subrequest::{self, Subrequest};
use crate::buildkit::install;
use crate::domain::failure::Failure;
use crate::domain::name::RepositoryPath;
use crate::domain::outline::Outline;
use crate::domain::push::Ref;
use crate::domain::reason::{Reason, reason};
use crate::domain::rule::Rule;
use crate::pool::core::{Ask, Response};
use crate::protocol::{Error, ErrorKind};
use crate::services::credential_scope::CredentialScope;
use crate::services::{registries, sources};
use crate::store::Home;
use crate::store::settings::Settings;
use crate::sys::atomic;
use crate::sys::command::{self, Limits, RunError};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// Somebody waits for the answer in a form; the tables of the largest Dockerfile are shorter.
const LIMITS: Limits = Limits { time: Duration::from_secs(60), output: 4 << 20 };

/// What the Dockerfile of a rule, saved or not, offers at a ref of the repository's source.
pub(in crate::pool) async fn examine(
    context: &TaskContext,
    path: &RepositoryPath,
    rule: Rule,
    reference: &Ref,
) -> Result<Outline, Error> {
    let (home, settings) = (&context.home, context.settings());
    let source = settings.repositories.get(path).and_then(|repository| repository.source.clone());
    let source = source.ok_or_else(|| Error::new(ErrorKind::NotFound, reason!("outline.no_source", path)))?;
    let commit = sources::resolve(home, &settings, &source, reference).await?;
    let directory = scratch(home)?;
    let wish = ContextRequest { path, source: &source, rule: &rule, reference, commit: &commit };
    let abort = watch::Sender::new(false);
    // The slot is held until the last question is answered.
    let Prepared { context: source_context, secret, slot: _slot } =
        launcher::prepare(home, &settings, wish, &abort).await.map_err(|failure| failed(failure.reason))?;
    let dockerfile =
        check(&settings, &rule, &source_context, directory.path()).map_err(|failure| failed(failure.reason))?;
    // The frontend that `# syntax=` names, and base images, are pulled with the registries' credentials.
    let docker_config = directory.path().join("docker");
    let scope = CredentialScope::of(&settings, &path.namespace);
    registries::write_docker_config(home, &settings, &scope, &docker_config).await.map_err(failed)?;
    let fetches = matches!(source_context, Context::Git { .. });
    let (address, tls) = match context.ask(Ask::BuilderFor { path: path.clone(), fetches }).await {
        Response::Builder { address, tls } => (address, tls),
        Response::Error(error) => return Err(error),
        other => return Err(failed(reason!("journal.unexpected", answer = other.to_string()))),
    };
    let buildctl = install::find(home).tools().ok_or_else(|| failed(reason!("builder.no_buildctl")))?;

    let mut outline = Outline::default();
    for question in subrequest::ALL {
        let arguments =
            subrequest::arguments(question, &rule, &source_context, dockerfile.as_deref(), &address, tls.as_ref())
                .map_err(failed)?;
        let mut command = Command::new(&buildctl.buildctl);
        command.args(arguments).listed_environment(Receiver::Buildctl).env("DOCKER_CONFIG", &docker_config);
        command.envs(secret.iter().map(|secret| (GIT_SECRET_VARIABLE, secret)));
        let ended = command::run(command, b"", LIMITS).await.map_err(|error| match error {
            RunError::TimedOut { after, .. } => failed(reason!("outline.no_answer", limit = after)),
            error => failed(reason!("outline.buildctl", error)),
        })?;
        if ended.status.success() {
            question.read(&String::from_utf8_lossy(&ended.stdout), &mut outline);
        } else if question == Subrequest::Targets {
            return Err(failed(last_words(&ended.stderr)));
        }
        // A target that is not there has no outline, and a frontend need not lint: the targets are told all the same.
    }
    Ok(outline)
}

/// A directory in the home that goes with the question; what a pool that was killed left there, the next one removes.
fn scratch(home: &Home) -> Result<TempDir, Error> {
    let scratch = home.scratch_dir();
    atomic::create_dir_all(&scratch).map_err(failed)?;
    let made = tempfile::Builder::new().prefix("examine-").tempdir_in(&scratch);
    made.map_err(|error| failed(reason!("outline.scratch", directory = scratch, error)))
}

/// The directory with the Dockerfile, once the frontend that it names may run; none where the builder has the source to
/// itself.
fn check(settings: &Settings, rule: &Rule, context: &Context, scratch: &Path) -> Result<Option<PathBuf>, Failure> {
    let Context::Local { directory, .. } = context else { return Ok(None) };
    let name = grants::dockerfile_of(rule)?;
    let into = scratch.join("dockerfile");
    Ok(Some(grants::check_dockerfile(directory, &name, &managed_builder::frontends(settings), &into)?.directory))
}

/// The line of `buildctl`'s that says why.
fn last_words(stderr: &str) -> Reason {
    let line = stderr.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let Some(line) = line else { return reason!("outline.failed") };
    let line = line.strip_prefix("error: ").unwrap_or(line);
    Reason::verbatim(line.strip_prefix("failed to solve: ").unwrap_or(line))
}
