//! Sources are watched: what is pushed is built without anybody asking, once, and the journal says why or why not.

use std::fs;

use serde_json::{Value, json};

use crate::support::background::run;
use crate::support::project::{Project, rule, ticking};
use crate::support::slipway::Slipway;

/// A home whose sources are asked every second, and a project in it that was seen once.
fn watched(steps: &[&str]) -> Project {
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\npoll = \"1s\"\n");
    let project = Project::in_home(slipway, steps);
    project.slipway.run(&["pool", "start"]).ok();
    seen(&project);
    project
}

/// Waits until the source was seen for the first time.
fn seen(project: &Project) {
    let file = project.slipway.home().join("watch/acme/app.toml");
    project.slipway.wait_until("the source was seen", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("refs/heads/main"))
    });
}

fn pushes(project: &Project) -> Vec<Value> {
    let listed = project.slipway.json(&["push", "list"]);
    listed.as_array().unwrap().clone()
}

/// Waits until so many pushes were seen and answered; the newest first.
fn settled(project: &Project, count: usize) -> Vec<Value> {
    let done = || pushes(project).iter().filter(|push| push["settled"] == json!(true)).count() >= count;
    project.slipway.wait_until("the pushes are settled", done);
    let pushes = pushes(project);
    assert_eq!(pushes.len(), count, "{pushes:#?}");
    pushes
}

#[test]
fn a_push_is_built_without_anybody_asking_and_the_first_sight_of_a_source_is_not() {
    let project = watched(&["RUN echo built by a push"]);
    assert_eq!(pushes(&project), Vec::<Value>::new());
    let commit = project.source.write("news", "1").commit("news");
    let pushes = settled(&project, 1);
    assert_eq!(pushes[0]["commit"], json!(commit));
    assert_eq!(pushes[0]["answers"][0]["verdict"], json!("built"));
    assert_eq!(pushes[0]["answers"][0]["build"], json!(1));
    project.wait_for(1, "succeeded");
    let build = project.slipway.json(&["build", "show", "1"]);
    assert_eq!((&build["trigger"], &build["commit"]), (&json!("push"), &json!(commit)));
}

#[test]
fn every_rule_says_why_it_built_or_did_not() {
    let project = watched(&["RUN true"]);
    let by_hand = rule("by-hand", "release").replace("name = \"by-hand\"", "name = \"by-hand\"\nauto = false");
    project.write_repository("", &[rule("main", "main"), rule("release", "release"), by_hand].concat());
    project.slipway.wait_until("the rules are taken over", || {
        project.slipway.run(&["rule", "list", "acme/app"]).ok().stdout.contains("by-hand")
    });
    project.source.branch("release");
    let push = settled(&project, 1).remove(0);
    let verdicts: Vec<(&str, &str)> = push["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer["rule"].as_str().unwrap(), answer["verdict"].as_str().unwrap()))
        .collect();
    assert_eq!(verdicts, [("main", "no_match"), ("release", "built"), ("by-hand", "auto_off")]);
    let shown = project.slipway.run(&["push", "show", "1"]).ok().stdout;
    assert!(shown.contains("auto of the rule is off"), "{shown}");
    let missing = run(&mut project.slipway.command(&["push", "show", "9"]));
    assert_eq!(missing.code(), Some(3));
}

#[test]
fn a_push_while_no_pool_runs_is_built_once_by_the_next_one() {
    let project = watched(&["RUN true"]);
    project.slipway.run(&["pool", "stop"]).ok();
    let commit = project.source.write("news", "1").commit("news");
    project.slipway.run(&["pool", "start"]).ok();
    let pushes = settled(&project, 1);
    assert_eq!(pushes[0]["commit"], json!(commit));
    project.wait_for(1, "succeeded");
}

#[test]
fn a_pool_that_is_killed_after_it_saw_a_push_builds_it_neither_twice_nor_not_at_all() {
    let project = watched(&["RUN true"]);
    project.source.write("news", "1").commit("news");
    settled(&project, 1);
    project.wait_for(1, "succeeded");
    project.kill_pool();
    // As though it had died before it could write down what became of the push, and that the refs were seen.
    let home = project.slipway.home();
    let journal = home.join("pushes/1.toml");
    let text = fs::read_to_string(&journal).unwrap().replace("settled = true", "settled = false");
    fs::write(&journal, text.split("[[answer]]").next().unwrap()).unwrap();
    project.slipway.run(&["pool", "start"]).ok();
    let pushes = settled(&project, 1);
    assert_eq!(pushes[0]["answers"][0]["build"], json!(1));
    // And as though it had died before any build was queued.
    project.kill_pool();
    fs::remove_dir_all(home.join("builds/1")).unwrap();
    let text = fs::read_to_string(&journal).unwrap().replace("settled = true", "settled = false");
    fs::write(&journal, text.split("[[answer]]").next().unwrap()).unwrap();
    project.slipway.run(&["pool", "start"]).ok();
    settled(&project, 1);
    // A number is given once, though its build is gone.
    project.wait_for(2, "succeeded");
}

#[test]
fn a_source_that_cannot_be_read_is_told_and_watched_again_when_it_is_back() {
    let project = watched(&["RUN true"]);
    let (here, away) = (project.source.path(), project.source.path().with_extension("away"));
    fs::rename(&here, &away).unwrap();
    let problems = || project.slipway.run(&["pool", "status"]).ok().stdout;
    project.slipway.wait_until("the problem is told", || problems().contains("acme/app is not watched"));
    fs::rename(&away, &here).unwrap();
    project.slipway.wait_until("it is watched again", || !problems().contains("is not watched"));
    project.source.write("news", "1").commit("news");
    settled(&project, 1);
}

#[test]
fn what_was_pushed_while_a_repository_is_not_built_by_itself_stays_unbuilt() {
    let project = watched(&["RUN true"]);
    project.write_repository("auto = false", &rule("main", "main"));
    let watch = project.slipway.home().join("watch/acme/app.toml");
    project.slipway.wait_until("it is watched no more", || !watch.exists());
    project.source.write("news", "1").commit("not built");
    project.write_repository("", &rule("main", "main"));
    seen(&project);
    let commit = project.source.write("news", "2").commit("built");
    let pushes = settled(&project, 1);
    assert_eq!(pushes[0]["commit"], json!(commit));
}

#[test]
fn a_newer_push_ends_the_running_build_of_a_rule_that_says_so() {
    let project = watched(&[&ticking("watching-superseded", 600)]);
    let wanted = rule("main", "main").replace("name = \"main\"", "name = \"main\"\nsupersede = \"running\"");
    project.write_repository("", &wanted);
    let shown = || project.slipway.run(&["rule", "show", "acme/app", "main"]).ok().stdout;
    project.slipway.wait_until("the rule is taken over", || shown().contains("supersede"));
    project.source.write("news", "1").commit("one");
    settled(&project, 1);
    project.wait_for(1, "running");
    project.source.write("news", "2").commit("two");
    settled(&project, 2);
    project.wait_for(1, "superseded");
    let build = project.slipway.json(&["build", "show", "1"]);
    assert!(build["reason"].as_str().unwrap().contains("build #2 of a newer push"), "{build}");
    project.wait_for(2, "running");
    project.slipway.run(&["build", "cancel", "2", "--yes"]).ok();
}

#[test]
fn a_tag_of_a_tree_is_refused_with_a_reason_and_starts_no_build_and_one_of_a_tag_is_built() {
    let project = watched(&["RUN true"]);
    let tags = "[[rule]]\nname = \"tags\"\ntag = { regex = \".*\" }\nversions = [{ name = \"latest\" }]\n";
    project.write_repository("", tags);
    project.slipway.wait_until("the rules are taken over", || {
        project.slipway.run(&["rule", "list", "acme/app"]).ok().stdout.contains("tags")
    });
    let tag = |name: &str, of: &str| {
        project.source.git(&["-c", "tag.gpgSign=false", "tag", "-m", name, name, of]);
    };
    tag("a-tree", "HEAD^{tree}");
    let push = settled(&project, 1).remove(0);
    let answer = &push["answers"][0];
    assert_eq!((&answer["verdict"], &answer["build"]), (&json!("refused"), &Value::Null), "{push}");
    assert!(answer["reason"].as_str().unwrap().contains("is a tree, and not a commit"), "{push}");
    let replay = ["build", "replay", "acme/app", "--rule", "tags", "--ref", "refs/tags/a-tree"];
    let refused = project.slipway.run(&replay);
    assert_eq!(refused.code(), Some(4), "{refused}");
    assert!(refused.stderr.contains("is a tree, and not a commit"), "{refused}");
    assert_eq!(project.slipway.json(&["build", "list"]), json!([]));

    tag("once", "HEAD");
    settled(&project, 2);
    project.wait_for(1, "succeeded");
    tag("twice", "once");
    let push = settled(&project, 3).remove(0);
    assert_eq!(push["answers"][0]["verdict"], json!("built"), "{push}");
    assert_eq!(push["commit"], json!(project.source.head()), "{push}");
    project.wait_for(push["answers"][0]["build"].as_u64().unwrap(), "succeeded");
}
