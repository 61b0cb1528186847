//! Tags after the build: what they named when, moved back and forth, in the local registry and in a real one.

use serde_json::{Value, json};

use crate::fixture::{MAIN, home, images, local};
use crate::support::git_repo::GitRepo;
use crate::support::pty::Pty;
use crate::support::registry::Registry;
use crate::support::skopeo::Images;
use crate::support::slipway::Slipway;

/// The rule whose images have a tag of their own beside `latest`.
fn with_commits() -> String {
    let rule = MAIN.replace("{ name = \"latest\" }", "{ name = \"latest\" }, { name = \"c\", commit = 8 }");
    format!("[build]\nauto = false\n\n{rule}")
}

/// Two builds of two commits; the digests of their images and the tags that name them for good.
fn two_builds(slipway: &Slipway, repo: &GitRepo) -> [(String, String); 2] {
    [1, 2].map(|round| {
        if round == 2 {
            repo.write("file", "another").commit("another");
        }
        let replay = ["build", "replay", "acme/api", "--rule", "main", "--ref", "refs/heads/main", "--wait"];
        let built = slipway.json(&replay);
        let own =
            built["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).find(|tag| *tag != "latest");
        (built["images"][0]["digest"].as_str().unwrap().to_owned(), own.unwrap().to_owned())
    })
}

fn digests(history: &Value) -> Vec<&str> {
    history.as_array().unwrap().iter().map(|event| event["digest"].as_str().unwrap_or("-")).collect()
}

/// Moves `latest` back and forth; the digests of its images, and a tag that names the first for good.
fn moved_back_and_forth(slipway: &Slipway, repo: &GitRepo, there: impl Fn() -> Images) -> [(String, String); 2] {
    let [(first, own), (second, _)] = two_builds(slipway, repo);
    assert_ne!(first, second);
    let between = "2000-01-01T00:00:00Z";
    let history = slipway.json(&["tag", "history", "acme/api:latest"]);
    assert_eq!(digests(&history), [second.as_str(), first.as_str()]);
    assert_eq!((&history[0]["build"], &history[1]["build"]), (&json!(2), &json!(1)));
    let then = history[1]["at"].as_str().unwrap().to_owned();
    let named = slipway.json(&["tag", "history", "acme/api:latest", "--at", &then]);
    assert_eq!(digests(&named), [first.as_str()], "at {then}");
    assert_eq!(slipway.run(&["tag", "history", "acme/api:latest", "--at", between]).code(), Some(3));
    let moved = slipway.json(&["tag", "show", "acme/api:latest"])["moved"].clone();
    assert!(history[0]["at"].as_str().unwrap().starts_with(moved.as_str().unwrap().trim_end_matches('Z')), "{moved}");

    let back = slipway.json(&["tag", "move", "acme/api:latest", "--back"]);
    assert_eq!((&back["before"], &back["digest"], &back["build"]), (&json!(second), &json!(first), &json!(1)));
    assert_eq!(there().digest("latest"), first);
    let further = slipway.run(&["tag", "move", "acme/api:latest", "--back"]);
    assert_eq!(further.code(), Some(3), "{further}");
    slipway.run(&["tag", "move", "acme/api:latest", "--to-build", "2"]).ok();
    assert_eq!(there().digest("latest"), second);
    slipway.run(&["tag", "move", "acme/api:latest", "--to", &own]).ok();
    assert_eq!(there().digest("latest"), first);
    slipway.run(&["tag", "move", "acme/api:latest", "--to", &second]).ok();
    let again = slipway.run(&["tag", "move", "acme/api:latest", "--to", &second]).ok();
    assert!(again.stderr.contains("already"), "{again}");
    assert_eq!(there().digest("latest"), second);
    for (to, code) in [("nothing", 3), (&*format!("sha256:{}", "0".repeat(64)), 3), ("sha256:1", 2)] {
        let none = slipway.run(&["tag", "move", "acme/api:latest", "--to", to]);
        assert_eq!(none.code(), Some(code), "{none}");
    }

    let audit = slipway.run(&["audit", "list"]).ok();
    assert!(audit.stdout.contains("tag.move"), "{audit}");
    [(first, own), (second, String::new())]
}

#[test]
fn a_local_tag_is_moved_back_and_forth_and_its_history_tells_all_of_it() {
    let repo = GitRepo::with_dockerfile(&["COPY . /x"]);
    let slipway = home(&local(&repo), "", &with_commits());
    let [(first, own), (second, _)] = moved_back_and_forth(&slipway, &repo, || images(&slipway));
    slipway.run(&["tag", "delete", "acme/api:latest"]).ok();
    slipway.run(&["tag", "move", "acme/api:latest", "--to", &own]).ok();
    let history = slipway.json(&["tag", "history", "acme/api:latest"]);
    let (a, b) = (first.as_str(), second.as_str());
    assert_eq!(digests(&history), [a, "-", b, a, b, a, b, a]);
    let actions: Vec<&str> =
        history.as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["move", "delete", "move", "move", "move", "move", "build", "build"]);
    assert!(history[0]["by"]["name"].is_string(), "{history:#}");
}

#[test]
fn a_registrys_tag_is_moved_back_and_forth_and_its_history_tells_all_of_it() {
    let repo = GitRepo::with_dockerfile(&["COPY . /x"]);
    let registry = Registry::plain();
    let slipway = home(&local(&repo), "", &with_commits());
    slipway.write("namespaces/acme.toml", &format!("registry = \"{}\"\n", registry.host()));
    slipway.write(&format!("registries/{}.toml", registry.host()), "plain_http = true\n");
    let [(first, _), (second, _)] = moved_back_and_forth(&slipway, &repo, || registry.repository("acme/api"));
    let history = slipway.json(&["tag", "history", "acme/api:latest"]);
    let (a, b) = (first.as_str(), second.as_str());
    assert_eq!(digests(&history), [b, a, b, a, b, a]);
}

#[test]
fn an_immutable_tag_is_not_moved_and_latest_is() {
    let repo = GitRepo::with_dockerfile(&["COPY . /x"]);
    let slipway = home(&local(&repo), "immutable = true", &with_commits());
    let [(first, own), (second, _)] = two_builds(&slipway, &repo);
    let refused = slipway.run(&["tag", "move", &format!("acme/api:{own}"), "--to", &second]);
    assert_eq!(refused.code(), Some(4), "{refused}");
    assert!(refused.stderr.contains("immutable"), "{refused}");
    assert_eq!(images(&slipway).digest(&own), first);
    slipway.run(&["tag", "move", "acme/api:latest", "--to", &own]).ok();
    assert_eq!(images(&slipway).digest("latest"), first);
}

#[test]
fn the_dashboard_shows_what_a_tag_named_and_moves_it_there_after_a_question() {
    let repo = GitRepo::with_dockerfile(&["COPY . /x"]);
    let slipway = home(&local(&repo), "", &with_commits());
    let [(first, _), (second, _)] = two_builds(&slipway, &repo);
    let mut pty = Pty::start(slipway.command(&[]).env("LANG", "C.UTF-8"), 32, 130);
    pty.wait_for("acme/api");
    pty.send("2G6");
    pty.wait_for(&second[..14]);
    pty.send("/latest\rt");
    pty.wait_for("enter moves it there");
    pty.wait_for(&first[7..19]);
    pty.send("\x1b[B\r");
    pty.wait_for("move acme/api:latest from");
    pty.send("n");
    assert_eq!(images(&slipway).digest("latest"), second);
    pty.send("t");
    pty.wait_for("enter moves it there");
    pty.wait_for(&first[7..19]);
    pty.send("\x1b[B\r");
    pty.wait_for("move acme/api:latest from");
    pty.send("y");
    pty.wait_for("names sha256:");
    assert_eq!(images(&slipway).digest("latest"), first);
}

/// Makes `acme/api` publish at a registry, and `prod/api` there or on this host.
fn publish(slipway: &Slipway, namespace: &str, registry: &str, registries: &[&Registry]) {
    slipway.write(&format!("namespaces/{namespace}.toml"), &format!("registry = \"{registry}\"\n"));
    for registry in registries {
        slipway.write(&format!("registries/{}.toml", registry.host()), "plain_http = true\n");
    }
}

fn copy(slipway: &Slipway, to: &str) -> Value {
    slipway.json(&["tag", "copy", "acme/api:latest", to])
}

#[test]
fn an_image_is_copied_from_this_host_to_registries_and_back_and_no_blob_is_sent_twice() {
    let repo = GitRepo::with_dockerfile(&["COPY . /x"]);
    let (one, other) = (Registry::plain(), Registry::plain());
    let slipway = home(&local(&repo), "", &with_commits());
    for registry in [&one, &other] {
        slipway.write(&format!("registries/{}.toml", registry.host()), "plain_http = true\n");
    }
    let [_, (digest, _)] = two_builds(&slipway, &repo);

    // From this host to a registry that is none of slipway's repositories; the second time nothing is left to send.
    let to = format!("{}/team/app:v1", one.host());
    let copied = copy(&slipway, &to);
    assert_eq!((&copied["digest"], &copied["to"]), (&json!(digest), &json!(to)));
    assert!(copied["transfer"]["sent_bytes"].as_u64().unwrap() > 0, "{copied:#}");
    let there = one.repository("team/app");
    assert_eq!(there.digest("v1"), digest);
    assert_eq!(there.raw("v1"), images(&slipway).raw("latest"), "with every manifest of the index");
    assert_eq!(there.config("v1", "amd64"), images(&slipway).config("latest", "amd64"));
    let again = copy(&slipway, &to);
    assert_eq!((&again["transfer"]["sent"], &again["transfer"]["sent_bytes"]), (&json!(0), &json!(0)), "{again:#}");

    // To a repository of slipway's in that registry: its blobs are streamed, its history and its rules are kept.
    publish(&slipway, "prod", one.host(), &[]);
    slipway.write("namespaces/prod/api.toml", "immutable = true\n");
    slipway.write("namespaces/stage.toml", &format!("registry = \"{}\"\n", one.host()));
    slipway.write("namespaces/stage/api.toml", "");
    slipway.write("namespaces/here.toml", "");
    slipway.write("namespaces/here/api.toml", "");
    // What was written by hand is in force once the settings were asked for.
    slipway.run(&["repo", "list"]).ok();
    copy(&slipway, "prod/api:v1");
    assert_eq!(one.repository("prod/api").digest("v1"), digest);
    let history = slipway.json(&["tag", "history", "prod/api:v1"]);
    assert_eq!(
        (&history[0]["action"], &history[0]["from"]),
        (&json!("copy"), &json!("acme/api:latest")),
        "{history:#}"
    );

    // From repository to repository of one registry: mounted.
    let mounted = slipway.json(&["tag", "copy", "prod/api:v1", "stage/api"]);
    assert_eq!(mounted["transfer"]["sent_bytes"], 0, "{mounted:#}");
    assert!(mounted["transfer"]["mounted"].as_u64().unwrap() > 0, "{mounted:#}");
    assert_eq!(one.repository("stage/api").digest("v1"), digest);

    // To another registry, and to this host.
    slipway.json(&["tag", "copy", "prod/api:v1", &format!("{}/far/api", other.host())]);
    assert_eq!(other.repository("far/api").digest("v1"), digest);
    assert_eq!(other.repository("far/api").config("v1", "amd64"), images(&slipway).config("latest", "amd64"));
    slipway.json(&["tag", "copy", "prod/api:v1", "here/api:back"]);
    let here = Images::layout(&slipway.home().join("images/here/api"));
    assert_eq!((here.digest("back"), here.tags()), (digest.clone(), vec!["back".to_owned()]));
    assert_eq!(here.config("back", "amd64"), images(&slipway).config("latest", "amd64"));

    // What would leave too little of the disk is not begun.
    slipway.write("namespaces/here/full.toml", "");
    slipway.write("config.toml", "[pool]\nmin_free = \"1000TB\"\n");
    slipway.run(&["repo", "list"]).ok();
    let full = slipway.run(&["tag", "copy", "prod/api:v1", "here/full:v1"]);
    assert!(full.code() == Some(1) && full.stderr.contains("pool.min_free"), "{full}");
    assert_eq!(slipway.json(&["tag", "list", "here/full"]), json!([]));
    slipway.write("config.toml", "");
    slipway.run(&["repo", "list"]).ok();

    // An immutable tag that names another image stays, and nothing is sent.
    slipway.run(&["tag", "move", "acme/api:latest", "--back"]).ok();
    for by_either_name in ["prod/api:v1".to_owned(), format!("{}/prod/api:v1", one.host())] {
        let refused = slipway.run(&["tag", "copy", "acme/api:latest", &by_either_name]);
        assert_eq!(refused.code(), Some(4), "{refused}");
        assert_eq!(one.repository("prod/api").digest("v1"), digest);
    }
    let unknown = slipway.run(&["tag", "copy", "acme/api:latest", "prod/nothing"]);
    assert_eq!(unknown.code(), Some(3), "{unknown}");
}

#[test]
fn signatures_and_referrers_are_copied_with_their_image() {
    let repo = GitRepo::with_dockerfile(&["COPY . /x"]);
    let (one, other) = (Registry::plain(), Registry::plain());
    let slipway = home(&local(&repo), "", &with_commits());
    publish(&slipway, "acme", one.host(), &[&one, &other]);
    let [(first, own), (digest, _)] = two_builds(&slipway, &repo);
    let there = one.repository("acme/api");
    let attached = digest.replacen(':', "-", 1);
    // Any image can stand for a signature; an index is a list of referrers.
    there.copy(&own, &there, &format!("{attached}.sig"));
    there.copy(&own, &there, &attached);
    copy(&slipway, &format!("{}/prod/api:v1", other.host()));
    let copied = other.repository("prod/api");
    let signature = format!("{attached}.sig");
    assert_eq!((copied.digest("v1"), copied.digest(&signature)), (digest, first.clone()));
    // What is signed there is not replaced by those who may push here.
    there.copy("latest", &there, &signature);
    let again = copy(&slipway, &format!("{}/prod/api:v1", other.host()));
    assert_eq!((copied.digest(&signature), &again["transfer"]["kept"]), (first, &json!(1)), "{again:#}");
    let list = |images: &Images| images.raw(&attached)["manifests"].as_array().unwrap().len();
    assert_eq!(list(&copied), list(&there));
}

#[test]
fn commands_and_manifests_use_a_tag() {
    let repo = GitRepo::with_dockerfile(&["COPY . /x"]);
    let registry = Registry::plain();
    let slipway = home(&local(&repo), "", &with_commits());
    let [_, (digest, _)] = two_builds(&slipway, &repo);
    let cluster = slipway.run(&["tag", "use", "acme/api:latest", "--as", "deployment"]);
    assert_eq!(cluster.code(), Some(4), "{cluster}");
    let directory = tempfile::tempdir().unwrap();
    let command = slipway.run(&["tag", "use", "acme/api:latest", "--as", "nerdctl"]).ok().stdout;
    let first = command.lines().next().unwrap();
    let mut shell = std::process::Command::new("sh");
    let shell = shell.args(["-c", &format!("{} --insecure-policy{}", &first[..6], &first[6..])]);
    crate::support::background::run(shell.current_dir(directory.path())).ok();
    assert!(directory.path().join("api.tar").exists(), "{command}");

    publish(&slipway, "acme", registry.host(), &[&registry]);
    slipway.run(&["repo", "list"]).ok();
    let image = format!("{}/acme/api", registry.host());
    images(&slipway).copy("latest", &registry.repository("acme/api"), "latest");
    let podman = slipway.run(&["tag", "use", "acme/api:latest", "--as", "podman"]).ok().stdout;
    assert!(podman.contains(&format!(" {image}:latest\n")) && podman.contains(&format!(" {image}@{digest}\n")));
    let deployment = slipway.run(&["tag", "use", "acme/api:latest", "--as", "deployment", "--secret", "pull"]).ok();
    assert!(deployment.stdout.contains(&format!("image: \"{image}:latest@{digest}\"")), "{deployment}");
    assert!(deployment.stdout.contains("imagePullSecrets:\n        - name: \"pull\""), "{deployment}");
    let hosts = slipway.run(&["tag", "use", "acme/api:latest", "--as", "hosts", "--peers", "spegel"]).ok().stdout;
    let hosts: toml::Table = hosts.parse().unwrap();
    assert_eq!(hosts["server"].as_str().unwrap(), format!("http://{}", registry.host()));
}
