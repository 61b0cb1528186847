//! Files that people edit by hand while the pool runs.

use std::fs;

use crate::support::project::{Project, REPOSITORY, rule};

/// What the running pool complains of.
fn problems(project: &Project) -> Vec<String> {
    let status = project.slipway.json(&["pool", "status"]);
    status["problems"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Waits until the pool complains of something that contains all of these.
fn wait_for_problem(project: &Project, wanted: &[&str]) {
    let has_all = |problem: &String| wanted.iter().all(|text| problem.contains(text));
    project.slipway.wait_until(&format!("a problem has {wanted:?}"), || problems(project).iter().any(has_all));
}

/// Waits until a command of the running pool ends with that status.
fn wait_for_status(project: &Project, args: &[&str], status: i32) {
    project
        .slipway
        .wait_until(&format!("{args:?} ends with {status}"), || project.slipway.run(args).code() == Some(status));
}

#[test]
fn a_rule_that_is_written_by_hand_is_shown_and_built() {
    let project = Project::new(&["RUN true"]);
    let pid = project.pool()["pid"].clone();
    assert_eq!(project.slipway.run(&["build", "start", REPOSITORY, "--rule", "second"]).code(), Some(3));
    let second = rule("second", "main").replace("latest", "by-hand");
    project.write_repository("", &format!("{}\n{second}", rule("main", "main")));
    assert_eq!(project.slipway.json(&["repo", "show", REPOSITORY])["rule"][1]["name"], "second");
    wait_for_status(&project, &["build", "start", REPOSITORY, "--rule", "second"], 0);
    assert_eq!(project.wait_for(1, "succeeded")["tags"][0], "by-hand");
    assert_eq!(project.images().tags(), ["by-hand"]);
    assert_eq!(project.slipway.json(&["pool", "status"])["pid"], pid);
}

#[test]
fn namespaces_and_preferences_that_change_on_disk_change_in_the_pool() {
    let project = Project::new(&["RUN true"]);
    project.slipway.write("config.toml", "[pool]\nbuilds = 7\n");
    assert_eq!(project.pool()["limit"], 7);
    project.slipway.write("config.toml", "[pool]\nbuilds = 3\n");
    project.slipway.wait_until("the limit is 3", || project.pool()["limit"] == 3);

    project.slipway.write("namespaces/other.toml", "");
    let from = project.slipway.home().join("namespaces/acme/app.toml");
    project.slipway.write("namespaces/other/copy.toml", &fs::read_to_string(from).unwrap());
    wait_for_status(&project, &["build", "start", "other/copy", "--wait"], 0);

    fs::remove_file(project.slipway.home().join("namespaces/other/copy.toml")).unwrap();
    wait_for_status(&project, &["build", "start", "other/copy"], 3);
    assert_eq!(project.slipway.run(&["repo", "show", "other/copy"]).code(), Some(3));
    fs::remove_file(project.slipway.home().join("namespaces/acme.toml")).unwrap();
    wait_for_status(&project, &["build", "start", REPOSITORY], 3);
}

#[test]
fn a_broken_edit_is_reported_with_its_place_and_the_last_good_state_stays() {
    let project = Project::new(&["RUN true"]);
    project.pool();
    let file = project.slipway.home().join("namespaces/acme/app.toml");
    let good = fs::read_to_string(&file).unwrap();
    let broken = "schema = 1\n[source]\nurl = \"/x\"\n[build]\nauto = = true\n";
    fs::write(&file, broken).unwrap();
    wait_for_problem(&project, &[&format!("{}:5:8", file.display())]);
    project.slipway.run(&["build", "start", REPOSITORY, "--wait"]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), broken, "it is kept as it is");
    // The next pool has the last good state, too.
    project.slipway.run(&["pool", "stop"]).ok();
    project.slipway.run(&["build", "start", REPOSITORY, "--wait"]).ok();
    wait_for_problem(&project, &[&format!("{}:5:8", file.display())]);
    assert_eq!(project.slipway.json(&["repo", "list"])[0]["name"], REPOSITORY);
    fs::write(&file, good).unwrap();
    project.slipway.wait_until("nothing is wrong any more", || problems(&project).is_empty());
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let project = Project::new(&["RUN true"]);
    project.pool();
    project.write_repository("auot = true", &rule("main", "main"));
    wait_for_problem(&project, &["app.toml:7:1", "auot", "auto"]);
    project.slipway.write("config.toml", "[pool]\nbuidls = 2\n");
    wait_for_problem(&project, &["config.toml:2:1", "buidls", "builds"]);
    project.slipway.write("builders/odd.toml", "kind = \"existing\"\nadress = \"unix:///x\"\n");
    wait_for_problem(&project, &["odd.toml:2:1", "adress", "address"]);
}

#[test]
fn a_file_that_means_nothing_is_reported_like_one_that_does_not_parse() {
    let project = Project::new(&["RUN true"]);
    project.pool();
    let rule = rule("main", "x").replace("branch = \"x\"", "branch = { regex = 'release-(' }");
    project.write_repository("", &rule);
    wait_for_problem(&project, &["app.toml", "main", "release-("]);
    project.slipway.run(&["build", "start", REPOSITORY, "--wait"]).ok();
}

#[test]
fn comments_and_order_survive_what_the_command_line_changes() {
    let project = Project::new(&["RUN true"]);
    let file = project.slipway.home().join("namespaces/acme/app.toml");
    let url = project.source.path();
    let by_hand = format!(
        "# ours, ask ops before changing\nschema = 1\nsummary = \"old\" # short\n\n[source] # the mirror\nurl = {url:?}\n\n\
         # the one rule that matters\n[[rule]]\nversions = [{{ name = \"latest\" }}]   # name first\nbranch = \"main\"\nname = \"main\"\n"
    );
    fs::write(&file, &by_hand).unwrap();
    project.slipway.run(&["repo", "edit", REPOSITORY, "--summary", "new"]).ok();
    let edited = fs::read_to_string(&file).unwrap();
    assert_eq!(edited.replace("\"new\"", "\"old\""), by_hand);

    project.slipway.run(&["rule", "create", REPOSITORY, "tags", "--tag", "v1", "--version", "one"]).ok();
    let created = fs::read_to_string(&file).unwrap();
    assert!(created.starts_with(edited.trim_end()), "{created}");
    assert_eq!(project.slipway.json(&["rule", "show", REPOSITORY, "tags"])["name"], "tags");
    project.slipway.run(&["rule", "delete", REPOSITORY, "tags", "--yes"]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), edited.trim_end());
}

#[test]
fn a_file_of_a_newer_slipway_is_refused_with_words_and_not_overwritten() {
    let project = Project::new(&["RUN true"]);
    project.pool();
    let file = project.slipway.home().join("namespaces/acme/app.toml");
    let newer = fs::read_to_string(&file).unwrap().replace("schema = 1", "schema = 2");
    fs::write(&file, &newer).unwrap();
    wait_for_problem(&project, &["app.toml", "newer slipway", "schema 2"]);
    let refused = project.slipway.run(&["repo", "edit", REPOSITORY, "--summary", "lost"]);
    assert!(!refused.status.success(), "{refused}");
    assert!(refused.stderr.contains("newer slipway"), "{refused}");
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
}
