//! TOML on disk: paths, atomic writes, migration, hand edits, secrets.

pub mod home;

pub use home::Home;
