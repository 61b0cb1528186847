//! Building: from a rule and a commit to an image in the local registry, its record, its log and its tags.

use serde_json::{Value, json};

use crate::fixture::{MAIN, START, all_cached, build, home, home_of, images, local, run_steps, texts};
use crate::support::dockerfile::{add_busybox, dockerfile};
use crate::support::git_repo::GitRepo;
use crate::support::slipway::Slipway;

/// The keys of `build show` that scripts rely on.
const KEYS: [&str; 19] = [
    "id",
    "namespace",
    "repository",
    "rule",
    "ref",
    "commit",
    "trigger",
    "state",
    "reason",
    "queued_at",
    "started_at",
    "finished_at",
    "pushed_at",
    "tags",
    "images",
    "builder",
    "error",
    "steps",
    "warnings",
];

#[test]
fn a_repository_made_with_the_command_line_is_built_into_an_image_that_skopeo_reads() {
    let repo = GitRepo::with_dockerfile(&["RUN echo hello > /greeting"]);
    let commit = repo.git(&["rev-parse", "HEAD"]);
    let slipway = Slipway::new();
    slipway.run(&["namespace", "create", "acme"]).ok();
    slipway.run(&["repo", "create", "acme/api", "--source", &local(&repo), "--no-rule"]).ok();
    slipway.run(&["rule", "create", "acme/api", "main", "--branch", "main", "--version", "latest"]).ok();

    let built = build(&slipway);
    for key in KEYS {
        assert!(built.get(key).is_some(), "{key} is missing in {built:#}");
    }
    let expected = json!({
        "id": 1, "namespace": "acme", "repository": "api", "rule": "main", "ref": "refs/heads/main", "commit": commit,
        "trigger": "manual", "state": "succeeded", "tags": ["latest"], "error": null, "warnings": [],
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&built[key], value, "{key}");
    }
    for key in ["queued_at", "started_at", "finished_at", "pushed_at"] {
        let time = built[key].as_str().unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{key}: {time}");
    }
    assert!(built["builder"].is_string());
    for step in built["steps"].as_array().unwrap() {
        assert!(step["number"].is_u64() && step["name"].is_string() && step["state"].is_string(), "{step}");
        assert!(step["cached"].is_boolean() && step["seconds"].is_number(), "{step}");
    }
    let image = &built["images"][0];
    assert_eq!(image["name"], "acme/api:latest");
    assert_eq!(image["digest"], images(&slipway).digest("latest"));
    assert_eq!(texts(&image["platforms"]).len(), 1);
    assert_eq!(slipway.json(&["build", "show", "1"]), built);

    let labels = &images(&slipway).config("latest", "amd64")["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.revision"], commit.as_str());
    assert_eq!(labels["org.opencontainers.image.version"], "latest");
    assert!(labels["org.opencontainers.image.created"].is_string());
}

#[test]
fn a_repository_written_by_hand_is_built_and_the_second_time_everything_is_cached() {
    let repo = GitRepo::with_dockerfile(&["RUN echo hello > /greeting"]);
    let slipway = home_of(&repo);
    assert!(!all_cached(&build(&slipway)));
    repo.commit("Nothing new");
    let again = build(&slipway);
    assert_eq!(again["id"], 2);
    assert!(all_cached(&again), "{again:#}");
}

#[test]
fn a_repository_without_cache_runs_every_step_each_time() {
    let repo = GitRepo::with_dockerfile(&["RUN echo hello"]);
    let slipway = home(&local(&repo), "", &format!("[build]\ncache = false\n{MAIN}"));
    build(&slipway);
    let again = build(&slipway);
    assert!(run_steps(&again).iter().all(|step| step["cached"] == false), "{again:#}");
}

#[test]
fn arguments_and_the_target_stage_reach_the_dockerfile() {
    let steps = [
        "ARG COLOUR",
        "ENV COLOUR=$COLOUR",
        "FROM scratch AS wanted",
        "LABEL stage=wanted",
        "FROM scratch",
        "LABEL stage=last",
    ];
    let steps = dockerfile(&steps)
        .replacen("FROM scratch", "FROM scratch AS base", 1)
        .replace("FROM scratch AS wanted", "FROM base AS wanted");
    let repo = GitRepo::new();
    add_busybox(&repo);
    repo.write("Dockerfile", steps).commit("Stages");
    let slipway =
        home(&local(&repo), "", &format!("{MAIN}target = \"wanted\"\nargs = {{ COLOUR = \"deep blue = x\" }}\n"));
    build(&slipway);
    let config = &images(&slipway).config("latest", "amd64")["config"];
    assert_eq!(config["Labels"]["stage"], "wanted");
    assert!(texts(&config["Env"]).contains(&"COLOUR=deep blue = x"), "{config:#}");
}

#[test]
fn a_dockerfile_of_another_name_in_a_subdirectory_is_built_in_its_directory() {
    let repo = GitRepo::new();
    repo.write("outside", "")
        .write("svc/api/inside", "")
        .write("svc/api/Image.docker", "FROM scratch\nCOPY * /\nLABEL found=yes\n");
    repo.commit("A service");
    let slipway = home(
        &local(&repo),
        "",
        &format!("{MAIN}dockerfile = {{ directory = \"./svc/api/\", file = \"Image.docker\" }}\n"),
    );
    build(&slipway);
    assert_eq!(images(&slipway).config("latest", "amd64")["config"]["Labels"]["found"], "yes");
}

#[test]
fn a_context_above_the_dockerfiles_directory_gives_it_the_files_of_both() {
    let repo = GitRepo::new();
    repo.write("shared/file", "").write("svc/api/Dockerfile", "FROM scratch\nCOPY shared/file svc/api/Dockerfile /\n");
    repo.commit("A monorepo");
    let rule = format!("{MAIN}context = \"/\"\ndockerfile = {{ directory = \"svc/api\" }}\n");
    let slipway = home(&local(&repo), "", &rule);
    build(&slipway);
    assert_eq!(images(&slipway).tags(), ["latest"]);
}

#[test]
fn a_failing_step_fails_the_build_with_its_line_and_a_retry_builds_the_same_again() {
    let repo = GitRepo::with_dockerfile(&["RUN echo before; exit 7"]);
    let slipway = home_of(&repo);
    let ran = slipway.run(&START);
    assert_eq!(ran.code(), Some(1), "{ran}");
    let failed = ran.json();
    assert_eq!((&failed["state"], &failed["failure"]["kind"]), (&json!("failed"), &json!("dockerfile")), "{failed:#}");
    assert_eq!((&failed["failure"]["line"], &failed["failure"]["exit_code"]), (&json!(5), &json!(7)));
    assert!(failed["error"].as_str().unwrap().contains("exit code: 7"), "{failed:#}");
    assert!(ran.stderr.contains("before"), "the log goes to stderr: {ran}");

    let ran = slipway.run(&["build", "retry", "1", "--wait", "--output", "json"]);
    assert_eq!(ran.code(), Some(1), "{ran}");
    let again = ran.json();
    assert_eq!((&again["id"], &again["trigger"], &again["retry_of"]), (&json!(2), &json!("retry"), &json!(1)));
    for key in ["commit", "pushed_at", "rule"] {
        assert_eq!(again[key], failed[key], "{key}");
    }
    assert_eq!(slipway.json(&["build", "show", "1"])["retried_as"], 2);

    repo.write("Dockerfile", dockerfile(&["RUN echo mended"])).commit("Mend it");
    assert_eq!(build(&slipway)["state"], "succeeded");
}

#[test]
fn a_dockerfile_that_does_not_parse_is_named_with_its_line() {
    let repo = GitRepo::new();
    repo.write("Dockerfile", "FROM scratch\nCOPPY . /\n").commit("A slip");
    let ran = home_of(&repo).run(&START);
    assert_eq!(ran.code(), Some(1), "{ran}");
    let failed = ran.json();
    assert_eq!(
        (&failed["failure"]["kind"], &failed["failure"]["line"]),
        (&json!("dockerfile"), &json!(2)),
        "{failed:#}"
    );
    assert!(failed["error"].as_str().unwrap().contains("COPPY"), "{failed:#}");
}

#[test]
fn a_dockerfile_that_is_not_there_is_named() {
    let repo = GitRepo::new();
    repo.write("README", "").commit("No Dockerfile");
    let ran = home_of(&repo).run(&START);
    assert_eq!(ran.code(), Some(1), "{ran}");
    assert!(ran.json()["error"].as_str().unwrap().contains("Dockerfile"), "{ran}");
}

#[test]
fn logs_are_shown_whole_by_step_by_regex_and_without_prefixes() {
    let repo = GitRepo::with_dockerfile(&["RUN echo first; echo second", "RUN echo third"]);
    let slipway = home_of(&repo);
    let built = build(&slipway);
    let logs = |more: &[&str]| slipway.run(&[&["build", "logs", "1"], more].concat()).ok().stdout;
    let number = |text: &str| {
        let step = run_steps(&built).into_iter().find(|step| step["name"].as_str().unwrap().contains(text)).unwrap();
        step["number"].to_string()
    };
    let (first, third) = (number("echo first"), number("echo third"));
    assert_eq!(logs(&[]), std::fs::read_to_string(built["log"].as_str().unwrap()).unwrap());
    assert_eq!(logs(&["--plain", "--step", &first]), "first\nsecond\n");
    assert_eq!(logs(&["--plain", "--step", &third]), "third\n");
    let missing = slipway.run(&["build", "logs", "1", "--step", "99"]);
    assert_eq!(missing.code(), Some(3), "{missing}");
    assert!(missing.stderr.contains("build #1 has no step 99; its steps are 1 to "), "{missing}");
    let missing = slipway.run(&["build", "list", "acme/api", "--rule", "zzz"]);
    assert_eq!(missing.code(), Some(3), "{missing}");
    assert!(missing.stderr.contains("no builds of rule \"zzz\" of acme/api"), "{missing}");
    let found = logs(&["--grep", "0-9.]+ (second|third)$"]);
    assert_eq!(found, "", "a regex is searched as it is");
    let found = logs(&["--grep", "[0-9.]+ (second|third)$"]);
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(found.starts_with(&format!("#{first} ")) && found.ends_with(" third\n"), "{found}");
}

#[test]
fn following_a_log_shows_lines_as_they_come_and_ends_with_the_builds_status() {
    // The step goes on once the test has made a file in its container, so the line before it is read while it runs.
    let repo = GitRepo::with_dockerfile(&["RUN echo waiting; while [ ! -e /go ]; do sleep 0.05; done; exit 3"]);
    let slipway = home_of(&repo);
    slipway.run(&["build", "start", "acme/api"]).ok();
    let mut follower = slipway.spawn(&["build", "logs", "-f", "1", "--plain"]);
    slipway.wait_until("the line is there", || follower.stdout().contains("waiting"));
    assert!(follower.is_running());
    assert_eq!(slipway.json(&["build", "show", "1"])["state"], "running");
    let containers = crate::support::processes::with_root_below(slipway.home());
    let shell = containers
        .iter()
        .find(|pid| std::path::Path::new(&format!("/proc/{}/root/bin/busybox", pid.as_raw_pid())).exists());
    std::fs::write(format!("/proc/{}/root/go", shell.unwrap().as_raw_pid()), "").unwrap();
    let ended = follower.finish();
    assert_eq!(ended.code(), Some(1), "{ended}");
    assert!(ended.stderr.contains("build #1 failed"), "{ended}");
    let after = slipway.run(&["build", "logs", "-f", "1"]);
    assert_eq!(after.code(), Some(1), "{after}");
}

#[test]
fn an_accelerated_repository_gets_a_second_tag_that_has_the_same_content() {
    let repo = GitRepo::with_dockerfile(&["RUN echo hello > /greeting"]);
    let slipway = home(&local(&repo), "accelerate = true", MAIN);
    let built = build(&slipway);
    assert_eq!(images(&slipway).tags(), ["latest", "latest_accelerated"]);
    assert_eq!(built["images"].as_array().unwrap().len(), 2, "{built:#}");
    assert_ne!(images(&slipway).digest("latest"), images(&slipway).digest("latest_accelerated"));
    let layers = |tag| images(&slipway).config(tag, "amd64")["rootfs"]["diff_ids"].as_array().unwrap().len();
    assert_eq!(layers("latest"), layers("latest_accelerated"));
}

#[test]
fn two_builds_of_one_repository_at_the_same_time_both_succeed() {
    let repo = GitRepo::with_dockerfile(&["ARG WHICH", "RUN echo $WHICH; sleep 0.5"]);
    let rule = |name: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nbranch = \"main\"\nversions = [{{ name = \"{name}\" }}]\nargs = {{ WHICH = \"{name}\" }}\n"
        )
    };
    let slipway = home(&local(&repo), "", &(rule("one") + &rule("two")));
    slipway.write("config.toml", "[pool]\nbuilds = 2\n");
    slipway.run(&["pool", "start"]).ok();
    let start = |name| slipway.spawn(&["build", "start", "acme/api", "--rule", name, "--wait", "--output", "json"]);
    let (one, two) = (start("one"), start("two"));
    let (one, two) = (one.finish().ok().json(), two.finish().ok().json());
    let time = |build: &Value, key| build[key].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(
        time(&one, "started_at") < time(&two, "finished_at") && time(&two, "started_at") < time(&one, "finished_at")
    );
    assert_eq!(images(&slipway).tags(), ["one", "two"]);
    assert_ne!(images(&slipway).digest("one"), images(&slipway).digest("two"));
}

#[test]
fn one_tag_holds_the_images_of_two_platforms_each_built_by_running_it() {
    let repo = GitRepo::with_dockerfile(&["RUN echo running on $(uname -m)"]);
    let slipway = home(&local(&repo), "", &format!("{MAIN}platforms = [\"linux/amd64\", \"linux/arm64\"]\n"));
    let built = build(&slipway);
    assert_eq!(texts(&built["images"][0]["platforms"]), ["linux/amd64", "linux/arm64"]);
    let index = images(&slipway).raw("latest");
    let architectures: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|manifest| manifest["platform"]["architecture"].as_str().unwrap())
        .filter(|architecture| *architecture != "unknown")
        .collect();
    assert_eq!(architectures, ["amd64", "arm64"], "{index:#}");
    assert_eq!(images(&slipway).config("latest", "arm64")["architecture"], "arm64");
    let log = slipway.run(&["build", "logs", "1", "--plain"]).ok().stdout;
    for machine in ["x86_64", "aarch64"] {
        assert!(log.contains(&format!("running on {machine}\n")), "{log}");
    }
}

#[test]
fn one_build_gives_an_image_all_tags_of_its_rule() {
    let repo = GitRepo::with_dockerfile(&[]);
    let commit = repo.git(&["rev-parse", "HEAD"]);
    let versions = "versions = [{ name = \"latest\" }, { name = \"main\" }, { name = \"main\", commit = 12 }]";
    let slipway = home(&local(&repo), "", &format!("[[rule]]\nname = \"main\"\nbranch = \"main\"\n{versions}\n"));
    let built = slipway.run(&[
        "build",
        "replay",
        "acme/api",
        "--rule",
        "main",
        "--ref",
        "refs/heads/main",
        "--wait",
        "--output",
        "json",
    ]);
    let built = built.ok().json();
    let specific = format!("main-{}", &commit[..12]);
    assert_eq!(texts(&built["tags"]).last(), Some(&"latest"));
    assert_eq!(images(&slipway).tags(), ["latest", "main", &specific]);
    let digests: Vec<String> = images(&slipway).tags().iter().map(|tag| images(&slipway).digest(tag)).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[test]
fn a_replayed_regex_rule_makes_a_tag_of_capture_time_and_commit() {
    let repo = GitRepo::with_dockerfile(&[]);
    let commit = repo.branch("release-v1").commit("Release");
    let rule = "[[rule]]\nname = \"release\"\nbranch = { regex = 'release-(?<imageTag>\\w*)' }\n\
                versions = [{ name = \"${imageTag}\", time = \"yyyyMMddHHmm\", commit = 30 }]\n";
    let slipway = home(&local(&repo), "", rule);
    let now = slipway.run(&["build", "start", "acme/api", "--wait"]);
    assert_eq!(now.code(), Some(4), "{now}");
    let replay = ["build", "replay", "acme/api", "--rule", "release", "--wait", "--output", "json", "--ref"];
    let other = slipway.run(&[&replay[..], &["refs/heads/main"]].concat());
    assert_eq!(other.code(), Some(4), "{other}");
    let built = slipway.run(&[&replay[..], &["refs/heads/release-v1"]].concat()).ok().json();
    let pushed: chrono::DateTime<chrono::Utc> = built["pushed_at"].as_str().unwrap().parse().unwrap();
    let shanghai = pushed.with_timezone(&chrono::FixedOffset::east_opt(8 * 3600).unwrap());
    let tag = format!("v1-{}-{}", shanghai.format("%Y%m%d%H%M"), &commit[..30]);
    assert_eq!(images(&slipway).tags(), [tag]);
    assert_eq!(built["trigger"], "replay");
}

#[test]
fn an_immutable_repository_keeps_its_tags_and_moves_latest() {
    let repo = GitRepo::with_dockerfile(&["RUN echo one"]);
    let rule =
        |name: &str| format!("[[rule]]\nname = \"{name}\"\nbranch = \"main\"\nversions = [{{ name = \"{name}\" }}]\n");
    let slipway = home(&local(&repo), "immutable = true", &(rule("v1") + &rule("latest")));
    let start = |rule| slipway.run(&["build", "start", "acme/api", "--rule", rule, "--wait", "--output", "json"]);
    start("v1").ok();
    start("latest").ok();
    let (v1, latest) = (images(&slipway).digest("v1"), images(&slipway).digest("latest"));

    repo.write("Dockerfile", dockerfile(&["RUN echo two"])).commit("Another image");
    let refused = start("v1");
    assert_eq!(refused.code(), Some(4), "{refused}");
    let build = refused.json();
    assert_eq!(build["state"], "refused");
    assert!(build["reason"].as_str().unwrap().contains("v1") && build["started_at"].is_null(), "{build:#}");
    assert_eq!(build["error"], build["reason"]);
    start("latest").ok();
    assert_eq!(images(&slipway).digest("v1"), v1);
    assert_ne!(images(&slipway).digest("latest"), latest);
}

#[test]
fn a_retry_of_an_older_commit_never_moves_a_tag_back_but_a_replay_does() {
    let repo = GitRepo::with_dockerfile(&["RUN echo older"]);
    let slipway = home_of(&repo);
    let older = build(&slipway);
    repo.write("Dockerfile", dockerfile(&["RUN echo newer"])).commit("Newer");
    build(&slipway);
    let newer = images(&slipway).digest("latest");

    let id = older["id"].to_string();
    let ran = slipway.run(&["build", "retry", &id, "--wait", "--output", "json"]);
    assert_eq!(ran.code(), Some(4), "{ran}");
    assert_eq!(ran.json()["state"], "refused");
    assert_eq!(images(&slipway).digest("latest"), newer);

    repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let replay =
        ["build", "replay", "acme/api", "--rule", "main", "--ref", "refs/heads/main", "--wait", "--output", "json"];
    let replayed = slipway.run(&replay).ok().json();
    assert_eq!(replayed["commit"], older["commit"]);
    assert_ne!(images(&slipway).digest("latest"), newer);
}
