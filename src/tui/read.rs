//! Bringing builds and pushes from the pool: the newest first, the others in pages.

use super::data::{BuildSummary, Progress};
use super::event::Event;
use crate::client::Client;
use crate::domain::build::BuildId;
use crate::domain::build_query::{BuildQuery, PushQuery};
use crate::domain::journal::{PushId, PushRecord};
use crate::protocol::Error;

/// So many of the newest builds are brought before the first frame, and of the pushes before all others: as many as a
/// screen holds.
const FIRST: usize = 50;
/// The others are brought and shown so many at a time.
const CHUNK: usize = 500;

/// A page of builds, and the place where the next one begins.
pub(super) async fn builds(client: &Client, before: Option<BuildId>) -> Result<(Event, Option<BuildId>), Error> {
    let limit = if before.is_none() { FIRST } else { CHUNK };
    let page = client.build_page(BuildQuery { before, limit, ..BuildQuery::default() }).await?;
    let event = Event::Records { rows: page.builds, unreadable: page.unreadable, unread: Some(page.older) };
    Ok((event, page.next))
}

/// Brings all builds that are older than one, and all pushes, for lists that fill while somebody looks. The pool's news
/// tell of what can't be brought now.
pub(super) async fn rest(client: &Client, mut before: Option<BuildId>, tell: impl Fn(Event) -> bool) {
    journal(client, &tell).await;
    while before.is_some() {
        let Ok((event, next)) = builds(client, before).await else { return };
        if !tell(event) {
            return;
        }
        before = next;
    }
}

/// Brings the records of builds again.
pub(super) async fn records(client: &Client, ids: &[BuildId]) -> Event {
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    for ids in ids.chunks(CHUNK) {
        match client.builds(ids.to_vec()).await {
            Ok(builds) => rows.extend(builds.iter().map(|detail| BuildSummary::from(&detail.build))),
            Err(error) => unreadable.extend(ids.iter().map(|id| (*id, error.reason.clone()))),
        }
    }
    Event::Records { rows, unreadable, unread: None }
}

/// Brings pushes of the journal. One that is not there any more, or can't be read, is left out: the pool's log tells why.
pub(super) async fn push_records(client: &Client, ids: &[PushId]) -> Event {
    Event::Pushes { records: pushes(client, ids).await, unread: None }
}

async fn pushes(client: &Client, ids: &[PushId]) -> Vec<PushRecord> {
    let mut records = Vec::new();
    for ids in ids.chunks(CHUNK) {
        records.extend(client.pushes(ids.to_vec()).await.unwrap_or_default());
    }
    records
}

/// Brings the journal in pages, the newest first: the first is small, so that it comes soon.
async fn journal(client: &Client, tell: impl Fn(Event) -> bool) {
    let mut query = PushQuery { limit: FIRST, ..PushQuery::default() };
    while let Ok(page) = client.push_page(query.clone()).await {
        // Their numbers begin with one: there are no more.
        let older = page.more.map_or(0, |next| usize::try_from(next.0.saturating_sub(1)).unwrap_or(usize::MAX));
        let is_heard = tell(Event::Pushes { records: page.records, unread: Some(older) });
        query = PushQuery { before: page.more, limit: CHUNK, ..query };
        if !is_heard || query.before.is_none() {
            return;
        }
    }
}

/// Brings the pushes after one, and those that were not settled; where none is known yet, the newest.
pub(super) async fn catch_up(client: &Client, after: Option<PushId>, unsettled: &[PushId]) -> Event {
    let mut records = pushes(client, unsettled).await;
    let limit = if after.is_none() { FIRST } else { CHUNK };
    let mut query = PushQuery { limit, ..PushQuery::default() };
    while let Ok(page) = client.push_page(query.clone()).await {
        let known = page.records.iter().any(|push| Some(push.id) <= after);
        records.extend(page.records.into_iter().filter(|push| Some(push.id) > after));
        query.before = page.more.filter(|_| after.is_some() && !known);
        if query.before.is_none() {
            break;
        }
    }
    Event::Pushes { records, unread: None }
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
