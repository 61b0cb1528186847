//! What was seen of the sources: kept on disk, and compared with what they and their platforms say now. What moved is a
//! push.

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
use crate::source::webhook::{Pushed, Side};
use crate::store::Home;
use crate::store::pushes::{self, Seen, Watched};

/// For so long after a webhook, a listing that shows what was before it is taken for a copy that lags behind.
const LAG: Duration = crate::domain::journal::SERVER_LAG;
/// How much of what webhooks told is kept for the next listing of a source.
const MOST_TOLD: usize = 10_000;

/// What was seen of the sources, and whether it is on disk.
pub(super) struct Memory {
    home: Home,
    pub watched: Watched,
    /// Something changed that is no push: it may wait for more of its kind.
    pub unkept_since: Option<Instant>,
    next_id: u64,
}

/// The pushes that a webhook announces for a repository's source.
#[derive(Debug, Clone)]
pub(super) struct Announcement {
    /// The refs.
    pub pushed: Vec<Pushed>,
    /// The signature covers it: its word is enough where it follows on what was seen.
    pub signed: bool,
    /// When it came.
    pub at: DateTime<Utc>,
    /// The platform's identifier of the source.
    pub remote_id: Option<String>,
}

/// What webhooks told of a source lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Lately {
    /// Where the refs were before, and when that was told.
    before: Vec<(Ref, Option<CommitId>, Instant)>,
    /// Refs that were pushed and whose commits the source is asked for.
    hints: BTreeMap<Ref, Hint>,
}

/// A push that only the source can confirm.
#[derive(Debug, Clone)]
struct Hint {
    pushed_at: DateTime<Utc>,
    told: Instant,
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
        self.before.is_empty() && self.hints.is_empty()
    }

    fn hint(&mut self, reference: Ref, pushed_at: DateTime<Utc>) {
        if self.hints.len() < MOST_TOLD {
            self.hints.insert(reference, Hint { pushed_at, told: Instant::now() });
        }
    }

    fn was(&mut self, reference: Ref, before: Option<CommitId>) {
        if self.before.len() >= MOST_TOLD {
            self.before.remove(0);
        }
        self.before.push((reference, before, Instant::now()));
    }
}

impl Memory {
    /// What an earlier pool left.
    pub(super) fn new(home: Home, watched: Watched, last: PushId) -> Memory {
        // Those of the journal may all be gone.
        let last = Some(last).max(watched.last_push).map_or(0, |id| id.0);
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

    /// Takes over the refs of a source that were asked for at `began`: what moved is a push. False where that could not
    /// be written down. What webhooks told since then is left for the next listing.
    pub(super) async fn take(
        &mut self,
        pool: &Arc<Pool>,
        path: &RepositoryPath,
        source: &Source,
        refs: &Refs,
        began: Instant,
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
        let hints = lately.hints.clone();
        lately.hints.retain(|_, hint| hint.told >= began);
        let default_branch = refs.head.as_ref().and_then(|head| head.parse().ok());
        if seen == Some(&now) && self.watched.default_branch(path) == default_branch.as_ref() {
            return true;
        }
        let found = moved(seen, &now);
        let at = Utc::now();
        let found = found.into_iter().map(|moved| match hints.get(&moved.reference) {
            Some(hint) => Found { moved, at: hint.pushed_at, origin: Origin::Webhook, subject: None },
            None => Found { moved, at, origin: Origin::Poll, subject: None },
        });
        let seen = Seen { refs: now, default_branch, ..self.seen(path, source) };
        self.record(pool, path, seen, found.collect()).await
    }

    /// Whether a listing has no ref at all, though the one before had some: how many. A server whose disk is away lists
    /// nothing, and all of its refs later: they are kept as seen, or each would be a push then.
    pub(super) fn suspiciously_empty(&self, path: &RepositoryPath, source: &Source, refs: &Refs) -> Option<usize> {
        let seen = self.watched.refs(path, &source.url).map_or(0, BTreeMap::len);
        Some(seen).filter(|seen| *seen > 0 && refs.refs.is_empty())
    }

    /// Takes a webhook's word over where that is enough; whether the source must be asked.
    pub(super) async fn take_announced(
        &mut self,
        pool: &Arc<Pool>,
        path: &RepositoryPath,
        source: &Source,
        announcement: Announcement,
        lately: &mut Lately,
    ) -> bool {
        let Announcement { pushed, signed, at, remote_id } = announcement;
        if let Some(id) = remote_id {
            self.know_remote_id(pool, path, source, id);
        }
        let mut ask = false;
        for pushed in pushed {
            let at = pushed.at.map_or(at, |pushed| pushed.min(at));
            ask |= self.take_one(pool, path, source, pushed, (signed, at), lately).await;
        }
        ask
    }

    async fn take_one(
        &mut self,
        pool: &Arc<Pool>,
        path: &RepositoryPath,
        source: &Source,
        pushed: Pushed,
        (signed, at): (bool, DateTime<Utc>),
        lately: &mut Lately,
    ) -> bool {
        let Pushed { reference, before, after, message, .. } = pushed;
        let Some(seen) = self.watched.refs(path, &source.url) else {
            // It is seen for the first time soon, or another source is.
            lately.hint(reference, at);
            return true;
        };
        let before = match before {
            Side::Commit(commit) => Some(Some(commit)),
            Side::Absent => Some(None),
            Side::Unsaid => None,
        };
        let follows = before.as_ref().is_some_and(|before| follows(Some(seen), &reference, before.as_ref()));
        let enough = signed && follows;
        match after {
            Side::Commit(commit) if seen.get(&reference) == Some(&commit) => false,
            Side::Absent if !seen.contains_key(&reference) => false,
            Side::Commit(commit) if enough => {
                let before = before.flatten();
                let mut now = self.seen(path, source);
                now.refs.insert(reference.clone(), commit.clone());
                lately.was(reference.clone(), before.clone());
                // Where it can't be written down, it is seen again when the source is asked.
                let subject = message.as_deref().map(subject).map(str::to_owned);
                let moved = Moved { reference, before, commit };
                let found = vec![Found { moved, at, origin: Origin::Webhook, subject }];
                !self.record(pool, path, now, found).await
            }
            // Made again with the same commit, it is a push.
            Side::Absent if enough => {
                let mut now = self.seen(path, source);
                now.refs.remove(&reference);
                lately.was(reference, before.flatten());
                !self.record(pool, path, now, Vec::new()).await
            }
            Side::Commit(_) | Side::Unsaid => {
                lately.hint(reference, at);
                true
            }
            Side::Absent => true,
        }
    }

    /// What was seen of a source; nothing where it is new.
    fn seen(&self, path: &RepositoryPath, source: &Source) -> Seen {
        let seen = self.watched.repositories.get(&path.to_string()).filter(|seen| seen.source == source.url);
        seen.cloned().unwrap_or_else(|| Seen { source: source.url.clone(), ..Seen::default() })
    }

    /// Keeps the platform's identifier of a source, by which it is known when it is renamed.
    fn know_remote_id(&mut self, pool: &Pool, path: &RepositoryPath, source: &Source, id: String) {
        let seen = self.watched.repositories.get_mut(&path.to_string()).filter(|seen| seen.source == source.url);
        let Some(seen) = seen.filter(|seen| seen.remote_id.as_ref() != Some(&id)) else { return };
        seen.remote_id = Some(id.clone());
        pool.triggers.know_remote_id(path, source.url.clone(), id);
        self.changed();
    }

    /// Writes pushes into the journal and what was seen to disk, then settles them; whether they are in the journal.
    async fn record(&mut self, pool: &Arc<Pool>, path: &RepositoryPath, seen: Seen, found: Vec<Found>) -> bool {
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
                    let _ = pool.catalog.remove_push(push.id);
                }
                return false;
            }
            written.push(push);
        }
        self.watched.last_push = written.last().map(|push| push.id).max(self.watched.last_push);
        let default_branch = seen.default_branch.clone();
        let is_there = |branch: &str| seen.refs.contains_key(&Ref::branch(branch));
        let missing = missing_branches(pool, path, is_there);
        self.watched.repositories.insert(path.to_string(), seen);
        if written.is_empty() {
            self.changed();
            return true;
        }
        // Before anything is built: a pool that is killed now must not see the same pushes again.
        self.keep().await;
        for push in written {
            let missing = if Some(&push.reference) == default_branch.as_ref() { missing.clone() } else { Vec::new() };
            tokio::spawn(settling::settle(pool.clone(), push, missing));
        }
        true
    }

    /// Takes over what an earlier pool wrote into the journal and did not keep as seen, and settles what it did not
    /// come to.
    pub(super) async fn settle_what_was_left(&mut self, pool: &Arc<Pool>) {
        pool.catalog.completed().await;
        let (catalog, kept) = (pool.catalog.clone(), self.watched.last_push);
        let left = match tokio::task::spawn_blocking(move || catalog.pushes_left(kept)).await {
            Ok(left) => left,
            Err(error) => return tracing::error!("an internal task failed: {error}"),
        };
        self.watched.catch_up(&left);
        if !left.is_empty() {
            self.keep().await;
        }
        for push in left.into_iter().filter(|push| !push.settled) {
            tokio::spawn(settling::settle(pool.clone(), PushRecord { answers: Vec::new(), ..push }, Vec::new()));
        }
    }
}

/// The branches that rules of a repository name and its source does not have.
fn missing_branches(pool: &Pool, path: &RepositoryPath, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let state = pool.state();
    let rules = state.settings.repositories.get(path).map_or(&[][..], |repository| &repository.rules);
    let literal = rules.iter().filter_map(|rule| rule.branch.as_ref()).filter(|pattern| !pattern.is_regex());
    literal.map(|pattern| pattern.text().to_owned()).filter(|branch| !is_there(branch)).collect()
}
