//! A provisioned builder while a build uses it, written down: a pool that finds the runner dead takes the builder down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::buildkit::provisioned::release;
use crate::domain::reason::{Reason, reason};
use crate::store::builds;
use crate::sys::atomic::WriteError;

/// A machine in a cloud may take minutes to come and to go.
pub(super) const LIMIT: Duration = Duration::from_secs(10 * 60);
/// The files begin so, one for each platform build.
const PREFIX: &str = "provisioned-";

/// What it takes to take it down.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Its address.
    pub address: String,
    /// The command that takes it down.
    pub down: String,
}

impl Machine {
    /// Writes it down.
    pub(super) fn note(&self, directory: &Path, platform_build: usize) -> Result<(), WriteError> {
        builds::save(&file(directory, platform_build), self)
    }

    /// Takes it down.
    pub(super) async fn take_down(&self, directory: &Path, platform_build: usize) -> Result<(), Reason> {
        self.release(&file(directory, platform_build)).await
    }

    async fn release(&self, file: &Path) -> Result<(), Reason> {
        release(&self.down, &self.address, LIMIT).await?;
        match fs::remove_file(file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(reason!("runner.note_not_removed", file, source))
            }
            _ => Ok(()),
        }
    }
}

fn file(directory: &Path, platform_build: usize) -> PathBuf {
    directory.join(format!("{PREFIX}{platform_build}.toml"))
}

/// Takes down what a dead runner left up; why that failed, for each that is still there.
pub async fn take_down_leftovers(directory: &Path) -> Vec<Reason> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let noted =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
    let mut errors = Vec::new();
    for file in entries.filter(noted).collect::<Vec<_>>() {
        let done = match builds::load_if_there::<Machine>(&file) {
            Ok(Some(machine)) => machine.release(&file).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        errors.extend(done.err());
    }
    errors
}
