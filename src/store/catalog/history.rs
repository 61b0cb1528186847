//! What past builds say of a rule, looked up in the catalog instead of read from every record.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::Catalog;
use super::rows::{Outcome, as_number, key};
use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;
use crate::domain::push::Ref;
use crate::domain::rule_history::{Past, RuleHistory};
use crate::store::builds;

/// More failures in a row than these are not counted.
const MOST_FAILURES: i64 = 1_000;
/// So many builds of a rule are looked through for the refs that were built last.
const LOOKED_THROUGH: i64 = 10_000;

/// What rows say of a rule.
struct Rows {
    succeeded: Option<i64>,
    /// The failures since, the newest first, with digests of the rule as it was.
    failed: Vec<(i64, i64)>,
    /// When the schedule started the last build, in milliseconds.
    scheduled: Option<i64>,
    /// The last good and the last ended build of the ref that was asked for.
    of_ref: (Option<i64>, Option<i64>),
}

impl Catalog {
    /// The past of a rule, with the past of one of its refs. To be asked when [`Catalog::completed`] is so: before, older
    /// builds are not known.
    pub fn history(&self, path: &RepositoryPath, rule: &str, reference: Option<&Ref>) -> RuleHistory {
        let of_rule = key(&[&path.namespace, &path.repository, rule]);
        let of_ref = reference.map(|reference| key(&[&path.namespace, &path.repository, rule, &reference.to_string()]));
        let Some(rows) = self.ask(|connection| rows(connection, of_rule, of_ref)) else {
            return RuleHistory::default();
        };
        let as_id = |id: i64| BuildId(as_number(id));
        // The newest failure that is still on disk says what the rule was.
        let failed_as = rows.failed.iter().find_map(|(id, digest)| {
            let build = builds::load(&self.home, as_id(*id)).ok()?;
            Some((build.rule, *digest))
        });
        let failed: BTreeSet<BuildId> = match &failed_as {
            Some((_, digest)) => {
                let same = rows.failed.iter().skip_while(|(_, other)| other != digest);
                same.take_while(|(_, other)| other == digest).map(|(id, _)| as_id(*id)).collect()
            }
            None => BTreeSet::new(),
        };
        let good = rows.of_ref.0.and_then(|id| {
            let build = builds::load(&self.home, as_id(id)).ok()?;
            Some((build.id, build.commit))
        });
        let past = Past { good, ended: rows.of_ref.1.map(as_id) };
        RuleHistory {
            failed_as: failed_as.map(|(rule, _)| rule),
            failed,
            succeeded: rows.succeeded.map(as_id),
            refs: reference
                .filter(|_| past.ended.is_some())
                .map(|reference| (reference.clone(), past))
                .into_iter()
                .collect(),
            scheduled: rows.scheduled.and_then(DateTime::from_timestamp_millis),
        }
    }

    /// The refs of a rule that were built last, at most `most`, the last built first.
    pub fn refs_built(&self, path: &RepositoryPath, rule: &str, most: usize) -> Vec<(Ref, Past)> {
        let of_rule = key(&[&path.namespace, &path.repository, rule]);
        // Refs by their keys: the first that is met of each is the last build of it.
        let newest: Vec<i64> = self
            .ask(|connection| {
                let mut ended: Vec<(i64, i64)> = Vec::new();
                for outcome in [Outcome::GOOD, Outcome::BAD] {
                    let mut statement = connection.prepare_cached(
                        "SELECT id, ref FROM build INDEXED BY build_rule WHERE rule = ?1 AND outcome = ?2 \
                         ORDER BY id DESC LIMIT ?3",
                    )?;
                    let rows = statement
                        .query_map(params![of_rule, outcome, LOOKED_THROUGH], |row| Ok((row.get(0)?, row.get(1)?)))?;
                    ended.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
                }
                ended.sort_unstable_by(|one, other| other.cmp(one));
                let mut seen = BTreeSet::new();
                Ok(ended.into_iter().filter(|(_, of_ref)| seen.insert(*of_ref)).take(most).map(|(id, _)| id).collect())
            })
            .unwrap_or_default();
        let mut refs = Vec::new();
        for id in newest {
            let Ok(build) = builds::load(&self.home, BuildId(as_number(id))) else { continue };
            let past = self.history(path, rule, Some(&build.reference)).past(&build.reference);
            refs.push((build.reference, past));
        }
        refs
    }

    /// The rules among these that failed last, with their pasts.
    pub fn failing<'a>(
        &self,
        rules: impl Iterator<Item = (&'a RepositoryPath, &'a str)>,
    ) -> BTreeMap<(RepositoryPath, String), RuleHistory> {
        let fails = |path: &RepositoryPath, rule: &str| {
            let of_rule = key(&[&path.namespace, &path.repository, rule]);
            self.ask(|connection| {
                Ok(last(connection, "rule", of_rule, Outcome::BAD)? > last(connection, "rule", of_rule, Outcome::GOOD)?)
            })
        };
        rules
            .filter(|(path, rule)| fails(path, rule).unwrap_or(false))
            .map(|(path, rule)| ((path.clone(), rule.to_owned()), self.history(path, rule, None)))
            .collect()
    }
}

fn rows(connection: &Connection, of_rule: i64, of_ref: Option<i64>) -> rusqlite::Result<Rows> {
    let succeeded = last(connection, "rule", of_rule, Outcome::GOOD)?;
    let mut statement = connection.prepare_cached(
        "SELECT id, rule_digest FROM build INDEXED BY build_rule \
         WHERE rule = ?1 AND outcome = ?2 AND id > ?3 ORDER BY id DESC LIMIT ?4",
    )?;
    let since = succeeded.unwrap_or_default();
    let failed = statement
        .query_map(params![of_rule, Outcome::BAD, since, MOST_FAILURES], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let scheduled = connection
        .prepare_cached("SELECT max(queued_at) FROM build INDEXED BY build_schedule WHERE rule = ?1 AND trigger = 4")?
        .query_row([of_rule], |row| row.get(0))?;
    let of_ref = match of_ref {
        Some(of_ref) => {
            let good = last(connection, "ref", of_ref, Outcome::GOOD)?;
            (good, good.max(last(connection, "ref", of_ref, Outcome::BAD)?))
        }
        None => (None, None),
    };
    Ok(Rows { succeeded, failed, scheduled, of_ref })
}

/// The newest build of a rule or ref with an outcome.
fn last(connection: &Connection, column: &str, key: i64, outcome: i64) -> rusqlite::Result<Option<i64>> {
    let sql = format!(
        "SELECT id FROM build INDEXED BY build_{column} WHERE {column} = ?1 AND outcome = ?2 ORDER BY id DESC LIMIT 1"
    );
    connection.prepare_cached(&sql)?.query_row([key, outcome], |row| row.get(0)).optional()
}
