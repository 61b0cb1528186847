//! Builds survive everything but their own failure: killed pools, runners and daemons, full disks.

use std::fs;
use std::process::Command;

use crate::support::background::Background;
use crate::support::buildkitd::Buildkitd;
use crate::support::processes::{container_running, is_alive};
use crate::support::project::{Project, REPOSITORY, kill_and_wait, rule, ticking};
use crate::support::slipway::Slipway;

#[test]
fn a_build_goes_on_while_its_pool_is_killed_and_started_again() {
    let project = Project::new(&[&ticking("pool-killed", 40)]);
    let id = project.start();
    project.wait_for_tick(id, 3);
    let (daemon, runner) = (project.daemons(), project.runner(id));
    project.kill_pool();
    let ticks = project.ticks(id).len();
    project.slipway.wait_until("it goes on without a pool", || project.ticks(id).len() > ticks + 3);
    assert_eq!(project.pool()["running"], 1);
    assert_eq!(project.runner(id), runner);

    let build = project.wait_for(id, "succeeded");
    assert_eq!(project.ticks(id), (1..=40).collect::<Vec<_>>());
    assert_eq!(build["images"][0]["digest"], project.images().digest("latest"));
    assert_eq!(build["attempt"], 1);
    assert_eq!(project.daemons(), daemon, "the daemon was adopted");
}

#[test]
fn a_build_ends_well_after_pool_stop_and_takes_the_managed_daemon_with_it() {
    let project = Project::new(&[&ticking("pool-stopped", 30)]);
    let id = project.start();
    project.wait_for_tick(id, 3);
    project.slipway.run(&["pool", "stop"]).ok();
    assert_eq!(project.slipway.run(&["pool", "status"]).code(), Some(5));
    assert_eq!(project.daemons().len(), 1, "the build keeps its daemon");

    project.slipway.wait_until("the last runner has stopped the daemon", || project.daemons().is_empty());
    assert_eq!(project.ticks(id), (1..=30).collect::<Vec<_>>());
    assert_eq!(project.state(id), "running", "nobody has recorded its end yet");
    project.pool();
    assert_eq!(project.wait_for(id, "succeeded")["images"][0]["digest"], project.images().digest("latest"));
}

#[test]
fn a_build_whose_pool_is_stopped_the_moment_it_starts_is_carried_on_with() {
    let project = Project::new(&["RUN true"]);
    project.slipway.run(&["build", "start", REPOSITORY, "--wait"]).ok();
    for id in 2..6 {
        assert_eq!(project.start(), id);
        project.slipway.run(&["pool", "stop"]).ok();
        assert_eq!(project.wait_for(id, "succeeded")["attempt"], 1);
    }
    assert_eq!(project.slipway.json(&["build", "list"]).as_array().map(Vec::len), Some(5));
}

#[test]
fn an_idle_managed_daemon_ends_with_its_pool() {
    let project = Project::new(&["RUN true"]);
    project.slipway.run(&["build", "start", REPOSITORY, "--wait"]).ok();
    assert_eq!(project.daemons().len(), 1);
    project.slipway.run(&["pool", "stop"]).ok();
    assert!(project.daemons().is_empty());
}

#[test]
fn a_build_whose_runner_is_killed_is_interrupted_and_retried_once_by_itself() {
    let project = Project::new(&[&ticking("runner-killed", 20)]);
    let waiting = project.start_and_wait();
    project.slipway.wait_until("the build ticks", || project.ticks(1).contains(&3));
    assert!(container_running("runner-killed"));
    project.kill_runner(1);

    let ran = waiting.finish().ok();
    let build = ran.json();
    assert_eq!((&build["id"], &build["state"], &build["attempt"]), (&1.into(), &"succeeded".into(), &2.into()));
    assert_eq!((&build["trigger"], &build["error"]), (&"manual".into(), &serde_json::Value::Null));
    let states: Vec<&serde_json::Value> =
        build["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["state"]).collect();
    assert_eq!(states, ["interrupted", "succeeded"]);
    assert!(ran.stderr.contains("build #1: attempt 1 of 5 interrupted"), "{ran}");
    assert!(!container_running("runner-killed"));
    assert_eq!(project.ticks_of(1, 2), (1..=20).collect::<Vec<_>>());
    assert!(!project.is_there(2));
}

#[test]
fn a_container_ends_with_its_killed_runner_before_the_retry_is_through() {
    let project = Project::new(&["RUN sleep 70010.5"]);
    let id = project.start();
    project.slipway.wait_until("the container runs", || container_running("sleep 70010.5"));
    let first = crate::support::processes::with_command_line("sleep 70010.5");
    project.kill_runner(id);
    project.slipway.wait_until("the first container is gone", || first.iter().all(|pid| !is_alive(*pid)));
    project.slipway.run(&["build", "cancel", "1", "--yes"]).ok();
}

#[test]
fn a_build_whose_runner_is_killed_twice_stays_interrupted() {
    let project = Project::new(&["RUN sleep 70011.5"]);
    let waiting = project.start_and_wait();
    for attempt in [1, 2] {
        project.slipway.wait_until("it is recorded", || project.is_there(1));
        project.wait_for_attempt(1, attempt);
        project.slipway.wait_until("its step runs", || container_running("sleep 70011.5"));
        project.kill_runner(1);
    }
    assert_eq!(waiting.finish().code(), Some(1));
    project.slipway.wait_until("its container is gone", || !container_running("sleep 70011.5"));
    let last = project.wait_for(1, "interrupted");
    assert_eq!(last["attempt"], 2);
    assert!(last["reason"].as_str().unwrap().contains("for the second time"), "{last}");
    assert!(!project.is_there(2));
}

#[test]
fn a_build_whose_managed_daemon_is_killed_fails_as_the_builders_failure_and_is_retried() {
    let project = Project::new(&[&ticking("daemon-killed", 20)]);
    project.slipway.write("config.toml", "[pool]\nretry_delay = \"10m\"\n");
    let waiting = project.start_and_wait();
    project.slipway.wait_until("the build ticks", || project.ticks(1).contains(&3));
    let daemons = project.daemons();
    assert_eq!(daemons.len(), 1);
    kill_and_wait(daemons[0]);

    // One row, with the attempt that failed; its log is there while the next one is waited for.
    project.wait_until_held(1, "attempt 2 of 4 starts at");
    let held = project.show(1);
    assert_eq!((&held["attempt"], &held["most_attempts"]), (&1.into(), &4.into()), "{held}");
    let first = &held["attempts"][0];
    assert_eq!(first["state"], "failed", "{held}");
    assert!(first["reason"].as_str().unwrap().starts_with("the builder failed"), "{held}");
    let list = project.slipway.run(&["build", "list"]).ok().stdout;
    assert!(list.contains("attempt 1 of 4, next in ") && list.lines().count() == 2, "{list}");
    let logs = |attempt: &str| project.slipway.run(&["build", "logs", "1", "--attempt", attempt]);
    assert!(logs("1").ok().stdout.contains(" tick 3"));
    assert_eq!(logs("2").code(), Some(3));
    // Nobody waits for ten minutes.
    let again = project.slipway.run(&["build", "retry", "1"]).ok();
    assert!(again.stderr.contains("attempt 2 of 4 of build #1 starts now"), "{again}");
    let ran = waiting.finish().ok();
    assert!(ran.stderr.contains("build #1: attempt 1 of 4 failed"), "{ran}");
    let build = ran.json();
    assert_eq!((&build["id"], &build["state"], &build["attempt"]), (&1.into(), &"succeeded".into(), &2.into()));
    assert_eq!(project.ticks_of(1, 2), (1..=20).collect::<Vec<_>>());
    assert!(logs("1").ok().stdout.contains(" tick 3") && !logs("1").ok().stdout.contains(" tick 20"));
    let newest = project.slipway.run(&["build", "logs", "1"]).ok().stdout;
    assert!(newest.contains(" tick 20"), "{newest}");
    assert!(!project.is_there(2));
    assert!(!container_running("daemon-killed"));
    let restarted = project.daemons();
    assert!(restarted.len() == 1 && restarted != daemons, "{restarted:?}");
}

#[test]
fn the_queue_survives_a_killed_pool() {
    let project = Project::new(&[&ticking("queue", 15)]);
    project.slipway.write("config.toml", "[pool]\nbuilds = 1\n");
    for name in ["second", "third"] {
        project.write_another(name, "", &rule("main", "main"));
    }
    let ids: Vec<u64> = [REPOSITORY, "acme/second", "acme/third"].iter().map(|name| project.start_of(name)).collect();
    assert_eq!(ids, [1, 2, 3]);
    project.wait_for_tick(1, 2);
    assert!(project.show(3)["reason"].as_str().unwrap().contains("1 of 1 builds are running"));
    project.kill_pool();
    assert_eq!(project.state(2), "queued");
    project.pool();
    for id in ids {
        project.wait_for(id, "succeeded");
        assert_eq!(project.show(id)["attempt"], 1);
    }
}

#[test]
fn a_build_that_was_queued_when_its_pool_was_killed_is_started_by_the_next() {
    let project = Project::new(&["RUN true"]);
    // Nothing starts while this much must be free.
    project.slipway.write("config.toml", "[pool]\nmin_free = \"1000TB\"\n");
    let id = project.start();
    project.wait_until_held(id, "pool.min_free");
    project.kill_pool();
    project.slipway.write("config.toml", "");
    project.pool();
    project.wait_for(id, "succeeded");
}

#[test]
fn a_second_pool_says_who_has_the_lock_and_ends() {
    let project = Project::new(&["RUN true"]);
    let pid = project.pool()["pid"].to_string();
    let second = project.slipway.run(&["pool", "run"]);
    assert_eq!(second.code(), Some(3), "{second}");
    assert!(second.stderr.contains("runs already") && second.stderr.contains(&pid), "{second}");
    assert_eq!(project.slipway.json(&["pool", "status"])["pid"].to_string(), pid);
}

#[test]
fn clients_that_start_a_pool_at_the_same_time_end_with_one() {
    let slipway = Slipway::new();
    let clients: Vec<Background> = (0..6).map(|_| slipway.spawn(&["pool", "start", "--output", "json"])).collect();
    let mut pids: Vec<String> =
        clients.into_iter().map(|client| client.finish().ok().json()["pid"].to_string()).collect();
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
}

#[test]
fn a_log_that_fills_the_disk_fails_its_build_and_nothing_else() {
    let daemon = Buildkitd::start("");
    let project = Project::in_home(
        Slipway::on_tmpfs(48 << 20),
        &["RUN : flood; yes 'a line that fills the disk' | head -n 4000000; echo done"],
    );
    let builder = format!("kind = \"existing\"\naddress = \"{}\"\n", daemon.address());
    project.slipway.write("builders/there.toml", &builder);
    project.slipway.write("config.toml", "[pool]\nmin_free = \"1KB\"\nretries = 0\n");
    let id = project.start();
    let failed = project.wait_for(id, "failed");
    assert_eq!(failed["failure"]["kind"], "disk", "{failed}");
    assert!(failed["reason"].as_str().unwrap().contains("the disk is full"), "{failed}");
    let pool = project.pool_pid();

    fs::remove_file(project.build_directory(id).join("log")).unwrap();
    project.source.write("Dockerfile", crate::support::dockerfile::dockerfile(&["RUN echo little"]));
    project.source.commit("It says less");
    let next = project.start();
    project.wait_for(next, "succeeded");
    assert_eq!(project.pool_pid(), pool, "the pool went through it");
}

#[test]
fn builds_are_held_while_the_disk_is_low_and_go_on_by_themselves() {
    let daemon = Buildkitd::start("");
    let project = Project::in_home(Slipway::on_tmpfs(96 << 20), &["RUN true"]);
    let builder = format!("kind = \"existing\"\naddress = \"{}\"\n", daemon.address());
    project.slipway.write("builders/there.toml", &builder);
    project.slipway.write("config.toml", "[pool]\nmin_free = \"40MB\"\n");
    let ballast = project.slipway.home().join("ballast");
    fs::write(&ballast, vec![0; 64 << 20]).unwrap();
    let id = project.start();
    project.wait_until_held(id, "pool.min_free is 40MB");
    fs::remove_file(ballast).unwrap();
    project.wait_for(id, "succeeded");
}

#[test]
fn a_home_on_a_full_disk_takes_no_build_and_loses_none() {
    let daemon = Buildkitd::start("");
    let project = Project::in_home(Slipway::on_tmpfs(32 << 20), &["RUN true"]);
    let builder = format!("kind = \"existing\"\naddress = \"{}\"\n", daemon.address());
    project.slipway.write("builders/there.toml", &builder);
    project.slipway.write("config.toml", "[pool]\nmin_free = \"1KB\"\n");
    project.pool();
    let ballast = project.slipway.home().join("ballast");
    let fill = ["if=/dev/zero".to_owned(), format!("of={}", ballast.display()), "bs=4k".to_owned()];
    assert!(!crate::support::background::run(Command::new("dd").args(fill)).status.success(), "the disk is full");
    let refused = project.slipway.run(&["build", "start", REPOSITORY]);
    assert_eq!(refused.code(), Some(1), "{refused}");
    assert!(refused.stderr.contains("it is not queued"), "{refused}");
    fs::remove_file(ballast).unwrap();
    project.slipway.run(&["build", "start", REPOSITORY, "--wait"]).ok();
}

#[test]
fn a_pool_whose_home_is_moved_away_ends_with_its_builds_and_the_next_one_is_for_the_home_that_is_there() {
    let project = Project::new(&[&ticking("home-moved", 600)]);
    let id = project.start();
    project.wait_for_tick(id, 3);
    let (pool, daemons) = (project.pool_pid(), project.daemons());
    let home = project.slipway.home();
    fs::rename(home, home.with_extension("moved")).unwrap();
    project.slipway.wait_until("the pool and its daemon have ended", || {
        !is_alive(pool) && !daemons.iter().any(|daemon| is_alive(*daemon))
    });
    project.slipway.run(&["namespace", "create", "new"]).ok();
    assert_ne!(project.pool_pid(), pool);
    assert_eq!(project.slipway.json(&["build", "list"]), serde_json::json!([]));
}
