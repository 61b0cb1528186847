//! One managed buildkitd: started in a session of its own, found again by its record, stopped and cleaned up after.
//!
//! The pool calls [`ensure`] (or lets [`supervise`] do it), runners hold [`in_use`], builds that want an empty builder
//! use
//! [`fresh`]. Nothing here knows of builds, queues or the pool's state.

use std::path::Path;
use std::time::Duration;

use crate::sys::process::ProcessId;

mod error;
pub mod fresh;
pub mod in_use;
mod leftovers;
mod lock;
mod log_tail;
mod record;
mod running;
mod spec;
mod ssh;
mod start;
pub mod step_usage;
pub mod supervise;

pub use error::DaemonError;
pub use leftovers::Cleared;
pub use record::Record;
pub use running::Daemon;
pub use spec::{Spec, Tools};

use lock::Lock;
use spec::daemon_lock;

/// The daemon of `spec.dir`, answering: the one that runs already, whatever its configuration ([`Daemon::differs`]
/// tells), else a new one, started after what a killed one left behind was cleared away.
///
/// Two processes that call this at once get the same daemon.
///
/// # Errors
/// When it cannot be started or does not answer within 30 s; the error holds the last lines of its log.
pub async fn ensure(spec: &Spec) -> Result<Daemon, DaemonError> {
    start::prepare(spec)?;
    let _lock = Lock::exclusive(&daemon_lock(&spec.dir)).await?;
    let recorded = Record::load(&spec.dir)?;
    let running = match &recorded {
        Some(record) if record.is_alive() => Some(record.clone()),
        _ => start::find_unrecorded(spec)?,
    };
    if let Some(record) = running {
        let mut daemon = Daemon { dir: spec.dir.clone(), record, child: None };
        if start::wait_until_ready(&mut daemon, start::READY_LIMIT).await.is_ok() {
            daemon.record.save(&spec.dir)?;
            return Ok(daemon);
        }
        // It is of no use to anyone: alive and silent, or it died just now.
        daemon.end_process(Duration::ZERO).await?;
    }
    // The record first: it knows the runtime that the containers were started with.
    let wanted = Record::of(spec, ProcessId { pid: 0, start: 0 })?;
    let roots = recorded.filter(|record| record.root.exists());
    let elsewhere = roots.as_ref().is_none_or(|record| record.root != wanted.root).then_some(wanted);
    for record in roots.iter().chain(&elsewhere) {
        leftovers::clear(record).await?;
    }
    start::start(spec).await
}

/// The daemon that the record in `dir` names, when it is alive; it is not asked whether it answers.
///
/// # Errors
/// When the record cannot be read.
pub fn find(dir: &Path) -> Result<Option<Daemon>, DaemonError> {
    let record = Record::load(dir)?.filter(|record| record.is_alive());
    Ok(record.map(|record| Daemon { dir: dir.to_owned(), record, child: None }))
}
