//! The operating system: processes, locks, atomic writes, disks, users, environments, priorities, memory, secrets in it.
//! Knows nothing of slipway's own words.

pub mod atomic;
pub mod command;
pub mod disk;
pub mod environment;
pub mod fd_passing;
pub mod hardening;
pub mod lock;
pub mod memory;
pub mod parallel;
pub mod process;
pub mod secret;
pub mod shell;
pub mod socket;
#[cfg(test)]
pub(crate) mod test_program;
pub mod thread_priority;
pub mod users;
