//! What strangers, overheard webhooks and slow or forgetful servers do to the webhook listener and the poller.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::background::run;
use crate::support::git_http::GitHttp;
use crate::support::git_repo::cloned;
use crate::support::hook::{connect, github_push, github_signature, request, send, send_github};
use crate::support::project::{Project, rule};
use crate::webhooks::{SECRET, listening, settled};

const ZEROS: &str = "0000000000000000000000000000000000000000";

/// A figure of a process's memory, in megabytes: `VmHWM` or `VmRSS`.
fn megabytes(project: &Project, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", project.pool_pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn pool_log(project: &Project) -> String {
    fs::read_to_string(project.slipway.home().join("pool.log")).unwrap()
}

#[test]
fn a_stranger_runs_no_command_for_a_secret_and_writes_no_lines_into_the_log() {
    let (project, url) = listening("github", "");
    let (runs, slipway) = (project.slipway.home().join("runs"), &project.slipway);
    let command = format!("echo run >> {}; cat {}", runs.display(), slipway.home().join("secrets/hook").display());
    slipway.run(&["platform", "edit", "code", "--webhook-secret-command", &command]).ok();
    let body = github_push(&project.source.path(), &"a".repeat(40), &"b".repeat(40)).to_string();
    let before = pool_log(&project).lines().count();
    for headers in [
        &[][..],
        &["X-GitHub-Event: push"],
        &["X-GitHub-Event: push", "X-Hub-Signature-256: sha256=00"],
        &["X-Hub-Signature-256: sha256=0000000000000000000000000000000000000000000000000000000000000000"],
    ] {
        for _ in 0..25 {
            assert!(matches!(send(&url, "code", headers, &body).0, 400 | 401));
        }
    }
    assert!(!runs.exists(), "no secret was asked for");
    for _ in 0..25 {
        assert_eq!(send_github(&url, "code", "another secret", &body).0, 401);
    }
    assert_eq!(fs::read_to_string(&runs).unwrap(), "run\n", "the secret is kept");
    let written = pool_log(&project).lines().count() - before;
    assert!(written <= 3, "{written} lines for 125 requests");
    assert_eq!(send_github(&url, "code", SECRET, "{}").0, 400, "whoever has the secret is told what is wrong");
}

#[test]
fn an_address_that_holds_connections_and_sends_large_bodies_keeps_nobody_out_and_costs_little_memory() {
    let (project, url) = listening("github", "");
    let held: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut stream = connect(&url);
            let _ = stream.write_all(b"POST /code HTTP/1.1\r\n");
            stream
        })
        .collect();
    let before = project.source.head();
    let commit = project.source.write("news", "1").commit("news");
    let body = github_push(&project.source.path(), &before, &commit).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &body).0, 202);
    settled(&project, 1);
    drop(held);
    // Forged, as large as GitHub sends them at most, and many at once.
    let large = "x".repeat(20 << 20);
    std::thread::scope(|scope| {
        let statuses = (0..12).map(|_| scope.spawn(|| send_github(&url, "code", "another secret", &large).0));
        let statuses: Vec<_> = statuses.collect();
        for status in statuses {
            assert!(matches!(status.join().unwrap(), 401 | 503));
        }
    });
    let (most, now) = (megabytes(&project, "VmHWM"), megabytes(&project, "RssAnon"));
    assert!(most < 150 && now < 100, "{most} MB at most, {now} MB left");
    // Its sender reads why it is not taken, though it sends all of it first.
    let huge = "x".repeat(26 << 20);
    assert_eq!(send_github(&url, "code", SECRET, &huge).0, 413);
}

#[test]
fn a_webhook_that_was_believed_is_not_believed_again_by_the_next_pool() {
    let (project, url) = listening("gitea", "");
    let first = project.source.head();
    let second = project.source.write("news", "1").commit("news");
    let send_gitea = |url: &str, before: &str, after: &str| {
        let body = github_push(&project.source.path(), before, after);
        // Gitea says no time: only that it came before makes it old.
        let body = json!({ "ref": body["ref"], "before": before, "after": after, "repository": { "clone_url": body["repository"]["clone_url"] } })
            .to_string();
        let signature = github_signature(SECRET, &body).replace("X-Hub-Signature-256: sha256=", "X-Gitea-Signature: ");
        send(url, "code", &["X-Gitea-Event: push", &signature], &body).0
    };
    assert_eq!(send_gitea(&url, &first, &second), 202);
    settled(&project, 1);
    project.wait_for(1, "succeeded");
    project.source.git(&["reset", "--quiet", "--hard", &first]);
    assert_eq!(send_gitea(&url, &second, &first), 202);
    settled(&project, 2);
    project.kill_pool();
    project.slipway.run(&["pool", "start"]).ok();
    let mut url = None;
    project.slipway.wait_until("webhooks are taken", || {
        url = project.slipway.json(&["pool", "status"])["webhooks"].as_str().map(str::to_owned);
        url.is_some()
    });
    let url = url.unwrap();
    assert_eq!(send_gitea(&url, &first, &second), 202);
    // Believed, it would have been a push before this one.
    let third = project.source.write("news", "2").commit("more news");
    assert_eq!(send_gitea(&url, &first, &third), 202);
    assert_eq!(settled(&project, 3)[0]["commit"], json!(third));
}

#[test]
fn what_a_webhook_was_refused_for_is_told_until_one_is_taken() {
    let (project, url) = listening("github", "");
    let slipway = &project.slipway;
    let refusal = || slipway.json(&["platform", "show", "code"])["webhook_refusal"].clone();
    let problems = || slipway.json(&["pool", "status"])["problems"].to_string();
    assert_eq!(refusal(), json!(null));
    let body = github_push(&project.source.path(), &"a".repeat(40), &"b".repeat(40)).to_string();
    for _ in 0..2 {
        send_github(&url, "code", "another secret", &body);
    }
    assert_eq!((&refusal()["status"], &refusal()["count"]), (&json!(401), &json!(2)));
    assert!(!problems().contains("was refused"), "it may have been anybody: {}", problems());
    assert!(slipway.run(&["pool", "status"]).ok().stdout.contains("does not fit the secret"));
    let elsewhere = body.replace("file://", "https://host\\n2026-11-28T00:00:00Z ERROR forged line");
    assert_eq!(send_github(&url, "code", SECRET, &elsewhere).0, 404);
    assert_eq!((&refusal()["status"], &refusal()["count"]), (&json!(404), &json!(3)));
    assert!(problems().contains("no repository that builds by itself"), "{}", problems());
    assert!(!pool_log(&project).lines().any(|line| line.starts_with("2026-11-28")), "a payload begins no line");
    // The next stranger does not hide it.
    send_github(&url, "code", "another secret", &body);
    assert_eq!(slipway.json(&["platform", "list"])[0]["webhook_refusal"]["status"], json!(404));
    let signature = github_signature(SECRET, "{}");
    assert_eq!(send(&url, "code", &["X-GitHub-Event: ping", &signature], "{}").0, 200);
    assert_eq!(refusal(), json!(null));
    fs::remove_file(slipway.home().join("secrets/hook")).unwrap();
    assert_eq!(send_github(&url, "code", SECRET, &body).0, 503);
    assert!(problems().contains("there is no secret"), "{}", problems());
}

#[test]
fn whoever_sets_a_webhook_up_is_helped() {
    let (_project, url) = listening("github", "");
    let ask = |request: &str| {
        let mut stream = connect(&url);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let get = ask("GET /code HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(get.starts_with("HTTP/1.1 405") && get.contains("allow: POST") && get.contains("sent with POST"), "{get}");
    let root = ask(&request("", &[], "{}"));
    assert!(root.starts_with("HTTP/1.1 404") && root.contains("/PLATFORM"), "{root}");
}

#[test]
fn an_address_that_others_reach_needs_tls_or_consent() {
    let (project, _) = listening("github", "");
    let status = || project.slipway.run(&["pool", "status"]).ok().stdout;
    project.slipway.write("config.toml", "[webhook]\nlisten = \"0.0.0.0:0\"\n");
    project.slipway.wait_until("it is refused", || status().contains("webhook.plain_http = true"));
    project.slipway.write("config.toml", "[webhook]\nlisten = \"0.0.0.0:0\"\nplain_http = true\n");
    project.slipway.wait_until("it listens", || status().contains("http://0.0.0.0:"));
    assert!(!status().contains("plain_http"));
}

/// Waits until the source of the project was seen at this address.
fn see(project: &Project, url: &str) {
    let text = format!("schema = 1\n\n[source]\nurl = {url:?}\nplatform = \"code\"\n\n{}", rule("main", "main"));
    project.slipway.write("namespaces/acme/app.toml", &text);
    let seen = project.slipway.home().join("watch/acme/app.toml");
    project.slipway.wait_until("the source was seen", || {
        fs::read_to_string(&seen).is_ok_and(|text| text.contains(url) && text.contains("refs/heads/main"))
    });
}

#[test]
fn a_source_whose_platform_never_stops_telling_is_listed_all_the_same() {
    let (project, url) = listening("gitlab", "");
    let server = GitHttp::serve_slowly(&project.source, Duration::from_millis(300));
    see(&project, &server.forge_url());
    let body = json!({ "ref": "refs/heads/other", "before": ZEROS, "after": "f".repeat(40), "project": { "git_http_url": server.forge_url() } });
    let (token, seen) = (format!("X-Gitlab-Token: {SECRET}"), AtomicBool::new(false));
    let commit = project.source.write("news", "1").commit("news");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // More often than a listing takes.
            while !seen.load(Ordering::SeqCst) {
                assert_eq!(send(&url, "code", &["X-Gitlab-Event: Push Hook", &token], &body.to_string()).0, 202);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let pushes = settled(&project, 1);
        seen.store(true, Ordering::SeqCst);
        assert_eq!(pushes[0]["commit"], json!(commit));
    });
}

#[test]
fn a_build_waits_for_a_commit_that_the_webhook_told_before_the_server_has_it() {
    let (project, url) = listening("github", "");
    let server = GitHttp::serve(&project.source);
    see(&project, &server.forge_url());
    let before = project.source.head();
    let clone = cloned(project.source.path().to_str().unwrap(), |_| {});
    let git = |args: &[&str]| {
        let mut command = crate::support::git_repo::git(clone.path());
        run(command.args(args)).ok().stdout.trim().to_owned()
    };
    fs::write(clone.path().join("news"), "1").unwrap();
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "news"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let body = github_push(Path::new("/"), &before, &commit);
    let body = body.to_string().replace("file:///", &server.forge_url());
    assert_eq!(send_github(&url, "code", SECRET, &body).0, 202);
    settled(&project, 1);
    project.wait_until_held(1, "waits for the server to have commit");
    project.source.git(&["pull", "--quiet", "--ff-only", clone.path().to_str().unwrap(), "main"]);
    let build = project.wait_for(1, "succeeded");
    assert_eq!((&build["commit"], &build["failure"]), (&json!(commit), &json!(null)));
    assert!(!project.is_there(2), "it is no failure that is tried again");
}

#[test]
fn a_source_that_lists_nothing_once_loses_nothing_and_builds_nothing_again() {
    let (project, _) = listening("github", "");
    project.slipway.write("config.toml", "[pool]\npoll = \"1s\"\n");
    let refs = project.source.path().join(".git/refs/heads");
    let away = project.source.path().join(".git/heads-away");
    fs::rename(&refs, &away).unwrap();
    fs::create_dir(&refs).unwrap();
    let status = || project.slipway.run(&["pool", "status"]).ok().stdout;
    project.slipway.wait_until("it is told", || status().contains("lists no branch and no tag, and had 1"));
    fs::remove_dir(&refs).unwrap();
    fs::rename(&away, &refs).unwrap();
    project.slipway.wait_until("it is over", || !status().contains("lists no branch"));
    let commit = project.source.write("news", "1").commit("news");
    assert_eq!(settled(&project, 1)[0]["commit"], json!(commit));
}

#[test]
fn a_default_branch_that_was_renamed_is_named_where_no_rule_matches() {
    let (project, _) = listening("github", "");
    project.slipway.write("config.toml", "[pool]\npoll = \"1s\"\n");
    project.source.git(&["branch", "--move", "main", "develop"]);
    let push = settled(&project, 1).remove(0);
    let reason = push["answers"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("its default branch is \"develop\""), "{reason}");
    let refused = run(&mut project.slipway.command(&["build", "start", "acme/app"]));
    assert!(refused.stderr.contains("its default branch is \"develop\""), "{refused}");
}
