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
mod trigger;
mod webhook_listener;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::tasks::TaskContext;
pub(in crate::pool) use trigger::PollRequest;
use trigger::{Trigger, TriggerContext};

/// Triggers that are told to end may take so long.
const LAST_REPORTS: Duration = Duration::from_secs(2);

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
        tasks.spawn(trigger.run(TriggerContext::new(context.clone())));
    }
    Triggers(tasks)
}

impl Triggers {
    /// Waits for their end, once the pool was told to end.
    pub(in crate::pool) async fn end(mut self) {
        let _ = tokio::time::timeout(LAST_REPORTS, async { while self.0.join_next().await.is_some() {} }).await;
    }
}
