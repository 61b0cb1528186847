//! What the pool and its clients say to each other.
//!
//! Over the pool's unix socket a client writes one [`Call`] as a line of JSON and reads one [`Answer`] as a line of JSON;
//! the kernel says who asks, no request does. An answer may carry open files (see [`logs::OpenedLog`]) or be followed by
//! bytes ([`Reply::following_bytes`]). On the standard input and output of `slipway pool connect` many calls share one
//! stream: each is a [`NumberedCall`], and its answers are [`NumberedAnswer`]s with the same number.

pub mod builds;
mod change;
mod entity;
mod error;
#[cfg(test)]
mod golden;
pub mod logs;
pub mod platforms;
mod reply;
mod request;
mod right;
#[cfg(test)]
pub(crate) mod samples;
mod status;

use serde::{Deserialize, Serialize};

pub use change::{Change, ChangedObject};
pub use entity::{Entity, EntityName, SaveMode};
pub use error::{Error, ErrorKind};
pub use reply::{Answer, Reply, SettingsSnapshot};
pub use request::Request;
pub use right::Right;
pub use status::{BuilderStatus, News, PausedRule, PoolStatus, WebhookRefusal};

/// Exit status of `slipway pool run` where another pool holds the lock of the home.
pub const ALREADY_RUNS: u8 = 3;
/// The version of this conversation; a pool of another version says so instead of misunderstanding.
pub const VERSION: u32 = 5;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// [`VERSION`] of the client.
    pub version: u32,
    /// What it wants.
    pub request: Request,
}

/// A call of a stream that is shared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberedCall<C = Call> {
    /// Its number, which the client chooses; it is free again after the last answer.
    pub id: u64,
    /// The call.
    pub call: C,
}

/// What comes back to a call of a stream that is shared.
#[derive(Debug, Serialize, Deserialize)]
pub struct NumberedAnswer<A = Answer> {
    /// The number of the call.
    pub id: u64,
    /// Whether it is the last answer to that call.
    pub last: bool,
    /// How many bytes follow the line.
    #[serde(default)]
    pub bytes: u64,
    /// The answer; none where the pool went away.
    pub answer: Option<A>,
}
