//! The operating system: processes, locks, atomic writes, users, environments, priorities. Knows nothing of slipway's
//! own words.

pub mod atomic;
pub mod environment;
pub mod hardening;
pub mod lock;
pub mod process;
pub mod shell;
pub mod thread_priority;
pub mod users;
