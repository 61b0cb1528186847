//! Tasks: what commands ask for. Each gets what it needs, does it, and reports events; none holds state or decides.

pub(in crate::pool) mod audit;
pub(in crate::pool) mod build_task;
pub(in crate::pool) mod builder_probe;
pub(in crate::pool) mod builder_supervisor;
pub(in crate::pool) mod dockerfile_outline;
pub(in crate::pool) mod grants;
pub(in crate::pool) mod home_watch;
pub(in crate::pool) mod launcher;
pub(in crate::pool) mod managed_builder;
pub(in crate::pool) mod notifier;
pub(in crate::pool) mod record_reader;
pub(in crate::pool) mod record_writer;
pub(in crate::pool) mod retention;
pub(in crate::pool) mod settings_service;
pub(in crate::pool) mod source_reader;
pub(in crate::pool) mod tag_check;
pub(in crate::pool) mod tag_deletion;
pub(in crate::pool) mod tag_move;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use super::core::{Ask, Event, Machine, RequestId, Response, Snapshot};
use crate::domain::problem::Topic;
use crate::domain::reason::{Reason, output, reason};
use crate::protocol::{Error, ErrorKind};
use crate::store::settings::Settings;
use crate::store::{Catalog, Home};

/// What reaches the main loop.
#[derive(Debug)]
pub(in crate::pool) enum Input {
    /// A fact.
    Event(Event),
    /// A request, and where its answer goes.
    Ask {
        /// The request.
        request: RequestId,
        /// What is asked.
        ask: Ask,
        /// Where the answer goes.
        to: oneshot::Sender<Response>,
    },
}

/// What every task has: the home, the way to the core, and what it published last.
#[derive(Clone)]
pub(in crate::pool) struct TaskContext {
    pub home: Home,
    /// Builds and pushes on disk: records are written through it, and found again.
    pub catalog: Arc<Catalog>,
    pub machine: Arc<Machine>,
    inputs: mpsc::UnboundedSender<Input>,
    requests: Arc<AtomicU64>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    stopping: watch::Receiver<bool>,
}

/// Tells the core when whoever asked does not wait any more.
struct Asking<'a> {
    context: &'a TaskContext,
    request: RequestId,
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.context.report(Event::Abandoned(self.request));
        }
    }
}

impl TaskContext {
    pub(in crate::pool) fn new(
        home: Home,
        catalog: Arc<Catalog>,
        machine: Machine,
        inputs: mpsc::UnboundedSender<Input>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        stopping: watch::Receiver<bool>,
    ) -> TaskContext {
        let machine = Arc::new(machine);
        TaskContext { home, catalog, machine, inputs, requests: Arc::default(), snapshots, stopping }
    }

    /// Reports a fact.
    pub(in crate::pool) fn report(&self, event: Event) {
        // A pool at its end hears nothing more.
        let _ = self.inputs.send(Input::Event(event));
    }

    /// Reports that something is out of order, or well again.
    pub(in crate::pool) fn problem(&self, topic: Topic, problem: Option<Reason>) {
        self.report(Event::Problem { topic, problem });
    }

    /// Asks the core; an error is a [`Response`], too.
    pub(in crate::pool) async fn ask(&self, ask: Ask) -> Response {
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed) + 1);
        let (to, response) = oneshot::channel();
        let mut asking = Asking { context: self, request, answered: false };
        let sent = self.inputs.send(Input::Ask { request, ask, to });
        let response = match sent {
            Ok(()) => response.await.ok(),
            Err(_) => None,
        };
        asking.answered = true;
        response.unwrap_or_else(|| Response::Error(Error::new(ErrorKind::Unreachable, reason!("pool.ending"))))
    }

    /// The settings in force.
    pub(in crate::pool) fn settings(&self) -> Arc<Settings> {
        self.snapshots.borrow().settings.clone()
    }

    /// The core as it was a moment ago.
    pub(in crate::pool) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Snapshots from now on.
    pub(in crate::pool) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Waits until the settings in force are others than those of that number; their number.
    pub(in crate::pool) async fn settings_changed(&self, known: u64) -> u64 {
        let mut snapshots = self.snapshots.clone();
        let changed = snapshots.wait_for(|snapshot| snapshot.settings_changes != known).await;
        match changed.map(|snapshot| snapshot.settings_changes) {
            Ok(number) => number,
            // The main loop is at its end, and with it every task.
            Err(_) => std::future::pending().await,
        }
    }

    pub(in crate::pool) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the pool is told to end.
    pub(in crate::pool) async fn stopped(&self) {
        // Where the sender is gone, the pool has ended.
        let _ = self.stopping.clone().wait_for(|stopping| *stopping).await;
    }
}

/// Why a task of the pool itself ended without an answer: it panicked.
pub(in crate::pool) fn task_failed(error: &tokio::task::JoinError) -> Reason {
    reason!("internal.task_failed", error = output(error))
}

pub(in crate::pool) fn failed(error: impl Into<Reason>) -> Error {
    Error::new(ErrorKind::Failed, error)
}

/// Runs file work off the tasks' threads.
pub(in crate::pool) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(failed(task_failed(&error))))
}
