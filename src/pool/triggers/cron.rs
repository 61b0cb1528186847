//! Rules with a schedule: built when their time comes, though nothing was pushed.
//!
//! When a rule was last built by its schedule is told by its builds, so a time that passed while no pool ran is made up
//! for, once.

use std::collections::BTreeMap;
use std::pin::Pin;

use chrono::{DateTime, Utc};

use super::{Trigger, TriggerContext};
use crate::domain::backoff::Backoff;
use crate::domain::build::Trigger as BuildTrigger;
use crate::domain::name::RepositoryPath;
use crate::domain::rule::Rule;
use crate::domain::schedule::Schedule;
use crate::pool::core::{Due, Target, Topic};
use crate::protocol::{Error, ErrorKind};
use crate::store::settings::Settings;

/// A source that can't be asked is asked again at these intervals, until the next time of the schedule comes.
const ASK_AGAIN: Backoff = Backoff::seconds(10, 10 * 60);

type Name = (RepositoryPath, String);

/// A rule whose time is waited for.
#[derive(Debug, Clone, PartialEq)]
struct Awaited {
    schedule: Schedule,
    /// What came before this is past.
    since: DateTime<Utc>,
}

impl Awaited {
    /// Whether its time came, and the next one. Of several times that passed, one is made up for. A clock that was set
    /// back makes no time wait that was never meant to come so late.
    fn turn(&mut self, now: DateTime<Utc>) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        self.since = self.since.min(now);
        // One that can't be followed could not be saved.
        let Ok(time) = self.schedule.next(self.since) else { return (None, None) };
        if time > now {
            return (None, Some(time));
        }
        self.since = now;
        (Some(time), self.schedule.next(now).ok())
    }
}

/// Builds what has a schedule.
pub(super) struct Cron;

impl Trigger for Cron {
    fn name(&self) -> &'static str {
        "cron"
    }

    fn run(self: Box<Self>, context: TriggerContext) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(follow(context))
    }
}

async fn follow(context: TriggerContext) {
    let mut awaited: BTreeMap<Name, Awaited> = BTreeMap::new();
    let mut known = None;
    while !context.is_stopping() {
        let snapshot = context.snapshot();
        if known != Some(snapshot.settings_changes) {
            let is_first = known.is_none();
            known = Some(snapshot.settings_changes);
            take_over(&context, &snapshot.settings, &mut awaited, is_first).await;
        }
        let now = Utc::now();
        let mut next: Option<DateTime<Utc>> = None;
        for ((path, rule), one) in &mut awaited {
            let (due, after) = one.turn(now);
            if let Some(time) = due {
                tokio::spawn(build(context.clone(), path.clone(), rule.clone(), time));
            }
            next = next.into_iter().chain(after).min();
        }
        let timer = async {
            match next {
                Some(time) => context.sleep_until(time).await,
                None => context.stopped().await,
            }
        };
        tokio::select! {
            () = timer => {}
            _ = context.settings_changed(known.unwrap_or_default()) => {}
        }
    }
}

/// The rules that have a schedule.
fn scheduled(settings: &Settings) -> impl Iterator<Item = (Name, &Schedule)> {
    let repositories = settings.repositories.iter();
    let rules = repositories.flat_map(|(path, repository)| repository.rules.iter().map(move |rule| (path, rule)));
    rules.filter_map(|(path, rule)| Some(((path.clone(), rule.name.clone()), rule.schedule.as_ref()?)))
}

/// Brings what is waited for in line with the settings. A schedule that is new begins now; when the pool begins, builds
/// tell when it was followed last.
async fn take_over(
    context: &TriggerContext,
    settings: &Settings,
    awaited: &mut BTreeMap<Name, Awaited>,
    is_first: bool,
) {
    let mut wanted = BTreeMap::new();
    for (name, schedule) in scheduled(settings) {
        let since = match awaited.remove(&name) {
            Some(known) if known.schedule == *schedule => known.since,
            Some(_) => Utc::now(),
            None if is_first => context.history(&name.0, &name.1).await.scheduled.unwrap_or_else(Utc::now),
            None => Utc::now(),
        };
        wanted.insert(name, Awaited { schedule: schedule.clone(), since });
    }
    *awaited = wanted;
}

/// Builds a rule whose time came.
async fn build(context: TriggerContext, path: RepositoryPath, name: String, time: DateTime<Utc>) {
    let topic = Topic::Schedule(path.clone(), name.clone());
    let mut failures = 0;
    while !context.is_stopping() {
        let settings = context.settings();
        let Some(rule) = find(&settings, &path, &name) else { return };
        let history = context.history(&path, &name).await;
        if let Some(failures) = history.paused(rule, settings.config.pool.pause_after) {
            tracing::info!(
                "the schedule of rule {name:?} of {path}: it failed {failures} times in a row and is paused"
            );
            return;
        }
        let error = match queue(&context, &path, rule, time).await {
            Ok(()) => return context.problem(topic, None),
            Err(error) => error,
        };
        let again = Utc::now() + ASK_AGAIN.wait(failures);
        failures += 1;
        let lasts = matches!(error.kind, ErrorKind::Failed | ErrorKind::Unreachable);
        let next = rule.schedule.as_ref().and_then(|schedule| schedule.next(time).ok());
        let goes_on = lasts && next.is_none_or(|next| again < next);
        let then = if goes_on { "it is tried again" } else { "it is not built this time" };
        let text = format!("the schedule of rule {name:?} of {path}: {error}; {then}");
        context.problem(topic.clone(), Some(text));
        if !goes_on {
            return;
        }
        let mut waits = true;
        while waits && !context.is_stopping() {
            context.sleep_until(again).await;
            waits = Utc::now() < again;
        }
    }
}

fn find<'a>(settings: &'a Settings, path: &RepositoryPath, rule: &str) -> Option<&'a Rule> {
    let repository = settings.repositories.get(path).filter(|repository| repository.source.is_some())?;
    repository.rule(rule).filter(|rule| rule.schedule.is_some())
}

async fn queue(context: &TriggerContext, path: &RepositoryPath, rule: &Rule, time: DateTime<Utc>) -> Result<(), Error> {
    let reference = rule.literal_ref().map_err(|error| Error::new(ErrorKind::Refused, error.to_string()))?;
    let target = Target::Now(reference, Some(time));
    let (path, rule) = (path.clone(), rule.name.clone());
    context.due(Due { path, rule, target, trigger: BuildTrigger::Schedule, note: None }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn awaited(since: &str) -> Awaited {
        let rule: Rule = toml::from_str(
            "name = \"nightly\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }]\nschedule = { cron = \"0 * * * *\" }\n",
        )
        .unwrap();
        Awaited { schedule: rule.schedule.unwrap(), since: at(since) }
    }

    #[test]
    fn of_several_times_that_passed_one_is_made_up_for() {
        let mut hourly = awaited("2026-01-01T00:30:00Z");
        let now = at("2026-01-01T05:10:00Z");
        assert_eq!(hourly.turn(now), (Some(at("2026-01-01T01:00:00Z")), Some(at("2026-01-01T06:00:00Z"))));
        assert_eq!(hourly.turn(now), (None, Some(at("2026-01-01T06:00:00Z"))));
    }

    #[test]
    fn a_clock_that_was_ahead_stops_no_schedule() {
        let mut hourly = awaited("2026-01-11T00:00:00Z");
        let now = at("2026-01-01T00:10:00Z");
        assert_eq!(hourly.turn(now), (None, Some(at("2026-01-01T01:00:00Z"))));
    }
}
