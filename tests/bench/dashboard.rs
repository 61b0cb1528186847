//! The dashboard in a real terminal: its first frame with ten thousand builds on disk, a key's way to the screen under eight
//! floods, what following a flood sends over the line, and what it costs idle.
//!
//! `cargo bench --bench dashboard`, with buildctl, buildkitd and runc in PATH, as root; `-- frame` or `-- floods` for one part
//! alone. A `gitui` in PATH is measured beside it, on a repository with as many commits.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod screen;
mod support;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use screen::Screen;
use slipway::sys::thread_priority::prompt;
use support::{Again, World, multiply, peak_mb, ratios, rounds, row, spread};

const BUILDS: u64 = 10_000;
const FLOODS: usize = 8;
const KEYS: usize = 400;
const IDLE: Duration = Duration::from_secs(5);

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    if wanted("frame") {
        first_frame();
    }
    if wanted("floods") {
        floods();
    }
}

fn repository(world: &World, name: &str, build: &str) {
    world.write("namespaces/bench.toml", "");
    world.write(
        &format!("namespaces/bench/{name}.toml"),
        &format!(
            "[source]\nurl = {:?}\n[build]\n{build}\n[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{{ name = \"latest\" }}]\n",
            world.source()
        ),
    );
}

/// From exec to a screen that shows the newest of ten thousand builds with its log; then idle.
fn first_frame() {
    let world = World::new("", "RUN seq 200\n");
    repository(&world, "frame", "");
    world.pool();
    let first = world.json(&["build", "start", "bench/frame", "--wait"])["id"].as_u64().unwrap();
    let built = Instant::now();
    multiply(&world, first, BUILDS);
    let (mut shown, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..rounds(9) {
        let begun = Instant::now();
        let mut screen = Screen::open(&mut dashboard(&world));
        screen.wait(|text| text.contains(&format!("#{BUILDS}")) && text.contains("exporting"));
        shown.push(begun.elapsed().as_secs_f64());
        screen.wait(|text| !text.contains("reading"));
        memory.push(peak_mb(screen.pid()).unwrap());
        screen.leave();
    }
    let mut screen = Screen::open(&mut dashboard(&world));
    screen.wait(|text| text.contains(&format!("#{BUILDS}")) && !text.contains("reading"));
    // What the start still does is no idling; nor is an age that is told in seconds.
    std::thread::sleep(Duration::from_secs(2).max(Duration::from_secs(65).saturating_sub(built.elapsed())));
    let idle = || {
        let before = wake_ups(screen.pid());
        std::thread::sleep(IDLE);
        wake_ups(screen.pid()) - before
    };
    // Once a minute the clock goes on, and once an age.
    let idle = (0..3).map(|_| idle()).min().unwrap();
    screen.leave();
    println!("\ndashboard: {BUILDS} builds on disk, medians of {} rounds (least to most)", shown.len());
    row("from exec to the first full frame, s", &spread(&shown), "goal <= 0.05");
    row("peak memory with all of them read, MB", &spread(&memory), "");
    row(&format!("wake-ups in {} s, idle, least of 3 times", IDLE.as_secs()), &idle.to_string(), "goal 0");
    peers(&world, &shown);
}

/// Dashboards that people like, for their first full frame: each is measured where it is in PATH.
fn peers(world: &World, ours: &[f64]) {
    let commits = world.beside("commits");
    let gitui = ["-d", commits.to_str().unwrap()];
    // Those of containers have one to show.
    let container = Container::new(world);
    let peers: [(&str, &[&str], &[&str]); 3] = [
        ("gitui", &gitui, &["Status", "main"]),
        ("lazydocker", &[], &["Containers", "Volumes", CONTAINER]),
        ("oxker", &[], &["Containers", CONTAINER]),
    ];
    for (program, arguments, texts) in peers {
        if container.is_none() && texts.contains(&CONTAINER) {
            println!("{program} has no docker daemon: not measured");
            continue;
        }
        let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            println!("{program} is not in PATH: not measured");
            continue;
        }
        if program == "gitui" {
            commit(&commits);
        }
        let mut shown = Vec::new();
        for _ in 0..rounds(9) {
            let begun = Instant::now();
            let mut screen = Screen::open(Command::new(program).args(arguments));
            screen.wait(|screen| texts.iter().all(|text| screen.contains(text)));
            shown.push(begun.elapsed().as_secs_f64());
            screen.kill();
        }
        row(&format!("{program}: first full frame, s"), &spread(&shown), "");
        row("ratio", &spread(&ratios(ours, &shown)), "goal < 1");
    }
}

/// A container that never ran, of an image of nothing but a file; removed when dropped.
struct Container;

const CONTAINER: &str = "slipway-bench";

impl Container {
    /// None where there is no docker daemon.
    fn new(world: &World) -> Option<Container> {
        let directory = world.beside("container");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("file"), "").unwrap();
        let script =
            format!("tar c file | docker import - {CONTAINER} && docker create --name {CONTAINER} {CONTAINER} /file");
        let mut made = Command::new("sh");
        made.args(["-c", &script]).current_dir(&directory).stdout(Stdio::null()).stderr(Stdio::null());
        made.status().unwrap().success().then_some(Container)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let script = format!("docker rm {CONTAINER}; docker rmi {CONTAINER}");
        let _ = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// A git repository of ten thousand commits.
fn commit(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(directory).args(arguments);
        command
    };
    assert!(git(&["init", "-q", "-b", "main"]).status().unwrap().success());
    let mut import = git(&["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = import.stdin.take().unwrap();
    for number in 1..=BUILDS {
        let who = format!("bench <bench@example.org> {} +0000", 1_600_000_000 + number);
        write!(input, "commit refs/heads/main\ncommitter {who}\ndata 6\ncommit\n").unwrap();
    }
    drop(input);
    assert!(import.wait().unwrap().success());
}

/// Eight builds that print as fast as they can, one of them on the screen.
fn floods() {
    let world = World::new(&format!("[pool]\nbuilds = {FLOODS}\n"), "RUN seq 100000000\n");
    for number in 0..FLOODS {
        repository(&world, &format!("flood{number}"), "cache = false");
    }
    world.pool();
    for number in 0..FLOODS {
        world.json(&["build", "start", &format!("bench/flood{number}")]);
    }
    let mut screen = Screen::open(&mut dashboard(&world));
    // The person's terminal is on another machine: what stands in for it here must not wait for a core.
    prompt(|| ());
    screen.wait(|text| text.contains("FOLLOW") && text.contains("00"));
    let (mut latencies, before) = (Vec::new(), processor_ticks());
    for _ in 0..KEYS / 2 {
        for (keys, is_open) in [("?", true), ("\x1b", false)] {
            let begun = Instant::now();
            screen.send(keys);
            screen.wait(|text| text.contains("In lists") == is_open);
            latencies.push(begun.elapsed().as_secs_f64());
            std::thread::sleep(Duration::from_millis(40));
        }
    }
    let after = processor_ticks();
    let stolen = (after.stolen - before.stolen) as f64 / (after.all - before.all) as f64;
    latencies.sort_by(f64::total_cmp);
    let p99 = latencies[latencies.len() * 99 / 100];
    // What the line carries while somebody watches, against what buildctl's own display of the same build sends.
    let following = bytes_in(&screen, Duration::from_secs(10));
    let memory = peak_mb(screen.pid()).unwrap();
    screen.leave();
    for id in 2..=FLOODS {
        let _ = world.slipway(&["build", "cancel", "--yes", &id.to_string()]).status();
    }
    let again = Again::of(&world.job(1), &world.beside("again"));
    let _ = world.slipway(&["build", "cancel", "--yes", "1"]).status();
    let mut command = world.command(&again.program);
    command.args(again.arguments.iter().map(|argument| argument.replace("rawjson", "tty")));
    let mut theirs = Screen::open(&mut command);
    theirs.wait(|text| text.contains("00"));
    let display = bytes_in(&theirs, Duration::from_secs(10));
    theirs.kill();
    println!("\ndashboard: {FLOODS} builds print as fast as they can, one of them on the screen");
    row(&format!("a key's way to the screen, median of {KEYS}, s"), &spread(&latencies), "");
    row("a key's way to the screen, p99, s", &format!("{p99:.3}"), "goal <= 0.033");
    row("of that time the host ran something else", &format!("{:.1}%", stolen * 100.0), "");
    row("following, bytes a second", &format!("{following:.0}"), "");
    row("buildctl --progress=tty, bytes a second", &format!("{display:.0}"), "");
    row("ratio of bytes", &format!("{:.2}", following / display), "goal <= 0.5");
    row("peak memory, MB", &format!("{memory:.1}"), "");
}

/// What the processors have done so far, in the kernel's ticks.
struct Ticks {
    all: u64,
    /// A virtual machine's host gave them to others.
    stolen: u64,
}

fn processor_ticks() -> Ticks {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let ticks: Vec<u64> =
        stat.lines().next().unwrap().split_whitespace().skip(1).map(|field| field.parse().unwrap()).collect();
    // Time of guests is in the others already.
    Ticks { all: ticks[..8].iter().sum(), stolen: ticks[7] }
}

fn bytes_in(screen: &Screen, time: Duration) -> f64 {
    let before = screen.bytes.load(Ordering::Relaxed);
    std::thread::sleep(time);
    (screen.bytes.load(Ordering::Relaxed) - before) as f64 / time.as_secs_f64()
}

fn dashboard(world: &World) -> Command {
    let mut command = world.command(env!("CARGO_BIN_EXE_slipway"));
    command.env("LANG", "C.UTF-8");
    command
}

/// How often the threads of a process have waited for something.
fn wake_ups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |task: &Path| {
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).map(str::trim);
        line.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.map(|task| of(&task.path())).sum()
}
