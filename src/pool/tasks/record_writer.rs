//! Writes records, the journal and the outbox, in the order that the core asks for.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::build::Build;
use crate::pool::core::{Event, File, WriteFailure, WriteId};
use crate::pool::tasks::TaskContext;
use crate::store::pushes::Watched;
use crate::store::{Home, builds, outbox, pushes};
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
                file => write_one(&context.home, file),
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

fn write_one(home: &Home, file: &File) -> Result<(), WriteFailure> {
    match file {
        File::Message(message) => outbox::put(home, message).map_err(failure),
        File::RemoveMessage(message) => outbox::remove(home, message).map_err(failure),
        File::NewBuild(build) => write_new_build(home, build),
        File::Build(build) => {
            let directory = home.build_dir(build.id.0);
            if !directory.exists() {
                // Somebody removed it, and nothing can be recorded any more.
                tracing::error!("{} was removed: build {} is not recorded", directory.display(), build.id);
                return Ok(());
            }
            builds::save(&directory.join(builds::RECORD), build.as_ref()).map_err(failure)
        }
        File::CloseBuild(id) => builds::close(&home.build_dir(id.0)).map_err(|error| {
            let why = format!("cannot mark build {id} as final: {error}");
            WriteFailure { why, disk_full: is_disk_full(&error) }
        }),
        File::Push(push) => pushes::record(home, push).map_err(failure),
        File::RefsSeen(watched) => pushes::save_watched(home, watched).map_err(failure),
    }
}

/// Makes the directory of a build with its record. What a write that failed before left is taken over.
fn write_new_build(home: &Home, build: &Build) -> Result<(), WriteFailure> {
    let directory = match builds::create(home, build.id) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => home.build_dir(build.id.0),
        Err(error) => {
            let _ = fs::remove_dir_all(home.build_dir(build.id.0));
            let directory = home.build_dir(build.id.0);
            let why = format!("cannot make {}: {error}", directory.display());
            return Err(WriteFailure { why, disk_full: is_disk_full(&error) });
        }
        Ok(directory) => directory,
    };
    builds::save(&directory.join(builds::RECORD), build).map_err(|error| {
        // Nothing half-made stays behind.
        let _ = fs::remove_dir_all(&directory);
        failure(error)
    })
}

fn failure(error: WriteError) -> WriteFailure {
    WriteFailure { why: error.to_string(), disk_full: matches!(error, WriteError::DiskFull { .. }) }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
