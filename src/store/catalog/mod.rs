//! The catalog: builds and pushes by what the pool and its clients look for, so that nothing reads a million records.
//!
//! Records in TOML are the truth. The catalog is derived from them, lies in `catalog.db` (SQLite), and may be deleted
//! while no pool runs. Four rules keep it right:
//!
//! - A record is written before its row. When a pool starts, the rows of open builds and of unsettled pushes are
//!   compared with their records, and records without a row are read.
//! - The catalog knows when `builds/` and `pushes/` were last changed by the pool. Where they were changed since, or the
//!   next numbers are taken, the names in the directory are compared with the rows.
//! - Every row is compared with the time and the mark of its record, at the start where there are few, in the background
//!   where there are many: what somebody edited by hand is read again.
//! - Rows only say where to look: a page holds records as they are on disk, each checked against the query again.
//!
//! A catalog that is missing, damaged or of another version is made anew while the pool serves, the newest record first;
//! records that have no row yet, those below the floor, are looked for in the directory meanwhile.

mod builds;
mod collect;
mod history;
mod pushes;
mod rebuild;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::watch;

use super::Home;
use crate::domain::build::BuildId;
use crate::domain::journal::PushId;
use rows::as_number;
use schema::Meta;

pub use builds::CreateError;

/// Nothing is in the catalog.
const NOTHING: u64 = u64::MAX;

/// The builds and pushes of a home, by what is looked for.
pub struct Catalog {
    home: Home,
    /// The only connection that writes; none where the catalog was opened for reading.
    writer: Mutex<Option<Writer>>,
    /// None: the writer's connection reads, too, or there is no catalog to read.
    reader: Mutex<Option<Connection>>,
    /// Builds from this number on have rows.
    build_floor: AtomicU64,
    /// Pushes from this number on have rows.
    push_floor: AtomicU64,
    /// Whether every record has a row.
    complete: watch::Sender<bool>,
    /// How often the catalog was found damaged.
    damages: watch::Sender<u64>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog").field("home", &self.home).finish_non_exhaustive()
    }
}

struct Writer {
    connection: Connection,
    /// Builds whose rows could not be written, such as on a full disk.
    late_builds: BTreeSet<BuildId>,
    /// Pushes whose rows could not be written.
    late_pushes: BTreeSet<PushId>,
}

/// What a starting pool must know of its home's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    /// The builds that are marked as open.
    pub open: BTreeSet<BuildId>,
    /// The highest number that a build has or had; 0: there was none.
    pub last_build: u64,
    /// The highest number that a push has or had; 0: there was none.
    pub last_push: u64,
}

/// A catalog that can't be brought up to date.
#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    /// The records can't be listed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The database fails.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

impl Catalog {
    fn new(home: &Home) -> Catalog {
        Catalog {
            home: home.clone(),
            writer: Mutex::default(),
            reader: Mutex::default(),
            build_floor: AtomicU64::new(NOTHING),
            push_floor: AtomicU64::new(NOTHING),
            complete: watch::Sender::new(false),
            damages: watch::Sender::new(0),
        }
    }

    /// Opens the catalog of a home for its pool, the only process that writes it, and brings it up to date as far as that
    /// takes a moment. [`Catalog::tend`] does the rest.
    ///
    /// # Errors
    /// When the records can't be listed.
    pub fn open(home: &Home) -> io::Result<(Catalog, Start)> {
        let catalog = Catalog::new(home);
        let start = catalog.connect()?;
        Ok((catalog, start))
    }

    /// Opens the catalog of a home for reading beside its pool. Where that is not possible, or the records were changed
    /// while no pool ran, the records themselves are read.
    pub fn read(home: &Home) -> Catalog {
        let catalog = Catalog::new(home);
        if let Ok(connection) = schema::open_to_read(&home.catalog_file()) {
            let known = |stamp: Meta, directory: &Path| {
                stamp.get(&connection).ok().flatten().is_some_and(|known| Some(known) == changed_at(directory))
            };
            let floor = |known: bool, floor: Meta| match floor.get(&connection) {
                Ok(Some(floor)) if known => as_number(floor),
                _ => NOTHING,
            };
            let builds = floor(known(Meta::BuildStamp, &home.builds_dir()), Meta::BuildFloor);
            let pushes = floor(known(Meta::PushStamp, &home.pushes_dir()), Meta::PushFloor);
            catalog.build_floor.store(builds, Ordering::Release);
            catalog.push_floor.store(pushes, Ordering::Release);
            *catalog.reader() = Some(connection);
        }
        catalog
    }

    /// Waits until every record has a row.
    pub async fn completed(&self) {
        // The sender lives as long as `self`.
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// Tells of damage that is found from now on: [`Catalog::tend`] repairs it.
    pub fn damages(&self) -> watch::Receiver<u64> {
        self.damages.subscribe()
    }

    /// Whether every record has a row.
    pub fn is_complete(&self) -> bool {
        *self.complete.borrow()
    }

    /// Opens the database, or makes it anew where it is no sound one, and brings it up to date.
    fn connect(&self) -> io::Result<Start> {
        let mut slot = self.writer();
        let file = self.home.catalog_file();
        let first = schema::open(&file).map_err(CatchUpError::from).and_then(|connection| {
            let writer = Writer::of(connection);
            let start = self.catch_up(&writer)?;
            Ok((writer, start))
        });
        let (writer, start) = match first {
            Ok(opened) => opened,
            Err(CatchUpError::Io(error)) => return Err(error),
            Err(CatchUpError::Database(error)) => {
                tracing::warn!("{} is made anew from the records: {error}", file.display());
                let writer = Writer::of(self.anew(&file).map_err(io::Error::other)?);
                let start = self.catch_up(&writer).map_err(|error| match error {
                    CatchUpError::Io(error) => error,
                    CatchUpError::Database(error) => io::Error::other(error),
                })?;
                (writer, start)
            }
        };
        // A temporary database is seen by its own connection alone.
        let on_disk = writer.connection.path().is_some_and(|path| !path.is_empty());
        *self.reader() = on_disk.then(|| schema::open_to_read(&file).ok()).flatten();
        *slot = Some(writer);
        Ok(start)
    }

    /// An empty catalog; where the disk takes none, one that ends with this process.
    fn anew(&self, file: &Path) -> rusqlite::Result<Connection> {
        let made = schema::remove(file)
            .map_err(|error| error.to_string())
            .and_then(|()| schema::open(file).map_err(|error| error.to_string()));
        made.or_else(|error| {
            tracing::warn!("{} can't be made, a temporary one is used: {error}", file.display());
            schema::temporary()
        })
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Option<Connection>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn build_floor(&self) -> u64 {
        self.build_floor.load(Ordering::Acquire)
    }

    fn push_floor(&self) -> u64 {
        self.push_floor.load(Ordering::Acquire)
    }

    /// Says whether every record has a row, once the rows are compared with them.
    fn announce_completeness(&self) {
        let complete = self.build_floor() == 0 && self.push_floor() == 0;
        self.complete.send_replace(complete);
    }

    /// Asks the database; none where there is none, or it fails: the records are read then.
    fn ask<T>(&self, question: impl Fn(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let answer = self.reader().as_ref().map(&question);
        let answer = answer.or_else(|| self.writer().as_ref().map(|writer| question(&writer.connection)))?;
        answer.map_err(|error| self.found(&error)).ok()
    }

    /// Writes rows in one transaction. What can't be written is told, and caught up with later: a row is never worth a
    /// build.
    fn change(&self, writer: &mut Writer, rows: impl Fn(&Connection) -> rusqlite::Result<()>) -> bool {
        let write = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            rows(&transaction)?;
            transaction.commit()
        };
        match write(&mut writer.connection) {
            Ok(()) => true,
            Err(error) => {
                self.found(&error);
                false
            }
        }
    }

    /// Takes note of an error of the database.
    fn found(&self, error: &rusqlite::Error) {
        let file = self.home.catalog_file();
        if schema::is_damage(error) {
            tracing::warn!("{} is damaged and made anew from the records: {error}", file.display());
            self.spoil();
        } else {
            tracing::warn!("{} can't be used now, records are read instead: {error}", file.display());
        }
    }

    /// Believes nothing that the catalog says until it is made anew.
    fn spoil(&self) {
        self.build_floor.store(NOTHING, Ordering::Release);
        self.push_floor.store(NOTHING, Ordering::Release);
        self.complete.send_replace(false);
        self.damages.send_modify(|count| *count += 1);
    }
}

impl Writer {
    fn of(connection: Connection) -> Writer {
        Writer { connection, late_builds: BTreeSet::new(), late_pushes: BTreeSet::new() }
    }
}

/// When the entries of a directory changed last, in nanoseconds; 0: it is not there. None: it can't be told.
fn changed_at(directory: &Path) -> Option<i64> {
    match fs::metadata(directory) {
        Ok(meta) => meta.mtime().checked_mul(1_000_000_000)?.checked_add(meta.mtime_nsec()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(0),
        Err(_) => None,
    }
}

/// Keeps when a directory changed, where the pool alone changed it since that was kept last. Else the next start compares
/// the names with the rows.
fn keep_stamp(connection: &Connection, stamp: Meta, before: Option<i64>, after: Option<i64>) -> rusqlite::Result<()> {
    let is_known = before.is_some() && stamp.get(connection)? == before;
    stamp.put(connection, after.filter(|_| is_known))
}
