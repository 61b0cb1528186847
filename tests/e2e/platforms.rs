//! Platforms, from the token to the image: each kind has an API of its own, signs its webhooks in its own way, and is
//! pushed to.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use wiremock::matchers::{header, path};
use wiremock::{Mock, ResponseTemplate};

use crate::fixture::{images, run_with_input};
use crate::support::background::run;
use crate::support::forge::Forge;
use crate::support::git_http::GitHttp;
use crate::support::git_repo::GitRepo;
use crate::support::hook::{github_signature, hmac, send};
use crate::support::slipway::Slipway;

const TOKEN: &str = "a-token-that-nobody-else-has";

/// What is different from kind to kind.
struct Kind {
    name: &'static str,
    /// Who the token is: where that is asked, and what is answered.
    identity: (&'static str, Value),
    /// The user name that its git wants with the token.
    user: &'static str,
    /// What says that there are no webhooks.
    no_webhooks: Value,
    /// The URL and the secret of a webhook that is made.
    made: fn(&Value) -> (Value, Value),
    /// The body of a push: clone URL, before, after.
    push: fn(&str, &str, &str) -> Value,
    /// The headers of a push, by the secret and the body.
    headers: fn(&str, &str) -> Vec<String>,
}

fn like_github(url: &str, before: &str, after: &str) -> Value {
    json!({ "ref": "refs/heads/main", "before": before, "after": after,
        "repository": { "full_name": "acme/api", "clone_url": url } })
}

fn like_gitlab(url: &str, before: &str, after: &str) -> Value {
    json!({ "object_kind": "push", "ref": "refs/heads/main", "before": before, "after": after,
        "repository": { "name": "api", "git_http_url": url } })
}

/// Everything that slipway does with a platform: the token is checked, a repository is bound and its webhook made; then
/// somebody pushes, the platform tells, the image is there, and the platform is told.
fn story(kind: &Kind) {
    let source = GitRepo::new();
    source.write("Dockerfile", "FROM scratch\nCOPY file /\n").write("file", "1").commit("An image");
    let git = GitHttp::serve_with_password(&source, kind.user, TOKEN);
    let forge = Forge::start();
    forge.answer(kind.identity.0, kind.identity.1.clone());
    forge.take_webhooks(&kind.no_webhooks);
    forge.take_statuses();

    let slipway = Slipway::new();
    // Where platforms reach it is known before it listens.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let hooks = format!("[webhook]\nlisten = \"{address}\"\nurl = \"http://{address}/\"\n");
    slipway.write("config.toml", &format!("[pool]\npoll = \"1h\"\n{hooks}"));
    let mut create = vec!["platform", "create", "forge", "--kind", kind.name, "--token-stdin", "--new-webhook-secret"];
    let url = forge.url();
    // Its repositories lie on another port.
    create.extend(["--url", &url, "--host", "127.0.0.1"]);
    if matches!(kind.name, "gitea" | "gitee" | "codeup") {
        create.extend(["--username", kind.user]);
    }
    if kind.name == "codeup" {
        create.extend(["--organization", "acme"]);
    }
    let made = run_with_input(&mut slipway.command(&create), &format!("{TOKEN}\n")).ok();
    let secret = made.stdout.trim();
    assert!(made.stderr.contains(&format!("http://{address}/forge")), "{made}");
    let checked = slipway.json(&["platform", "check", "forge"]);
    assert_eq!(checked["identity"]["login"], json!("kim"), "{checked}");

    slipway.run(&["namespace", "create", "acme"]).ok();
    let clone = git.forge_url();
    let bind = ["repo", "create", "acme/api", "--source", &clone, "--platform", "forge", "--register-webhook"];
    let bound = slipway.run(&bind).ok();
    assert!(bound.stderr.contains(&format!("made the webhook to http://{address}/forge")), "{bound}");
    let (asked, body) = forge.asked().pop().unwrap();
    assert!(asked.starts_with("POST "), "{asked}");
    let (to, with) = (kind.made)(&body);
    assert_eq!((&to, &with), (&json!(format!("http://{address}/forge")), &json!(secret)), "{body}");

    let seen = slipway.home().join("watch/acme/api.toml");
    slipway.wait_until("the source was seen", || {
        fs::read_to_string(&seen).is_ok_and(|text| text.contains("refs/heads/main"))
    });
    let before = source.head();
    let after = source.write("file", "2").commit("news");
    let body = (kind.push)(&clone, &before, &after).to_string();
    let headers = (kind.headers)(secret, &body);
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    assert_eq!(
        send(&format!("http://{address}"), "forge", &headers, &body),
        (202, "refs/heads/main of acme/api\n".into())
    );
    slipway.wait_until("the push is built", || slipway.json(&["build", "list"])[0]["state"] == json!("succeeded"));
    let labels = &images(&slipway).config("latest", "amd64")["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.revision"], json!(after));
    assert_eq!(slipway.json(&["push", "list"])[0]["origin"], json!("webhook"));
    // Gitee has none.
    if kind.name != "gitee" {
        let told = || forge.statuses(&after).last().is_some_and(|state| state.starts_with("success"));
        slipway.wait_until("the commit's status is told", told);
    }
    let log = fs::read_to_string(slipway.home().join("pool.log")).unwrap();
    assert!(!log.contains(TOKEN) && !log.contains(secret));
}

#[test]
fn github_from_the_token_to_the_image() {
    story(&Kind {
        name: "github",
        identity: ("/api/v3/user", json!({ "login": "kim", "name": "Kim" })),
        user: "x-access-token",
        no_webhooks: json!([]),
        made: |body| (body["config"]["url"].clone(), body["config"]["secret"].clone()),
        push: like_github,
        headers: |secret, body| vec!["X-GitHub-Event: push".into(), github_signature(secret, body)],
    });
}

#[test]
fn gitlab_from_the_token_to_the_image() {
    story(&Kind {
        name: "gitlab",
        identity: ("/api/v4/user", json!({ "username": "kim", "name": "Kim" })),
        user: "oauth2",
        no_webhooks: json!([]),
        made: |body| {
            assert_eq!((&body["push_events"], &body["tag_push_events"]), (&json!(true), &json!(true)));
            (body["url"].clone(), body["token"].clone())
        },
        push: like_gitlab,
        headers: |secret, _| vec!["X-Gitlab-Event: Push Hook".into(), format!("X-Gitlab-Token: {secret}")],
    });
}

#[test]
fn gitea_from_the_token_to_the_image() {
    story(&Kind {
        name: "gitea",
        identity: ("/api/v1/user", json!({ "login": "kim", "full_name": "Kim" })),
        user: "kim",
        no_webhooks: json!([]),
        made: |body| (body["config"]["url"].clone(), body["config"]["secret"].clone()),
        push: like_github,
        headers: |secret, body| {
            vec!["X-Gitea-Event: push".into(), format!("X-Gitea-Signature: {}", hex::encode(hmac(secret, body)))]
        },
    });
}

#[test]
fn bitbucket_from_the_token_to_the_image() {
    story(&Kind {
        name: "bitbucket",
        identity: ("/2.0/user", json!({ "username": "kim", "display_name": "Kim" })),
        user: "x-token-auth",
        no_webhooks: json!({ "values": [] }),
        made: |body| (body["url"].clone(), body["secret"].clone()),
        push: |url, before, after| {
            let at = |commit: &str| json!({ "type": "branch", "name": "main", "target": { "hash": commit } });
            json!({ "push": { "changes": [{ "old": at(before), "new": at(after) }] },
                "repository": { "full_name": "acme/api", "links": { "html": { "href": url } } } })
        },
        headers: |secret, body| {
            let signature = hex::encode(hmac(secret, body));
            vec!["X-Event-Key: repo:push".into(), format!("X-Hub-Signature: sha256={signature}")]
        },
    });
}

#[test]
fn gitee_from_the_token_to_the_image() {
    story(&Kind {
        name: "gitee",
        identity: ("/api/v5/user", json!({ "login": "kim", "name": "Kim" })),
        user: "kim",
        no_webhooks: json!([]),
        made: |body| {
            assert_eq!(body["encryption_type"], json!(1), "the secret itself is not sent");
            (body["url"].clone(), body["password"].clone())
        },
        push: like_gitlab,
        headers: |secret, _| {
            let now = chrono::Utc::now().timestamp_millis();
            let sign = BASE64_STANDARD.encode(hmac(secret, &format!("{now}\n{secret}")));
            let event = "X-Gitee-Event: Push Hook".to_owned();
            vec![event, format!("X-Gitee-Timestamp: {now}"), format!("X-Gitee-Token: {sign}")]
        },
    });
}

#[test]
fn codeup_from_the_token_to_the_image() {
    story(&Kind {
        name: "codeup",
        identity: ("/oapi/v1/platform/user", json!({ "username": "kim", "name": "Kim" })),
        user: "kim",
        no_webhooks: json!([]),
        made: |body| (body["url"].clone(), body["token"].clone()),
        push: like_gitlab,
        headers: |secret, _| vec!["Codeup-Event: Push Hook".into(), format!("X-Codeup-Token: {secret}")],
    });
}

/// A home with a platform `forge` of GitHub's kind at a forge.
fn with_github(forge: &Forge) -> Slipway {
    let slipway = Slipway::new();
    let url = forge.url();
    let create =
        ["platform", "create", "forge", "--kind", "github", "--token-stdin", "--url", &url, "--host", "127.0.0.1"];
    run_with_input(&mut slipway.command(&create), TOKEN).ok();
    slipway
}

#[test]
fn a_token_is_checked_and_what_it_sees_is_listed() {
    let forge = Forge::start();
    let slipway = with_github(&forge);
    let refused = ResponseTemplate::new(401).set_body_json(json!({ "message": "Bad credentials" }));
    {
        let _wrong = forge.mount_for_a_while(Mock::given(path("/api/v3/user")).respond_with(refused));
        let unknown = run(&mut slipway.command(&["platform", "check", "forge"]));
        assert_eq!(unknown.code(), Some(1), "{unknown}");
        assert!(unknown.stderr.contains("does not know the token (Bad credentials)"), "{unknown}");
    }
    let user = ResponseTemplate::new(200)
        .set_body_json(json!({ "login": "kim" }))
        .insert_header("x-oauth-scopes", "repo:status")
        .insert_header("github-authentication-token-expiration", "2020-01-31 12:00:00 UTC");
    forge.mount(Mock::given(path("/api/v3/user")).respond_with(user));
    let checked = slipway.json(&["platform", "check", "forge"]);
    assert_eq!(checked["identity"]["expires_at"], json!("2020-01-31T12:00:00Z"));
    assert_eq!(checked["identity"]["lacks"][0], json!({ "right": "repo", "purpose": "to read private repositories" }));
    let text = slipway.run(&["platform", "check", "forge"]).ok().stdout;
    assert!(text.contains("it has ended") && text.contains("admin:repo_hook to register webhooks"), "{text}");
    let repository = |name: &str| {
        json!({ "full_name": name, "clone_url": format!("https://git.example.com/{name}.git"), "private": true,
            "default_branch": "main" })
    };
    let second = ResponseTemplate::new(200).set_body_json(json!([repository("acme/web")]));
    let next = wiremock::matchers::query_param("page", "2");
    forge.mount(Mock::given(path("/api/v3/user/repos")).and(next).respond_with(second));
    let first = ResponseTemplate::new(200)
        .set_body_json(json!([repository("acme/api"), repository("other/tool")]))
        .insert_header("link", "</api/v3/user/repos?page=2>; rel=\"next\"");
    forge.mount(Mock::given(path("/api/v3/user/repos")).respond_with(first));
    let listed = slipway.json(&["platform", "repos", "forge", "--filter", "ACME"]);
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme/api", "acme/web"]);
    assert_eq!(slipway.json(&["platform", "repos", "forge", "--limit", "1"]).as_array().unwrap().len(), 1);
    let text = slipway.run(&["platform", "repos", "forge", "--filter", "web"]).ok().stdout;
    assert!(text.contains("https://git.example.com/acme/web.git"), "{text}");
}

#[test]
fn somebody_logs_in_by_entering_a_code() {
    let forge = Forge::start();
    let slipway = Slipway::new();
    let url = forge.url();
    let create = ["platform", "create", "forge", "--kind", "github", "--url", &url];
    slipway.run(&create).ok();
    let none = run(&mut slipway.command(&["platform", "login", "forge"]));
    assert_eq!(none.code(), Some(2), "{none}");
    slipway.run(&["platform", "edit", "forge", "--oauth-client-id", "Iv1.slipway"]).ok();
    let address = format!("{url}/login/device");
    forge.answer(
        "/login/device/code",
        json!({ "device_code": "d", "user_code": "WDJB-MJHT", "verification_uri": address, "expires_in": 900,
            "interval": 1 }),
    );
    let token = "/login/oauth/access_token";
    let pending = ResponseTemplate::new(200).set_body_json(json!({ "error": "authorization_pending" }));
    forge.mount(Mock::given(path(token)).respond_with(pending).up_to_n_times(1));
    forge.answer(token, json!({ "access_token": "gho_fresh", "token_type": "bearer", "scope": "repo" }));
    let user =
        ResponseTemplate::new(200).set_body_json(json!({ "login": "kim" })).insert_header("x-oauth-scopes", "repo");
    let knows = header("authorization", "Bearer gho_fresh");
    forge.mount(Mock::given(path("/api/v3/user")).and(knows).respond_with(user));
    let login = slipway.run(&["platform", "login", "forge", "--output", "json"]).ok();
    assert!(login.stderr.contains(&format!("open {address} and enter the code WDJB-MJHT")), "{login}");
    assert_eq!(login.json(), json!({ "login": "kim", "scopes": ["repo"], "lacks": [] }));
    assert_eq!(fs::read_to_string(slipway.home().join("secrets/platform-forge")).unwrap(), "gho_fresh");
    assert!(!login.stdout.contains("gho_fresh") && !login.stderr.contains("gho_fresh"));
}

#[test]
fn github_is_asked_whether_anything_was_pushed_before_the_refs_are_listed() {
    let source = GitRepo::new();
    source.write("Dockerfile", "FROM scratch\nCOPY file /\n").write("file", "1").commit("An image");
    let git = GitHttp::serve_with_password(&source, "x-access-token", TOKEN);
    let forge = Forge::start();
    let at = "/api/v3/repos/acme/api";
    let state = |etag: &str| ResponseTemplate::new(200).set_body_json(json!({})).insert_header("etag", etag);
    let unchanged =
        Mock::given(path(at)).and(header("if-none-match", "\"1\"")).respond_with(ResponseTemplate::new(304));
    let unchanged = forge.mount_for_a_while(unchanged);
    let first = forge.mount_for_a_while(Mock::given(path(at)).respond_with(state("\"1\"")));
    let slipway = with_github(&forge);
    slipway.write("config.toml", "[pool]\npoll = \"1s\"\n");
    slipway.run(&["namespace", "create", "acme"]).ok();
    slipway.run(&["repo", "create", "acme/api", "--source", &git.forge_url(), "--platform", "forge"]).ok();
    let asked = || forge.asked().iter().filter(|(what, _)| what.ends_with(at)).count();
    slipway.wait_until("the refs were listed and nothing changed", || asked() >= 2);
    let (before, commit) = (asked(), source.write("file", "2").commit("news"));
    slipway.wait_until("GitHub says that nothing changed", || asked() >= before + 3);
    assert_eq!(slipway.json(&["push", "list"]), json!([]), "the refs themselves are not listed");
    drop((unchanged, first));
    forge.mount(Mock::given(path(at)).respond_with(state("\"2\"")));
    slipway.wait_until("the push is seen", || slipway.json(&["push", "list"])[0]["commit"] == json!(commit));
}

#[test]
fn what_a_webhook_needs_is_said_before_anything_is_saved() {
    let forge = Forge::start();
    let slipway = with_github(&forge);
    slipway.run(&["namespace", "create", "acme"]).ok();
    let source = "https://git.example.com/acme/api.git";
    let bind = ["repo", "create", "acme/api", "--no-rule", "--register-webhook", "--source", source];
    let refused = |args: &[&str], text: &str| {
        let refused = slipway.run(args);
        assert!(refused.code() == Some(2) && refused.stderr.contains(text), "{refused}");
    };
    refused(&bind, "--platform NAME");
    let bind = [&bind[..], &["--platform", "forge"]].concat();
    refused(&bind, "--new-webhook-secret");
    slipway.run(&["platform", "edit", "forge", "--webhook-secret-env", "HOOK"]).ok();
    refused(&bind, "webhook.url");
    slipway.write("config.toml", "[webhook]\nurl = \"build.example.com\"\n");
    refused(&bind, "must be an http or https address");
    assert_eq!(slipway.json(&["repo", "list"]), json!([]));
}

#[test]
fn a_token_is_not_sent_over_plain_http_to_another_machine_unasked() {
    let forge = Forge::start();
    let slipway = with_github(&forge);
    slipway.run(&["namespace", "create", "acme"]).ok();
    let source = "http://git.slipway.invalid/acme/api.git";
    slipway.run(&["platform", "edit", "forge", "--host", "git.slipway.invalid"]).ok();
    slipway.run(&["repo", "create", "acme/api", "--no-rule", "--source", source, "--platform", "forge"]).ok();
    forge.answer("/api/v3/user", json!({ "login": "kim" }));
    let said = |text: &str| {
        let checked = run(&mut slipway.command(&["platform", "check", "forge", "--output", "json"]));
        assert_eq!(checked.code(), Some(5), "{checked}");
        let error = checked.json()["sources"][0]["error"].as_str().unwrap().to_owned();
        assert!(error.contains(text), "{error}");
    };
    said("is not sent to http://git.slipway.invalid/acme/api.git");
    slipway.run(&["platform", "edit", "forge", "--plain-http"]).ok();
    said("cannot read the source");
    slipway.run(&["platform", "edit", "forge", "--plain-http", "false"]).ok();
    said("is not sent to");
}
