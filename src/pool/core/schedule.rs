//! The scheduler: a pure decision over the queue and the builders.
//!
//! Fair between repositories, builders that are warm first, and never a build that waits without a reason in one line.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::domain::backoff::Deadline;
use crate::domain::build::BuildId;
use crate::domain::builder::Readiness;
use crate::domain::platform::Platform;
use crate::domain::push::CommitId;
use crate::domain::reason::{AsReason, Reason, display_as_reason, joined, quoted, reason};

/// A build that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The build.
    pub id: BuildId,
    /// `namespace/repository`
    pub repository: String,
    /// What its image is for; empty: the builder's own platform.
    pub platforms: Vec<Platform>,
    /// What its builder must be labelled with.
    pub labels: BTreeMap<String, String>,
    /// The only builder that may build it.
    pub builder: Option<String>,
    /// Not before this.
    pub not_before: Option<Deadline>,
    /// The attempt that it waits for, after one that failed.
    pub retry: Option<AwaitedAttempt>,
    /// The commit that its source did not have when it was asked last.
    pub awaited: Option<CommitId>,
}

/// The next attempt of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedAttempt {
    /// Its number.
    pub number: u32,
    /// How many attempts the build gets at most.
    pub most: u32,
    /// Why the last one failed.
    pub why: Reason,
}

/// A builder as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct BuilderView {
    /// Its name.
    pub name: String,
    /// How many builds it runs at once.
    pub slots: u32,
    /// How many it runs now.
    pub busy: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it builds for, its own platform first; none where nobody has asked it yet.
    pub platforms: Option<Vec<Platform>>,
    /// Whether it can take builds.
    pub readiness: Readiness,
    /// The repositories whose last build it ran.
    pub warm: Arc<BTreeSet<String>>,
}

/// The pool as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// How many builds may run at once.
    pub limit: u32,
    /// How many run now, by repository.
    pub running: BTreeMap<String, u32>,
    /// When each repository had its last turn: the larger, the later; one that is not there had none yet.
    pub last_turns: Arc<BTreeMap<String, u64>>,
    /// Why nothing may start now, such as a full disk.
    pub blocked: Option<Reason>,
    /// Files of builders that can't be read: what to say where no builder is left.
    pub unusable_builders: Vec<Reason>,
}

/// What becomes of a waiting build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It starts: each builder with its platforms.
    Start(Vec<(String, Vec<Platform>)>),
    /// It waits for a slot; why.
    Queue(WaitReason),
    /// It waits for something else; why.
    Hold(WaitReason),
}

/// Why a build waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// The wait before another attempt.
    Attempt {
        /// The attempt.
        attempt: AwaitedAttempt,
        /// When it starts.
        at: DateTime<Utc>,
    },
    /// Its server does not have the commit that a webhook told of.
    Commit {
        /// The commit.
        commit: CommitId,
        /// When the server is asked again.
        at: DateTime<Utc>,
    },
    /// Nothing may start.
    Blocked(Reason),
    /// There is no builder, for these files can't be read.
    UnusableBuilders(Vec<Reason>),
    /// There is no builder.
    NoBuilder,
    /// The builder that the repository names does not exist.
    UnknownBuilder(String),
    /// No builder has the labels that are asked for.
    Labels(BTreeMap<String, String>),
    /// The builders that could take it are down: each with the reason.
    BuildersDown(Vec<(String, Reason)>),
    /// No builder builds for a platform.
    NoPlatform(Option<Platform>),
    /// As many builds run as the pool allows.
    PoolFull {
        /// How many run.
        running: u32,
        /// How many may run.
        limit: u32,
        /// How many builds start before it.
        ahead: usize,
    },
    /// The builders that could take it are full or starting.
    BuildersFull {
        /// Each builder: its running builds and its slots; none while it starts.
        builders: Vec<(String, Option<(u32, u32)>)>,
        /// How many builds start before it.
        ahead: usize,
    },
}

display_as_reason!(WaitReason);

impl AsReason for WaitReason {
    fn reason(&self) -> Reason {
        match self {
            WaitReason::Attempt { attempt: AwaitedAttempt { number, most, why }, at } => {
                reason!("wait.attempt", attempt = *number, most = *most, at = *at, why)
            }
            WaitReason::Commit { commit, at } => reason!("wait.commit", commit = commit.short(12), at = *at),
            WaitReason::Blocked(why) => why.clone(),
            WaitReason::UnusableBuilders(files) => reason!("wait.unusable_builders", files),
            WaitReason::NoBuilder => reason!("wait.no_builder"),
            WaitReason::UnknownBuilder(name) => reason!("wait.unknown_builder", name = quoted(name)),
            WaitReason::Labels(labels) => {
                let labels = labels.iter().map(|(key, value)| format!("{key} = {value:?}"));
                reason!("wait.labels", labels = joined(labels))
            }
            WaitReason::BuildersDown(builders) => {
                let down = |(name, why): &(String, Reason)| reason!("wait.builder_down", name, why);
                let builders: Vec<Reason> = builders.iter().map(down).collect();
                reason!("wait.builders_down", builders)
            }
            WaitReason::NoPlatform(platform) => {
                let platform = platform.as_ref().map_or_else(String::new, ToString::to_string);
                reason!("wait.no_platform", platform)
            }
            WaitReason::PoolFull { running, limit, ahead } => {
                let why = reason!("wait.pool_full", running = *running, limit = *limit);
                waits_for_slot(why, *ahead)
            }
            WaitReason::BuildersFull { builders, ahead } => {
                let load = |(name, load): &(String, Option<(u32, u32)>)| match load {
                    None => reason!("wait.builder_starting", name),
                    Some((busy, slots)) => reason!("wait.builder_full", name, busy = *busy, slots = *slots),
                };
                let builders: Vec<Reason> = builders.iter().map(load).collect();
                waits_for_slot(reason!("wait.builders", builders), *ahead)
            }
        }
    }
}

fn waits_for_slot(why: Reason, ahead: usize) -> Reason {
    match ahead {
        0 => reason!("wait.slot_next", why),
        ahead => reason!("wait.slot", why, ahead),
    }
}

/// Decides for every waiting build, given in the order in which they were queued.
///
/// The repository with the fewest running builds is served next, of several the one whose last turn is the longest ago;
/// within it, the build that waits longest.
pub fn schedule(
    now: DateTime<Utc>,
    waiting: &[impl Borrow<Waiting>],
    builders: &[BuilderView],
    pool: &PoolView,
) -> BTreeMap<BuildId, Decision> {
    let mut decisions = BTreeMap::new();
    let mut builders = builders.to_vec();
    let mut running = pool.running.clone();
    let mut total: u32 = running.values().sum();
    let mut ahead = 0;
    let mut queues: BTreeMap<&str, VecDeque<(usize, &Waiting)>> = BTreeMap::new();
    for (index, build) in waiting.iter().map(Borrow::borrow).enumerate() {
        queues.entry(&build.repository).or_default().push_back((index, build));
    }
    let last_turn = |repository: &str| pool.last_turns.get(repository).copied().unwrap_or(0);
    let mut last_turns: BTreeMap<&str, u64> = queues.keys().map(|name| (*name, last_turn(name))).collect();
    let mut turns_so_far = last_turns.values().copied().max().unwrap_or(0);
    let mut eligible = Eligible::default();
    // The repositories that have builds waiting, the one whose turn it is first.
    let mut turns: BTreeMap<Turn, &str> = BTreeMap::new();
    for (name, queue) in &queues {
        turns.extend(turn(name, queue, &running, &last_turns).map(|turn| (turn, *name)));
    }
    while let Some((_, repository)) = turns.pop_first() {
        let Some(queue) = queues.get_mut(repository) else { continue };
        let Some((_, build)) = queue.pop_front() else { continue };
        let able = eligible.of(build, &builders, pool);
        let decision = decide(now, build, able, &builders, pool, total, ahead);
        match &decision {
            Decision::Start(platform_builds) => {
                total += 1;
                *running.entry(build.repository.clone()).or_default() += 1;
                turns_so_far += 1;
                last_turns.insert(repository, turns_so_far);
                for (name, _) in platform_builds {
                    if let Some(builder) = builders.iter_mut().find(|builder| builder.name == *name) {
                        builder.busy += 1;
                    }
                }
            }
            Decision::Queue(_) => ahead += 1,
            Decision::Hold(_) => {}
        }
        decisions.insert(build.id, decision);
        turns.extend(turn(repository, queue, &running, &last_turns).map(|next| (next, repository)));
    }
    decisions
}

/// How many builds of a repository run, when it had its last turn, and where its next build stands in the queue: the
/// smallest is next.
type Turn = (u32, u64, usize);

fn turn(
    repository: &str,
    queue: &VecDeque<(usize, &Waiting)>,
    running: &BTreeMap<String, u32>,
    last_turns: &BTreeMap<&str, u64>,
) -> Option<Turn> {
    let (index, _) = queue.front()?;
    let running = running.get(repository).copied().unwrap_or(0);
    Some((running, last_turns.get(repository).copied().unwrap_or(0), *index))
}

/// What builds ask of a builder: its name and its labels.
type Asked<'a> = (Option<&'a str>, &'a BTreeMap<String, String>);

/// The builders that may build, as [`eligible`] says, by what is asked of them: many builds ask for the same.
#[derive(Debug, Default)]
struct Eligible<'a>(BTreeMap<Asked<'a>, Result<Vec<usize>, WaitReason>>);

impl<'a> Eligible<'a> {
    /// The positions of the builders that may build it.
    fn of(&mut self, build: &'a Waiting, builders: &[BuilderView], pool: &PoolView) -> Result<&[usize], &WaitReason> {
        let position = |able: &BuilderView| builders.iter().position(|builder| builder.name == able.name);
        let asked = (build.builder.as_deref(), &build.labels);
        let found = self.0.entry(asked).or_insert_with(|| {
            eligible(build, builders, pool).map(|able| able.into_iter().filter_map(position).collect())
        });
        found.as_deref()
    }
}

fn decide(
    now: DateTime<Utc>,
    build: &Waiting,
    able: Result<&[usize], &WaitReason>,
    builders: &[BuilderView],
    pool: &PoolView,
    total: u32,
    ahead: usize,
) -> Decision {
    if let Some(deadline) = build.not_before.filter(|deadline| !deadline.is_over(now)) {
        let at = deadline.at();
        match (&build.awaited, &build.retry) {
            (Some(commit), _) => return Decision::Hold(WaitReason::Commit { commit: commit.clone(), at }),
            (None, Some(attempt)) => return Decision::Hold(WaitReason::Attempt { attempt: attempt.clone(), at }),
            // Nothing else has a wait.
            (None, None) => {}
        }
    }
    if let Some(reason) = &pool.blocked {
        return Decision::Hold(WaitReason::Blocked(reason.clone()));
    }
    let able = match able {
        Ok(able) => able,
        Err(reason) => return Decision::Hold(reason.clone()),
    };
    if total >= pool.limit {
        return Decision::Queue(WaitReason::PoolFull { running: total, limit: pool.limit, ahead });
    }
    let able: Vec<&BuilderView> = able.iter().filter_map(|index| builders.get(*index)).collect();
    place(build, &able, ahead)
}

/// The builders that may build it, ready or starting.
///
/// # Errors
/// Why there is none.
pub fn eligible<'a>(
    build: &Waiting,
    builders: &'a [BuilderView],
    pool: &PoolView,
) -> Result<Vec<&'a BuilderView>, WaitReason> {
    let named: Vec<&BuilderView> = match &build.builder {
        Some(name) => builders.iter().filter(|builder| builder.name == *name).collect(),
        None => builders.iter().collect(),
    };
    if named.is_empty() {
        return Err(match &build.builder {
            Some(name) => WaitReason::UnknownBuilder(name.clone()),
            None if !pool.unusable_builders.is_empty() => WaitReason::UnusableBuilders(pool.unusable_builders.clone()),
            None => WaitReason::NoBuilder,
        });
    }
    let labelled: Vec<&BuilderView> = named
        .into_iter()
        .filter(|builder| build.labels.iter().all(|(key, value)| builder.labels.get(key) == Some(value)))
        .collect();
    if labelled.is_empty() {
        return Err(WaitReason::Labels(build.labels.clone()));
    }
    let able: Vec<&BuilderView> =
        labelled.iter().copied().filter(|builder| !matches!(builder.readiness, Readiness::Down(_))).collect();
    if able.is_empty() {
        let down = labelled.iter().filter_map(|builder| match &builder.readiness {
            Readiness::Down(reason) => Some((builder.name.clone(), reason.clone())),
            Readiness::Ready | Readiness::Starting => None,
        });
        return Err(WaitReason::BuildersDown(down.collect()));
    }
    Ok(able)
}

/// Gives each platform to the best builder that has it; builds without platforms to the best builder.
fn place(build: &Waiting, builders: &[&BuilderView], ahead: usize) -> Decision {
    let mut platform_builds: Vec<(String, Vec<Platform>)> = Vec::new();
    let wanted: Vec<Option<&Platform>> =
        if build.platforms.is_empty() { vec![None] } else { build.platforms.iter().map(Some).collect() };
    for platform in wanted {
        let able: Vec<&&BuilderView> = builders.iter().filter(|builder| has_platform(builder, platform)).collect();
        if able.is_empty() {
            return Decision::Hold(WaitReason::NoPlatform(platform.cloned()));
        }
        let free = able.iter().filter(|builder| builder.readiness == Readiness::Ready && builder.busy < builder.slots);
        // One builder for all platforms comes before a warm one, a builder's own platform before both.
        let best = free.min_by_key(|builder| {
            (
                !is_native(builder, platform),
                !platform_builds.iter().any(|(name, _)| *name == builder.name),
                !builder.warm.contains(&build.repository),
                u64::from(builder.busy) * 1000 / u64::from(builder.slots.max(1)),
            )
        });
        let Some(best) = best else {
            let load = |builder: &BuilderView| match builder.readiness {
                Readiness::Starting => None,
                Readiness::Ready | Readiness::Down(_) => Some((builder.busy, builder.slots)),
            };
            let builders = able.iter().map(|builder| (builder.name.clone(), load(builder))).collect();
            return Decision::Queue(WaitReason::BuildersFull { builders, ahead });
        };
        match platform_builds.iter_mut().find(|(name, _)| *name == best.name) {
            Some((_, platforms)) => platforms.extend(platform.cloned()),
            None => platform_builds.push((best.name.clone(), platform.cloned().into_iter().collect())),
        }
    }
    Decision::Start(platform_builds)
}

fn has_platform(builder: &BuilderView, platform: Option<&Platform>) -> bool {
    match (platform, &builder.platforms) {
        (None, _) | (_, None) => true,
        (Some(platform), Some(has)) => has.contains(platform),
    }
}

fn is_native(builder: &BuilderView, platform: Option<&Platform>) -> bool {
    match (platform, &builder.platforms) {
        (Some(platform), Some(has)) => has.first() == Some(platform),
        _ => true,
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
