//! The one door: what clients ask the pool for, over its socket and through `slipway pool connect`, and whom it answers.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::{Signal, kill_process};
use slipway::client::{Client, Heard, IfAbsent};
use slipway::domain::build::BuildId;
use slipway::domain::build_query::BuildQuery;
use slipway::protocol::logs::{BuildLog, LogName, LogSearch};
use slipway::protocol::{Answer, Error, ErrorKind, Request, VERSION};
use slipway::store::Home;
use tokio::runtime::Runtime;

use crate::fixture::{START, home_of};
use crate::home::{STRANGER, as_user, speak};
use crate::support::background::{Background, Ran, run};
use crate::support::git_repo::GitRepo;
use crate::support::project::{Project, ticking};
use crate::support::slipway::Slipway;
use crate::support::wait::wait_until;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A client that reaches the pool through the pipes of `slipway pool connect`, as ssh would.
fn through_pipes(slipway: &Slipway) -> Client {
    let nowhere = slipway.home().join("a client's own home");
    Client::through(Home::at(nowhere), slipway.command(&["pool", "connect"]).into()).unwrap()
}

#[test]
fn a_client_of_another_version_is_told_so_and_can_still_end_the_pool() {
    let slipway = Slipway::new();
    slipway.run(&["pool", "start"]).ok();
    let socket = slipway.home().join("pool.sock");
    for call in [
        format!(r#"{{"version":{},"request":"status"}}"#, VERSION - 1),
        format!(r#"{{"version":{},"request":"status"}}"#, VERSION + 1),
        // What a newer client asks need not parse.
        format!(r#"{{"version":{},"request":{{"build_it_yesterday":{{"id":1}}}}}}"#, VERSION + 1),
        r#"{"version":1,"request":{"start":{"path":"a/b","rule":null,"asked_by":"kim"}}}"#.to_owned(),
    ] {
        let answer: Answer = serde_json::from_str(&speak(0, &socket, &call).ok().stdout).unwrap();
        let Answer::Error(error) = answer else { panic!("{answer:?}") };
        assert_eq!(error.kind, ErrorKind::Unreachable);
        let text = error.to_string();
        assert!(text.contains("does not understand this client") && text.contains("slipway pool stop"), "{text}");
    }
    let stop = format!(r#"{{"version":{},"request":"stop"}}"#, VERSION - 1);
    assert!(speak(0, &socket, &stop).ok().stdout.contains("done"));
    slipway.wait_until("the pool ends", || slipway.run(&["pool", "status"]).code() == Some(5));
}

#[test]
fn a_client_behind_pipes_gets_builds_and_logs_in_ranges_and_by_search() {
    let repo = GitRepo::with_dockerfile(&["RUN for i in $(seq 1 3000); do echo line $i of many; done"]);
    let slipway = home_of(&repo);
    // Nobody started a pool: the other side does.
    let runtime = runtime();
    let client = {
        let _entered = runtime.enter();
        through_pipes(&slipway)
    };
    let (path, rule) = ("acme/api".parse().unwrap(), Some("main".to_owned()));
    runtime
        .block_on(async {
            assert!(client.status().await?.pid > 0);
            assert!(client.settings().await?.settings.namespaces.contains_key("acme"));
            let (build, already) = client.queue(Request::Start { path, rule }).await?;
            assert!(!already);
            let id = build.id;
            // The log is followed while it is written, to its end.
            let mut followed = Vec::new();
            let ended = async { drop(client.wait_until(id, |_| false, |_| {}).await) };
            let take = |piece: &[u8]| {
                followed.extend_from_slice(piece);
                Ok::<(), Problem>(())
            };
            client.follow_log(BuildLog::of(id, 1), ended, take).await.unwrap();
            let log = fs::read(slipway.home().join(format!("builds/{id}/log").replace('#', ""))).unwrap();
            assert_eq!(String::from_utf8_lossy(&followed), String::from_utf8_lossy(&log));

            let name = LogName::Build(BuildLog::newest(id));
            let opened = client.open_log(BuildLog::newest(id)).await?;
            assert!(opened.log.is_none() && opened.size == Some(log.len() as u64), "{opened:?}");
            let (range, bytes) = client.read_log(name, 100, 50, false).await?;
            assert_eq!((range.offset, range.length, range.size, range.is_final), (100, 50, log.len() as u64, true));
            assert_eq!(bytes, log[100..150]);
            let (end, bytes) = client.read_log(name, log.len() as u64, 50, true).await?;
            assert_eq!((end.length, bytes.len()), (0, 0), "nothing is waited for that never comes");

            let index = client.index_log(name, 1000).await?;
            let lines: Vec<&[u8]> = log.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
            assert_eq!((index.size, index.lines), (log.len() as u64, lines.len() as u64));
            let thousandth = usize::try_from(index.places[1]).unwrap();
            assert!(log[thousandth..].starts_with(lines[1000]));

            let search = LogSearch { pattern: "line 29[0-9]{2} of".into(), from: 0, backwards: false, limit: 40 };
            let mut found = Vec::new();
            let mut from = Some(0);
            while let Some(at) = from {
                let page = client.search_log(name, LogSearch { from: at, ..search.clone() }).await?;
                found.extend(page.lines.into_iter().map(|line| line.text));
                from = page.next;
            }
            // The command that prints them says none of them itself.
            assert_eq!(found.len(), 100, "{found:?}");
            assert!(found[0].ends_with("line 2900 of many"));
            let last = LogSearch { from: log.len() as u64, backwards: true, limit: 1, ..search };
            let page = client.search_log(name, last).await?;
            assert!(page.lines[0].text.ends_with("line 2999 of many") && page.next.is_some(), "{page:?}");
            let wrong = LogSearch { pattern: "(".into(), from: 0, backwards: false, limit: 1 };
            assert_eq!(client.search_log(name, wrong).await.unwrap_err().kind, ErrorKind::Usage);

            let page = client.build_page(BuildQuery::default()).await?;
            assert_eq!(page.builds.iter().map(|build| build.id).collect::<Vec<_>>(), [id]);
            assert_eq!(client.build(BuildId(99)).await.unwrap_err().kind, ErrorKind::NotFound);
            // What changes is heard through the pipes, too.
            let mut news = 0;
            client
                .watch(IfAbsent::Start, |heard| {
                    news += usize::from(matches!(heard, Heard::News(_)));
                    false
                })
                .await?;
            assert_eq!(news, 1);
            Ok::<(), Error>(())
        })
        .unwrap();
    slipway.run(&["pool", "stop"]).ok();
}

/// What may fail while a log is followed.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Pool(#[from] Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

#[test]
fn builds_come_in_pages_that_hold_what_is_asked_for_once() {
    let slipway = Slipway::new();
    let record = |id: u64, rule: &str| {
        let state = if id.is_multiple_of(3) { "failed" } else { "succeeded" };
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocol/answers/build.json"));
        let mut build = serde_json::from_str::<serde_json::Value>(&text.unwrap()).unwrap()["reply"]["build"].take();
        build["id"] = id.into();
        build["state"] = state.into();
        build["rule"]["name"] = rule.into();
        let build: slipway::domain::build::Build = serde_json::from_value(build).unwrap();
        slipway.write(&format!("builds/{id}/build.toml"), &toml::to_string(&build).unwrap());
    };
    for id in 1..=60 {
        record(id, if id % 2 == 0 { "main" } else { "release" });
    }
    slipway.write("builds/61/build.toml", "no record");
    slipway.run(&["pool", "start"]).ok();
    let client = Client::of(Home::at(slipway.home()));
    let list = |query: BuildQuery| -> Vec<u64> {
        let (mut ids, mut query) = (Vec::new(), query);
        loop {
            let page = runtime().block_on(client.build_page(query.clone())).unwrap();
            assert!(page.builds.len() <= query.limit);
            ids.extend(page.builds.iter().map(|build| build.id.0));
            query.before = page.next;
            if query.before.is_none() {
                assert_eq!(page.older, 0);
                return ids;
            }
        }
    };
    let query = |limit| BuildQuery { limit, ..BuildQuery::default() };
    assert_eq!(list(query(7)), (1..=60).rev().collect::<Vec<u64>>());
    let failed = BuildQuery { states: ["failed".parse().unwrap()].into(), rule: Some("main".into()), ..query(4) };
    assert_eq!(list(failed), [60, 54, 48, 42, 36, 30, 24, 18, 12, 6]);
    let page = runtime().block_on(client.build_page(query(1))).unwrap();
    assert!(page.unreadable.len() == 1 && page.older >= 59, "{page:?}");
    let shown = slipway.run(&["build", "list", "--state", "failed", "-n", "3"]).ok();
    assert!(shown.stdout.contains("#60") && shown.stdout.contains("#54") && !shown.stdout.contains("#51"), "{shown}");
}

/// Runs slipway as another user, who names the socket of this pool.
fn as_stranger(slipway: &Slipway, own_home: &Path, args: &[&str]) -> Ran {
    let mut command = slipway.command(args);
    command.env("SLIPWAY_SOCKET", slipway.home().join("pool.sock")).env("SLIPWAY_HOME", own_home);
    run(&mut as_user(STRANGER, &command))
}

#[test]
fn other_users_may_do_what_config_says_and_are_recorded_by_their_number() {
    let repo = GitRepo::with_dockerfile(&["RUN echo hello"]);
    let slipway = home_of(&repo);
    slipway.run(&START).ok();
    let own_home = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(own_home.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    // The socket lies in the home, whose directory others must be able to pass.
    fs::set_permissions(slipway.home(), fs::Permissions::from_mode(0o711)).unwrap();
    let stranger = |args: &[&str]| as_stranger(&slipway, own_home.path(), args);
    let socket = slipway.home().join("pool.sock");
    let mode = || fs::metadata(&socket).unwrap().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    assert_eq!(stranger(&["build", "list"]).code(), Some(5));

    slipway.write("config.toml", &format!("[access]\nviewers = [\"{STRANGER}\"]\n"));
    slipway.wait_until("others can connect", || mode() == 0o666);
    assert!(stranger(&["build", "list"]).ok().stdout.contains("succeeded"));
    // The log is handed over open: its file is for the pool's user alone.
    assert!(stranger(&["build", "logs", "1"]).ok().stdout.contains("hello"));
    for args in [
        &["build", "start", "acme/api"][..],
        &["build", "retry", "1"],
        &["namespace", "create", "mine"],
        &["secret", "list"],
        &["pool", "stop"],
    ] {
        let refused = stranger(args);
        assert_eq!(refused.code(), Some(4), "{args:?}: {refused}");
        assert!(refused.stderr.contains("viewers") && refused.stderr.contains("[access]"), "{refused}");
    }

    slipway.write("config.toml", &format!("[access]\nviewers = [\"*\"]\nbuilders = [\"{STRANGER}\"]\n"));
    let mut retried = None;
    slipway.wait_until("builders may build", || {
        let ran = stranger(&["build", "retry", "1", "--output", "json"]);
        retried = (ran.code() == Some(0)).then(|| ran.json());
        retried.is_some()
    });
    assert_eq!(retried.unwrap()["asked_by_uid"], STRANGER);
    assert_eq!(stranger(&["namespace", "create", "mine"]).code(), Some(4));
    let log = fs::read_to_string(slipway.home().join("audit.log")).unwrap();
    let line = |verb: &str, outcome: &str| {
        let of_it = |line: &&str| {
            line.contains(&format!("\"verb\":\"{verb}\"")) && line.contains(&format!("\"outcome\":\"{outcome}\""))
        };
        log.lines().find(of_it).unwrap_or_else(|| panic!("no {verb} {outcome} in {log}")).to_owned()
    };
    assert!(line("namespace.create", "refused").contains(&STRANGER.to_string()));
    assert!(line("build.retry", "done").contains(&STRANGER.to_string()));

    slipway.write("config.toml", "");
    slipway.wait_until("nobody else connects any more", || mode() == 0o600);
    assert_eq!(stranger(&["build", "list"]).code(), Some(5));
}

#[test]
fn a_pool_that_hangs_or_has_lost_its_socket_is_named_and_comes_back() {
    let project = Project::new(&["RUN true"]);
    let pid = project.pool()["pid"].as_i64().unwrap();
    let pool = project.pool_pid();
    let named = format!("process {pid}");
    kill_process(pool, Signal::STOP).unwrap();
    let hung = project.slipway.run(&["pool", "status"]);
    assert_eq!(hung.code(), Some(5), "{hung}");
    assert!(hung.stderr.contains(&named) && hung.stderr.contains("has not answered since"), "{hung}");
    fs::remove_file(project.slipway.home().join("pool.sock")).unwrap();
    let lost = project.slipway.run(&["pool", "status"]);
    assert_eq!(lost.code(), Some(5), "{lost}");
    assert!(lost.stderr.contains(&named) && lost.stderr.contains("pool.sock is gone"), "{lost}");
    kill_process(pool, Signal::CONT).unwrap();
    assert_eq!(project.slipway.json(&["pool", "status"])["pid"], pid, "it made its socket again");
}

#[test]
fn a_pool_is_reached_whatever_the_environment_and_the_length_of_its_path() {
    let slipway = Slipway::new();
    let long = slipway.home().join("a-long-name/".repeat(12));
    fs::create_dir_all(&long).unwrap();
    fs::set_permissions(&long, fs::Permissions::from_mode(0o700)).unwrap();
    let command = |args: &[&str]| {
        let mut command = slipway.command(args);
        command.env("SLIPWAY_HOME", &long);
        command
    };
    let runtime_dir = tempfile::tempdir().unwrap();
    run(command(&["pool", "start"]).env("XDG_RUNTIME_DIR", runtime_dir.path())).ok();
    run(&mut command(&["namespace", "create", "acme"])).ok();
    assert!(run(&mut command(&["pool", "stop"])).ok().stderr.contains("the pool ended"));
}

#[test]
fn a_log_is_followed_by_several_clients_at_once() {
    let project = Project::new(&[&ticking("followed", 20)]);
    let id = project.start();
    let mut clients: Vec<Background> = (0..3)
        .map(|_| project.slipway.spawn(&["build", "logs", "-f", &id.to_string()]))
        .chain([project.slipway.spawn(&["build", "retry", "99", "--wait"])])
        .collect();
    assert_eq!(clients.pop().unwrap().finish().code(), Some(3));
    wait_until("they follow", || clients.iter().all(|client| client.stdout().contains("tick 5")));
    for client in clients {
        let ran = client.finish().ok();
        assert!(ran.stdout.contains("tick 20"), "{ran}");
    }
    assert_eq!(project.state(id), "succeeded");
    assert_eq!(project.slipway.run(&["build", "logs", "-f", "1"]).ok().stdout, project.log(id));
}
