//! Telling others what becomes of builds: notifications, and the statuses of commits on their platforms.
//!
//! What a change of a build means for others is in the outbox on disk before the record says that it changed, and is sent once
//! the record does: a pool that is killed anywhere in between loses none of it. It is sent again only where the pool dies between
//! an answer and its noting.

mod deliver;
mod send;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

pub(super) use deliver::deliver;

use super::enqueue::{blocking, failed};
use super::state::Pool;
use crate::domain::build::Build;
use crate::domain::build_query::{BuildQuery, MOST_OF_PAGE};
use crate::domain::commit_status::CommitStatus;
use crate::domain::config::NotifyConfig;
use crate::domain::notification::{self, Body, Event};
use crate::domain::outbox::{Content, Dropped, Message, Outbox};
use crate::domain::source_platform::SourcePlatform;
use crate::protocol::{Error, ErrorKind, Reply};
use crate::store::{Catalog, Home, outbox};

/// How soon it is tried again to write what can't be written, such as on a full disk.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// So many builds of the same rule and ref are looked at for the one before that says something of the rule.
const LOOKED_BACK: usize = 50;

/// What is on its way to others.
#[derive(Default)]
pub(super) struct Outgoing {
    outbox: Mutex<Outbox>,
    /// There is something to send.
    woken: Notify,
    /// Made when the first URL is sent to: most pools send to none.
    client: OnceLock<reqwest::Client>,
}

impl Outgoing {
    /// What an earlier pool did not get delivered.
    pub(super) fn of_earlier(home: &Home) -> Outgoing {
        if let Err(error) = outbox::clean(home) {
            tracing::warn!("{error}");
        }
        let outgoing = Outgoing::default();
        match outbox::load(home) {
            Ok((messages, problems)) => {
                problems.iter().for_each(|problem| tracing::warn!("{problem}"));
                for message in messages {
                    // The earlier pool died before it could forget it.
                    let dropped = outgoing.outbox().add(message);
                    if let Some(Dropped::Replaced(message) | Dropped::TooMany(message)) = dropped
                        && let Err(error) = outbox::remove(home, &message)
                    {
                        tracing::warn!("{error}");
                    }
                }
            }
            Err(error) => tracing::error!("cannot list {}: {error}", outbox::directory(home).display()),
        }
        outgoing
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // A task that panicked while it held the lock left plain data behind, which is as good as it was.
        self.outbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What is in the outbox on disk, and is not sent yet.
#[must_use = "it is sent by the next pool only"]
pub(super) struct Noted(Vec<Message>);

/// Puts what a build's state means for others into the outbox on disk, however long the disk is full.
pub(super) async fn note(pool: &Arc<Pool>, build: &Build) -> Noted {
    let mut told = false;
    loop {
        match try_note(pool, build).await {
            Ok(noted) => return noted,
            Err(error) => {
                if !told {
                    tracing::error!("{error}; it is tried again until it works");
                    told = true;
                }
                tokio::time::sleep(WRITE_AGAIN).await;
            }
        }
    }
}

/// As [`note`], once.
///
/// # Errors
/// When it can't be written; then nothing is left of it.
pub(super) async fn try_note(pool: &Arc<Pool>, build: &Build) -> Result<Noted, Error> {
    let (notify, platform) = {
        let settings = &pool.state().settings;
        let path = build.path();
        let notify: Vec<NotifyConfig> =
            settings.config.notify.iter().filter(|notify| notify.is_for(&path)).cloned().collect();
        let takes_statuses = |name: &&String| settings.platforms.get(*name).is_some_and(SourcePlatform::takes_statuses);
        (notify, build.platform.as_ref().filter(takes_statuses).cloned())
    };
    if notify.is_empty() && platform.is_none() {
        return Ok(Noted(Vec::new()));
    }
    let wanted = notify.iter().any(|notify| notify.events.contains(&Event::Paused));
    let pauses = wanted && notification::is_failure(build) && pauses(pool, build).await;
    let (home, catalog, build) = (pool.home.clone(), pool.catalog.clone(), build.clone());
    blocking(move || {
        let messages = messages(&home, &catalog, &build, pauses, &notify, platform);
        for (index, message) in messages.iter().enumerate() {
            if let Err(error) = outbox::put(&home, message) {
                messages[..index].iter().for_each(|message| drop(outbox::remove(&home, message)));
                return Err(failed(error));
            }
        }
        Ok(Noted(messages))
    })
    .await
}

/// Sends what was noted.
pub(super) fn send(pool: &Arc<Pool>, noted: Noted) {
    if noted.0.is_empty() {
        return;
    }
    let dropped: Vec<Dropped> = {
        let mut outbox = pool.outgoing.outbox();
        noted.0.into_iter().filter_map(|message| outbox.add(message)).collect()
    };
    pool.outgoing.woken.notify_one();
    for dropped in dropped {
        let message = match dropped {
            Dropped::Replaced(message) => message,
            Dropped::TooMany(message) => {
                let text = format!("too much waits for {}; {} is given up", message.receiver(), message.what());
                deliver::tell_problem(pool, message.receiver(), String::new(), Some(text));
                message
            }
        };
        deliver::forget(pool, message);
    }
}

/// Takes back what was noted of a build that could not be recorded.
pub(super) fn withdraw(pool: &Arc<Pool>, noted: Noted) {
    noted.0.into_iter().for_each(|message| deliver::forget(pool, message));
}

/// Tells others of a build's state.
pub(super) async fn tell(pool: &Arc<Pool>, build: &Build) {
    let noted = note(pool, build).await;
    send(pool, noted);
}

/// Marks a build as final whose record says so already, once what that means for others is in the outbox.
pub(super) async fn close(pool: &Arc<Pool>, build: &Build) {
    let noted = note(pool, build).await;
    if let Err(error) = pool.catalog.close(build.id) {
        tracing::error!("cannot close build {}: {error}", build.id);
    }
    send(pool, noted);
}

/// What a build's state means for others: for notifications, and for the platform of its source.
fn messages(
    home: &Home,
    catalog: &Catalog,
    build: &Build,
    pauses: bool,
    notify: &[NotifyConfig],
    platform: Option<String>,
) -> Vec<Message> {
    let failed_before = std::cell::LazyCell::new(|| notification::failed_before(build, earlier(catalog, build)));
    let at = notification::changed_at(build);
    let message = |id: String, content| Message {
        id,
        at,
        build: build.id,
        repository: build.path().to_string(),
        state: build.state,
        content,
    };
    let told = notify.iter().filter_map(|notify| {
        let event = notification::event_for(notify, build, pauses, || *failed_before)?;
        let id = id_of(home, build, &[event.word(), &notify.name]);
        let body = Body { id: &id, event: event.word(), at, host: &host(), build: Some(build.into()) }.json();
        let content = Content::Notification { to: notify.name.clone(), event, body };
        Some(message(id, content))
    });
    let status = platform.and_then(|to| {
        let status = CommitStatus::of(build)?;
        let id = id_of(home, build, &[build.state.word(), "status", &to]);
        let content = Content::Status { to, source: build.source.clone(), commit: build.commit.clone(), status };
        Some(message(id, content))
    });
    told.chain(status).collect()
}

/// Whether a rule is paused because of a build.
async fn pauses(pool: &Arc<Pool>, build: &Build) -> bool {
    let path = build.path();
    let before = pool.triggers.past.of(&path, &build.rule.name, None).await;
    let settings = &pool.state().settings;
    let rule = settings.repositories.get(&path).and_then(|repository| repository.rule(&build.rule.name));
    rule.is_some_and(|rule| before.is_paused_by(build, rule, settings.config.pool.pause_after))
}

/// The builds of the same rule and ref before one, the newest first.
fn earlier(catalog: &Catalog, build: &Build) -> impl Iterator<Item = Build> {
    page(
        catalog,
        BuildQuery {
            repository: Some(build.path()),
            rule: Some(build.rule.name.clone()),
            reference: Some(build.reference.clone()),
            before: Some(build.id),
            limit: LOOKED_BACK,
            ..BuildQuery::default()
        },
    )
}

/// The newest builds of the pool.
fn newest(catalog: &Catalog) -> impl Iterator<Item = Build> {
    page(catalog, BuildQuery { limit: MOST_OF_PAGE, ..BuildQuery::default() })
}

fn page(catalog: &Catalog, query: BuildQuery) -> impl Iterator<Item = Build> + use<> {
    // What can't be listed or read is as though it were not there: a success is then told as no more than that.
    catalog.builds(&query, &BTreeMap::new()).map(|page| page.records).unwrap_or_default().into_iter()
}

/// The same whenever the same is told again, and another one on every other machine and in every other home.
fn id_of(home: &Home, build: &Build, parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    let (home, id, queued) = (home.state_dir().to_string_lossy(), build.id.to_string(), build.queued_at.to_rfc3339());
    for part in [&*host(), &home, &id, &queued].iter().chain(parts) {
        digest.update(part);
        digest.update([0]);
    }
    hex::encode(&digest.finalize()[..16])
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Sends a test to a notification now: what came back.
pub(super) async fn test(pool: &Arc<Pool>, name: &str) -> Result<Reply, Error> {
    super::entities::reload(pool).await;
    let notify = pool.state().settings.config.notify.iter().find(|notify| notify.name == name).cloned();
    let notify = notify.ok_or_else(|| {
        let text = format!("there is no notification {name:?} in config.toml; `slipway notify list` shows them");
        Error::new(ErrorKind::NotFound, text)
    })?;
    let (catalog, wanted) = (pool.catalog.clone(), notify.clone());
    let build = blocking(move || Ok(newest(&catalog).find(|build| wanted.is_for(&build.path())))).await?;
    let now: DateTime<Utc> = Utc::now();
    let id =
        hex::encode(&Sha256::digest(format!("{} {} {name} {now:?}", host(), pool.home.state_dir().display()))[..16]);
    let body = Body { id: &id, event: "test", at: now, host: &host(), build: build.as_ref().map(Into::into) }.json();
    let event = send::Event {
        id: &id,
        word: "test",
        build: build.as_ref().map(|build| build.id),
        repository: &build.as_ref().map_or_else(String::new, |build| build.path().to_string()),
        body: &body,
    };
    let answer = send::notify(pool, &notify, event).await.map_err(failed)?;
    Ok(Reply::Notified { answer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{BuildId, BuildState, Image, sample};

    fn notify(events: &[Event]) -> NotifyConfig {
        NotifyConfig {
            name: "chat".into(),
            url: None,
            command: Some("true".into()),
            events: events.to_vec(),
            repositories: Vec::new(),
            secret: None,
        }
    }

    fn build(id: u64, state: BuildState) -> Build {
        Build { id: BuildId(id), state, platform: Some("github".into()), ..sample() }
    }

    fn github() -> Option<String> {
        Some("github".into())
    }

    #[test]
    fn the_same_change_is_the_same_message_and_another_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let catalog = Catalog::open(&home).unwrap().0;
        let all = |build: &Build| messages(&home, &catalog, build, false, &[notify(&Event::ALL)], github());
        let running = build(7, BuildState::Running);
        assert_eq!(all(&running), all(&running));
        let mut ids: Vec<String> = [running, build(7, BuildState::Queued), build(8, BuildState::Queued)]
            .iter()
            .flat_map(all)
            .map(|message| message.id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6, "each build and state is an event and a status");
    }

    #[test]
    fn a_success_is_fixed_where_the_build_before_it_on_disk_failed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let catalog = Catalog::open(&home).unwrap().0;
        catalog.create(&build(6, BuildState::Failed)).unwrap();
        let image = Image { name: "acme/api:latest".into(), digest: "sha256:d4ef".into(), platforms: Vec::new() };
        let good = |id| Build { images: vec![image.clone()], ..build(id, BuildState::Succeeded) };
        let names = |id| {
            let told = messages(&home, &catalog, &good(id), false, &[notify(&[Event::Fixed])], None);
            told.iter().map(Message::name).collect::<Vec<_>>()
        };
        assert_eq!(names(7), ["7-fixed-chat"]);
        assert_eq!(names(5), Vec::<String>::new(), "what failed later was not mended by it");
    }

    #[test]
    fn a_status_that_a_dead_pool_had_replaced_is_forgotten_and_never_sent() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let catalog = Catalog::open(&home).unwrap().0;
        for build in [build(7, BuildState::Queued), build(7, BuildState::Refused)] {
            for message in messages(&home, &catalog, &build, false, &[], github()) {
                outbox::put(&home, &message).unwrap();
            }
        }
        catalog.create(&build(7, BuildState::Refused)).unwrap();
        let names = |messages: Vec<Message>| messages.iter().map(Message::name).collect::<Vec<_>>();
        let outgoing = Outgoing::of_earlier(&home);
        assert_eq!(names(outbox::load(&home).unwrap().0), ["status-7-refused"]);
        assert_eq!(names(outgoing.outbox().begin(Utc::now())), ["status-7-refused"]);
    }
}
