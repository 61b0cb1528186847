//! Recording changes in the audit log: those that clients ask for, those in files that people edit, and slipway's own.
//!
//! The server hands every request to [`carry_out`]; whether it is a change, [`Request::change`] says for each kind of
//! request.

use std::collections::BTreeSet;
use std::future::Future;

use serde::Serialize;
use serde_json::Value;

use super::{TaskContext, task_failed};
use crate::domain::audit::{AuditEvent, FieldChange, Outcome, changes};
use crate::domain::build::BuildId;
use crate::domain::name::RepositoryPath;
use crate::domain::problem::Topic;
use crate::domain::reason::{Reason, reason};
use crate::domain::requester::Requester;
use crate::protocol::{Change, ChangedObject, EntityName, Error, ErrorKind, Reply, Request};
use crate::store::settings::Settings;
use crate::store::{audit, builds};

/// Carries a request out by `work` and, where it is a change, records it before its answer is given. Changes of settings
/// are recorded by [`record_edit`].
///
/// A log that can't be written stops no change: on a full disk, cancelling a build or deleting a tag may be the cure.
/// The pool's status then says that changes are not recorded.
pub(in crate::pool) async fn carry_out<F>(
    context: &TaskContext,
    by: &Requester,
    request: Request,
    work: impl FnOnce(Request) -> F,
) -> Result<Reply, Error>
where
    F: Future<Output = Result<Reply, Error>>,
{
    let Some(change) = request.change() else { return work(request).await };
    if matches!(change.object, ChangedObject::Entity(_)) {
        return work(request).await;
    }
    let object = object(context, &change);
    let retried = match request {
        Request::Retry { id } => Some(id),
        _ => None,
    };
    let result = work(request).await;
    let (outcome, detail) = ending(&result, retried);
    let verb = verb(&change, true);
    let event = AuditEvent { by: by.clone(), verb, object, outcome, detail, changes: Vec::new() };
    record(context, vec![event]).await;
    result
}

/// Carries a change of settings out by `work` and records it. The caller sees to it that nobody else changes them
/// meanwhile.
pub(in crate::pool) async fn record_edit(
    context: &TaskContext,
    by: &Requester,
    request: Request,
    work: impl AsyncFnOnce(Request) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(Change { verb: _, object: ChangedObject::Entity(name) }) = request.change() else {
        return work(request).await;
    };
    let Some(change) = request.change() else { return work(request).await };
    let (before, secrets) = (value_of(&context.settings(), &name), stored_secrets(&request));
    let result = work(request).await;
    let (outcome, detail) = match &result {
        Ok(()) => (Outcome::Done, Reason::default()),
        Err(error) => of_error(error),
    };
    let mut fields = changes(before.as_ref(), value_of(&context.settings(), &name).as_ref());
    if outcome == Outcome::Done {
        fields.extend(secrets);
    }
    let (verb, object) = (verb(&change, before.is_some()), name.object());
    record(context, vec![AuditEvent { by: by.clone(), verb, object, outcome, detail, changes: fields }]).await;
    result
}

/// Records a change that was refused before anything was done.
pub(in crate::pool) async fn record_refusal(context: &TaskContext, by: &Requester, request: &Request, error: &Error) {
    let Some(change) = request.change() else { return };
    let was_there = match &change.object {
        ChangedObject::Entity(name) => value_of(&context.settings(), name).is_some(),
        _ => true,
    };
    let (outcome, detail) = of_error(error);
    let (verb, object) = (verb(&change, was_there), object(context, &change));
    record(context, vec![AuditEvent { by: by.clone(), verb, object, outcome, detail, changes: Vec::new() }]).await;
}

/// Records what changed from one state of the settings to another, apart from what a request that is recorded itself
/// changed.
pub(in crate::pool) async fn settings_changed(
    context: &TaskContext,
    by: &str,
    before: &Settings,
    after: &Settings,
    recorded: Option<&EntityName>,
) {
    let event = |name: EntityName| {
        let (was, is) = (value_of(before, &name), value_of(after, &name));
        let action = match (&was, &is) {
            (None, _) => "create",
            (_, None) => "delete",
            _ => "edit",
        };
        AuditEvent {
            by: Requester::part(by),
            verb: format!("{}.{action}", name.kind()),
            object: name.object(),
            outcome: Outcome::Done,
            detail: Reason::default(),
            changes: changes(was.as_ref(), is.as_ref()),
        }
    };
    let mut events: Vec<AuditEvent> =
        differing(before, after).into_iter().filter(|name| !is_part_of(name, recorded)).map(event).collect();
    if before.config != after.config {
        events.push(AuditEvent {
            by: Requester::part(by),
            verb: "config.edit".into(),
            object: "config.toml".into(),
            outcome: Outcome::Done,
            detail: Reason::default(),
            changes: changes(json(&before.config).as_ref(), json(&after.config).as_ref()),
        });
    }
    if !events.is_empty() {
        record(context, events).await;
    }
}

/// Whether a change of `name` is what the request changed: a rule is a part of its repository's file.
fn is_part_of(name: &EntityName, recorded: Option<&EntityName>) -> bool {
    match (name, recorded) {
        (EntityName::Repository(path), Some(EntityName::Rule(of, _))) => path == of,
        (name, recorded) => Some(name) == recorded,
    }
}

/// The things that differ between two states of the settings.
fn differing(before: &Settings, after: &Settings) -> Vec<EntityName> {
    fn keys<K: Ord + Clone, V: PartialEq>(
        before: &std::collections::BTreeMap<K, V>,
        after: &std::collections::BTreeMap<K, V>,
    ) -> Vec<K> {
        let names: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
        names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
    }
    let mut names: Vec<EntityName> = Vec::new();
    names.extend(keys(&before.namespaces, &after.namespaces).into_iter().map(EntityName::Namespace));
    names.extend(keys(&before.repositories, &after.repositories).into_iter().map(EntityName::Repository));
    names.extend(keys(&before.builders, &after.builders).into_iter().map(EntityName::Builder));
    names.extend(keys(&before.registries, &after.registries).into_iter().map(EntityName::Registry));
    names.extend(keys(&before.platforms, &after.platforms).into_iter().map(EntityName::Platform));
    names
}

/// Writes entries; what can't be written is told in the pool's status.
async fn record(context: &TaskContext, events: Vec<AuditEvent>) {
    let home = context.home.clone();
    let work = move || events.into_iter().try_for_each(|event| audit::append(&home, event).map(drop));
    let written = tokio::task::spawn_blocking(work).await.map_err(|error| task_failed(&error));
    let problem = written.and_then(|written| written.map_err(Reason::from)).err();
    context.problem(Topic::AuditLog, problem);
}

fn json<T: Serialize>(value: &T) -> Option<Value> {
    serde_json::to_value(value).ok()
}

fn value_of(settings: &Settings, name: &EntityName) -> Option<Value> {
    match name {
        EntityName::Namespace(name) => settings.namespaces.get(name).and_then(json),
        EntityName::Repository(path) => settings.repositories.get(path).and_then(json),
        EntityName::Rule(path, rule) => settings.repositories.get(path).and_then(|at| at.rule(rule)).and_then(json),
        EntityName::Builder(name) => settings.builders.get(name).and_then(json),
        EntityName::Registry(host) => settings.registries.get(host).and_then(json),
        EntityName::Platform(name) => settings.platforms.get(name).and_then(json),
        // Its value is nobody's business.
        EntityName::Secret(_) => None,
    }
}

fn verb(change: &Change, was_there: bool) -> String {
    match &change.object {
        // Whether it was there is known to nobody but its file.
        ChangedObject::Entity(EntityName::Secret(_)) if change.verb == "save" => "secret.store".into(),
        ChangedObject::Entity(name) if change.verb == "save" => {
            format!("{}.{}", name.kind(), if was_there { "edit" } else { "create" })
        }
        ChangedObject::Entity(name) => format!("{}.{}", name.kind(), change.verb),
        ChangedObject::Pool => format!("pool.{}", change.verb),
        ChangedObject::Build(_) | ChangedObject::Of(..) | ChangedObject::Notification(_) => change.verb.to_owned(),
    }
}

fn object(context: &TaskContext, change: &Change) -> String {
    match &change.object {
        ChangedObject::Entity(name) => name.object(),
        ChangedObject::Build(id) => {
            let open = context.snapshot().builds.get(id).map(|build| build.path());
            let path = open.or_else(|| builds::load(&context.home, *id).ok().map(|build| build.path()));
            of_repository(path.as_ref(), &format!("build {id}"))
        }
        ChangedObject::Of(path, what) => of_repository(Some(path), what),
        ChangedObject::Notification(name) => format!("notification {name}"),
        ChangedObject::Pool => "pool".into(),
    }
}

fn of_repository(path: Option<&RepositoryPath>, what: &str) -> String {
    match path {
        Some(path) if what.is_empty() => path.to_string(),
        Some(path) => format!("{path} {what}"),
        None => what.to_owned(),
    }
}

/// The files under `secrets/` that a request stores a secret in.
fn stored_secrets(request: &Request) -> Vec<FieldChange> {
    let Request::Save { entity, .. } = request else { return Vec::new() };
    super::settings_service::secret_files(entity).iter().map(|file| FieldChange::secret(file)).collect()
}

/// How a change ended. A build that was to be `retried` and waits for its next attempt is attempted at once: it stays the
/// same build.
fn ending(result: &Result<Reply, Error>, retried: Option<BuildId>) -> (Outcome, Reason) {
    match result {
        Ok(Reply::Queued { build, .. }) if retried == Some(build.id) => {
            let (id, attempt) = (build.id, build.present_attempt());
            let most = build.most_attempts.unwrap_or(attempt);
            (Outcome::Done, reason!("build.attempt_starts", attempt, most, id))
        }
        Ok(Reply::Queued { build, already: true }) => (Outcome::Done, reason!("audit.build_existed", id = build.id)),
        Ok(Reply::Queued { build, .. }) if build.state.is_final() => {
            (Outcome::Refused, reason!("audit.build_refused", id = build.id, reason = build.reason))
        }
        Ok(Reply::Queued { build, .. }) => (Outcome::Done, reason!("audit.build", id = build.id)),
        Ok(_) => (Outcome::Done, Reason::default()),
        Err(error) => of_error(error),
    }
}

fn of_error(error: &Error) -> (Outcome, Reason) {
    let refused = matches!(error.kind, ErrorKind::Refused | ErrorKind::Usage | ErrorKind::NotFound);
    (if refused { Outcome::Refused } else { Outcome::Failed }, error.reason.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{Build, sample, sample_retried};
    use crate::domain::builder::{Builder, BuilderKind};
    use crate::domain::namespace::Namespace;
    use crate::domain::push::{Ref, RefKind};
    use crate::protocol::samples;

    fn path() -> RepositoryPath {
        RepositoryPath { namespace: "acme".into(), repository: "api".into() }
    }

    /// What is recorded of a request: the verb for something new, and for something that is there.
    fn verbs(request: &Request) -> Option<(String, String)> {
        let change = request.change()?;
        Some((verb(&change, false), verb(&change, true)))
    }

    #[test]
    fn every_request_is_a_change_with_a_verb_or_only_asks() {
        let changes = [
            ("stop", "pool.stop", "pool.stop"),
            ("save", "rule.create", "rule.edit"),
            ("save-namespace", "namespace.create", "namespace.edit"),
            ("save-repository", "repository.create", "repository.edit"),
            ("save-builder", "builder.create", "builder.edit"),
            ("save-registry", "registry.create", "registry.edit"),
            ("save-platform", "platform.create", "platform.edit"),
            ("save-secret", "secret.store", "secret.store"),
            ("delete", "platform.delete", "platform.delete"),
            ("start", "build.start", "build.start"),
            ("replay", "build.replay", "build.replay"),
            ("retry", "build.retry", "build.retry"),
            ("cancel", "build.cancel", "build.cancel"),
            ("register_webhook", "webhook.register", "webhook.register"),
            ("test_notification", "notification.test", "notification.test"),
            ("delete_tag", "tag.delete", "tag.delete"),
            ("move_tag", "tag.move", "tag.move"),
        ];
        for (name, request) in samples::requests() {
            let expected = changes.iter().find(|(change, ..)| *change == name);
            let expected = expected.map(|(_, new, there)| ((*new).to_owned(), (*there).to_owned()));
            assert_eq!(verbs(&request), expected, "{name}: {request:?}");
        }
    }

    #[test]
    fn a_replay_names_the_ref_that_it_builds() {
        let reference = Ref { kind: RefKind::Tag, name: "v1".into() };
        let change = Request::Replay { path: path(), rule: "main".into(), reference }.change().unwrap();
        assert_eq!(change.object, ChangedObject::Of(path(), "rule main refs/tags/v1".into()));
    }

    #[test]
    fn what_a_file_changed_is_told_apart_from_what_the_request_did() {
        let mut before = Settings::default();
        before.namespaces.insert("acme".into(), Namespace::default());
        let mut after = before.clone();
        after.namespaces.insert("other".into(), Namespace::default());
        after.builders.insert("b".into(), Builder::of(BuilderKind::Fresh));
        let names = differing(&before, &after);
        assert_eq!(names, [EntityName::Namespace("other".into()), EntityName::Builder("b".into())]);
        assert!(is_part_of(&names[0], Some(&names[0])) && !is_part_of(&names[0], Some(&names[1])));
        assert!(is_part_of(&EntityName::Repository(path()), Some(&EntityName::Rule(path(), "main".into()))));
    }

    #[test]
    fn a_retry_is_another_attempt_of_a_build_that_waits_for_one_and_else_another_build() {
        let build = Box::new(sample_retried());
        let detail =
            |retried| ending(&Ok(Reply::Queued { build: build.clone(), already: true }), retried).1.to_string();
        assert_eq!(detail(Some(build.id)), "attempt 2 of 4 of build #7 starts now");
        assert_eq!(detail(None), "build #7 was there already");
        let another = Box::new(Build { id: BuildId(8), ..sample() });
        let result = Ok(Reply::Queued { build: another, already: false });
        assert_eq!(ending(&result, Some(build.id)).1.to_string(), "build #8");
    }
}
