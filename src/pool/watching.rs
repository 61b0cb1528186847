//! Watching sources: each is asked for its refs now and then; what moved is a push, and each rule answers it.
//!
//! One task decides, others ask: a source that hangs or fails delays no other. A push is in the journal before the refs are kept as
//! seen, and every build names its push: a pool that is killed anywhere in between builds neither twice nor not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::task::JoinSet;

use super::settling;
use super::state::Pool;
use crate::access::sources;
use crate::domain::journal::{Origin, PushId, PushRecord, moved};
use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};
use crate::domain::repository::Source;
use crate::protocol::Error;
use crate::source::refs::Refs;
use crate::store::Home;
use crate::store::pushes::{self, Seen, Watched};
use crate::store::settings::Settings;

/// So many sources are asked at once.
const AT_ONCE: usize = 8;
/// Sources that are new are asked within this time, not all at once.
const SPREAD: Duration = Duration::from_secs(2);
/// A source that fails is asked again after this time at the latest.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);
/// What was seen and is no push is kept within this time, together with all of its kind.
const KEEP_WITHIN: Duration = Duration::from_secs(1);
/// A push that was not settled is among the newest: so many settled ones in a row, and there are no more.
const SETTLED_IN_A_ROW: usize = 64;

/// When a source is asked next.
#[derive(Debug, Clone)]
struct Turn {
    source: Source,
    due: Instant,
    /// How often it was asked.
    asked: u32,
    /// How often it failed in a row.
    failures: u32,
    asking: bool,
}

type Asked = (RepositoryPath, Source, Result<Refs, Error>);

/// Watches the sources of all repositories that build by themselves, until the pool ends.
pub(super) async fn watch(pool: Arc<Pool>) {
    let known = pushes::watched(&pool.home)
        .map_err(|error| error.to_string())
        .and_then(|watched| Ok((watched, pushes::ids(&pool.home).map_err(|error| format!("pushes/: {error}"))?)));
    let (watched, ids) = match known {
        Ok(known) => known,
        Err(error) => {
            // To begin anew would take every ref for seen: pushes that came meanwhile would be lost without a word.
            let text = format!("sources are not watched: {error}; mend it, and start the pool again");
            return tell_problem(&pool, "watch.toml", Some(text));
        }
    };
    let mut memory = Memory { home: pool.home.clone(), watched, unkept_since: None };
    let mut next_id = ids.last().map_or(1, |id| id.0 + 1);
    settle_what_was_left(&pool, &ids, &mut memory).await;
    let mut turns: BTreeMap<RepositoryPath, Turn> = BTreeMap::new();
    let mut asking: JoinSet<Asked> = JoinSet::new();
    let mut changes = pool.changes.subscribe();
    let mut known_settings = None;
    let mut settings = Arc::new(Settings::default());
    loop {
        let changed = {
            let state = pool.state();
            let number = Some(state.settings_changes);
            (number != known_settings).then(|| (number, state.settings.clone()))
        };
        if let Some((number, changed)) = changed {
            (known_settings, settings) = (number, Arc::new(changed));
            follow(&pool, &settings, &mut turns, &mut memory);
        }
        let now = Instant::now();
        if memory.unkept_since.is_some_and(|since| since + KEEP_WITHIN <= now) {
            memory.keep().await;
        }
        for (path, turn) in turns.iter_mut().filter(|(_, turn)| !turn.asking && turn.due <= now) {
            if asking.len() >= AT_ONCE {
                break;
            }
            turn.asking = true;
            let (pool, path, source, settings) = (pool.clone(), path.clone(), turn.source.clone(), settings.clone());
            asking.spawn(async move {
                let refs = sources::list_refs(&pool.home, &settings, &source).await;
                (path, source, refs)
            });
        }
        // Those that are due and find no room are begun when one of the others is done.
        let full = asking.len() >= AT_ONCE;
        let due = turns.values().filter(|turn| !turn.asking).map(|turn| turn.due).min().filter(|_| !full);
        let due = due.into_iter().chain(memory.unkept_since.map(|since| since + KEEP_WITHIN)).min();
        let next = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pool.stopped() => {
                if memory.unkept_since.is_some() {
                    memory.keep().await;
                }
                return;
            }
            () = next => {}
            // Most changes are of builds; they are looked at and left.
            _ = changes.changed() => {}
            Some(asked) = asking.join_next() => {
                let (path, source, refs) = match asked {
                    Ok(asked) => asked,
                    // A panic: which source it was is not known, so all are asked again.
                    Err(error) => {
                        tracing::error!("an internal task failed: {error}");
                        turns.values_mut().for_each(|turn| turn.asking = false);
                        continue;
                    }
                };
                let Some(turn) = turns.get_mut(&path).filter(|turn| turn.source == source) else { continue };
                turn.asking = false;
                turn.asked = turn.asked.wrapping_add(1);
                // A tenth more or less, so that those that were asked together are soon asked apart.
                let interval = interval(&settings, &path).mul_f64(0.9 + 0.2 * chance(&path, turn.asked));
                match refs {
                    Ok(refs) => {
                        turn.failures = 0;
                        turn.due = Instant::now() + interval;
                        tell_problem(&pool, &path.to_string(), None);
                        take(&pool, &mut memory, &mut next_id, &path, &source, &refs).await;
                    }
                    Err(error) => {
                        let wait = backoff(interval, turn.failures);
                        turn.failures += 1;
                        turn.due = Instant::now() + wait;
                        let text = format!("{path} is not watched: {}; it is asked again in {} s", error.message, wait.as_secs());
                        tell_problem(&pool, &path.to_string(), Some(text));
                    }
                }
            }
        }
    }
}

/// The wait after so many failures before this one.
fn backoff(interval: Duration, failures: u32) -> Duration {
    interval.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT.max(interval))
}

fn interval(settings: &Settings, path: &RepositoryPath) -> Duration {
    let own = settings.repositories.get(path).and_then(|repository| repository.build.poll);
    own.unwrap_or(settings.config.pool.poll).0.max(Duration::from_secs(1))
}

/// A number from 0 to 1, another one for each repository and each time.
fn chance(path: &RepositoryPath, time: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (path.to_string(), time).hash(&mut hasher);
    (hasher.finish() % 1000) as f64 / 1000.0
}

/// Brings the turns in line with the settings.
fn follow(pool: &Pool, settings: &Settings, turns: &mut BTreeMap<RepositoryPath, Turn>, memory: &mut Memory) {
    let wanted: BTreeMap<&RepositoryPath, &Source> = settings
        .repositories
        .iter()
        .filter(|(_, repository)| repository.build.auto)
        .filter_map(|(path, repository)| Some((path, repository.source.as_ref()?)))
        .collect();
    turns.retain(|path, turn| wanted.get(path) == Some(&&turn.source));
    for (path, source) in &wanted {
        turns.entry((*path).clone()).or_insert_with(|| Turn {
            source: (*source).clone(),
            due: Instant::now() + SPREAD.mul_f64(chance(path, 0)),
            asked: 0,
            failures: 0,
            asking: false,
        });
    }
    // What is not watched is seen for the first time when it is watched again: nobody wants what was pushed meanwhile built.
    let names: BTreeSet<String> = wanted.keys().map(ToString::to_string).collect();
    let before = memory.watched.repositories.len();
    memory.watched.repositories.retain(|name, _| names.contains(name));
    if memory.watched.repositories.len() != before {
        memory.changed();
    }
    pool.state().watch_problems.retain(|name, _| names.contains(name));
}

/// What was seen of the sources, and whether it is on disk.
struct Memory {
    home: Home,
    watched: Watched,
    /// Something changed that is no push: it may wait for more of its kind.
    unkept_since: Option<Instant>,
}

impl Memory {
    fn changed(&mut self) {
        self.unkept_since.get_or_insert_with(Instant::now);
    }

    async fn keep(&mut self) {
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
}

fn tell_problem(pool: &Pool, name: &str, problem: Option<String>) {
    let changed = {
        let mut state = pool.state();
        if let Some(problem) = &problem {
            tracing::warn!("{problem}");
        }
        match problem {
            Some(problem) => state.watch_problems.insert(name.to_owned(), problem).is_none(),
            None => state.watch_problems.remove(name).is_some(),
        }
    };
    if changed {
        pool.tell_watchers();
    }
}

/// Takes the refs of a source over: what moved is a push.
async fn take(
    pool: &Arc<Pool>,
    memory: &mut Memory,
    next_id: &mut u64,
    path: &RepositoryPath,
    source: &Source,
    refs: &Refs,
) {
    let now: BTreeMap<Ref, CommitId> =
        refs.refs.iter().filter_map(|found| Some((found.name.parse().ok()?, found.commit.parse().ok()?))).collect();
    let seen = memory.watched.refs(path, &source.url);
    if seen == Some(&now) {
        return;
    }
    let at = Utc::now();
    let found: Vec<PushRecord> = moved(seen, &now)
        .into_iter()
        .zip(*next_id..)
        .map(|(moved, id)| PushRecord {
            id: PushId(id),
            repository: path.clone(),
            reference: moved.reference,
            commit: moved.commit,
            before: moved.before,
            pushed_at: at,
            origin: Origin::Poll,
            answers: Vec::new(),
            settled: false,
        })
        .collect();
    for (index, push) in found.iter().enumerate() {
        *next_id += 1;
        if !settling::write_down(&pool.home, push).await {
            // All of them are seen again when the source is asked next.
            for written in &found[..index] {
                let _ = pushes::remove(&pool.home, written.id);
            }
            return;
        }
    }
    memory.watched.repositories.insert(path.to_string(), Seen { source: source.url.clone(), refs: now });
    if found.is_empty() {
        memory.changed();
        return;
    }
    // Before anything is built: a pool that is killed now must not see the same pushes again.
    memory.keep().await;
    for push in found {
        tokio::spawn(settling::settle(pool.clone(), push));
    }
}

/// Settles what an earlier pool wrote into the journal and did not come to.
async fn settle_what_was_left(pool: &Arc<Pool>, ids: &[PushId], memory: &mut Memory) {
    let mut settled = 0;
    let mut left = Vec::new();
    for id in ids.iter().rev() {
        match pushes::load(&pool.home, *id) {
            Ok(push) if push.settled => settled += 1,
            Ok(push) => {
                settled = 0;
                left.push(push);
            }
            Err(error) => tracing::warn!("{error}"),
        }
        if settled >= SETTLED_IN_A_ROW {
            break;
        }
    }
    for push in left.iter().rev() {
        // Were the refs not kept as seen, the same push would be seen again.
        if let Some(seen) = memory.watched.repositories.get_mut(&push.repository.to_string()) {
            seen.refs.insert(push.reference.clone(), push.commit.clone());
        }
    }
    if !left.is_empty() {
        memory.keep().await;
    }
    for push in left.into_iter().rev() {
        tokio::spawn(settling::settle(pool.clone(), PushRecord { answers: Vec::new(), ..push }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_fails_is_asked_less_and_less_often_but_always_again() {
        let minute = Duration::from_secs(60);
        assert_eq!(backoff(minute, 0), minute);
        assert_eq!(backoff(minute, 3), minute * 8);
        assert_eq!(backoff(minute, 40), LONGEST_WAIT);
        let hour = Duration::from_secs(3600);
        assert_eq!(backoff(hour, 2), hour, "never more often than it was asked for");
    }

    #[test]
    fn new_sources_are_not_all_asked_at_once() {
        let path = |number: u32| format!("acme/app{number}").parse().unwrap();
        let chances: Vec<f64> = (0..100).map(|number| chance(&path(number), 0)).collect();
        assert!(chances.iter().all(|chance| (0.0..1.0).contains(chance)));
        let early = chances.iter().filter(|chance| **chance < 0.5).count();
        assert!((30..70).contains(&early), "{early}");
        assert_ne!(chance(&path(1), 1), chance(&path(1), 2));
    }
}
