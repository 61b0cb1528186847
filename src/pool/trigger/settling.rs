//! What becomes of a push that was seen: every rule answers it, builds are queued, older ones end, and all of it is
//! written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::facts::Facts;
use crate::domain::build::{Build, BuildId, CancelRequest};
use crate::domain::journal::{Answer, PushRecord, Verdict, refusal, superseded};
use crate::domain::pattern::Pattern;
use crate::domain::push::Push;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::requester::Requester;
use crate::domain::rule::{Rule, Supersede};
use crate::domain::rule_history::RuleHistory;
use crate::pool::state::{Order, Pool, State};
use crate::pool::{enqueue, entities};
use crate::protocol::{Error, ErrorKind, PausedRule, Reply};

/// A build that could not be queued is tried again after the first time, and then less and less often, down to the
/// second.
const QUEUE_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5 * 60));

/// Asks every rule, starts the builds, and writes down what became of them. `missing` are branches that rules name and
/// the source does not have, where the push is to its default branch.
pub(super) async fn settle(pool: Arc<Pool>, mut push: PushRecord, missing: Vec<String>) {
    // What a person has just saved counts.
    entities::reload(&pool).await;
    let repository = pool.state().settings.repositories.get(&push.repository).cloned();
    let Some(repository) = repository else {
        push.settled = true;
        write_down(&pool, &push).await;
        return;
    };
    let built = builds_of(&pool, &push).await;
    let mut matching = Vec::new();
    for rule in repository.rules.iter().filter(|rule| !built.contains_key(&rule.name)) {
        if refusal(&repository, rule, &push.reference).is_none() {
            matching.push((rule, pool.triggers.past.of(&push.repository, &rule.name, Some(&push.reference)).await));
        }
    }
    let facts = Facts::of(&pool, &push, &repository, &matching).await;
    push.subject.clone_from(&facts.subject);
    let usual_limit = pool.state().settings.config.pool.pause_after;
    for rule in &repository.rules {
        let refused = |(verdict, reason)| Answer { rule: rule.name.clone(), verdict, build: None, reason };
        if let Some(id) = built.get(&rule.name) {
            let reason = reason!("journal.build", build = *id);
            push.answers.push(Answer { build: Some(*id), ..refused((Verdict::Built, reason)) });
            continue;
        }
        let past = matching.iter().find(|(other, _)| other.name == rule.name).map(|(_, past)| past);
        let against = refusal(&repository, rule, &push.reference)
            .map(|(verdict, reason)| (verdict, renamed_default(rule, &push, &missing, reason)))
            .or_else(|| facts.against(rule, &past?.past(&push.reference), is_building(&pool, &push, rule)))
            .or_else(|| paused(&push, past?, rule, usual_limit));
        let answer = match against {
            Some(against) => refused(against),
            None => {
                let wanted =
                    Push { reference: push.reference.clone(), commit: push.commit.clone(), at: push.pushed_at };
                match queue(&pool, &push, rule, wanted).await {
                    Queued::Answered(queued) => answer(&pool, &rule.name, queued, &facts.note()),
                    Queued::Overtaken(against) => refused(against),
                    // The next pool settles it.
                    Queued::PoolEnds => return,
                }
            }
        };
        push.answers.push(answer);
    }
    push.settled = true;
    let answers: Vec<String> = push
        .answers
        .iter()
        .map(|answer| format!("{}: {} ({})", answer.rule, answer.verdict.word(), answer.reason))
        .collect();
    tracing::info!("push {} of {} to {}: {}", push.id, push.reference, push.repository, answers.join("; "));
    // Where it can't be written, the next pool finds the builds by the push that they name.
    write_down(&pool, &push).await;
}

/// What people should know of a rule for a branch that is not there, of a push to the default branch: that may have
/// been renamed.
fn renamed_default(rule: &Rule, push: &PushRecord, missing: &[String], against: Reason) -> Reason {
    let literal = rule.branch.as_ref().filter(|pattern| !pattern.is_regex()).map(Pattern::text);
    match literal.filter(|name| missing.iter().any(|missing| missing == name)) {
        Some(name) => {
            let default = quoted(&push.reference.name);
            reason!("rule.renamed_default", against, name = quoted(name), default)
        }
        None => against,
    }
}

/// What became of queueing the build of a push.
enum Queued {
    Answered(Result<Reply, Error>),
    /// A newer push makes it superfluous.
    Overtaken((Verdict, Reason)),
    PoolEnds,
}

/// Queues the build of a push. What fails for no fault of the push's, such as a full disk, is tried again.
async fn queue(pool: &Arc<Pool>, push: &PushRecord, rule: &Rule, wanted: Push) -> Queued {
    let mut wait = QUEUE_AGAIN.0;
    loop {
        if let Some(overtaken) = overtaken(pool, push, rule) {
            return Queued::Overtaken(overtaken);
        }
        match enqueue::push(pool, &push.repository, rule, wanted.clone(), push.id).await {
            Err(error) if matches!(error.kind, ErrorKind::Failed | ErrorKind::Unreachable) => {
                tracing::warn!("push {} is not built yet: {error}", push.id);
                tokio::select! {
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(QUEUE_AGAIN.1),
                    () = pool.stopped() => return Queued::PoolEnds,
                }
            }
            queued => return Queued::Answered(queued),
        }
    }
}

/// Whether a build of a rule and a push's ref is not finished: what it will have made is not known yet.
fn is_building(pool: &Pool, push: &PushRecord, rule: &Rule) -> bool {
    open_builds(&pool.state(), push, rule).next().is_some()
}

/// Where a rule failed too often for it to be built by itself.
fn paused(push: &PushRecord, past: &RuleHistory, rule: &Rule, usual_limit: u32) -> Option<(Verdict, Reason)> {
    let failures = past.paused(rule, usual_limit)?;
    let paused = PausedRule { repository: push.repository.clone(), rule: rule.name.clone(), failures };
    Some((Verdict::Paused, paused.into()))
}

/// Where a build of a newer push of the same ref was queued meanwhile, and the rule wants the newest alone.
fn overtaken(pool: &Pool, push: &PushRecord, rule: &Rule) -> Option<(Verdict, Reason)> {
    if rule.supersede == Supersede::Never {
        return None;
    }
    let state = pool.state();
    let newer =
        open_builds(&state, push, rule).filter_map(|build| build.push).filter(|newer| *newer > push.id).max()?;
    Some((Verdict::Superseded, reason!("journal.newer_push", newer)))
}

/// The builds of a rule and a push's ref that are not finished.
fn open_builds<'a>(state: &'a State, push: &'a PushRecord, rule: &'a Rule) -> impl Iterator<Item = &'a Build> {
    let builds = state.open.values().map(|entry| &entry.build);
    builds.filter(|build| {
        build.path() == push.repository && build.rule.name == rule.name && build.reference == push.reference
    })
}

fn answer(pool: &Pool, rule: &str, queued: Result<Reply, Error>, note: &str) -> Answer {
    let rule = rule.to_owned();
    match queued {
        Ok(Reply::Queued { build, already: true }) => Answer {
            rule,
            verdict: Verdict::Duplicate,
            build: Some(build.id),
            reason: reason!("journal.duplicate", build = build.id, state = build.state),
        },
        Ok(Reply::Queued { build, .. }) if build.state.is_final() => {
            Answer { rule, verdict: Verdict::Refused, build: Some(build.id), reason: build.reason.clone() }
        }
        Ok(Reply::Queued { build, .. }) => {
            supersede(pool, &build);
            let reason = if note.is_empty() {
                reason!("journal.build", build = build.id)
            } else {
                reason!("journal.build_noted", build = build.id, note)
            };
            Answer { rule, verdict: Verdict::Built, build: Some(build.id), reason }
        }
        Ok(other) => Answer {
            rule,
            verdict: Verdict::Failed,
            build: None,
            reason: reason!("journal.unexpected", answer = quoted(&other)),
        },
        Err(error) => {
            let verdict = if error.kind == ErrorKind::Refused { Verdict::Refused } else { Verdict::Failed };
            Answer { rule, verdict, build: None, reason: error.reason }
        }
    }
}

/// Ends the builds that a newer one makes superfluous.
fn supersede(pool: &Pool, newer: &Build) {
    let state = pool.state();
    for id in superseded(state.open.values().map(|entry| &entry.build), newer) {
        let Some(entry) = state.open.get(&id) else { continue };
        let request = CancelRequest { by: Requester::default(), at: Utc::now(), superseded_by: Some(newer.id) };
        // Where its orders are full, a person has cancelled it already.
        let _ = entry.orders.try_send(Order::Cancel(request));
    }
}

/// Writes a push into the journal, and lets clients know; whether it is there.
pub(super) async fn write_down(pool: &Pool, push: &PushRecord) -> bool {
    let (catalog, push) = (pool.catalog.clone(), push.clone());
    let id = push.id;
    match tokio::task::spawn_blocking(move || catalog.record_push(&push)).await {
        Ok(Ok(())) => {
            pool.state().written.add(id);
            pool.tell_watchers();
            return true;
        }
        Ok(Err(error)) => tracing::error!("push {id} can't be recorded: {error}"),
        Err(error) => tracing::error!("an internal task failed: {error}"),
    }
    false
}

/// The builds that an earlier pool started for a push before it could write that down, by their rules.
async fn builds_of(pool: &Pool, push: &PushRecord) -> BTreeMap<String, BuildId> {
    // A pool that saw the push itself has started none yet.
    if push.pushed_at >= pool.started_at {
        return BTreeMap::new();
    }
    let (catalog, id, since) = (pool.catalog.clone(), push.id, push.pushed_at);
    let builds = match tokio::task::spawn_blocking(move || catalog.builds_of_push(id, since)).await {
        Ok(Ok(builds)) => builds,
        Ok(Err(error)) => {
            tracing::error!("the builds of push {id} can't be told: {error}");
            Vec::new()
        }
        Err(error) => {
            tracing::error!("an internal task failed: {error}");
            Vec::new()
        }
    };
    builds.into_iter().map(|build| (build.rule.name, build.id)).collect()
}
