//! Two hundred small cached builds, eight at a time: slipway against `xargs -P8 buildctl` with the same arguments, on one
//! daemon.
//!
//! `cargo bench --bench small`, with buildctl, buildkitd and runc in PATH, as root.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use slipway::store::builds;
use support::{Again, World, cpu, peak_mb, ratios, rounds, row, spread};

const REPOSITORIES: usize = 20;
const RULES: usize = 10;
const AT_A_TIME: usize = 8;

fn main() {
    let world = World::new(&format!("[pool]\nbuilds = {AT_A_TIME}\n"), "RUN echo small > /small\nRUN cat /small\n");
    world.write("namespaces/bench.toml", "");
    let rules: String = (0..RULES)
        .map(|rule| format!("[[rule]]\nname = \"r{rule}\"\nbranch = \"main\"\nversions = [{{ name = \"v{rule}\" }}]\n"))
        .collect();
    let mut requests = String::new();
    for repository in 0..REPOSITORIES {
        world.write(
            &format!("namespaces/bench/small{repository}.toml"),
            &format!("[source]\nurl = {:?}\n{rules}", world.source()),
        );
        for rule in 0..RULES {
            requests.push_str(&format!("bench/small{repository} --rule r{rule}\n"));
        }
    }
    fs::write(world.beside("requests"), requests).unwrap();
    let pool = world.pool();
    // Once, so that every layer and every cache is there.
    eprintln!("filling the caches: {:.1} s", through_xargs(&world));

    let (mut alone, mut waiting, mut pool_cpu) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds(3) {
        alone.push(buildctl_alone(&world));
        let before = cpu(pool).unwrap().own;
        waiting.push(through_xargs(&world));
        pool_cpu.push(cpu(pool).unwrap().own - before);
        eprintln!("round {round}: xargs buildctl {:.2} s, xargs slipway {:.2} s", alone[round - 1], waiting[round - 1]);
    }
    let count = REPOSITORIES * RULES;
    println!(
        "\nsmall: {count} small cached builds, {AT_A_TIME} at a time, medians of {} alternating rounds",
        alone.len()
    );
    row("xargs -P8 buildctl: wall, s", &spread(&alone), "");
    row("xargs -P8 slipway build start --wait: wall, s", &spread(&waiting), "");
    row("pool's own CPU, s", &spread(&pool_cpu), "");
    row("pool's peak memory, MB", &format!("{:.1}", peak_mb(pool).unwrap()), "goal <= 64");
    row("wall ratio", &spread(&ratios(&waiting, &alone)), "goal <= 1.15");
}

fn newest(world: &World) -> u64 {
    builds::list(&world.home()).unwrap().ids.last().map_or(0, |id| id.0)
}

fn xargs(world: &World, input: &str, count: usize) -> Command {
    let mut command = world.command("xargs");
    command.args([&format!("-P{AT_A_TIME}"), &format!("-n{count}")]);
    command.stdin(fs::File::open(world.beside(input)).unwrap()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn through_xargs(world: &World) -> f64 {
    let begun = Instant::now();
    let status =
        xargs(world, "requests", 3).arg(env!("CARGO_BIN_EXE_slipway")).args(["build", "start", "--wait"]).status();
    assert!(status.unwrap().success());
    begun.elapsed().as_secs_f64()
}

/// The newest builds again, by buildctl.
fn buildctl_alone(world: &World) -> f64 {
    let last = newest(world);
    let scratch = world.beside("again");
    let again: Vec<Again> =
        (0..(REPOSITORIES * RULES) as u64).map(|back| Again::of(&world.job(last - back), &scratch)).collect();
    let count = again[0].arguments.len();
    let mut input = Vec::new();
    for again in &again {
        // xargs gives each the same number.
        assert_eq!(again.arguments.len(), count);
        for argument in &again.arguments {
            input.extend_from_slice(argument.as_bytes());
            input.push(0);
        }
    }
    fs::write(world.beside("arguments"), input).unwrap();
    let begun = Instant::now();
    let status = xargs(world, "arguments", count).arg("-0").arg(&again[0].program).status();
    let wall = begun.elapsed().as_secs_f64();
    assert!(status.unwrap().success());
    drop(again);
    fs::remove_dir_all(scratch).unwrap();
    wall
}
