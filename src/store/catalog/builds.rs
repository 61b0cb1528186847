//! Builds in the catalog: records are written through here, and found again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::collect::{Collected, Loaded, Sources, collect};
use super::rows::{Outcome, UNREADABLE, as_number, as_stored, commit_range, key, put_build, state_code, trigger_code};
use super::schema::Meta;
use super::{Catalog, Writer, changed_at, keep_stamp};
use crate::domain::build::{Build, BuildId, BuildState};
use crate::domain::build_query::{BuildPage, BuildQuery};
use crate::domain::journal::PushId;
use crate::store::builds::{self, RECORD};
use crate::sys::atomic::WriteError;

/// A build that can't be recorded; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Its directory can't be made.
    #[error(transparent)]
    Directory(#[from] io::Error),
    /// Its record can't be written.
    #[error(transparent)]
    Record(#[from] WriteError),
}

/// So many builds are deleted between two transactions.
const DELETED_AT_ONCE: usize = 100;

impl Catalog {
    /// Records a new build, marked as open.
    ///
    /// # Errors
    /// When that can't be done; nothing half-made stays behind.
    pub fn create(&self, build: &Build) -> Result<(), CreateError> {
        let mut slot = self.writer();
        let before = changed_at(&self.home.builds_dir());
        let directory = builds::create(&self.home, build.id)?;
        if let Err(error) = builds::save(&directory.join(RECORD), build) {
            let _ = fs::remove_dir_all(&directory);
            return Err(error.into());
        }
        if let Some(writer) = slot.as_mut() {
            self.put(writer, build, Some(before));
        }
        Ok(())
    }

    /// Writes the record of a build that is there.
    ///
    /// # Errors
    /// When it can't be written whole.
    pub fn save(&self, build: &Build) -> Result<(), WriteError> {
        builds::save(&self.home.build_dir(build.id.0).join(RECORD), build)?;
        if let Some(writer) = self.writer().as_mut() {
            self.put(writer, build, None);
        }
        Ok(())
    }

    /// Marks a build as final. Its record must say so already.
    ///
    /// # Errors
    /// When the mark can't be removed.
    pub fn close(&self, id: BuildId) -> io::Result<()> {
        builds::close(&self.home.build_dir(id.0))?;
        if let Some(writer) = self.writer().as_mut() {
            let is_written = self.change(writer, |connection| {
                let mut close = connection.prepare_cached("UPDATE build SET open = 0 WHERE id = ?1")?;
                close.execute([as_stored(id.0)]).map(drop)
            });
            if !is_written {
                writer.late_builds.insert(id);
            }
        }
        Ok(())
    }

    /// Deletes builds with all that belongs to them; how many were there.
    ///
    /// # Errors
    /// When a directory can't be removed; those before it are deleted.
    pub fn delete(&self, ids: &[BuildId]) -> io::Result<usize> {
        let mut count = 0;
        for batch in ids.chunks(DELETED_AT_ONCE) {
            let mut slot = self.writer();
            let before = changed_at(&self.home.builds_dir());
            let mut result = Ok(());
            for id in batch {
                match fs::remove_dir_all(self.home.build_dir(id.0)) {
                    Ok(()) => count += 1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            if let Some(writer) = slot.as_mut() {
                let after = changed_at(&self.home.builds_dir());
                self.change(writer, |connection| {
                    for id in batch.iter().filter(|id| !self.home.build_dir(id.0).exists()) {
                        forget(connection, id.0)?;
                    }
                    keep_stamp(connection, Meta::BuildStamp, before, after)
                });
            }
            result?;
        }
        Ok(count)
    }

    /// Writes a build's row, and those that could not be written before; `before`: when the directory had changed last
    /// before the build came.
    fn put(&self, writer: &mut Writer, build: &Build, before: Option<Option<i64>>) {
        let file = self.build_file(build.id.0);
        let after = changed_at(&self.home.builds_dir());
        let late: Vec<BuildId> = writer.late_builds.iter().copied().collect();
        let is_written = self.change(writer, |connection| {
            put_build(connection, build, file, true)?;
            late.iter().try_for_each(|id| self.refresh_build(connection, id.0))?;
            if let Some(before) = before {
                let last = Meta::LastBuild.get(connection)?.unwrap_or_default();
                Meta::LastBuild.put(connection, Some(last.max(as_stored(build.id.0))))?;
                keep_stamp(connection, Meta::BuildStamp, before, after)?;
            }
            Ok(())
        });
        if is_written {
            writer.late_builds.clear();
        } else {
            writer.late_builds.insert(build.id);
        }
    }

    /// A page of builds as they are on disk, the newest first. `open` are the builds that the pool knows better.
    ///
    /// # Errors
    /// When the records can't be listed.
    pub fn builds(&self, query: &BuildQuery, open: &BTreeMap<BuildId, Build>) -> io::Result<BuildPage> {
        let late: BTreeSet<u64> = match self.writer().as_ref() {
            Some(writer) => writer.late_builds.iter().map(|id| id.0).collect(),
            None => BTreeSet::new(),
        };
        let always = open.values().filter(|build| query.matches(build)).map(|build| build.id.0).chain(late).collect();
        let floor = self.build_floor();
        let rows = |before, most| self.ask(|connection| candidates(connection, query, floor, before, most));
        let directory = |before| {
            let mut ids: Vec<u64> = builds::ids(&self.home)?.into_iter().map(|id| id.0).collect();
            ids.retain(|id| *id < before);
            ids.sort_unstable_by(|one, other| other.cmp(one));
            Ok(ids)
        };
        let sources = Sources { floor, rows: &rows, directory: &directory, always };
        let shows_unreadable = query.is_unfiltered();
        let before = query.before.map_or(u64::MAX, |id| id.0);
        let page = collect(before, query.page_size(), &sources, |id| match open.get(&BuildId(id)) {
            Some(build) if query.matches(build) => Loaded::Match(build.clone()),
            Some(_) => Loaded::Other,
            None => match builds::load(&self.home, BuildId(id)) {
                Ok(build) if query.matches(&build) => Loaded::Match(build),
                Ok(_) => Loaded::Other,
                Err(error) if error.missing => Loaded::Gone,
                Err(error) if shows_unreadable => Loaded::Unreadable(error.to_string()),
                Err(_) => Loaded::Other,
            },
        })?;
        let Collected { records, unreadable, more, gone } = page;
        self.forget_gone(&gone, floor);
        let unreadable = unreadable.into_iter().map(|(id, reason)| (BuildId(id), reason)).collect();
        Ok(BuildPage { records, unreadable, more: more.map(BuildId) })
    }

    /// Removes the rows of builds whose records are gone: somebody deleted them by hand.
    fn forget_gone(&self, ids: &[u64], floor: u64) {
        let is_gone = |id: &&u64| **id >= floor && !self.home.build_dir(**id).join(RECORD).exists();
        let gone: Vec<u64> = ids.iter().filter(is_gone).copied().collect();
        if !gone.is_empty()
            && let Some(writer) = self.writer().as_mut()
        {
            self.change(writer, |connection| gone.iter().try_for_each(|id| forget(connection, *id)));
        }
    }

    /// The builds that were started for a push, whatever became of them; `since`: none is older.
    ///
    /// # Errors
    /// When the records can't be listed.
    pub fn builds_of_push(&self, push: PushId, since: DateTime<Utc>) -> io::Result<Vec<Build>> {
        let floor = self.build_floor();
        let mut ids: BTreeSet<BuildId> = self
            .ask(|connection| {
                let mut statement = connection.prepare_cached("SELECT id FROM build WHERE push = ?1")?;
                let ids = statement.query_map([as_stored(push.0)], |row| row.get(0).map(as_number))?;
                ids.map(|id| id.map(BuildId)).collect::<rusqlite::Result<_>>()
            })
            .unwrap_or_default();
        if let Some(writer) = self.writer().as_ref() {
            ids.extend(&writer.late_builds);
        }
        let mut found: Vec<Build> = ids.into_iter().filter_map(|id| builds::load(&self.home, id).ok()).collect();
        if floor > 0 {
            let mut below = builds::ids(&self.home)?;
            below.retain(|id| id.0 < floor);
            below.sort_unstable_by(|one, other| other.cmp(one));
            let loaded = below.into_iter().filter_map(|id| builds::load(&self.home, id).ok());
            found.extend(loaded.take_while(|build| build.queued_at >= since));
        }
        found.retain(|build| build.push == Some(push));
        Ok(found)
    }

    /// The newest build of a repository, or of one of its rules.
    ///
    /// # Errors
    /// When the records can't be listed.
    pub fn last_build(&self, query: BuildQuery, open: &BTreeMap<BuildId, Build>) -> io::Result<Option<Build>> {
        Ok(self.builds(&BuildQuery { limit: 1, ..query }, open)?.records.into_iter().next())
    }

    /// Finished builds that are no longer kept, the oldest first, at most `most`: all but the newest `keep`, and those
    /// that finished before `oldest`. The newest build is never among them. None while records have no rows yet.
    pub fn expired(&self, keep: Option<usize>, oldest: Option<DateTime<Utc>>, most: usize) -> Vec<BuildId> {
        if !self.is_complete() {
            return Vec::new();
        }
        let expired = self.ask(|connection| {
            let finished = "SELECT id FROM build WHERE NOT open AND state != 255 AND finished_at IS NOT NULL";
            let newest: Option<i64> = connection.query_row("SELECT max(id) FROM build", [], |row| row.get(0))?;
            let mut ids: BTreeSet<i64> = BTreeSet::new();
            if let Some(keep) = keep {
                // The numbers up to the first that is too many.
                let first = format!("{finished} ORDER BY id DESC LIMIT 1 OFFSET ?1");
                let sql = format!("{finished} AND id <= ({first}) ORDER BY id LIMIT ?2");
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map([as_size(keep.max(1)), as_size(most)], |row| row.get(0))?;
                ids.extend(rows.collect::<rusqlite::Result<Vec<i64>>>()?);
            }
            if let Some(oldest) = oldest {
                let sql = format!("{finished} AND finished_at < ?1 AND id != ?2 ORDER BY finished_at LIMIT ?3");
                let mut statement = connection.prepare_cached(&sql)?;
                let bounds = [oldest.timestamp_millis(), newest.unwrap_or_default(), as_size(most)];
                let rows = statement.query_map(bounds, |row| row.get(0))?;
                ids.extend(rows.collect::<rusqlite::Result<Vec<i64>>>()?);
            }
            ids.remove(&newest.unwrap_or_default());
            Ok(ids)
        });
        expired.unwrap_or_default().into_iter().take(most).map(|id| BuildId(as_number(id))).collect()
    }

    /// The oldest build that is kept; none while records have no rows yet.
    pub fn oldest_build(&self) -> Option<BuildId> {
        if !self.is_complete() {
            return None;
        }
        let oldest = |connection: &Connection| {
            connection.query_row("SELECT min(id) FROM build WHERE state != 255", [], |row| row.get::<_, Option<i64>>(0))
        };
        self.ask(oldest).flatten().map(|id| BuildId(as_number(id)))
    }
}

fn as_size(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn forget(connection: &Connection, id: u64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM build WHERE id = ?1")?.execute([as_stored(id)]).map(drop)
}

/// At most `most` builds that a query may want, from `floor` on and below `before`, the newest first.
fn candidates(
    connection: &Connection,
    query: &BuildQuery,
    floor: u64,
    before: u64,
    most: usize,
) -> rusqlite::Result<Vec<u64>> {
    let Some((filters, values)) = filters(query) else { return Ok(Vec::new()) };
    let mut found: Vec<i64> = Vec::new();
    for (range, of_range) in ranges(query) {
        let sql = format!("SELECT id FROM build {range} AND id >= ? AND id < ? {filters} ORDER BY id DESC LIMIT ?");
        let bounds = [Value::from(as_stored(floor)), Value::from(as_stored(before))];
        let values = of_range.into_iter().map(Value::from).chain(bounds).chain(values.clone());
        let values = values.chain([Value::from(as_size(most))]);
        let mut statement = connection.prepare_cached(&sql)?;
        let ids = statement.query_map(params_from_iter(values), |row| row.get(0))?;
        found.extend(ids.collect::<rusqlite::Result<Vec<i64>>>()?);
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.truncate(most);
    Ok(found.into_iter().map(as_number).collect())
}

/// The ranges of one index in which all answers lie, each in the order of the numbers.
fn ranges(query: &BuildQuery) -> Vec<(&'static str, Vec<i64>)> {
    let states = || -> Vec<i64> {
        let all = BuildState::ALL.into_iter().filter(|state| query.states.is_empty() || query.states.contains(state));
        all.map(state_code).collect()
    };
    let of_states = |range, key: i64| states().into_iter().map(|state| (range, vec![key, state])).collect();
    let of_outcomes = |range, key: i64| Outcome::ALL.into_iter().map(|outcome| (range, vec![key, outcome])).collect();
    match (&query.repository, &query.rule, &query.reference, &query.namespace, &query.commit) {
        (Some(path), Some(rule), Some(reference), ..) => {
            let key = key(&[&path.namespace, &path.repository, rule, &reference.to_string()]);
            of_outcomes("INDEXED BY build_ref WHERE ref = ? AND outcome = ?", key)
        }
        (Some(path), Some(rule), ..) => {
            let key = key(&[&path.namespace, &path.repository, rule]);
            of_outcomes("INDEXED BY build_rule WHERE rule = ? AND outcome = ?", key)
        }
        (.., Some(digits)) if digits.len() >= 4 => {
            // A filter of its own keeps what does not begin with them out.
            let (least, most) = commit_range(digits).unwrap_or((1, 0));
            vec![("INDEXED BY build_commit WHERE commit_start BETWEEN ? AND ?", vec![least, most])]
        }
        (Some(path), ..) => {
            let key = key(&[&path.namespace, &path.repository]);
            of_states("INDEXED BY build_repository WHERE repository = ? AND state = ?", key)
        }
        (_, _, _, Some(namespace), _) => {
            of_states("INDEXED BY build_namespace WHERE namespace = ? AND state = ?", key(&[namespace]))
        }
        _ if !query.states.is_empty() => {
            let range = "INDEXED BY build_state WHERE state = ?";
            states().into_iter().map(|state| (range, vec![state])).collect()
        }
        _ => vec![("NOT INDEXED WHERE 1", Vec::new())],
    }
}

/// What else the rows of answers have in common; none: there is no answer.
fn filters(query: &BuildQuery) -> Option<(String, Vec<Value>)> {
    let (mut sql, mut values) = (String::new(), Vec::new());
    let mut add = |condition: &str, of_it: Vec<Value>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.extend(of_it);
    };
    if let Some(namespace) = &query.namespace {
        add("+namespace = ?", vec![key(&[namespace]).into()]);
    }
    if let Some(path) = &query.repository {
        add("+repository = ?", vec![key(&[&path.namespace, &path.repository]).into()]);
    }
    // A line of the text each, with others around it.
    let lines = query.rule.iter().chain(query.reference.as_ref().map(|reference| &reference.name));
    for line in lines {
        add("instr(text, ?)", vec![format!("\n{}\n", line.to_lowercase()).into()]);
    }
    if let Some(trigger) = query.trigger {
        add("trigger = ?", vec![trigger_code(trigger).into()]);
    }
    if let Some(digits) = &query.commit {
        let (least, most) = commit_range(digits)?;
        add("+commit_start BETWEEN ? AND ?", vec![least.into(), most.into()]);
    }
    if !query.states.is_empty() {
        let codes: Vec<String> = query.states.iter().map(|state| state_code(*state).to_string()).collect();
        add(&format!("+state IN ({})", codes.join(", ")), Vec::new());
    }
    for word in query.words() {
        let named = BuildState::ALL.into_iter().filter(|state| state.word().contains(&word));
        let codes: Vec<String> = named.map(|state| state_code(state).to_string()).collect();
        add(
            &format!("(instr(text, ?) OR instr('#' || id, ?) OR +state IN ({}))", codes.join(", ")),
            vec![word.clone().into(), word.into()],
        );
    }
    if !query.is_unfiltered() {
        add(&format!("+state != {UNREADABLE}"), Vec::new());
    }
    Some((sql, values))
}
