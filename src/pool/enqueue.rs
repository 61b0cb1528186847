//! New builds: what is asked is checked against the rules, recorded, and queued.

use std::sync::Arc;

use chrono::Utc;
use tokio::sync::{mpsc, watch};

use super::admission::{check_immutable, find_repository, find_rule, only_rule, open_twin, tag_in_use};
use super::state::{Entry, Order, Pool};
use super::{drive, entities, notify, server};
use crate::domain::build::{Build, BuildId, BuildState, RetryCause, Trigger};
use crate::domain::grants;
use crate::domain::journal::PushId;
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::push::{Push, Ref};
use crate::domain::reason::Reason;
use crate::domain::repository::Repository;
use crate::domain::requester::Requester;
use crate::domain::rule::{Rule, Tags};
use crate::protocol::{Error, ErrorKind, Reply};
use crate::services::sources;
use crate::sys::process::ProcessId;

pub(super) fn refused(error: impl ToString) -> Error {
    Error::new(ErrorKind::Refused, error.to_string())
}

pub(super) fn failed(error: impl ToString) -> Error {
    Error::new(ErrorKind::Failed, error.to_string())
}

/// "Build now": a rule whose ref is literal and whose tags are the same for every push.
pub(super) async fn start(
    pool: &Arc<Pool>,
    path: &RepositoryPath,
    rule: Option<&str>,
    by: Requester,
) -> Result<Reply, Error> {
    // What a person has just saved counts, though the watcher may not have told of it yet.
    entities::reload(pool).await;
    let (namespace, repository) = find_repository(pool, path).await?;
    let rule = match rule {
        Some(name) => find_rule(path, &repository, name)?,
        None => only_rule(path, &repository)?,
    };
    let reference = rule.build_now_ref().map_err(refused)?;
    let wish = Wish {
        path,
        namespace: &namespace,
        repository: &repository,
        rule: rule.clone(),
        what: What::Now(reference),
        trigger: Trigger::Manual,
        by,
        note: None,
    };
    build_ref(pool, wish).await
}

/// A rule for a ref as though it had just been pushed.
pub(super) async fn replay(
    pool: &Arc<Pool>,
    path: &RepositoryPath,
    rule: &str,
    reference: Ref,
    by: Requester,
) -> Result<Reply, Error> {
    entities::reload(pool).await;
    let (namespace, repository) = find_repository(pool, path).await?;
    let rule = find_rule(path, &repository, rule)?;
    let (kind, matcher) = rule.matcher().map_err(refused)?;
    if kind != reference.kind || matcher.captures(&reference.name).is_none() {
        let near = (kind == reference.kind).then(|| matcher.near_miss(&reference.name)).flatten();
        let hint = near.map_or_else(String::new, |near| format!(" ({near})"));
        return Err(refused(format!(
            "rule {:?} of {path} does not match {reference}{hint}; `slipway rule preview {path} {}` shows what it matches",
            rule.name, rule.name
        )));
    }
    let wish = Wish {
        path,
        namespace: &namespace,
        repository: &repository,
        rule: rule.clone(),
        what: What::Now(reference),
        trigger: Trigger::Replay,
        by,
        note: None,
    };
    build_ref(pool, wish).await
}

/// What a rule makes of a push that was seen.
pub(super) async fn push(
    pool: &Arc<Pool>,
    path: &RepositoryPath,
    rule: &Rule,
    push: Push,
    id: PushId,
) -> Result<Reply, Error> {
    let (namespace, repository) = find_repository(pool, path).await?;
    let wish = Wish {
        path,
        namespace: &namespace,
        repository: &repository,
        rule: rule.clone(),
        what: What::At(push, Some(id)),
        trigger: Trigger::Push,
        by: Requester::default(),
        note: None,
    };
    build_ref(pool, wish).await
}

/// A commit that nobody pushed or asked for: its time came, or what it is built from changed, as the note says.
pub(super) async fn unasked(
    pool: &Arc<Pool>,
    path: &RepositoryPath,
    rule: &Rule,
    push: Push,
    trigger: Trigger,
    note: Option<String>,
) -> Result<Reply, Error> {
    let (namespace, repository) = find_repository(pool, path).await?;
    let wish = Wish {
        path,
        namespace: &namespace,
        repository: &repository,
        rule: rule.clone(),
        what: What::At(push, None),
        trigger,
        by: Requester::default(),
        note,
    };
    build_ref(pool, wish).await
}

/// A finished build again: the same commit, rule and push time.
pub(super) async fn retry(pool: &Arc<Pool>, id: BuildId, by: Requester) -> Result<Reply, Error> {
    if pool.state().open.contains_key(&id) {
        return Err(refused(format!("build {id} is not finished; cancel it first, or wait for its end")));
    }
    let mut earlier = server::finished(pool, id)?;
    let namespace = pool.state().settings.namespaces.get(&earlier.namespace).cloned().unwrap_or_default();
    if earlier.state == BuildState::Succeeded && earlier.immutable {
        let tags: Vec<&str> = earlier.tags.iter().map(|tag| tag.as_str()).collect();
        check_immutable(pool, &earlier.path(), &namespace, &tags).await?;
    }
    let _admission = pool.admission.lock().await;
    check_not_ending(pool)?;
    if let Some(build) = open_twin(pool, &earlier) {
        return Ok(Reply::Queued { build: Box::new(build), already: true });
    }
    let build = {
        let mut state = pool.state();
        let id = state.take_id();
        let mut build = earlier.again(id, RetryCause::Person, Utc::now());
        build.asked_by = by;
        build
    };
    earlier.retried_as = Some(build.id);
    let build = queue(pool, build).await?;
    let catalog = pool.catalog.clone();
    blocking(move || catalog.save(&earlier).map_err(failed)).await?;
    Ok(Reply::Queued { build: Box::new(build), already: false })
}

/// A build that failed for no fault of its own, once more. Where an earlier pool queued that build and died before it
/// could say so, it is that one.
pub(super) async fn retry_by_itself(
    pool: &Arc<Pool>,
    earlier: &Build,
    cause: RetryCause,
    at: chrono::DateTime<Utc>,
) -> Result<BuildId, Error> {
    let build = {
        let mut state = pool.state();
        let queued = state.open.values().map(|entry| &entry.build).find(|build| build.retry_of == Some(earlier.id));
        if let Some(queued) = queued {
            return Ok(queued.id);
        }
        let id = state.take_id();
        let now = Utc::now();
        Build { not_before: Some(at).filter(|at| *at > now), ..earlier.again(id, cause, now) }
    };
    Ok(queue(pool, build).await?.id)
}

/// Who wants what built.
struct Wish<'a> {
    path: &'a RepositoryPath,
    namespace: &'a Namespace,
    repository: &'a Repository,
    rule: Rule,
    what: What,
    trigger: Trigger,
    by: Requester,
    /// What people should know of why it is built.
    note: Option<String>,
}

/// What is to be built.
enum What {
    /// A ref, as it is now.
    Now(Ref),
    /// This commit; with the push that was seen, where one was.
    At(Push, Option<PushId>),
}

async fn build_ref(pool: &Arc<Pool>, wish: Wish<'_>) -> Result<Reply, Error> {
    let Wish { path, namespace, repository, rule, what, trigger, by, note } = wish;
    let source = repository.source.clone().ok_or_else(|| {
        refused(format!("repository {path} has no source; `slipway repo edit {path} --source URL` binds it to one"))
    })?;
    let (push, push_id) = match what {
        What::At(push, id) => (push, id),
        What::Now(reference) => {
            let settings = pool.state().settings.clone();
            let commit = sources::resolve(&pool.home, &settings, &source, &reference).await?;
            (Push { reference, commit, at: Utc::now() }, None)
        }
    };
    let (tags, refusal) = match rule.tags(&push) {
        Ok(Some(tags)) => (tags, None),
        // The caller has matched the ref, so this is a rule that changed in between.
        Ok(None) => return Err(refused(format!("rule {:?} of {path} does not match {}", rule.name, push.reference))),
        Err(error) => (Tags { tags: Vec::new(), replaced: Vec::new() }, Some(error.to_string())),
    };
    let mut warnings: Vec<String> = note.into_iter().collect();
    warnings.extend(tags.replaced.iter().map(ToString::to_string));
    let forbidden = grants::forbidden(&path.namespace, namespace, &rule).into_iter().next();
    let too_long = || tags.tags.iter().filter(|_| repository.accelerate).find_map(|tag| tag.accelerated().err());
    let refusal = refusal.map(Reason::from).or_else(|| forbidden.map(Reason::from));
    let refusal = match refusal.or_else(|| too_long().map(Reason::from)) {
        Some(refusal) => Some(refusal),
        None if repository.immutable => {
            let names: Vec<&str> = tags.tags.iter().map(|tag| tag.as_str()).collect();
            match check_immutable(pool, path, namespace, &names).await {
                // Nobody waits for a push: it is asked again when the registry can be.
                Err(error) if error.kind == ErrorKind::Unreachable && !trigger.asked_by_person() => return Err(error),
                checked => checked.err().map(|error| error.reason),
            }
        }
        None => None,
    };
    let now = Utc::now();
    let mut build = Build {
        // Given once it is known that it is to be.
        id: BuildId(0),
        namespace: path.namespace.clone(),
        repository: path.repository.clone(),
        reference: push.reference,
        commit: push.commit,
        pushed_at: push.at,
        trigger,
        asked_by: by,
        state: BuildState::Queued,
        reason: Reason::default(),
        queued_at: now,
        started_at: None,
        finished_at: None,
        not_before: None,
        tags: crate::domain::publish::order(&tags.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>())
            .iter()
            .filter_map(|tag| crate::domain::tag::Tag::parse(tag).ok())
            .collect(),
        builders: Vec::new(),
        retry_of: None,
        retried_as: None,
        retry_cause: None,
        push: push_id,
        attempt: 0,
        cancel: None,
        failure: None,
        warnings,
        registry: namespace.registry.clone(),
        source: source.url,
        platform: source.platform,
        fetch: source.fetch,
        immutable: repository.immutable,
        accelerate: repository.accelerate,
        settings: repository.build.clone(),
        rule,
        images: Vec::new(),
    };
    let _admission = pool.admission.lock().await;
    check_not_ending(pool)?;
    if let Some(build) = open_twin(pool, &build) {
        return Ok(Reply::Queued { build: Box::new(build), already: true });
    }
    build.id = pool.state().take_id();
    let refusal = refusal.or_else(|| tag_in_use(pool, &build).map(Reason::from));
    if let Some(reason) = refusal {
        build.become_state(BuildState::Refused, reason, now).map_err(failed)?;
        let (catalog, record) = (pool.catalog.clone(), build.clone());
        blocking(move || catalog.create(&record).map_err(failed)).await?;
        notify::close(pool, &build).await;
        return Ok(Reply::Queued { build: Box::new(build), already: false });
    }
    let build = queue(pool, build).await?;
    Ok(Reply::Queued { build: Box::new(build), already: false })
}

/// A pool that ends takes nothing new; what is to be tried again by itself is recorded for the next one.
fn check_not_ending(pool: &Pool) -> Result<(), Error> {
    if pool.is_stopping() {
        return Err(Error::new(ErrorKind::Unreachable, "the pool is ending; the next command starts a new one"));
    }
    Ok(())
}

/// Records a build and gives it a task; nothing is queued that is not on disk.
async fn queue(pool: &Arc<Pool>, build: Build) -> Result<Build, Error> {
    let (catalog, record) = (pool.catalog.clone(), build.clone());
    let id = build.id;
    let noted = notify::try_note(pool, &build).await?;
    // Whoever sees its files can cancel it: it has its entry before, and its task reads what it was told meanwhile.
    let inbox = admit(pool, build.clone());
    let recorded = blocking(move || {
        let cannot = |error| failed(format!("cannot record build {}: {error}; it is not queued", record.id));
        catalog.create(&record).map_err(cannot)
    })
    .await;
    if let Err(error) = recorded {
        pool.state().open.remove(&id);
        notify::withdraw(pool, noted);
        return Err(error);
    }
    set_going(pool, id, inbox, None);
    notify::send(pool, noted);
    Ok(build)
}

/// Gives an open build its entry and its task.
pub(super) fn enter(pool: &Arc<Pool>, build: Build, runner: Option<ProcessId>) {
    let id = build.id;
    let inbox = admit(pool, build);
    set_going(pool, id, inbox, runner);
}

/// Gives an open build its entry; what its task is to be told.
fn admit(pool: &Arc<Pool>, build: Build) -> mpsc::Receiver<Order> {
    let (orders, inbox) = mpsc::channel(4);
    let news = watch::Sender::new(Arc::new(build.clone()));
    pool.state().open.insert(build.id, Entry { build, orders, news, starting: None });
    inbox
}

fn set_going(pool: &Arc<Pool>, id: BuildId, inbox: mpsc::Receiver<Order>, runner: Option<ProcessId>) {
    tokio::spawn(drive::drive(pool.clone(), id, inbox, runner));
    pool.wake();
}

/// Runs file work off the tasks' threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(failed(format!("an internal task failed: {error}"))))
}
