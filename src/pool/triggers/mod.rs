//! Triggers: what makes builds start by themselves. Each reports to the core what it sees; the core decides what becomes
//! of it.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `poller`, `conditional_poll` | sources are asked for their refs, in turn; GitHub first whether anything was pushed |
//! | `webhook_listener` | platforms tell of pushes |
//! | `cron` | rules that have a schedule |
//! | `base_images` | rules that follow their base images |
//!
//! Another trigger is a file with an implementation of [`Trigger`] and a row in [`begin`].

mod base_images;
mod conditional_poll;
mod cron;
mod poller;
mod webhook_listener;

use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::core::{Announcement, Ask, Due, Response};
use super::tasks::{TaskContext, record_reader};
use crate::domain::name::RepositoryPath;
use crate::domain::rule_history::RuleHistory;
use crate::protocol::{Error, ErrorKind};

/// The clock may be set, and a machine may sleep: it is looked at again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Triggers that are told to end may take so long.
const LAST_REPORTS: Duration = Duration::from_secs(2);

/// What makes builds start by itself.
trait Trigger: Send + 'static {
    /// What the log calls it.
    fn name(&self) -> &'static str;

    /// Watches and reports until the pool ends.
    fn run(self: Box<Self>, context: TriggerContext) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A source that is to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pool) struct PollRequest {
    /// The repository.
    pub path: RepositoryPath,
    /// Now; otherwise in its turn, but then for certain.
    pub now: bool,
}

/// The triggers at work.
pub(in crate::pool) struct Triggers(JoinSet<()>);

/// Sets all triggers to work.
pub(in crate::pool) fn begin(context: &TaskContext, polls: mpsc::UnboundedReceiver<PollRequest>) -> Triggers {
    let triggers: [Box<dyn Trigger>; 4] = [
        Box::new(poller::Poller::new(polls)),
        Box::new(webhook_listener::WebhookListener),
        Box::new(cron::Cron),
        Box::new(base_images::BaseImages),
    ];
    let mut tasks = JoinSet::new();
    for trigger in triggers {
        tracing::debug!("trigger {} begins", trigger.name());
        tasks.spawn(trigger.run(TriggerContext(context.clone())));
    }
    Triggers(tasks)
}

impl Triggers {
    /// Waits for their end, once the pool was told to end.
    pub(in crate::pool) async fn end(mut self) {
        let _ = tokio::time::timeout(LAST_REPORTS, async { while self.0.join_next().await.is_some() {} }).await;
    }
}

/// What every trigger reports through.
#[derive(Clone)]
struct TriggerContext(TaskContext);

impl Deref for TriggerContext {
    type Target = TaskContext;

    fn deref(&self) -> &TaskContext {
        &self.0
    }
}

impl TriggerContext {
    /// A rule is due. An answer does not mean that it is built: it may be the same as another one, or be refused.
    async fn due(&self, due: Due) -> Result<(), Error> {
        done(self.ask(Ask::Due(due)).await)
    }

    /// A webhook tells of pushes. They are in the journal, or the source is asked for them, once this returns.
    async fn announce(&self, path: RepositoryPath, announcement: Announcement) -> Result<(), Error> {
        done(self.ask(Ask::Announce { path, announcement }).await)
    }

    /// The past of a rule, once all finished builds are known.
    async fn history(&self, path: &RepositoryPath, rule: &str) -> RuleHistory {
        record_reader::history(self, path, rule).await
    }

    /// Sleeps until a time, or until the clock was set or the pool ends.
    async fn sleep_until(&self, at: DateTime<Utc>) {
        let wait = (at - Utc::now() + TimeDelta::milliseconds(1)).to_std().unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(wait.min(LOOK_AGAIN)) => {}
            () = self.stopped() => {}
        }
    }
}

fn done(response: Response) -> Result<(), Error> {
    match response {
        Response::Done | Response::Queued { .. } => Ok(()),
        Response::Error(error) => Err(error),
        other => Err(Error::new(ErrorKind::Failed, format!("the pool answered {other}"))),
    }
}
