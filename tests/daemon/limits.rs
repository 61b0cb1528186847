//! Limits of memory, processes and disk, run into by RUN steps.

use std::fs;
use std::path::Path;

use slipway::buildkit::cgroup::{Group, Limits};
use slipway::buildkit::config::Config;
use slipway::buildkit::daemon::step_usage::{StepUsage, ended_steps};
use slipway::buildkit::daemon::{Daemon, ensure};

use crate::setting::{LONG, Setting};

const CGROUPS: &str = "/sys/fs/cgroup";

pub fn are_groups_ours_to_make() -> bool {
    Group::of(Path::new("/nonexistent")).is_some()
}

/// Builds that need more memory, processes and no more than the group of a daemon allows.
pub async fn run_into(setting: &Setting, address: &str, path: &str, block: &str) {
    let group = Group::at(path).unwrap();
    let before = group.hits();
    let dd = format!("/bin/busybox dd if=/dev/zero of=/dev/null bs={block}");
    let greedy = setting.build_to_its_end(address, &dd).await;
    assert!(!greedy.status.success());
    assert!(String::from_utf8_lossy(&greedy.stderr).contains("137"), "{}", String::from_utf8_lossy(&greedy.stderr));
    assert!(group.hits().memory > before.memory);

    let bomb = "i=0; while [ $i -lt 300 ]; do /bin/busybox sleep 100 & i=$((i+1)); done; echo all $i run";
    let forked = setting.build_to_its_end(address, bomb).await;
    let text = String::from_utf8_lossy(&forked.stderr);
    assert!(text.contains("can't fork") && !text.contains("all 300 run"), "{text}");

    let modest = setting.build_to_its_end(address, "echo well").await;
    assert!(modest.status.success(), "{}", String::from_utf8_lossy(&modest.stderr));
}

pub fn assert_gone(path: &str) {
    let path = path.trim_start_matches('/');
    for hierarchy in fs::read_dir(CGROUPS).unwrap().flatten() {
        assert!(!hierarchy.path().join(path).exists(), "{}", hierarchy.path().display());
    }
    assert!(!Path::new(CGROUPS).join(path).exists());
}

/// Lets a step write 50 MB where only its own user may look, and ends it.
pub async fn see_what_a_step_writes(setting: &Setting, daemon: &Daemon) {
    let trace = "0123456789abcdef0123456789abcdef";
    let script = "b=/bin/busybox; $b mkdir -m 700 /d; $b dd if=/dev/zero of=/d/x bs=1M count=50; $b chown -R 1234 /d; \
                  $b sleep 600";
    let mut build = setting.build(daemon.addr(), script);
    let mut build = build.env("TRACEPARENT", format!("00-{trace}-0123456789abcdef-01")).spawn().unwrap();
    let mut usage = StepUsage::of(daemon);
    let seen = async {
        loop {
            let steps = usage.look().unwrap();
            let Some(step) = steps.into_iter().find(|step| step.trace.as_deref() == Some(trace)) else {
                tokio::task::yield_now().await;
                continue;
            };
            assert_eq!(step.written.iter().map(|written| written.is_cache).collect::<Vec<_>>(), [false]);
            let directory = step.written[0].directory.clone();
            let sizes = usage.measure(&[&directory]).await.unwrap();
            if sizes[&directory] >= 50 << 20 {
                return (step, sizes[&directory]);
            }
        }
    };
    let (step, size) = tokio::time::timeout(LONG, seen).await.unwrap();
    assert!(size < 60 << 20, "{size}");
    let before = ended_steps(daemon.directory());
    usage.end(&[&step]).unwrap();
    assert_eq!(ended_steps(daemon.directory()), before + 1);
    let ended = tokio::time::timeout(LONG, build.wait()).await.unwrap().unwrap();
    assert!(!ended.success());
    assert!(usage.look().unwrap().is_empty());
}

#[tokio::test]
async fn a_step_that_takes_too_much_memory_or_too_many_processes_is_stopped_and_the_group_goes_with_the_daemon() {
    let setting = Setting::new();
    let limits = Limits { memory: Some(64 << 20), processes: Some(100), cpus: Some(1) };
    let mut daemon = ensure(&setting.spec(&Config { limits, ..Config::default() })).await.unwrap();
    let Some(path) = daemon.record().cgroup.clone() else {
        eprintln!("SKIPPED: this machine's control groups are not ours to make");
        return;
    };
    run_into(&setting, daemon.addr(), &path, "256M").await;
    daemon.stop(LONG).await.unwrap();
    assert_gone(&path);
}

#[tokio::test]
async fn what_a_step_writes_is_seen_while_it_runs_and_told_from_other_builds() {
    let setting = Setting::new();
    let daemon = ensure(&setting.spec(&Config::default())).await.unwrap();
    see_what_a_step_writes(&setting, &daemon).await;
}
