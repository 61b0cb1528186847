//! Waits between attempts, doubling up to a limit. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// More doublings than this exceed every limit in use.
const MOST_DOUBLINGS: u32 = 16;

/// A series of waits: the first one, doubled after each failure, up to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: TimeDelta,
    /// No wait is longer.
    pub longest: TimeDelta,
}

impl Backoff {
    /// Waits from `first` seconds to `longest` seconds.
    pub const fn seconds(first: i64, longest: i64) -> Backoff {
        Backoff { first: TimeDelta::seconds(first), longest: TimeDelta::seconds(longest) }
    }

    /// The wait before the next attempt where `failures` attempts failed before the last one.
    pub fn wait(&self, failures: u32) -> TimeDelta {
        let factor = 1_i32 << failures.min(MOST_DOUBLINGS);
        self.first.checked_mul(factor).unwrap_or(self.longest).min(self.longest)
    }
}

/// A time to wait for, which a clock that is set back does not put off: the wait is never longer than it was meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// When the wait began.
    from: DateTime<Utc>,
    /// When it ends.
    at: DateTime<Utc>,
}

impl Deadline {
    /// A wait that begins now.
    pub fn after(now: DateTime<Utc>, wait: TimeDelta) -> Deadline {
        Deadline { from: now, at: now.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC) }
    }

    /// A wait from one time to another.
    pub fn between(from: DateTime<Utc>, at: DateTime<Utc>) -> Deadline {
        Deadline { from, at }
    }

    /// When the wait began.
    pub fn from(&self) -> DateTime<Utc> {
        self.from
    }

    /// When the wait ends.
    pub fn at(&self) -> DateTime<Utc> {
        self.at
    }

    /// Whether the wait is over: its end is reached, or the clock was set to before its beginning.
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        now >= self.at || now < self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_whatever_is_asked() {
        let backoff = Backoff::seconds(2, 300);
        let waits: Vec<i64> = [0, 1, 3, 8, 40, u32::MAX].map(|failures| backoff.wait(failures).num_seconds()).to_vec();
        assert_eq!(waits, [2, 4, 16, 300, 300, 300]);
        let endless = Backoff { first: TimeDelta::MAX, longest: TimeDelta::days(1) };
        assert_eq!(endless.wait(1), TimeDelta::days(1));
    }

    #[test]
    fn a_clock_that_is_set_back_ends_a_wait_instead_of_making_it_longer() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(9);
        let deadline = Deadline::after(now, TimeDelta::seconds(10));
        assert!(!deadline.is_over(now + TimeDelta::seconds(9)));
        assert!(deadline.is_over(now + TimeDelta::seconds(10)));
        assert!(deadline.is_over(now - TimeDelta::days(1)));
    }
}
