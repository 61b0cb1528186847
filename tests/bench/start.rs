//! The start of a pool whose home holds ten thousand finished builds.
//!
//! `cargo bench --bench start`, with buildctl, buildkitd and runc in PATH, as root.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use slipway::protocol::{Answer, Call, Request, VERSION};
use support::{World, multiply, peak_mb, rounds, row, spread};

const BUILDS: u64 = 10_000;

fn main() {
    let world = World::new("", "RUN seq 200\n");
    world.write("namespaces/bench.toml", "");
    world.write(
        "namespaces/bench/start.toml",
        &format!(
            "[source]\nurl = {:?}\n[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{{ name = \"latest\" }}]\n",
            world.source()
        ),
    );
    world.pool();
    let first = world.json(&["build", "start", "bench/start", "--wait"])["id"].as_u64().unwrap();
    assert!(world.slipway(&["pool", "stop"]).status().unwrap().success());
    multiply(&world, first, BUILDS);

    let (mut answered, mut memory, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds(5) {
        let begun = Instant::now();
        let mut pool = world.slipway(&["pool", "run"]).spawn().unwrap();
        while !answers(&world) {
            std::thread::sleep(Duration::from_micros(500));
        }
        answered.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        assert!(world.slipway(&["build", "list"]).status().unwrap().success());
        listed.push(begun.elapsed().as_secs_f64());
        memory.push(peak_mb(pool.id()).unwrap());
        assert!(world.slipway(&["pool", "stop"]).status().unwrap().success());
        pool.wait().unwrap();
    }
    println!("\nstart: a pool with {BUILDS} builds on disk, medians of {} rounds (least to most)", answered.len());
    row("from exec to the first answered status, s", &spread(&answered), "goal <= 0.2");
    row("slipway build list, s", &spread(&listed), "");
    row("pool's peak memory, MB", &spread(&memory), "goal <= 64");
}

/// Asks the pool for its status, once.
fn answers(world: &World) -> bool {
    let Ok(mut stream) = UnixStream::connect(world.home().pool_socket()) else { return false };
    let call = serde_json::to_string(&Call { version: VERSION, request: Request::Status }).unwrap();
    let mut line = String::new();
    let asked = writeln!(stream, "{call}").and_then(|()| BufReader::new(stream).read_line(&mut line));
    asked.is_ok() && matches!(serde_json::from_str(&line), Ok(Answer::Reply(_)))
}
