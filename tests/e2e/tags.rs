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
