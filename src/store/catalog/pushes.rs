//! Pushes in the catalog: the journal is written through here, and found again.

use std::collections::BTreeSet;
use std::io;

use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::collect::{Collected, Loaded, Sources, collect};
use super::rows::{as_number, as_stored, commit_range, key, put_push};
use super::schema::Meta;
use super::{Catalog, changed_at, keep_stamp};
use crate::domain::build_query::{PushPage, PushQuery};
use crate::domain::journal::{PushId, PushRecord};
use crate::store::pushes;
use crate::sys::atomic::WriteError;

impl Catalog {
    /// Writes a push of the journal.
    ///
    /// # Errors
    /// When it can't be written whole.
    pub fn record_push(&self, push: &PushRecord) -> Result<(), WriteError> {
        let mut slot = self.writer();
        let before = changed_at(&self.home.pushes_dir());
        pushes::record(&self.home, push)?;
        let Some(writer) = slot.as_mut() else { return Ok(()) };
        let after = changed_at(&self.home.pushes_dir());
        let late: Vec<PushId> = writer.late_pushes.iter().copied().collect();
        let is_written = self.change(writer, |connection| {
            put_push(connection, push, self.push_written_at(push.id.0), true)?;
            late.iter().try_for_each(|id| self.refresh_push(connection, id.0))?;
            let last = Meta::LastPush.get(connection)?.unwrap_or_default();
            Meta::LastPush.put(connection, Some(last.max(as_stored(push.id.0))))?;
            keep_stamp(connection, Meta::PushStamp, before, after)
        });
        if is_written {
            writer.late_pushes.clear();
        } else {
            writer.late_pushes.insert(push.id);
        }
        Ok(())
    }

    /// Removes a push from the journal.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_push(&self, id: PushId) -> io::Result<()> {
        let mut slot = self.writer();
        let before = changed_at(&self.home.pushes_dir());
        match pushes::remove(&self.home, id) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Some(writer) = slot.as_mut() {
            let after = changed_at(&self.home.pushes_dir());
            self.change(writer, |connection| {
                forget(connection, id.0)?;
                keep_stamp(connection, Meta::PushStamp, before, after)
            });
        }
        Ok(())
    }

    /// A page of the journal as it is on disk, the newest push first.
    ///
    /// # Errors
    /// When the journal can't be listed.
    pub fn pushes(&self, query: &PushQuery) -> io::Result<PushPage> {
        let always: BTreeSet<u64> = match self.writer().as_ref() {
            Some(writer) => writer.late_pushes.iter().map(|id| id.0).collect(),
            None => BTreeSet::new(),
        };
        let floor = self.push_floor();
        let rows = |before, most| self.ask(|connection| candidates(connection, query, floor, before, most));
        let directory = |before| {
            let ids = pushes::ids(&self.home)?.into_iter().map(|id| id.0);
            let mut ids: Vec<u64> = ids.filter(|id| *id < before).collect();
            ids.reverse();
            Ok(ids)
        };
        let sources = Sources { floor, rows: &rows, directory: &directory, always };
        let before = query.before.map_or(u64::MAX, |id| id.0);
        let page = collect(before, query.page_size(), &sources, |id| match pushes::load(&self.home, PushId(id)) {
            Ok(push) if query.matches(&push) => Loaded::Match(push),
            Ok(_) => Loaded::Other,
            Err(error) if error.missing => Loaded::Gone,
            // What does not parse is left for whoever fixes it.
            Err(_) => Loaded::Other,
        })?;
        let Collected { records, more, gone, .. } = page;
        let gone: Vec<u64> =
            gone.into_iter().filter(|id| *id >= floor && !pushes::is_there(&self.home, PushId(*id))).collect();
        if !gone.is_empty()
            && let Some(writer) = self.writer().as_mut()
        {
            self.change(writer, |connection| gone.iter().try_for_each(|id| forget(connection, *id)));
        }
        Ok(PushPage { records, unreadable: Vec::new(), more: more.map(PushId) })
    }

    /// The pushes that are still to be settled, and those after `kept`, the oldest first. To be asked when
    /// [`Catalog::completed`] is so. What does not parse is left for whoever fixes it.
    pub fn pushes_left(&self, kept: Option<PushId>) -> Vec<PushRecord> {
        let kept_number = kept.map_or(0, |id| as_stored(id.0));
        let ids: Vec<u64> = self
            .ask(|connection| {
                let sql = "SELECT id FROM push WHERE NOT settled UNION SELECT id FROM push WHERE id > ?1 ORDER BY id";
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_map([kept_number], |row| row.get(0).map(as_number))?.collect()
            })
            .unwrap_or_default();
        let records = ids.into_iter().filter_map(|id| pushes::load(&self.home, PushId(id)).ok());
        records.filter(|push| Some(push.id) > kept || !push.settled).collect()
    }

    /// The highest number that a push has or had; 0: there was none.
    ///
    /// # Errors
    /// When the catalog can't be asked, and the journal can't be listed.
    pub fn last_push(&self) -> io::Result<PushId> {
        let last = self.ask(|connection| Meta::LastPush.get(connection)).flatten().map(as_number);
        match last {
            Some(last) => Ok(PushId(last)),
            None => Ok(pushes::ids(&self.home)?.last().copied().unwrap_or(PushId(0))),
        }
    }

    /// The oldest settled pushes from before a time, at most `most`: those before the first that is to be kept.
    pub fn pushes_before(&self, time: DateTime<Utc>, most: usize) -> Vec<PushId> {
        if !self.is_complete() {
            return Vec::new();
        }
        let ids: Option<Vec<(u64, bool)>> = self.ask(|connection| {
            let sql = "SELECT id, settled AND pushed_at < ?1 FROM push ORDER BY id LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let bounds = [time.timestamp_millis(), i64::try_from(most).unwrap_or(i64::MAX)];
            statement.query_map(bounds, |row| Ok((as_number(row.get(0)?), row.get(1)?)))?.collect()
        });
        let ids = ids.unwrap_or_default().into_iter();
        ids.take_while(|(_, is_old)| *is_old).map(|(id, _)| PushId(id)).collect()
    }
}

fn forget(connection: &Connection, id: u64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM push WHERE id = ?1")?.execute([as_stored(id)]).map(drop)
}

/// At most `most` pushes that a query may want, from `floor` on and below `before`, the newest first.
fn candidates(
    connection: &Connection,
    query: &PushQuery,
    floor: u64,
    before: u64,
    most: usize,
) -> rusqlite::Result<Vec<u64>> {
    let (range, of_range) = match (&query.repository, &query.reference, &query.namespace) {
        (Some(path), Some(reference), _) => {
            let key = key(&[&path.namespace, &path.repository, &reference.to_string()]);
            ("INDEXED BY push_ref WHERE ref = ?", Some(key))
        }
        (Some(path), None, _) => {
            ("INDEXED BY push_repository WHERE repository = ?", Some(key(&[&path.namespace, &path.repository])))
        }
        (None, _, Some(namespace)) => ("INDEXED BY push_namespace WHERE namespace = ?", Some(key(&[namespace]))),
        (None, _, None) => ("NOT INDEXED WHERE 1", None),
    };
    let commits = query.commit.as_ref().map(|digits| commit_range(digits).unwrap_or((1, 0)));
    let filter = if commits.is_some() { "AND +commit_start BETWEEN ? AND ?" } else { "" };
    let sql = format!("SELECT id FROM push {range} AND id >= ? AND id < ? {filter} ORDER BY id DESC LIMIT ?");
    let commits = commits.into_iter().flat_map(|(least, most)| [least, most]);
    let bounds = [as_stored(floor), as_stored(before)];
    let values = of_range.into_iter().chain(bounds).chain(commits).chain([i64::try_from(most).unwrap_or(i64::MAX)]);
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params_from_iter(values.map(Value::from)), |row| row.get(0).map(as_number))?.collect()
}
