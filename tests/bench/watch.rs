//! What it costs the pool to watch a thousand sources, each asked once a minute, over git's own protocol.
//!
//! `cargo bench --bench watch`, with git, buildctl, buildkitd and runc in PATH, as root.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

mod support;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{World, cpu, peak_mb, row};

const SOURCES: usize = 1_000;
/// Every source is asked once in it.
const MINUTE: Duration = Duration::from_secs(60);

/// A git daemon on loopback; killed when dropped.
struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    fn serve(base: &std::path::Path) -> Daemon {
        // The port is free a moment later still.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("git")
            .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", "--max-connections=0"])
            .args([format!("--port={port}"), format!("--base-path={}", base.display())])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Daemon { child, port }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() {
    let world = World::new("[pool]\npoll = \"60s\"\n", "RUN true\n");
    let base = world.beside("git");
    std::fs::create_dir_all(&base).unwrap();
    for number in 0..SOURCES {
        std::os::unix::fs::symlink(world.source(), base.join(format!("source{number}"))).unwrap();
    }
    let daemon = Daemon::serve(&base);
    world.write("namespaces/bench.toml", "");
    for number in 0..SOURCES {
        world.write(
            &format!("namespaces/bench/watched{number}.toml"),
            &format!(
                "[source]\nurl = \"git://127.0.0.1:{}/source{number}\"\n[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{{ name = \"latest\" }}]\n",
                daemon.port
            ),
        );
    }
    let pool = world.pool();
    let seen = || std::fs::read_dir(world.home().state_dir().join("watch/bench")).map_or(0, Iterator::count);
    let begun = Instant::now();
    while seen() < SOURCES {
        assert!(begun.elapsed() < 5 * MINUTE, "{} of {SOURCES} sources were seen", seen());
        std::thread::sleep(Duration::from_millis(100));
    }
    let first = begun.elapsed().as_secs_f64();
    let before = used(pool);
    std::thread::sleep(MINUTE);
    let share = (used(pool) - before) / MINUTE.as_secs_f64();
    println!("\nwatch: {SOURCES} sources, each asked once a minute");
    row("until all were seen for the first time, s", &format!("{first:.1}"), "");
    row("the pool's CPU, and its git processes', of one core", &format!("{:.1}%", share * 100.0), "goal <= 5%");
    row("peak memory of the pool, MB", &format!("{:.1}", peak_mb(pool).unwrap_or_default()), "");
}

/// The processor time that a pool has used so far, with that of the git processes that it waited for.
fn used(pool: u32) -> f64 {
    cpu(pool).map_or(0.0, |cpu| cpu.own + cpu.children)
}
