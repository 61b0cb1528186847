//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// After this a condition is taken never to come: far beyond what anything here needs on a slow machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(5);

/// Whether `condition` holds before `deadline` has passed.
pub fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Returns once `condition` holds.
///
/// # Panics
/// With `what` when it does not before [`DEADLINE`].
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(DEADLINE, condition), "waited {DEADLINE:?} in vain until {what}");
}
