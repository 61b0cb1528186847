//! Lists of builds and pushes stay right: the pool is killed, its catalog is damaged, records are removed by hand, and a
//! home of an earlier version is taken over.

use std::fs;

use serde_json::json;

use crate::support::project::{Project, rule};

/// The builds as the command line lists them, the newest first.
fn listed(project: &Project) -> Vec<u64> {
    let list = project.slipway.json(&["build", "list", "-n", "1000"]);
    list.as_array().unwrap().iter().map(|build| build["id"].as_u64().unwrap()).collect()
}

/// The builds that are on disk, the newest first.
fn on_disk(project: &Project) -> Vec<u64> {
    let entries = fs::read_dir(project.slipway.home().join("builds")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut ids: Vec<u64> = names.map(|name| name.parse().unwrap()).filter(|id| project.is_there(*id)).collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids
}

#[test]
fn lists_are_right_after_a_kill_in_the_middle_of_work_and_whatever_is_left_of_the_catalog() {
    let project = Project::new(&["RUN true"]);
    let first = project.start();
    project.wait_for(first, "succeeded");
    for round in 0..3 {
        let starting: Vec<_> = (0..3).map(|_| project.start_and_wait()).collect();
        project.slipway.wait_until("one of them is recorded", || on_disk(&project).len() > 1 + round);
        project.kill_pool();
        starting.into_iter().for_each(|waiting| drop(waiting.finish()));
        let catalog = project.slipway.home().join("catalog.db");
        match round {
            // What is there stays.
            0 => {}
            1 => {
                let bytes = fs::read(&catalog).unwrap();
                fs::write(&catalog, &bytes[..bytes.len() / 2]).unwrap();
            }
            _ => fs::remove_file(&catalog).unwrap(),
        }
        let before = on_disk(&project);
        project.pool();
        assert_eq!(listed(&project), before);
        let open = |build: &serde_json::Value| {
            ["queued", "held", "running"].map(|state| json!(state)).contains(&build["state"])
        };
        project.slipway.wait_until("all of them end", || {
            !project.slipway.json(&["build", "list", "-n", "1000"]).as_array().unwrap().iter().any(open)
        });
    }
    // A record that somebody removes is listed no more, and its number is given to no other.
    let newest = listed(&project)[0];
    fs::remove_dir_all(project.build_directory(newest)).unwrap();
    assert_eq!(listed(&project), on_disk(&project));
    assert!(project.start() > newest);
}

#[test]
fn a_home_of_the_version_before_is_taken_over_and_no_push_is_seen_twice() {
    let project = Project::new(&["RUN true"]);
    project.write_repository("", &rule("main", "main"));
    project.slipway.write("config.toml", "[pool]\npoll = \"1s\"\n");
    project.pool();
    let seen = project.slipway.home().join("watch/acme/app.toml");
    project.slipway.wait_until("the source was seen", || seen.exists());
    project.source.write("news", "1").commit("news");
    project.slipway.wait_until("the push is built", || project.is_there(1));
    project.wait_for(1, "succeeded");
    project.slipway.run(&["pool", "stop"]).ok();
    // As the version before left it: one file of all refs, and no catalog.
    let home = project.slipway.home();
    let text = fs::read_to_string(&seen).unwrap().replace("schema = 1\n", "").replace("last_push = 1\n", "");
    let text = text.replace("[refs]", "[repository.\"acme/app\".refs]");
    let old = format!("schema = 1\nlast_push = 1\n\n[repository.\"acme/app\"]\n{text}");
    fs::write(home.join("watch.toml"), old).unwrap();
    fs::remove_dir_all(home.join("watch")).unwrap();
    fs::remove_file(home.join("catalog.db")).unwrap();
    project.pool();
    project.slipway.wait_until("the refs are taken over", || seen.exists());
    assert_eq!(listed(&project), [1]);
    project.source.write("news", "2").commit("more");
    project.slipway.wait_until("the next push is built", || project.is_there(2));
    project.wait_for(2, "succeeded");
    let pushes = project.slipway.json(&["push", "list"]);
    assert_eq!(pushes.as_array().unwrap().len(), 2, "{pushes:#}");
    assert!(home.join("watch.toml.1").exists() && !home.join("watch.toml").exists());
}
