//! Reads what past builds and pushes say of the next ones: asked of the catalog, which knows it without reading records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{TaskContext, task_failed};
use crate::domain::build::Build;
use crate::domain::build_query::BuildQuery;
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::domain::notification;
use crate::domain::push::Ref;
use crate::domain::rule_history::{Past, RuleHistory};
use crate::pool::core::{Event, FoundPush, PastOfBuild};
use crate::store::{Catalog, refs_seen};
use crate::sys::memory;

/// So many builds of the same rule and ref are looked at for the one before that says something of the rule.
const LOOKED_BACK: usize = 50;
/// How soon a catalog that could not be completed, such as on a full disk, is tried again.
const TEND_AGAIN: Duration = Duration::from_secs(10);

/// Asks the catalog, off the tasks' threads.
async fn ask<T: Default + Send + 'static>(
    context: &TaskContext,
    question: impl FnOnce(&Catalog) -> T + Send + 'static,
) -> T {
    let catalog = context.catalog.clone();
    tokio::task::spawn_blocking(move || question(&catalog)).await.unwrap_or_else(|error| {
        tracing::error!("an internal task failed: {error}");
        T::default()
    })
}

/// The past of a rule, once all finished builds are known.
pub(in crate::pool) async fn history(context: &TaskContext, path: &RepositoryPath, rule: &str) -> RuleHistory {
    context.catalog.completed().await;
    let (path, rule) = (path.clone(), rule.to_owned());
    ask(context, move |catalog| catalog.history(&path, &rule, None)).await
}

/// The refs of a rule that were built last, at most `most`, the last built first.
pub(in crate::pool) async fn refs_built(
    context: &TaskContext,
    path: &RepositoryPath,
    rule: &str,
    most: usize,
) -> Vec<(Ref, Past)> {
    context.catalog.completed().await;
    let (path, rule) = (path.clone(), rule.to_owned());
    ask(context, move |catalog| catalog.refs_built(&path, &rule, most)).await
}

/// Whether a build of a repository has published an image.
pub(in crate::pool) async fn has_published(context: &TaskContext, path: &RepositoryPath) -> bool {
    context.catalog.completed().await;
    let states = [crate::domain::build::BuildState::Succeeded].into();
    let query = BuildQuery { repository: Some(path.clone()), states, limit: 1, ..BuildQuery::default() };
    ask(context, move |catalog| catalog.last_build(query, &BTreeMap::new()).ok().flatten()).await.is_some()
}

/// Reads the pasts of the rules that match a push.
pub(in crate::pool) async fn read_push_history(
    context: TaskContext,
    push: PushId,
    path: RepositoryPath,
    reference: Ref,
    rules: Vec<String>,
) {
    context.catalog.completed().await;
    let histories = ask(&context, move |catalog| {
        let history = |rule: String| (rule.clone(), catalog.history(&path, &rule, Some(&reference)));
        rules.into_iter().map(history).collect::<BTreeMap<_, _>>()
    });
    let histories = histories.await;
    context.report(Event::PushHistory { push, histories });
}

/// Reads the past that the end of a build is told by.
pub(in crate::pool) async fn read_build_history(context: TaskContext, build: Arc<Build>) {
    context.catalog.completed().await;
    let id = build.id;
    let past = ask(&context, move |catalog| {
        let query = BuildQuery {
            repository: Some(build.path()),
            rule: Some(build.rule.name.clone()),
            reference: Some(build.reference.clone()),
            before: Some(build.id),
            limit: LOOKED_BACK,
            ..BuildQuery::default()
        };
        // What can't be listed or read is as though it were not there: a success is then told as no more than that.
        let earlier = catalog.builds(&query, &BTreeMap::new()).map(|page| page.records).unwrap_or_default();
        PastOfBuild {
            history: catalog.history(&build.path(), &build.rule.name, Some(&build.reference)),
            failed_before: notification::failed_before(&build, earlier.into_iter()),
        }
    });
    let past = Box::new(past.await);
    context.report(Event::BuildHistory { build: id, past });
}

/// Finds the rules that failed last.
pub(in crate::pool) async fn find_failing_rules(context: TaskContext) {
    context.catalog.completed().await;
    let settings = context.settings();
    let failing = ask(&context, move |catalog| {
        let repositories = settings.repositories.iter();
        let rules = repositories
            .flat_map(|(path, repository)| repository.rules.iter().map(move |rule| (path, rule.name.as_str())));
        catalog.failing(rules)
    });
    let failing = failing.await;
    context.report(Event::RulesFailing(failing));
}

/// Reads the refs of the sources as they were last seen, and finds the pushes that an earlier pool did not come to
/// evaluate, with the builds that it started for them.
pub(in crate::pool) async fn find_pushes(context: TaskContext) {
    context.catalog.completed().await;
    let home = context.home.clone();
    let watched = tokio::task::spawn_blocking(move || {
        let watched = refs_seen::load_all(&home);
        memory::give_back();
        watched
    });
    let watched = watched.await;
    let watched = watched.unwrap_or_else(|error| Err(task_failed(&error)));
    let pushes = ask(&context, move |catalog| {
        let found = |push: crate::domain::journal::PushRecord| {
            let builds = catalog.builds_of_push(push.id, push.pushed_at);
            let builds = builds.unwrap_or_else(|error| {
                tracing::error!("the builds of push {} are not known: {error}", push.id);
                Vec::new()
            });
            // One that tries another one again is not what the push started.
            let started = builds.into_iter().filter(|build| build.retry_of.is_none());
            FoundPush { built: started.map(|build| (build.rule.name, build.id)).collect(), push }
        };
        catalog.unsettled_pushes().into_iter().map(found).collect::<Vec<_>>()
    });
    let pushes = pushes.await;
    context.report(Event::PushesLeft { watched, pushes });
}

/// Keeps the catalog complete and sound, until the pool ends.
pub(in crate::pool) async fn tend(context: TaskContext) {
    let mut damages = context.catalog.damages();
    loop {
        damages.mark_unchanged();
        let worker = context.clone();
        let tended = tokio::task::spawn_blocking(move || {
            let tended = worker.catalog.tend(|| worker.is_stopping());
            memory::give_back();
            tended
        });
        match tended.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the catalog of builds and pushes can't be completed: {error}"),
            Err(error) => tracing::error!("an internal task failed: {error}"),
        }
        let again = async {
            match context.catalog.is_complete() {
                true => std::future::pending().await,
                false => tokio::time::sleep(TEND_AGAIN).await,
            }
        };
        tokio::select! {
            changed = damages.changed() => if changed.is_err() { return },
            () = again => {}
            () = context.stopped() => return,
        }
    }
}
