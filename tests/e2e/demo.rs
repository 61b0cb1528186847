//! The first minutes with slipway: demo, doctor, setup.

use std::fs;
use std::path::PathBuf;

use crate::support::background::{Ran, run};
use crate::support::skopeo::Images;
use crate::support::slipway::Slipway;

/// Runs slipway with nothing of BuildKit in sight: neither in `PATH` nor in its home.
fn run_without_buildkit(slipway: &Slipway, args: &[&str]) -> Ran {
    let empty: PathBuf = slipway.home().join("empty-path");
    fs::create_dir_all(&empty).unwrap();
    run(slipway.command(args).env("PATH", empty))
}

#[test]
fn demo_in_an_empty_home_ends_with_the_images_name_and_digest() {
    let slipway = Slipway::new();
    let first = slipway.run(&["demo"]).ok();
    let digest = Images::layout(&slipway.home().join("images/demo/hello")).digest("latest");
    let last = first.stdout.lines().last().unwrap();
    assert!(last.contains("demo/hello:latest") && last.ends_with(&format!("@{digest}")), "{first}");
    assert!(first.stderr.contains("step 3 of 3"), "its log was shown: {first}");
    assert!(!first.stdout.contains('\u{1b}') && !first.stderr.contains('\u{1b}'), "{first}");
}

#[test]
fn a_second_demo_is_all_cache() {
    let slipway = Slipway::new();
    let first = slipway.json(&["demo"]);
    let second = slipway.json(&["demo"]);
    assert_eq!((&first["id"], &second["id"]), (&1.into(), &2.into()));
    let steps = second["steps"].as_array().unwrap();
    let own: Vec<_> = steps.iter().filter(|step| step["internal"] != true).collect();
    assert!(own.len() >= 4, "{second}");
    assert!(own.iter().all(|step| step["cached"] == true), "{own:#?}");
    let images = Images::layout(&slipway.home().join("images/demo/hello"));
    assert_eq!(images.digest("latest"), second["images"][0]["digest"]);
    assert_eq!(images.tags(), ["latest"]);
}

#[test]
fn doctor_is_content_where_everything_is_there() {
    let slipway = Slipway::new();
    let ran = slipway.run(&["doctor"]).ok();
    for name in ["buildctl", "buildkitd", "git", "home", "pool"] {
        assert!(ran.stdout.lines().any(|line| line.starts_with(&format!("ok    {name}"))), "{name}: {ran}");
    }
    assert!(!ran.stdout.contains("FAIL"), "{ran}");
    let checks = slipway.json(&["doctor"]);
    assert!(checks.as_array().unwrap().iter().all(|check| check["ok"] == true), "{checks}");
}

#[test]
fn doctor_names_what_is_missing_and_its_mend() {
    let slipway = Slipway::new();
    let ran = run_without_buildkit(&slipway, &["doctor"]);
    assert_eq!(ran.code(), Some(1), "{ran}");
    for name in ["buildctl", "buildkitd"] {
        assert!(ran.stdout.contains(&format!("FAIL  {name}")), "{ran}");
    }
    assert!(ran.stdout.contains("fix: ") && ran.stdout.contains("slipway setup"), "{ran}");
}

#[test]
fn doctor_shows_a_broken_file_and_a_builder_that_is_down() {
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\nbuidls = 1\n");
    slipway.write("builders/gone.toml", "kind = \"existing\"\naddress = \"unix:///nowhere/sock\"\n");
    slipway.run(&["pool", "start"]).ok();
    slipway.wait_until("the builder is known to be down", || {
        slipway.json(&["pool", "status"])["builders"][0]["state"] == "down"
    });
    let ran = slipway.run(&["doctor"]);
    assert_eq!(ran.code(), Some(1), "{ran}");
    assert!(ran.stdout.contains("config.toml:2:1"), "{ran}");
    assert!(ran.stdout.contains("FAIL  builder gone"), "{ran}");
}

#[test]
fn setup_check_only_reports() {
    let slipway = Slipway::new();
    let there = slipway.run(&["setup", "--check"]).ok();
    assert!(there.stdout.contains("buildctl") && there.stdout.contains("buildkitd"), "{there}");
    let missing = run_without_buildkit(&slipway, &["setup", "--check"]);
    assert_eq!(missing.code(), Some(1), "{missing}");
    assert!((missing.stdout.clone() + &missing.stderr).contains("buildkitd"), "{missing}");
    assert!(!slipway.home().join("buildkit/bin").exists(), "nothing was installed");
}

#[test]
fn a_build_without_buildkit_is_held_with_the_mend_and_goes_on_once_it_is_there() {
    use crate::support::project::{Project, REPOSITORY};
    let project = Project::new(&["RUN true"]);
    run_without_buildkit(&project.slipway, &["pool", "start"]).ok();
    let id = project.start_of(REPOSITORY);
    project.wait_until_held(id, "slipway setup");
    let bin = project.slipway.home().join("buildkit/bin");
    fs::create_dir_all(&bin).unwrap();
    let path = crate::support::path();
    for program in ["buildctl", "buildkitd", "runc"] {
        let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists()).unwrap();
        std::os::unix::fs::symlink(found, bin.join(program)).unwrap();
    }
    project.wait_for(id, "succeeded");
}
