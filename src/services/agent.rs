//! The ssh agent of the last client: the pool outlives the login that started it, and that login's agent.
//!
//! Each client that connects leaves a link to its agent's socket in the home. The pool asks the newest that answers.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::source::git::agent;
use crate::store::Home;

/// Leaves a link to the agent of this process's environment, where it has one that answers. Without the link, things
/// work as before.
pub fn hand_over(home: &Home) {
    let Some(agent) = agent::agent_of_environment().filter(|agent| agent.is_absolute()) else { return };
    let link = home.agent_link();
    if fs::read_link(&link).is_ok_and(|target| target == agent) {
        return;
    }
    let new = link.with_extension(format!("{}.new", std::process::id()));
    if symlink(&agent, &new).is_ok() && fs::rename(&new, &link).is_err() {
        let _ = fs::remove_file(new);
    }
}

/// The agent that is asked: the newest that a client left, else that of this process's own environment; none where
/// neither answers.
pub fn current(home: &Home) -> Option<PathBuf> {
    let left = fs::read_link(home.agent_link()).ok().filter(|socket| is_ours(socket) && agent::answers(socket));
    left.or_else(agent::agent_of_environment)
}

/// Whether a socket is this user's.
fn is_ours(socket: &Path) -> bool {
    fs::metadata(socket)
        .is_ok_and(|metadata| metadata.file_type().is_socket() && metadata.uid() == rustix::process::getuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_link_to_an_agent_that_is_gone_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path());
        let socket = directory.path().join("agent.7");
        let listener = UnixListener::bind(&socket).unwrap();
        symlink(&socket, home.agent_link()).unwrap();
        assert_eq!(current(&home), Some(socket.clone()));
        drop(listener);
        assert_ne!(current(&home), Some(socket));
    }
}
