//! The way to the pool, kept while the dashboard is open.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::event::Event;
use crate::client::{Client, Heard, IfAbsent, WatchEnd};

/// A pool that went away is looked for again after this time at first.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// A pool that stays away is looked for this often.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

fn waits() -> ExponentialBackoff {
    let waits = ExponentialBuilder::new().with_min_delay(FIRST_WAIT).with_max_delay(LONGEST_WAIT);
    waits.without_max_times().build()
}

/// Hears of everything that changes in the pool, and starts it again when it goes away.
///
/// One that was told to stop is left so until it is wanted, or somebody else starts it.
pub(super) async fn keep(client: Client, sender: UnboundedSender<Event>, wanted: Arc<Notify>) {
    let (mut waits_left, mut if_absent) = (waits(), IfAbsent::Start);
    loop {
        let now = if_absent;
        let heard = |heard| {
            let event = match heard {
                Heard::News(news) => {
                    (waits_left, if_absent) = (waits(), IfAbsent::Start);
                    Event::News(news)
                }
                Heard::Silent(since) => Event::PoolSilent(since),
                Heard::Answers => Event::PoolAnswers,
            };
            sender.send(event).is_ok()
        };
        let event = match client.watch(now, heard).await {
            Ok(WatchEnd::Unheard) => return,
            // It is still not there.
            Ok(WatchEnd::Stopped) if if_absent == IfAbsent::Leave => None,
            Ok(WatchEnd::Stopped) => {
                if_absent = IfAbsent::Leave;
                // It was wanted before it was stopped.
                let _ = wanted.notified().now_or_never();
                Some(Event::PoolStopped)
            }
            Err(error) => Some(Event::PoolLost(error.reason)),
        };
        if sender.is_closed() || event.is_some_and(|event| sender.send(event).is_err()) {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(waits_left.next().unwrap_or(LONGEST_WAIT)) => {}
            () = wanted.notified() => if_absent = IfAbsent::Start,
        }
    }
}
