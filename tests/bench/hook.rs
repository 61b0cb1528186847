//! From a webhook to buildctl: a signed push is sent to an idle pool, and the time until `buildctl build` runs is taken.
//!
//! `cargo bench --bench hook`, with git, buildctl, buildkitd and runc in PATH, as root.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod support;
mod webhook;

use support::{World, median, rounds, row, spread};

fn main() {
    let world = World::new("[pool]\npoll = \"1h\"\n[webhook]\nlisten = \"127.0.0.1:0\"\n", "RUN true\n");
    webhook::prepare(&world);
    world.pool();
    let address = webhook::address(&world);
    let (mut started, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..rounds(50) {
        let took = webhook::push(&world, &address);
        answered.push(took.answered);
        started.push(took.started);
    }
    println!("\nhook: a signed push to an idle pool, {} times", started.len());
    row("until it is answered, s", &spread(&answered), "goal <= 1");
    row("until buildctl runs, s", &spread(&started), "");
    row("until buildctl runs, median, s", &format!("{:.3}", median(&started)), "goal <= 0.1");
}
