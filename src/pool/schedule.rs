//! Who builds what next: a pure decision over the queue and the builders.
//!
//! Fair between repositories, builders that are warm first, and never a build that waits without a reason in one line.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::domain::build::BuildId;
use crate::domain::platform::Platform;
use crate::domain::push::CommitId;

/// How the reason begins where no builder has a platform.
pub const NO_PLATFORM: &str = "no builder builds for ";

/// A build that waits.
#[derive(Debug, Clone)]
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
    pub not_before: Option<DateTime<Utc>>,
    /// The commit that its source did not have when it was asked last.
    pub awaited: Option<CommitId>,
}

/// Whether a builder can take builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Now.
    Ready,
    /// Soon.
    Starting,
    /// Not until what is said is mended.
    Down(String),
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
    pub warm: BTreeSet<String>,
}

/// The pool as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// How many builds may run at once.
    pub limit: u32,
    /// How many run now, by repository.
    pub running: BTreeMap<String, u32>,
    /// Why nothing may start now, such as a full disk.
    pub blocked: Option<String>,
}

/// What becomes of a waiting build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It starts: each builder with its platforms.
    Start(Vec<(String, Vec<Platform>)>),
    /// It waits for a slot; why.
    Queue(String),
    /// It waits for something else; why.
    Hold(String),
}

/// Decides for every waiting build, given in the order in which they were queued.
pub fn schedule(
    now: DateTime<Utc>,
    waiting: &[Waiting],
    builders: &[BuilderView],
    pool: &PoolView,
) -> BTreeMap<BuildId, Decision> {
    let mut decisions = BTreeMap::new();
    let mut builders = builders.to_vec();
    let mut running = pool.running.clone();
    let mut total: u32 = running.values().sum();
    let mut candidates: Vec<&Waiting> = waiting.iter().collect();
    let mut ahead = 0;

    // The repository with the fewest running builds is served next; within it, the build that waits longest.
    while let Some(index) = (0..candidates.len())
        .min_by_key(|index| (running.get(&candidates[*index].repository).copied().unwrap_or(0), *index))
    {
        let build = candidates.remove(index);
        let decision = decide(now, build, &builders, pool, total, ahead);
        match &decision {
            Decision::Start(platform_builds) => {
                total += 1;
                *running.entry(build.repository.clone()).or_default() += 1;
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
    }
    decisions
}

fn decide(
    now: DateTime<Utc>,
    build: &Waiting,
    builders: &[BuilderView],
    pool: &PoolView,
    total: u32,
    ahead: usize,
) -> Decision {
    if let Some(time) = build.not_before.filter(|time| *time > now) {
        let time = time.format("%Y-%m-%dT%H:%M:%SZ");
        return Decision::Hold(match &build.awaited {
            Some(commit) => format!("waits for the server to have commit {}; asked again at {time}", commit.short(12)),
            None => format!("waits until {time} to be tried again"),
        });
    }
    if let Some(reason) = &pool.blocked {
        return Decision::Hold(reason.clone());
    }
    let eligible = match eligible(build, builders) {
        Ok(eligible) => eligible,
        Err(reason) => return Decision::Hold(reason),
    };
    if total >= pool.limit {
        return Decision::Queue(waits_for_slot(&format!("{total} of {} builds are running", pool.limit), ahead));
    }
    place(build, &eligible, ahead)
}

/// The builders that may build it, ready or starting.
fn eligible<'a>(build: &Waiting, builders: &'a [BuilderView]) -> Result<Vec<&'a BuilderView>, String> {
    let named: Vec<&BuilderView> = match &build.builder {
        Some(name) => builders.iter().filter(|builder| builder.name == *name).collect(),
        None => builders.iter().collect(),
    };
    if named.is_empty() {
        return Err(match &build.builder {
            Some(name) => format!("there is no builder {name:?}; create it, or change build.builder of the repository"),
            None => "there is no builder; `slipway builder create` makes one".into(),
        });
    }
    let labelled: Vec<&BuilderView> = named
        .into_iter()
        .filter(|builder| build.labels.iter().all(|(key, value)| builder.labels.get(key) == Some(value)))
        .collect();
    if labelled.is_empty() {
        let wanted: Vec<String> = build.labels.iter().map(|(key, value)| format!("{key} = {value:?}")).collect();
        return Err(format!("no builder is labelled {}; label one in builders/", wanted.join(" and ")));
    }
    let able: Vec<&BuilderView> =
        labelled.iter().copied().filter(|builder| !matches!(builder.readiness, Readiness::Down(_))).collect();
    if able.is_empty() {
        let reasons: Vec<String> = labelled
            .iter()
            .filter_map(|builder| match &builder.readiness {
                Readiness::Down(reason) => Some(format!("builder {}: {reason}", builder.name)),
                _ => None,
            })
            .collect();
        return Err(reasons.join("; "));
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
            let platform = platform.map_or_else(String::new, ToString::to_string);
            return Decision::Hold(format!(
                "{NO_PLATFORM}{platform}; install its emulator (qemu-user-static, binfmt-support) or add a builder that has it"
            ));
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
            let names: Vec<String> = able
                .iter()
                .map(|builder| match builder.readiness {
                    Readiness::Starting => format!("builder {} is starting", builder.name),
                    _ => format!("builder {} runs {} of {}", builder.name, builder.busy, builder.slots),
                })
                .collect();
            return Decision::Queue(waits_for_slot(&names.join(", "), ahead));
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

fn waits_for_slot(why: &str, ahead: usize) -> String {
    match ahead {
        0 => format!("waits for a slot: {why}; it is next"),
        ahead => format!("waits for a slot: {why}; {ahead} ahead of it"),
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
