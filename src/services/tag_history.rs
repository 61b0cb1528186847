//! What a tag named when, from the records of builds and of changes that people asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use chrono::{DateTime, Utc};

use crate::domain::build::{Build, BuildId, BuildState};
use crate::domain::build_query::BuildQuery;
use crate::domain::name::RepositoryPath;
use crate::domain::tag_history::{HistoryCursor, HistoryQuery, MOST_EVENTS, TagEvent, TagHistory, page, tag_of_rule};
use crate::store::{Catalog, Home, tag_changes};

/// Builds that are read at a time.
const PAGE: usize = 100;
/// Pages of builds that are read for one page of a history.
const MOST_PAGES: usize = 20;

/// Where a history is read: the records, and the builds that the pool knows better.
pub struct Records<'a> {
    /// The home.
    pub home: &'a Home,
    /// Its builds.
    pub catalog: &'a Catalog,
    /// The builds that are not final.
    pub open: &'a BTreeMap<BuildId, Build>,
}

impl Records<'_> {
    /// The part of a tag's history that a query asks for.
    ///
    /// # Errors
    /// When the records can't be listed.
    pub fn history(&self, query: &HistoryQuery) -> io::Result<TagHistory> {
        let limit = query.limit.clamp(1, MOST_EVENTS);
        match query.at {
            None => self.page(&query.path, &query.tag, query.before.unwrap_or_default(), limit),
            Some(at) => self.at(&query.path, &query.tag, at),
        }
    }

    /// The event since which the tag named what it named at a time; none where that is not known.
    fn at(&self, path: &RepositoryPath, tag: &str, at: DateTime<Utc>) -> io::Result<TagHistory> {
        let mut before = HistoryCursor::default();
        loop {
            let page = self.page(path, tag, before, MOST_EVENTS)?;
            if let Some(event) = page.events.into_iter().find(|event| event.at <= at) {
                return Ok(TagHistory { events: vec![event], next: None });
            }
            match page.next {
                Some(next) => before = next,
                None => return Ok(TagHistory::default()),
            }
        }
    }

    fn page(&self, path: &RepositoryPath, tag: &str, before: HistoryCursor, limit: usize) -> io::Result<TagHistory> {
        let (builds, older) = self.builds(path, tag, before.build, limit)?;
        let mut changes = Vec::new();
        let ids = tag_changes::ids(self.home, path, tag)?;
        for id in ids.into_iter().filter(|id| before.change.is_none_or(|before| *id < before)) {
            // One more than the page holds tells that there is a next one.
            if changes.len() > limit {
                break;
            }
            // One that can't be read is left out: what else is known of the tag is told.
            match tag_changes::load(self.home, path, tag, id) {
                Ok(change) => changes.push(change),
                Err(error) => tracing::warn!("a change of {path}:{tag} is left out: {error}"),
            }
        }
        let mut history = page(&builds, &changes, before, limit, older.is_none());
        if let (Some(next), Some(older)) = (&mut history.next, older)
            && next.build == builds.last().map(|(id, _)| *id).or(before.build)
        {
            // Nothing of the tag is between the two.
            next.build = Some(older);
        }
        Ok(history)
    }

    /// Builds that published a tag, the newest first, at least one more than `limit` where there are as many; and the
    /// number below which older ones are not read yet.
    #[expect(clippy::type_complexity, reason = "two lists of one page")]
    fn builds(
        &self,
        path: &RepositoryPath,
        tag: &str,
        before: Option<BuildId>,
        limit: usize,
    ) -> io::Result<(Vec<(BuildId, TagEvent)>, Option<BuildId>)> {
        let mut query = BuildQuery {
            repository: Some(path.clone()),
            states: BTreeSet::from([BuildState::Succeeded]),
            text: tag_of_rule(tag).to_owned(),
            before,
            limit: PAGE,
            ..BuildQuery::default()
        };
        let mut found = Vec::new();
        for _ in 0..MOST_PAGES {
            let page = self.catalog.builds(&query, self.open)?;
            let events = page.records.iter().filter_map(|build| Some((build.id, TagEvent::of_build(build, tag)?)));
            found.extend(events);
            query.before = page.more;
            if found.len() > limit || page.more.is_none() {
                break;
            }
        }
        Ok((found, query.before))
    }
}
