//! Collecting a page: candidates of the catalog first, then, where the catalog has no rows yet, the directory.

use std::collections::BTreeSet;
use std::io;

/// So many records are read for one page where there are no rows: a page must come soon, were it empty.
const MOST_READ: usize = 2_000;

/// What became of a candidate.
pub(super) enum Loaded<T> {
    /// It belongs to the page.
    Match(T),
    /// It does not match the query.
    Other,
    /// Its record can't be read, for this reason.
    Unreadable(String),
    /// It was deleted.
    Gone,
}

/// What a page is made of, the newest first.
pub(super) struct Collected<T> {
    pub records: Vec<T>,
    pub unreadable: Vec<(u64, String)>,
    pub more: Option<u64>,
    /// Candidates that are not there any more.
    pub gone: Vec<u64>,
}

/// Where the candidates of a page come from.
pub(super) struct Sources<'a> {
    /// The numbers from this one on are asked of `rows`.
    pub floor: u64,
    /// At most so many candidates below a number and from the floor on, the newest first; none: the catalog fails.
    pub rows: &'a dyn Fn(u64, usize) -> Option<Vec<u64>>,
    /// All numbers below one that the directory has, the newest first.
    pub directory: &'a dyn Fn(u64) -> io::Result<Vec<u64>>,
    /// Candidates whatever their rows say.
    pub always: BTreeSet<u64>,
}

/// Collects at most `limit` records below `before`.
pub(super) fn collect<T>(
    before: u64,
    limit: usize,
    sources: &Sources<'_>,
    mut load: impl FnMut(u64) -> Loaded<T>,
) -> io::Result<Collected<T>> {
    let mut page = Page { found: Vec::new(), gone: Vec::new(), limit };
    let mut cursor = before;
    while cursor > sources.floor {
        let wanted = page.missing();
        let Some(rows) = (sources.rows)(cursor, wanted) else { break };
        let lowest = if rows.len() < wanted { sources.floor } else { rows.last().copied().unwrap_or_default() };
        let mut candidates: BTreeSet<u64> = sources.always.range(lowest..cursor).copied().collect();
        candidates.extend(rows);
        for id in candidates.into_iter().rev() {
            if page.take(id, &mut load) {
                return Ok(page.end(true));
            }
        }
        cursor = lowest;
    }
    if cursor == 0 {
        return Ok(page.end(false));
    }
    let mut last_read = None;
    for (index, id) in (sources.directory)(cursor)?.into_iter().enumerate() {
        if index == MOST_READ {
            let mut collected = page.end(false);
            collected.more = last_read;
            return Ok(collected);
        }
        if page.take(id, &mut load) {
            return Ok(page.end(true));
        }
        last_read = Some(id);
    }
    Ok(page.end(false))
}

struct Page<T> {
    found: Vec<(u64, Result<T, String>)>,
    gone: Vec<u64>,
    limit: usize,
}

impl<T> Page<T> {
    /// One more than the page has tells that there is a next one.
    fn missing(&self) -> usize {
        self.limit + 1 - self.found.len()
    }

    /// Takes a candidate; whether the page has one more than its limit.
    fn take(&mut self, id: u64, load: &mut impl FnMut(u64) -> Loaded<T>) -> bool {
        match load(id) {
            Loaded::Match(record) => self.found.push((id, Ok(record))),
            Loaded::Unreadable(reason) => self.found.push((id, Err(reason))),
            Loaded::Gone => self.gone.push(id),
            Loaded::Other => {}
        }
        self.missing() == 0
    }

    fn end(mut self, has_next: bool) -> Collected<T> {
        if has_next {
            self.found.pop();
        }
        let more = self.found.last().map(|(id, _)| *id).filter(|_| has_next);
        let (mut records, mut unreadable) = (Vec::new(), Vec::new());
        for (id, record) in self.found {
            match record {
                Ok(record) => records.push(record),
                Err(reason) => unreadable.push((id, reason)),
            }
        }
        Collected { records, unreadable, more, gone: self.gone }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Some records have rows and some are below the floor; rows lie in both directions.
        #[test]
        fn pages_hold_every_match_once_whatever_the_rows_say(
            there in prop::collection::btree_set(1..200u64, 0..80),
            matching in prop::collection::btree_set(1..200u64, 0..80),
            said in prop::collection::btree_set(1..200u64, 0..80),
            floor in 0..220u64,
            limit in 1..10usize,
        ) {
            // A row may be stale, but a record that matches has one, or is open.
            let rows = |before: u64, most: usize| {
                let candidates = matching.iter().chain(&said).copied().filter(|id| (floor..before).contains(id));
                let candidates: BTreeSet<u64> = candidates.collect();
                Some(candidates.into_iter().rev().take(most).collect())
            };
            let directory = |before: u64| Ok(there.range(..before).rev().copied().collect());
            let sources = Sources { floor, rows: &rows, directory: &directory, always: BTreeSet::new() };
            let load = |id: u64| match (there.contains(&id), matching.contains(&id)) {
                (false, _) => Loaded::Gone,
                (true, true) => Loaded::Match(id),
                (true, false) => Loaded::Other,
            };
            let (mut all, mut before, mut pages) = (Vec::new(), u64::MAX, 0);
            loop {
                let page = collect(before, limit, &sources, load).unwrap();
                prop_assert!(page.records.len() <= limit && (page.more.is_none() || page.records.len() == limit));
                all.extend(page.records);
                pages += 1;
                match page.more {
                    Some(more) => before = more,
                    None => break,
                }
            }
            let expected: Vec<u64> = there.iter().rev().filter(|id| matching.contains(id)).copied().collect();
            prop_assert_eq!(pages, expected.len().div_ceil(limit).max(1));
            prop_assert_eq!(all, expected);
        }
    }
}
