//! What was seen of the sources: kept on disk, and compared with what they and their platforms say now. What moved is a push.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::settling;
use crate::domain::commit_message::subject;
use crate::domain::journal::{Moved, Origin, PushId, PushRecord, caught_up, follows, moved};
use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};
use crate::domain::repository::Source;
use crate::pool::state::Pool;
use crate::source::refs::Refs;
use crate::source::webhook::Pushed;
use crate::store::Home;
use crate::store::pushes::{self, Seen, Watched};

/// For so long after a webhook, a listing that shows what was before it is taken for a copy that lags behind.
const LAG: Duration = Duration::from_secs(60);

/// What was seen of the sources, and whether it is on disk.
pub(super) struct Memory {
    home: Home,
    pub watched: Watched,
    /// Something changed that is no push: it may wait for more of its kind.
    pub unkept_since: Option<Instant>,
    next_id: u64,
}

/// What a webhook tells of a repository's source.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// What was pushed.
    pub pushed: Vec<Pushed>,
    /// The signature covers it: its word is enough where it follows on what was seen.
    pub signed: bool,
    /// When it came.
    pub at: DateTime<Utc>,
}

/// What webhooks told of a source lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Lately {
    /// Where the refs were before, and when that was told.
    before: Vec<(Ref, Option<CommitId>, Instant)>,
    /// When refs were pushed whose commits the source is asked for.
    pushed_at: BTreeMap<Ref, DateTime<Utc>>,
}

/// A push that was found.
struct Found {
    moved: Moved,
    at: DateTime<Utc>,
    origin: Origin,
    subject: Option<String>,
}

impl Lately {
    /// Nothing was told that a listing is to be compared with.
    pub(super) fn is_quiet(&self) -> bool {
        self.before.is_empty() && self.pushed_at.is_empty()
    }
}

impl Memory {
    /// What an earlier pool left.
    pub(super) fn new(home: Home, watched: Watched, ids: &[PushId]) -> Memory {
        // Those of the journal may all be gone.
        let last = ids.last().copied().max(watched.last_push).map_or(0, |id| id.0);
        Memory { home, watched, unkept_since: None, next_id: last + 1 }
    }

    /// Something changed that is no push.
    pub(super) fn changed(&mut self) {
        self.unkept_since.get_or_insert_with(Instant::now);
    }

    /// Writes what was seen.
    pub(super) async fn keep(&mut self) {
        let (home, watched) = (self.home.clone(), self.watched.clone());
        let kept = tokio::task::spawn_blocking(move || pushes::save_watched(&home, &watched)).await;
        match kept {
            Ok(Ok(())) => self.unkept_since = None,
            Ok(Err(error)) => {
                // A full disk, most likely: it is tried again.
                self.unkept_since = Some(Instant::now());
                tracing::error!("what was seen of the sources can't be kept: {error}");
            }
            Err(error) => tracing::error!("an internal task failed: {error}"),
        }
    }

    /// Takes the refs of a source over: what moved is a push. False where that could not be written down.
    pub(super) async fn take(
        &mut self,
        pool: &Arc<Pool>,
        path: &RepositoryPath,
        source: &Source,
        refs: &Refs,
        lately: &mut Lately,
    ) -> bool {
        lately.before.retain(|(_, _, since)| since.elapsed() < LAG);
        let mut before: BTreeMap<Ref, Vec<Option<CommitId>>> = BTreeMap::new();
        for (reference, commit, _) in &lately.before {
            before.entry(reference.clone()).or_default().push(commit.clone());
        }
        let listed =
            refs.refs.iter().filter_map(|found| Some((found.name.parse().ok()?, found.commit.parse().ok()?))).collect();
        let seen = self.watched.refs(path, &source.url);
        let now = caught_up(listed, seen, &before);
        let told = std::mem::take(&mut lately.pushed_at);
        if seen == Some(&now) {
            return true;
        }
        let found = moved(seen, &now);
        let at = Utc::now();
        let found = found.into_iter().map(|moved| match told.get(&moved.reference) {
            Some(at) => Found { moved, at: *at, origin: Origin::Webhook, subject: None },
            None => Found { moved, at, origin: Origin::Poll, subject: None },
        });
        self.record(pool, path, source, now, found.collect()).await
    }

    /// Takes a webhook's word over where that is enough; whether the source must be asked.
    pub(super) async fn take_told(
        &mut self,
        pool: &Arc<Pool>,
        path: &RepositoryPath,
        source: &Source,
        told: Told,
        lately: &mut Lately,
    ) -> bool {
        let mut ask = false;
        for pushed in told.pushed {
            let at = pushed.at.map_or(told.at, |at| at.min(told.at));
            let seen = self.watched.refs(path, &source.url);
            if seen.is_some_and(|seen| seen.get(&pushed.reference) == Some(&pushed.commit)) {
                continue;
            }
            let enough = told.signed && follows(seen, &pushed.reference, pushed.before.as_ref());
            let Some(seen) = seen.filter(|_| enough) else {
                lately.pushed_at.insert(pushed.reference, at);
                ask = true;
                continue;
            };
            let mut now = seen.clone();
            now.insert(pushed.reference.clone(), pushed.commit.clone());
            lately.before.push((pushed.reference.clone(), pushed.before.clone(), Instant::now()));
            let moved = Moved { reference: pushed.reference, before: pushed.before, commit: pushed.commit };
            // Where it can't be written down, it is seen again when the source is asked.
            let subject = pushed.message.as_deref().map(subject).map(str::to_owned);
            let found = vec![Found { moved, at, origin: Origin::Webhook, subject }];
            ask |= !self.record(pool, path, source, now, found).await;
        }
        ask
    }

    /// Writes pushes into the journal and what was seen to disk, then settles them; whether they are in the journal.
    async fn record(
        &mut self,
        pool: &Arc<Pool>,
        path: &RepositoryPath,
        source: &Source,
        now: BTreeMap<Ref, CommitId>,
        found: Vec<Found>,
    ) -> bool {
        let mut written: Vec<PushRecord> = Vec::with_capacity(found.len());
        for Found { moved, at: pushed_at, origin, subject } in found {
            let push = PushRecord {
                id: PushId(self.next_id),
                repository: path.clone(),
                reference: moved.reference,
                commit: moved.commit,
                before: moved.before,
                pushed_at,
                origin,
                subject,
                answers: Vec::new(),
                settled: false,
            };
            self.next_id += 1;
            if !settling::write_down(pool, &push).await {
                // All of them are seen again when the source is asked next.
                for push in &written {
                    let _ = pushes::remove(&self.home, push.id);
                }
                return false;
            }
            written.push(push);
        }
        self.watched.last_push = written.last().map(|push| push.id).max(self.watched.last_push);
        self.watched.repositories.insert(path.to_string(), Seen { source: source.url.clone(), refs: now });
        if written.is_empty() {
            self.changed();
            return true;
        }
        // Before anything is built: a pool that is killed now must not see the same pushes again.
        self.keep().await;
        for push in written {
            tokio::spawn(settling::settle(pool.clone(), push));
        }
        true
    }

    /// Settles what an earlier pool wrote into the journal and did not come to.
    pub(super) async fn settle_what_was_left(&mut self, pool: &Arc<Pool>) {
        let home = pool.home.clone();
        let left = match tokio::task::spawn_blocking(move || pushes::unsettled(&home)).await {
            Ok(Ok(left)) => left,
            Ok(Err(error)) => return tracing::error!("what is left to be settled can't be told: {error}"),
            Err(error) => return tracing::error!("an internal task failed: {error}"),
        };
        for push in &left {
            // Were the refs not kept as seen, the same push would be seen again; one that moved on since is left where it is.
            if let Some(seen) = self.watched.repositories.get_mut(&push.repository.to_string())
                && seen.refs.get(&push.reference) == push.before.as_ref()
            {
                seen.refs.insert(push.reference.clone(), push.commit.clone());
            }
        }
        if !left.is_empty() {
            self.keep().await;
        }
        for push in left {
            tokio::spawn(settling::settle(pool.clone(), PushRecord { answers: Vec::new(), ..push }));
        }
    }
}
