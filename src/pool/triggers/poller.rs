//! The poller: each source is asked for its refs now and then; the core finds out what moved.
//!
//! One task decides whose turn it is, others ask: a source that hangs or fails delays no other.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::domain::problem::Topic;
use crate::domain::reason::reason;
use crate::domain::repository::Source;
use crate::pool::core::Event;
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
/// Where there are many, this time is left between two: a start that asks ten thousand has room for other work.
const BETWEEN: Duration = Duration::from_millis(6);
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
    let mut turns = Turns::default();
    let mut asking: JoinSet<Asked> = JoinSet::new();
    let connectors: Arc<Connectors> = Arc::default();
    let mut known = None;
    let mut settings: Arc<Settings> = Arc::default();
    loop {
        let snapshot = context.snapshot();
        if known != Some(snapshot.settings_changes) {
            known = Some(snapshot.settings_changes);
            settings = snapshot.settings.clone();
            turns.follow(&settings);
        }
        let (begin, due) = turns.begin(Instant::now());
        for question in begin {
            asking.spawn(ask(context.clone(), connectors.clone(), settings.clone(), question));
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
                turns.change(&path, |turn| turn.request(now));
            }
            Some(asked) = asking.join_next() => match asked {
                Ok((path, source, refs, condition)) => {
                    turns.change(&path, |turn| {
                        if turn.source != source {
                            return;
                        }
                        // A tenth more or less, so that those that were asked together are soon asked apart.
                        turn.asked = turn.asked.wrapping_add(1);
                        let interval = interval(&settings, &path).mul_f64(0.9 + 0.2 * chance(&path, turn.asked));
                        take(&context, path.clone(), turn, refs, condition, interval);
                    });
                }
                // A panic: which source it was is not known, so all are asked again.
                Err(error) => {
                    tracing::error!("an internal task failed: {error}");
                    turns.change_all(|_, turn| turn.asking = false);
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

/// The turns of all sources, and those that wait in the order in which they are due: of ten thousand sources none is looked
/// at for the turn of another.
#[derive(Debug, Default)]
struct Turns {
    turns: BTreeMap<RepositoryPath, Turn>,
    /// Those that are not being asked, by [`Lane`].
    waiting: [BTreeSet<(Instant, RepositoryPath)>; 2],
    /// How many are being asked, by [`Lane`].
    asking: [usize; 2],
}

/// Sources that failed the last time, and others, are asked beside each other.
#[derive(Debug, Clone, Copy)]
enum Lane {
    Working = 0,
    Failing = 1,
}

impl Lane {
    fn of(turn: &Turn) -> Lane {
        if turn.failures > 0 { Lane::Failing } else { Lane::Working }
    }

    fn at_once(self) -> usize {
        match self {
            Lane::Working => AT_ONCE,
            Lane::Failing => FAILING_AT_ONCE,
        }
    }
}

impl Turns {
    fn count(&mut self, path: &RepositoryPath, turn: &Turn) {
        let lane = Lane::of(turn) as usize;
        match turn.asking {
            true => self.asking[lane] += 1,
            false => _ = self.waiting[lane].insert((turn.due, path.clone())),
        }
    }

    /// Takes a turn out, to put it back another.
    fn remove(&mut self, path: &RepositoryPath) -> Option<Turn> {
        let turn = self.turns.remove(path)?;
        let lane = Lane::of(&turn) as usize;
        match turn.asking {
            true => self.asking[lane] -= 1,
            false => _ = self.waiting[lane].remove(&(turn.due, path.clone())),
        }
        Some(turn)
    }

    fn insert(&mut self, path: RepositoryPath, turn: Turn) {
        self.remove(&path);
        self.count(&path, &turn);
        self.turns.insert(path, turn);
    }

    fn change(&mut self, path: &RepositoryPath, change: impl FnOnce(&mut Turn)) {
        if let Some(mut turn) = self.remove(path) {
            change(&mut turn);
            self.insert(path.clone(), turn);
        }
    }

    fn change_all(&mut self, mut change: impl FnMut(&RepositoryPath, &mut Turn)) {
        let mut turns = std::mem::take(self).turns;
        turns.iter_mut().for_each(|(path, turn)| change(path, turn));
        turns.iter().for_each(|(path, turn)| self.count(path, turn));
        self.turns = turns;
    }

    /// Begins to ask the sources that are due, who has waited longest first, and tells when the next one is. Those that are
    /// due and find no room are begun when one of the others is done.
    fn begin(&mut self, now: Instant) -> (Vec<Question>, Option<Instant>) {
        let (mut begin, mut next) = (Vec::new(), None);
        for lane in [Lane::Working, Lane::Failing] {
            while self.asking[lane as usize] < lane.at_once()
                && let Some((due, path)) = self.waiting[lane as usize].first().cloned()
            {
                if due > now {
                    next = next.into_iter().chain([due]).min();
                    break;
                }
                self.change(&path, |turn| begin.push(turn.begin(path.clone(), now)));
            }
        }
        (begin, next)
    }

    /// Brings the turns in line with the settings.
    fn follow(&mut self, settings: &Settings) {
        let wanted: BTreeMap<&RepositoryPath, &Source> = settings
            .repositories
            .iter()
            .filter(|(_, repository)| repository.build.auto)
            .filter_map(|(path, repository)| Some((path, repository.source.as_ref()?)))
            .collect();
        let now = Instant::now();
        self.turns.retain(|path, turn| wanted.get(path) == Some(&&turn.source));
        self.change_all(|path, turn| {
            // An interval that was made shorter holds from now on.
            if turn.failures == 0 {
                turn.due = turn.due.min(now + interval(settings, path).mul_f64(1.1));
            }
        });
        let new: Vec<_> = wanted.into_iter().filter(|(path, _)| !self.turns.contains_key(path)).collect();
        let spread = SPREAD.max(BETWEEN * u32::try_from(new.len()).unwrap_or(u32::MAX));
        for (path, source) in new {
            let spread = spread.min(SPREAD.max(interval(settings, path)));
            let due = now + spread.mul_f64(chance(path, 0));
            self.insert(path.clone(), Turn::new(source.clone(), due));
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
            let wait = Duration::from_secs(wait.as_secs_f64().ceil() as u64);
            let problem = reason!("problem.source_unread", path, why = error.reason, wait);
            context.problem(Topic::Source(path), Some(problem));
        }
    }
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
        let mut turns = Turns::default();
        for number in 10..40 {
            turns.insert(path(&format!("hangs{number}")), turn(1, number < 13, now));
        }
        turns.insert(path("works"), turn(0, false, now));
        let later = now + Duration::from_secs(9);
        turns.insert(path("later"), turn(0, false, later));
        let begun = |turns: &mut Turns| {
            let (begun, next) = turns.begin(now);
            (begun.into_iter().map(|question| question.path).collect::<Vec<_>>(), next)
        };
        let (begin, next) = begun(&mut turns);
        assert_eq!(begin, [path("works"), path("hangs13")], "three hang already, and there is room for one more");
        assert_eq!(next, Some(later));
        for number in 50..56 {
            turns.insert(path(&format!("works{number}")), turn(0, true, now));
        }
        for (name, waited) in [("waits", 1), ("waits-longest", 2)] {
            turns.insert(path(name), turn(0, false, now - Duration::from_secs(waited)));
        }
        assert_eq!(begun(&mut turns), (vec![path("waits-longest")], None), "seven were asked, and four hang");
        turns.change(&path("works"), |turn| (turn.asking, turn.due) = (false, later));
        assert_eq!(begun(&mut turns), (vec![path("waits")], None));
        turns.change(&path("hangs13"), |turn| (turn.asking, turn.failures, turn.due) = (false, 2, later));
        assert_eq!(begun(&mut turns).0, [path("hangs14")]);
    }

    #[test]
    fn many_new_sources_are_asked_within_their_interval_and_few_at_once() {
        let due = |count: u32| {
            let source = Some(Source { url: "/srv/git/app".into(), ..Source::default() });
            let mut settings = Settings::default();
            for number in 0..count {
                let repository = crate::domain::repository::Repository { source: source.clone(), ..Default::default() };
                settings.repositories.insert(format!("acme/app{number}").parse().unwrap(), repository);
            }
            let (mut turns, begun) = (Turns::default(), Instant::now());
            turns.follow(&settings);
            let last = turns.waiting[0].last().unwrap().0 - begun;
            let (turns_before, waiting) = (turns.turns.len(), turns.waiting[0].len());
            turns.follow(&settings);
            assert_eq!((turns.turns.len(), turns.waiting[0].len()), (turns_before, waiting));
            settings.repositories.clear();
            turns.follow(&settings);
            assert_eq!((turns.turns.len(), turns.waiting[0].len()), (0, 0));
            last
        };
        assert!(due(10) < SPREAD + Duration::from_secs(1));
        let last = due(2_000);
        assert!(last > SPREAD * 4 && last <= BETWEEN * 2_000 + Duration::from_secs(1), "{last:?}");
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
