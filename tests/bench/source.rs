//! From a push to buildctl where the source is large: a warm source of 100,000 files, fetched over git://, against `git
//! fetch` and `git checkout` of the same change in a working tree of git's own.
//!
//! `cargo bench --bench source`, with git, buildctl, buildkitd and runc in PATH, as root.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::{World, ratios, rounds, row, spread};

const FILES: usize = 100_000;
const CHANGED: usize = 10;

fn main() {
    let world = World::new("[pool]\npoll = \"1h\"\n", "RUN true\n");
    stand_in(&world);
    for file in 0..FILES {
        let path = world.source().join(format!("d{}/s{}/f{file}", file % 50, file % 1000));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("file {file}\n")).unwrap();
    }
    // The image needs none of them: BuildKit would take longer than both.
    fs::write(world.source().join(".dockerignore"), "d*\n").unwrap();
    commit(&world, "Many files");
    let (daemon, port) = serve(world.beside("").as_path());
    let url = format!("git://127.0.0.1:{port}/source");
    world.write("namespaces/bench.toml", "");
    world.write(
        "namespaces/bench/large.toml",
        &format!(
            "[source]\nurl = {url:?}\n[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{{ name = \"latest\" }}]\n"
        ),
    );
    world.pool();
    let theirs = world.beside("theirs");
    git(&world.beside(""), &["clone", "-q", &url, theirs.to_str().unwrap()]);
    build(&world);

    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for round in 1..=rounds(10) {
        for file in 0..CHANGED {
            let file = (round * 7919 + file * 997) % FILES;
            fs::write(world.source().join(format!("d{}/s{}/f{file}", file % 50, file % 1000)), format!("{round}\n"))
                .unwrap();
        }
        commit(&world, "A change");
        let begun = Instant::now();
        git(&theirs, &["fetch", "-q", "origin"]);
        git(&theirs, &["checkout", "-q", "--detach", "origin/main"]);
        gits.push(begun.elapsed().as_secs_f64());
        let before = stamps(&world).len();
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        build(&world);
        ours.push(stamps(&world)[before] - clock);
        eprintln!("round {round}: git {:.3} s, slipway {:.3} s", gits[round - 1], ours[round - 1]);
    }
    println!("\nsource: {CHANGED} of {FILES} files changed, {} alternating rounds", ours.len());
    row("git fetch, git checkout: wall, s", &spread(&gits), "");
    row("slipway build start until buildctl runs, s", &spread(&ours), "");
    row("ratio", &spread(&ratios(&ours, &gits)), "goal <= 1.1");
    end(daemon);
}

fn build(world: &World) {
    assert!(world.slipway(&["build", "start", "bench/large", "--wait"]).status().unwrap().success());
}

fn stamps(world: &World) -> Vec<f64> {
    let text = fs::read_to_string(world.beside("started")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// A buildctl that says when it was started to build, and becomes the real one.
fn stand_in(world: &World) {
    let real = Command::new("sh").args(["-c", "command -v buildctl"]).output().unwrap().stdout;
    let real = String::from_utf8(real).unwrap();
    let file = world.beside("started");
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *\" build \"*) date +%s.%N >> {} ;; esac\nexec {} \"$@\"\n",
        file.display(),
        real.trim()
    );
    let path = world.beside("bin").join("buildctl");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn commit(world: &World, message: &str) {
    git(&world.source(), &["add", "--all"]);
    git(
        &world.source(),
        &["-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "-q", "-m", message],
    );
}

fn git(directory: &Path, arguments: &[&str]) {
    let status = Command::new("git").current_dir(directory).args(arguments).status().unwrap();
    assert!(status.success(), "git {arguments:?}");
}

/// A git daemon of its own process group; its port.
fn serve(base: &Path) -> (Child, u16) {
    use std::os::unix::process::CommandExt as _;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("git");
    command.args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")]);
    command.arg(format!("--base-path={}", base.display())).stdin(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let daemon = command.spawn().unwrap();
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "git daemon does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    (daemon, port)
}

fn end(mut daemon: Child) {
    let group = rustix::process::Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
    daemon.wait().unwrap();
}
