//! What a runner has in the attempt's directory besides the log and the steps.

use std::fs;
use std::path::{Path, PathBuf};

/// The private `DOCKER_CONFIG` of a build, in its directory, while it runs.
pub const DOCKER_CONFIG_DIR: &str = "docker";
/// The tree that an earlier slipway checked out into the build's directory; removed with the others.
pub const CHECKOUT_DIR: &str = "source";
/// The Dockerfile as it was checked, in the build's directory, while it runs.
pub const DOCKERFILE_DIR: &str = "dockerfile";
/// A Dockerfile that begins with the image of the scanner of SBOMs, in the build's directory, while it runs.
pub const SCANNER_DIR: &str = "scanner";
/// The runner's own errors.
pub const ERRORS: &str = "runner.log";
/// Space that is set aside so that a result can be written when the disk is full.
pub(super) const RESERVE: &str = "reserve";
/// The directory of a fresh builder, in the build's directory, begins so.
pub(super) const FRESH_PREFIX: &str = "builder-";

/// The directories of a build's fresh builders that are still there.
pub fn fresh_directories(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let fresh = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(FRESH_PREFIX))
    };
    entries.flatten().map(|entry| entry.path()).filter(fresh).collect()
}
