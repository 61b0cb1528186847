//! TOML on disk: paths, atomic writes, migration, hand edits, secrets.

pub mod atomic;
pub mod audit;
pub mod builds;
pub mod deliveries;
pub mod edit;
pub mod environment;
pub mod hardening;
pub mod home;
mod layout;
pub mod lock;
mod merge;
pub mod outbox;
pub mod pool_log;
pub mod process;
pub mod pushes;
pub mod read;
pub mod schema;
pub mod secret_uses;
pub mod secrets;
pub mod settings;
pub mod shell;
pub mod trust;
pub mod users;
pub mod watch;

pub use home::Home;
