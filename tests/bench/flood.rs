//! A build that prints a million lines: slipway end to end against `buildctl --progress=rawjson` alone, on one daemon.
//!
//! `cargo bench --bench flood`, with buildctl, buildkitd and runc in PATH, as root.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod support;

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use slipway::client::Client;
use slipway::domain::build::{BuildId, BuildState};
use slipway::store::{builds, read};
use slipway::sys::process::ProcessId;
use support::{Again, Cpu, World, cpu, median, peak_mb, ratios, rounds, row, spread};

const LINES: usize = 1_000_000;

/// What was seen of one build.
struct Seen {
    wall: f64,
    runner_cpu: f64,
    pool_cpu: f64,
    runner_mb: f64,
}

fn main() {
    let world = World::new("", &format!("RUN seq {LINES}\n"));
    world.write("namespaces/bench.toml", "");
    // Without the cache, so that every build prints.
    let repository = format!(
        "[source]\nurl = {:?}\n[build]\ncache = false\n[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{{ name = \"latest\" }}]\n",
        world.source()
    );
    world.write("namespaces/bench/flood.toml", &repository);
    let pool = world.pool();
    // The daemon, warmed up.
    let mut id = world.json(&["build", "start", "bench/flood", "--wait"])["id"].as_u64().unwrap();

    let (mut alone, mut alone_cpu) = (Vec::new(), Vec::new());
    let (mut waiting, mut queued): (Vec<Seen>, Vec<Seen>) = (Vec::new(), Vec::new());
    for round in 1..=rounds(5) {
        // Neither side always comes after the other.
        for turn in 0..3 {
            match (turn + round) % 3 {
                0 => {
                    let (wall, processor) = buildctl_alone(&world, id);
                    alone.push(wall);
                    alone_cpu.push(processor);
                }
                1 => {
                    id += 1;
                    waiting.push(slipway(&world, pool, id, true));
                }
                _ => {
                    id += 1;
                    queued.push(slipway(&world, pool, id, false));
                }
            }
        }
        eprintln!(
            "round {round}: buildctl alone {:.2} s (CPU {:.2} s), slipway --wait {:.2} s, queued {:.2} s",
            alone[round - 1],
            alone_cpu[round - 1],
            waiting[round - 1].wall,
            queued[round - 1].wall
        );
    }
    let lines = world.home().build_dir(id).join(builds::LOG);
    let printed = std::fs::read(lines).unwrap().split(|byte| *byte == b'\n').count();
    assert!(printed > LINES, "the log has {printed} lines");

    let of = |seen: &[Seen], what: fn(&Seen) -> f64| seen.iter().map(what).collect::<Vec<f64>>();
    let both: Vec<&Seen> = waiting.iter().chain(&queued).collect();
    let ours = |seen: &Seen| seen.runner_cpu + seen.pool_cpu;
    println!(
        "\nflood: a build that prints {LINES} lines, medians of {} alternating rounds (least to most)",
        alone.len()
    );
    row("buildctl alone: wall, s", &spread(&alone), "");
    row("buildctl alone: its own CPU, s", &spread(&alone_cpu), "");
    row("slipway build start --wait: wall, s", &spread(&of(&waiting, |seen| seen.wall)), "");
    row("slipway build start, then its end: wall, s", &spread(&of(&queued, |seen| seen.wall)), "");
    row("runner's CPU, s", &spread(&both.iter().map(|seen| seen.runner_cpu).collect::<Vec<_>>()), "");
    row("pool's CPU, s", &spread(&both.iter().map(|seen| seen.pool_cpu).collect::<Vec<_>>()), "");
    row("wall ratio, --wait", &spread(&ratios(&of(&waiting, |seen| seen.wall), &alone)), "goal <= 1.1");
    row("wall ratio, queued", &spread(&ratios(&of(&queued, |seen| seen.wall), &alone)), "goal <= 1.1");
    let processor = median(&both.iter().map(|seen| ours(seen)).collect::<Vec<_>>()) / median(&alone_cpu);
    row("CPU of runner and pool to buildctl's own", &format!("{processor:.3}"), "goal <= 0.5");
    let runner_mb = both.iter().map(|seen| seen.runner_mb).fold(0.0, f64::max);
    row("runner's peak memory, MB", &format!("{runner_mb:.1}"), "goal <= 64");
    row("pool's peak memory, MB", &format!("{:.1}", peak_mb(pool).unwrap()), "goal <= 64");
}

/// The build of `id` again, by buildctl: seconds, and seconds of its own processor time.
fn buildctl_alone(world: &World, id: u64) -> (f64, f64) {
    let again = Again::of(&world.job(id), &world.beside("again"));
    let before = cpu(std::process::id()).unwrap();
    let begun = Instant::now();
    let mut command = world.command(&again.program);
    let status = command.args(&again.arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let wall = begun.elapsed().as_secs_f64();
    assert!(status.success());
    let _ = std::fs::remove_dir_all(world.beside("again"));
    (wall, cpu(std::process::id()).unwrap().children - before.children)
}

/// A build by slipway, which will have the number `id`.
fn slipway(world: &World, pool: u32, id: u64, wait: bool) -> Seen {
    let done = AtomicBool::new(false);
    let before = cpu(pool).unwrap();
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| watch_runner(world, id, &done));
        let begun = Instant::now();
        if wait {
            assert!(world.slipway(&["build", "start", "bench/flood", "--wait"]).status().unwrap().success());
        } else {
            assert!(world.slipway(&["build", "start", "bench/flood"]).status().unwrap().success());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let build = runtime.block_on(Client::of(world.home()).wait_until(BuildId(id), |_| false, |_| {})).unwrap();
            assert_eq!(build.state, BuildState::Succeeded);
        }
        let wall = begun.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        let (runner, runner_mb) = watched.join().unwrap();
        let after = cpu(pool).unwrap();
        // The pool waited for the runner and so has its whole time, with buildctl's, which the runner waited for.
        let runner_cpu = if runner.children > 0.0 {
            (after.children - before.children - runner.children).max(0.0)
        } else {
            runner.own
        };
        Seen { wall, runner_cpu, pool_cpu: after.own - before.own, runner_mb }
    })
}

/// The runner's processor time and memory, as last seen before it ended.
fn watch_runner(world: &World, id: u64, done: &AtomicBool) -> (Cpu, f64) {
    let file = world.home().build_dir(id).join(builds::RUNNER);
    let mut last = (Cpu::default(), 0.0f64);
    let mut runner: Option<u32> = None;
    while !done.load(Ordering::Relaxed) {
        match runner {
            None => runner = read::load::<ProcessId>(&file).ok().and_then(|process| u32::try_from(process.pid).ok()),
            Some(pid) => {
                if let (Some(cpu), Some(mb)) = (cpu(pid), peak_mb(pid)) {
                    last = (cpu, mb);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    last
}
