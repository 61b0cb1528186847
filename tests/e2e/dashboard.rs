//! The dashboard in a real terminal, against a real pool and real BuildKit.

use std::fs;
use std::process::Command;

use rustix::process::Pid;
use serde_json::json;
use wiremock::matchers::path;
use wiremock::{Mock, ResponseTemplate};

use crate::fixture::{run_with_input, take_environment};
use crate::support::forge::Forge;
use crate::support::git_http::GitHttp;
use crate::support::git_repo::GitRepo;
use crate::support::processes::{is_alive, kill, with_environment};
use crate::support::project::{Project, ticking};
use crate::support::pty::Pty;
use crate::support::slipway::Slipway;

const ROWS: u16 = 36;
const COLUMNS: u16 = 120;

const F2: &str = "\x1bOQ";
const F3: &str = "\x1bOR";
const PAGE_DOWN: &str = "\x1b[6~";

/// The dashboard of a home, in a terminal of the usual size.
fn open(slipway: &Slipway) -> Pty {
    Pty::start(slipway.command(&[]).env("LANG", "C.UTF-8"), ROWS, COLUMNS)
}

#[test]
fn an_empty_home_says_what_to_do_first_and_q_gives_the_terminal_back() {
    let slipway = Slipway::new();
    let mut pty = open(&slipway);
    pty.wait_for("Welcome to slipway");
    pty.wait_for("No namespace yet");
    pty.send("q");
    assert!(pty.wait().success());
    assert!(!pty.screen().contains("Welcome"), "{}", pty.screen());
}

#[test]
fn a_build_is_started_followed_and_cancelled_by_keys() {
    let project = Project::new(&[&ticking("dashboard-cancel", 600)]);
    let mut pty = open(&project.slipway);
    pty.wait_for("acme");
    pty.send("2jb");
    pty.wait_for("build #1 is queued");
    pty.wait_for("tick 3");
    pty.send("x");
    pty.wait_for("Cancel build #1 of acme/app?");
    pty.send("\r");
    assert_eq!(project.state(1), "running", "the default is No");
    pty.send("xy");
    pty.wait_for("cancelled");
    assert_eq!(project.state(1), "cancelled");
    assert!(pty.screen().contains("tick"), "{}", pty.screen());
}

#[test]
fn who_leaves_a_running_build_is_told_that_it_goes_on() {
    let project = Project::new(&[&ticking("dashboard-leave", 600)]);
    let mut pty = open(&project.slipway);
    pty.wait_for("acme");
    pty.send("2jb");
    pty.wait_for("tick 1");
    pty.send("q");
    assert!(pty.wait().success());
    assert!(pty.screen().contains("builds that go on: 1"), "{}", pty.screen());
    assert_eq!(project.state(1), "running");
}

#[test]
fn the_log_of_an_earlier_attempt_is_opened_by_keys() {
    let project = Project::new(&[&ticking("dashboard-attempts", 12)]);
    project.start();
    project.wait_for_tick(1, 3);
    project.kill_runner(1);
    project.wait_for(1, "succeeded");
    let mut pty = open(&project.slipway);
    pty.wait_for("acme");
    pty.send("45");
    pty.wait_for("exporting");
    pty.send("<");
    pty.wait_for("attempt 1 of ");
    pty.wait_for("tick 3");
    // Neither its log nor its steps are those of the attempt that ended well.
    pty.send("T");
    pty.wait_for("what the end waited for");
    assert!(!pty.screen().contains("exporting"), "{}", pty.screen());
    pty.send("<");
    pty.wait_for("there is no earlier attempt");
    // The list of builds says "attempt 2 of" all the time.
    pty.send(">");
    pty.wait_for("exporting");
    pty.send("T");
    pty.wait_for("exporting to oci image format");
}

#[test]
fn a_failed_build_opens_on_its_error() {
    let project = Project::new(&["RUN echo before", "RUN echo the reason; exit 7"]);
    let mut pty = open(&project.slipway);
    pty.wait_for("acme");
    pty.send("2jb");
    pty.wait_for("failed");
    pty.send("5");
    pty.wait_for("exit code 7");
    pty.wait_for("the reason");
    pty.wait_for("Dockerfile:");
}

#[test]
fn a_dashboard_outlives_the_pool_and_loses_nothing() {
    let project = Project::new(&[&ticking("dashboard-pool", 100)]);
    let mut pty = open(&project.slipway);
    pty.wait_for("acme");
    pty.send("2jb5");
    pty.wait_for("tick 2");
    project.kill_pool();
    pty.wait_for("the pool is back");
    pty.wait_for("succeeded");
    assert_eq!(project.ticks(1), (1..=100).collect::<Vec<_>>());
}

#[test]
fn a_pool_that_is_told_to_stop_stays_so_while_a_dashboard_is_open_until_a_key_starts_it() {
    let project = Project::new(&[]);
    let mut pty = open(&project.slipway);
    pty.wait_for("acme");
    pty.wait_for("pool 0/");
    project.slipway.run(&["pool", "stop"]).ok();
    pty.wait_for("R starts it again");
    assert!(!project.slipway.run(&["pool", "status"]).status.success(), "it was started again");
    pty.send("R");
    pty.wait_for("the pool is back");
    pty.wait_for("pool 0/");
    project.slipway.run(&["pool", "status"]).ok();
}

#[test]
fn what_is_wrong_with_a_theme_or_a_key_is_told_until_it_is_mended() {
    let slipway = Slipway::new();
    slipway.write("config.toml", "[ui]\ntheme = \"mine\"\n[keys]\nbild_now = \"f5\"\n");
    slipway.write("themes/mine.toml", "inherits = \"slipway-dark\"\n[roles\n");
    let pty = open(&slipway);
    pty.wait_for("unclosed table");
    pty.wait_for("did you mean build_now?");
    slipway.write("themes/mine.toml", "inherits = \"slipway-dark\"\n");
    slipway.wait_until("the theme is mended", || !pty.screen().contains("unclosed table"));
    assert!(pty.screen().contains("did you mean build_now?"), "{}", pty.screen());
    slipway.write("config.toml", "[ui]\ntheme = \"mine\"\n[keys]\nbuild_now = \"f5\"\n");
    slipway.wait_until("the key is mended", || !pty.screen().contains("did you mean build_now?"));
    pty.wait_for("f5 builds the selected rule now");
}

#[test]
fn two_terminals_show_the_same_build_at_once() {
    let project = Project::new(&["RUN echo one for both"]);
    let (mut one, other) = (open(&project.slipway), open(&project.slipway));
    other.wait_for("pool 0/");
    one.wait_for("acme");
    one.send("2jb");
    for pty in [&one, &other] {
        pty.wait_for("succeeded");
        pty.wait_for("writing cache image manifest");
    }
}

#[test]
fn a_terminal_that_is_cut_ends_the_dashboard_and_not_the_build_and_the_place_is_kept() {
    let project = Project::new(&[&ticking("dashboard-cut", 60)]);
    let command = project.slipway.command(&[]);
    // `script` owns the terminal that the dashboard is in, as a server of ssh does.
    let mut terminal = Command::new("script");
    terminal.args(["-q", "-c", &command.get_program().display().to_string(), "/dev/null"]);
    take_environment(&mut terminal, &command);
    let mut pty = Pty::start(&terminal, ROWS, COLUMNS);
    pty.wait_for("acme");
    pty.send("2jb");
    pty.wait_for("build #1 is queued");
    pty.send("5");
    pty.wait_for("tick 2");
    let dashboard = running(&project, |arguments| arguments.len() == 1 && arguments[0].ends_with("/slipway"));
    assert_eq!(dashboard.len(), 1);
    for script in running(&project, |arguments| arguments[0] == "script") {
        kill(script);
    }
    project.slipway.wait_until("the dashboard is gone", || !is_alive(dashboard[0]));
    assert_eq!(project.state(1), "running");
    let pty = open(&project.slipway);
    pty.wait_for("tick");
    project.wait_for(1, "succeeded");
    pty.wait_for("succeeded");
    assert_eq!(project.ticks(1), (1..=60).collect::<Vec<_>>());
}

/// The processes of a project's home whose arguments are as wanted.
fn running(project: &Project, wanted: impl Fn(&[String]) -> bool) -> Vec<Pid> {
    let ours = with_environment("SLIPWAY_HOME", project.slipway.home());
    let is_wanted = |pid: &Pid| {
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let arguments: Vec<String> = line.split_terminator('\0').map(str::to_owned).collect();
        !arguments.is_empty() && wanted(&arguments)
    };
    ours.into_iter().filter(is_wanted).collect()
}

#[test]
fn ctrl_z_stops_the_dashboard_and_fg_brings_it_back() {
    let project = Project::new(&["RUN true"]);
    let command = project.slipway.command(&[]);
    let mut shell = Command::new("bash");
    shell.args(["--norc", "--noprofile", "-i"]).env("PS1", "shell> ");
    take_environment(&mut shell, &command);
    let mut pty = Pty::start(&shell, ROWS, COLUMNS);
    pty.wait_for("shell>");
    pty.send(&format!("{}\r", command.get_program().display()));
    pty.wait_for("acme");
    pty.send("\x1a");
    pty.wait_for("Stopped");
    pty.send("echo $((40 + 2)); fg\r");
    pty.wait_for("Namespaces");
    pty.send("2");
    pty.send("q");
    pty.wait_for("42");
    pty.send("exit 3\r");
    assert_eq!(pty.wait().exit_code(), 3);
}

#[test]
fn no_size_of_the_terminal_breaks_the_screen() {
    let project = Project::new(&["RUN echo 宽字符 wide 🚢 characters; seq 1 200"]);
    let id = project.start();
    project.wait_for(id, "succeeded");
    let mut pty = open(&project.slipway);
    pty.wait_for("succeeded");
    // A fixed sequence: a failure can be repeated.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |least: u64, most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u16::try_from(least + state % (most - least)).unwrap()
    };
    for round in 0..500 {
        pty.resize(next(1, 70), next(1, 250));
        if round % 25 == 0 {
            pty.send(["1", "2", "3", "4", "5", "6", "7", "8", "z", "?", "\x1b"][usize::from(next(0, 11))]);
        }
    }
    pty.send("\x1b");
    pty.resize(ROWS, COLUMNS);
    pty.wait_for("Namespaces");
    pty.send("q");
}

#[test]
fn from_an_empty_home_to_an_image_by_keys_alone() {
    let project = Project::new(&["RUN echo all by keys"]);
    let source = project.source.path().display().to_string();
    let slipway = Slipway::new();
    let mut pty = open(&slipway);
    pty.wait_for("No namespace yet");
    pty.wait_for("ready");
    pty.send("a");
    pty.wait_for("New namespace");
    pty.send("keys\x1bOQ");
    pty.wait_for("What will be written");
    pty.send("\r");
    pty.wait_for("\u{250f} 2 Repositories");
    pty.send("a");
    pty.wait_for("New repository");
    pty.send("App");
    pty.wait_for("repository name");
    pty.send("\x15app\r\r\r\r\r\r");
    pty.wait_for("2/2");
    pty.send(&source);
    pty.send("\x1bOQ");
    pty.wait_for("What will be written");
    pty.send("\r");
    pty.wait_for("keys/app");
    pty.wait_for("main  branch main");
    pty.send("b");
    pty.wait_for("succeeded");
    pty.send("6");
    pty.wait_for("6 Tags 1");
    pty.wait_for("latest");
    let tags = slipway.json(&["tag", "list", "keys/app"]);
    assert_eq!(tags[0]["tag"], "latest");

    // A rule with a regex, its tags shown as it is typed; then a replay of it.
    project.source.branch("release-v1");
    pty.send("3a");
    pty.wait_for("New rule of keys/app");
    pty.send("release\t\t \t");
    pty.send("release-(?<v>.*");
    pty.wait_for("unclosed group");
    pty.send(")\x1b[6~");
    pty.wait_for("2/6");
    pty.send("\x15${v}\t\t8\x1bOQ");
    pty.wait_for("+versions = [{ name = \"${v}\", commit = 8 }]");
    pty.send("\r");
    pty.wait_for("saved");
    pty.wait_for("release branch");
    pty.send("GB");
    pty.wait_for("release-v1");
    pty.send("\r");
    pty.wait_for("build #2 is queued");
    slipway.wait_until("the replay has succeeded", || slipway.json(&["build", "show", "2"])["state"] == "succeeded");

    // Deleting asks for the name; what was deleted can be had back.
    pty.send("3GX");
    pty.wait_for("type the name");
    pty.send("wrong\r");
    pty.wait_for("has to be typed");
    pty.send("\x15release\r");
    pty.wait_for("deleted rule");
    pty.send("u");
    pty.wait_for("is back");
    assert_eq!(slipway.json(&["rule", "list", "keys/app"]).as_array().unwrap().len(), 2);
    pty.send("q");
    assert!(pty.wait().success());
}

#[test]
fn a_log_is_searched_filtered_and_left_by_keys() {
    let project = Project::new(&["RUN seq 1 5000 | sed 's/^/line /'"]);
    let id = project.start();
    project.wait_for(id, "succeeded");
    let mut pty = open(&project.slipway);
    pty.wait_for("succeeded");
    pty.send("5/line 77[0-9]$\r");
    pty.wait_for("1/10");
    pty.wait_for("line 770");
    pty.send("n");
    pty.wait_for("2/10");
    pty.send("&");
    pty.wait_for("&line 77[0-9]$");
    assert!(!pty.screen().contains("line 780"), "{}", pty.screen());
    pty.send("&g");
    pty.wait_for("load build definition");
    pty.send("/[\r");
    pty.wait_for("unclosed");
}

#[test]
fn any_log_or_recorded_stream_opens_in_the_viewer() {
    let slipway = Slipway::new();
    slipway.write("some.log", "first line\n\x1b[31mred\x1b[0m \x1b]0;title\x07line\n");
    slipway.write(
        "recorded.json",
        "{\"vertexes\":[{\"digest\":\"sha256:a\",\"name\":\"[1/2] RUN make\",\"started\":\"2026-01-01T00:00:00Z\"}]}\n",
    );
    for (file, text) in [("some.log", "red line"), ("recorded.json", "[1/2] RUN make")] {
        let path = slipway.home().join(file).display().to_string();
        let mut pty = Pty::start(slipway.command(&["view", &path]).env("LANG", "C.UTF-8"), 24, 80);
        pty.wait_for(text);
        pty.send("q");
        assert!(pty.wait().success());
    }
    let path = slipway.home().join("some.log").display().to_string();
    let printed = slipway.run(&["view", &path]).ok();
    assert!(printed.stdout.contains("first line"), "{}", printed.stdout);
    assert_eq!(slipway.run(&["view", "/no/such/file"]).code(), Some(3));
}

#[test]
fn a_rules_form_offers_what_the_dockerfile_has() {
    let project = Project::new(&["ARG GREETING=hello", "RUN echo $GREETING"]);
    let mut pty = open(&project.slipway);
    pty.wait_for("acme");
    pty.wait_for("ready");
    pty.send("2j3je");
    pty.wait_for("Refs and Dockerfile");
    pty.send(&PAGE_DOWN.repeat(2));
    pty.wait_for("What the Dockerfile offers");
    pty.wait_for("GREETING=hello");
    // To the first argument; F3 takes what is offered, F2 shows what will be written.
    pty.send(&format!("\t\t{F3}{F2}"));
    pty.wait_for("What will be written");
    pty.send("\r");
    pty.wait_for("saved");
    let file = project.slipway.home().join("namespaces/acme/app.toml");
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains("GREETING = \"hello\""), "{text}");
}

#[test]
fn a_push_appears_in_the_journal_by_itself_and_leads_to_its_build() {
    let slipway = Slipway::new();
    slipway.write("config.toml", "[pool]\npoll = \"1s\"\n");
    let project = Project::in_home(slipway, &["RUN echo built by a push"]);
    let mut pty = open(&project.slipway);
    pty.wait_for("acme");
    pty.send("8");
    pty.wait_for("No push was seen yet");
    let seen = project.slipway.home().join("watch/acme/app.toml");
    project.slipway.wait_until("the source was seen", || seen.exists());
    let commit = project.source.write("news", "1").commit("news");
    pty.wait_for("built #1");
    pty.send("i");
    pty.wait_for("What each rule answered");
    pty.wait_for(&commit);
    project.source.branch("release");
    pty.wait_for("no rule matches");
    pty.send("B");
    pty.wait_for("none of the rules, as they are now, matches");
    // From the push that was built to its build, and its log.
    pty.send("ij\r");
    pty.wait_for("\u{250f} 4 Builds 1");
    pty.wait_for("5 Log #1 acme/app");
    project.wait_for(1, "succeeded");
    pty.send("8jB");
    pty.wait_for("build #2 is queued");
    project.wait_for(2, "succeeded");
    assert_eq!(project.show(2)["trigger"], "replay");
}

#[test]
fn a_platform_is_made_and_bound_by_keys_alone_and_its_secrets_are_in_no_toml() {
    let project = Project::new(&["RUN true"]);
    let home = project.slipway.home().to_owned();
    let mut pty = open(&project.slipway);
    pty.wait_for("acme");
    pty.send("9");
    pty.wait_for("No platform yet");
    pty.send("a");
    pty.wait_for("New platform");
    // Its name, gitlab of the kinds, its address, the token typed here.
    pty.send("ours\t \tgitlab.test");
    pty.wait_for("is no http or https address");
    pty.send("\x15https://gitlab.test\t\t\t \t");
    pty.send("glpat-s3cret");
    pty.wait_for("************");
    // A secret for its webhooks is made when it is saved.
    pty.send(&format!("{PAGE_DOWN}\t\t\t\t\t "));
    pty.wait_for("made when saved");
    pty.send(F2);
    pty.wait_for("+token = { file = \"platform-ours\" }");
    assert!(!pty.screen().contains("s3cret"), "{}", pty.screen());
    pty.send("\r");
    pty.wait_for("It is not shown again");
    let kept = |name: &str| fs::read_to_string(home.join("secrets").join(name)).unwrap();
    let secret = kept("webhook-ours");
    assert!(secret.len() == 64 && pty.screen().contains(&secret), "{}", pty.screen());
    assert_eq!(kept("platform-ours"), "glpat-s3cret");
    pty.send("\r");
    let toml = fs::read_to_string(home.join("platforms/ours.toml")).unwrap();
    assert!(!toml.contains("s3cret") && !toml.contains(&secret), "{toml}");

    // Who the token is can't be told: nobody is there.
    pty.wait_for("gitlab yes yes");
    pty.send("C");
    pty.wait_for("cannot read who the token is on gitlab.test");

    // A repository's form binds its source to it.
    pty.send(&format!("2je{PAGE_DOWN}\t "));
    pty.wait_for("< ours >");
    pty.send(F2);
    pty.wait_for("+platform = \"ours\"");
    pty.send("\r");
    pty.wait_for("platform        ours");
    pty.send("9X");
    pty.wait_for("type the name");
    pty.send("ours\r");
    pty.wait_for("is named by acme/app");
    pty.send("\x1b");
    assert_eq!(project.slipway.json(&["platform", "show", "ours"])["repositories"][0], "acme/app");
}

#[test]
fn a_source_is_picked_from_what_the_platform_has_and_built() {
    const TOKEN: &str = "a-token-that-nobody-else-has";
    let source = GitRepo::new();
    source.write("Dockerfile", "FROM scratch\nCOPY file /\n").write("file", "1").commit("An image");
    let git = GitHttp::serve_with_password(&source, "x-access-token", TOKEN);
    let forge = Forge::start();
    let repository = |name: &str, url: &str| json!({ "full_name": name, "clone_url": url, "private": true, "default_branch": "main" });
    let next = wiremock::matchers::query_param("page", "2");
    let second = ResponseTemplate::new(200).set_body_json(json!([repository("acme/Picked", &git.forge_url())]));
    forge.mount(Mock::given(path("/api/v3/user/repos")).and(next).respond_with(second));
    let first = ResponseTemplate::new(200)
        .set_body_json(json!([repository("acme/other", "https://git.test/acme/other.git")]))
        .insert_header("link", "</api/v3/user/repos?page=2>; rel=\"next\"");
    // The token is refused at first.
    let refused =
        forge.mount_for_a_while(Mock::given(path("/api/v3/user/repos")).respond_with(ResponseTemplate::new(401)));
    let slipway = Slipway::new();
    slipway.run(&["namespace", "create", "acme"]).ok();
    let create = [
        "platform",
        "create",
        "forge",
        "--kind",
        "github",
        "--token-stdin",
        "--url",
        &forge.url(),
        "--host",
        "127.0.0.1",
    ];
    run_with_input(&mut slipway.command(&create), &format!("{TOKEN}\n")).ok();

    let mut pty = open(&slipway);
    pty.wait_for("acme");
    pty.wait_for("ready");
    pty.send(&format!("2a{PAGE_DOWN}"));
    pty.wait_for("2/2");
    pty.send(F3);
    pty.wait_for("choose a source platform first");
    pty.send(&format!("\t {F3}"));
    pty.wait_for("Repositories of forge");
    pty.wait_for("it does not know the token");
    drop(refused);
    forge.mount(Mock::given(path("/api/v3/user/repos")).respond_with(first));
    pty.send(F3);
    // Both pages.
    pty.wait_for("acme/other");
    pty.wait_for("acme/Picked");
    pty.send("pick\r");
    pty.wait_for(&git.forge_url());
    pty.send(F2);
    pty.wait_for("What will be written");
    pty.send("\r");
    pty.wait_for("main  branch main");
    assert_eq!(slipway.json(&["repo", "show", "acme/picked"])["source"]["platform"], "forge");
    pty.send("b");
    pty.wait_for("succeeded");
}
