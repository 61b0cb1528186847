//! Builds that are stopped, by a person or by the clock, and never one taken for the other.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::background::Background;
use crate::support::processes::{container_running, with_environment, with_name};
use crate::support::project::{Project, REPOSITORY, rule, ticking};
use crate::support::wait::holds_within;

/// buildctl ends its container at the first SIGINT; the second comes only after this.
const FIRST_SIGNAL: Duration = Duration::from_secs(5);
/// A cancelled build is final by then, whatever buildctl does.
const FINAL: Duration = Duration::from_secs(15);

fn cancel(project: &Project, id: u64) -> Background {
    project.slipway.spawn(&["build", "cancel", &id.to_string(), "--yes", "--output", "json"])
}

/// Starts a build and waits until its step, which never ends, runs.
fn start_endless(project: &Project, marker: &str) -> u64 {
    let id = project.start();
    project.slipway.wait_until("its step runs", || container_running(marker));
    id
}

/// Makes the build's buildctl deaf to every signal but SIGKILL.
fn deafen_buildctl(project: &Project) {
    let named = with_name("buildctl");
    let ours = with_environment("SLIPWAY_HOME", project.slipway.home());
    let buildctl: Vec<Pid> = ours.into_iter().filter(|pid| named.contains(pid)).collect();
    assert_eq!(buildctl.len(), 1);
    kill_process(buildctl[0], Signal::STOP).unwrap();
}

#[test]
fn a_cancelled_build_ends_its_container_at_once_and_says_who() {
    let project = Project::new(&["RUN sleep 70101.5"]);
    let id = start_endless(&project, "sleep 70101.5");
    let cancelling = cancel(&project, id);
    assert!(holds_within(FIRST_SIGNAL, || !container_running("sleep 70101.5")), "the container is gone");
    let build = cancelling.finish().ok().json();
    assert_eq!(build["state"], "cancelled");
    let by = build["asked_by"].as_str().unwrap();
    assert!(build["reason"].as_str().unwrap().starts_with(&format!("cancelled by {by}")), "{build}");
    assert!(!build["finished_at"].is_null() && build["retried_as"].is_null(), "{build}");
    assert_eq!(project.show(id), build);
}

#[test]
fn a_build_whose_buildctl_hears_no_signal_is_cancelled_all_the_same() {
    let project = Project::new(&["RUN sleep 70102.5"]);
    let id = start_endless(&project, "sleep 70102.5");
    deafen_buildctl(&project);
    let mut cancelling = cancel(&project, id);
    assert!(holds_within(FINAL, || !cancelling.is_running()), "it is final");
    assert_eq!(cancelling.finish().ok().json()["state"], "cancelled");
    project.slipway.wait_until("its container is gone", || !container_running("sleep 70102.5"));
}

#[test]
fn a_build_that_waits_is_cancelled_without_ever_running() {
    let project = Project::new(&["RUN sleep 70103.5"]);
    project.slipway.write("config.toml", "[pool]\nbuilds = 1\n");
    project.write_another("second", "", &rule("main", "main"));
    let running = start_endless(&project, "sleep 70103.5");
    let waiting = project.start_of("acme/second");
    let build = cancel(&project, waiting).finish().ok().json();
    assert_eq!((&build["state"], &build["started_at"]), (&"cancelled".into(), &serde_json::Value::Null));
    assert!(build["reason"].as_str().unwrap().contains("before it started"), "{build}");
    assert_eq!(project.state(running), "running");
}

#[test]
fn a_finished_build_is_not_cancelled() {
    let project = Project::new(&["RUN true"]);
    project.slipway.run(&["build", "start", REPOSITORY, "--wait"]).ok();
    let refused = cancel(&project, 1).finish();
    assert_eq!(refused.code(), Some(4), "{refused}");
    assert!(refused.stderr.contains("#1 is succeeded already"), "{refused}");
    assert_eq!(project.state(1), "succeeded");
    assert_eq!(cancel(&project, 99).finish().code(), Some(3));
}

#[test]
fn a_build_that_runs_too_long_is_timed_out_and_not_cancelled() {
    let project = Project::new(&["RUN sleep 70104.5"]);
    project.write_repository("timeout = \"2s\"", &rule("main", "main"));
    let waited = project.start_and_wait().finish();
    assert_eq!(waited.code(), Some(1), "{waited}");
    let build = waited.json();
    assert_eq!((&build["state"], &build["retried_as"]), (&"timed_out".into(), &serde_json::Value::Null));
    assert!(build["reason"].as_str().unwrap().contains("longer than 2s"), "{build}");
    assert!(!build["reason"].as_str().unwrap().contains("cancel"), "{build}");
    assert!(!container_running("sleep 70104.5"));
}

#[test]
fn a_pool_that_was_killed_while_it_cancelled_leaves_that_to_the_next() {
    let project = Project::new(&["RUN sleep 70105.5"]);
    let id = start_endless(&project, "sleep 70105.5");
    deafen_buildctl(&project);
    let cancelling = cancel(&project, id);
    let record = project.build_directory(id).join("build.toml");
    project
        .slipway
        .wait_until("the wish is on disk", || std::fs::read_to_string(&record).unwrap().contains("[cancel]"));
    project.kill_pool();
    assert_eq!(cancelling.finish().code(), Some(5), "its pool went away");
    project.pool();
    let build = project.wait_for(id, "cancelled");
    assert!(build["retried_as"].is_null(), "{build}");
}

#[test]
fn cancelling_starts_a_pool_where_the_builds_own_was_killed() {
    let project = Project::new(&["RUN sleep 70106.5"]);
    let id = start_endless(&project, "sleep 70106.5");
    project.kill_pool();
    assert_eq!(cancel(&project, id).finish().ok().json()["state"], "cancelled");
    project.slipway.wait_until("its container is gone", || !container_running("sleep 70106.5"));
}

#[test]
fn a_runner_that_is_told_to_end_by_nobodys_wish_is_interrupted_and_not_cancelled() {
    let project = Project::new(&[&ticking("terminated", 20)]);
    let waiting = project.start_and_wait();
    project.slipway.wait_until("the build ticks", || project.ticks(1).contains(&2));
    kill_process(project.runner(1), Signal::TERM).unwrap();
    let build = waiting.finish().ok().json();
    assert_eq!((&build["state"], &build["attempts"][0]["state"]), (&"succeeded".into(), &"interrupted".into()));
}
