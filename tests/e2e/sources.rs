//! Sources: every way to a git repository, and what is said where one can't be had.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use serde_json::json;

use crate::fixture::{MAIN, START, build, home, home_of, images, local, run_with_input};
use crate::support::background::run;
use crate::support::git_daemon::GitDaemon;
use crate::support::git_http::GitHttp;
use crate::support::git_repo::GitRepo;
use crate::support::slipway::Slipway;
use crate::support::sshd::{SshAgent, Sshd};

/// A repository whose image says from which commit it is.
fn repo() -> GitRepo {
    let repo = GitRepo::new();
    repo.write("Dockerfile", "FROM scratch\nCOPY file /\n").write("file", "text").commit("An image");
    repo
}

/// Builds `acme/api`; its image must be of the repository's commit.
#[track_caller]
fn builds(slipway: &Slipway, repo: &GitRepo) {
    build(slipway);
    let labels = &images(slipway).config("latest", "amd64")["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.revision"], repo.git(&["rev-parse", "HEAD"]));
}

#[test]
fn a_git_daemons_repository_is_built() {
    let repo = repo();
    let daemon = GitDaemon::serve(&repo);
    builds(&home(&daemon.url(), "", MAIN), &repo);
}

#[test]
fn a_repository_over_http_is_built() {
    let repo = repo();
    let server = GitHttp::serve(&repo);
    builds(&home(&server.url(), "", MAIN), &repo);
}

#[test]
fn a_repository_behind_a_password_is_built_with_its_platforms_credentials_and_refused_without() {
    let repo = repo();
    let server = GitHttp::serve_with_password(&repo, "someone", "a secret word");
    let url = server.url();
    let slipway = home(&format!("{url}\"\nplatform = \"ours"), "", MAIN);
    slipway.write(
        "platforms/ours.toml",
        "kind = \"git\"\nusername = \"someone\"\nhosts = [\"127.0.0.1\"]\ntoken = { file = \"ours\" }\n",
    );
    slipway.write("secrets/ours", "a secret word\n");
    run(std::process::Command::new("chmod").arg("700").arg(slipway.home().join("secrets"))).ok();
    run(std::process::Command::new("chmod").arg("600").arg(slipway.home().join("secrets/ours"))).ok();
    builds(&slipway, &repo);
    let log = slipway.run(&["build", "logs", "1"]).ok().stdout;
    assert!(!log.contains("a secret word"), "{log}");

    let without = home(&url, "", MAIN).run(&START);
    assert_eq!(without.code(), Some(5), "{without}");
    assert!(without.stderr.contains(&url), "{without}");
}

#[test]
fn a_repository_over_ssh_is_built_with_its_platforms_key() {
    let repo = repo();
    let sshd = Sshd::start();
    let url = sshd.url(&repo);
    let slipway = home(&format!("{url}\"\nplatform = \"ours"), "", MAIN);
    slipway.write(
        "platforms/ours.toml",
        &format!("kind = \"git\"\nhosts = [\"127.0.0.1\"]\nssh_key = \"{}\"\n", sshd.identity_file().display()),
    );
    // ssh looks for `~` in the password file, not in HOME.
    let ssh = format!(
        "[core]\n sshCommand = ssh -F none -o UserKnownHostsFile={}\n",
        slipway.home().join(".ssh/known_hosts").display()
    );
    slipway.write(".gitconfig", &ssh);
    let unknown = slipway.run(&START);
    assert_eq!(unknown.code(), Some(5), "{unknown}");
    assert!(unknown.stderr.contains("known_hosts"), "{unknown}");
    slipway.write(".ssh/known_hosts", &fs::read_to_string(sshd.known_hosts_file()).unwrap());
    builds(&slipway, &repo);
}

#[test]
fn a_builder_that_is_to_fetch_gets_the_credentials_and_it_is_said_what_that_means() {
    let repo = repo();
    let server = GitHttp::serve_with_password(&repo, "someone", "a secret word");
    let slipway = Slipway::new();
    slipway.run(&["namespace", "create", "acme"]).ok();
    let create = [
        "platform",
        "create",
        "ours",
        "--kind",
        "git",
        "--username",
        "someone",
        "--token-stdin",
        "--host",
        "127.0.0.1",
    ];
    run_with_input(&mut slipway.command(&create), "a secret word\n").ok();
    let (url, path) = (server.url(), local(&repo));
    let create =
        |source| ["repo", "create", "acme/api", "--source", source, "--platform", "ours", "--fetch", "builder"];
    let refused = slipway.run(&create(&path));
    assert_eq!(refused.code(), Some(2), "{refused}");
    let created = slipway.run(&create(&url)).ok();
    assert!(created.stderr.contains("every Dockerfile of this source can read the credentials"), "{created}");
    builds(&slipway, &repo);
    assert!(!slipway.home().join("git/acme/api").exists(), "slipway fetched it all the same");
}

#[test]
fn the_agent_of_the_command_that_ran_last_is_asked() {
    let repo = repo();
    let sshd = Sshd::start();
    let slipway = home(&sshd.url(&repo), "", MAIN);
    let ssh = format!(
        "[core]\n sshCommand = ssh -F none -o IdentityFile=none -o UserKnownHostsFile={}\n",
        sshd.known_hosts_file().display()
    );
    slipway.write(".gitconfig", &ssh);
    // The pool starts with an agent that ends, as that of a login does.
    let first = SshAgent::start(&sshd.identity_file());
    run(slipway.command(&["build", "start", "acme/api"]).env("SSH_AUTH_SOCK", first.socket())).ok();
    drop(first);
    let none = slipway.run(&START);
    assert_eq!(none.code(), Some(5), "{none}");
    assert!(none.stderr.contains("no ssh agent"), "{none}");
    let second = SshAgent::start(&sshd.identity_file());
    run(slipway.command(&["build", "start", "acme/api", "--wait"]).env("SSH_AUTH_SOCK", second.socket())).ok();
}

#[test]
fn a_platforms_token_goes_to_its_own_hosts_alone() {
    let repo = repo();
    let server = GitHttp::serve_with_password(&repo, "someone", "a secret word");
    let slipway = Slipway::new();
    slipway.run(&["namespace", "create", "acme"]).ok();
    let create = ["platform", "create", "github", "--kind", "github", "--token-stdin"];
    run_with_input(&mut slipway.command(&create), "a secret word\n").ok();
    let url = server.url();
    let host = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    // Refused when it is saved, from the command line and from a file of somebody's.
    let refused = slipway.run(&["repo", "create", "acme/api", "--source", &url, "--platform", "github", "--no-rule"]);
    assert_eq!(refused.code(), Some(4), "{refused}");
    assert!(
        refused.stderr.contains(&format!("hosts = [\\\"{host}\\\"]")) || refused.stderr.contains(&host),
        "{refused}"
    );
    let file = slipway.home().join("strangers.toml");
    fs::write(
        &file,
        format!("[[repository]]\nname = \"acme/api\"\n[repository.source]\nurl = {url:?}\nplatform = \"github\"\n"),
    )
    .unwrap();
    let refused = slipway.run(&["apply", "--yes", "-f", file.to_str().unwrap()]);
    assert_eq!(refused.code(), Some(4), "{refused}");
    // And when it is used, whoever wrote it.
    slipway.write("namespaces/acme/api.toml", &format!("[source]\nurl = {url:?}\nplatform = \"github\"\n{MAIN}"));
    let refused = slipway.run(&START);
    assert_eq!(refused.code(), Some(4), "{refused}");
    assert_eq!(server.authorizations(), Vec::<String>::new());
    slipway.run(&["platform", "edit", "github", "--host", &host, "--username", "someone"]).ok();
    builds(&slipway, &repo);
}

#[test]
fn a_local_repository_keeps_its_links_and_modes_and_leaves_out_what_is_not_committed() {
    let script = "RUN [ -x /tree/run ] && [ ! -x /tree/plain ] && [ \"$(readlink /tree/link)\" = run ] && [ ! -e /tree/untracked ]";
    let repo = GitRepo::with_dockerfile(&["COPY tree /tree", script]);
    repo.write_executable("tree/run", "#!/bin/sh\n")
        .write("tree/plain", "")
        .symlink("tree/link", "run")
        .commit("A tree");
    repo.write("tree/untracked", "").write("tree/plain", "changed, not committed");
    builds(&home_of(&repo), &repo);
}

#[test]
fn a_branch_or_a_repository_that_is_not_there_is_not_found() {
    let repo = repo();
    let missing = home(&local(&repo), "", &MAIN.replace("branch = \"main\"", "branch = \"nowhere\"")).run(&START);
    assert_eq!(missing.code(), Some(3), "{missing}");
    let kind = serde_json::from_str::<serde_json::Value>(&missing.stderr).unwrap();
    assert_eq!(kind["error"]["kind"], "not_found");
    assert!(missing.stderr.contains("nowhere") && missing.stderr.contains(&local(&repo)), "{missing}");

    let missing = home("/no/such/repository", "", MAIN).run(&START);
    assert_eq!(missing.code(), Some(3), "{missing}");
    assert!(missing.stderr.contains("/no/such/repository"), "{missing}");
}

#[test]
fn a_source_that_does_not_answer_is_unreachable() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    for server in ["http://127.0.0.1", "git://127.0.0.1", "ssh://git@127.0.0.1"] {
        let url = format!("{server}:{port}/source");
        let ran = home(&url, "", MAIN).run(&START);
        assert_eq!(ran.code(), Some(5), "{ran}");
        assert!(ran.stderr.contains(&url), "{ran}");
    }
}

#[test]
fn a_commit_that_vanished_before_the_build_fails_for_its_source() {
    let repo = repo();
    let slipway = home_of(&repo);
    build(&slipway);
    // What is checked out for the repository is another commit's tree by then.
    repo.write("file", "other").commit("The next");
    build(&slipway);
    // The first commit is gone for good.
    repo.git(&["checkout", "--quiet", "--orphan", "other"]);
    repo.commit("Another history");
    repo.git(&["branch", "--quiet", "-D", "main"]);
    repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    repo.git(&["gc", "--quiet", "--prune=now"]);
    let ran = slipway.run(&["build", "retry", "1", "--wait", "--output", "json"]);
    assert_eq!(ran.code(), Some(1), "{ran}");
    assert_eq!(ran.json()["failure"]["kind"], json!("no_commit"), "{ran}");
}

#[test]
fn directories_that_leave_the_tree_are_refused() {
    let repo = repo();
    let slipway = home_of(&repo);
    for flag in ["--directory", "--context"] {
        let ran = slipway.run(&["rule", "edit", "acme/api", "main", flag, "../outside"]);
        assert_eq!(ran.code(), Some(2), "{ran}");
        assert!(ran.stderr.contains("../outside"), "{ran}");
    }
    repo.symlink("away", "/etc").commit("A link that leaves");
    slipway.run(&["rule", "edit", "acme/api", "main", "--directory", "away"]).ok();
    let ran = slipway.run(&START);
    assert_eq!(ran.code(), Some(1), "{ran}");
    assert_eq!(ran.json()["failure"]["kind"], json!("source"), "{ran}");
}

#[test]
fn addresses_that_can_not_work_are_refused_with_the_reason() {
    let slipway = Slipway::new();
    slipway.run(&["namespace", "create", "acme"]).ok();
    for (url, named) in [
        ("relative/path", "relative/path"),
        ("ftp://host/x.git", "ftp"),
        ("https://me:secret@host/x.git", "credentials"),
    ] {
        let ran = slipway.run(&["repo", "create", "acme/api", "--source", url, "--no-rule"]);
        assert_eq!(ran.code(), Some(2), "{ran}");
        assert!(ran.stderr.contains(named) && !ran.stderr.contains("secret@"), "{ran}");
    }
    assert!(!slipway.home().join("namespaces/acme/api.toml").exists());
}
