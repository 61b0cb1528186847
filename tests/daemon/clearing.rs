//! What a killed daemon leaves behind.

use std::path::Path;

use rustix::process::Signal;
use slipway::buildkit::config::Config;
use slipway::buildkit::daemon::{ensure, fresh};

use crate::setting::{LONG, Setting, mounts_below};

/// What is mounted below a daemon's root but the network namespaces of the daemon that runs.
fn rootfs_below(root: &Path) -> Vec<String> {
    let network = root.join("net/cni");
    mounts_below(root).into_iter().filter(|mount| !Path::new(mount).starts_with(&network)).collect()
}

#[tokio::test]
async fn containers_of_a_killed_daemon_are_gone_after_its_restart_and_those_of_another_daemon_go_on() {
    let (ours, theirs) = (Setting::new(), Setting::new());
    let (our_spec, their_spec) = (ours.spec(&Config::default()), theirs.spec(&Config::default()));
    let mut daemon = ensure(&our_spec).await.unwrap();
    let their_daemon = ensure(&their_spec).await.unwrap();
    let our_build = ours.sleeping_build(daemon.addr()).await;
    let their_build = theirs.sleeping_build(their_daemon.addr()).await;

    daemon.process().signal(Signal::KILL).unwrap();
    assert!(daemon.exited().await.unwrap().is_some_and(|status| !status.success()));
    assert!(!our_build.processes().is_empty(), "a killed daemon leaves its containers");

    let restarted = ensure(&our_spec).await.unwrap();
    assert!(restarted.started_here());
    assert_eq!(our_build.processes(), []);
    assert_eq!(rootfs_below(&our_spec.root), [""; 0]);
    assert!(!their_build.processes().is_empty());
    let built = ours.build_to_its_end(restarted.addr(), "echo again").await;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

#[tokio::test]
async fn containers_that_the_runtime_forgot_are_found_too() {
    let setting = Setting::new();
    let spec = setting.spec(&Config::default());
    let mut daemon = ensure(&spec).await.unwrap();
    let build = setting.sleeping_build(daemon.addr()).await;
    daemon.process().signal(Signal::KILL).unwrap();
    daemon.exited().await.unwrap();
    let executor = spec.root.join("runc-overlayfs/executor");
    let entries = std::fs::read_dir(executor).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let ids: Vec<String> = entries.filter(|name| !name.contains('.')).collect();
    assert_eq!(ids.len(), 1);
    assert!(!build.processes().is_empty());
    // Without the record nobody knows what runtime it was.
    std::fs::remove_file(spec.dir.join("daemon.toml")).unwrap();
    let mut other_runtime = spec.clone();
    other_runtime.tools.runtime = "/bin/false".into();

    let mut restarted = ensure(&other_runtime).await.unwrap();
    assert_eq!(build.processes(), []);
    assert_eq!(rootfs_below(&spec.root), [""; 0]);
    restarted.stop(LONG).await.unwrap();
    let note = std::process::Command::new(&setting.tools.runtime).args(["delete", "--force", &ids[0]]).output();
    assert!(note.unwrap().status.success(), "the runtime's own note of it is all that is left");
}

#[tokio::test]
async fn containers_of_another_runtime_are_cleared_with_the_runtime_that_started_them() {
    let setting = Setting::new();
    let spec = setting.spec(&Config::default());
    let mut daemon = ensure(&spec).await.unwrap();
    let build = setting.sleeping_build(daemon.addr()).await;
    daemon.process().signal(Signal::KILL).unwrap();
    daemon.exited().await.unwrap();
    let mut other_runtime = spec.clone();
    other_runtime.tools.runtime = "/bin/false".into();
    ensure(&other_runtime).await.unwrap();
    assert_eq!(build.processes(), []);
    let known = std::process::Command::new(&setting.tools.runtime).arg("list").output().unwrap();
    assert!(!String::from_utf8(known.stdout).unwrap().contains(spec.root.to_str().unwrap()));
}

#[tokio::test]
async fn stopping_in_mid_build_tells_what_it_cleared() {
    let setting = Setting::new();
    let mut daemon = ensure(&setting.spec(&Config::default())).await.unwrap();
    let build = setting.sleeping_build(daemon.addr()).await;
    daemon.process().signal(Signal::KILL).unwrap();
    let cleared = daemon.stop(LONG).await.unwrap();
    assert_eq!(cleared.containers.len(), 1);
    assert!(!cleared.mounts.is_empty());
    assert_eq!(build.processes(), []);
    assert_eq!(daemon.stop(LONG).await.unwrap(), Default::default(), "nothing is left for a second time");
}

#[tokio::test]
async fn a_fresh_daemon_leaves_nothing_behind() {
    let setting = Setting::new();
    let (dir, sockets) = (setting.daemon_dir(), setting.path("s"));
    let daemon = fresh::fresh(&dir, &sockets, setting.tools.clone(), &Config::default()).await.unwrap();
    let built = setting.build_to_its_end(daemon.addr(), "echo hello").await;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fresh::discard(&dir).await.unwrap();
    assert!(!daemon.process().is_alive());
    assert!(!dir.exists() && !sockets.exists());
    fresh::discard(&dir).await.unwrap();
}

#[tokio::test]
async fn a_fresh_daemon_that_was_killed_in_mid_build_is_thrown_away_with_its_container() {
    let setting = Setting::new();
    let dir = setting.daemon_dir();
    let mut daemon = fresh::fresh(&dir, &setting.path("s"), setting.tools.clone(), &Config::default()).await.unwrap();
    let build = setting.sleeping_build(daemon.addr()).await;
    daemon.process().signal(Signal::KILL).unwrap();
    daemon.exited().await.unwrap();
    assert_ne!(mounts_below(&dir), [""; 0]);
    fresh::discard(&dir).await.unwrap();
    assert_eq!(build.processes(), []);
    assert_eq!(mounts_below(&dir), [""; 0]);
    assert!(!dir.exists());
}
