//! Watches the runner of a build to its end, and collects what it left.

use std::time::Duration;

use rustix::process::Signal;

use super::{TaskContext, launcher};
use crate::buildctl::job::RunResult;
use crate::domain::build::{Build, BuildId};
use crate::domain::failure::FailureKind;
use crate::pool::core::{Event, RunnerEnd};
use crate::registry::docker_config::DockerConfig;
use crate::services::credential_scope::CredentialScope;
use crate::store::builds;
use crate::sys::process::ProcessId;

/// How soon it is tried again to watch a runner that can't be watched.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Waits for the end of a runner, removes what the build needed only while it ran, and reports how it ended. A pool that
/// ends first leaves the runner to the next one.
pub(in crate::pool) async fn watch(context: TaskContext, build: BuildId, attempt: u32, runner: Option<ProcessId>) {
    if let Some(runner) = runner {
        tokio::select! {
            () = exited(build, runner) => {}
            () = context.stopped() => return,
        }
    }
    let mut end = end_of(&context, build, attempt);
    launcher::clean_up(&context.home, build, attempt).await;
    explain_refusal(&context, build, &mut end);
    context.report(Event::RunnerEnded { build, end });
}

async fn exited(build: BuildId, runner: ProcessId) {
    while let Err(error) = runner.exited().await {
        // Out of file descriptors, most likely. It may well run: only its end is its end.
        tracing::error!("cannot watch the runner of build {build}: {error}");
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}

/// What the runner of an attempt that is gone left behind.
fn end_of(context: &TaskContext, build: BuildId, attempt: u32) -> RunnerEnd {
    let directory = context.home.attempt_dir(build.0, attempt);
    match builds::load_if_there::<RunResult>(&directory.join(builds::RESULT)) {
        Ok(Some(result)) => return RunnerEnd::Result(Box::new(result)),
        Ok(None) => {}
        Err(error) => tracing::error!("{error}"),
    }
    RunnerEnd::Died
}

/// Where a registry refused a build that was not given its credential, the hint on the failure says so.
fn explain_refusal(context: &TaskContext, build: BuildId, end: &mut RunnerEnd) {
    let RunnerEnd::Result(result) = end else { return };
    let Some(failure) = result.failure.as_mut().filter(|failure| failure.kind == FailureKind::Credentials) else {
        return;
    };
    let Ok(record): Result<Build, _> = builds::load(&context.home, build) else { return };
    let settings = context.settings();
    let scope = CredentialScope::new(&settings, &record.namespace, &record.registry);
    // A configuration that can't be read gave no build a credential.
    let docker = DockerConfig::of_user().unwrap_or_default();
    if let Some(denial) = scope.withheld(&failure.reason.to_string(), &docker) {
        failure.hint = Some(denial.into());
    }
}

/// Sends a runner a signal.
pub(in crate::pool) fn signal(runner: ProcessId, kill: bool) {
    // One that has just ended has nothing to hear.
    let _ = runner.signal(if kill { Signal::KILL } else { Signal::TERM });
}
