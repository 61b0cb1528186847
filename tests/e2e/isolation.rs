//! What builds may reach and use, and what is said of it.

use crate::support::background::run;
use crate::support::git_repo::GitRepo;
use crate::support::project::{Project, rule, ticking};
use crate::support::slipway::Slipway;
use crate::support::tmpfs::Tmpfs;

/// The warnings of a build.
fn warnings(build: &serde_json::Value) -> String {
    build["warnings"].to_string()
}

#[test]
fn steps_are_in_a_sandbox_and_a_build_says_where_the_settings_put_them_into_the_hosts_network() {
    let project = Project::new(&["RUN /bin/busybox ip -o address"]);
    let first = project.start_and_wait().finish().ok().json();
    assert!(!warnings(&first).contains("network"), "{first}");
    let log = project.slipway.run(&["build", "logs", &first["id"].to_string()]).ok().stdout;
    assert!(log.contains("198.51.100."), "{log}");

    // The daemon is restarted with it, once nothing builds.
    project.slipway.write("config.toml", "[buildkit]\nnetwork = \"host\"\n");
    project.slipway.wait_until("the settings are in force", || {
        let build = project.start_and_wait().finish().ok().json();
        warnings(&build).contains("in the host's network")
    });
    let id = project.slipway.json(&["build", "list"])[0]["id"].to_string();
    let log = project.slipway.run(&["build", "logs", &id]).ok().stdout;
    assert!(log.contains("slipway: RUN steps were in the host's network"), "{log}");
    assert!(project.slipway.run(&["doctor"]).stdout.contains("network = \"host\""));
}

#[test]
fn a_build_that_runs_out_of_memory_says_so() {
    let project = Project::new(&["RUN /bin/busybox dd if=/dev/zero of=/dev/null bs=256M"]);
    project.slipway.write("config.toml", "[buildkit]\nmemory = \"64MB\"\n");
    let id = project.start();
    let build = project.wait_for(id, "failed");
    assert!(build["failure"]["hint"].as_str().unwrap().contains("it ran out of memory"), "{build}");
    assert_eq!(build["failure"]["exit_code"], 137, "{build}");
}

#[test]
fn a_step_that_writes_too_much_ends_the_builds_that_share_it_and_no_other() {
    // All steps of a build count together, those that are done, too.
    let fills = [
        "RUN /bin/busybox dd if=/dev/zero of=/first bs=1M count=40",
        "RUN echo filling; /bin/busybox dd if=/dev/zero of=/second bs=1M; /bin/busybox sleep 600",
    ];
    let project = Project::new(&fills);
    project.slipway.write("config.toml", "[buildkit]\ndisk_limit = \"100MB\"\n[pool]\nbuilds = 4\n");
    let small = GitRepo::with_dockerfile(&[&ticking("beside", 30)]);
    project.write_another_of("beside", &small.path(), &rule("main", "main"));
    let beside = project.start_of("acme/beside");
    project.wait_for_tick(beside, 1);
    // A second repository of the same source has the very same steps.
    project.write_another("twin", "", &rule("main", "main"));
    let (id, twin) = (project.start(), project.start_of("acme/twin"));
    let (build, twin) = (project.wait_for(id, "failed"), project.wait_for(twin, "failed"));
    project.wait_for(beside, "succeeded");
    let ended = [&build, &twin].into_iter().find(|build| build["failure"]["kind"] == "disk_limit");
    let ended = ended.unwrap_or_else(|| panic!("{build}\n{twin}"));
    let reason = ended["reason"].as_str().unwrap();
    assert!(
        reason.contains("disk_limit of [buildkit], which is 100MB") && reason.contains("raise disk_limit"),
        "{reason}"
    );
    for build in [&build, &twin].into_iter().filter(|build| build["failure"]["kind"] != "disk_limit") {
        assert!(build["failure"]["hint"].as_str().unwrap().contains("disk_limit"), "{build}");
    }
    let id = ended["id"].as_u64().unwrap();
    assert!(project.log(id).contains("slipway: the build was ended: its RUN steps wrote"), "{}", project.log(id));
}

#[test]
fn where_a_builders_disk_gets_full_the_build_that_writes_most_ends_before_it_is() {
    let disk = Tmpfs::mount(400 << 20);
    let slipway = Slipway::new();
    std::os::unix::fs::symlink(disk.path(), slipway.home().join("buildkit")).unwrap();
    slipway.write("config.toml", "[pool]\nmin_free = \"150MB\"\n");
    let small =
        "RUN /bin/busybox dd if=/dev/zero of=/x bs=1M count=20; for i in $(seq 1 40); do echo tick $i; sleep 0.1; done";
    // As fast as a disk, not as memory.
    let large = "RUN for i in $(seq 1 100); do dd if=/dev/zero of=/x$i bs=1M count=5; sleep 0.05; done; sleep 600";
    let project = Project::in_home(slipway, &[large]);
    let beside = GitRepo::with_dockerfile(&[small]);
    project.write_another_of("beside", &beside.path(), &rule("main", "main"));
    let beside = project.start_of("acme/beside");
    project.wait_for_tick(beside, 1);
    let build = project.wait_for(project.start(), "failed");
    let reason = build["reason"].as_str().unwrap();
    assert!(reason.contains("less than pool.min_free (150MB)"), "{reason}");
    assert_eq!(build["failure"]["kind"], "disk_limit", "{build}");
    project.wait_for(beside, "succeeded");
}

#[test]
fn a_builder_on_another_machine_needs_tls_or_the_operators_word() {
    let slipway = Slipway::new();
    let address = "tcp://192.0.2.55:1234";
    let create = ["builder", "create", "far", "--kind", "existing", "--address", address];
    let refused = slipway.run(&create);
    assert_eq!(refused.code(), Some(2), "{refused}");
    assert!(refused.stderr.contains("without TLS") && refused.stderr.contains("--plain"), "{refused}");
    run(slipway.command(&create).arg("--plain")).ok();
    let saved = std::fs::read_to_string(slipway.home().join("builders/far.toml")).unwrap();
    assert!(saved.contains("plain = true"), "{saved}");

    // A record of before still loads, and says why nothing is built there.
    slipway.write("builders/old.toml", &format!("kind = \"existing\"\naddress = \"{address}\"\n"));
    let of_old = || {
        let builders = slipway.json(&["builder", "list"]);
        builders.as_array().unwrap().iter().find(|builder| builder["name"] == "old").cloned()
    };
    slipway.wait_until("the old record is refused", || of_old().is_some_and(|builder| builder["state"] == "down"));
    assert!(of_old().unwrap()["reason"].as_str().unwrap().contains("without TLS"));
}
