//! Finding BuildKit and what it needs, and installing what is missing, so that a managed builder can start.
//!
//! `slipway setup`, the demo and the pool call it. Nothing here starts a daemon. Dropping a future of this module stops
//! its children and removes its temporary files: a binary is either whole and in place, or not there.

pub mod advisories;
mod archive;
pub mod busybox;
mod command;
mod download;
mod error;
mod file_name;
mod find;
mod go;
mod machine;
mod missing;
mod options;
mod packages;
mod pins;
mod progress;
mod release;
mod subid;
mod version;
mod workspace;

pub use error::{Attempt, InstallError};
pub use find::{Found, Place, Tool, Tools, find};
pub use machine::{Machine, User};
pub use missing::Missing;
pub use options::{Ask, Options, RELEASES_URL};
pub use pins::Digests;
pub use progress::{Progress, Report, Way};
pub use version::{BUILDKIT_VERSION, ROOTLESSKIT_VERSION, Version};

use crate::domain::reason::AsReason;
use crate::store::home::Home;
use packages::Package;
use workspace::{Lock, Workspace};

/// Everything that a managed builder needs, installing what is missing. Quick when all of it is there.
///
/// # Errors
/// When something is still missing afterwards: what each way of getting it said, and what to do.
pub async fn ensure(home: &Home, options: &Options, progress: Report<'_>) -> Result<Tools, InstallError> {
    let machine = Machine::this();
    let found = find::find_on(home, &machine);
    if let (Some(tools), true) = (found.tools(), is_complete(&found, &machine)) {
        return Ok(tools);
    }
    let found = install(home, &machine, options, progress).await?;
    found.tools().ok_or_else(|| InstallError::StillMissing(found.missing()))
}

/// Installs what `machine` lacks under `home`, or the archive that `options` names, and returns what is there then,
/// with versions. Unlike [`ensure`] it tries every program first, and installs again what does not run.
///
/// # Errors
/// As [`ensure`].
pub async fn install(
    home: &Home,
    machine: &Machine,
    options: &Options,
    progress: Report<'_>,
) -> Result<Found, InstallError> {
    let mut found = find_and_probe(home, machine).await;
    if options.from.is_none() && is_complete(&found, machine) {
        return Ok(found);
    }
    let _lock = Lock::take(home, progress).await?;
    // The process that held the lock may have installed it all.
    found = find_and_probe(home, machine).await;
    let work = Workspace::new(home)?;
    match &options.from {
        Some(from) => archive::install(from, options, &work, home, progress).await?,
        None => {
            if found.lacks_daemon() || found.lacks_runtime() {
                daemon(home, machine, options, &found, &work, progress).await?;
            }
        }
    }

    found = find_and_probe(home, machine).await;
    if found.lacks_runtime() && machine.is_root() {
        let done = packages::install(machine, Package::Runtime, progress).await;
        report_failure(Way::Packages, done, progress)?;
    }
    if found.lacks_rootlesskit() {
        let done = go::install(&go::ROOTLESSKIT, machine, &work, home, progress).await;
        report_failure(Way::Go, done, progress)?;
    }
    if machine.is_root() && !found.sandbox_programs_missing.is_empty() && found.has_package_manager() {
        let done = packages::install(machine, Package::Sandbox, progress).await;
        report_failure(Way::Packages, done, progress)?;
    }

    found = find_and_probe(home, machine).await;
    let missing = found.missing();
    if missing.is_empty() { Ok(found) } else { Err(InstallError::StillMissing(missing)) }
}

/// Whether there is nothing to install: the sandbox network is no must, and only root can install its programs.
fn is_complete(found: &Found, machine: &Machine) -> bool {
    let can_have_sandbox = machine.is_root() && found.has_package_manager();
    found.missing().is_empty() && (found.sandbox_programs_missing.is_empty() || !can_have_sandbox)
}

async fn find_and_probe(home: &Home, machine: &Machine) -> Found {
    let mut found = find::find_on(home, machine);
    found.probe().await;
    found
}

/// buildctl and buildkitd, and with the archive the runtime, by the first way that works.
async fn daemon(
    home: &Home,
    machine: &Machine,
    options: &Options,
    found: &Found,
    work: &Workspace,
    progress: Report<'_>,
) -> Result<(), InstallError> {
    let only_runtime = !found.lacks_daemon();
    let mut attempts = Vec::new();
    match release::install(options, only_runtime, work, home, progress).await {
        Ok(()) => return Ok(()),
        Err(error) if error.ends_the_search() => return Err(error),
        Err(error) => {
            progress(Progress::Failed { way: Way::Release, why: error.reason() });
            attempts.push(Attempt { way: Way::Release, error });
        }
    }
    if only_runtime {
        // There is the package manager still.
        return Ok(());
    }
    match go::install(&go::BUILDKIT, machine, work, home, progress).await {
        Ok(()) => Ok(()),
        Err(error) if error.ends_the_search() => Err(error),
        Err(error) => {
            attempts.push(Attempt { way: Way::Go, error });
            Err(InstallError::NoWay { attempts, archive: release::archive_name() })
        }
    }
}

/// A way that did not work is reported, and what is missing then is named at the end with its fix; a full disk ends it
/// here.
fn report_failure(way: Way, done: Result<(), InstallError>, progress: Report<'_>) -> Result<(), InstallError> {
    match done {
        Err(error) if error.ends_the_search() => Err(error),
        Err(error) => {
            progress(Progress::Failed { way, why: error.reason() });
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
