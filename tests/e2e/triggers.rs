//! What is built by itself and what is not: subjects that ask for no build, paths, rules that failed too often, schedules, base images.

use std::fs;

use serde_json::{Value, json};

use crate::support::git_daemon::GitDaemon;
use crate::support::git_repo::GitRepo;
use crate::support::project::{Project, rule};
use crate::support::registry::Registry;
use crate::support::slipway::Slipway;

/// A home whose sources are asked every second, and a project in it, with keys for its rule, that was seen once.
fn watched(steps: &[&str], keys: &str) -> Project {
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\npoll = \"1s\"\n");
    let project = Project::in_home(slipway, steps);
    project.write_repository("", &with(keys));
    project.slipway.run(&["pool", "start"]).ok();
    wait_until_seen(&project.slipway);
    project
}

/// The rule `main` with more keys.
fn with(keys: &str) -> String {
    rule("main", "main").replace("name = \"main\"\n", &format!("name = \"main\"\n{keys}\n"))
}

fn wait_until_seen(slipway: &Slipway) {
    let file = slipway.home().join("watch.toml");
    let seen = || fs::read_to_string(&file).is_ok_and(|text| text.contains("refs/heads/main"));
    slipway.wait_until("the source was seen", seen);
}

/// Waits until a push of that commit is answered; what the rule `main` made of it.
#[track_caller]
fn answer(slipway: &Slipway, commit: &str) -> Value {
    let mut found = Value::Null;
    slipway.wait_until(&format!("the push of {commit} is answered"), || {
        let pushes = slipway.json(&["push", "list"]);
        let push = pushes.as_array().unwrap().iter().find(|push| push["commit"] == commit).cloned();
        found = push.unwrap_or_default();
        found["settled"] == json!(true)
    });
    found["answers"][0].clone()
}

#[track_caller]
fn is_answered(project: &Project, commit: &str, verdict: &str, reason: &str) -> Value {
    let answer = answer(&project.slipway, commit);
    assert_eq!(answer["verdict"], verdict, "{answer}");
    assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer}");
    answer
}

/// Waits until a build that a push started succeeded.
#[track_caller]
fn is_built(project: &Project, commit: &str) -> u64 {
    let id = is_answered(project, commit, "built", "build #")["build"].as_u64().unwrap();
    project.wait_for(id, "succeeded");
    id
}

#[test]
fn a_commit_whose_subject_says_so_is_not_built_and_the_journal_says_why() {
    let project = watched(&["RUN true"], "");
    let commit = project.source.write("news", "1").commit("docs: a typo [Skip CI]");
    is_answered(&project, &commit, "skipped", "[skip ci]");
    let shown = project.slipway.run(&["push", "show", "1"]).ok().stdout;
    assert!(shown.contains("docs: a typo [Skip CI]"), "{shown}");
    let commit = project.source.write("news", "2").commit("news\n\nnot: [skip ci]");
    is_built(&project, &commit);
}

#[test]
fn subjects_and_files_of_a_source_on_another_machine_are_known_too() {
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\npoll = \"1s\"\n");
    let project = Project::in_home(slipway, &["RUN true"]);
    let daemon = GitDaemon::serve(&project.source);
    let text = format!("[source]\nurl = {:?}\n{}", daemon.url(), with("paths = [\"svc/\"]"));
    project.slipway.write("namespaces/acme/app.toml", &text);
    project.slipway.run(&["pool", "start"]).ok();
    wait_until_seen(&project.slipway);
    let commit = project.source.write("svc/a", "1").commit("first");
    is_built(&project, &commit);
    let commit = project.source.write("README.md", "1").commit("docs");
    is_answered(&project, &commit, "paths", "none of the 1 files changed since build #1");
    let commit = project.source.write("svc/a", "2").commit("[skip build] later");
    is_answered(&project, &commit, "skipped", "[skip build]");
    // What was left out before is a part of it.
    let commit = project.source.write("README.md", "2").commit("docs again");
    is_built(&project, &commit);
    project.slipway.run(&["repo", "delete", "acme/app", "--yes"]).ok();
    assert!(!project.slipway.home().join("git/acme/app").exists());
}

#[test]
fn a_push_that_changes_nothing_of_interest_is_not_built_whatever_failed_before() {
    let project = watched(&["RUN test ! -e broken"], "paths = [\"svc/**\", \"broken\"]\nignore_paths = [\"*.md\"]");
    let first = project.source.write("svc/a", "1").commit("built, for nothing was built before");
    is_built(&project, &first);
    let commit = project.source.write("svc/README.md", "1").write("other", "1").commit("docs");
    is_answered(&project, &commit, "paths", "none of the 2 files");
    project.source.write("Dockerfile", "FROM scratch\nCOPY svc/none /\n").write("svc/a", "2");
    let commit = project.source.commit("broken");
    let id = is_answered(&project, &commit, "built", "build #")["build"].as_u64().unwrap();
    project.wait_for(id, "failed");
    project.source.git(&["checkout", "--quiet", &first, "--", "Dockerfile"]);
    let commit = project.source.write("other", "2").commit("mended elsewhere");
    is_built(&project, &commit);
}

#[test]
fn a_push_that_takes_back_what_is_still_being_built_is_built_too() {
    let steps = ["COPY svc /svc", "RUN while test -e /svc/slow; do sleep 0.1; done"];
    let project = watched(&steps, "paths = [\"svc/**\"]\nsupersede = \"running\"");
    let commit = project.source.write("svc/a", "1").commit("good");
    is_built(&project, &commit);
    let slow = project.source.write("svc/slow", "1").commit("slow");
    let open = is_answered(&project, &slow, "built", "build #")["build"].as_u64().unwrap();
    project.wait_for(open, "running");
    // Nothing differs from what was built last; but what is being built now would be what stays.
    project.source.git(&["rm", "--quiet", "svc/slow"]);
    let commit = project.source.commit("not so slow");
    is_built(&project, &commit);
    project.wait_for(open, "superseded");
}

#[test]
fn a_push_that_comes_while_its_repositorys_file_is_broken_is_built_once_that_is_mended() {
    let project = watched(&["RUN true"], "");
    let file = "namespaces/acme/app.toml";
    let text = fs::read_to_string(project.slipway.home().join(file)).unwrap();
    project.slipway.write(file, &format!("{text}\n[broken"));
    project.slipway.wait_until("the problem is told", || project.pool()["problems"].to_string().contains("app.toml"));
    let commit = project.source.write("news", "1").commit("meanwhile");
    project.slipway.write(file, &text);
    is_built(&project, &commit);
}

#[test]
fn a_rule_that_failed_so_often_is_paused_until_a_person_mends_it() {
    let project = watched(&["RUN false"], "pause_after = 2");
    for text in ["1", "2"] {
        let commit = project.source.write("news", text).commit("fails");
        let id = is_answered(&project, &commit, "built", "build #")["build"].as_u64().unwrap();
        project.wait_for(id, "failed");
    }
    let commit = project.source.write("news", "3").commit("not tried");
    is_answered(&project, &commit, "paused", "failed 2 times in a row");
    let paused = |slipway: &Slipway| slipway.json(&["pool", "status"])["paused"].clone();
    assert_eq!(paused(&project.slipway), json!([{ "repository": "acme/app", "rule": "main", "failures": 2 }]));
    // The next pool knows it, too.
    project.slipway.run(&["pool", "stop"]).ok();
    project.slipway.run(&["pool", "start"]).ok();
    project.slipway.wait_until("the past is read", || paused(&project.slipway) != json!([]));
    let commit = project.source.write("news", "4").commit("not tried either");
    is_answered(&project, &commit, "paused", "failed 2 times in a row");
    let text = fs::read_to_string(project.source.path().join("Dockerfile")).unwrap().replace("RUN false", "RUN true");
    project.source.write("Dockerfile", text).commit("mended");
    let id = project.start();
    project.wait_for(id, "succeeded");
    assert_eq!(paused(&project.slipway), json!([]));
    let commit = project.source.write("news", "5").commit("built again");
    is_built(&project, &commit);
}

#[test]
fn a_time_that_passed_while_no_pool_ran_is_made_up_for_once() {
    let project = watched(&["RUN true"], "");
    let id = project.start();
    project.wait_for(id, "succeeded");
    project.slipway.run(&["pool", "stop"]).ok();
    // As though its schedule had started it two days ago.
    let record = project.build_directory(id).join("build.toml");
    let queued = project.show(id)["queued_at"].as_str().unwrap().to_owned();
    let then = (chrono::Utc::now() - chrono::TimeDelta::days(2)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let text = fs::read_to_string(&record).unwrap();
    let line = text.lines().find(|line| line.starts_with("queued_at")).unwrap_or_else(|| panic!("{queued}: {text}"));
    let text = text.replace(line, &format!("queued_at = \"{then}\"")).replace("\"manual\"", "\"schedule\"");
    fs::write(&record, text).unwrap();
    let schedule = "schedule = { cron = \"0 3 * * *\", time_zone = \"Asia/Shanghai\" }";
    // A nightly build: pushes do not count.
    project.write_repository("", &with(&format!("auto = false\n{schedule}")));
    project.slipway.run(&["pool", "start"]).ok();
    project.slipway.wait_until("its time is made up for", || project.is_there(2));
    let shown = project.wait_for(2, "succeeded");
    assert_eq!((&shown["trigger"], &shown["commit"]), (&json!("schedule"), &json!(project.source.head())));
    let rule = project.slipway.run(&["rule", "show", "acme/app", "main"]).ok().stdout;
    assert!(rule.contains("0 3 * * * (Asia/Shanghai)\nnext "), "{rule}");
    project.slipway.run(&["pool", "stop"]).ok();
    project.write_repository("", &with(schedule));
    project.slipway.run(&["pool", "start"]).ok();
    project.source.write("news", "1").commit("pushed");
    project.slipway.wait_until("the push is built", || project.is_there(3));
    project.wait_for(3, "succeeded");
    assert_eq!(project.show(3)["trigger"], "push", "the time is not made up for twice");
}

#[test]
fn a_schedule_that_cannot_be_is_refused_with_the_reason() {
    let project = Project::new(&["RUN true"]);
    for (arguments, reason) in [
        (["--schedule", "0 3 * *"], "five fields"),
        (["--schedule", "0 0 30 2 *"], "no time at all"),
        (["--schedule", "61 * * * *"], "cron"),
        (["--paths", "a["], "no glob"),
    ] {
        let all = [["rule", "edit"], ["acme/app", "main"], arguments].concat();
        let ran = project.slipway.run(&all);
        assert_eq!(ran.code(), Some(2), "{ran}");
        assert!(ran.stderr.contains(reason), "{ran}");
    }
    let zone = ["rule", "edit", "acme/app", "main", "--schedule", "0 3 * * *", "--time-zone", "Mars"];
    assert!(project.slipway.run(&zone).stderr.contains("IANA"));
    let regex = ["rule", "create", "acme/app", "all", "--regex", ".*", "--version", "x", "--schedule", "0 3 * * *"];
    assert!(project.slipway.run(&regex).stderr.contains("no regex"));
}

#[test]
fn a_rule_that_follows_its_base_images_is_built_again_when_one_changes() {
    let registry = Registry::plain();
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\nbase_images = \"1s\"\n");
    slipway.write("namespaces/acme.toml", &format!("registry = \"{}\"\n", registry.host()));
    let base = GitRepo::new();
    base.write("Dockerfile", "FROM scratch\nCOPY file /\n").write("file", "1").commit("A base");
    let app = GitRepo::new();
    let from = format!("FROM {}/acme/base:latest\nCOPY file /own\n", registry.host());
    app.write("Dockerfile", &from).write("file", "1").commit("An image");
    for (name, source, keys) in [("base", &base, ""), ("app", &app, "follow_base_images = true")] {
        let text = format!("[source]\nurl = {:?}\n{}", source.path(), with(keys));
        slipway.write(&format!("namespaces/acme/{name}.toml"), &text);
    }
    slipway.run(&["pool", "start"]).ok();
    let build = |name: &str| slipway.json(&["build", "start", name, "--wait"])["id"].as_u64().unwrap();
    let (_, first) = (build("acme/base"), build("acme/app"));
    let before = slipway.json(&["build", "show", &first.to_string()]);
    base.write("file", "2").commit("Another base");
    let changed = build("acme/base");
    let mut rebuilt = Value::Null;
    slipway.wait_until("the image is built again", || {
        let builds = slipway.json(&["build", "list"]);
        rebuilt = builds
            .as_array()
            .unwrap()
            .iter()
            .find(|build| build["id"].as_u64() > Some(changed))
            .cloned()
            .unwrap_or_default();
        rebuilt["state"] == "succeeded"
    });
    assert_eq!((&rebuilt["trigger"], &rebuilt["commit"]), (&json!("base_image"), &before["commit"]));
    assert_eq!(rebuilt["pushed_at"], before["pushed_at"], "its tags stay those of its push");
    assert_ne!(rebuilt["images"][0]["digest"], before["images"][0]["digest"]);
    let shown = slipway.json(&["build", "show", &rebuilt["id"].to_string()]);
    let note = shown["warnings"][0].as_str().unwrap();
    assert!(note.contains("acme/base:latest is sha256:"), "{note}");
    // Nothing changed since: a push is the next to be built.
    let next = rebuilt["id"].as_u64().unwrap() + 1;
    slipway.wait_until("its digest is looked at again", || registry.log().matches("HEAD /v2/acme/base").count() > 3);
    assert_eq!(slipway.json(&["build", "start", "acme/base", "--wait"])["id"].as_u64(), Some(next));
}
