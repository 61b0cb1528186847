//! The trait of all triggers, and what they report through.

use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::name::RepositoryPath;
use crate::domain::reason::reason;
use crate::domain::rule_history::RuleHistory;
use crate::pool::core::{Announcement, Ask, Due, Response};
use crate::pool::tasks::{TaskContext, record_reader};
use crate::protocol::{Error, ErrorKind};

/// The clock may be set, and a machine may sleep: it is looked at again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What makes builds start by itself.
pub(super) trait Trigger: Send + 'static {
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

/// What every trigger reports through.
#[derive(Clone)]
pub(super) struct TriggerContext(TaskContext);

impl Deref for TriggerContext {
    type Target = TaskContext;

    fn deref(&self) -> &TaskContext {
        &self.0
    }
}

impl TriggerContext {
    /// A context on top of that of the tasks.
    pub(super) fn new(context: TaskContext) -> Self {
        TriggerContext(context)
    }

    /// A rule is due. An answer does not mean that it is built: it may be the same as another one, or be refused.
    pub(super) async fn due(&self, due: Due) -> Result<(), Error> {
        done(self.ask(Ask::Due(due)).await)
    }

    /// A webhook tells of pushes. They are in the journal, or the source is asked for them, once this returns.
    pub(super) async fn announce(&self, path: RepositoryPath, announcement: Announcement) -> Result<(), Error> {
        done(self.ask(Ask::Announce { path, announcement }).await)
    }

    /// The past of a rule, once all finished builds are known.
    pub(super) async fn history(&self, path: &RepositoryPath, rule: &str) -> RuleHistory {
        record_reader::history(self, path, rule).await
    }

    /// Sleeps until a time, or until the clock was set or the pool ends.
    pub(super) async fn sleep_until(&self, at: DateTime<Utc>) {
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
        other => Err(Error::new(ErrorKind::Failed, reason!("journal.unexpected", answer = other.to_string()))),
    }
}
