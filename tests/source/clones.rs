//! Clones of real sources: what is fetched when, by how many at once, and what becomes of commits that vanish and
//! clones that break.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use slipway::domain::push::{CommitId, Ref};
use slipway::source::git::{Fallback, FetchLimits, Fetched, Want};
use slipway::source::{Access, Kind, SourceError};

use super::servers::{Fixture, HttpBackend, git, git_daemon};
use super::{LIMITS, speaking_git, token, url};

/// Fetches a commit that was seen at a ref.
async fn fetch(clone: &Path, address: &str, reference: Option<&str>, commit: &str) -> Result<Fetched, SourceError> {
    fetch_within(clone, address, reference, commit, LIMITS).await
}

async fn fetch_within(
    clone: &Path,
    address: &str,
    reference: Option<&str>,
    commit: &str,
    limits: FetchLimits,
) -> Result<Fetched, SourceError> {
    let reference: Option<Ref> = reference.map(|reference| reference.parse().unwrap());
    let commit: CommitId = commit.parse().unwrap();
    let fallback = reference.as_ref().map_or(Fallback::Branches, Fallback::Ref);
    let want = Want { fallback, commit: &commit, tags: false };
    speaking_git().fetch(clone, &url(address), &Access::default(), want, limits).await
}

/// Whether a clone has a commit with all of its trees and files.
fn is_whole(clone: &Path, commit: &str) -> bool {
    let output =
        Command::new("git").arg("--git-dir").arg(clone).args(["rev-list", "--objects", "--quiet", commit]).output();
    output.unwrap().status.success()
}

fn packs(clone: &Path) -> usize {
    let packs = fs::read_dir(clone.join("objects/pack")).unwrap().flatten();
    packs.filter(|entry| entry.path().extension().is_some_and(|end| end == "pack")).count()
}

fn at(fixture: &Fixture) -> PathBuf {
    fixture.dir.path().join("clones/acme/api")
}

#[tokio::test]
async fn a_commit_is_fetched_once_and_later_ones_bring_what_is_new() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let (clone, address) = (at(&fixture), format!("git://127.0.0.1:{}/api.git", daemon.port));
    let trunk = Some("refs/heads/trunk");
    assert_eq!(fetch(&clone, &address, trunk, &fixture.first).await.unwrap(), Fetched { was_there: false });
    assert!(is_whole(&clone, &fixture.first));
    let second = fetch(&clone, &address, Some("refs/heads/feature/x"), &fixture.second).await.unwrap();
    assert_eq!(second, Fetched { was_there: false });
    assert_eq!(packs(&clone), 2, "the second fetch brought its own objects");
    drop(daemon);
    // Without its server, too.
    for commit in [&fixture.first, &fixture.second] {
        assert_eq!(fetch(&clone, &address, trunk, commit).await.unwrap(), Fetched { was_there: true });
    }
}

#[tokio::test]
async fn many_who_want_one_commit_fetch_it_once() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let (clone, address) = (at(&fixture), format!("git://127.0.0.1:{}/api.git", daemon.port));
    let each = (0..8).map(|_| fetch(&clone, &address, Some("refs/heads/trunk"), &fixture.first));
    let done = futures_util::future::join_all(each).await;
    let fetched = done.into_iter().filter(|fetched| !fetched.as_ref().unwrap().was_there).count();
    assert_eq!((fetched, packs(&clone)), (1, 1));
}

#[tokio::test]
async fn a_commit_that_vanished_says_what_became_of_its_ref() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let (clone, address) = (at(&fixture), format!("git://127.0.0.1:{}/api.git", daemon.port));
    let gone = "f".repeat(40);
    let forced = fetch(&clone, &address, Some("refs/heads/trunk"), &gone).await.unwrap_err();
    assert_eq!(forced.kind, Kind::NoCommit, "{forced}");
    assert!(forced.reason.to_string().contains("refs/heads/trunk was pushed by force"), "{forced}");
    let deleted = fetch(&clone, &address, Some("refs/heads/none"), &gone).await.unwrap_err();
    assert!(
        deleted.kind == Kind::NoCommit && deleted.reason.to_string().contains("refs/heads/none is gone"),
        "{deleted}"
    );
    let unnamed = fetch(&clone, &address, None, &gone).await.unwrap_err();
    assert!(unnamed.kind == Kind::NoCommit && unnamed.reason.to_string().contains("no branch of it"), "{unnamed}");
    // A tag may name something else than a commit.
    let tree = git(&fixture.bare, &["rev-parse", &format!("{}^{{tree}}", fixture.first)]);
    git(&fixture.bare, &["tag", "a-tree", &tree]);
    let tree = fetch(&clone, &address, Some("refs/tags/a-tree"), &tree).await.unwrap_err();
    assert!(tree.reason.to_string().contains("is a tree, and not a commit"), "{tree}");
}

#[tokio::test]
async fn a_branch_that_became_a_directory_of_branches_is_fetched() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let (clone, address) = (at(&fixture), format!("git://127.0.0.1:{}/api.git", daemon.port));
    git(&fixture.bare, &["branch", "-m", "feature/x", "feature"]);
    fetch(&clone, &address, Some("refs/heads/feature"), &fixture.second).await.unwrap();
    git(&fixture.bare, &["branch", "-m", "feature", "feature/y"]);
    git(&fixture.bare, &["update-ref", "refs/heads/feature/y", &fixture.first]);
    fetch(&clone, &address, Some("refs/heads/feature/y"), &fixture.first).await.unwrap();
}

#[tokio::test]
async fn repositories_with_sha_256_ids_are_listed_fetched_and_looked_at() {
    let fixture = Fixture::new();
    let work = fixture.dir.path().join("sha256");
    fs::create_dir(&work).unwrap();
    git(&work, &["init", "-q", "-b", "main", "--object-format=sha256"]);
    fs::write(work.join("a.txt"), "one\n").unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "The first"]);
    let first = git(&work, &["rev-parse", "HEAD"]);
    git(&work, &["commit", "-q", "--allow-empty", "-m", "The second"]);
    let second = git(&work, &["rev-parse", "HEAD"]);
    git(fixture.dir.path(), &["clone", "-q", "--bare", "sha256", "sha256.git"]);
    let daemon = git_daemon(fixture.dir.path());
    let clone = at(&fixture);
    // A clone with ids of the other kind is in its way.
    let other = format!("git://127.0.0.1:{}/api.git", daemon.port);
    fetch(&clone, &other, Some("refs/heads/trunk"), &fixture.first).await.unwrap();
    for address in [format!("git://127.0.0.1:{}/sha256.git", daemon.port), work.display().to_string()] {
        let refs = super::list(&address).await.unwrap();
        assert_eq!((refs.head.as_deref(), refs.refs[0].commit.as_str()), (Some("refs/heads/main"), second.as_str()));
        let wanted = slipway::source::Wanted {
            store: clone.clone(),
            reference: "refs/heads/main".parse().unwrap(),
            commit: second.parse().unwrap(),
            since: vec![first.parse().unwrap()],
            within: None,
        };
        let found = speaking_git().look(&url(&address), &Access::default(), wanted, LIMITS).await.unwrap();
        assert_eq!((found.message.as_str(), found.changed.len()), ("The second\n", 1), "{address}");
    }
    assert!(is_whole(&clone, &second));
}

#[tokio::test]
async fn shallow_servers_are_listed_and_fetched_over_http_too() {
    let fixture = Fixture::new();
    let source = format!("file://{}", fixture.bare.display());
    git(fixture.dir.path(), &["clone", "-q", "--bare", "--depth=1", "--branch=feature/x", &source, "shallow.git"]);
    let http = HttpBackend::start(fixture.dir.path()).await;
    let address = url(format!("http://127.0.0.1:{}/shallow.git", http.port));
    let access = token("kim", "s3cret");
    assert_eq!(speaking_git().list(&address, &access).await.unwrap().refs.len(), 1);
    let reference: Ref = "refs/heads/feature/x".parse().unwrap();
    let commit: CommitId = fixture.second.parse().unwrap();
    let want = Want { fallback: Fallback::Ref(&reference), commit: &commit, tags: false };
    speaking_git().fetch(&at(&fixture), &address, &access, want, LIMITS).await.unwrap();
    assert!(is_whole(&at(&fixture), &fixture.second));
}

#[tokio::test]
async fn tags_are_those_of_the_source_as_they_are_now() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let (clone, address) = (at(&fixture), url(format!("git://127.0.0.1:{}/api.git", daemon.port)));
    let reference: Ref = "refs/heads/trunk".parse().unwrap();
    let commit: CommitId = fixture.first.parse().unwrap();
    let want = Want { fallback: Fallback::Ref(&reference), commit: &commit, tags: true };
    let tags = || git(&clone, &["tag", "--list"]);
    speaking_git().fetch(&clone, &address, &Access::default(), want, LIMITS).await.unwrap();
    assert_eq!(tags(), "light\nv1");
    git(&fixture.bare, &["tag", "-d", "light"]);
    git(&fixture.bare, &["tag", "v2", &fixture.first]);
    speaking_git().fetch(&clone, &address, &Access::default(), want, LIMITS).await.unwrap();
    assert_eq!(tags(), "v1\nv2");
}

#[tokio::test]
async fn a_clone_that_is_damaged_or_not_ours_is_made_anew() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let (clone, address) = (at(&fixture), format!("git://127.0.0.1:{}/api.git", daemon.port));
    let trunk = Some("refs/heads/trunk");
    // What an earlier slipway left: a shallow repository without our mark.
    let source = format!("file://{}", fixture.bare.display());
    fs::create_dir_all(clone.parent().unwrap()).unwrap();
    git(fixture.dir.path(), &["clone", "-q", "--bare", "--depth=1", &source, clone.to_str().unwrap()]);
    fetch(&clone, &address, trunk, &fixture.first).await.unwrap();
    assert!(!clone.join("shallow").exists());

    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("no HEAD", |clone| fs::remove_file(clone.join("HEAD")).unwrap()),
        ("a pack is cut", |clone| {
            for entry in fs::read_dir(clone.join("objects/pack")).unwrap().flatten() {
                let file = fs::OpenOptions::new().write(true).open(entry.path());
                // git makes them read-only, which is nothing to root.
                if let Ok(file) = file {
                    file.set_len(40).unwrap();
                }
            }
        }),
        ("no objects", |clone| fs::remove_dir_all(clone.join("objects")).unwrap()),
        ("a broken config", |clone| fs::write(clone.join("config"), "[core\n").unwrap()),
    ];
    for (what, damage) in damages {
        damage(&clone);
        fetch(&clone, &address, trunk, &fixture.first).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(is_whole(&clone, &fixture.first), "{what}");
    }
    // Another repository's commits are none of this one's.
    let other = format!("git://127.0.0.1:{}/other.git", daemon.port);
    git(
        fixture.dir.path(),
        &["clone", "-q", "--bare", "--single-branch", "--branch=feature/x", "api.git", "other.git"],
    );
    fetch(&clone, &other, Some("refs/heads/feature/x"), &fixture.second).await.unwrap();
    assert_eq!(git(&clone, &["for-each-ref"]).lines().count(), 1);
}

#[tokio::test]
async fn a_fetch_that_was_killed_leaves_nothing_in_the_way_of_the_next() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let (clone, address) = (at(&fixture), format!("git://127.0.0.1:{}/api.git", daemon.port));
    fetch(&clone, &address, Some("refs/heads/trunk"), &fixture.first).await.unwrap();
    // As `kill -9` of git and of slipway leaves it.
    fs::write(clone.join("shallow.lock"), "").unwrap();
    fs::create_dir_all(clone.join("refs/slipway/tip")).unwrap();
    fs::write(clone.join("packed-refs.lock"), "").unwrap();
    fs::write(clone.join("objects/pack/tmp_pack_x"), "half").unwrap();
    fs::write(clone.with_file_name(".api.lock"), "1 1 - -\n").unwrap();
    fetch(&clone, &address, Some("refs/heads/feature/x"), &fixture.second).await.unwrap();
    assert!(!clone.join("shallow.lock").exists() && !clone.join("objects/pack/tmp_pack_x").exists());
    assert_eq!(fs::read_to_string(clone.with_file_name(".api.lock")).unwrap(), "");
}

#[tokio::test]
async fn a_source_that_is_larger_than_the_limit_is_not_kept() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    let work = fixture.dir.path().join("work");
    let mut noise = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(4 << 20).read_to_end(&mut noise).unwrap();
    fs::write(work.join("large"), noise).unwrap();
    git(&work, &["add", "large"]);
    git(&work, &["commit", "-qm", "A large file"]);
    let large = git(&work, &["rev-parse", "HEAD"]);
    git(&work, &["push", "-q", "../api.git", "HEAD:refs/heads/large"]);
    let (clone, address) = (at(&fixture), format!("git://127.0.0.1:{}/api.git", daemon.port));
    let limits = FetchLimits { bytes: 1 << 20, ..LIMITS };
    let error = fetch_within(&clone, &address, Some("refs/heads/large"), &large, limits).await.unwrap_err();
    assert!(error.kind == Kind::TooBig && error.reason.to_string().contains("git.fetch_limit (1MB)"), "{error}");
    assert!(error.advice.to_string().contains("fetch_limit"), "{error}");
    fetch(&clone, &address, Some("refs/heads/large"), &large).await.unwrap();
    // What is there from before does not count against a commit that does not need it.
    git(&work, &["checkout", "-q", "--orphan", "small"]);
    git(&work, &["rm", "-rqf", "."]);
    git(&work, &["commit", "-q", "--allow-empty", "-m", "Nothing"]);
    let small = git(&work, &["rev-parse", "HEAD"]);
    git(&work, &["push", "-q", "../api.git", "HEAD:refs/heads/small"]);
    fetch_within(&clone, &address, Some("refs/heads/small"), &small, limits).await.unwrap();
    assert!(!is_whole(&clone, &large));
}

#[tokio::test]
async fn a_server_that_hangs_in_the_middle_costs_no_more_than_the_time_of_a_fetch() {
    let fixture = Fixture::new();
    let trickling = super::servers::trickling();
    let address = format!("git://127.0.0.1:{}/a.git", trickling.port);
    let limits = FetchLimits { time: Duration::from_millis(300), ..LIMITS };
    let error = fetch_within(&at(&fixture), &address, None, &fixture.first, limits).await.unwrap_err();
    assert_eq!(error.kind, Kind::Timeout, "{error}");
    let hung_up = trickling.hung_up.recv_timeout(Duration::from_secs(30));
    assert!(hung_up.is_ok(), "somebody still listens to it");
}
