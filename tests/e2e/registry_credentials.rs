//! Credentials of registries by destination, and registries that lie to the pool.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fixture::{MAIN, START, build, home_of, local, run_with_input, write_repository};
use crate::support::background::run;
use crate::support::git_repo::GitRepo;
use crate::support::path;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::skopeo::Images;
use crate::support::skopeo::tests::layout_of_two_platforms;
use crate::support::slipway::Slipway;

/// A private image `HOST/base/private:v1`, and a repository that is built from it.
fn private_base(registry: &Registry) -> GitRepo {
    let layout = layout_of_two_platforms("made");
    Images::layout(layout.path()).copy("made", &registry.repository("base/private"), "v1");
    let repo = GitRepo::new();
    repo.write("Dockerfile", format!("FROM {}/base/private:v1\n", registry.host())).commit("first");
    repo
}

fn create_registry(slipway: &Slipway, registry: &Registry, more: &[&str]) {
    let ca = registry.ca_file().display().to_string();
    let create = ["registry", "create", registry.host(), "--ca", &ca, "--username", USER, "--password-stdin"];
    run_with_input(&mut slipway.command(&[&create, more].concat()), &format!("{PASSWORD}\n")).ok();
}

/// Builds `acme/api`, which must fail; the finished build.
#[track_caller]
fn fails(slipway: &Slipway) -> Value {
    let ran = slipway.run(&START);
    assert_eq!(ran.code(), Some(1), "{ran}");
    ran.json()
}

#[test]
fn a_build_pulls_with_the_credentials_that_its_namespace_lists_and_no_others() {
    let registry = Registry::secure();
    let repo = private_base(&registry);
    let slipway = home_of(&repo);
    create_registry(&slipway, &registry, &[]);
    let failed = fails(&slipway);
    assert_eq!(failed["failure"]["kind"], "credentials", "{failed:#}");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("--pull-from {}", registry.host())), "{reason}");
    assert!(!slipway.home().join("builds/1/docker").exists());

    slipway.write("namespaces/acme.toml", &format!("pull_from = [\"{}/base\"]\n", registry.host()));
    slipway.wait_until("the namespace's list is in force", || slipway.run(&START).status.success());

    slipway.run(&["registry", "edit", registry.host(), "--namespaces", "other,another"]).ok();
    let shown = slipway.json(&["registry", "show", registry.host()]);
    assert_eq!(shown["namespaces"], json!(["other", "another"]));
    let failed = fails(&slipway);
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("is not for the namespace acme") && reason.contains("other, another"), "{reason}");
    slipway.run(&["registry", "edit", registry.host(), "--namespaces", ""]).ok();
    build(&slipway);
}

#[test]
fn a_namespace_cannot_publish_with_a_credential_that_is_for_others() {
    let registry = Registry::secure();
    let repo = GitRepo::with_dockerfile(&[]);
    let slipway = home_of(&repo);
    create_registry(&slipway, &registry, &["--namespaces", "other"]);
    slipway.write("namespaces/acme.toml", &format!("registry = \"{}\"\n", registry.host()));
    let failed = fails(&slipway);
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("is not for the namespace acme"), "{error}");
    assert!(!registry.log().contains("PUT /v2/acme"), "{}", registry.log());
    let listed = slipway.run(&["tag", "list", "acme/api"]);
    assert!(listed.stderr.contains("is not for the namespace acme"), "{listed}");
}

/// A credential helper that notes whom it was asked for, and knows the registry's password.
fn spy(directory: &Path) -> String {
    let program = directory.join("docker-credential-spy");
    let asked = directory.join("asked");
    let answer = format!(r#"{{"Username":"{USER}","Secret":"{PASSWORD}"}}"#);
    fs::write(&program, format!("#!/bin/sh\nread -r host\necho \"$host\" >>{}\necho '{answer}'\n", asked.display()))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", directory.display(), path().to_string_lossy())
}

#[test]
fn helpers_are_asked_for_the_registries_that_a_build_may_use_alone() {
    let registry = Registry::secure();
    let repo = private_base(&registry);
    let slipway = home_of(&repo);
    let bin = tempfile::tempdir().unwrap();
    let with_spy = spy(bin.path());
    let ca = registry.ca_file().display().to_string();
    slipway.write(&format!("registries/{}.toml", registry.host()), &format!("ca = {ca:?}\n"));
    let docker = json!({
        "credsStore": "broken",
        "credHelpers": { registry.host(): "spy", "elsewhere.example": "spy" },
        "auths": { "unrelated.example": { "auth": "eDp5" } },
    });
    slipway.write(".docker/config.json", &docker.to_string());
    slipway.write("namespaces/acme.toml", &format!("pull_from = [\"{}\", \"broken.example\"]\n", registry.host()));
    run(slipway.command(&["pool", "start"]).env("PATH", with_spy)).ok();
    let built = build(&slipway);
    let asked = fs::read_to_string(bin.path().join("asked")).unwrap();
    assert!(!asked.is_empty() && asked.lines().all(|host| host == registry.host()), "{asked}");
    // A helper that fails for a host that the build does not need is a warning.
    let warnings = built["warnings"].to_string();
    assert!(warnings.contains("docker-credential-broken") && warnings.contains("broken.example"), "{built:#}");

    // A build that needs no registry asks nobody.
    fs::remove_file(bin.path().join("asked")).unwrap();
    slipway.write("namespaces/acme.toml", "summary = \"nothing\"\n");
    let plain = GitRepo::with_dockerfile(&[]);
    write_repository(&slipway, &local(&plain), "", MAIN);
    slipway.wait_until("the other source is built", || build(&slipway)["commit"] == json!(plain.head()));
    fs::remove_file(bin.path().join("asked")).ok();
    build(&slipway);
    assert!(!bin.path().join("asked").exists());
}

#[test]
fn a_registry_whose_secret_is_missing_or_slow_holds_up_no_build_that_does_not_use_it() {
    let repo = GitRepo::with_dockerfile(&[]);
    let slipway = home_of(&repo);
    let asked = slipway.home().join("asked");
    slipway.write("registries/missing.example.toml", "username = \"ci\"\npassword = { file = \"not-there\" }\n");
    slipway.write(
        "registries/slow.example.toml",
        &format!("username = \"ci\"\npassword = {{ command = \"touch {} && sleep 1000\" }}\n", asked.display()),
    );
    let to_this_host = build(&slipway);
    assert_eq!((&to_this_host["state"], &to_this_host["warnings"]), (&json!("succeeded"), &json!([])));
    let registry = Registry::plain();
    slipway.write("namespaces/acme.toml", &format!("registry = \"{}\"\n", registry.host()));
    slipway
        .wait_until("it is pushed to the registry", || build(&slipway)["images"].to_string().contains(registry.host()));
    assert!(!asked.exists());
    // One that the namespace lists, but no build may get, is a warning.
    slipway.write(
        "namespaces/acme.toml",
        &format!("registry = \"{}\"\npull_from = [\"missing.example\"]\n", registry.host()),
    );
    slipway.wait_until("it is told", || build(&slipway)["warnings"].to_string().contains("not-there"));
}

/// A registry that never ends its manifests, and says no digest.
fn endless_registry() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let counted = counted.clone();
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                let is_get = head.starts_with(b"GET /v2/acme");
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                let chunk = [b' '; 64 * 1024];
                while is_get && stream.write_all(&chunk).is_ok() {
                    counted.fetch_add(chunk.len(), Ordering::SeqCst);
                }
            });
        }
    });
    (host, sent)
}

#[test]
fn a_registry_with_endless_answers_costs_the_pool_nothing_but_the_build() {
    let (host, sent) = endless_registry();
    let repo = GitRepo::with_dockerfile(&[]);
    let slipway = home_of(&repo);
    write_repository(&slipway, &local(&repo), "immutable = true\n", &MAIN.replace("latest", "v1"));
    slipway.write("namespaces/acme.toml", &format!("registry = \"{host}\"\n"));
    let before = slipway.json(&["pool", "start"])["pid"].clone();
    let refused = slipway.run(&["build", "start", "acme/api"]);
    assert!(!refused.status.success() && refused.stderr.contains("more than 4194304 bytes"), "{refused}");
    assert!(sent.load(Ordering::SeqCst) < 64 * 1024 * 1024, "{sent:?}");
    let after = slipway.json(&["pool", "status"]);
    assert_eq!(after["pid"], before, "{after:#}");
    let status = fs::read_to_string(format!("/proc/{before}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    let kilobytes: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 150 * 1024, "{peak}");
    for question in [["tag", "list", "acme/api"], ["tag", "show", "acme/api:v1"]] {
        let ran = slipway.run(&question);
        assert!(!ran.status.success() || ran.stdout.is_empty(), "{ran}");
    }
}

#[test]
fn a_configuration_of_dockers_that_gives_no_credential_is_a_warning_where_the_registry_wants_none() {
    let repo = GitRepo::with_dockerfile(&[]);
    let registry = Registry::plain();
    let slipway = home_of(&repo);
    slipway.write("namespaces/acme.toml", &format!("registry = \"{}\"\n", registry.host()));
    for (config, word) in [("{", "config.json"), (r#"{"credsStore":"not-there"}"#, "docker-credential-not-there")] {
        slipway.write(".docker/config.json", config);
        let built = build(&slipway);
        assert!(built["warnings"].to_string().contains(word), "{built:#}");
        slipway.run(&["tag", "show", "acme/api:latest"]).ok();
    }
    // Where it wants one, the configuration is what is at fault.
    let private = Registry::secure();
    let ca = private.ca_file().display().to_string();
    slipway.write(&format!("registries/{}.toml", private.host()), &format!("ca = {ca:?}\n"));
    slipway.write("namespaces/acme.toml", &format!("registry = \"{}\"\n", private.host()));
    let listed = slipway.run(&["tag", "list", "acme/api"]);
    assert!(!listed.status.success() && listed.stderr.contains("docker-credential-not-there"), "{listed}");
}

/// A form of docker's configuration: what `docker_configs.toml` says of its keys.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    name: String,
    file: String,
    helper: Option<String>,
    user: Option<String>,
    problem: Option<String>,
    lets_in: Option<bool>,
}

#[test]
fn every_form_of_dockers_configuration_gives_the_credential_that_is_in_it_or_a_warning() {
    #[derive(serde::Deserialize)]
    struct Forms {
        config: Vec<Form>,
    }
    let forms: Forms = toml::from_str(include_str!("docker_configs.toml")).unwrap();
    let registry = Registry::secure();
    let slipway = home_of(&GitRepo::with_dockerfile(&[]));
    let ca = registry.ca_file().display().to_string();
    slipway.write(&format!("registries/{}.toml", registry.host()), &format!("ca = {ca:?}\n"));
    let bin = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", bin.path().display(), path().to_string_lossy());
    run(slipway.command(&["pool", "start"]).env("PATH", path)).ok();
    let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for form in forms.config {
        slipway.write(".docker/config.json", &form.file.replace("HOST", registry.host()).replace("AUTH", &auth));
        let helper = bin.path().join("docker-credential-form");
        fs::write(&helper, format!("#!/bin/sh\n{}\n", form.helper.as_deref().unwrap_or("exit 1"))).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let ran = slipway.run(&["--output", "json", "registry", "check", registry.host()]);
        let access: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}: {ran}", form.name));
        assert_eq!(access["user"].as_str(), form.user.as_deref(), "{}: {access:#}", form.name);
        let lets_in = form.lets_in.unwrap_or(form.user.is_some());
        assert_eq!(access["sign_in"] == "granted", lets_in, "{}: {access:#}", form.name);
        let problem = access.get("no_credential").map(ToString::to_string);
        match form.problem {
            Some(word) => assert!(problem.is_some_and(|problem| problem.contains(&word)), "{}: {access:#}", form.name),
            None => assert_eq!(problem, None, "{}", form.name),
        }
    }
}

#[test]
fn buildctl_asks_neither_pass_nor_the_key_ring_of_the_user_for_a_build_without_credentials() {
    let repo = GitRepo::new();
    let registry = Registry::plain();
    let layout = layout_of_two_platforms("made");
    Images::layout(layout.path()).copy("made", &registry.repository("base/public"), "v1");
    repo.write("Dockerfile", format!("FROM {}/base/public:v1\n", registry.host())).commit("first");
    let slipway = home_of(&repo);
    let bin = tempfile::tempdir().unwrap();
    let with_spy = spy(bin.path());
    for name in ["pass", "docker-credential-pass", "docker-credential-secretservice"] {
        fs::copy(bin.path().join("docker-credential-spy"), bin.path().join(name)).unwrap();
    }
    slipway.write(&format!("registries/{}.toml", registry.host()), "plain_http = true\n");
    run(slipway.command(&["pool", "start"]).env("PATH", with_spy)).ok();
    build(&slipway);
    assert!(!bin.path().join("asked").exists(), "{:?}", fs::read_to_string(bin.path().join("asked")));
}
