//! The ground of the end-to-end tests: servers, repositories, terminals and homes that clean up behind themselves.
//!
//! Servers listen on loopback only, on ports that the kernel picks, and die with the thread that started them.

pub mod background;
pub mod buildkitd;
pub mod dockerfile;
pub mod forge;
pub mod git_daemon;
pub mod git_http;
pub mod git_repo;
pub mod gitea;
pub mod hook;
pub mod inetd;
pub mod processes;
pub mod project;
pub mod pty;
pub mod receiver;
pub mod registry;
pub mod registry_front;
pub mod skopeo;
pub mod slipway;
pub mod sshd;
pub mod tls_front;
pub mod tmpfs;
pub mod wait;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where `tests/run` puts what it builds for the tests: `SLIPWAY_TEST_TOOLS`, else its default.
pub fn tools() -> PathBuf {
    std::env::var_os("SLIPWAY_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools"), PathBuf::from)
}

/// `PATH` with the tests' own BuildKit first and the directories of daemons, which users' paths may lack, last.
pub fn path() -> OsString {
    let given = std::env::var_os("PATH").unwrap_or_default();
    let first = tools().join("buildkit/bin");
    let last = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::join_paths([first].into_iter().chain(std::env::split_paths(&given)).chain(last)).unwrap()
}
