//! Keeps one daemon alive: waits for its end, clears up, starts it again, less and less eagerly when it keeps dying.
//!
//! The pool runs [`supervise`] as a task, gives it orders and reads its events.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep};

use super::{Daemon, Spec, ensure, find};
use crate::domain::reason::Reason;
use crate::sys::process::ProcessId;

/// The wait before the first restart; it doubles with each that follows.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest wait: what a person who has just fixed the cause is willing to wait.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// A daemon that lived this long was well: its end counts as the first again.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// What happened to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A new one answers.
    Started {
        /// Its process.
        process: ProcessId,
        /// Its address as `buildctl --addr` takes it.
        address: String,
        /// The configuration that it was started with: [`Spec::config`].
        config: String,
    },
    /// One that ran already answers.
    Adopted {
        /// Its process.
        process: ProcessId,
        /// Its address as `buildctl --addr` takes it.
        address: String,
        /// It was started with another configuration than is wanted now: restart it when it is idle.
        differs: bool,
        /// The configuration that it was started with, as its file has it.
        config: String,
    },
    /// It ended, and nobody had asked.
    Died {
        /// `exit status: 1`, `signal: 9 (SIGKILL)`; not known of an adopted one.
        status: Option<String>,
        /// The end of its log.
        log_tail: String,
        /// When it is started again.
        next_try: Duration,
    },
    /// It could not be started.
    RestartFailed {
        /// Why.
        error: Reason,
        /// When it is tried again.
        next_try: Duration,
    },
    /// It was ended as ordered; the supervision is over, or it is started again.
    Stopped,
    /// It was ordered to end and could not be.
    StopFailed {
        /// Why.
        error: Reason,
    },
}

/// Orders to the supervision. When nobody can give orders any more, that is [`Order::Leave`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// End the supervision; the daemon goes on.
    Leave,
    /// End the daemon, then the supervision.
    Stop {
        /// How long it may take before it is killed.
        grace: Duration,
    },
    /// End the daemon and start this one instead.
    Restart {
        /// What is wanted from now on.
        spec: Box<Spec>,
        /// How long the old one may take before it is killed.
        grace: Duration,
    },
}

/// Keeps the daemon of `spec` alive until an order ends it. Events are sent in order and wait for room in the channel;
/// when nobody reads them any more they are dropped.
pub async fn supervise(mut spec: Spec, mut orders: Receiver<Order>, events: Sender<Event>) {
    let mut delays = restart_delays();
    loop {
        let Some((order, daemon)) = one_life(&spec, &mut orders, &events, &mut delays).await else { continue };
        if let Order::Stop { grace } | Order::Restart { grace, .. } = &order {
            tell(&events, stop(&spec, daemon, *grace).await).await;
        }
        match order {
            Order::Leave | Order::Stop { .. } => return,
            Order::Restart { spec: wanted, .. } => {
                spec = *wanted;
                delays = restart_delays();
            }
        }
    }
}

/// From a start to the end of the wait that follows its failure or its daemon's death, or to an order; with the daemon
/// that runs then.
async fn one_life(
    spec: &Spec,
    orders: &mut Receiver<Order>,
    events: &Sender<Event>,
    delays: &mut ExponentialBackoff,
) -> Option<(Order, Option<Daemon>)> {
    // An `ensure` that is given up has recorded what it started, so an order finds it.
    let ensured = tokio::select! {
        order = orders.recv() => return Some((order.unwrap_or(Order::Leave), None)),
        ensured = ensure(spec) => ensured,
    };
    let (event, next_try) = match ensured {
        Ok(mut daemon) => {
            tell(events, greeting(&daemon, spec)).await;
            let since = Instant::now();
            let ended = tokio::select! {
                order = orders.recv() => return Some((order.unwrap_or(Order::Leave), Some(daemon))),
                ended = daemon.exited() => ended,
            };
            let next_try = next_delay(delays, since.elapsed());
            let status = ended.ok().flatten().map(|status| status.to_string());
            (Event::Died { status, log_tail: daemon.log_tail(), next_try }, next_try)
        }
        Err(error) => {
            let next_try = next_delay(delays, Duration::ZERO);
            (Event::RestartFailed { error: error.into(), next_try }, next_try)
        }
    };
    tell(events, event).await;
    tokio::select! {
        order = orders.recv() => Some((order.unwrap_or(Order::Leave), None)),
        () = sleep(next_try) => None,
    }
}

/// Ends the daemon: the one that is known, whose record may be gone with the home, else the one that is on record.
async fn stop(spec: &Spec, known: Option<Daemon>, grace: Duration) -> Event {
    let stopped = async {
        let daemon = match known {
            Some(daemon) => Some(daemon),
            None => find(&spec.dir)?,
        };
        match daemon {
            Some(mut daemon) => daemon.stop(grace).await.map(drop),
            None => Ok(()),
        }
    };
    match stopped.await {
        Ok(()) => Event::Stopped,
        Err(error) => Event::StopFailed { error: error.into() },
    }
}

fn greeting(daemon: &Daemon, spec: &Spec) -> Event {
    let (process, address) = (daemon.process(), daemon.addr().to_owned());
    if daemon.started_here() {
        Event::Started { process, address, config: spec.config.clone() }
    } else {
        Event::Adopted { process, address, differs: daemon.differs(spec), config: daemon.config() }
    }
}

async fn tell(events: &Sender<Event>, event: Event) {
    let _ = events.send(event).await;
}

/// The waits before restarts, each twice as long as the one before.
fn restart_delays() -> ExponentialBackoff {
    let delays = ExponentialBuilder::new().with_min_delay(FIRST_DELAY).with_max_delay(LONGEST_DELAY);
    delays.without_max_times().build()
}

/// The wait before the restart of a daemon that lived so long.
fn next_delay(delays: &mut ExponentialBackoff, alive: Duration) -> Duration {
    if alive >= WELL_AFTER {
        *delays = restart_delays();
    }
    delays.next().unwrap_or(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(delays: &mut ExponentialBackoff, count: usize) -> Vec<u128> {
        (0..count).map(|_| next_delay(delays, Duration::ZERO).as_millis()).collect()
    }

    #[test]
    fn restarts_wait_twice_as_long_each_time_up_to_half_a_minute() {
        let mut delays = restart_delays();
        assert_eq!(waits(&mut delays, 9), [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600]);
        assert_eq!(waits(&mut delays, 100), [30_000; 100]);
    }

    #[test]
    fn a_daemon_that_lived_a_minute_starts_the_waits_again() {
        let mut delays = restart_delays();
        waits(&mut delays, 3);
        assert_eq!(next_delay(&mut delays, Duration::from_secs(59)).as_millis(), 800);
        assert_eq!(next_delay(&mut delays, Duration::from_secs(60)).as_millis(), FIRST_DELAY.as_millis());
    }
}
