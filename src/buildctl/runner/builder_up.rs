//! The builder of a platform build: brought up before it and taken down after it.

use std::path::{Path, PathBuf};

use super::credentials::Credentials;
use super::files::FRESH_PREFIX;
use super::machine::{self, Machine};
use super::output::Output;
use crate::buildctl::handover::Handover;
use crate::buildctl::job::{Job, PlatformBuild, PlatformDaemon};
use crate::buildkit::daemon::Daemon;
use crate::buildkit::daemon::fresh::{discard, fresh};
use crate::buildkit::provisioned::provision;
use crate::domain::builder::{BuilderTls, refuse_plain_tcp};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::platform::Platform;
use crate::domain::reason::Reason;

/// What one `buildctl` needs to run.
pub(super) struct PlatformBuildRun<'a> {
    pub directory: &'a Path,
    pub job: &'a Job,
    pub handover: &'a Handover,
    pub credentials: &'a Credentials,
    pub platform_build: &'a PlatformBuild,
    pub number: usize,
    pub image_stage: Option<&'a Path>,
    pub cache_stage: Option<&'a Path>,
}

impl PlatformBuildRun<'_> {
    /// Its platforms, as the names of steps have them; empty: the builder's own.
    pub(super) fn platforms(&self) -> Vec<&str> {
        self.platform_build.platforms.iter().map(Platform::as_str).collect()
    }
}

/// How a platform build ends without an image.
pub(super) enum PlatformBuildEnd {
    Failed(Failure),
    /// Another one failed, or the build was stopped.
    StoppedByAnother,
}

/// A failure of the builder itself.
pub(super) fn daemon_failure(error: impl Into<Reason>) -> PlatformBuildEnd {
    PlatformBuildEnd::Failed(Failure::new(FailureKind::Daemon, error))
}

/// A platform build's daemon, ready to build.
pub(super) enum BuilderUp {
    There { address: String, tls: Option<BuilderTls> },
    Fresh { daemon: Box<Daemon>, directory: PathBuf },
    Provisioned { address: String, down: Option<Machine>, tls: Option<BuilderTls> },
}

impl BuilderUp {
    /// Makes the builder ready.
    ///
    /// # Errors
    /// When it is unavailable.
    pub(super) async fn bring_up(run: &PlatformBuildRun<'_>, output: &Output) -> Result<BuilderUp, PlatformBuildEnd> {
        match &run.platform_build.daemon {
            PlatformDaemon::At { address, tls } => Ok(BuilderUp::There { address: address.clone(), tls: tls.clone() }),
            PlatformDaemon::Fresh { tools, config } => {
                let directory = run.directory.join(format!("{FRESH_PREFIX}{}", run.number));
                let sockets = run.job.sockets.join(format!("b{}-{}", run.job.build.id.0, run.number));
                output.say(&format!("slipway: starting a fresh builder for {}", run.platform_build.builder));
                let daemon = fresh(&directory, &sockets, tools.clone(), config).await.map_err(daemon_failure)?;
                Ok(BuilderUp::Fresh { daemon: Box::new(daemon), directory })
            }
            PlatformDaemon::Provisioned { up, down, tls, plain } => {
                output.say(&format!("slipway: provisioning builder {}: {up}", run.platform_build.builder));
                let address = provision(up, machine::LIMIT).await.map_err(daemon_failure)?;
                let down = down.clone().map(|down| Machine { address: address.clone(), down });
                if let Some(Err(error)) = down.as_ref().map(|machine| machine.note(run.directory, run.number)) {
                    output.say(&format!("slipway: {error}; builder {address} stays up if this runner dies"));
                }
                let refusal = refuse_plain_tcp(&address, tls.is_some(), *plain);
                let provisioned = BuilderUp::Provisioned { address, down, tls: tls.clone() };
                let Some(refusal) = refusal else { return Ok(provisioned) };
                if let Err(error) = provisioned.take_down(run).await {
                    output.say(&format!("slipway: builder {} was not taken down: {error}", run.platform_build.builder));
                }
                Err(PlatformBuildEnd::Failed(Failure::new(FailureKind::Settings, refusal)))
            }
        }
    }

    /// Its address, and the files for TLS.
    pub(super) fn address(&self) -> (&str, Option<&BuilderTls>) {
        match self {
            BuilderUp::There { address, tls } | BuilderUp::Provisioned { address, tls, .. } => (address, tls.as_ref()),
            BuilderUp::Fresh { daemon, .. } => (daemon.addr(), None),
        }
    }

    /// Ends what was made for this build alone.
    ///
    /// # Errors
    /// When it could not be ended; the error says why.
    pub(super) async fn take_down(self, run: &PlatformBuildRun<'_>) -> Result<(), Reason> {
        match self {
            BuilderUp::There { .. } => Ok(()),
            BuilderUp::Fresh { daemon, directory } => {
                drop(daemon);
                discard(&directory).await.map_err(Reason::from)
            }
            BuilderUp::Provisioned { down: Some(machine), .. } => machine.take_down(run.directory, run.number).await,
            BuilderUp::Provisioned { down: None, .. } => Ok(()),
        }
    }
}
