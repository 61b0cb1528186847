//! Builders of every kind, and which of them a build goes to.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::support::background::run;
use crate::support::buildkitd::Buildkitd;
use crate::support::processes::{container_running, is_alive, with_command_line};
use crate::support::project::{Project, REPOSITORY, rule, ticking};
use crate::support::registry::Registry;

fn existing(address: &str) -> String {
    format!("kind = \"existing\"\naddress = \"{address}\"\n")
}

/// What a thrown-away daemon could leave in a home: processes, mounts, directories.
fn leftovers(project: &Project) -> Vec<String> {
    let home = project.slipway.home().to_str().unwrap().to_owned();
    let mut left: Vec<String> = project.daemons().iter().map(|pid| format!("process {pid:?}")).collect();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(&home)).map(str::to_owned));
    let find = ["-name", "b[0-9]*-*", "-o", "-name", "builder-*"];
    let found = run(std::process::Command::new("find").arg(&home).args(find)).ok().stdout;
    left.extend(found.lines().map(str::to_owned));
    left
}

#[test]
fn a_daemon_that_is_there_already_is_used_through_its_file() {
    let daemon = Buildkitd::start("");
    let project = Project::new(&["RUN echo on the daemon that was there"]);
    project.slipway.write("builders/there.toml", &existing(&daemon.address()));
    let build = project.start_and_wait().finish().ok().json();
    assert_eq!(build["builder"], "there");
    assert_eq!(build["images"][0]["digest"], project.images().digest("latest"));
    assert!(project.daemons().is_empty(), "no managed daemon was needed");
    // Its cache holds busybox now, and says so some seconds later.
    let cache = || project.slipway.json(&["builder", "list"])[0]["cache_bytes"].as_u64();
    project.slipway.wait_until("its cache was weighed", || cache().is_some_and(|bytes| bytes > 500_000));
    project.slipway.run(&["pool", "stop"]).ok();
    assert!(run(&mut daemon.buildctl(&["debug", "workers"])).status.success(), "it is not ours to stop");
}

#[test]
fn buildkit_host_names_the_builder_where_none_is_configured() {
    let daemon = Buildkitd::start("");
    let project = Project::new(&["RUN true"]);
    run(project.slipway.command(&["pool", "start"]).env("BUILDKIT_HOST", daemon.address())).ok();
    let build = project.start_and_wait().finish().ok().json();
    assert_eq!(build["builder"], "buildkit-host");
    assert!(project.daemons().is_empty(), "no managed daemon was needed");
}

#[test]
fn a_build_is_held_while_its_builder_cannot_be_reached_and_goes_on_by_itself() {
    let project = Project::new(&["RUN true"]);
    let socket = project.slipway.home().join("late.sock");
    project.slipway.write("builders/late.toml", &existing(&format!("unix://{}", socket.display())));
    let id = project.start();
    project.wait_until_held(id, "cannot be reached");
    assert!(project.show(id)["reason"].as_str().unwrap().contains("builder late"));
    let builder = &project.pool()["builders"][0];
    assert_eq!((&builder["name"], &builder["state"]), (&"late".into(), &"down".into()));

    let daemon = Buildkitd::start("");
    symlink(daemon.address().strip_prefix("unix://").unwrap(), socket).unwrap();
    assert_eq!(project.wait_for(id, "succeeded")["attempt"], 1);
}

#[test]
fn a_first_builder_that_is_made_by_a_command_leaves_the_managed_one_in_use() {
    let project = Project::new(&["RUN true"]);
    let address = ["--kind", "existing", "--address", "unix:///nowhere.sock"];
    project.slipway.run(&[&["builder", "create", "abroad", "--label", "region=overseas"], &address[..]].concat()).ok();
    let build = project.start_and_wait().finish().ok().json();
    assert_eq!(build["builder"], "managed");
    let builders = project.pool()["builders"].clone();
    assert_eq!((&builders[0]["name"], &builders[1]["name"]), (&"abroad".into(), &"managed".into()));
}

#[test]
fn labels_send_builds_to_the_builders_that_carry_them() {
    let daemon = Buildkitd::start("");
    let project = Project::new(&["RUN true"]);
    let builder = |labels: &str| existing(&daemon.address()) + "labels = { " + labels + " }\n";
    project.slipway.write("builders/abroad.toml", &builder("region = \"overseas\""));
    project.slipway.write("builders/inside.toml", &builder("network = \"vpc-a\""));
    project.write_repository("overseas = true", &rule("main", "main"));
    project.write_another("inside", "network = \"vpc-a\"", &rule("main", "main"));
    project.write_another("both", "overseas = true\nnetwork = \"vpc-a\"", &rule("main", "main"));

    for (repository, builder) in [(REPOSITORY, "abroad"), ("acme/inside", "inside")] {
        let id = project.start_of(repository);
        assert_eq!(project.wait_for(id, "succeeded")["builder"], builder);
    }
    let id = project.start_of("acme/both");
    project.wait_until_held(id, "no builder is labelled network = \"vpc-a\", region = \"overseas\"");
    project.slipway.write("builders/far.toml", &builder("region = \"overseas\", network = \"vpc-a\""));
    assert_eq!(project.wait_for(id, "succeeded")["builder"], "far");
}

#[test]
fn a_fresh_builder_is_new_for_each_build_and_leaves_nothing() {
    let project = Project::new(&["RUN echo made $(cat /proc/sys/kernel/random/uuid)"]);
    project.slipway.write("builders/fresh.toml", "kind = \"fresh\"\n");
    project.write_repository("cache = false", &rule("main", "main"));
    let digests: Vec<String> = (0..2)
        .map(|_| {
            let build = project.start_and_wait().finish().ok().json();
            assert_eq!(build["builder"], "fresh");
            assert!(build["steps"].as_array().unwrap().iter().all(|step| step["cached"] == false), "{build}");
            build["images"][0]["digest"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_ne!(digests[0], digests[1]);
    assert_eq!(leftovers(&project), [""; 0]);
}

#[test]
fn a_fresh_builder_leaves_nothing_when_its_runner_is_killed() {
    let project = Project::new(&[&ticking("fresh-killed", 15)]);
    project.slipway.write("builders/fresh.toml", "kind = \"fresh\"\n");
    let waiting = project.start_and_wait();
    project.slipway.wait_until("the build ticks", || project.ticks(1).contains(&3));
    assert!(!leftovers(&project).is_empty(), "its daemon runs");
    project.kill_runner(1);
    let build = waiting.finish().ok().json();
    assert_eq!((&build["id"], &build["state"], &build["attempt"]), (&1.into(), &"succeeded".into(), &2.into()));
    assert_eq!(build["attempts"][0]["state"], "interrupted");
    assert_eq!(leftovers(&project), [""; 0]);
    assert!(!container_running("fresh-killed"));
}

#[test]
fn a_provisioned_builder_is_brought_up_for_a_build_and_taken_down_after_it() {
    let daemon = Buildkitd::start("");
    let project = Project::new(&["RUN true"]);
    let calls = project.slipway.home().join("calls");
    let text = format!(
        "kind = \"provisioned\"\nup = '''echo up >> {0}; echo {1}'''\ndown = '''echo down $1 $SLIPWAY_BUILDER >> {0}'''\n",
        calls.display(),
        daemon.address()
    );
    project.slipway.write("builders/cloud.toml", &text);
    let build = project.start_and_wait().finish().ok().json();
    assert_eq!(build["builder"], "cloud");
    assert_eq!(fs::read_to_string(&calls).unwrap(), format!("up\ndown {0} {0}\n", daemon.address()));

    project.source.write("Dockerfile", crate::support::dockerfile::dockerfile(&["RUN false"]));
    project.source.commit("It fails");
    assert_eq!(project.start_and_wait().finish().code(), Some(1));
    assert_eq!(fs::read_to_string(&calls).unwrap().matches("down").count(), 2, "also after a failed build");
}

#[test]
fn a_provisioned_builder_is_taken_down_though_its_runner_was_killed() {
    let daemon = Buildkitd::start("");
    let project = Project::new(&["RUN sleep 70203.5"]);
    let calls = project.slipway.home().join("calls");
    let address = daemon.address();
    let text = format!("kind = \"provisioned\"\nup = 'echo {address}'\ndown = 'echo down $1 >> {}'\n", calls.display());
    project.slipway.write("builders/cloud.toml", &text);
    let id = project.start();
    project.slipway.wait_until("its step runs", || container_running("sleep 70203.5"));
    project.kill_runner(id);
    let called = || fs::read_to_string(&calls).unwrap_or_default();
    project.slipway.wait_until("it is taken down", || called() == format!("down {address}\n"));
}

#[test]
fn a_build_is_cancelled_while_its_builder_is_still_being_provisioned() {
    let project = Project::new(&["RUN true"]);
    project.slipway.write("builders/cloud.toml", "kind = \"provisioned\"\nup = 'sleep 70204.5; echo unix:///never'\n");
    let id = project.start();
    let provisions = || with_command_line("sleep 70204.5").into_iter().any(is_alive);
    project.slipway.wait_until("it is being provisioned", provisions);
    let build = project.slipway.json(&["build", "cancel", &id.to_string(), "--yes"]);
    assert_eq!(build["state"], "cancelled");
    assert!(!provisions(), "the command and its children ended");
}

#[test]
fn a_provisioned_builder_that_does_not_come_up_fails_its_build_with_what_it_said() {
    let project = Project::new(&["RUN true"]);
    project.slipway.write("config.toml", "[pool]\nretries = 0\n");
    project.slipway.write("builders/cloud.toml", "kind = \"provisioned\"\nup = 'echo no quota left >&2; exit 9'\n");
    let build = project.start_and_wait().finish().json();
    assert_eq!((&build["state"], &build["failure"]["kind"]), (&"failed".into(), &"daemon".into()), "{build}");
    assert!(build["reason"].as_str().unwrap().contains("no quota left"), "{build}");
}

#[test]
fn a_build_for_two_platforms_is_shared_by_two_builders_and_ends_as_one_index() {
    let (first, second) = (Buildkitd::start(""), Buildkitd::start(""));
    let project = Project::new(&["RUN echo running on $(uname -m)"]);
    for (name, daemon, platform) in [("amd", &first, "linux/amd64"), ("arm", &second, "linux/arm64")] {
        let text = existing(&daemon.address()) + "platforms = [\"" + platform + "\"]\n";
        project.slipway.write(&format!("builders/{name}.toml"), &text);
    }
    let both = "platforms = [\"linux/amd64\", \"linux/arm64\"]\n";
    project.write_repository("", &(rule("main", "main") + both));
    let build = project.start_and_wait().finish().ok().json();
    let builder = build["builder"].as_str().unwrap();
    assert!(builder.contains("amd") && builder.contains("arm"), "{build}");
    for machine in ["x86_64", "aarch64"] {
        assert!(project.log(1).contains(&format!("running on {machine}")), "{}", project.log(1));
    }

    let index = project.images().raw("latest");
    let platforms: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|manifest| manifest["platform"]["architecture"].as_str())
        .filter(|architecture| *architecture != "unknown")
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"], "{index}");
    for architecture in platforms {
        assert_eq!(project.images().config("latest", architecture)["architecture"], architecture);
    }
    assert_eq!(build["images"][0]["digest"], project.images().digest("latest"));
}

#[test]
fn what_two_builders_make_keeps_the_attestations_of_both_and_needs_none() {
    let (first, second) = (Buildkitd::start(""), Buildkitd::start(""));
    let registry = Registry::plain();
    let project = Project::new(&["RUN echo made > /made"]);
    project.slipway.write("namespaces/acme.toml", &format!("schema = 1\nregistry = \"{}\"\n", registry.host()));
    for (name, daemon, platform) in [("amd", &first, "linux/amd64"), ("arm", &second, "linux/arm64")] {
        let text = existing(&daemon.address()) + "platforms = [\"" + platform + "\"]\n";
        project.slipway.write(&format!("builders/{name}.toml"), &text);
    }
    let both = "platforms = [\"linux/amd64\", \"linux/arm64\"]\n";
    project.write_repository("", &(rule("main", "main") + both));
    let images = registry.repository(REPOSITORY);
    let index_of = |options: &[&str]| {
        project.slipway.run(&[&["rule", "edit", REPOSITORY, "main"], options].concat()).ok();
        let build = project.start_and_wait().finish().ok().json();
        assert_eq!(build["images"][0]["digest"], images.digest("latest"));
        for architecture in ["amd64", "arm64"] {
            assert_eq!(images.config("latest", architecture)["architecture"], architecture);
        }
        images.raw("latest")
    };
    let about = |index: &Value| -> Vec<String> {
        let manifests = index["manifests"].as_array().unwrap();
        let digest = |one: &Value| one["annotations"]["vnd.docker.reference.digest"].as_str().map(str::to_owned);
        manifests.iter().filter_map(digest).collect()
    };

    let index = index_of(&["--provenance", "max", "--annotation", "note=both"]);
    let manifests = index["manifests"].as_array().unwrap();
    let of = |place: usize| manifests[place]["digest"].as_str().unwrap().to_owned();
    assert_eq!((manifests.len(), about(&index)), (4, vec![of(0), of(2)]), "{index}");
    assert_eq!(index["annotations"]["note"], "both");

    let plain = index_of(&["--provenance", "off"]);
    assert_eq!((plain["manifests"].as_array().unwrap().len(), about(&plain).len()), (2, 0), "{plain}");
    assert_eq!(
        (&plain["annotations"]["note"], &plain["annotations"]["dev.slipway.build"]),
        (&"both".into(), &"2".into())
    );

    let list = index_of(&["--annotation", "", "--format", "docker"]);
    assert_eq!(list["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json", "{list}");

    // One part fails: the tag stays where it is.
    let before = images.digest("latest");
    project.source.write("Dockerfile", crate::support::dockerfile::dockerfile(&["RUN test $(uname -m) = x86_64"]));
    project.source.commit("It builds for one platform");
    assert_eq!(project.start_and_wait().finish().code(), Some(1));
    assert_eq!(images.digest("latest"), before);
}

#[test]
fn a_shared_build_that_fails_names_the_platform_and_tells_the_steps_of_both_apart() {
    let (first, second) = (Buildkitd::start(""), Buildkitd::start(""));
    let project = Project::new(&["RUN exit 7"]);
    for (name, daemon, platform) in [("amd", &first, "linux/amd64"), ("arm", &second, "linux/arm64")] {
        let text = existing(&daemon.address()) + "platforms = [\"" + platform + "\"]\n";
        project.slipway.write(&format!("builders/{name}.toml"), &text);
    }
    let both = "platforms = [\"linux/amd64\", \"linux/arm64\"]\n";
    project.write_repository("", &(rule("main", "main") + both));
    let build = project.start_and_wait().finish().json();
    assert_eq!((&build["state"], &build["failure"]["exit_code"]), (&"failed".into(), &7.into()), "{build}");
    let reason = build["reason"].as_str().unwrap();
    let names = |platform: &str| reason.starts_with(&format!("the Dockerfile failed: {platform}: RUN exit 7 ended"));
    assert!(names("linux/amd64") || names("linux/arm64"), "{reason}");
    let steps: Vec<&str> = build["steps"].as_array().unwrap().iter().filter_map(|step| step["name"].as_str()).collect();
    let runs: Vec<&&str> = steps.iter().filter(|name| name.contains("] RUN exit 7")).collect();
    assert!(!runs.is_empty() && runs.iter().all(|name| name.starts_with("[linux/a")), "{steps:?}");
    assert!(runs.len() < 2 || runs[0] != runs[1], "{steps:?}");
}

#[test]
fn the_managed_builder_is_restarted_with_a_registrys_new_settings_once_it_is_idle() {
    let project = Project::new(&[&ticking("registry-settings", 25)]);
    let id = project.start();
    project.wait_for_tick(id, 2);
    let before = project.daemons();
    project
        .slipway
        .write("registries/registry.example.com.toml", "plain_http = true\nmirrors = [\"near.example.com\"]\n");
    // The pool has taken the file over once it builds with what was written after it.
    project.slipway.write("config.toml", "[pool]\nbuilds = 5\n");
    project.slipway.wait_until("the pool has taken it over", || project.pool()["limit"] == 5);
    assert_eq!(project.daemons(), before, "not while a build uses it");
    project.wait_for(id, "succeeded");
    project.slipway.wait_until("a new daemon runs", || project.daemons().len() == 1 && project.daemons() != before);
    let config = fs::read_to_string(project.slipway.home().join("buildkit/buildkitd.toml")).unwrap();
    assert!(config.contains("registry.example.com") && config.contains("near.example.com"), "{config}");
    project.slipway.run(&["build", "start", REPOSITORY, "--wait"]).ok();
}

/// A user whose builders run without root; made when it is not there.
const USER: &str = "slipway-test";

fn number_of(flag: &str) -> u32 {
    run(std::process::Command::new("id").args([flag, USER])).ok().stdout.trim().parse().unwrap()
}

fn have_user() -> (u32, u32) {
    let exists = run(std::process::Command::new("id").arg(USER)).status.success();
    if !exists {
        run(std::process::Command::new("useradd").args(["--system", "--no-create-home", USER])).ok();
    }
    for file in ["/etc/subuid", "/etc/subgid"] {
        if !fs::read_to_string(file).unwrap_or_default().lines().any(|line| line.starts_with("slipway-test:")) {
            let flag = if file.ends_with("uid") { "--add-subuids" } else { "--add-subgids" };
            run(std::process::Command::new("usermod").args([flag, "700000-765535", USER])).ok();
        }
    }
    (number_of("-u"), number_of("-g"))
}

fn give_to(directory: &Path, user: u32, group: u32) {
    let owner = format!("{user}:{group}");
    run(std::process::Command::new("chown").args(["-R", &owner]).arg(directory)).ok();
}

#[test]
fn an_ordinary_users_managed_builder_runs_without_root() {
    let (user, group) = have_user();
    let project = Project::new(&["RUN echo I am $(id -u)"]);
    give_to(project.source.path().parent().unwrap(), user, group);
    give_to(project.slipway.home(), user, group);
    let as_user = |args: &[&str]| {
        let slipway = project.slipway.command(args);
        let mut command = std::process::Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
        command
            .arg(slipway.get_program())
            .args(slipway.get_args())
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "RUST_BACKTRACE"));
        command.envs(slipway.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&mut command)
    };
    let build = as_user(&["build", "start", REPOSITORY, "--wait", "--output", "json"]).ok().json();
    assert_eq!(build["state"], "succeeded");
    assert!(project.log(1).contains("I am 0"), "root in its container only: {}", project.log(1));
    let daemons = project.daemons();
    assert_eq!(daemons.len(), 1);
    let status = fs::read_to_string(format!("/proc/{}/status", daemons[0].as_raw_pid())).unwrap();
    let uids = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(uids.split_whitespace().skip(1).all(|uid| uid == user.to_string()), "{uids}");
    as_user(&["pool", "stop"]).ok();
    assert!(project.daemons().is_empty());
}
