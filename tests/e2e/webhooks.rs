//! Platforms tell of pushes: what is signed is built at once, what is not is asked of the source, and what is forged is
//! refused.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use serde_json::{Value, json};

use crate::support::background::run;
use crate::support::hook::{
    connect, github_push, github_push_at, github_signature, request, send, send_github, send_securely,
};
use crate::support::project::{Project, rule};
use crate::support::slipway::Slipway;

pub const SECRET: &str = "a secret that nobody guesses";

/// A project whose source is bound to a platform of that kind, seen once and not polled any more; and where webhooks
/// are taken.
pub fn listening(kind: &str, config: &str) -> (Project, String) {
    let slipway = Slipway::new();
    let head = "[pool]\npoll = \"1h\"\n[webhook]\nlisten = \"127.0.0.1:0\"\n";
    slipway.write("config.toml", &format!("{head}{config}"));
    slipway.write("secrets/hook", SECRET);
    fs::set_permissions(slipway.home().join("secrets"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(slipway.home().join("secrets/hook"), fs::Permissions::from_mode(0o600)).unwrap();
    slipway.write("platforms/code.toml", &format!("kind = {kind:?}\nwebhook_secret = {{ file = \"hook\" }}\n"));
    let project = Project::in_home(slipway, &["RUN true"]);
    let text = format!(
        "schema = 1\n\n[source]\nurl = {:?}\nplatform = \"code\"\n\n{}",
        project.source.path(),
        rule("main", "main")
    );
    project.slipway.write("namespaces/acme/app.toml", &text);
    project.slipway.run(&["pool", "start"]).ok();
    let seen = project.slipway.home().join("watch/acme/app.toml");
    project.slipway.wait_until("the source was seen", || {
        fs::read_to_string(&seen).is_ok_and(|text| text.contains("refs/heads/main"))
    });
    let mut url = None;
    project.slipway.wait_until("webhooks are taken", || {
        url = project.slipway.json(&["pool", "status"])["webhooks"].as_str().map(str::to_owned);
        url.is_some()
    });
    (project, url.unwrap())
}

pub fn settled(project: &Project, count: usize) -> Vec<Value> {
    let pushes = || project.slipway.json(&["push", "list"]).as_array().unwrap().clone();
    project.slipway.wait_until("the pushes are settled", || {
        pushes().iter().filter(|push| push["settled"] == json!(true)).count() >= count
    });
    assert_eq!(pushes().len(), count, "{:#?}", pushes());
    pushes()
}

#[test]
fn a_signed_push_is_built_at_once_and_no_poll_and_no_replay_builds_it_again() {
    let (project, url) = listening("github", "");
    let before = project.source.head();
    let commit = project.source.write("news", "1").commit("news");
    let at = chrono::Utc::now().timestamp() - 600;
    let body = github_push_at(at, &project.source.path(), &before, &commit).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &body), (202, "refs/heads/main of acme/app\n".into()));
    let push = settled(&project, 1).remove(0);
    assert_eq!((&push["commit"], &push["origin"]), (&json!(commit), &json!("webhook")));
    let said = chrono::DateTime::from_timestamp(at, 0).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    assert_eq!(push["pushed_at"], json!(said), "the platform says when");
    assert_eq!(push["answers"][0]["verdict"], json!("built"));
    project.wait_for(1, "succeeded");
    assert_eq!(send_github(&url, "code", SECRET, &body).0, 202, "a redelivery is no error");
    project.slipway.write("config.toml", "[pool]\npoll = \"1s\"\n[webhook]\nlisten = \"127.0.0.1:0\"\n");
    let next = project.source.write("news", "2").commit("seen by a poll");
    let pushes = settled(&project, 2);
    assert_eq!((&pushes[0]["commit"], &pushes[0]["origin"]), (&json!(next), &json!("poll")));
}

#[test]
fn a_webhook_that_is_played_again_builds_nothing_that_the_source_does_not_have() {
    let (project, url) = listening("github", "");
    let first = project.source.head();
    let second = project.source.write("news", "1").commit("news");
    let there = github_push(&project.source.path(), &first, &second).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &there).0, 202);
    settled(&project, 1);
    project.source.git(&["reset", "--quiet", "--hard", &first]);
    let back = github_push(&project.source.path(), &second, &first).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &back).0, 202);
    settled(&project, 2);
    // Overheard: the body of the first push, and one of long ago.
    assert_eq!(send_github(&url, "code", SECRET, &there).0, 202);
    let old = github_push_at(1_700_000_000, &project.source.path(), &first, &second).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &old).0, 202);
    let third = project.source.write("news", "2").commit("more news");
    let body = github_push(&project.source.path(), &first, &third).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &body).0, 202);
    assert_eq!(settled(&project, 3)[0]["commit"], json!(third));
}

#[test]
fn a_body_that_is_not_signed_is_no_more_than_a_hint_to_ask_the_source() {
    let (project, url) = listening("gitlab", "");
    let before = project.source.head();
    let commit = project.source.write("news", "1").commit("news");
    let lie = "f".repeat(40);
    let body = json!({ "ref": "refs/heads/main", "before": before, "after": lie, "checkout_sha": lie,
        "project": { "git_http_url": format!("file://{}", project.source.path().display()) } });
    let token = format!("X-Gitlab-Token: {SECRET}");
    let headers = ["X-Gitlab-Event: Push Hook", token.as_str()];
    assert_eq!(send(&url, "code", &headers, &body.to_string()).0, 202);
    let push = settled(&project, 1).remove(0);
    assert_eq!((&push["commit"], &push["origin"]), (&json!(commit), &json!("webhook")));
}

#[test]
fn a_webhook_that_does_not_follow_on_what_was_seen_is_asked_of_the_source() {
    let (project, url) = listening("github", "");
    let first = project.source.head();
    let second = project.source.write("news", "1").commit("one");
    let third = project.source.write("news", "2").commit("two");
    // The later one comes first.
    let body = github_push(&project.source.path(), &second, &third).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &body).0, 202);
    assert_eq!(settled(&project, 1)[0]["commit"], json!(third));
    let body = github_push(&project.source.path(), &first, &second).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &body).0, 202);
    let fourth = project.source.write("news", "3").commit("three");
    let body = github_push(&project.source.path(), &third, &fourth).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &body).0, 202);
    assert_eq!(settled(&project, 2)[0]["commit"], json!(fourth));
}

#[test]
fn whoever_has_no_secret_is_refused_and_is_told_why() {
    let (project, url) = listening("github", "");
    let body = github_push(&project.source.path(), &"a".repeat(40), &"b".repeat(40)).to_string();
    let signed = github_signature(SECRET, &body);
    let (status, text) = send(&url, "code", &["X-GitHub-Event: push"], &body);
    assert_eq!(status, 401);
    assert!(text.contains("x-hub-signature-256"), "{text}");
    assert_eq!(send_github(&url, "code", "another secret", &body).0, 401);
    assert_eq!(send(&url, "code", &["X-GitHub-Event: push", &signed], &body.replace("main", "evil")).0, 401);
    assert_eq!(send(&url, "code", &[&signed], &body).0, 400, "without an event");
    assert_eq!(send(&url, "code/", &["X-GitHub-Event: push", &signed], &body).0, 202, "it is the same address");
    assert_eq!(send_github(&url, "nobody", SECRET, &body).0, 404);
    let elsewhere = body.replace("file://", "https://host");
    let (status, text) = send_github(&url, "code", SECRET, &elsewhere);
    assert_eq!(status, 404);
    assert!(text.contains("no repository"), "{text}");
    let ping = "{\"zen\":\"Keep it logically awesome.\"}";
    let signature = github_signature(SECRET, ping);
    assert_eq!(send(&url, "code", &["X-GitHub-Event: ping", &signature], ping).0, 200);
    assert_eq!(send_github(&url, "code", SECRET, &body[..body.len() / 2]).0, 400);
    assert_eq!(project.slipway.json(&["push", "list"]), json!([]));
}

#[test]
fn huge_and_slow_senders_hold_nobody_up() {
    let (project, url) = listening("github", "");
    let mut silent = connect(&url);
    let mut slow = connect(&url);
    slow.write_all(request("code", &[], "{\"ref\":").split_at(40).0.as_bytes()).unwrap();
    let mut huge = connect(&url);
    let signed = github_signature(SECRET, "");
    let head = format!(
        "POST /code HTTP/1.1\r\nHost: localhost\r\nX-GitHub-Event: push\r\n{signed}\r\nContent-Length: 99999999999\r\n\r\n"
    );
    huge.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    huge.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    let before = project.source.head();
    let commit = project.source.write("news", "1").commit("news");
    let body = github_push(&project.source.path(), &before, &commit).to_string();
    assert_eq!(send_github(&url, "code", SECRET, &body).0, 202);
    settled(&project, 1);
    // They are cut off, without anybody's doing.
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    let _ = slow.read_to_end(&mut rest);
}

#[test]
fn webhooks_are_taken_over_tls() {
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name);
    let certify = || {
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
        fs::write(at("server.pem"), server.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(at("server.key"), key.serialize_pem()).unwrap();
        authority.pem()
    };
    let authority = certify();
    let (project, url) =
        listening("github", &format!("certificate = {:?}\nkey = {:?}\n", at("server.pem"), at("server.key")));
    assert!(url.starts_with("https://"), "{url}");
    let before = project.source.head();
    let commit = project.source.write("news", "1").commit("news");
    let body = github_push(&project.source.path(), &before, &commit).to_string();
    let signature = github_signature(SECRET, &body);
    let headers = ["X-GitHub-Event: push", signature.as_str()];
    assert_eq!(send_securely(&url, authority.as_bytes(), "code", &headers, &body).0, 202);
    assert_eq!(settled(&project, 1)[0]["commit"], json!(commit));
    let renewed = certify();
    let signature = github_signature(SECRET, "{}");
    let ping = ["X-GitHub-Event: ping", signature.as_str()];
    let (status, answer) = send_securely(&url, renewed.as_bytes(), "code", &ping, "{}");
    assert_eq!((status, answer.contains("slipway listens")), (200, true), "{answer}");
}

/// An authority that nobody knew before.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "slipway test authority");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn an_address_that_cannot_be_listened_on_is_told_and_tried_again() {
    let (project, _) = listening("github", "");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    project.slipway.write("config.toml", &format!("[webhook]\nlisten = \"{address}\"\n"));
    let problems = || project.slipway.run(&["pool", "status"]).ok().stdout;
    project.slipway.wait_until("the problem is told", || problems().contains("no webhooks are taken"));
    drop(taken);
    project.slipway.wait_until("it listens", || problems().contains(&format!("http://{address}/PLATFORM")));
    assert!(!problems().contains("no webhooks are taken"));
}

#[test]
fn a_platform_is_made_checked_and_deleted_by_commands() {
    let (project, url) = listening("github", "");
    let slipway = &project.slipway;
    let made = slipway.run(&["platform", "create", "forge", "--kind", "gitea", "--new-webhook-secret"]).ok();
    let secret = made.stdout.trim();
    assert_eq!(secret.len(), 64, "{secret}");
    assert!(made.stderr.contains(&format!("{url}/forge")), "{}", made.stderr);
    let shown = slipway.json(&["platform", "show", "forge"]);
    assert_eq!((&shown["kind"], &shown["webhook"]), (&json!("gitea"), &json!(format!("{url}/forge"))));
    assert!(!shown.to_string().contains(secret));
    // In force at once.
    let body = github_push(&project.source.path(), &"a".repeat(40), &"b".repeat(40)).to_string();
    let signature = github_signature(secret, &body);
    let headers = ["X-Gitea-Event: push", signature.as_str()];
    assert_eq!(send(&url, "forge", &headers, &body).0, 404, "no repository names it yet");
    slipway.run(&["repo", "edit", "acme/app", "--platform", "forge"]).ok();
    let checked = slipway.json(&["platform", "check", "forge"]);
    let source = &checked["sources"][0];
    assert_eq!((&source["repository"], &source["refs"]), (&json!("acme/app"), &json!(1)));
    let refused = run(&mut slipway.command(&["platform", "delete", "forge"]));
    assert_eq!(refused.code(), Some(4), "{}", refused.stderr);
    slipway.run(&["repo", "edit", "acme/app", "--platform", "code"]).ok();
    slipway.run(&["platform", "delete", "forge"]).ok();
    assert!(!slipway.home().join("secrets/webhook-forge").exists());
    assert!(slipway.home().join("secrets/hook").exists());
    let unknown = run(&mut slipway.command(&["platform", "create", "x", "--kind", "sourcehut"]));
    assert_eq!(unknown.code(), Some(2));
    let none =
        run(&mut slipway.command(&["platform", "create", "plain", "--kind", "git", "--webhook-secret-env", "X"]));
    assert_eq!(none.code(), Some(2), "{}", none.stderr);
}
