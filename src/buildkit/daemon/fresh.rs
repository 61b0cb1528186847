//! A new, empty daemon for one build, thrown away after it: ready in about 0.2 s, and what it costs is the cache.

use std::path::Path;
use std::time::Duration;

use super::leftovers::remove_tree;
use super::{Daemon, DaemonError, Record, Spec, Tools, ensure};
use crate::buildkit::config::Config;

/// Nothing of a thrown-away daemon is kept, so there is little to wait for: only that it ends its containers itself.
const GRACE: Duration = Duration::from_secs(2);

/// Starts a daemon whose every file is in `dir`, and its sockets in `sockets`; both are its own, and are new or empty.
///
/// # Errors
/// As [`ensure`]; what was begun stays for [`discard`].
pub async fn fresh(dir: &Path, sockets: &Path, tools: Tools, config: &Config) -> Result<Daemon, DaemonError> {
    ensure(&Spec::new(dir, sockets, tools, config)).await
}

/// Ends the daemon in `dir`, if one runs, and deletes `dir` with everything in it. It works from the record alone: for the
/// runner when its build is done, and for a pool that finds a runner dead.
///
/// # Errors
/// When the daemon can't be ended or something can't be deleted; it may be called again.
pub async fn discard(dir: &Path) -> Result<(), DaemonError> {
    if let Some(record) = Record::load(dir)? {
        let mut daemon = Daemon { dir: dir.to_owned(), record, child: None };
        daemon.stop(GRACE).await?;
        daemon.remove_root().await?;
    }
    remove_tree(dir).await
}
