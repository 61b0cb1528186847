//! TOML on disk: paths, atomic writes, migration, hand edits, secrets.

pub mod audit;
pub mod builds;
pub mod catalog;
pub mod deliveries;
pub mod edit;
pub mod home;
pub mod last_good;
mod layout;
mod merge;
pub mod outbox;
pub mod pool_log;
pub mod pushes;
pub mod read;
pub mod refs_seen;
pub mod schema;
pub mod secret_uses;
pub mod secrets;
pub mod settings;
pub mod tag_changes;
pub mod trust;
pub mod watch;

pub use catalog::Catalog;
pub use home::Home;
