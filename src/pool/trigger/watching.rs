//! Watching sources: each is asked for its refs now and then; what moved is a push, and each rule answers it.
//!
//! One task decides, others ask: a source that hangs or fails delays no other. A push is in the journal before the refs
//! are kept as seen, and every build names its push: a pool that is killed anywhere in between builds neither twice nor
//! not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ref_tracker::{Announcement, Lately, Memory};
use super::unchanged::{Condition, Connectors};
use super::webhook_listener::renamed_problem;
use crate::domain::name::RepositoryPath;
use crate::domain::repository::Source;
use crate::pool::state::Pool;
use crate::protocol::Error;
use crate::source::refs::Refs;
use crate::store::pushes;
use crate::store::settings::Settings;

/// So many sources are asked at once.
const AT_ONCE: usize = 8;
/// So many more of those that failed the last time: they may hang until the time is over, and hold none of the others
/// up.
const FAILING_AT_ONCE: usize = 4;
/// Sources that are new are asked within this time, not all at once.
const SPREAD: Duration = Duration::from_secs(2);
/// A source that fails is asked again after this time at the latest.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);
/// What was seen and is no push is kept within this time, together with all of its kind.
const KEEP_WITHIN: Duration = Duration::from_secs(1);
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
    /// When the source was asked last.
    began: Instant,
    /// A webhook told of something that the listing which is under way may know nothing of.
    outdated: bool,
    /// What webhooks told lately.
    lately: Lately,
    /// What the platform said when the refs were listed last.
    condition: Condition,
}

/// Whose refs were asked for; none where nothing was pushed since; and what is asked with the next time.
type Asked = (RepositoryPath, Source, Result<Option<Refs>, Error>, Condition);

/// Watches the sources of all repositories that build by themselves, until the pool ends.
pub(super) async fn watch(pool: Arc<Pool>, mut told: mpsc::Receiver<(RepositoryPath, Announcement)>) {
    let known = pushes::watched(&pool.home)
        .map_err(|error| error.to_string())
        .and_then(|watched| Ok((watched, pool.catalog.last_push().map_err(|error| format!("pushes/: {error}"))?)));
    let (watched, last_push) = match known {
        Ok(known) => known,
        Err(error) => {
            // To begin anew would take every ref for seen: pushes that came meanwhile would be lost without a word.
            let text = format!("sources are not watched: {error}; fix it, and start the pool again");
            return pool.tell_problem("watch.toml", Some(text));
        }
    };
    for (path, seen) in &watched.repositories {
        if let (Ok(path), Some(id)) = (path.parse(), &seen.remote_id) {
            pool.triggers.know_remote_id(&path, seen.source.clone(), id.clone());
        }
    }
    let mut memory = Memory::new(pool.home.clone(), watched, last_push);
    memory.settle_what_was_left(&pool).await;
    let mut turns: BTreeMap<RepositoryPath, Turn> = BTreeMap::new();
    let mut asking: JoinSet<Asked> = JoinSet::new();
    let connectors: Arc<Connectors> = Arc::default();
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
        let (begin, due) = next_turns(&turns, now);
        for path in begin {
            let Some(turn) = turns.get_mut(&path) else { continue };
            (turn.asking, turn.began) = (true, now);
            // What webhooks told is looked for in the refs themselves.
            let (connectors, condition, must) =
                (connectors.clone(), std::mem::take(&mut turn.condition), !turn.lately.is_quiet());
            let (pool, path, source, settings) = (pool.clone(), path.clone(), turn.source.clone(), settings.clone());
            asking.spawn(async move {
                let (refs, condition) = connectors.list_refs(&pool.home, &settings, &source, condition, must).await;
                (path, source, refs, condition)
            });
        }
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
            // The pool has the other end as long as it runs.
            Some((path, told)) = told.recv() => {
                let Some(turn) = turns.get_mut(&path) else { continue };
                if memory.take_announced(&pool, &path, &turn.source, told, &mut turn.lately).await {
                    turn.due = Instant::now();
                    turn.outdated = turn.asking;
                }
            }
            Some(asked) = asking.join_next() => {
                let (path, source, refs, condition) = match asked {
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
                // It is true for all but what was told since: that is asked for in turn, for as long again at the
                // earliest, so that a source whose platform never stops telling is asked half of the time at most.
                let again = std::mem::take(&mut turn.outdated).then(|| Instant::now() + turn.began.elapsed());
                turn.asked = turn.asked.wrapping_add(1);
                // A tenth more or less, so that those that were asked together are soon asked apart.
                let interval = interval(&settings, &path).mul_f64(0.9 + 0.2 * chance(&path, turn.asked));
                match refs {
                    Ok(refs) => {
                        turn.failures = 0;
                        turn.due = again.unwrap_or_else(|| Instant::now() + interval).min(Instant::now() + interval);
                        let empty = refs.as_ref().and_then(|refs| memory.suspiciously_empty(&path, &source, refs));
                        let moved = refs.as_ref().and_then(|refs| refs.moved_to.as_ref());
                        let problem = match (empty, moved) {
                            (Some(seen), _) => Some(format!(
                                "the source of {path} lists no branch and no tag, and had {seen}: they are kept as seen; if they were deleted, this ends with the next push"
                            )),
                            (None, Some(to)) => Some(format!(
                                "{path}: its source {} was moved to {to}; name that address", source.url
                            )),
                            (None, None) => None,
                        };
                        pool.tell_problem(&path.to_string(), problem);
                        let kept = match refs.filter(|_| empty.is_none()) {
                            Some(refs) => memory.take(&pool, &path, &source, &refs, turn.began, &mut turn.lately).await,
                            // Of one that lists nothing, the refs are asked for again.
                            None => empty.is_none(),
                        };
                        // What could not be written down is to be seen again.
                        turn.condition = if kept { condition } else { Condition::default() };
                    }
                    Err(error) => {
                        let wait = backoff(interval, turn.failures);
                        turn.failures += 1;
                        turn.due = Instant::now() + wait;
                        let text = format!("{path} is not watched: {}; it is asked again in {} s", error.reason, wait.as_secs_f64().ceil());
                        pool.tell_problem(&path.to_string(), Some(text));
                    }
                }
            }
        }
    }
}

/// The sources that are asked now, and when the next one is due. Those that are due and find no room are begun when one
/// of the others is done.
fn next_turns(turns: &BTreeMap<RepositoryPath, Turn>, now: Instant) -> (Vec<RepositoryPath>, Option<Instant>) {
    let lane = |turn: &Turn| usize::from(turn.failures > 0);
    let mut room = [AT_ONCE, FAILING_AT_ONCE];
    for turn in turns.values().filter(|turn| turn.asking) {
        room[lane(turn)] = room[lane(turn)].saturating_sub(1);
    }
    let mut waiting: Vec<(&RepositoryPath, &Turn)> = turns.iter().filter(|(_, turn)| !turn.asking).collect();
    // Who has waited longest is asked first.
    waiting.sort_by_key(|(_, turn)| turn.due);
    let (mut begin, mut next) = (Vec::new(), None);
    for (path, turn) in waiting {
        let room = &mut room[lane(turn)];
        if *room == 0 {
            continue;
        }
        if turn.due > now {
            next = Some(turn.due);
            break;
        }
        *room -= 1;
        begin.push(path.clone());
    }
    (begin, next)
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
    let mut changed = Vec::new();
    turns.retain(|path, turn| {
        let stays = wanted.get(path) == Some(&&turn.source);
        if !stays {
            changed.push(path.clone());
        }
        stays
    });
    for (path, source) in &wanted {
        // An interval that was made shorter holds from now on.
        let latest = Instant::now() + interval(settings, path).mul_f64(1.1);
        turns.entry((*path).clone()).and_modify(|turn| {
            if turn.failures == 0 {
                turn.due = turn.due.min(latest);
            }
        });
        turns.entry((*path).clone()).or_insert_with(|| Turn {
            source: (*source).clone(),
            due: Instant::now() + SPREAD.mul_f64(chance(path, 0)),
            asked: 0,
            failures: 0,
            asking: false,
            began: Instant::now(),
            outdated: false,
            lately: Lately::default(),
            condition: Condition::default(),
        });
    }
    // What is not watched is seen for the first time when it is watched again: nobody wants what was pushed meanwhile
    // built.
    let names: BTreeSet<String> = wanted.keys().map(ToString::to_string).collect();
    let before = memory.watched.repositories.len();
    memory.watched.repositories.retain(|name, _| names.contains(name) || is_unreadable(pool, settings, name));
    if memory.watched.repositories.len() != before {
        memory.changed();
    }
    // Those of others are theirs to take back.
    let is_ours = |name: &str| name.parse::<RepositoryPath>().is_ok();
    let renamed: BTreeSet<String> = changed.iter().map(renamed_problem).collect();
    let mut state = pool.state();
    state.watch_problems.retain(|name, _| !renamed.contains(name) && (!is_ours(name) || names.contains(name)));
}

/// Whether a repository is not in the settings because a file can't be read: what was seen of its source is kept until
/// it can.
fn is_unreadable(pool: &Pool, settings: &Settings, name: &str) -> bool {
    let Ok(path) = name.parse::<RepositoryPath>() else { return false };
    let files =
        [pool.home.repository_file(&path.namespace, &path.repository), pool.home.namespace_file(&path.namespace)];
    !settings.repositories.contains_key(&path) && files.iter().any(|file| settings.problems.contains_key(file))
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
    fn sources_that_hang_hold_up_none_that_answer() {
        let now = Instant::now();
        let turn = |failures, asking, due| Turn {
            source: Source { url: "/srv/git/app".into(), ..Source::default() },
            due,
            asked: 0,
            failures,
            asking,
            began: Instant::now(),
            outdated: false,
            lately: Lately::default(),
            condition: Condition::default(),
        };
        let path = |name: &str| -> RepositoryPath { format!("acme/{name}").parse().unwrap() };
        let mut turns = BTreeMap::new();
        for number in 10..40 {
            turns.insert(path(&format!("hangs{number}")), turn(1, number < 13, now));
        }
        turns.insert(path("works"), turn(0, false, now));
        let later = now + Duration::from_secs(9);
        turns.insert(path("later"), turn(0, false, later));
        let (begin, next) = next_turns(&turns, now);
        assert_eq!(begin, [path("hangs13"), path("works")], "three hang already, and there is room for one more");
        assert_eq!(next, Some(later));
        for number in 50..57 {
            turns.insert(path(&format!("works{number}")), turn(0, true, now));
        }
        turns.insert(path("waits-longest"), turn(0, false, now - Duration::from_secs(1)));
        assert_eq!(next_turns(&turns, now).0, [path("waits-longest"), path("hangs13")]);
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
