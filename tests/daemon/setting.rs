//! A place of its own for each test: a directory, a daemon's spec, builds to run on it. Cleaned up however the test
//! ends.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use slipway::buildkit::config::Config;
use slipway::buildkit::daemon::{Spec, Tools, fresh};
use slipway::sys::process::ProcessId;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Far more than anything here takes: reached only when something hangs.
pub const LONG: Duration = Duration::from_secs(120);

/// The first of these programs that is in PATH or where Debian keeps runtimes.
pub fn tool(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let found = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name))).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{names:?} is not in PATH; tests/run installs what the tests need"))
}

pub struct Setting {
    pub dir: TempDir,
    pub tools: Tools,
}

impl Setting {
    /// For daemons that run as root.
    pub fn new() -> Setting {
        assert!(rustix::process::geteuid().is_root(), "these tests start a buildkitd as root; run them as root");
        Setting::with(None)
    }

    pub fn with(rootlesskit: Option<PathBuf>) -> Setting {
        let runtime = tool(&["buildkit-runc", "runc", "crun"]);
        let tools = Tools { buildkitd: tool(&["buildkitd"]), runtime, rootlesskit, sandbox: true };
        let setting = Setting { dir: tempfile::Builder::new().prefix("sw").tempdir().unwrap(), tools };
        fs::create_dir(setting.path("context")).unwrap();
        let busybox = setting.path("context/busybox");
        fs::copy(tool(&["busybox"]), &busybox).unwrap();
        fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755)).unwrap();
        setting
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The directory of the daemon.
    pub fn daemon_dir(&self) -> PathBuf {
        self.path("d")
    }

    pub fn spec(&self, config: &Config) -> Spec {
        Spec::new(&self.daemon_dir(), &self.path("s"), self.tools.clone(), config)
    }

    /// A `buildctl build` of one RUN step; it prints plain progress to stderr.
    pub fn build(&self, address: &str, script: &str) -> Command {
        let run = serde_json::to_string(&["/bin/busybox", "sh", "-c", script]).unwrap();
        self.build_dockerfile(address, &format!("FROM scratch\nCOPY busybox probe* /bin/\nRUN {run}\n"))
    }

    pub fn build_dockerfile(&self, address: &str, dockerfile: &str) -> Command {
        let context = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        for file in fs::read_dir(self.path("context")).unwrap() {
            let file = file.unwrap();
            fs::hard_link(file.path(), context.join(file.file_name())).unwrap();
        }
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let mut command = Command::new(tool(&["buildctl"]));
        command.args(["--addr", address, "build", "--progress=plain", "--frontend=dockerfile.v0"]);
        for name in ["context", "dockerfile"] {
            command.arg("--local").arg(format!("{name}={}", context.display()));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub async fn build_to_its_end(&self, address: &str, script: &str) -> Output {
        timeout(LONG, self.build(address, script).output()).await.unwrap().unwrap()
    }

    /// A build whose RUN step, with a child of its own, sleeps until it is killed.
    pub async fn sleeping_build(&self, address: &str) -> SleepingBuild {
        // The path of the test's directory is in no other command line of the machine.
        let mark = self.dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        let script = format!(
            "echo be{{gun,}}; /bin/busybox sh -c 'while true; do /bin/busybox sleep 1; done' {mark} & \
             exec /bin/busybox sh -c 'echo begun; while true; do /bin/busybox sleep 1; done' {mark}"
        );
        let mut client = self.build(address, &script).spawn().unwrap();
        let mut lines = BufReader::new(client.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        loop {
            let line = timeout(LONG, lines.next_line()).await.unwrap().unwrap();
            let line = line.unwrap_or_else(|| panic!("the build ended early:\n{seen}"));
            if line.ends_with(" begun") {
                break;
            }
            seen += &line;
            seen.push('\n');
        }
        let build = SleepingBuild { mark, _client: client };
        assert!(!build.processes().is_empty());
        build
    }
}

pub struct SleepingBuild {
    mark: String,
    _client: Child,
}

impl SleepingBuild {
    /// Its shells that live.
    pub fn processes(&self) -> Vec<ProcessId> {
        let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            line.ends_with(format!("\0{}\0", self.mark).as_bytes()).then_some(pid)
        });
        pids.filter_map(|pid| ProcessId::of(pid).unwrap()).filter(ProcessId::is_alive).collect()
    }
}

/// The processes that have one of these texts in their command line.
pub fn processes_naming(texts: &[&str]) -> Vec<ProcessId> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        texts.iter().any(|text| line.contains(text)).then_some(pid)
    });
    pids.filter_map(|pid| ProcessId::of(pid).unwrap()).filter(ProcessId::is_alive).collect()
}

pub fn mounts_below(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(dir)).map(str::to_owned).collect()
}

pub fn environment(process: ProcessId) -> Vec<OsString> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
    bytes.split(|b| *b == 0).map(|entry| OsString::from_vec(entry.to_vec())).collect()
}

impl Drop for Setting {
    fn drop(&mut self) {
        let dir = self.daemon_dir();
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(fresh::discard(&dir))
        });
        if let Err(error) = cleaned.join().unwrap() {
            eprintln!("cleaning up failed: {error}");
        }
    }
}
