//! What builds may reach and use, and what is said of it.

use crate::support::background::run;
use crate::support::project::Project;
use crate::support::slipway::Slipway;

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
