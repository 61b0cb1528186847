//! Bringing builds and pushes from the pool: pages as lists want them, and records by their numbers.

use super::data::{BuildSummary, Progress};
use super::event::Event;
use super::window::{PageRead, PageWanted, Scope};
use crate::client::Client;
use crate::domain::build::BuildId;
use crate::domain::build_query::{BuildQuery, PushQuery};
use crate::domain::journal::PushId;
use crate::protocol::ErrorKind;

/// So many records are asked for at once by their numbers.
const CHUNK: usize = 500;

/// A page of builds. Where the pool can't be asked, its link tells why.
pub(super) async fn builds(client: &Client, wanted: PageWanted<BuildId>) -> Event {
    let PageWanted { scope, before, limit } = wanted;
    let Ok(page) = client.build_page(BuildQuery { before, limit, ..scope.builds() }).await else {
        return Event::NoBuildPage;
    };
    let ids = page.builds.iter().map(|row| row.id).chain(page.unreadable.iter().map(|(id, _)| *id));
    let newest = ids.max();
    let read = PageRead { scope, before, next: page.next, older: page.older, newest };
    Event::Records { rows: page.builds, unreadable: page.unreadable, page: Some(read) }
}

/// A page of the journal.
pub(super) async fn journal(client: &Client, wanted: PageWanted<PushId>) -> Event {
    let PageWanted { scope, before, limit } = wanted;
    let Ok(page) = client.push_page(PushQuery { before, limit, ..scope.pushes() }).await else {
        return Event::NoPushPage;
    };
    // Their numbers begin with one: there are no more.
    let older = page.more.map_or(0, |next| usize::try_from(next.0.saturating_sub(1)).unwrap_or(usize::MAX));
    let newest = page.records.iter().map(|push| push.id).max();
    let read = PageRead { scope, before, next: page.more, older, newest };
    Event::Pushes { records: page.records, page: Some(read) }
}

/// Brings the records of builds again.
pub(super) async fn records(client: &Client, ids: &[BuildId]) -> Event {
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    for ids in ids.chunks(CHUNK) {
        match client.builds(ids.to_vec()).await {
            Ok(builds) => rows.extend(builds.iter().map(|detail| BuildSummary::from(&detail.build))),
            Err(error) if error.kind == ErrorKind::NotFound => return Event::BuildGone(ids[0]),
            Err(error) => unreadable.extend(ids.iter().map(|id| (*id, error.reason.clone()))),
        }
    }
    Event::Records { rows, unreadable, page: None }
}

/// Brings the last builds of namespaces, repositories or rules. One that can't be brought is as though there were none.
pub(super) async fn last_builds(client: &Client, scopes: Vec<Scope>) -> Event {
    let mut last = Vec::new();
    for scope in scopes {
        let page = client.build_page(BuildQuery { limit: 1, ..scope.builds() }).await;
        last.push((scope, page.ok().and_then(|page| page.builds.into_iter().next())));
    }
    Event::LastBuilds(last)
}

/// Brings pushes of the journal. One that is not there any more, or can't be read, is left out: the pool's log tells why.
pub(super) async fn push_records(client: &Client, ids: &[PushId]) -> Event {
    let mut records = Vec::new();
    for ids in ids.chunks(CHUNK) {
        records.extend(client.pushes(ids.to_vec()).await.unwrap_or_default());
    }
    Event::Pushes { records, page: None }
}

/// How far the steps of builds are; none for a build that has no steps yet.
pub(super) async fn progress(client: &Client, ids: &[BuildId]) -> Event {
    let mut progress = Vec::new();
    for ids in ids.chunks(CHUNK) {
        let steps = client.steps(ids.to_vec()).await.unwrap_or_default();
        progress.extend(steps.into_iter().map(|(id, steps)| (id, Progress::of(&steps.steps))));
    }
    Event::Steps(progress)
}
