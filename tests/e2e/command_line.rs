//! The command line as scripts use it: exit statuses, errors, JSON, and what needs no pool at all.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::fixture::{MAIN, files_below, home_of, local, texts};
use crate::support::background::{Ran, run};
use crate::support::git_repo::GitRepo;
use crate::support::slipway::Slipway;

/// The binary without home and environment.
fn bare(args: &[&str]) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_slipway")).env_clear().args(args))
}

/// The command must end with `status` and say each of `texts` on stderr, once, in one error.
#[track_caller]
fn refuses(slipway: &Slipway, args: &[&str], status: i32, texts: &[&str]) {
    let ran = slipway.run(args);
    assert_eq!(ran.code(), Some(status), "{ran}");
    assert_eq!(ran.stdout, "", "{ran}");
    for text in texts {
        assert!(ran.stderr.contains(text), "{text:?} is missing: {ran}");
    }
}

const SHA: &str = "d4ef3dc3b77a011a5779eec7efdd450123456789";

#[test]
fn rule_match_gives_the_tags_of_the_first_page_without_any_home() {
    let common = ["--commit", SHA, "--pushed-at", "2020-10-15T16:25:00+08:00", "--ref"];
    let main = ["rule", "match", "--branch", "main", "--version", "latest"];
    let ran = bare(&[&main[..], &common, &["refs/heads/main"]].concat());
    assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "latest\n", ""), "{ran}");
    let release = [
        "rule",
        "match",
        "--regex",
        r"release-(?<imageTag>\w*)",
        "--version",
        "${imageTag}",
        "--time",
        "yyyyMMddHHmm",
        "--commit-digits",
        "30",
    ];
    let ran = bare(&[&release[..], &common, &["refs/heads/release-v1"]].concat());
    assert_eq!(ran.ok().stdout, "v1-202010151625-d4ef3dc3b77a011a5779eec7efdd45\n");
    let json = bare(&[&release[..], &common, &["refs/heads/release-v1", "--output", "json"]].concat()).ok().json();
    assert_eq!(
        json,
        json!({ "matches": true, "tags": ["v1-202010151625-d4ef3dc3b77a011a5779eec7efdd45"], "notes": [] })
    );
    for reference in ["refs/heads/prerelease-v1", "refs/tags/release-v1"] {
        let ran = bare(&[&release[..], &common, &[reference]].concat());
        assert_eq!((ran.code(), ran.stdout.as_str()), (Some(1), ""), "{ran}");
    }
}

#[test]
fn completions_and_the_manual_page_need_no_home() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = bare(&["completions", shell]).ok();
        assert!(ran.stdout.contains("slipway") && ran.stdout.contains("namespace"), "{ran}");
    }
    let page = bare(&["man"]).ok().stdout;
    assert!(page.contains(".TH slipway") && page.contains("namespace"), "{page}");
    let wrong = bare(&["completions", "tcsh-like"]);
    assert_eq!(wrong.code(), Some(2), "{wrong}");
}

#[test]
fn without_any_home_the_error_names_the_variable() {
    let ran = bare(&["namespace", "list"]);
    assert_eq!(ran.code(), Some(2), "{ran}");
    assert!(ran.stderr.contains("SLIPWAY_HOME"), "{ran}");
}

#[test]
fn wrong_names_patterns_tags_and_platforms_each_get_one_error_that_names_them() {
    let slipway = Slipway::new();
    slipway.run(&["namespace", "create", "acme"]).ok();
    slipway.run(&["repo", "create", "acme/api", "--source", "/srv/git/api.git", "--no-rule"]).ok();
    let rule = ["rule", "create", "acme/api", "new"];
    let of = |more: &[&'static str]| [&rule[..], more].concat();
    for (args, named) in [
        (vec!["namespace", "create", "A"], vec!["\"A\""]),
        (vec!["namespace", "create", "acme-"], vec!["\"acme-\""]),
        (vec!["repo", "create", "acme/UPPER", "--no-rule"], vec!["\"UPPER\"", "'U'"]),
        (vec!["repo", "create", "acme", "--no-rule"], vec!["\"acme\"", "NAMESPACE/REPOSITORY"]),
        (vec!["namespace", "edit", "acme", "--registry", "https://host/x"], vec!["https://host/x"]),
        (of(&["--regex", "rel(ease", "--version", "x"]), vec!["rel(ease", "column"]),
        (of(&["--branch", "main", "--version", "${nothing}"]), vec!["nothing"]),
        (of(&["--branch", "main", "--version=-dash"]), vec!["-dash"]),
        (of(&["--branch", "main", "--version", "a b"]), vec!["a b"]),
        (of(&["--branch", "main", "--version", "x,commit=41"]), vec!["41", "6 to 40"]),
        (of(&["--branch", "main", "--version", "x,time=yyyy"]), vec!["yyyy", "yyyyMMdd"]),
        (of(&["--branch", "main", "--version", "x", "--image-platform", "linux/amd65"]), vec!["linux/amd65"]),
        (of(&["--branch", "main", "--version", "x", "--arg", "NOVALUE"]), vec!["NOVALUE"]),
        (of(&["--branch", "main"]), vec!["version"]),
        (vec!["tag", "show", "acme/api"], vec!["acme/api"]),
        (vec!["tag", "show", "acme/api:a b"], vec!["a b"]),
        (vec!["build", "show", "many"], vec!["many"]),
        (vec!["build", "list", "--state", "lost"], vec!["lost"]),
        (vec!["build", "logs", "1", "--grep", "(a"], vec!["(a"]),
        (vec!["build", "replay", "acme/api", "--rule", "x", "--ref", "main"], vec!["main", "refs/heads/"]),
        (vec!["no-such-noun"], vec!["no-such-noun"]),
        (vec!["build", "start", "acme/api", "--no-such-flag"], vec!["--no-such-flag"]),
    ] {
        refuses(&slipway, &args, 2, &named);
    }
    assert_eq!(slipway.json(&["rule", "list", "acme/api"]), json!([]));
    assert_eq!(slipway.json(&["namespace", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_is_not_there_is_not_found_whatever_is_asked_of_it() {
    let slipway = Slipway::new();
    slipway.run(&["namespace", "create", "acme"]).ok();
    slipway.run(&["repo", "create", "acme/api", "--source", "/srv/git/api.git", "--no-rule"]).ok();
    for (args, named) in [
        (vec!["namespace", "show", "nobody"], "nobody"),
        (vec!["namespace", "delete", "nobody"], "nobody"),
        (vec!["repo", "show", "acme/nothing"], "acme/nothing"),
        (vec!["repo", "create", "nobody/api", "--no-rule"], "nobody"),
        (vec!["rule", "show", "acme/api", "nothing"], "nothing"),
        (vec!["rule", "delete", "acme/api", "nothing"], "nothing"),
        (vec!["build", "list", "acme/nothing"], "acme/nothing"),
        (vec!["push", "list", "acme/nothing"], "acme/nothing"),
        (vec!["build", "show", "7"], "7"),
        (vec!["build", "logs", "7"], "7"),
        (vec!["build", "logs", "-f", "7"], "7"),
        (vec!["build", "cancel", "7"], "7"),
        (vec!["build", "retry", "7"], "7"),
        (vec!["build", "start", "acme/nothing"], "acme/nothing"),
        (vec!["build", "start", "acme/api", "--rule", "nothing"], "nothing"),
        (vec!["registry", "show", "nowhere"], "nowhere"),
        (vec!["builder", "show", "nobody"], "nobody"),
        (vec!["tag", "show", "acme/api:nothing"], "nothing"),
        (vec!["apply", "-f", "/no/such/file.toml"], "/no/such/file.toml"),
    ] {
        refuses(&slipway, &args, 3, &[named]);
    }
}

#[test]
fn what_a_rule_refuses_ends_with_4_and_what_can_not_be_reached_with_5() {
    let repo = GitRepo::with_dockerfile(&[]);
    let slipway = home_of(&repo);
    slipway.run(&["rule", "edit", "acme/api", "main", "--version", "latest,time=yyyyMMdd"]).ok();
    refuses(&slipway, &["build", "start", "acme/api"], 4, &["time"]);
    refuses(&slipway, &["namespace", "create", "acme"], 4, &["acme"]);

    // A socket that nobody answers on, and a home that can't be written for a new pool.
    let broken = Slipway::new();
    broken.write("home", "a file");
    let ran = run(broken.command(&["pool", "status"]).env("SLIPWAY_HOME", broken.home().join("home/below")));
    assert!(matches!(ran.code(), Some(1 | 5)), "{ran}");
    let stopped = Slipway::new().run(&["pool", "status"]);
    assert_eq!(stopped.code(), Some(5), "{stopped}");
}

#[test]
fn errors_are_one_json_document_where_json_is_asked_for() {
    let slipway = Slipway::new();
    let ran = slipway.run(&["repo", "show", "acme/api", "--output", "json"]);
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(3), ""), "{ran}");
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["error"]["kind"], "not_found");
    assert!(error["error"]["message"].as_str().unwrap().contains("acme/api"));
    for list in [vec!["namespace", "list"], vec!["repo", "list"], vec!["build", "list"], vec!["registry", "list"]] {
        assert_eq!(slipway.json(&list), json!([]), "{list:?}");
    }
}

#[test]
fn a_preview_shows_the_refs_that_match_the_near_misses_and_the_tags() {
    let repo = GitRepo::new();
    repo.write("file", "").commit("first");
    repo.branch("release-v1").branch("Release-v2").branch("main").tag("release-v3");
    let slipway = home_of(&repo);
    let rule = ["rule", "create", "acme/api", "release", "--regex", r"release-(?<v>\w+)", "--version", "${v},commit=8"];
    slipway.run(&rule).ok();
    let commit = repo.git(&["rev-parse", "main"]);
    let rows = slipway.json(&["rule", "preview", "acme/api", "release"]);
    let row = |name: &str| rows.as_array().unwrap().iter().find(|row| row.to_string().contains(name)).cloned();
    let hit = row("release-v1").unwrap();
    assert_eq!((&hit["answer"], &hit["tags"]), (&json!("match"), &json!([format!("v1-{}", &commit[..8])])), "{rows:#}");
    assert_eq!(row("Release-v2").unwrap()["answer"], "near", "{rows:#}");
    assert!(row("refs/heads/main").is_none(), "{rows:#}");
    let text = slipway.run(&["rule", "preview", "acme/api", "release"]).ok().stdout;
    assert!(text.contains("near miss") && text.contains("release-v1"), "{text}");
}

#[test]
fn apply_makes_what_a_bundle_says_shows_it_as_a_diff_and_prunes_only_when_asked() {
    let slipway = Slipway::new();
    let bundle = |summary: &str, repositories: &[&str]| {
        let mut text = format!("[[namespace]]\nname = \"acme\"\nsummary = \"{summary}\"\n");
        for name in repositories {
            text += &format!(
                "[[repository]]\nname = \"acme/{name}\"\n[repository.source]\nurl = \"/srv/git/{name}.git\"\n"
            );
            text += "[repository.build]\nauto = false\n";
            text += "[[repository.rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }]\n";
        }
        slipway.write("bundle.toml", &text);
    };
    let file = slipway.home().join("bundle.toml").display().to_string();
    let apply = |more: &[&str]| slipway.run(&[&["apply", "-f", &file], more].concat()).ok();
    bundle("First", &["api", "web"]);
    let first = apply(&[]);
    for line in ["+summary = \"First\"", "namespaces/acme/api.toml", "+auto = false"] {
        assert!(first.stdout.contains(line), "{line:?} is missing: {first}");
    }
    assert_eq!(slipway.json(&["rule", "list", "acme/web"])[0]["name"], "main");
    let nothing = apply(&[]);
    assert!(nothing.stderr.contains("nothing to change"), "{nothing}");

    bundle("Second", &["api"]);
    let second = apply(&["--yes"]);
    assert!(
        second.stdout.contains("-summary = \"First\"") && second.stdout.contains("+summary = \"Second\""),
        "{second}"
    );
    assert_eq!(slipway.json(&["repo", "list"]).as_array().unwrap().len(), 2);
    let done = slipway.json(&["apply", "-f", &file, "--prune"]);
    assert_eq!(texts(&done["deleted"]).len(), 1, "{done}");
    assert!(!slipway.home().join("namespaces/acme/web.toml").exists());
    assert!(slipway.home().join("namespaces/acme/api.toml").exists());
}

#[test]
fn apply_takes_the_files_of_another_home_as_they_are() {
    let (there, here) = (Slipway::new(), Slipway::new());
    there.write("namespaces/acme.toml", "visibility = \"public\"\n");
    there.write("namespaces/acme/api.toml", &format!("[source]\nurl = \"/srv/git/api.git\"\n\n{MAIN}"));
    let file = |name: &str| there.home().join("namespaces").join(name).display().to_string();
    here.run(&["apply", "-f", &file("acme.toml"), &file("acme/api.toml")]).ok();
    assert_eq!(here.json(&["namespace", "show", "acme"])["visibility"], "public");
    assert_eq!(here.json(&["repo", "show", "acme/api"])["source"]["url"], "/srv/git/api.git");
}

#[test]
fn apply_refuses_a_wrong_file_with_line_column_and_the_nearest_key_and_writes_nothing() {
    let slipway = Slipway::new();
    let file = slipway.home().join("bundle.toml").display().to_string();
    for (text, named) in [
        ("[[namespace]]\nname = \"acme\"\nsumary = \"x\"\n", ["bundle.toml:3:1", "sumary", "summary"]),
        (
            "[[namespace]]\nname = \"acme\"\n[[repository]]\nname = \"acme/api\"\nvisibility = 3\n",
            ["bundle.toml:5:", "visibility", "3"],
        ),
        ("[[namespace]]\nname = \"acme\"\n[[repository]\n", ["bundle.toml:3:", "[[repository]", ""]),
        (
            "[[namespace]]\nname = \"acme\"\n[[repository]]\nname = \"other/api\"\n",
            ["other/api", "\"other\"", "[[namespace]]"],
        ),
    ] {
        slipway.write("bundle.toml", text);
        refuses(&slipway, &["apply", "-f", &file], 2, &named);
    }
    assert!(!slipway.home().join("namespaces").exists() || files_below(&slipway.home().join("namespaces")).is_empty());
}

#[test]
fn a_wrong_key_in_the_home_is_named_with_its_place_and_the_rest_goes_on() {
    let repo = GitRepo::with_dockerfile(&[]);
    let slipway = home_of(&repo);
    slipway.write("namespaces/acme/web.toml", "imutable = true\n");
    let ran = slipway.run(&["repo", "list"]).ok();
    assert!(ran.stdout.contains("acme/api"), "{ran}");
    for text in ["web.toml:1:1", "imutable", "immutable"] {
        assert!(ran.stderr.contains(text), "{ran}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let slipway = Slipway::new();
    slipway.write("namespaces/acme.toml", "");
    for number in 0..40 {
        slipway.write(&format!("namespaces/acme/repository-{number}.toml"), "");
    }
    let script = "set -o pipefail; \"$0\" \"$@\" | head -1";
    for args in
        [vec!["repo", "list"], vec!["repo", "list", "--output", "json"], vec!["completions", "bash"], vec!["man"]]
    {
        let mut shell = Command::new("bash");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_slipway")]).args(&args).env("SLIPWAY_HOME", slipway.home());
        let ran = run(&mut shell).ok();
        assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""), "{ran}");
    }
}

#[test]
fn two_homes_have_a_pool_each_and_do_not_know_of_each_other() {
    let (one, two) = (Slipway::new(), Slipway::new());
    one.run(&["namespace", "create", "acme"]).ok();
    two.run(&["namespace", "create", "beta"]).ok();
    let pid = |slipway: &Slipway| slipway.json(&["pool", "status"])["pid"].as_u64().unwrap();
    assert_ne!(pid(&one), pid(&two));
    one.run(&["pool", "stop"]).ok();
    let names = |slipway: &Slipway| slipway.json(&["namespace", "list"])[0]["name"].as_str().unwrap().to_owned();
    assert_eq!((names(&one), names(&two)), ("acme".into(), "beta".into()));
    two.run(&["namespace", "create", "gamma"]).ok();
}

#[test]
fn columns_stay_aligned_whatever_script_their_text_is_in() {
    let slipway = Slipway::new();
    for (name, summary) in [("acme", "公共接口与镜像"), ("beta", "plain")] {
        slipway.run(&["namespace", "create", name, "--summary", summary]).ok();
    }
    let repo = GitRepo::new();
    repo.write("file", "").commit("first");
    repo.branch("release-版本").branch("release-x");
    slipway.run(&["repo", "create", "acme/api", "--source", &local(&repo), "--no-rule"]).ok();
    slipway.run(&["rule", "create", "acme/api", "release", "--regex", "release-.*", "--version", "fixed"]).ok();
    let list = slipway.run(&["namespace", "list"]).ok().stdout;
    assert!(list.contains("公共接口与镜像"), "{list}");
    let preview = slipway.run(&["rule", "preview", "acme/api", "release"]).ok().stdout;
    let commit = repo.git(&["rev-parse", "--short=8", "main"]);
    let columns: Vec<usize> =
        preview.lines().filter_map(|line| line.split_once(&commit)).map(|(before, _)| before.width()).collect();
    assert_eq!(columns.len(), 2, "{preview}");
    assert_eq!(columns[0], columns[1], "{preview}");
}

#[test]
fn what_the_command_line_writes_keeps_what_a_person_wrote() {
    let slipway = Slipway::new();
    let text = "# Ours\nsummary = \"Old\" # to be changed\n\n# For everyone\nvisibility = \"public\"\n";
    slipway.write("namespaces/acme.toml", text);
    slipway.run(&["namespace", "edit", "acme", "--summary", "New"]).ok();
    let written = fs::read_to_string(slipway.home().join("namespaces/acme.toml")).unwrap();
    assert!(written.contains(&text.replace("Old", "New")), "{written}");
}

#[test]
fn errors_are_told_in_the_language_of_the_locale_and_json_is_the_same_everywhere() {
    let slipway = Slipway::new();
    let ran = run(slipway.command(&["build", "show", "7"]).env("LC_ALL", "zh_CN.UTF-8"));
    assert_eq!((ran.code(), ran.stderr.as_str()), (Some(3), "slipway: 没有构建 #7；`slipway build list` 可列出全部\n"));
    let ran = run(slipway.command(&["build", "show", "7"]).env("LC_ALL", "en_US.UTF-8"));
    assert_eq!(ran.stderr, "slipway: there is no build #7; `slipway build list` shows them\n");
    let ran = run(slipway.command(&["build", "show", "7", "--output", "json"]).env("LC_ALL", "zh_CN.UTF-8"));
    assert!(ran.stderr.contains("there is no build #7"), "{}", ran.stderr);
}

#[test]
fn wrong_arguments_and_what_was_done_are_told_in_the_language_of_the_locale() {
    let slipway = Slipway::new();
    let chinese = |arguments: &[&str]| run(slipway.command(arguments).env("LC_ALL", "zh_CN.UTF-8"));
    let ran = chinese(&["namespace", "creat", "acme"]);
    assert_eq!((ran.code(), ran.stdout.as_str()), (Some(2), ""));
    assert!(
        ran.stderr.starts_with("错误：没有 creat 这个命令\n有相近的：create\n用法：slipway namespace "),
        "{}",
        ran.stderr
    );
    let ran = chinese(&["namespace", "create", "acme"]);
    assert_eq!(ran.code(), Some(0));
    assert!(ran.stderr.starts_with("已创建命名空间 \"acme\"；下一步：slipway repo create acme/NAME"), "{}", ran.stderr);
    let help = chinese(&["namespace", "--help"]);
    assert_eq!((help.code(), help.stderr.as_str()), (Some(0), ""));
    assert!(help.stdout.starts_with("命名空间：") && help.stdout.contains("\n命令:\n  list "), "{}", help.stdout);
    let table = chinese(&["namespace", "list"]).ok().stdout;
    assert_eq!(table, "名称  镜像仓库服务  仓库  可见性  自动创建  摘要\nacme  local         0     私有    否\n");
    assert!(run(&mut slipway.command(&["namespace", "list"])).stdout.starts_with("NAME  REGISTRY"));
    assert_eq!(slipway.json(&["namespace", "list"]), {
        let ran = chinese(&["namespace", "list", "--output", "json"]).ok();
        ran.json()
    });
    assert_eq!(run(&mut slipway.command(&["namespace", "creat"])).code(), Some(2));
}
