//! Notifications and commit statuses that were not delivered yet. Pure, handed the clock.

mod lanes;
mod message;
#[cfg(test)]
mod tests;

pub use lanes::{Attempt, Dropped, Fate, Outbox};
pub use message::{Content, Message, Receiver};
