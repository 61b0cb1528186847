//! Servers and repositories that mean harm, and other users of the machine: what they get, and what it costs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use slipway::source::{Access, Kind, SourceUrl, Wanted};

use super::servers::{Fixture, HttpBackend, git, git_daemon};
use super::{LIMITS, list, speaking_git, token, url};

#[tokio::test]
async fn a_ref_that_is_not_utf_8_is_left_out_and_stops_nothing() {
    use std::os::unix::ffi::OsStrExt as _;
    let fixture = Fixture::new();
    let refs = fixture.bare.join("refs/heads");
    fs::write(refs.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), format!("{}\n", fixture.first)).unwrap();
    let daemon = git_daemon(fixture.dir.path());
    for address in [fixture.bare.display().to_string(), format!("git://127.0.0.1:{}/api.git", daemon.port)] {
        let refs = list(&address).await.unwrap();
        assert_eq!((refs.refs.len(), refs.left_out), (4, 1), "{address}");
    }
}

/// A git server of protocol v0 that lists `count` branches to whoever asks.
fn listing(count: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pkt = |line: String| format!("{:04x}{line}", line.len() + 4);
    let commit = "c".repeat(40);
    let first = pkt(format!("{commit} refs/heads/main\0multi_ack side-band-64k ofs-delta\n"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked);
            let mut out = std::io::BufWriter::new(stream);
            let _ = out.write_all(first.as_bytes());
            let mut line = pkt(format!("{commit} refs/heads/branch-0000000\n")).into_bytes();
            let last_digit = line.len() - 2;
            for _ in 1..count {
                // Counts in place: formatting two million lines takes longer than all the rest.
                let mut digit = last_digit;
                while line[digit] == b'9' {
                    line[digit] = b'0';
                    digit -= 1;
                }
                line[digit] += 1;
                if out.write_all(&line).is_err() {
                    break;
                }
            }
            let _ = out.write_all(b"0000").and_then(|()| out.flush());
            // Until the client has heard all of it and says good-bye.
            let _ = out.get_mut().read(&mut asked);
        }
    });
    port
}

/// How much memory this process has needed at most, in MB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn two_million_refs_are_refused_and_cost_this_process_little() {
    let port = listing(2_000_000);
    let before = peak();
    let error = list(format!("git://127.0.0.1:{port}/a.git")).await.unwrap_err();
    assert!(
        error.kind == Kind::TooManyRefs && error.reason.to_string().contains("100000 branches and tags"),
        "{error}"
    );
    assert!(peak() < before + 100, "{before} MB before, {} MB after", peak());
    let port = listing(50_000);
    assert_eq!(list(format!("git://127.0.0.1:{port}/a.git")).await.unwrap().refs.len(), 50_000);
}

#[tokio::test]
async fn a_message_of_100_mb_is_cut_where_it_is_read() {
    let fixture = Fixture::new();
    let tree = git(&fixture.bare, &["rev-parse", &format!("{}^{{tree}}", fixture.first)]);
    let mut command = Command::new("git");
    command.args(["hash-object", "-t", "commit", "-w", "--stdin", "--literally"]).current_dir(&fixture.bare);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    write!(stdin, "tree {tree}\nauthor K <k@k> 1 +0000\ncommitter K <k@k> 1 +0000\n\nsubject\n\n").unwrap();
    let block = vec![b'A'; 1 << 20];
    (0..100).for_each(|_| stdin.write_all(&block).unwrap());
    drop(stdin);
    let commit = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned();
    git(&fixture.bare, &["update-ref", "refs/heads/long", &commit]);
    let daemon = git_daemon(fixture.dir.path());
    let before = peak();
    for address in [fixture.bare.display().to_string(), format!("git://127.0.0.1:{}/api.git", daemon.port)] {
        let wanted = Wanted {
            store: fixture.dir.path().join("clone"),
            reference: "refs/heads/long".parse().unwrap(),
            commit: commit.parse().unwrap(),
            since: vec![],
            within: None,
        };
        let found = speaking_git().look(&url(&address), &Access::default(), wanted, LIMITS).await.unwrap();
        assert!(found.message.starts_with("subject\n") && found.message.len() == 64 * 1024, "{address}");
    }
    assert!(peak() < before + 50, "{before} MB before, {} MB after", peak());
}

#[tokio::test]
async fn a_token_stands_in_no_argument_and_no_environment_while_git_fetches() {
    let fixture = Fixture::new();
    let server = HttpBackend::start(fixture.dir.path()).await;
    let address = url(format!("http://127.0.0.1:{}/api.git", server.port));
    let (done, found) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let watcher = thread::spawn({
        let (done, found) = (done.clone(), found.clone());
        move || {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                seen += look_through(&found);
            }
            seen
        }
    });
    for round in 0..5 {
        let clone = fixture.dir.path().join(format!("clone{round}"));
        let (reference, commit) = ("refs/heads/trunk".parse().unwrap(), fixture.first.parse().unwrap());
        let want = slipway::source::git::Want {
            fallback: slipway::source::git::Fallback::Ref(&reference),
            commit: &commit,
            tags: true,
        };
        speaking_git().fetch(&clone, &address, &token("kim", "s3cret"), want, LIMITS).await.unwrap();
        speaking_git().list(&address, &token("kim", "s3cret")).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 0, "no git was seen at all");
    assert!(!server.authorizations().is_empty());
    assert_eq!(*found.lock().unwrap(), Vec::<String>::new());
}

/// Looks for the token in what other processes show; how many of git's were seen.
fn look_through(found: &Mutex<Vec<String>>) -> usize {
    let secrets = ["s3cret", "a2ltOnMzY3JldA"];
    let mut seen = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words = [line.clone(), fs::read(process.path().join("environ")).unwrap_or_default()].concat();
        let words = String::from_utf8_lossy(&words).into_owned();
        seen += usize::from(words.contains("remote-http") || words.contains("git-credential"));
        if secrets.iter().any(|secret| words.contains(secret)) {
            found.lock().unwrap().push(words);
        }
    }
    seen
}

#[tokio::test]
async fn what_a_repository_on_this_disk_is_configured_to_run_is_not_run() {
    let fixture = Fixture::new();
    let mark = fixture.dir.path().join("ran");
    let run = format!("touch {}", mark.display());
    let work = fixture.dir.path().join("sha256");
    git(fixture.dir.path(), &["init", "-q", "-b", "main", "--object-format=sha256", "sha256"]);
    git(&work, &["commit", "-q", "--allow-empty", "-m", "The first"]);
    let first = git(&work, &["rev-parse", "HEAD"]);
    for (repository, commit) in [(&work, &first), (&fixture.dir.path().join("work"), &fixture.first)] {
        for key in [
            "core.fsmonitor",
            "core.sshCommand",
            "diff.external",
            "uploadpack.packObjectsHook",
            "core.alternateRefsCommand",
        ] {
            git(repository, &["config", key, &run]);
        }
        list(repository.display().to_string()).await.unwrap();
        let reference = list(repository.display().to_string()).await.unwrap().refs[0].name.parse().unwrap();
        let store = fixture.dir.path().join("store");
        let (commit, since) = (commit.parse().unwrap(), vec![commit.parse().unwrap()]);
        let wanted = Wanted { store, reference, commit, since, within: None };
        speaking_git().look(&url(repository.display().to_string()), &Access::default(), wanted, LIMITS).await.unwrap();
    }
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_configuration_that_sends_git_elsewhere_reaches_no_file_and_no_program() {
    // The user's own `insteadOf` counts, and still no other transport than those of sources is used.
    let fixture = Fixture::new();
    let program = slipway::source::git::GitProgram::find().unwrap();
    for target in
        [format!("file://{}/", fixture.dir.path().display()), "ext::sh -c touch% /tmp/x ".into(), "fd::0/".into()]
    {
        let address = SourceUrl::parse("https://git.example.com/api.git").unwrap();
        let mut command = speaking_git().reach(&program, &address, &Access::default()).await.unwrap();
        command.config(&format!("url.{target}.insteadOf"), "https://git.example.com/");
        command.args(["ls-remote", "--", address.as_str()]);
        let limits = slipway::source::git::program::Limits { time: LIMITS.time, output: 1 << 20, memory: None };
        let ended = command.run(limits).await.unwrap();
        assert!(!ended.status.success() && ended.stderr.contains("not allowed"), "{target}: {}", ended.stderr);
    }
    assert!(!Path::new("/tmp/x").exists());
}
