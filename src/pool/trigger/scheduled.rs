//! Rules with a schedule: built when their time comes, though nothing was pushed.
//!
//! When a rule was last built by its schedule is told by its builds, so a time that passed while no pool ran is made up for, once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::build::Trigger;
use crate::domain::name::RepositoryPath;
use crate::domain::push::{Push, Ref};
use crate::domain::repository::Source;
use crate::domain::rule::Rule;
use crate::domain::schedule::Schedule;
use crate::pool::enqueue;
use crate::pool::state::Pool;
use crate::protocol::{Error, ErrorKind};
use crate::services::sources;
use crate::store::settings::Settings;

/// The clock may be set, and a machine may sleep: it is looked at again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(15 * 60);
/// A source that can't be asked is asked again after the first time, and then less and less often, down to the second; until the next
/// time of the schedule comes.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10 * 60));

type Name = (RepositoryPath, String);

/// A rule whose time is waited for.
struct Awaited {
    schedule: Schedule,
    /// What came before this is past.
    since: DateTime<Utc>,
}

/// Builds what has a schedule, until the pool ends.
pub(super) async fn follow(pool: Arc<Pool>) {
    let mut awaited: BTreeMap<Name, Awaited> = BTreeMap::new();
    let mut changes = pool.changes.subscribe();
    let mut known = None;
    let mut is_first = true;
    loop {
        let settings = {
            let state = pool.state();
            let changed = known != Some(state.settings_changes);
            known = Some(state.settings_changes);
            changed.then(|| state.settings.clone())
        };
        let now = Utc::now();
        if let Some(settings) = settings {
            take_over(&pool, &settings, &mut awaited, now, is_first).await;
            is_first = false;
        }
        let mut next: Option<DateTime<Utc>> = None;
        for ((path, rule), Awaited { schedule, since }) in &mut awaited {
            // One that can't be followed could not be saved.
            let Ok(mut time) = schedule.next(*since) else { continue };
            if time <= now {
                tokio::spawn(build(pool.clone(), path.clone(), rule.clone(), time));
                // Of several times that passed, one is made up for.
                *since = now;
                let Ok(after) = schedule.next(now) else { continue };
                time = after;
            }
            next = Some(next.map_or(time, |next| next.min(time)));
        }
        let timer = async {
            match next {
                Some(time) => {
                    let wait = (time - Utc::now()).to_std().unwrap_or_default() + Duration::from_millis(1);
                    tokio::time::sleep(wait.min(LOOK_AGAIN)).await;
                }
                None => std::future::pending().await,
            }
        };
        let changed = async {
            // Most changes are of builds.
            while pool.state().settings_changes == known.unwrap_or_default() {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = timer => {}
            () = changed => {}
            () = pool.stopped() => return,
        }
    }
}

/// Brings what is waited for in line with the settings. A schedule that is new begins now; when the pool begins, builds tell when it
/// was followed last.
async fn take_over(
    pool: &Pool,
    settings: &Settings,
    awaited: &mut BTreeMap<Name, Awaited>,
    now: DateTime<Utc>,
    is_first: bool,
) {
    let mut wanted = BTreeMap::new();
    for (path, repository) in &settings.repositories {
        for rule in &repository.rules {
            let Some(schedule) = &rule.schedule else { continue };
            let name = (path.clone(), rule.name.clone());
            let since = match awaited.remove(&name) {
                Some(known) if known.schedule == *schedule => known.since,
                Some(_) => now,
                None if is_first => pool.triggers.past.of(path, &rule.name, None).await.scheduled.unwrap_or(now),
                None => now,
            };
            wanted.insert(name, Awaited { schedule: schedule.clone(), since });
        }
    }
    *awaited = wanted;
}

/// Builds a rule whose time came.
async fn build(pool: Arc<Pool>, path: RepositoryPath, rule: String, time: DateTime<Utc>) {
    let problem = format!("the schedule of rule {rule:?} of {path}");
    let mut wait = ASK_AGAIN.0;
    loop {
        let Some((source, rule, settings)) = find(&pool, &path, &rule) else { return };
        if let Some(failures) =
            pool.triggers.past.of(&path, &rule.name, None).await.paused(&rule, settings.config.pool.pause_after)
        {
            tracing::info!("{problem}: it failed {failures} times in a row and is paused");
            return;
        }
        match queue(&pool, &path, &source, &rule, &settings, time).await {
            Ok(()) => return pool.tell_problem(&problem, None),
            Err(error) => {
                let lasts = matches!(error.kind, ErrorKind::Failed | ErrorKind::Unreachable);
                let again = (Utc::now() + wait).min(DateTime::<Utc>::MAX_UTC);
                let next = rule.schedule.as_ref().and_then(|schedule| schedule.next(time).ok());
                let goes_on = lasts && next.is_none_or(|next| again < next);
                let then = if goes_on { "it is tried again" } else { "it is not built this time" };
                pool.tell_problem(&problem, Some(format!("{problem}: {error}; {then}")));
                if !goes_on {
                    return;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(ASK_AGAIN.1),
            () = pool.stopped() => return,
        }
    }
}

fn find(pool: &Pool, path: &RepositoryPath, rule: &str) -> Option<(Source, Rule, Settings)> {
    let settings = pool.state().settings.clone();
    let repository = settings.repositories.get(path)?;
    let rule = repository.rule(rule).filter(|rule| rule.schedule.is_some())?;
    Some((repository.source.clone()?, rule.clone(), settings))
}

async fn queue(
    pool: &Arc<Pool>,
    path: &RepositoryPath,
    source: &Source,
    rule: &Rule,
    settings: &Settings,
    time: DateTime<Utc>,
) -> Result<(), Error> {
    let refused = |error: crate::domain::rule::RuleError| Error::new(ErrorKind::Refused, error.to_string());
    let reference: Ref = rule.literal_ref().map_err(refused)?;
    let commit = sources::resolve(&pool.home, settings, source, &reference).await?;
    let push = Push { reference, commit, at: time };
    enqueue::unasked(pool, path, rule, push, Trigger::Schedule, None).await?;
    Ok(())
}
