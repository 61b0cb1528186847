//! How a build ends without an image, and what stops it before.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::domain::failure::Failure;

/// Why everything is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// SIGTERM: somebody cancelled, or the machine goes down.
    Told,
    /// The build's time is over.
    TimedOut,
    /// The log can't be written.
    DiskFull,
    /// The log is as long as it may be.
    LogFull,
}

/// How a build ends other than well.
pub(super) enum End {
    /// It can be retried, where the failure is the machinery's.
    Failed(Failure),
    /// A rule forbids its tags.
    Refused(Failure),
    /// It was stopped.
    Stopped(Stop),
}

/// A channel that becomes the reason to stop.
pub(super) fn watch_for_stop(limit: Duration) -> Arc<watch::Sender<Option<Stop>>> {
    let sender = Arc::new(watch::Sender::new(None));
    let told = sender.clone();
    tokio::spawn(async move {
        let on = |kind| signal(kind).expect("a handler for a signal that can be caught");
        let (mut terminate, mut interrupt) = (on(SignalKind::terminate()), on(SignalKind::interrupt()));
        let reason = tokio::select! {
            _ = terminate.recv() => Stop::Told,
            _ = interrupt.recv() => Stop::Told,
            () = tokio::time::sleep(limit) => Stop::TimedOut,
        };
        told.send_if_modified(|stop| stop.is_none() && stop.replace(reason).is_none());
    });
    sender
}

/// Becomes true when everything is to stop.
pub(super) fn is_stopped(stop: &watch::Sender<Option<Stop>>) -> watch::Receiver<bool> {
    let (told, stopped) = watch::channel(false);
    let mut stop = stop.subscribe();
    tokio::spawn(async move {
        if stop.wait_for(Option::is_some).await.is_ok() {
            told.send_replace(true);
        }
    });
    stopped
}
