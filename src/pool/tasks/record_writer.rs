//! Writes records, the journal and the outbox, in the order that the core asks for.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::name::RepositoryPath;
use crate::domain::reason::reason;
use crate::pool::core::{Event, File, WriteFailure, WriteId};
use crate::pool::tasks::TaskContext;
use crate::store::catalog::CreateError;
use crate::store::refs_seen::{self, Seen};
use crate::store::{Home, outbox};
use crate::sys::atomic::WriteError;

/// What writes files.
#[derive(Debug, Clone, Default)]
pub(in crate::pool) struct RecordWriter {
    /// The last write of what was seen of each repository: writes run beside each other, and an older one never replaces
    /// a newer one.
    refs_seen: Arc<Mutex<BTreeMap<RepositoryPath, WriteId>>>,
}

impl RecordWriter {
    /// Writes files and reports how that ended.
    pub(in crate::pool) fn write(&self, context: &TaskContext, write: WriteId, files: Vec<File>) {
        let (context, writer) = (context.clone(), self.clone());
        tokio::task::spawn_blocking(move || {
            let result = files.iter().try_for_each(|file| match file {
                File::RefsSeen { path, seen } => writer.write_refs_seen(&context.home, write, path, seen.as_deref()),
                file => write_one(&context, file),
            });
            context.report(Event::Written { write, result });
        });
    }

    fn write_refs_seen(
        &self,
        home: &Home,
        write: WriteId,
        path: &RepositoryPath,
        seen: Option<&Seen>,
    ) -> Result<(), WriteFailure> {
        let mut last = self.refs_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(path).is_none_or(|last| *last < write) {
            refs_seen::keep(home, path, seen).map_err(failure)?;
            last.insert(path.clone(), write);
        }
        Ok(())
    }
}

fn write_one(context: &TaskContext, file: &File) -> Result<(), WriteFailure> {
    let TaskContext { home, catalog, .. } = context;
    match file {
        File::Message(message) => outbox::put(home, message).map_err(failure),
        File::RemoveMessage(message) => outbox::remove(home, message).map_err(failure),
        File::NewBuild(build) => catalog.create(build).map_err(|error| {
            let disk_full = match &error {
                CreateError::Directory(error) => is_disk_full(error),
                CreateError::Record(error) => matches!(error, WriteError::DiskFull { .. }),
            };
            WriteFailure { why: error.into(), disk_full }
        }),
        File::Build(build) => {
            let directory = home.build_dir(build.id.0);
            if !directory.exists() {
                // Somebody removed it, and nothing can be recorded any more.
                tracing::error!("{} was removed: build {} is not recorded", directory.display(), build.id);
                return Ok(());
            }
            catalog.save(build).map_err(failure)
        }
        File::CloseBuild(id) => catalog.close(*id).map_err(|error| {
            let disk_full = is_disk_full(&error);
            WriteFailure { why: reason!("build.not_closed", id, error), disk_full }
        }),
        File::Push(push) => catalog.record_push(push).map_err(failure),
        File::RefsSeen { path, seen } => refs_seen::keep(home, path, seen.as_deref()).map_err(failure),
    }
}

fn failure(error: WriteError) -> WriteFailure {
    let disk_full = matches!(error, WriteError::DiskFull { .. });
    WriteFailure { why: error.into(), disk_full }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
