//! The scanner of SBOMs: whether a builder gets its image, asked before the build begins.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use super::builder_up::{BuilderUp, PlatformBuildEnd, PlatformBuildRun, daemon_failure};
use super::files::SCANNER_DIR;
use crate::buildctl::arguments;
use crate::domain::failure::{Exit, Failure, FailureKind, classify};
use crate::domain::reason::reason;
use crate::sys::atomic;
use crate::sys::command::{self, Limits, RunError};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// A registry that does not answer is given up by BuildKit itself in less.
const LIMITS: Limits = Limits { time: Duration::from_secs(120), output: 1 << 20 };

/// Whether the builder gets the image of the scanner, where the build needs one. Only what the image says of itself is
/// fetched, and nothing is built.
pub(super) async fn check(run: &PlatformBuildRun<'_>, builder: &BuilderUp) -> Result<(), PlatformBuildEnd> {
    let Some(scanner) = &run.job.sbom_scanner else { return Ok(()) };
    let directory = dockerfile(run, scanner).map_err(|failure| PlatformBuildEnd::Failed(*failure))?;
    let (address, tls) = builder.address();
    let mut command = Command::new(&run.job.buildctl);
    command.args(arguments::resolve_only(&directory, address, tls)).listed_environment(Receiver::Buildctl);
    command.envs(super::credentials::variables());
    let ended = command::run(command, b"", LIMITS).await;
    match ended {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => {
            let exit = Exit::Code(ended.status.code().unwrap_or_default());
            Err(PlatformBuildEnd::Failed(unavailable(scanner, classify(&ended.stderr, &[], exit))))
        }
        Err(error @ RunError::TimedOut { .. }) => {
            Err(PlatformBuildEnd::Failed(unavailable(scanner, Failure::new(FailureKind::Network, error))))
        }
        Err(error) => Err(daemon_failure(error)),
    }
}

/// What is wrong with the scanner is not the Dockerfile's fault, but that of whoever named it.
fn unavailable(scanner: &str, failure: Failure) -> Failure {
    let kind = match failure.kind {
        FailureKind::Dockerfile | FailureKind::Unknown => FailureKind::Settings,
        kind => kind,
    };
    let reason = reason!("build.no_sbom_scanner", image = scanner, reason = failure.reason);
    Failure { hint: Some(reason!("build.name_sbom_scanner")), ..Failure::new(kind, reason) }
}

/// A directory with a Dockerfile that begins with the scanner's image, and does no more; the platform builds of a build
/// write the same one.
fn dockerfile(run: &PlatformBuildRun<'_>, scanner: &str) -> Result<PathBuf, Box<Failure>> {
    let disk = |error: atomic::WriteError| Box::new(Failure::new(FailureKind::Disk, error));
    let directory = run.directory.join(SCANNER_DIR);
    atomic::create_dir_all(&directory).map_err(disk)?;
    let text = format!("FROM {scanner}\n");
    atomic::write_volatile(&directory.join("Dockerfile"), text.as_bytes(), 0o600).map_err(disk)?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scanner_that_is_not_there_is_a_matter_of_the_settings_and_an_unreachable_registry_is_not() {
        let failed = |text: &str| unavailable("r.example.com/scan:1", classify(text, &[], Exit::Code(1)));
        let missing = failed(
            "error: failed to solve: r.example.com/scan:1: failed to resolve source metadata for r.example.com/scan:1: r.example.com/scan:1: not found",
        );
        assert!(missing.reason.to_string().contains("r.example.com/scan:1"), "{}", missing.reason);
        assert!(!missing.kind.is_machinery() && missing.kind != FailureKind::Dockerfile, "{:?}", missing.kind);
        let offline = failed(
            "error: failed to solve: r.example.com/scan:1: failed to resolve source metadata for r.example.com/scan:1: failed to do request: Head \"https://r.example.com/v2/scan/manifests/1\": dial tcp 192.0.2.1:443: connect: connection refused",
        );
        assert_eq!(offline.kind, FailureKind::Network);
        assert!(offline.hint.is_some());
    }
}
