//! The ssh agent of the user.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The agent that slipway itself was started with, where it answers.
pub fn agent_of_environment() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from).filter(|socket| answers(socket))
}

/// Whether an agent listens on a socket.
pub fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}
