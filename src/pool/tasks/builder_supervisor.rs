//! Supervises managed daemons: starts or adopts one, keeps it alive, restarts it with other settings, ends it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{TaskContext, managed_builder};
use crate::buildkit::daemon::{Spec, supervise};
use crate::pool::core::{BuilderKey, Event, ManagedEvent};

/// How long the managed daemon may take to end before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The daemons that are supervised: the ways to their supervisions.
#[derive(Debug, Default)]
pub(in crate::pool) struct Supervisions(BTreeMap<BuilderKey, mpsc::Sender<supervise::Order>>);

impl Supervisions {
    /// Starts, or adopts, a daemon and keeps it alive.
    pub(in crate::pool) fn begin(&mut self, context: &TaskContext, builder: BuilderKey, spec: Spec) {
        let (orders, inbox) = mpsc::channel(4);
        let (sender, events) = mpsc::channel(16);
        tokio::spawn(supervise::supervise(spec, inbox, sender));
        tokio::spawn(relay(context.clone(), builder.clone(), events));
        context.report(Event::Managed { builder: builder.clone(), event: ManagedEvent::Supervised });
        self.0.insert(builder, orders);
    }

    /// Ends a daemon and starts this one instead. A full channel holds an order that is newer than the daemon: when that
    /// one has come up, the core compares again.
    pub(in crate::pool) fn restart(&self, builder: &BuilderKey, spec: Box<Spec>) {
        if let Some(orders) = self.0.get(builder) {
            let _ = orders.try_send(supervise::Order::Restart { spec, grace: STOP_GRACE });
        }
    }

    /// Ends the supervision of a builder that is no longer wanted; its daemon goes on.
    pub(in crate::pool) fn leave(&mut self, builder: &BuilderKey) {
        // Without anybody to give orders, a supervision ends.
        self.0.remove(builder);
    }

    /// Ends the daemons, or leaves them to the last builds that use them.
    pub(in crate::pool) async fn end(&mut self, builds_go_on: bool) {
        for orders in std::mem::take(&mut self.0).into_values() {
            let order = match builds_go_on {
                true => supervise::Order::Leave,
                false => supervise::Order::Stop { grace: STOP_GRACE },
            };
            // A supervision that is gone has nothing to end.
            let _ = orders.send(order).await;
            orders.closed().await;
        }
    }
}

/// Works out the daemon that the settings ask for now.
pub(in crate::pool) async fn specify(context: TaskContext, builder: BuilderKey) {
    let settings = context.settings();
    let home = context.home.clone();
    let spec = tokio::task::spawn_blocking(move || managed_builder::spec(&home, &settings)).await;
    let spec = spec.unwrap_or_else(|error| Err(format!("an internal task failed: {error}")));
    let wanted = match spec {
        Ok(spec) => managed_builder::try_sandbox(&spec.tools).await.map(|()| Box::new(spec)),
        Err(reason) => Err(reason),
    };
    context.report(Event::Managed { builder, event: ManagedEvent::Wanted(wanted) });
}

async fn relay(context: TaskContext, builder: BuilderKey, mut events: mpsc::Receiver<supervise::Event>) {
    use supervise::Event as Happened;
    let name = builder.name.clone();
    while let Some(event) = events.recv().await {
        let event = match event {
            Happened::Started { address, process, config } => {
                tracing::info!("builder {name} started: pid {}, {address}", process.pid);
                ManagedEvent::Started { address, config }
            }
            Happened::Adopted { address, process, differs, config } => {
                tracing::info!("builder {name} runs already: pid {}, {address}", process.pid);
                ManagedEvent::Adopted { address, config: (!differs).then_some(config) }
            }
            Happened::Died { status, log_tail, next_try } => {
                let status = status.unwrap_or_else(|| "its exit status is not known".into());
                tracing::warn!("builder {name} died ({status}), next try in {next_try:?}; its last words:\n{log_tail}");
                ManagedEvent::Gone
            }
            Happened::RestartFailed { error, next_try } => {
                tracing::error!("builder {name} cannot be started, next try in {next_try:?}: {error}");
                ManagedEvent::Failed(error)
            }
            Happened::Stopped => ManagedEvent::Gone,
            Happened::StopFailed { error } => {
                tracing::error!("builder {name} cannot be stopped: {error}");
                continue;
            }
        };
        context.report(Event::Managed { builder: builder.clone(), event });
    }
}
