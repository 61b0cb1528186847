//! The background process: queue, scheduler, adoption of runners, socket server.
//!
//! One pool for each home, held by a lock. It owns every write of state; builds outlive it, because their runners do.

mod admission;
mod asking;
mod audit;
mod builders;
mod conclude;
mod drive;
mod enqueue;
mod entities;
mod examine;
mod grants;
mod launch;
mod listener;
mod managed;
mod news;
mod notify;
mod peer;
mod requests;
mod retention;
mod run;
pub mod schedule;
mod server;
mod state;
mod trigger;

pub use managed::is_rootless;
pub use run::{PoolError, run};
