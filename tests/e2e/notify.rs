//! Others are told of what becomes of builds: URLs, commands, and the platforms that show it beside the commit.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::{Value, json};

use crate::support::background::run;
use crate::support::git_http::GitHttp;
use crate::support::hook::github_signature;
use crate::support::project::{Project, REPOSITORY, rule, ticking};
use crate::support::receiver::Receiver;
use crate::support::slipway::Slipway;

/// A home with that config.toml and a secret `key`.
fn home(config: &str) -> Slipway {
    let slipway = Slipway::new();
    slipway.write("config.toml", config);
    slipway.write("secrets/key", "a secret that nobody guesses\n");
    fs::set_permissions(slipway.home().join("secrets"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(slipway.home().join("secrets/key"), fs::Permissions::from_mode(0o600)).unwrap();
    slipway
}

/// The messages that wait on disk.
fn waiting(slipway: &Slipway) -> Vec<String> {
    let entries = fs::read_dir(slipway.home().join("outbox")).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".toml")).collect()
}

fn problems(slipway: &Slipway) -> String {
    slipway.json(&["pool", "status"])["problems"].to_string()
}

/// Builds `acme/app` to its end, good or bad.
fn build(project: &Project) -> Value {
    run(&mut project.slipway.command(&["build", "start", REPOSITORY, "--wait", "--output", "json"])).json()
}

fn wait_for(slipway: &Slipway, receiver: &Receiver, count: usize) {
    slipway.wait_until(&format!("{count} messages came"), || receiver.received().len() >= count);
    assert_eq!(receiver.received().len(), count);
}

#[test]
fn a_url_that_fails_twice_is_told_in_the_end_and_signed_and_hears_when_it_is_fixed() {
    let receiver = Receiver::answering(&[500, 503, 200]);
    let url = receiver.url();
    let config = format!("[[notify]]\nname = \"chat\"\nurl = \"{url}/hook?key=1\"\nsecret = {{ file = \"key\" }}\n");
    let project = Project::in_home(home(&config), &["RUN false"]);
    let failed = build(&project);
    assert_eq!(failed["state"], "failed");
    wait_for(&project.slipway, &receiver, 3);
    let received = receiver.received();
    let first = &received[0];
    let signature = github_signature("a secret that nobody guesses", first.text());
    assert_eq!(first.header("x-slipway-signature-256"), signature.split_once(": ").unwrap().1);
    assert_eq!((first.path(), first.header("x-slipway-event")), ("/hook", "failed"));
    assert_eq!(first.header("x-slipway-delivery"), first.json()["id"]);
    assert!(received.iter().all(|again| again.text() == first.text()), "the same is told again with the same id");
    let body = first.json();
    assert_eq!((&body["event"], &body["build"]["id"]), (&json!("failed"), &failed["id"]));
    assert_eq!(body["build"]["failure"]["kind"], "dockerfile");
    assert_eq!(body["build"]["commit"], project.source.head());
    project.slipway.wait_until("nothing waits", || waiting(&project.slipway).is_empty());
    project.slipway.wait_until("no problem is left", || problems(&project.slipway) == "[]");

    project.source.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n").commit("mended");
    let mended = build(&project);
    wait_for(&project.slipway, &receiver, 4);
    let body = receiver.received()[3].json();
    assert_eq!((&body["event"], &body["build"]["state"]), (&json!("fixed"), &json!("succeeded")));
    assert_eq!(body["build"]["images"][0]["digest"], mended["images"][0]["digest"]);
    assert_eq!(build(&project)["state"], "succeeded");
    project.slipway.run(&["notify", "test", "chat"]).ok();
    // What came after the test came before it, if at all.
    wait_for(&project.slipway, &receiver, 5);
    assert_eq!(receiver.received()[4].header("x-slipway-event"), "test");
}

#[test]
fn a_receiver_that_hangs_holds_up_no_other() {
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let told = tempfile::tempdir().unwrap();
    let file = told.path().join("told");
    let config = format!(
        "[[notify]]\nname = \"hangs\"\nurl = \"http://{}\"\nevents = [\"queued\", \"started\", \"succeeded\"]\n\
         [[notify]]\nname = \"command\"\nevents = [\"queued\", \"started\", \"succeeded\"]\n\
         command = '''read -r body; echo \"$SLIPWAY_EVENT $SLIPWAY_BUILD $SLIPWAY_REPOSITORY $body\" >> {}'''\n\
         [[notify]]\nname = \"others\"\ncommand = \"touch {}\"\nevents = [\"succeeded\"]\nrepositories = [\"other/*\"]\n",
        hangs.local_addr().unwrap(),
        file.display(),
        told.path().join("other").display(),
    );
    let project = Project::in_home(home(&config), &["RUN true"]);
    assert_eq!(build(&project)["state"], "succeeded");
    let lines = || fs::read_to_string(&file).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    project.slipway.wait_until("the command was told of all", || lines().len() == 3);
    let begin = |event: &str| format!("{event} 1 acme/app {{");
    for (line, event) in lines().iter().zip(["queued", "started", "succeeded"]) {
        assert!(line.starts_with(&begin(event)), "{line}");
    }
    assert!(!told.path().join("other").exists());
    let waits = waiting(&project.slipway);
    assert!(waits.iter().all(|name| name.ends_with("-hangs.toml")) && waits.len() == 3, "{waits:?}");
}

#[test]
fn the_failure_that_pauses_a_rule_is_told_as_that() {
    let told = tempfile::tempdir().unwrap();
    let file = told.path().join("told");
    let config = format!(
        "[pool]\npause_after = 2\n[[notify]]\nname = \"command\"\nevents = [\"failed\", \"paused\"]\n\
         command = '''echo \"$SLIPWAY_EVENT $SLIPWAY_BUILD\" >> {}'''\n",
        file.display()
    );
    let project = Project::in_home(home(&config), &["RUN false"]);
    for _ in 0..3 {
        assert_eq!(build(&project)["state"], "failed");
    }
    let lines = || fs::read_to_string(&file).unwrap_or_default();
    project.slipway.wait_until("all is told", || lines().lines().count() == 3);
    assert_eq!(lines(), "failed 1\npaused 2\nfailed 3\n");
}

#[test]
fn a_pool_that_is_killed_delivers_after_its_restart_what_it_could_not_before() {
    let receiver = Receiver::answering(&[503]);
    let config = format!("[[notify]]\nname = \"chat\"\nurl = \"{}\"\n", receiver.url());
    let project = Project::in_home(home(&config), &["RUN false"]);
    build(&project);
    project.slipway.wait_until("it is told", || problems(&project.slipway).contains("\\\"chat\\\" is not told yet"));
    assert_eq!(waiting(&project.slipway), ["1-failed-chat.toml"]);
    let id = receiver.received()[0].json()["id"].clone();
    project.kill_pool();
    receiver.answer(&[200]);
    project.pool();
    wait_for(&project.slipway, &receiver, 1);
    assert_eq!(receiver.received()[0].json()["id"], id);
    project.slipway.wait_until("nothing waits", || waiting(&project.slipway).is_empty());
    // As though the pool had died before it could mark the build as final, and before it had noted anything.
    project.kill_pool();
    fs::write(project.build_directory(1).join("open"), "").unwrap();
    project.pool();
    wait_for(&project.slipway, &receiver, 2);
    assert_eq!(receiver.received()[1].json()["id"], id);
    // As though it had died before it could record the build of which it had noted that it is queued.
    project.slipway.wait_until("nothing waits", || waiting(&project.slipway).is_empty());
    project.kill_pool();
    let message = "schema = 1\nid = \"x\"\nat = \"2020-10-15T08:25:00Z\"\nbuild = 99\nrepository = \"acme/app\"\nstate = \"queued\"\n\
         [content.notification]\nto = \"chat\"\nevent = \"queued\"\nbody = \"{}\"\n";
    project.slipway.write("outbox/99-queued-chat.toml", message);
    project.pool();
    assert_eq!(waiting(&project.slipway), Vec::<String>::new());
    assert_eq!(receiver.received().len(), 2);
}

#[test]
fn a_command_that_a_killed_pool_left_ends_before_the_next_pool_runs_it_again() {
    let told = tempfile::tempdir().unwrap();
    let pids = told.path().join("pids");
    let config = format!(
        "[[notify]]\nname = \"command\"\nevents = [\"succeeded\"]\n\
         command = \"trap '' TERM; sleep 1000 & echo $$ $! >> {}; wait\"\n",
        pids.display()
    );
    let project = Project::in_home(home(&config), &["RUN true"]);
    assert_eq!(build(&project)["state"], "succeeded");
    // Each line: the shell, and what it started.
    let runs = || -> Vec<Vec<i32>> {
        let text = fs::read_to_string(&pids).unwrap_or_default();
        text.lines().map(|line| line.split(' ').map(|pid| pid.parse().unwrap()).collect()).collect()
    };
    project.slipway.wait_until("the command runs", || runs().len() == 1);
    project.kill_pool();
    assert!(runs()[0].iter().all(|pid| is_running(*pid)), "nothing ends with the pool");
    project.pool();
    project.slipway.wait_until("the command runs again", || runs().len() == 2);
    assert!(runs()[0].iter().all(|pid| !is_running(*pid)), "the first is gone");
    assert!(runs()[1].iter().all(|pid| is_running(*pid)));
    project.slipway.run(&["pool", "stop"]).ok();
    assert!(runs()[1].iter().all(|pid| !is_running(*pid)), "a pool that is stopped leaves none");
}

/// Whether a process runs; one that is dead and not yet collected does not.
fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

#[test]
fn what_a_receiver_refuses_for_good_is_given_up_and_told() {
    let receiver = Receiver::answering(&[422]);
    let config = format!("[[notify]]\nname = \"chat\"\nurl = \"{}/s3cret\"\n", receiver.url());
    let project = Project::in_home(home(&config), &["RUN false"]);
    build(&project);
    project
        .slipway
        .wait_until("it is given up", || problems(&project.slipway).contains("failed of build #1 is given up"));
    assert!(problems(&project.slipway).contains("422"), "{}", problems(&project.slipway));
    project.slipway.wait_until("nothing waits", || waiting(&project.slipway).is_empty());
    let log = fs::read_to_string(project.slipway.home().join("pool.log")).unwrap();
    assert!(!log.contains("s3cret") && !problems(&project.slipway).contains("s3cret"), "{log}");
    project.slipway.write("config.toml", "");
    project.slipway.wait_until("the problem is of the past", || problems(&project.slipway) == "[]");
}

#[test]
fn notifications_are_listed_and_tested_by_commands() {
    let receiver = Receiver::answering(&[200]);
    let config = format!(
        "[[notify]]\nname = \"chat\"\nurl = \"{}/s3cret\"\n\
         [[notify]]\nname = \"mail\"\ncommand = \"echo sent; cat >/dev/null\"\n\
         [[notify]]\nname = \"broken\"\ncommand = \"echo no such list >&2; exit 3\"\n",
        receiver.url()
    );
    let slipway = home(&config);
    let listed = slipway.json(&["notify", "list"]);
    assert_eq!(listed[0]["events"], json!(["failed", "fixed"]));
    assert_eq!((&listed[0]["waiting"], &listed[1]["name"]), (&json!(0), &json!("mail")));
    assert!(!listed.to_string().contains("s3cret"), "{listed}");
    let answer = slipway.run(&["notify", "test", "chat"]).ok().stdout;
    assert!(answer.contains("answered 200 OK ({})"), "{answer}");
    assert_eq!(receiver.received()[0].json()["build"], Value::Null);
    assert_eq!(slipway.run(&["notify", "test", "mail"]).ok().stdout, "the command succeeded (sent)\n");
    let broken = slipway.run(&["notify", "test", "broken"]);
    assert_eq!(broken.code(), Some(1));
    assert!(broken.stderr.contains("exit status 3") && broken.stderr.contains("no such list"), "{broken}");
    assert_eq!(slipway.run(&["notify", "test", "nobody"]).code(), Some(3));
}

#[test]
fn an_address_that_is_a_secret_is_posted_to_and_never_shown() {
    let receiver = Receiver::answering(&[200]);
    let slipway = home("[[notify]]\nname = \"chat\"\nurl = { file = \"key\" }\n");
    let test = ["notify", "test", "chat"];
    let refused = slipway.run(&test);
    assert!(!refused.status.success() && refused.stderr.contains("holds no address"), "{refused}");
    slipway.write("secrets/key", &format!("{}/s3cret\n", receiver.url()));
    let sent = slipway.run(&test).ok();
    assert_eq!(receiver.received()[0].path(), "/s3cret");
    assert!(sent.stdout.contains("secrets/key answered 200"), "{sent}");
    let listed = slipway.run(&["notify", "list"]).ok();
    assert!(listed.stdout.contains("secrets/key") && !format!("{sent}{listed}").contains("s3cret"), "{listed}");

    slipway.write("config.toml", "[[notify]]\nname = \"chat\"\nurl = \"https://chat.example.com/s3cret\"\n");
    fs::set_permissions(slipway.home(), fs::Permissions::from_mode(0o755)).unwrap();
    let doctor = slipway.run(&["doctor"]);
    assert!(doctor.stdout.contains("may read the url of the notification \"chat\""), "{doctor}");
}

#[test]
fn a_notification_that_cannot_work_is_told_and_the_last_good_one_stays_in_force() {
    let slipway = home("[[notify]]\nname = \"mail\"\ncommand = \"true\"\n");
    slipway.run(&["notify", "test", "mail"]).ok();
    slipway.write("config.toml", "[[notify]]\nname = \"mail\"\ncommand = \"true\"\nurl = \"https://example.com\"\n");
    slipway.wait_until("it is told", || problems(&slipway).contains("url, command: give one of them"));
    slipway.run(&["notify", "test", "mail"]).ok();
}

/// A project whose source is `acme/api` on a platform like GitHub, whose API answers with these statuses.
fn on_a_platform(steps: &[&str], statuses: &[u16], options: &str) -> (Project, Receiver, GitHttp) {
    let api = Receiver::answering(statuses);
    let platform = format!(
        "kind = \"github\"\nurl = \"{}\"\ntoken = {{ file = \"key\" }}\nhosts = [\"127.0.0.1\"]\n{options}",
        api.url()
    );
    let slipway = home("");
    slipway.write("platforms/code.toml", &platform);
    let project = Project::in_home(slipway, steps);
    let root = project.source.path();
    let site = root.parent().unwrap().join("acme");
    fs::create_dir(&site).unwrap();
    symlink(&root, site.join("api.git")).unwrap();
    let server = GitHttp::serve(&project.source);
    let url = server.url().replace("/source", "/acme/api.git");
    let text = format!("[source]\nurl = {url:?}\nplatform = \"code\"\n[build]\nauto = false\n{}", rule("main", "main"));
    project.slipway.write("namespaces/acme/app.toml", &text);
    (project, api, server)
}

/// The statuses that a platform was told: of which commit, in which state, in what words.
fn told(api: &Receiver) -> Vec<(String, String, String)> {
    let status = |received: &crate::support::receiver::Received| {
        let body = received.json();
        assert_eq!(body["context"], "slipway/acme/app/main");
        assert_eq!(received.header("authorization"), "Bearer a secret that nobody guesses");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let commit = received.path().strip_prefix("/api/v3/repos/acme/api/statuses/").unwrap().to_owned();
        (commit, text(&body["state"]), text(&body["description"]))
    };
    api.received().iter().map(status).collect()
}

#[test]
fn a_platform_shows_beside_the_commit_what_becomes_of_its_build() {
    let (project, api, _server) = on_a_platform(&["RUN true"], &[201], "");
    let commit = project.source.head();
    build(&project);
    project.slipway.wait_until("the success is told", || told(&api).iter().any(|(_, state, _)| state == "success"));
    let statuses = told(&api);
    assert!(statuses.iter().all(|(of, ..)| *of == commit), "{statuses:?}");
    let (last, before) = statuses.split_last().unwrap();
    assert!(last.2.starts_with("#1 succeeded in ") && last.2.ends_with(": latest"), "{last:?}");
    assert!(before.iter().all(|(_, state, _)| state == "pending") && !before.is_empty(), "{before:?}");

    let commit = project.source.write("Dockerfile", "FROM scratch\nCOPY missing /\n").commit("broken");
    build(&project);
    let failed = || told(&api).into_iter().find(|(of, state, _)| *of == commit && state == "failure");
    project.slipway.wait_until("the failure is told", || failed().is_some());
    assert!(failed().unwrap().2.starts_with("#2 failed: "), "{:?}", failed());
    project.slipway.wait_until("nothing waits", || waiting(&project.slipway).is_empty());
}

#[test]
fn a_token_that_may_not_set_statuses_is_told_once_and_builds_go_on() {
    let (project, api, _server) = on_a_platform(&["RUN true"], &[403], "");
    assert_eq!(build(&project)["state"], "succeeded");
    project.slipway.wait_until("it is told", || problems(&project.slipway).contains("the token may not do that"));
    assert_eq!(build(&project)["state"], "succeeded");
    project.slipway.wait_until("nothing waits", || waiting(&project.slipway).is_empty());
    let log = fs::read_to_string(project.slipway.home().join("pool.log")).unwrap();
    assert_eq!(log.matches("may not do that").count(), 1, "{log}");
    assert!(told(&api).len() <= 6, "none is tried again: {:?}", told(&api));
    api.answer(&[201]);
    build(&project);
    project.slipway.wait_until("the problem is of the past", || problems(&project.slipway) == "[]");
}

#[test]
fn only_the_newest_status_reaches_a_platform_that_was_down() {
    let (project, api, _server) = on_a_platform(&[&ticking("statuses", 5)], &[503], "");
    build(&project);
    project.slipway.wait_until("one waits", || waiting(&project.slipway) == ["status-1-succeeded.toml"]);
    project.kill_pool();
    api.answer(&[201]);
    project.pool();
    wait_for(&project.slipway, &api, 1);
    assert_eq!(told(&api)[0].1, "success");
}

#[test]
fn a_platform_that_wants_no_statuses_is_told_none() {
    let (project, api, _server) = on_a_platform(&["RUN true"], &[201], "statuses = false\n");
    assert_eq!(build(&project)["state"], "succeeded");
    assert_eq!(waiting(&project.slipway), Vec::<String>::new());
    assert!(api.received().is_empty());
    project.slipway.run(&["platform", "edit", "code", "--statuses", "true"]).ok();
    build(&project);
    project.slipway.wait_until("they are told now", || told(&api).iter().any(|(_, state, _)| state == "success"));
}
