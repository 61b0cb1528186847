//! Writes records, the journal and the outbox, in the order that the core asks for.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::pool::core::{Event, File, WriteFailure, WriteId};
use crate::pool::tasks::TaskContext;
use crate::store::catalog::CreateError;
use crate::store::pushes::Watched;
use crate::store::{Home, outbox, pushes};
use crate::sys::atomic::WriteError;

/// What writes files.
#[derive(Debug, Clone, Default)]
pub(in crate::pool) struct RecordWriter {
    /// The last write of `watch.toml`: writes run beside each other, and an older one never replaces a newer one.
    refs_seen: Arc<Mutex<Option<WriteId>>>,
}

impl RecordWriter {
    /// Writes files and reports how that ended.
    pub(in crate::pool) fn write(&self, context: &TaskContext, write: WriteId, files: Vec<File>) {
        let (context, writer) = (context.clone(), self.clone());
        tokio::task::spawn_blocking(move || {
            let result = files.iter().try_for_each(|file| match file {
                File::RefsSeen(watched) => writer.write_refs_seen(&context.home, write, watched),
                file => write_one(&context, file),
            });
            context.report(Event::Written { write, result });
        });
    }

    fn write_refs_seen(&self, home: &Home, write: WriteId, watched: &Watched) -> Result<(), WriteFailure> {
        let mut last = self.refs_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last < write) {
            pushes::save_watched(home, watched).map_err(failure)?;
            *last = Some(write);
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
            WriteFailure { why: error.to_string(), disk_full }
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
            let why = format!("cannot mark build {id} as final: {error}");
            WriteFailure { why, disk_full: is_disk_full(&error) }
        }),
        File::Push(push) => catalog.record_push(push).map_err(failure),
        File::RefsSeen(watched) => pushes::save_watched(home, watched).map_err(failure),
    }
}

fn failure(error: WriteError) -> WriteFailure {
    WriteFailure { why: error.to_string(), disk_full: matches!(error, WriteError::DiskFull { .. }) }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
