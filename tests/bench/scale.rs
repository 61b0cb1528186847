//! What size costs: a home of 10,000 repositories with 100 refs each and 100,000 pushes, first with 10,000 builds, then with
//! 1,000,000. The start of the pool, the dashboard's first frame, `build list`, a push, and the memory of the pool.
//!
//! `cargo bench --bench scale`, with git, buildctl, buildkitd and runc in PATH, as root. Numbers of builds may be given:
//! `-- 10000 100000`. `$TMPDIR` needs 10 GB for a million builds, and is best not on a disk that others use; 5 GB are enough
//! where small files lie in their inodes: `truncate -s 6G IMAGE; mkfs.ext4 -O inline_data -I 2048 -N 2500000 IMAGE; mount -o
//! loop IMAGE DIRECTORY`.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod screen;
mod support;
mod webhook;

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use screen::Screen;
use slipway::domain::build::{Build, BuildId};
use slipway::domain::journal::{PushId, PushRecord};
use slipway::domain::push::Ref;
use slipway::store::{builds, read};
use support::{World, cpu, median, peak_mb, resident_mb, rounds, row, spread};

const REPOSITORIES: u64 = 10_000;
const REFS: u64 = 100;
const PUSHES: u64 = 100_000;
const NAMESPACES: u64 = 100;
/// A start has done all that it does in the background when the pool and what it started worked for less than this in
/// [`LOOK`].
const IDLE: Duration = Duration::from_millis(30);
const LOOK: Duration = Duration::from_secs(2);

/// Medians of one size.
#[derive(Default)]
struct Measured {
    start: Vec<f64>,
    /// Of the pool, until it answered.
    start_cpu: Vec<f64>,
    frame: Vec<f64>,
    /// Of the dashboard and the pool.
    frame_cpu: Vec<f64>,
    list: Vec<f64>,
    filtered: Vec<f64>,
    push: Vec<f64>,
    resident: Vec<f64>,
    peak: Vec<f64>,
}

fn main() {
    let sizes: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 1_000_000] } else { sizes };
    let config = "[pool]\npoll = \"1d\"\n[webhook]\nlisten = \"127.0.0.1:0\"\n";
    let world = World::new(config, "RUN true\n");
    webhook::prepare(&world);
    world.pool();
    let address = webhook::address(&world);
    webhook::push(&world, &address);
    stop(&world);
    let begun = Instant::now();
    add_repositories(&world);
    let push: PushRecord = read::load(&world.home().pushes_dir().join("1.toml")).unwrap();
    add_pushes(&world, &push);
    println!("{REPOSITORIES} repositories and {PUSHES} pushes were made in {:.0} s", begun.elapsed().as_secs_f64());
    let (mut last, mut measured) = (1, Vec::new());
    for size in sizes {
        let begun = Instant::now();
        add_builds(&world, last + 1, size);
        println!("builds up to {size} were made in {:.0} s", begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        fill(&world);
        println!("their catalog was made in {:.0} s", begun.elapsed().as_secs_f64());
        let result = measure(&world, size);
        tell(size, &result);
        last = newest(&world);
        measured.push((size, result));
    }
    if let [(small, few), .., (large, many)] = &measured[..] {
        let ratio = |of: fn(&Measured) -> &Vec<f64>| format!("{:.2}", median(of(many)) / median(of(few)));
        println!("\n{large} builds against {small}, ratios of medians");
        row("pool start", &ratio(|measured| &measured.start), "");
        row("first frame", &ratio(|measured| &measured.frame), "");
        row("build list", &ratio(|measured| &measured.list), "");
        row("build list of one repository", &ratio(|measured| &measured.filtered), "");
        row("push until buildctl runs", &ratio(|measured| &measured.push), "goal <= 1.1");
        row("resident memory", &ratio(|measured| &measured.resident), "");
    }
}

fn name(repository: u64) -> (String, String) {
    (format!("team{}", repository % NAMESPACES), format!("service{repository}"))
}

/// Repositories that build by themselves, with the refs of their sources as they were seen. All have one source.
fn add_repositories(world: &World) {
    let shared = world.beside("shared");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(&shared).args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    fs::create_dir_all(&shared).unwrap();
    git(&["init", "-q", "-b", "feature-0"]);
    git(&["-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "-qm", "x", "--allow-empty"]);
    (1..REFS).for_each(|number| drop(git(&["branch", &format!("feature-{number}")])));
    let head = git(&["rev-parse", "HEAD"]);
    for namespace in 0..NAMESPACES {
        world.write(&format!("namespaces/team{namespace}.toml"), "");
    }
    let mut refs = String::new();
    // In the order in which the pool writes them.
    let mut numbers: Vec<String> = (0..REFS).map(|number| number.to_string()).collect();
    numbers.sort();
    for number in numbers {
        writeln!(refs, "\"refs/heads/feature-{number}\" = {head:?}").unwrap();
    }
    for repository in 0..REPOSITORIES {
        let (namespace, repository) = name(repository);
        let rule = "[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }]\n";
        world.write(
            &format!("namespaces/{namespace}/{repository}.toml"),
            &format!("[source]\nurl = {shared:?}\n{rule}"),
        );
        let seen =
            format!("schema = 1\nsource = {shared:?}\ndefault_branch = \"refs/heads/feature-0\"\n\n[refs]\n{refs}");
        world.write(&format!("watch/{namespace}/{repository}.toml"), &seen);
    }
}

fn add_pushes(world: &World, model: &PushRecord) {
    let directory = world.home().pushes_dir();
    for id in 2..=PUSHES {
        let (namespace, repository) = name(id % REPOSITORIES);
        let repository = format!("{namespace}/{repository}").parse().unwrap();
        let commit = format!("{id:040x}").parse().unwrap();
        let push = PushRecord { id: PushId(id), repository, commit, settled: true, ..model.clone() };
        fs::write(directory.join(format!("{id}.toml")), toml::to_string(&push).unwrap()).unwrap();
    }
}

/// Finished builds, of every repository in turn.
fn add_builds(world: &World, first: u64, last: u64) {
    let home = world.home();
    let model: Build = read::load(&home.build_dir(1).join(builds::RECORD)).unwrap();
    let begun = Utc::now() - TimeDelta::seconds(i64::try_from(last).unwrap());
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (home, model) = (&home, &model);
            scope.spawn(move || {
                for id in (first..=last).filter(|id| id % 2 == half) {
                    let (namespace, repository) = name(id % REPOSITORIES);
                    let at = begun + TimeDelta::seconds(i64::try_from(id).unwrap());
                    let build = Build {
                        id: BuildId(id),
                        namespace,
                        repository,
                        reference: Ref::branch(format!("feature-{}", id / REPOSITORIES % REFS)),
                        commit: format!("{id:040x}").parse().unwrap(),
                        push: Some(PushId(id % PUSHES)),
                        queued_at: at,
                        started_at: Some(at),
                        finished_at: Some(at + TimeDelta::seconds(1)),
                        ..model.clone()
                    };
                    let directory = home.build_dir(id);
                    fs::create_dir(&directory).unwrap();
                    fs::write(directory.join(builds::RECORD), toml::to_string(&build).unwrap()).unwrap();
                }
            });
        }
    });
}

fn newest(world: &World) -> u64 {
    world.json(&["build", "list", "-n", "1"])[0]["id"].as_u64().unwrap()
}

fn stop(world: &World) {
    assert!(world.slipway(&["pool", "stop"]).status().unwrap().success());
}

/// Runs a pool until every build is in the catalog: what the first pool after an upgrade does in the background.
fn fill(world: &World) {
    world.pool();
    while !slipway::store::Catalog::read(&world.home()).has_all() {
        std::thread::sleep(Duration::from_millis(200));
    }
    stop(world);
}

/// Waits until the pool is idle: its records are compared, and its sources asked.
fn settle(pool: u32) {
    let used = || cpu(pool).map_or(0.0, |used| used.own + used.children);
    let (begun, mut before) = (Instant::now(), used());
    loop {
        std::thread::sleep(LOOK);
        let now = used();
        if now - before < IDLE.as_secs_f64() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(600), "the pool never rests");
        before = now;
    }
}

fn measure(world: &World, size: u64) -> Measured {
    let mut measured = Measured::default();
    for _ in 0..rounds(3) {
        let begun = Instant::now();
        assert!(world.slipway(&["pool", "start"]).status().unwrap().success());
        measured.start.push(begun.elapsed().as_secs_f64());
        let pool = fs::read_to_string(world.home().pool_lock()).unwrap().trim().parse().unwrap();
        measured.start_cpu.push(cpu(pool).unwrap().own);
        // What a start does in the background would be measured, too.
        settle(pool);
        for _ in 0..3 {
            let (begun, before) = (Instant::now(), cpu(pool).unwrap().own);
            let mut command = world.command(env!("CARGO_BIN_EXE_slipway"));
            command.env("LANG", "C.UTF-8");
            let newest = format!("#{size}");
            let mut dashboard = Screen::open(&mut command);
            dashboard.wait(|text| text.contains(&newest) || text.contains(&format!("#{}", size + 1)));
            measured.frame.push(begun.elapsed().as_secs_f64());
            measured.frame_cpu.push(cpu(dashboard.pid()).unwrap().own + cpu(pool).unwrap().own - before);
            dashboard.leave();
        }
        let path = name(size % REPOSITORIES);
        let path = format!("{}/{}", path.0, path.1);
        for (arguments, took) in [
            (vec!["build", "list"], &mut measured.list),
            (vec!["build", "list", &path, "--state", "succeeded"], &mut measured.filtered),
        ] {
            let begun = Instant::now();
            assert!(world.slipway(&arguments).status().unwrap().success());
            took.push(begun.elapsed().as_secs_f64());
        }
        measured.resident.push(resident_mb(pool).unwrap());
        measured.peak.push(peak_mb(pool).unwrap());
        stop(world);
    }
    world.pool();
    let address = webhook::address(world);
    for _ in 0..rounds(20) {
        measured.push.push(webhook::push(world, &address).started);
    }
    stop(world);
    measured
}

fn tell(size: u64, measured: &Measured) {
    println!("\nscale: {size} builds, {PUSHES} pushes, {REPOSITORIES} repositories with {REFS} refs each");
    row("slipway pool start until it answers, s", &spread(&measured.start), "goal <= 0.3");
    row("the same: CPU of the pool until then, s", &spread(&measured.start_cpu), "");
    row("from exec to the first frame with the newest build, s", &spread(&measured.frame), "goal <= 0.3");
    row("the same: CPU of dashboard and pool, s", &spread(&measured.frame_cpu), "");
    row("slipway build list, s", &spread(&measured.list), "");
    row("slipway build list of one repository and state, s", &spread(&measured.filtered), "");
    row("a signed push until buildctl runs, s", &spread(&measured.push), "");
    row("pool's resident memory, MB", &spread(&measured.resident), "goal <= 150");
    row("pool's peak memory, MB", &spread(&measured.peak), "");
}
