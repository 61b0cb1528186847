//! What others wrote never steers a terminal, whatever command shows it; and what a build prints has its limits.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use regex::Regex;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, ResponseTemplate};

use crate::fixture::run_with_input;
use crate::support::dockerfile::dockerfile;
use crate::support::forge::Forge;
use crate::support::path;
use crate::support::project::{Project, REPOSITORY, rule};
use crate::support::pty::Pty;
use crate::support::slipway::Slipway;

/// Everything that a terminal would obey, or that makes a text show what it is not: C0, C1 in both forms, sequences
/// that hold one another, strings with and without an end, colours that hide, marks of direction, and blanks of no
/// width.
const HOSTILE: &str = "a\x1b[2Jb\u{9b}3Jc\x1b[\u{9b}31md\x1b(\u{9d}0;own\u{9c}e\x1b]52;c;cHduZWQ=\x07f\x1b[8mg\u{90}q\u{9c}h\x08\x07\u{85}\
                       i\u{202e}j\u{200b}k\u{2028}l\u{feff}m\x1b[41mn\u{61c}o\x1b]0;no end";
/// What git takes in the name of a branch.
const HOSTILE_BRANCH: &str = "ma\u{200b}in-\u{202e}gnp";

/// What a terminal was sent, unless a part of it is more than text and slipway's own sequences.
#[track_caller]
fn assert_clean(what: &str, bytes: &[u8], own: &Regex) {
    let text = std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{what}: {error}: {bytes:?}"));
    let rest = own.replace_all(text, "");
    let bad = Regex::new(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}--[\r\n\t]]").unwrap();
    let found = bad.find(&rest).map(|found| format!("{:?} after {:?}", found.as_str(), &rest[..found.start()]));
    assert_eq!(found, None, "{what}");
}

/// Text in TOML, of any characters.
fn toml_text(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\U{:08X}", u32::from(c)) })
        .collect()
}

/// A program that says hostile things of its version.
fn hostile_tools(slipway: &Slipway) -> String {
    let bin = slipway.home().join("bin");
    fs::create_dir_all(&bin).unwrap();
    for name in ["runc", "rootlesskit"] {
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\ncat <<'END'\n{name} version 1.{HOSTILE}\nEND\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{}", bin.display(), path().to_string_lossy())
}

/// A home whose every foreign text is hostile: a build that went well, one that failed, pushes, tags, settings written
/// by hand, and a platform and a registry that answer badly.
fn hostile_home(forge: &Forge) -> Project {
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\npoll = \"1s\"\n");
    let project = Project::in_home(slipway, &["RUN cat /hostile; printf '\\033[\\302\\2332Jx\\n'"]);
    let steps = |more: &str| dockerfile(&["COPY hostile /hostile", &format!("RUN : '{HOSTILE}'; cat /hostile"), more]);
    let text = toml_text(HOSTILE);
    let rules = format!(
        "{}\n[rule.args]\nSOME = \"{text}\"\n{}",
        rule("main", "main"),
        "[[rule]]\nname = \"all\"\nbranch = { regex = \"ma.+\" }\nversions = [{ name = \"v\", commit = 7 }]\n"
    );
    project.source.write("hostile", format!("{HOSTILE}\n")).write("Dockerfile", steps("RUN true"));
    project.source.commit(HOSTILE);
    project.write_repository("", &rules);
    let described = format!("summary = \"{text}\"\ndescription = \"{text}\"\n");
    project.slipway.write("namespaces/other.toml", &described);
    project.slipway.write("namespaces/broken.toml", &format!("summary = \"{HOSTILE}\"\n"));
    project.slipway.write("namespaces/unknown.toml", &format!("\"{text}\" = 1\n"));
    project.slipway.run(&["pool", "start"]).ok();
    let watched = project.slipway.home().join("watch/acme/app.toml");
    project.slipway.wait_until("the source was seen", || {
        fs::read_to_string(&watched).is_ok_and(|text| text.contains("refs/heads/main"))
    });
    let build = project.start_of(REPOSITORY);
    project.wait_for(build, "succeeded");
    project.source.branch(HOSTILE_BRANCH).write("Dockerfile", steps("RUN cat /hostile; exit 3")).commit(HOSTILE);
    project.slipway.wait_until("the push failed to build", || {
        project.slipway.json(&["build", "list"]).as_array().unwrap().iter().any(|build| build["state"] == "failed")
    });
    let refused = json!({ "message": HOSTILE, "errors": [{ "code": "DENIED", "message": HOSTILE }] });
    forge.mount(Mock::given(any()).respond_with(ResponseTemplate::new(422).set_body_json(refused)));
    let create =
        ["platform", "create", "forge", "--kind", "gitea", "--username", "kim", "--url", &forge.url(), "--token-stdin"];
    run_with_input(&mut project.slipway.command(&create), "token\n");
    let registry = forge.url().replace("http://", "");
    project.slipway.write(&format!("registries/{registry}.toml"), "plain_http = true\n");
    project.slipway.write("namespaces/far.toml", &format!("registry = \"{registry}\"\n"));
    let far = format!("[source]\nurl = {:?}\n{}", project.source.path(), rule("main", "main"));
    project.slipway.write("namespaces/far/app.toml", &far);
    project
}

#[test]
fn whatever_others_wrote_no_command_lets_it_reach_the_terminal() {
    let forge = Forge::start();
    let project = hostile_home(&forge);
    let slipway = &project.slipway;
    let view = slipway.home().join("recorded.log");
    fs::write(&view, format!("{HOSTILE}\n#5 0.1 {HOSTILE}\n")).unwrap();
    let view = view.to_str().unwrap();
    let failed = slipway.json(&["build", "list", "--state", "failed"])[0]["id"].to_string();
    let hostile_path = format!("acme/{HOSTILE}");
    let tools = hostile_tools(slipway);

    let commands: [&[&str]; 35] = [
        &["build", "logs", "1"],
        &["build", "logs", &failed],
        &["build", "logs", &failed, "--plain"],
        &["build", "logs", &failed, "--follow"],
        &["build", "list"],
        &["build", "show", "1"],
        &["build", "show", &failed],
        &["build", "retry", "1", "--wait"],
        &["push", "list"],
        &["push", "show", "1"],
        &["tag", "list", "acme/app"],
        &["tag", "show", "acme/app:latest"],
        &["tag", "list", "far/app"],
        &["tag", "show", "far/app:latest"],
        &["repo", "list"],
        &["repo", "show", "acme/app"],
        &["namespace", "list"],
        &["namespace", "show", "other"],
        &["namespace", "show", "unknown"],
        &["rule", "list", "acme/app"],
        &["rule", "show", "acme/app", "main"],
        &["rule", "preview", "acme/app", "all"],
        &["platform", "list"],
        &["platform", "show", "forge"],
        &["platform", "check", "forge"],
        &["platform", "repos", "forge"],
        &["registry", "list"],
        &["pool", "status"],
        &["doctor"],
        &["setup", "--check"],
        &["--version"],
        &["repo", "show", &hostile_path],
        &["build", "show", HOSTILE],
        &["view", HOSTILE],
        &["no", HOSTILE],
    ];
    // Colours of a log and of clap; nothing in a log hides.
    let colours = Regex::new(r"\x1b\[[0-79;]*m").unwrap();
    let nothing = Regex::new(r"[^\s\S]").unwrap();
    let in_terminal = |args: &[&str]| {
        let mut command = slipway.command(args);
        if matches!(args[0], "doctor" | "setup") {
            command.env("PATH", &tools);
        }
        Pty::start(command.env("LANG", "C.UTF-8"), 50, 500)
    };
    let mut shown = 0;
    for chunk in commands.chunks(4) {
        let started: Vec<_> = chunk.iter().map(|args| (args, in_terminal(args))).collect();
        for (args, pty) in started {
            let logs = args.contains(&"logs") || args.contains(&"--wait");
            let of_clap = args.contains(&HOSTILE) || args.contains(&hostile_path.as_str());
            let own = if logs || of_clap { &colours } else { &nothing };
            let bytes = pty.read_to_end();
            assert!(!bytes.is_empty(), "{args:?}");
            assert_clean(&format!("{args:?}"), &bytes, own);
            shown += usize::from(String::from_utf8_lossy(&bytes).contains("<202e>"));
        }
    }
    assert!(shown >= 15, "only {shown} showed what others wrote");
    for args in
        [&["build", "list"][..], &["push", "show", "1"], &["repo", "show", "acme/app"], &["rule", "list", "acme/app"]]
    {
        let json = [args, &["--output", "json"]].concat();
        let bytes = in_terminal(&json).read_to_end();
        let shown = String::from_utf8(bytes).unwrap();
        // What is wrong with the settings comes first.
        let begin = shown.find("{\r\n").into_iter().chain(shown.find("[\r\n")).min().unwrap();
        let shown = &shown[begin..];
        assert!(shown.bytes().all(|byte| matches!(byte, b'\r' | b'\n' | b' '..=b'~')), "{json:?}: {shown:?}");
        let piped = slipway.run(&json).ok();
        assert_eq!(serde_json::from_str::<Value>(shown).unwrap(), piped.json(), "{json:?}");
    }
    // What is piped is clean, too, but for a log, whose every byte is a file's.
    let piped = slipway.run(&["push", "show", "1"]).ok().stdout;
    assert_clean("push show | cat", piped.as_bytes(), &nothing);
    assert!(slipway.run(&["build", "logs", "1"]).ok().stdout.contains("\x1b[8mg"));

    in_the_dashboard(slipway, view);
    let log = fs::read(slipway.home().join("pool.log")).unwrap();
    assert_clean("pool.log", &log, &nothing);
}

/// Through the panes of the dashboard, and the viewer of a file.
fn in_the_dashboard(slipway: &Slipway, file: &str) {
    // What crossterm and ratatui send: modes, cursor, colours, erasing, cursor shapes, and the title with its stack.
    let own = Regex::new(r"\x1b\[[?>=]?[0-9;:]*(?: q|[A-Za-z])|\x1b\]0;[ -~]*\x07|\x1b\][0-9;?]+[ -~]*(?:\x07|\x1b\\)|\x1b[78=>\\]|\x1bP\+q[0-9A-F]*\x1b\\").unwrap();
    let mut pty = Pty::start(slipway.command(&[]).env("LANG", "C.UTF-8"), 40, 160);
    pty.wait_for("acme");
    for keys in ["2", "j", "3", "j", "4", "j", "\r", "e", "G", "\x1b", "5", "6", "7", "1", "9", "8"] {
        pty.send(keys);
        let before = pty.bytes().len();
        crate::support::wait::holds_within(std::time::Duration::from_millis(300), || pty.bytes().len() > before);
    }
    // The hostile branch is on the screen, where it can be seen that it is.
    pty.wait_for("ma<");
    assert_clean("the dashboard", &pty.bytes(), &own);
    drop(pty);
    let mut pty = Pty::start(slipway.command(&["view", file]).env("LANG", "C.UTF-8"), 40, 160);
    pty.wait_for("<202e>");
    pty.send("q");
    assert_clean("view", &pty.read_to_end(), &own);
}

#[test]
fn a_build_that_prints_more_than_its_limit_fails_and_says_so() {
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\nlog_limit = \"1MB\"\n");
    let project = Project::in_home(slipway, &["RUN yes 'more and more'"]);
    let id = project.start_of(REPOSITORY);
    let build = project.wait_for(id, "failed");
    let reason = build["reason"].as_str().unwrap();
    assert!(reason.contains("pool.log_limit, which is 1MB") && reason.contains("raise pool.log_limit"), "{reason}");
    assert_eq!(build["failure"]["kind"], json!("log_limit"), "{build}");
    let log = project.log(id);
    assert!(log.len() <= (1 << 20) + 200, "{}", log.len());
    let last = log.lines().last().unwrap();
    assert_eq!(last, "slipway: the build was ended: it printed more than pool.log_limit, which is 1MB");
}

#[test]
fn a_secret_that_a_build_prints_stands_in_nothing_that_the_build_leaves() {
    const SECRET: &str = "wR7-some/long+secret value\nsecond line of it\n";
    let steps = [
        "RUN --mount=type=secret,id=key cat /run/secrets/key; base64 /run/secrets/key",
        // In two writes, a while apart; and as the last words of a step that fails.
        "RUN --mount=type=secret,id=key printf 'wR7-some/lon'; sleep 0.3; echo 'g+secret value'",
        "RUN --mount=type=secret,id=key head -n 1 /run/secrets/key >&2; exit 3",
    ];
    let slipway = Slipway::new();
    let project = Project::in_home(slipway, &steps);
    run_with_input(&mut project.slipway.command(&["secret", "set", "key"]), SECRET).ok();
    let main = rule("main", "main").replace("versions", "secrets = { key = { file = \"key\" } }\nversions");
    project.write_repository("", &main);
    let id = project.start_of(REPOSITORY);
    let build = project.wait_for(id, "failed");
    let reason = build["reason"].as_str().unwrap();
    assert!(reason.contains("exit code: 3: ***"), "{reason}");
    let log = project.log(id);
    assert!(log.matches("***").count() >= 4, "{log}");
    for file in fs::read_dir(project.build_directory(id)).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(bytes) = fs::read(&file) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        // The instruction that is cut in two is the Dockerfile's own, and known before the build begins.
        for form in ["some/long+secret", "second line of it", "d1I3LXNvbWUvbG9u", "b25kIGxpbmUgb2Yg"] {
            assert!(!text.contains(form), "{form} in {}: {text}", file.display());
        }
    }
}
