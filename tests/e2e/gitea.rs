//! A real Gitea tells of its pushes, in its own words, and hears of builds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::gitea::{Gitea, OWNER};
use crate::support::project::{Project, rule};
use crate::support::slipway::Slipway;

/// A project whose source is pushed to `acme/NAME` of a Gitea, and a pool that is told of pushes and polls once an
/// hour.
fn project(gitea: &Gitea, name: &str, url: &str) -> Project {
    let slipway = Slipway::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config =
        format!("[pool]\npoll = \"1h\"\n[webhook]\nlisten = \"127.0.0.1:{port}\"\nurl = \"http://127.0.0.1:{port}\"\n");
    slipway.write("config.toml", &config);
    for (secret, value) in [("token", gitea.token()), ("hook", "a secret that nobody guesses")] {
        slipway.write(&format!("secrets/{secret}"), value);
        let file = slipway.home().join("secrets").join(secret);
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(slipway.home().join("secrets"), fs::Permissions::from_mode(0o700)).unwrap();
    slipway.write(".ssh/known_hosts", &gitea.known_host());
    // ssh itself looks into the home of the user's account, whatever HOME says.
    let known = slipway.home().join(".ssh/known_hosts");
    let ssh = format!("ssh -o UserKnownHostsFile={} -o GlobalKnownHostsFile=none", known.display());
    slipway.write(".gitconfig", &format!("[core]\n sshCommand = {ssh}\n"));
    let platform = format!(
        "kind = \"gitea\"\nurl = {:?}\nusername = {OWNER:?}\ntoken = {{ file = \"token\" }}\nwebhook_secret = {{ file = \"hook\" }}\n\
         ssh_key = {:?}\n",
        gitea.url(),
        gitea.new_key()
    );
    slipway.write("platforms/code.toml", &platform);
    let project = Project::in_home(slipway, &["RUN true"]);
    gitea.create(name);
    project.source.git(&["remote", "add", "origin", &gitea.push_url(name)]);
    push(&project, "main");
    see(&project, url);
    project
}

fn push(project: &Project, what: &str) {
    project.source.git(&["push", "--quiet", "--force", "origin", what]);
}

/// Binds the repository to that address, and waits until its source was seen there.
fn see(project: &Project, url: &str) {
    let rules = rule("main", "main") + &rule("tags", "x").replace("branch = \"x\"", "tag = { regex = \"v.*\" }");
    let text = format!("schema = 1\n\n[source]\nurl = {url:?}\nplatform = \"code\"\n\n{rules}");
    project.slipway.write("namespaces/acme/app.toml", &text);
    project.slipway.run(&["pool", "start"]).ok();
    let seen = project.slipway.home().join("watch/acme/app.toml");
    project.slipway.wait_until("the source was seen", || {
        fs::read_to_string(&seen).is_ok_and(|text| text.contains(url) && text.contains("refs/heads/main"))
    });
}

fn settled(project: &Project, count: usize) -> Vec<Value> {
    let pushes = || project.slipway.json(&["push", "list"]).as_array().unwrap().clone();
    project.slipway.wait_until("the pushes are settled", || {
        pushes().iter().filter(|push| push["settled"] == json!(true)).count() >= count
    });
    assert_eq!(pushes().len(), count, "{:#?}", pushes());
    pushes()
}

/// The state of a commit's status that slipway set.
fn status(gitea: &Gitea, name: &str, commit: &str) -> Value {
    gitea.api("GET", &format!("/repos/{OWNER}/{name}/commits/{commit}/status"), &Value::Null)["state"].clone()
}

#[test]
fn gitea_tells_of_branches_and_tags_in_any_spelling_of_the_address_and_by_its_new_name() {
    let Some(gitea) = Gitea::start() else { return };
    // Spelt otherwise than Gitea does.
    let url = gitea.http_url("CASE");
    let project = project(&gitea, "Case", &url);
    let slipway = &project.slipway;
    slipway.run(&["repo", "edit", "acme/app", "--register-webhook"]).ok();
    let commit = project.source.write("news", "1").commit("news");
    push(&project, "main");
    let pushes = settled(&project, 1);
    assert_eq!((&pushes[0]["commit"], &pushes[0]["origin"]), (&json!(commit), &json!("webhook")));
    assert_eq!(pushes[0]["subject"], json!("news"));
    project.wait_for(1, "succeeded");
    slipway.wait_until("Gitea knows", || status(&gitea, "Case", &commit) == json!("success"));
    // Null where it has nothing to say.
    project.source.tag("v1");
    push(&project, "v1");
    let pushes = settled(&project, 2);
    assert_eq!((&pushes[0]["ref"], &pushes[0]["commit"]), (&json!("refs/tags/v1"), &json!(commit)));
    push(&project, "main:refs/heads/-other");
    settled(&project, 3);
    push(&project, ":refs/heads/-other");
    // Renamed, it is known by its number, and by redirects of the old name.
    gitea.api("PATCH", &format!("/repos/{OWNER}/Case"), &json!({ "name": "Other" }));
    let commit = project.source.write("news", "2").commit("under another name");
    project.source.git(&["remote", "set-url", "origin", &gitea.push_url("Other")]);
    push(&project, "main");
    assert_eq!(settled(&project, 4)[0]["commit"], json!(commit));
    let problems = slipway.json(&["pool", "status"])["problems"].to_string();
    assert!(problems.contains("is called") && problems.contains("Other"), "{problems}");
    see(&project, &gitea.http_url("Other"));
    let problems = || slipway.json(&["pool", "status"])["problems"].to_string();
    slipway.wait_until("it is over", || !problems().contains("is called"));
    let refused = &slipway.json(&["platform", "show", "code"])["webhook_refusal"];
    assert_eq!(refused, &json!(null));
}

#[test]
fn a_private_repository_of_gitea_is_built_over_http_with_a_token_and_over_ssh_with_a_key() {
    let Some(gitea) = Gitea::start() else { return };
    let project = project(&gitea, "api", &gitea.http_url("api"));
    project.start();
    project.wait_for(1, "succeeded");
    see(&project, &gitea.ssh_url("api"));
    project.slipway.run(&["repo", "edit", "acme/app", "--register-webhook"]).ok();
    let commit = project.source.write("news", "1").commit("news");
    push(&project, "main");
    // The webhook names it by http first.
    assert_eq!(settled(&project, 1)[0]["commit"], json!(commit));
    let build = project.wait_for(2, "succeeded");
    assert_eq!(build["commit"], json!(commit));
}
