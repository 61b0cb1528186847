//! Bringing the catalog up to date: at the start of a pool what takes a moment, in the background what takes long.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::rows::{File, as_number, as_stored, put_build, put_push, put_unreadable};
use super::schema::{self, Meta};
use super::{Catalog, CatchUpError, NOTHING, Start, Writer, changed_at};
use crate::domain::build::{Build, BuildId};
use crate::domain::journal::{PushId, PushRecord};
use crate::store::{builds, pushes};

/// So many records are read before a pool serves; more are read in the background.
const READ_AT_START: usize = 500;
/// So many numbers after the last known one are tried: a pool that was killed may have taken them.
const TRIED: u64 = 64;
/// So many rows are written in one transaction.
const BATCH: usize = 256;
/// So many rows are compared with their records at once.
const COMPARED: i64 = 1_000;

/// One of the two kinds of records, as far as the way to catch up with them is the same.
#[derive(Debug, Clone, Copy)]
enum Records {
    Builds,
    Pushes,
}

/// What was found of one kind of records.
struct Found {
    /// Records from this number on have rows.
    floor: u64,
    /// The highest number ever.
    last: u64,
    /// The numbers below the floor.
    without_rows: Vec<u64>,
    /// Those that came since the rows were written.
    new: Vec<u64>,
}

impl Records {
    fn metas(self) -> (Meta, Meta, Meta) {
        match self {
            Records::Builds => (Meta::BuildFloor, Meta::LastBuild, Meta::BuildStamp),
            Records::Pushes => (Meta::PushFloor, Meta::LastPush, Meta::PushStamp),
        }
    }

    fn table(self) -> &'static str {
        match self {
            Records::Builds => "build",
            Records::Pushes => "push",
        }
    }
}

impl Catalog {
    /// Compares the rows with the directories, as far as that takes a moment.
    pub(super) fn catch_up(&self, writer: &Writer) -> Result<Start, CatchUpError> {
        let connection = &writer.connection.unchecked_transaction()?;
        let builds = self.compare(connection, Records::Builds)?;
        let pushes = self.compare(connection, Records::Pushes)?;
        for records in [Records::Builds, Records::Pushes] {
            self.verify_few(connection, records)?;
        }
        let mut open: BTreeSet<BuildId> =
            builds.without_rows.iter().chain(&builds.new).map(|id| BuildId(*id)).collect();
        open.retain(|id| builds::is_open(&self.home, *id));
        for id in doubtful_builds(connection)? {
            // The pool may have been killed between the record, the mark and the row.
            self.refresh_build(connection, id)?;
            if builds::is_open(&self.home, BuildId(id)) {
                open.insert(BuildId(id));
            }
        }
        for id in unsettled_pushes(connection)? {
            self.refresh_push(connection, id)?;
        }
        connection.execute_batch("COMMIT")?;
        self.build_floor.store(builds.floor, Ordering::Release);
        self.push_floor.store(pushes.floor, Ordering::Release);
        Ok(Start { open, last_build: builds.last, last_push: pushes.last })
    }

    /// Reads the records again that somebody edited, where all of them can be compared in a moment.
    fn verify_few(&self, connection: &Connection, records: Records) -> rusqlite::Result<()> {
        let most = i64::try_from(READ_AT_START).unwrap_or(i64::MAX - 1) + 1;
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT {most})", records.table());
        let count: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        if count == most {
            return Ok(());
        }
        if let Some((edited, _)) = self.edited(connection, records, 0, most)? {
            edited.into_iter().try_for_each(|id| self.refresh(connection, records, id))?;
        }
        Ok(())
    }

    fn compare(&self, connection: &Connection, records: Records) -> Result<Found, CatchUpError> {
        let (floor_meta, last_meta, stamp_meta) = records.metas();
        let directory = match records {
            Records::Builds => self.home.builds_dir(),
            Records::Pushes => self.home.pushes_dir(),
        };
        // Before the names are read: what changes meanwhile is found by the next start.
        let stamp = changed_at(&directory);
        let floor = floor_meta.get(connection)?.map(as_number);
        let last = last_meta.get(connection)?.map_or(0, as_number);
        let is_taken = |id| match records {
            Records::Builds => self.home.build_dir(id).exists(),
            Records::Pushes => pushes::is_there(&self.home, PushId(id)),
        };
        let same = floor == Some(0) && stamp.is_some() && stamp_meta.get(connection)? == stamp;
        if same && !(last + 1..=last + TRIED).any(is_taken) {
            return Ok(Found { floor: 0, last, without_rows: Vec::new(), new: Vec::new() });
        }
        let names = self.names(records)?;
        let last = last.max(names.last().copied().unwrap_or_default());
        let mut floor = floor.unwrap_or(last + 1);
        let mut new = remove_rows_of_the_gone(connection, records, &names, floor)?;
        let below = names.partition_point(|id| *id < floor);
        if below + new.len() <= READ_AT_START {
            for id in names[..below].iter().chain(&new) {
                self.refresh(connection, records, *id)?;
            }
            floor = 0;
        } else if new.len() > READ_AT_START {
            // Their rows are written in the background, those of the newest first; rows that are there stay.
            floor = new.last().map_or(floor, |last| last + 1);
            new = Vec::new();
        } else {
            for id in &new {
                self.refresh(connection, records, *id)?;
            }
        }
        floor_meta.put(connection, Some(as_stored(floor)))?;
        last_meta.put(connection, Some(as_stored(last)))?;
        stamp_meta.put(connection, stamp)?;
        let without_rows = names.into_iter().filter(|id| *id < floor).collect();
        Ok(Found { floor, last, without_rows, new })
    }

    /// The numbers that a directory has, in order.
    fn names(&self, records: Records) -> io::Result<Vec<u64>> {
        let mut ids: Vec<u64> = match records {
            Records::Builds => builds::ids(&self.home)?.into_iter().map(|id| id.0).collect(),
            Records::Pushes => pushes::ids(&self.home)?.into_iter().map(|id| id.0).collect(),
        };
        ids.sort_unstable();
        Ok(ids)
    }

    fn refresh(&self, connection: &Connection, records: Records, id: u64) -> rusqlite::Result<()> {
        match records {
            Records::Builds => self.refresh_build(connection, id),
            Records::Pushes => self.refresh_push(connection, id),
        }
    }

    /// Writes the row of a build as its record is now.
    pub(super) fn refresh_build(&self, connection: &Connection, id: u64) -> rusqlite::Result<()> {
        connection.prepare_cached("DELETE FROM build WHERE id = ?1")?.execute([as_stored(id)])?;
        self.missing_build(id).map_or(Ok(()), |row| row.put(connection))
    }

    /// Writes the row of a push as its record is now; one that can't be read has none.
    pub(super) fn refresh_push(&self, connection: &Connection, id: u64) -> rusqlite::Result<()> {
        connection.prepare_cached("DELETE FROM push WHERE id = ?1")?.execute([as_stored(id)])?;
        self.missing_push(id).map_or(Ok(()), |row| row.put(connection))
    }

    /// A build's files as they are now.
    pub(super) fn build_file(&self, id: u64) -> File {
        let written_at = written_at(&self.home.build_dir(id).join(builds::RECORD));
        File { open: builds::is_open(&self.home, BuildId(id)), written_at }
    }

    /// When a push was written.
    pub(super) fn push_written_at(&self, id: u64) -> i64 {
        written_at(&pushes::file(&self.home, PushId(id)))
    }

    /// Writes the rows that are still missing, the newest first, and checks those that are there; makes a damaged catalog
    /// anew. Takes as long as it takes, and goes on where an earlier pool was stopped.
    ///
    /// # Errors
    /// When the records can't be listed.
    pub fn tend(&self, is_stopping: impl Fn() -> bool) -> io::Result<()> {
        if self.build_floor() == NOTHING || !self.ask(|connection| Ok(schema::is_sound(connection))).unwrap_or(true) {
            self.spoil_quietly();
            self.connect_anew()?;
        }
        for records in [Records::Builds, Records::Pushes] {
            self.fill(records, &is_stopping)?;
            self.verify(records, &is_stopping);
        }
        if !is_stopping() {
            self.announce_completeness();
        }
        Ok(())
    }

    fn spoil_quietly(&self) {
        self.build_floor.store(NOTHING, Ordering::Release);
        self.push_floor.store(NOTHING, Ordering::Release);
        self.complete.send_replace(false);
    }

    /// Puts an empty catalog in the place of a damaged one.
    fn connect_anew(&self) -> io::Result<()> {
        *self.reader() = None;
        *self.writer() = None;
        schema::remove(&self.home.catalog_file())?;
        self.connect().map(drop)
    }

    fn fill(&self, records: Records, is_stopping: &impl Fn() -> bool) -> io::Result<()> {
        let floor = match records {
            Records::Builds => &self.build_floor,
            Records::Pushes => &self.push_floor,
        };
        if matches!(floor.load(Ordering::Acquire), 0 | NOTHING) {
            return Ok(());
        }
        let mut names = self.names(records)?;
        names.retain(|id| *id < floor.load(Ordering::Acquire));
        for batch in names.rchunks(BATCH) {
            if is_stopping() || !self.fill_batch(records, batch) {
                return Ok(());
            }
            floor.store(batch[0], Ordering::Release);
        }
        let mut slot = self.writer();
        let Some(writer) = slot.as_mut() else { return Ok(()) };
        if self.change(writer, |connection| records.metas().0.put(connection, Some(0))) {
            floor.store(0, Ordering::Release);
        }
        Ok(())
    }

    /// Writes the rows of some records and lowers the floor to the first of them. Rows that are there are newer than what was
    /// read here.
    fn fill_batch(&self, records: Records, batch: &[u64]) -> bool {
        let rows: Vec<Row> = match records {
            Records::Builds => batch.iter().filter_map(|id| self.missing_build(*id)).collect(),
            Records::Pushes => batch.iter().filter_map(|id| self.missing_push(*id)).collect(),
        };
        let mut slot = self.writer();
        let Some(writer) = slot.as_mut() else { return false };
        self.change(writer, |connection| {
            rows.iter().try_for_each(|row| row.put(connection))?;
            records.metas().0.put(connection, Some(as_stored(batch[0])))
        })
    }

    /// The row of a build that has none; none: it is gone.
    fn missing_build(&self, id: u64) -> Option<Row> {
        // Before the record is read: what is written meanwhile is another time.
        let file = self.build_file(id);
        match builds::load(&self.home, BuildId(id)) {
            Ok(build) => Some(Row::Build(Box::new(build), file)),
            Err(error) if error.missing => None,
            Err(_) => Some(Row::Unreadable(id, file)),
        }
    }

    fn missing_push(&self, id: u64) -> Option<Row> {
        let written_at = self.push_written_at(id);
        pushes::load(&self.home, PushId(id)).ok().map(|push| Row::Push(Box::new(push), written_at))
    }

    /// Compares the rows after a number with their records: those that differ, and the last number that was compared. None:
    /// there are no rows after it.
    fn edited(
        &self,
        connection: &Connection,
        records: Records,
        after: i64,
        most: i64,
    ) -> rusqlite::Result<Option<(Vec<u64>, i64)>> {
        let columns = match records {
            Records::Builds => "id, written_at, open",
            Records::Pushes => "id, written_at, 0",
        };
        let sql = format!("SELECT {columns} FROM {} WHERE id > ?1 ORDER BY id LIMIT ?2", records.table());
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map([after, most], |row| {
            Ok((row.get::<_, i64>(0)?, File { written_at: row.get(1)?, open: row.get(2)? }))
        })?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let Some((last, _)) = rows.last() else { return Ok(None) };
        let now = |id| match records {
            Records::Builds => self.build_file(id),
            Records::Pushes => File { written_at: self.push_written_at(id), open: false },
        };
        let edited = rows.iter().map(|(id, file)| (as_number(*id), file)).filter(|(id, file)| now(*id) != **file);
        Ok(Some((edited.map(|(id, _)| id).collect(), *last)))
    }

    /// Reads the records again that somebody edited while no pool ran.
    fn verify(&self, records: Records, is_stopping: &impl Fn() -> bool) {
        let mut after = 0;
        while !is_stopping() {
            let compared = self.ask(|connection| self.edited(connection, records, after, COMPARED));
            let Some(Some((edited, last))) = compared else { return };
            after = last;
            if !edited.is_empty()
                && let Some(writer) = self.writer().as_mut()
            {
                self.change(writer, |connection| {
                    edited.iter().try_for_each(|id| self.refresh(connection, records, *id))
                });
            }
        }
    }
}

/// A row that is to be written.
enum Row {
    Build(Box<Build>, File),
    Unreadable(u64, File),
    Push(Box<PushRecord>, i64),
}

impl Row {
    /// Writes the row where there is none.
    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self {
            Row::Build(build, file) => put_build(connection, build, *file, false),
            Row::Unreadable(id, file) => put_unreadable(connection, *id, *file),
            Row::Push(push, written_at) => put_push(connection, push, *written_at, false),
        }
    }
}

fn written_at(file: &Path) -> i64 {
    changed_at(file).unwrap_or_default()
}

/// Builds whose rows may be behind their records: those that were open, and those that could not be read.
fn doubtful_builds(connection: &Connection) -> rusqlite::Result<Vec<u64>> {
    numbers(connection, "SELECT id FROM build WHERE open OR state = 255")
}

fn unsettled_pushes(connection: &Connection) -> rusqlite::Result<Vec<u64>> {
    numbers(connection, "SELECT id FROM push WHERE NOT settled")
}

fn numbers(connection: &Connection, question: &str) -> rusqlite::Result<Vec<u64>> {
    let mut statement = connection.prepare_cached(question)?;
    statement.query_map([], |row| row.get(0).map(as_number))?.collect()
}

/// Removes the rows of records that are gone; the records that have no row, from the floor on.
fn remove_rows_of_the_gone(
    connection: &Connection,
    records: Records,
    names: &[u64],
    floor: u64,
) -> rusqlite::Result<Vec<u64>> {
    let table = records.table();
    let mut new = Vec::new();
    let mut gone = Vec::new();
    {
        let mut statement = connection.prepare(&format!("SELECT id FROM {table} ORDER BY id"))?;
        let mut rows = statement.query([])?;
        let mut names = names.iter().copied().peekable();
        while let Some(row) = rows.next()? {
            let id = as_number(row.get(0)?);
            while let Some(name) = names.next_if(|name| *name < id) {
                new.extend(Some(name).filter(|name| *name >= floor));
            }
            if names.next_if_eq(&id).is_none() {
                gone.push(id);
            }
        }
        new.extend(names.filter(|name| *name >= floor));
    }
    let mut delete = connection.prepare(&format!("DELETE FROM {table} WHERE id = ?1"))?;
    for id in gone {
        delete.execute([as_stored(id)])?;
    }
    Ok(new)
}
