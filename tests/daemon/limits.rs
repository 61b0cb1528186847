//! Limits of memory and processes, run into by RUN steps.

use slipway::buildkit::cgroup::{Group, Limits};
use slipway::buildkit::config::Config;
use slipway::buildkit::daemon::ensure;

use crate::setting::{LONG, Setting};

#[tokio::test]
async fn a_step_that_takes_too_much_memory_or_too_many_processes_is_stopped_and_the_group_goes_with_the_daemon() {
    let setting = Setting::new();
    let limits = Limits { memory: Some(64 << 20), processes: Some(100), cpus: Some(1) };
    let mut daemon = ensure(&setting.spec(&Config { limits, ..Config::default() })).await.unwrap();
    let Some(path) = daemon.record().cgroup.clone() else {
        eprintln!("SKIPPED: this machine's control groups are not ours to make");
        return;
    };
    let group = Group::at(&path).unwrap();

    let before = group.hits();
    let greedy = setting.build_to_its_end(daemon.addr(), "/bin/busybox dd if=/dev/zero of=/dev/null bs=256M").await;
    assert!(!greedy.status.success());
    assert!(String::from_utf8_lossy(&greedy.stderr).contains("137"), "{}", String::from_utf8_lossy(&greedy.stderr));
    assert!(group.hits().memory > before.memory);

    let bomb = "i=0; while [ $i -lt 300 ]; do /bin/busybox sleep 100 & i=$((i+1)); done; echo all $i run";
    let forked = setting.build_to_its_end(daemon.addr(), bomb).await;
    let text = String::from_utf8_lossy(&forked.stderr);
    assert!(text.contains("can't fork") && !text.contains("all 300 run"), "{text}");

    let modest = setting.build_to_its_end(daemon.addr(), "echo well").await;
    assert!(modest.status.success(), "{}", String::from_utf8_lossy(&modest.stderr));

    daemon.stop(LONG).await.unwrap();
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(!hierarchy.path().join(path.trim_start_matches('/')).exists(), "{}", hierarchy.path().display());
    }
    assert!(!std::path::Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')).exists());
}
