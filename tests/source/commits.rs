//! Commits of real sources: what they say and change, read where they are or fetched at depth 1.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use slipway::source::Wanted;
use slipway::source::{Access, Commit, Kind, SourceError};

use super::servers::{Fixture, HttpBackend, git, git_daemon};
use super::{LIMITS, speaking_git, token, url};

/// Looks at `feature/x` of a fixture, compared with these commits.
async fn look(
    address: &str,
    access: &Access,
    store: &Path,
    commit: &str,
    since: &[&str],
) -> Result<Commit, SourceError> {
    look_within(address, access, store, commit, since, None).await
}

/// Whether a commit is a part of the history of another one.
async fn is_within(address: &str, access: &Access, store: &Path, commit: &str, later: &str) -> Option<bool> {
    look_within(address, access, store, commit, &[], Some(later)).await.unwrap().is_within
}

async fn look_within(
    address: &str,
    access: &Access,
    store: &Path,
    commit: &str,
    since: &[&str],
    within: Option<&str>,
) -> Result<Commit, SourceError> {
    let wanted = Wanted {
        store: store.to_owned(),
        reference: "refs/heads/feature/x".parse().unwrap(),
        commit: commit.parse().unwrap(),
        since: since.iter().map(|commit| commit.parse().unwrap()).collect(),
        within: within.map(|commit| commit.parse().unwrap()),
    };
    speaking_git().look(&url(address), access, wanted, LIMITS).await
}

/// What the second commit of a fixture changes.
fn changes(fixture: &Fixture) -> BTreeMap<slipway::domain::push::CommitId, Vec<String>> {
    BTreeMap::from([(fixture.first.parse().unwrap(), vec!["a.txt".to_owned(), "run.sh".into()])])
}

#[tokio::test]
async fn a_local_commit_says_its_message_and_what_it_changes() {
    let fixture = Fixture::new();
    let store = fixture.dir.path().join("store");
    let address = fixture.bare.display().to_string();
    let found = look(&address, &Access::default(), &store, &fixture.second, &[&fixture.first]).await.unwrap();
    assert_eq!(found.message, "The second\n");
    assert_eq!(found.changed, changes(&fixture));
    assert!(!store.exists(), "what is on this machine is not copied");
    let gone = "f".repeat(40);
    let found = look(&address, &Access::default(), &store, &fixture.second, &[&gone]).await.unwrap();
    assert_eq!(found.changed, BTreeMap::new(), "nothing can be said of a commit that is gone");
    let error = look(&address, &Access::default(), &store, &gone, &[]).await.unwrap_err();
    assert_eq!(error.kind, Kind::NoCommit, "{error}");
}

#[tokio::test]
async fn a_commit_of_the_history_of_another_is_told_from_one_that_is_not() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let store = fixture.dir.path().join("store");
    let (first, second, gone) = (fixture.first.as_str(), fixture.second.as_str(), "f".repeat(40));
    for address in [fixture.bare.display().to_string(), format!("git://127.0.0.1:{}/api.git", daemon.port)] {
        for (commit, later, expected) in [
            (first, second, Some(true)),
            (second, first, Some(false)),
            (second, second, Some(true)),
            (second, gone.as_str(), None),
        ] {
            let found = is_within(&address, &Access::default(), &store, commit, later).await;
            assert_eq!(found, expected, "{address}: {commit} in {later}");
        }
    }
}

#[tokio::test]
async fn a_lost_commit_to_compare_with_is_asked_for_by_its_id_alone() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let (store, address) = (fixture.dir.path().join("store"), format!("git://127.0.0.1:{}/api.git", daemon.port));
    let found = look(&address, &Access::default(), &store, &fixture.second, &[&"f".repeat(40)]).await.unwrap();
    assert_eq!(found.changed, BTreeMap::new());
    let refs = git(&store, &["for-each-ref", "--format=%(refname)"]);
    assert!(!refs.is_empty() && refs.lines().all(|name| name.starts_with("refs/slipway/tip/")), "{refs}");
}

#[tokio::test]
async fn a_commit_of_another_machine_is_compared_with_what_was_looked_at_before() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let http = HttpBackend::start(fixture.dir.path()).await;
    for (name, address, access) in [
        ("git", format!("git://127.0.0.1:{}/api.git", daemon.port), Access::default()),
        ("http", format!("http://127.0.0.1:{}/api.git", http.port), token("kim", "s3cret")),
    ] {
        let store = fixture.dir.path().join(name);
        git(&fixture.bare, &["update-ref", "refs/heads/feature/x", &fixture.first]);
        let found = look(&address, &access, &store, &fixture.first, &[]).await.unwrap();
        assert_eq!(found.message, "The first\n\nwith a body\n", "{name}");
        git(&fixture.bare, &["update-ref", "refs/heads/feature/x", &fixture.second]);
        let found = look(&address, &access, &store, &fixture.second, &[&fixture.first]).await.unwrap();
        assert_eq!(found.message, "The second\n", "{name}");
        assert_eq!(found.changed, changes(&fixture), "{name}");
        // Forced back, and looked at once more.
        git(&fixture.bare, &["update-ref", "refs/heads/feature/x", &fixture.first]);
        let found = look(&address, &access, &store, &fixture.first, &[&fixture.second]).await.unwrap();
        assert_eq!(found.changed.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_commit_that_is_no_tip_any_more_is_found_in_the_history_and_one_that_is_gone_is_left_out() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let address = format!("git://127.0.0.1:{}/api.git", daemon.port);
    git(&fixture.bare, &["branch", "-D", "trunk"]);
    git(&fixture.bare, &["tag", "-d", "v1", "light"]);
    let store = fixture.dir.path().join("clone");
    let gone = "f".repeat(40);
    let found = look(&address, &Access::default(), &store, &fixture.second, &[&fixture.first, &gone]).await.unwrap();
    assert_eq!(found.changed, changes(&fixture));
}

#[tokio::test]
async fn the_message_and_the_changes_of_a_commit_are_bounded_where_they_are_read() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let work = fixture.dir.path().join("work");
    let message = format!("{}\n\n{}", "s".repeat(5_000), "body\n".repeat(50_000));
    fs::write(fixture.dir.path().join("message"), message).unwrap();
    git(&work, &["commit", "-q", "--allow-empty", "-F", "../message"]);
    let long = git(&work, &["rev-parse", "HEAD"]);
    git(&work, &["push", "-q", "../api.git", "HEAD:refs/heads/feature/x", "--force"]);
    let store = fixture.dir.path().join("clone");
    for address in [fixture.bare.display().to_string(), format!("git://127.0.0.1:{}/api.git", daemon.port)] {
        let found = look(&address, &Access::default(), &store, &long, &[&fixture.first]).await.unwrap();
        assert_eq!(found.message.lines().next().unwrap().len(), 1024, "{address}");
        assert!(found.message.len() <= 64 * 1024 && found.message.ends_with("body\n"), "{address}");
        assert_eq!(found.changed[&fixture.first.parse().unwrap()], Vec::<String>::new(), "{address}");
    }
}

#[tokio::test]
async fn a_tag_of_a_tag_is_its_commit_and_one_of_a_tree_or_a_file_says_that_it_names_none() {
    for format in ["sha1", "sha256"] {
        let fixture = Fixture::of(format);
        let daemon = git_daemon(fixture.dir.path());
        let tag = |name: &str, of: &str| {
            git(&fixture.bare, &["-c", "tag.gpgSign=false", "tag", "-m", name, name, of]);
        };
        tag("once", &fixture.first);
        tag("twice", "once");
        tag("thrice", "twice");
        tag("tree", &format!("{}^{{tree}}", fixture.first));
        tag("tree-twice", "tree");
        git(&fixture.bare, &["tag", "blob", &format!("{}:a.txt", fixture.first)]);
        let store = fixture.dir.path().join("clone");
        for address in [fixture.bare.display().to_string(), format!("git://127.0.0.1:{}/api.git", daemon.port)] {
            let refs = speaking_git().list(&url(&address), &Access::default()).await.unwrap().refs;
            let commit = |name: &str| {
                let name = format!("refs/tags/{name}");
                refs.iter().find(|found| found.name == name).unwrap().commit.clone()
            };
            assert_eq!(commit("thrice"), fixture.first, "{address}");
            for (name, kind) in [("tree", "tree"), ("tree-twice", "tree"), ("blob", "blob")] {
                let wanted = Wanted {
                    store: store.clone(),
                    reference: format!("refs/tags/{name}").parse().unwrap(),
                    commit: commit(name).parse().unwrap(),
                    since: Vec::new(),
                    within: None,
                };
                let error = speaking_git().look(&url(&address), &Access::default(), wanted, LIMITS).await.unwrap_err();
                assert_eq!(error.kind, Kind::NoRef, "{address}: {error}");
                assert!(error.to_string().contains(&format!("is a {kind}, and not a commit")), "{address}: {error}");
            }
        }
    }
}
