//! The poller: each source is asked for its refs now and then; the core finds out what moved.
//!
//! One task decides whose turn it is, others ask: a source that hangs or fails delays no other.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::conditional_poll::{Condition, Connectors};
use super::{PollRequest, Trigger, TriggerContext};
use crate::domain::backoff::Backoff;
use crate::domain::journal::SERVER_LAG;
use crate::domain::name::RepositoryPath;
use crate::domain::repository::Source;
use crate::pool::core::{Event, Topic};
use crate::protocol::Error;
use crate::source::refs::Refs;
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
    /// Until then its refs are listed whatever its platform says: a webhook told of a push.
    must_list: Option<Instant>,
    /// What the platform said when the refs were listed last.
    condition: Condition,
}

/// Whose refs were asked for; none where nothing was pushed since; and what is asked with the next time.
type Asked = (RepositoryPath, Source, Result<Option<Refs>, Error>, Condition);

/// Asks the sources of all repositories that build by themselves.
pub(super) struct Poller {
    requests: mpsc::UnboundedReceiver<PollRequest>,
}

impl Poller {
    /// A poller that is asked for sources out of their turn by `requests`.
    pub(super) fn new(requests: mpsc::UnboundedReceiver<PollRequest>) -> Poller {
        Poller { requests }
    }
}

impl Trigger for Poller {
    fn name(&self) -> &'static str {
        "poller"
    }

    fn run(self: Box<Self>, context: TriggerContext) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(poll(context, self.requests))
    }
}

async fn poll(context: TriggerContext, mut requests: mpsc::UnboundedReceiver<PollRequest>) {
    let mut turns: BTreeMap<RepositoryPath, Turn> = BTreeMap::new();
    let mut asking: JoinSet<Asked> = JoinSet::new();
    let connectors: Arc<Connectors> = Arc::default();
    let mut known = None;
    let mut settings: Arc<Settings> = Arc::default();
    loop {
        let snapshot = context.snapshot();
        if known != Some(snapshot.settings_changes) {
            known = Some(snapshot.settings_changes);
            settings = snapshot.settings.clone();
            follow(&settings, &mut turns);
        }
        let now = Instant::now();
        let (begin, due) = next_turns(&turns, now);
        for path in begin {
            if let Some(turn) = turns.get_mut(&path) {
                let question = turn.begin(path, now);
                asking.spawn(ask(context.clone(), connectors.clone(), settings.clone(), question));
            }
        }
        let next = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = context.stopped() => return,
            () = next => {}
            _ = context.settings_changed(known.unwrap_or_default()) => {}
            // The main loop has the other end as long as it runs.
            Some(PollRequest { path, now }) = requests.recv() => {
                if let Some(turn) = turns.get_mut(&path) {
                    turn.request(now);
                }
            }
            Some(asked) = asking.join_next() => match asked {
                Ok((path, source, refs, condition)) => {
                    if let Some(turn) = turns.get_mut(&path).filter(|turn| turn.source == source) {
                        // A tenth more or less, so that those that were asked together are soon asked apart.
                        turn.asked = turn.asked.wrapping_add(1);
                        let interval = interval(&settings, &path).mul_f64(0.9 + 0.2 * chance(&path, turn.asked));
                        take(&context, path, turn, refs, condition, interval);
                    }
                }
                // A panic: which source it was is not known, so all are asked again.
                Err(error) => {
                    tracing::error!("an internal task failed: {error}");
                    turns.values_mut().for_each(|turn| turn.asking = false);
                }
            },
        }
    }
}

/// What a source is asked.
struct Question {
    path: RepositoryPath,
    source: Source,
    condition: Condition,
    must_list: bool,
}

async fn ask(
    context: TriggerContext,
    connectors: Arc<Connectors>,
    settings: Arc<Settings>,
    question: Question,
) -> Asked {
    let Question { path, source, condition, must_list } = question;
    let (refs, condition) = connectors.list_refs(&context.home, &settings, &source, condition, must_list).await;
    (path, source, refs, condition)
}

impl Turn {
    fn new(source: Source, due: Instant) -> Turn {
        Turn {
            source,
            due,
            asked: 0,
            failures: 0,
            asking: false,
            began: Instant::now(),
            outdated: false,
            must_list: None,
            condition: Condition::default(),
        }
    }

    fn begin(&mut self, path: RepositoryPath, now: Instant) -> Question {
        (self.asking, self.began) = (true, now);
        let condition = std::mem::take(&mut self.condition);
        Question { path, source: self.source.clone(), condition, must_list: self.must_list.is_some_and(|at| now < at) }
    }

    /// A webhook told of a push: the refs are listed for certain, and `at_once` where its word is not enough.
    fn request(&mut self, at_once: bool) {
        let now = Instant::now();
        // Of a source that is seldom asked, the next time.
        self.must_list = Some((now + SERVER_LAG).max(self.due + Duration::from_secs(1)));
        if at_once {
            self.due = now;
            self.outdated = self.asking;
        }
    }
}

/// Takes an answer over: refs go to the core, and the next turn comes after the interval.
fn take(
    context: &TriggerContext,
    path: RepositoryPath,
    turn: &mut Turn,
    refs: Result<Option<Refs>, Error>,
    condition: Condition,
    interval: Duration,
) {
    turn.asking = false;
    let took = turn.began.elapsed();
    // It is true for all but what was told since: that is asked for in turn, for as long again at the earliest, so that a
    // source whose platform never stops telling is asked half of the time at most.
    let again = std::mem::take(&mut turn.outdated).then(|| Instant::now() + took);
    match refs {
        Ok(refs) => {
            turn.failures = 0;
            turn.condition = condition;
            turn.due = again.unwrap_or_else(|| Instant::now() + interval).min(Instant::now() + interval);
            let source = turn.source.clone();
            match refs {
                Some(refs) => {
                    if refs.refs.is_empty() {
                        // Of one that lists nothing, the refs are asked for again.
                        turn.condition = Condition::default();
                    }
                    let took = TimeDelta::from_std(took).unwrap_or(TimeDelta::MAX);
                    context.report(Event::RefsListed { repository: path, source, refs, took });
                }
                None => context.problem(Topic::Source(path), None),
            }
        }
        Err(error) => {
            let wait = backoff(interval, turn.failures);
            turn.failures += 1;
            turn.due = Instant::now() + wait;
            let seconds = wait.as_secs_f64().ceil();
            let text = format!("{path} is not watched: {}; it is asked again in {seconds} s", error.reason);
            context.problem(Topic::Source(path), Some(text));
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

/// The wait after so many failures before this one: never more often than the source is asked anyway.
fn backoff(interval: Duration, failures: u32) -> Duration {
    let delta = |duration: Duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
    let backoff = Backoff { first: delta(interval), longest: delta(LONGEST_WAIT.max(interval)) };
    backoff.wait(failures).to_std().unwrap_or(interval)
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
fn follow(settings: &Settings, turns: &mut BTreeMap<RepositoryPath, Turn>) {
    let wanted: BTreeMap<&RepositoryPath, &Source> = settings
        .repositories
        .iter()
        .filter(|(_, repository)| repository.build.auto)
        .filter_map(|(path, repository)| Some((path, repository.source.as_ref()?)))
        .collect();
    turns.retain(|path, turn| wanted.get(path) == Some(&&turn.source));
    for (path, source) in &wanted {
        // An interval that was made shorter holds from now on.
        let latest = Instant::now() + interval(settings, path).mul_f64(1.1);
        turns.entry((*path).clone()).and_modify(|turn| {
            if turn.failures == 0 {
                turn.due = turn.due.min(latest);
            }
        });
        let due = Instant::now() + SPREAD.mul_f64(chance(path, 0));
        turns.entry((*path).clone()).or_insert_with(|| Turn::new((*source).clone(), due));
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
    fn sources_that_hang_hold_up_none_that_answer() {
        let now = Instant::now();
        let source = Source { url: "/srv/git/app".into(), ..Source::default() };
        let turn = |failures, asking, due| Turn { failures, asking, ..Turn::new(source.clone(), due) };
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
