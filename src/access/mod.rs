//! How sources and registries are reached: by the settings of a home, with the secrets that it keeps.
//!
//! The pool builds and publishes with it; the command line previews rules and lists tags with it.

pub mod agent;
pub mod images;
pub mod platforms;
pub mod registries;
pub mod sources;
pub mod tokens;
pub mod trees;

/// Who asks: the user's name on this machine.
pub fn user() -> String {
    // Whoever called sudo is meant, not root.
    let behind_sudo = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    behind_sudo
        .or_else(|| whoami::username().ok())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
