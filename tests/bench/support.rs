//! What the benchmarks share: a home with its own pool, a source repository, buildctl with our arguments, tables.
#![allow(dead_code, reason = "no benchmark needs all of it")]
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on ends")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use slipway::buildctl::arguments::{Run, arguments};
use slipway::buildctl::job::{Cache, Destination, Job};
use slipway::domain::build::{Build, BuildId};
use slipway::registry::{Layout, Stage};
use slipway::store::{Home, builds, read};
use tempfile::TempDir;

/// How often each side is measured: `SLIPWAY_BENCH_ROUNDS`, else so often.
pub fn rounds(usual: usize) -> usize {
    std::env::var("SLIPWAY_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual).max(1)
}

/// A home of its own; its pool and its builder end with it.
pub struct World {
    directory: TempDir,
}

impl World {
    /// A home with a `config.toml`, and a git repository beside it with a busybox and these steps after it.
    pub fn new(config: &str, steps: &str) -> World {
        let world = World { directory: tempfile::tempdir().unwrap() };
        world.write("config.toml", config);
        let source = world.source();
        fs::create_dir_all(&source).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.expect("busybox is needed (Debian: busybox-static)"), source.join("busybox")).unwrap();
        let head = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
        fs::write(source.join("Dockerfile"), format!("{head}{steps}")).unwrap();
        for arguments in [
            &["init", "-q", "-b", "main"][..],
            &["add", "."],
            &["-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "-q", "-m", "A sample"],
        ] {
            assert!(Command::new("git").current_dir(&source).args(arguments).status().unwrap().success());
        }
        world
    }

    /// The home.
    pub fn home(&self) -> Home {
        Home::at(self.directory.path().join("home"))
    }

    /// The source repository.
    pub fn source(&self) -> PathBuf {
        self.directory.path().join("source")
    }

    /// A place for a file that is no part of the home.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of the home.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.home().state_dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Gives a program this home, and what stands in for others in `bin` beside it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.beside("bin").display()));
        command.env("SLIPWAY_HOME", self.home().state_dir()).env_remove("BUILDKIT_HOST").stdin(Stdio::null());
        command
    }

    /// slipway, with its progress thrown away.
    pub fn slipway(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_slipway"));
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs slipway, which must succeed; its result.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.slipway(arguments).args(["--output", "json"]).stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "slipway {arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Starts the pool and waits until its builder is ready; the pool's process.
    pub fn pool(&self) -> u32 {
        loop {
            let status = self.json(&["pool", "start"]);
            match status["builders"][0]["state"].as_str() {
                Some("ready") => return u32::try_from(status["pid"].as_u64().unwrap()).unwrap(),
                Some("down") => panic!("{}", status["builders"][0]["reason"]),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// The job of a build that was started.
    pub fn job(&self, id: u64) -> Job {
        read::load(&self.home().build_dir(id).join(builds::JOB)).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It ends its builder first; then the directory can go.
        let _ = self.slipway(&["pool", "stop"]).status();
    }
}

/// A build of slipway's again, by `buildctl` alone: the very same arguments, its context and directories prepared.
pub struct Again {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    // Removed when dropped.
    _stages: Vec<Stage>,
}

impl Again {
    pub fn of(job: &Job, scratch: &Path) -> Again {
        let name = format!("again-{}", job.build.id.0);
        // The tree is still there, at the build's commit as long as no other one was built. The checked Dockerfile is
        // not: it is the same as the tree's.
        let job = &Job { dockerfile: None, ..job.clone() };
        fs::create_dir_all(scratch).unwrap();
        let stage = |directory: &Path| Layout::new(directory).stage(&name).unwrap();
        let image = match &job.destination {
            Destination::Layout { directory } => Some(stage(directory)),
            Destination::Registry { .. } => None,
        };
        let cache = match &job.platform_builds[0].cache {
            Cache::Layout { directory } => Some(stage(directory)),
            Cache::Registry { .. } => None,
        };
        let has_cache = cache.as_ref().is_none_or(|stage| stage.layout().dir().join("index.json").exists());
        let address = match &job.platform_builds[0].daemon {
            slipway::buildctl::job::PlatformDaemon::At { address, .. } => address.clone(),
            other => panic!("not a managed builder: {other:?}"),
        };
        let run = Run {
            address: &address,
            tls: None,
            image_stage: image.as_ref().map(Stage::dir),
            cache_stage: cache.as_ref().map(Stage::dir),
            has_cache,
            metadata_file: &scratch.join(format!("{name}.json")),
            source_policy: None,
            accelerated: false,
            again_as: None,
            started_at: chrono::Utc::now(),
        };
        let arguments = arguments(job, &job.platform_builds[0], &run).unwrap();
        Again { program: job.buildctl.clone(), arguments, _stages: image.into_iter().chain(cache).collect() }
    }
}

/// Copies a finished build until there are so many.
pub fn multiply(world: &World, first: u64, count: u64) {
    let home = world.home();
    let model = home.build_dir(first);
    let record: Build = read::load(&model.join(builds::RECORD)).unwrap();
    for id in first + 1..=count {
        let directory = home.build_dir(id);
        fs::create_dir(&directory).unwrap();
        for entry in fs::read_dir(&model).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
        }
        let record = Build { id: BuildId(id), ..record.clone() };
        fs::write(directory.join(builds::RECORD), toml::to_string(&record).unwrap()).unwrap();
    }
}

/// Processor time in seconds, user and system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// Of the process itself.
    pub own: f64,
    /// Of children that ended and were waited for, and theirs.
    pub children: f64,
}

/// What a process has used so far; none where it is gone.
pub fn cpu(pid: u32) -> Option<Cpu> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split_ascii_whitespace().collect();
    // Linux counts these in hundredths of a second for user space.
    let seconds = |field: usize| fields[field - 3].parse::<f64>().map_or(0.0, |ticks| ticks / 100.0);
    Some(Cpu { own: seconds(14) + seconds(15), children: seconds(16) + seconds(17) })
}

/// The most memory that a process had resident, in MB; none where it is gone.
pub fn peak_mb(pid: u32) -> Option<f64> {
    memory_mb(pid, "VmHWM:")
}

/// The memory that a process has resident, in MB; none where it is gone.
pub fn resident_mb(pid: u32) -> Option<f64> {
    memory_mb(pid, "VmRSS:")
}

fn memory_mb(pid: u32, which: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(which))?;
    Some(line.split_ascii_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// `0.123 (0.120 to 0.150)`
pub fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{:.3} ({least:.3} to {most:.3})", median(values))
}

/// One line of a result: what, the measured value, the goal.
pub fn row(what: &str, value: &str, goal: &str) {
    println!("{what:<58} {value:>28}   {goal}");
}

/// The pairs' ratios, which noise that hits both sides of a round leaves alone.
pub fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}
