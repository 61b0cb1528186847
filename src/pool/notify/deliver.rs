//! The task that empties the outbox. It sleeps until there is something to send, or to send again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::task::{Id, JoinSet};

use super::send::{self, SendError};
use crate::domain::name::RepositoryPath;
use crate::domain::outbox::{Attempt, Content, Fate, Message, Receiver};
use crate::domain::source_platform::SourcePlatform;
use crate::pool::state::Pool;
use crate::store::outbox;
use crate::store::settings::Settings;

/// What is on its way when the pool ends may take so long still; what is cut off is sent again by the next pool.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

type Sending = JoinSet<(Message, Result<(), SendError>)>;

/// Sends what is in the outbox until the pool ends.
pub(in crate::pool) async fn deliver(pool: Arc<Pool>) {
    let mut sending = Sending::new();
    let mut receivers = HashMap::new();
    let mut changes = pool.changes.subscribe();
    let mut known_settings = pool.state().settings_changes;
    loop {
        let (begun, due) = {
            let mut outbox = pool.outgoing.outbox();
            (outbox.begin(Utc::now()), outbox.next_due())
        };
        for message in begun {
            let (pool, receiver) = (pool.clone(), message.receiver());
            let task = sending.spawn(async move {
                let sent = send::send(&pool, &message).await;
                (message, sent)
            });
            receivers.insert(task.id(), receiver);
        }
        let next = async {
            match due {
                Some(due) => tokio::time::sleep((due - Utc::now()).to_std().unwrap_or_default()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pool.stopped() => break,
            () = pool.outgoing.woken.notified() => {}
            () = next => {}
            Some(ended) = sending.join_next_with_id() => take_end(&pool, &mut receivers, ended).await,
            // Most changes are of builds; they are looked at and left.
            _ = changes.changed() => {
                let settings_changes = pool.state().settings_changes;
                if settings_changes != known_settings {
                    known_settings = settings_changes;
                    pool.outgoing.outbox().retry_now();
                    forget_problems_of_the_past(&pool);
                }
            }
        }
    }
    let last = async {
        while let Some(ended) = sending.join_next_with_id().await {
            take_end(&pool, &mut receivers, ended).await;
        }
    };
    let _ = tokio::time::timeout(LAST_ANSWERS, last).await;
}

type End = Result<(Id, (Message, Result<(), SendError>)), tokio::task::JoinError>;

async fn take_end(pool: &Arc<Pool>, receivers: &mut HashMap<Id, Receiver>, ended: End) {
    let (id, attempt, error) = match ended {
        Ok((id, (_, Ok(())))) => (id, Attempt::Delivered, None),
        Ok((id, (_, Err(error)))) => (id, error.attempt(), Some(error)),
        Err(error) => {
            tracing::error!("an internal task failed: {error}");
            (error.id(), Attempt::Failed { wait: None }, None)
        }
    };
    let Some(receiver) = receivers.remove(&id) else { return };
    let fate = pool.outgoing.outbox().ended(&receiver, attempt, Utc::now());
    let why = error.as_ref().map_or_else(|| "an internal task failed".to_owned(), ToString::to_string);
    match fate {
        None => {}
        Some(Fate::Delivered(message)) => {
            tracing::info!("{receiver} was told: {}", message.what());
            tell_problem(pool, receiver.clone(), String::new(), None);
            tell_problem(pool, receiver, message.repository.clone(), None);
            remove(pool, message).await;
        }
        Some(Fate::Replaced(message)) => remove(pool, message).await,
        Some(Fate::GivenUp(message)) => {
            if !matches!(error, Some(SendError::NotConfigured)) {
                let text = match &message.content {
                    Content::Notification { .. } => {
                        format!("{receiver} was not told: {} is given up: {why}", message.what())
                    }
                    // The same words for every build, so that they are told once.
                    Content::Status { .. } => {
                        format!("{receiver} takes no statuses of {}: {why}", message.repository)
                    }
                };
                tell_problem(pool, receiver, message.repository.clone(), Some(text));
            }
            remove(pool, message).await;
        }
        Some(Fate::Again { at }) => {
            let text = format!("{receiver} is not told yet: {why}; it is tried again, for a day at the most");
            tracing::debug!("{text}; next at {at}");
            tell_problem(pool, receiver, String::new(), Some(text));
        }
    }
}

/// Removes from the disk what is done with.
async fn remove(pool: &Arc<Pool>, message: Message) {
    let home = pool.home.clone();
    match tokio::task::spawn_blocking(move || outbox::remove(&home, &message)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("{error}; the next pool sends it again"),
        Err(error) => tracing::error!("an internal task failed: {error}"),
    }
}

/// As [`remove`], for those who don't wait for it.
pub(super) fn forget(pool: &Arc<Pool>, message: Message) {
    let pool = pool.clone();
    tokio::spawn(async move { remove(&pool, message).await });
}

/// Tells the clients who can't be told, or that it can be again; in the log once, until the reason is another. `repository`: of which one; "": of all.
pub(super) fn tell_problem(pool: &Pool, receiver: Receiver, repository: String, problem: Option<String>) {
    let key = (receiver, repository);
    let changed = {
        let mut state = pool.state();
        let known = state.untold.get(&key);
        let changed = known != problem.as_ref();
        if let Some(problem) = problem.filter(|_| changed) {
            tracing::warn!("{problem}");
            state.untold.insert(key, problem);
        } else if changed {
            state.untold.remove(&key);
        }
        changed
    };
    if changed {
        pool.tell_watchers();
    }
}

/// Forgets the problems with what is no longer configured.
fn forget_problems_of_the_past(pool: &Pool) {
    let mut state = pool.state();
    let settings = &state.settings;
    let gone: Vec<_> = state.untold.keys().filter(|key| !is_configured(settings, key)).cloned().collect();
    gone.iter().for_each(|key| drop(state.untold.remove(key)));
}

fn is_configured(settings: &Settings, (receiver, repository): &(Receiver, String)) -> bool {
    let receiver = match receiver {
        Receiver::Notification(name) => settings.config.notify.iter().any(|notify| notify.name == *name),
        Receiver::Platform(name) => settings.platforms.get(name).is_some_and(SourcePlatform::takes_statuses),
    };
    let is_there = |path: RepositoryPath| settings.repositories.contains_key(&path);
    receiver && (repository.is_empty() || repository.parse().is_ok_and(is_there))
}
