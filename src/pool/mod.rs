//! The background process: a core that decides, tasks that act, triggers and clients that ask.
//!
//! One pool for each home, held by a lock. It owns every write of state; builds outlive it, because their runners do.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`core`] | every table, and every decision: pure |
//! | `main_loop` | the only caller of the core: events in, commands out |
//! | `tasks` | what commands ask for: programs, files, networks |
//! | `triggers` | what starts builds by itself: the poller, webhooks, schedules, base images |
//! | `socket` | clients, and who they are |
//! | `startup` | the lock, the socket, and what an earlier pool left |

pub mod core;
mod main_loop;
mod socket;
mod startup;
mod tasks;
mod triggers;

pub use main_loop::run;
pub use startup::PoolError;
pub use tasks::managed_builder::is_rootless;
