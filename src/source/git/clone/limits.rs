//! Limits of a fetch.

use std::time::Duration;

/// What a fetch may take.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// All of it, waiting for others included.
    pub time: Duration,
    /// The size of the clone on disk, in bytes.
    pub bytes: u64,
    /// What others that the limits hold for, too, have used of them.
    pub used: Used,
}

/// What fetches took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// How long they took.
    pub time: Duration,
    /// The size of what they brought, in bytes.
    pub bytes: u64,
}

impl FetchLimits {
    /// Limits of which nothing is used.
    pub const fn new(time: Duration, bytes: u64) -> FetchLimits {
        FetchLimits { time, bytes, used: Used { time: Duration::ZERO, bytes: 0 } }
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.time.saturating_sub(self.used.time)
    }

    /// Whether so many bytes, with those that are used, are over the limit.
    pub fn is_over(&self, bytes: u64) -> bool {
        bytes.saturating_add(self.used.bytes) > self.bytes
    }
}
