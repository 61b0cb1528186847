//! Sources against real servers on loopback: `git daemon`, sshd, `git http-backend`, and servers that misbehave.

#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking, as tests do

#[path = "source/attacks.rs"]
mod attacks;
#[path = "source/clones.rs"]
mod clones;
#[path = "source/commits.rs"]
mod commits;
#[path = "source/servers.rs"]
mod servers;
#[path = "source/ssh.rs"]
mod ssh;

use std::fs;
use std::time::Duration;

use servers::{Fixture, HttpBackend, git, git_daemon};
use slipway::domain::push::Ref;
use slipway::source::git::FetchLimits;
use slipway::source::{Access, Credentials, Git, Kind, Refs, SourceError, SourceUrl};
use slipway::store::secrets::Secret;

fn url(text: impl AsRef<str>) -> SourceUrl {
    SourceUrl::parse(text.as_ref()).unwrap()
}

const LIMITS: FetchLimits = FetchLimits::new(Duration::from_secs(120), 1 << 30);

fn speaking_git() -> Git {
    Git::new(env!("CARGO_BIN_EXE_slipway").into())
}

async fn list(text: impl AsRef<str>) -> Result<Refs, SourceError> {
    speaking_git().list(&url(text), &Access::default()).await
}

fn token(username: &str, token: &str) -> Access {
    let credentials =
        Credentials { username: Some(username.into()), token: Some(Secret::new(token)), ..Credentials::default() };
    Access { credentials, ..Access::default() }
}

fn expect_fixture(fixture: &Fixture, refs: &Refs) {
    assert_eq!(refs.head.as_deref(), Some("refs/heads/trunk"));
    let got: Vec<(&str, &str)> = refs.refs.iter().map(|r| (r.name.as_str(), r.commit.as_str())).collect();
    assert_eq!(
        got,
        [
            ("refs/heads/feature/x", fixture.second.as_str()),
            ("refs/heads/trunk", &fixture.first),
            ("refs/tags/light", &fixture.first),
            ("refs/tags/v1", &fixture.first),
        ]
    );
}

#[tokio::test]
async fn a_local_repository_lists_its_branches_and_peeled_tags() {
    let fixture = Fixture::new();
    expect_fixture(&fixture, &list(fixture.bare.display().to_string()).await.unwrap());
    expect_fixture(&fixture, &list(format!("file://{}", fixture.bare.display())).await.unwrap());
}

#[tokio::test]
async fn a_local_path_that_is_no_repository_says_which_way() {
    let fixture = Fixture::new();
    let missing = list("/no/such/repository.git").await.unwrap_err();
    assert_eq!(missing.kind, Kind::NotFound, "{missing}");
    let plain = list(fixture.dir.path().display().to_string()).await.unwrap_err();
    assert_eq!(plain.kind, Kind::NotARepository, "{plain}");
    let empty = fixture.dir.path().join("empty.git");
    git(fixture.dir.path(), &["init", "-q", "--bare", "empty.git"]);
    assert_eq!(list(empty.display().to_string()).await.unwrap(), Refs::default());
}

#[tokio::test]
async fn a_local_repository_says_where_it_was_cloned_from_unless_its_disk_hangs() {
    let fixture = Fixture::new();
    let address = url(fixture.bare.display().to_string());
    git(&fixture.bare, &["config", "remote.origin.url", "https://git.example.com/acme/api.git"]);
    let origin = speaking_git().origin(&address, Duration::from_secs(60)).await.unwrap();
    assert_eq!(origin.as_str(), "https://git.example.com/acme/api.git");
    // Nobody ever writes into the pipe.
    fs::remove_file(fixture.bare.join("config")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(fixture.bare.join("config")).status().unwrap().success());
    assert_eq!(speaking_git().origin(&address, Duration::from_millis(300)).await, None);
}

#[tokio::test]
async fn a_local_repository_of_another_user_is_refused_as_git_does() {
    let fixture = Fixture::new();
    let nobody = 65534;
    if std::os::unix::fs::chown(&fixture.bare, Some(nobody), Some(nobody)).is_err() {
        // Only root gives files away.
        return;
    }
    let error = list(fixture.bare.display().to_string()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Owner, "{error}");
    assert!(error.to_string().contains("git config --global --add safe.directory /"), "{error}");
    let error = slipway::source::tree::local(&fixture.bare).unwrap_err();
    assert!(error.to_string().contains("belongs to another user"), "{error}");
}

#[tokio::test]
async fn git_daemon_lists_and_tells_what_is_missing() {
    let fixture = Fixture::new();
    let daemon = git_daemon(fixture.dir.path());
    expect_fixture(&fixture, &list(format!("git://127.0.0.1:{}/api.git", daemon.port)).await.unwrap());
    let error = list(format!("git://127.0.0.1:{}/none.git", daemon.port)).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound, "{error}");
}

#[tokio::test]
async fn http_takes_the_token_and_nothing_else() {
    let fixture = Fixture::new();
    let server = HttpBackend::start(fixture.dir.path()).await;
    let address = url(format!("http://127.0.0.1:{}/api.git", server.port));
    expect_fixture(&fixture, &speaking_git().list(&address, &token("kim", "s3cret")).await.unwrap());
    for access in [token("kim", "wrong"), token("lee", "s3cret"), Access::default()] {
        let error = speaking_git().list(&address, &access).await.unwrap_err();
        assert_eq!(error.kind, Kind::Credentials, "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    let none = url(format!("http://127.0.0.1:{}/none.git", server.port));
    let error = speaking_git().list(&none, &token("kim", "s3cret")).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound, "{error}");
    let page = url(format!("http://127.0.0.1:{}/page", server.port));
    let error = speaking_git().list(&page, &token("kim", "s3cret")).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotARepository, "{error}");
}

#[tokio::test]
async fn a_redirect_to_another_server_does_not_get_the_token() {
    let fixture = Fixture::new();
    let server = HttpBackend::start(fixture.dir.path()).await;
    let other = HttpBackend::start(fixture.dir.path()).await;
    let address = url(format!("http://127.0.0.1:{}/away/{}/api.git", server.port, other.port));
    let error = speaking_git().list(&address, &token("kim", "s3cret")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Credentials, "{error}");
    assert!(error.to_string().contains("redirects to another one"), "{error}");
    assert!(other.authorizations().is_empty());
}

#[tokio::test]
async fn https_with_a_private_ca_needs_that_ca() {
    let fixture = Fixture::new();
    let server = HttpBackend::start(fixture.dir.path()).await;
    let tls = servers::tls_front(server.port);
    let address = url(format!("https://localhost:{}/api.git", tls.port));
    let error = speaking_git().list(&address, &token("kim", "s3cret")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Tls, "{error}");
    let ca = fixture.dir.path().join("ca.pem");
    fs::write(&ca, &tls.ca_pem).unwrap();
    let access = Access { ca: Some(ca), ..token("kim", "s3cret") };
    let git = speaking_git();
    expect_fixture(&fixture, &git.list(&address, &access).await.unwrap());
    let error = git.list(&address, &token("kim", "s3cret")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Tls, "the CA of one source vouches for no other: {error}");
    let broken = Access { ca: Some(fixture.dir.path().join("none.pem")), ..token("kim", "s3cret") };
    let error = speaking_git().list(&address, &broken).await.unwrap_err();
    assert!(error.kind == Kind::Tls && error.to_string().contains("none.pem"), "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_its_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for text in [
        "https://127.0.0.1:PORT/a.git",
        "http://127.0.0.1:PORT/a.git",
        "ssh://127.0.0.1:PORT/a",
        "git://127.0.0.1:PORT/a",
    ] {
        let access = Access { timeout: Duration::from_millis(300), ..Access::default() };
        let error = speaking_git().list(&url(text.replace("PORT", &port.to_string())), &access).await.unwrap_err();
        assert_eq!(error.kind, Kind::Timeout, "{error}");
        assert!(error.to_string().contains("no answer within 0.3 s"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_trickles_is_hung_up_on_when_its_time_is_over() {
    let trickling = servers::trickling();
    let access = Access { timeout: Duration::from_secs(1), ..Access::default() };
    let git = speaking_git();
    for scheme in ["git", "http", "ssh"] {
        let address = url(format!("{scheme}://127.0.0.1:{}/a.git", trickling.port));
        let error = git.list(&address, &access).await.unwrap_err();
        assert!(error.to_string().contains("no answer within 1.0 s"), "{error}");
        let hung_up = trickling.hung_up.recv_timeout(Duration::from_secs(30));
        assert!(hung_up.is_ok(), "{scheme}: somebody still listens to it");
    }
    // Nobody else is the worse for it.
    let fixture = Fixture::new();
    expect_fixture(&fixture, &git.list(&url(fixture.bare.display().to_string()), &access).await.unwrap());
}

#[tokio::test]
async fn a_server_that_lies_is_an_error_and_no_more() {
    let commit = "c".repeat(40);
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let capabilities = "\0multi_ack side-band-64k ofs-delta\n";
    let lies = [
        "this is no git".to_owned(),
        "ffffffffffffffff".into(),
        format!("0003{}0000", line("x")),
        format!("{}0000", line(&format!("{} refs/heads/main{capabilities}", "z".repeat(40)))),
        format!("{}0000", line("refs/heads/main")),
        line(&format!("{commit} refs/heads/main{capabilities}")),
    ];
    for lie in &lies {
        let port = servers::saying(lie.as_bytes());
        let access = Access { timeout: Duration::from_secs(5), ..Access::default() };
        let listed = speaking_git().list(&url(format!("git://127.0.0.1:{port}/a.git")), &access).await;
        assert!(listed.is_err(), "{lie:?}: {listed:?}");
    }
    // Names that no ref can have, and control characters, come through as nothing that a rule could match.
    let odd = format!(
        "{}{}{}0000",
        line(&format!("{commit} refs/heads/main{capabilities}")),
        line(&format!("{commit} refs/heads/../../etc/passwd\n")),
        line(&format!("{commit} refs/heads/\x1b[2Jx\n"))
    );
    let port = servers::saying(odd.as_bytes());
    if let Ok(refs) = list(format!("git://127.0.0.1:{port}/a.git")).await {
        let named: Vec<Ref> = refs.refs.iter().filter_map(|found| found.name.parse().ok()).collect();
        assert!(named.iter().all(|found| found.name == "main"), "{named:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_or_is_not_there_is_a_matter_of_the_network() {
    let port = servers::hanging_up();
    for scheme in ["https", "http", "ssh", "git"] {
        let error = list(format!("{scheme}://127.0.0.1:{port}/a.git")).await.unwrap_err();
        // OpenSSL calls a connection that ends in its handshake an error of TLS.
        let expected = if scheme == "https" { [Kind::Network, Kind::Tls] } else { [Kind::Network; 2] };
        assert!(expected.contains(&error.kind), "{error}");
    }
    let closed = servers::free_port();
    let error = list(format!("http://127.0.0.1:{closed}/a.git")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Network, "{error}");
    let error = list("https://no-such-host.invalid/a.git").await.unwrap_err();
    assert_eq!(error.kind, Kind::Network, "{error}");
}
