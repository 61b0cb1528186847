//! Publishing: images and caches in real registries, over plain http and over TLS with a password.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::fixture::{MAIN, START, all_cached, build, files_below, home, home_of, local, run_with_input, texts};
use crate::support::git_repo::GitRepo;
use crate::support::processes::container_running;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::registry_front::{Refusal, RegistryFront};
use crate::support::slipway::Slipway;

/// Makes `acme` publish to a registry.
fn publish_to(slipway: &Slipway, host: &str) {
    slipway.write("namespaces/acme.toml", &format!("registry = \"{host}\"\n"));
}

/// A home that builds from `repo` and publishes to a registry that speaks plain http.
fn home_on_plain(repo: &GitRepo, registry: &Registry) -> Slipway {
    let slipway = home_of(repo);
    publish_to(&slipway, registry.host());
    slipway.write(&format!("registries/{}.toml", registry.host()), "plain_http = true\n");
    slipway
}

/// A home that builds from `repo` and publishes to a registry with TLS and a password, made known by the command line.
fn home_on_secure(repo: &GitRepo, registry: &Registry, password: &str) -> Slipway {
    let slipway = home_of(repo);
    publish_to(&slipway, registry.host());
    let ca = registry.ca_file().display().to_string();
    let create = ["registry", "create", registry.host(), "--ca", &ca, "--username", USER, "--password-stdin"];
    run_with_input(&mut slipway.command(&create), &format!("{password}\n")).ok();
    slipway
}

#[test]
fn an_image_is_pushed_to_a_registry_over_plain_http() {
    let repo = GitRepo::with_dockerfile(&["RUN echo hello > /greeting"]);
    let registry = Registry::plain();
    let slipway = home_on_plain(&repo, &registry);
    let built = build(&slipway);
    let remote = registry.repository("acme/api");
    assert_eq!(built["images"][0]["name"], format!("{}/acme/api:latest", registry.host()));
    assert_eq!(built["images"][0]["digest"], remote.digest("latest"));
    let labels = &remote.config("latest", "amd64")["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.revision"], repo.git(&["rev-parse", "HEAD"]));
    assert!(!slipway.home().join("images/acme/api").exists());

    // As cosign stores a signature: it is under its image, and no tag of its own.
    let signature = format!("{}.sig", remote.digest("latest").replacen(':', "-", 1));
    remote.copy("latest", &remote, &signature);
    let listed = slipway.json(&["tag", "list", "acme/api"]);
    let row = &listed[0];
    assert_eq!((listed.as_array().unwrap().len(), &row["tag"]), (1, &json!("latest")), "{listed:#}");
    assert_eq!(row["attached"][0], json!({"tag": signature, "digest": remote.digest("latest"), "kind": "signature"}));
    assert!(slipway.run(&["tag", "list", "acme/api"]).ok().stdout.contains("+signature"));
    let shown = slipway.json(&["tag", "show", "acme/api:latest"]);
    assert_eq!(shown["attestations"][1]["reference"], signature, "{shown:#}");
}

#[test]
fn an_image_is_pushed_over_tls_with_a_password_and_its_tags_are_listed_shown_and_deleted() {
    let repo = GitRepo::with_dockerfile(&["RUN echo hello > /greeting"]);
    let registry = Registry::secure();
    let slipway = home_on_secure(&repo, &registry, PASSWORD);
    let ran = slipway.run(&START).ok();
    assert!(!ran.stderr.contains("400 Bad Request"), "the builder knew the registry from the beginning: {ran}");
    let built = ran.json();
    let remote = registry.repository("acme/api");
    let digest = remote.digest("latest");
    assert_eq!(built["images"][0]["digest"], digest);

    let listed = slipway.json(&["tag", "list", "acme/api"]);
    let tags: Vec<&str> = listed.as_array().unwrap().iter().map(|tag| tag["tag"].as_str().unwrap()).collect();
    assert_eq!(tags, ["latest"], "a cache is no image: {listed:#}");
    let shown = slipway.json(&["tag", "show", "acme/api:latest"]);
    assert_eq!((&shown["digest"], &shown["commit"], &shown["build"]), (&json!(digest), &built["commit"], &built["id"]));
    assert_eq!(texts(&shown["platforms"]), texts(&built["images"][0]["platforms"]));
    let part = &shown["parts"][0];
    assert!(!part["layers"].as_array().unwrap().is_empty() && part["size"] == shown["size"], "{shown:#}");
    assert_eq!(shown["labels"]["org.opencontainers.image.revision"], built["commit"]);
    let provenance = &shown["attestations"][0];
    assert!(provenance["kind"].as_str().unwrap().starts_with("https://slsa.dev/provenance"), "{shown:#}");
    assert_eq!(provenance["about"], part["digest"]);

    slipway.run(&["tag", "delete", "acme/api:latest"]).ok();
    assert!(!remote.tags().contains(&"latest".to_owned()));
    for verb in ["show", "delete"] {
        let gone = slipway.run(&["tag", verb, "acme/api:latest"]);
        assert_eq!(gone.code(), Some(3), "{gone}");
        assert!(gone.stderr.contains("latest"), "{gone}");
    }
}

#[test]
fn local_tags_are_listed_shown_and_deleted() {
    let repo = GitRepo::with_dockerfile(&[]);
    let slipway = home(&local(&repo), "", &MAIN.replace("\"latest\" }", "\"latest\" }, { name = \"v1\" }"));
    let built = build(&slipway);
    let shown = slipway.json(&["tag", "show", "acme/api:v1"]);
    assert_eq!((&shown["digest"], &shown["ref"]), (&built["images"][0]["digest"], &json!("refs/heads/main")));
    slipway.run(&["tag", "delete", "acme/api:v1"]).ok();
    assert_eq!(crate::fixture::images(&slipway).tags(), ["latest"]);
    assert_eq!(slipway.run(&["tag", "show", "acme/api:v1"]).code(), Some(3));
}

#[test]
fn an_image_built_elsewhere_is_all_cached_where_the_registry_has_its_cache() {
    let repo = GitRepo::with_dockerfile(&["RUN echo hello > /greeting", "RUN echo more >> /greeting"]);
    let registry = Registry::secure();
    let slipway = home_on_secure(&repo, &registry, PASSWORD);
    build(&slipway);
    // Should the registry fail it, it is tried again by itself, and then has a cache: the first attempt has none.
    assert!(!all_cached(&slipway.json(&["build", "show", "1"])));
    let second = build(&home_on_secure(&repo, &registry, PASSWORD));
    assert!(all_cached(&second), "{second:#}");
}

#[test]
fn a_wrong_password_is_told_with_the_registrys_name_and_not_tried_again() {
    let repo = GitRepo::with_dockerfile(&[]);
    let registry = Registry::secure();
    let slipway = home_on_secure(&repo, &registry, "another password");
    let ran = slipway.run(&START);
    assert_eq!(ran.code(), Some(1), "{ran}");
    let failed = ran.json();
    assert_eq!((&failed["state"], &failed["failure"]["kind"]), (&json!("failed"), &json!("credentials")), "{failed:#}");
    assert!(failed["error"].as_str().unwrap().contains(registry.host()), "{failed:#}");
    assert_eq!(failed["retried_as"], Value::Null);
}

#[test]
fn a_registry_with_an_unknown_certificate_is_named_with_the_reason() {
    let repo = GitRepo::with_dockerfile(&[]);
    let registry = Registry::secure();
    let slipway = home_of(&repo);
    slipway.write("config.toml", "[pool]\nretries = 0\n");
    slipway.write(&format!("registries/{}.toml", registry.host()), "plain_http = false\n");
    publish_to(&slipway, registry.host());
    let ran = slipway.run(&START);
    assert_eq!(ran.code(), Some(1), "{ran}");
    let error = ran.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains(registry.host()) && error.contains("certificate"), "{error}");
}

#[test]
fn a_registry_that_is_down_is_a_failure_of_the_network_and_retried_by_itself() {
    let repo = GitRepo::with_dockerfile(&[]);
    // A port that was free a moment ago, and that nobody serves.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let slipway = home_of(&repo);
    publish_to(&slipway, &host);
    slipway.write(&format!("registries/{host}.toml"), "plain_http = true\n");
    slipway.write("config.toml", "[pool]\nretry_delay = \"1s\"\nretries = 1\n");
    let ran = slipway.run(&START);
    assert_eq!(ran.code(), Some(1), "{ran}");
    let build = ran.json();
    assert_eq!(
        (&build["id"], &build["attempt"], &build["most_attempts"]),
        (&json!(1), &json!(2), &json!(2)),
        "{build:#}"
    );
    assert_eq!((&build["state"], &build["failure"]["kind"]), (&json!("failed"), &json!("network")), "{build:#}");
    let attempts = build["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{build:#}");
    for attempt in attempts {
        assert_eq!(attempt["state"], "failed", "{build:#}");
        assert!(attempt["reason"].as_str().unwrap().contains(&host), "{build:#}");
    }
}

#[test]
fn a_tag_that_a_build_takes_from_another_branch_is_told() {
    let repo = GitRepo::with_dockerfile(&[]);
    let rule = "[[rule]]\nname = \"all\"\nbranch = { regex = 'feat/(?<b>.*)' }\nversions = [{ name = \"${b}\" }]\n";
    let slipway = home(&local(&repo), "", rule);
    let built = |branch: &str, note: &str| {
        repo.git(&["branch", branch]);
        repo.write("note", note).commit(note);
        let reference = format!("refs/heads/{branch}");
        let replay = ["build", "replay", "acme/api", "--rule", "all", "--ref", &reference, "--wait"];
        slipway.json(&replay)["warnings"].to_string()
    };
    let first = built("feat/x-需求", "1");
    assert!(!first.contains("named the image"), "{first}");
    let second = built("feat/x-登录", "2");
    assert!(second.contains("tag x--- named the image of refs/heads/feat/x-需求 (build #1) until now"), "{second}");
}

/// A home that publishes to a registry behind a front, and retries at once what is worth a retry.
fn home_before(front: &RegistryFront, repo: &GitRepo) -> Slipway {
    let slipway = home_of(repo);
    publish_to(&slipway, front.host());
    slipway.write(&format!("registries/{}.toml", front.host()), "plain_http = true\n");
    slipway.write("config.toml", "[pool]\nretry_delay = \"1s\"\nretries = 2\n");
    slipway
}

#[test]
fn a_registry_that_refuses_for_good_is_asked_once_and_one_that_asks_for_a_pause_gets_it() {
    let repo = GitRepo::with_dockerfile(&[]);
    let registry = Registry::plain();
    let tag = |request: &str| request == "PUT /v2/acme/api/manifests/latest";
    let refuse =
        |status, headers: &str, body: &str| Some(Refusal { status, headers: headers.into(), body: body.into() });

    // A registry's own immutable tag.
    let immutable = r#"{"errors":[{"code":"TAG_INVALID","message":"the tag is immutable"}]}"#;
    let front = RegistryFront::before(
        &registry,
        move |request, _| {
            if tag(request) { refuse(412, "", immutable) } else { None }
        },
    );
    let slipway = home_before(&front, &repo);
    let ran = slipway.run(&START);
    let refused = ran.json();
    assert_eq!((ran.code(), &refused["state"]), (Some(4), &json!("refused")), "{refused:#}");
    assert!(refused["reason"].as_str().unwrap().contains("the tag is immutable"), "{refused:#}");
    assert_eq!((front.asked("PUT /v2/acme/api/manifests/latest"), &refused["retried_as"]), (1, &Value::Null));

    // One that nothing can be pushed to.
    let front = RegistryFront::before(&registry, move |request, _| {
        if request.starts_with("POST ") || request.starts_with("PUT ") { refuse(405, "", "read only") } else { None }
    });
    let slipway = home_before(&front, &repo);
    let ran = slipway.run(&START);
    let failed = ran.json();
    assert_eq!((ran.code(), &failed["failure"]["kind"]), (Some(1), &json!("registry_refused")), "{failed:#}");
    assert_eq!((&failed["id"], &failed["retried_as"]), (&json!(1), &Value::Null), "{failed:#}");

    // One that asks for a pause, more often than what just fails is repeated.
    let front = RegistryFront::before(&registry, move |request, before| {
        if tag(request) && before < 4 { refuse(429, "Retry-After: 1\r\n", "slow down") } else { None }
    });
    let built = build(&home_before(&front, &repo));
    assert_eq!((&built["id"], front.asked("PUT /v2/acme/api/manifests/latest")), (&json!(1), 5), "{built:#}");
}

#[test]
fn a_build_that_waits_for_a_registry_can_be_cancelled() {
    let repo = GitRepo::with_dockerfile(&[]);
    let registry = Registry::plain();
    let front = RegistryFront::before(&registry, |request, _| {
        let busy = Refusal { status: 429, headers: "Retry-After: 200\r\n".into(), body: "slow down".into() };
        (request == "PUT /v2/acme/api/manifests/latest").then_some(busy)
    });
    let slipway = home_before(&front, &repo);
    let building = slipway.spawn(&START);
    slipway.wait_until("the registry asks for a pause", || front.asked("PUT /v2/acme/api/manifests/latest") > 0);
    slipway.run(&["build", "cancel", "1"]).ok();
    assert_eq!(building.finish().json()["state"], "cancelled");
}

#[test]
fn a_password_is_only_in_its_secret_file_and_in_no_command_line() {
    let repo = GitRepo::with_dockerfile(&["RUN echo waiting; sleep 0.771"]);
    let registry = Registry::secure();
    let slipway = home_on_secure(&repo, &registry, PASSWORD);
    let building = slipway.spawn(&["build", "start", "acme/api", "--wait"]);
    slipway.wait_until("the step runs", || container_running("sleep 0.771"));
    let encoded = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let is_ours = !line.contains("skopeo") && !line.contains("htpasswd");
        assert!(!(is_ours && (line.contains(PASSWORD) || line.contains(&encoded))), "{line}");
    }
    building.finish().ok();

    let holding: Vec<_> = files_below(slipway.home())
        .into_iter()
        .filter(|path| {
            let bytes = fs::read(path).unwrap_or_default();
            [PASSWORD, &encoded]
                .iter()
                .any(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
        })
        .collect();
    assert_eq!(holding.len(), 1, "{holding:?}");
    assert!(holding[0].starts_with(slipway.home().join("secrets")), "{holding:?}");
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&holding[0]), mode(&slipway.home().join("secrets"))), (0o600, 0o700));
}

#[test]
fn a_registry_says_what_builds_may_do_there_before_any_is_started() {
    let registry = Registry::secure();
    let repo = GitRepo::with_dockerfile(&[]);
    let slipway = home_on_secure(&repo, &registry, PASSWORD);
    let host = registry.host();
    let access = slipway.json(&["registry", "check", host]);
    assert_eq!((&access["user"], &access["sign_in"]), (&json!(USER), &json!("granted")), "{access:#}");
    let repository = &access["repositories"][0];
    assert_eq!(repository["repository"], "acme/api");
    assert_eq!((&repository["pull"], &repository["push"]), (&json!("granted"), &json!("granted")), "{access:#}");
    assert_eq!((&repository["anybody"], &repository["visibility"]), (&json!(false), &json!("private")), "{access:#}");
    slipway.run(&["repo", "edit", "acme/api", "--visibility", "public"]).ok();
    let shown = slipway.run(&["registry", "check", host]).ok().stdout;
    assert!(shown.contains("nobody can pull it without a credential"), "{shown}");
    let shown = slipway.run(&["registry", "check", &format!("{host}/other/thing")]).ok().stdout;
    assert!(shown.contains("other/thing") && shown.contains(USER), "{shown}");

    let edit = ["registry", "edit", host, "--password-stdin"];
    run_with_input(&mut slipway.command(&edit), "not the password\n").ok();
    slipway.wait_until("the wrong password is told", || {
        let checked = slipway.run(&["registry", "check", host]);
        checked.code() == Some(4) && checked.stdout.contains(USER)
    });
    let host = host.to_owned();
    drop(registry);
    let gone = slipway.run(&["registry", "check", &host]);
    assert!(!gone.status.success() && gone.stderr.contains(&host), "{gone}");
}
