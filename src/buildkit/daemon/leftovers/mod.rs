//! What a daemon that was killed leaves behind: RUN containers that go on running, mounts, directories. They are found
//! by what only this daemon's root can have made, so another buildkitd on the same machine is never touched.
//!
//! buildkitd's executor keeps a bundle, `ROOT/runc-SNAPSHOTTER/executor/ID/`, exactly as long as a container runs. So a
//! bundle without a daemon is a leftover, and a root without bundles is clean, which makes the usual start cheap.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::error::DaemonError;
use super::record::Record;
use super::spec::set_runtime_dir;
use crate::buildkit::cgroup::Group;
use crate::buildkit::rootless;
use crate::domain::reason::{AsReason as _, Reason, phrase};
use crate::sys::command::{self, Limits, RunError};
use crate::sys::environment::{ListedEnvironment as _, Receiver, path_with_sbin};
use crate::sys::process::ProcessId;

pub(super) mod find;

/// How long a killed process may take to be gone. It takes milliseconds; more means that the kernel is stuck in I/O.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(10);

/// `runc delete --force` itself waits up to 10 s for the container to die.
const LIMITS: Limits = Limits { time: Duration::from_secs(20), output: 1 << 20 };

/// Where libcni keeps a note of each network that it set up.
const CNI_NOTES: &str = "/var/lib/cni/results";

/// How often a lock is tried that is about to come free.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// A process that forks while it is being killed needs another look; more than this many is no accident.
const LOOKS: usize = 20;

/// What was found and cleared away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleared {
    /// The ids of containers that were still there.
    pub containers: Vec<String>,
    /// How many of their processes the runtime had not ended.
    pub processes: usize,
    /// Where something was still mounted.
    pub mounts: Vec<PathBuf>,
}

/// Ends the containers that a dead daemon left running, unmounts what it left mounted. The caller holds the daemon's
/// lock.
///
/// # Errors
/// When a daemon runs on that root, or something resists.
pub(super) async fn clear(record: &Record) -> Result<Cleared, DaemonError> {
    // A rootless buildkitd dies a moment after the rootlesskit that is watched; any other is dead when its process is.
    let patience = if record.rootlesskit.is_some() { KILL_LIMIT } else { Duration::ZERO };
    wait_until_free(&record.root, patience).await?;
    let mut cleared = Cleared::default();
    let bundles = bundles(&record.root)?;
    for bundle in &bundles {
        if delete_container(record, bundle).await? {
            cleared.containers.push(id_of(bundle).to_owned());
        }
    }
    if !bundles.is_empty() {
        cleared.processes = kill_processes(&record.root, &bundles).await?;
    }
    cleared.mounts = unmount_below(&record.root)?;
    forget_networks(&record.root)?;
    if let Some(group) = record.cgroup.as_deref().and_then(Group::at) {
        group.remove();
    }
    for bundle in &bundles {
        // Never recursively: should the rootfs still be mounted, its content is the cache's.
        let _ = fs::remove_file(bundle.join("config.json"));
        let _ = fs::remove_dir(bundle.join("rootfs"));
        let _ = fs::remove_dir(bundle);
    }
    if record.rootlesskit.is_some() && !bundles.is_empty() {
        // The runtime's notes on containers that died with their namespace.
        for runtime in ["runc", "crun"] {
            let _ = fs::remove_dir_all(rootless::runtime_dir(&record.sockets).join(runtime));
        }
    }
    Ok(cleared)
}

/// Deletes the files that dead network namespaces were mounted on, and what libcni noted of them.
fn forget_networks(root: &Path) -> Result<(), DaemonError> {
    let namespaces = list(&root.join("net/cni"))?;
    if namespaces.is_empty() {
        return Ok(());
    }
    // Of a rootless daemon the notes were in a file system that went with it.
    let notes = list(Path::new(CNI_NOTES)).unwrap_or_default();
    for namespace in namespaces {
        let id = name_of(&namespace);
        for note in notes.iter().filter(|note| name_of(note).contains(id)) {
            let _ = fs::remove_file(note);
        }
        fs::remove_file(&namespace).map_err(DaemonError::file(phrase!("verb.delete"), &namespace))?;
    }
    Ok(())
}

/// Deletes a dead daemon's root and its sockets.
pub(super) async fn remove_root(record: &Record) -> Result<(), DaemonError> {
    clear_if_there(record).await?;
    if let Some(mount) = find::mounts_below(&own_mounts()?, &record.root).pop() {
        return Err(DaemonError::Mounted(mount));
    }
    match &record.rootlesskit {
        // Files of the images' users belong to the subordinate ids; only in the namespace may they be deleted.
        Some(kit) if record.root.exists() => {
            let line = rootless::command_line(kit, &record.sockets, false, false);
            let mut command = Command::new(&line[0]);
            command.args(&line[1..]).args(["rm", "-rf", "--"]).arg(&record.root);
            command.listed_environment(Receiver::Buildkitd);
            set_runtime_dir(&mut command, Some(kit), &record.sockets);
            run(command).await?.map(drop)?;
        }
        _ => remove_tree(&record.root).await?,
    }
    remove_sockets(&record.sockets).await
}

/// By name: others may keep theirs in the same directory.
async fn remove_sockets(dir: &Path) -> Result<(), DaemonError> {
    for name in ["buildkitd.sock", "otel.sock"] {
        let socket = dir.join(name);
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(DaemonError::file(phrase!("verb.delete"), &socket)(error));
            }
            _ => {}
        }
    }
    remove_tree(&rootless::runtime_dir(dir)).await?;
    remove_tree(&rootless::state_dir(dir)).await?;
    // Refused when there is something else in it.
    let _ = fs::remove_dir(dir);
    Ok(())
}

async fn clear_if_there(record: &Record) -> Result<(), DaemonError> {
    if record.root.exists() {
        clear(record).await?;
    }
    Ok(())
}

/// Deletes a directory and everything in it; one that is not there is no error.
pub(super) async fn remove_tree(dir: &Path) -> Result<(), DaemonError> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(DaemonError::file(phrase!("verb.delete"), dir)(error)),
        _ => Ok(()),
    }
}

/// Waits until no daemon holds the root.
async fn wait_until_free(root: &Path, limit: Duration) -> Result<(), DaemonError> {
    let deadline = Instant::now() + limit;
    while !is_free(root)? {
        if Instant::now() > deadline {
            return Err(DaemonError::RootInUse(root.to_owned()));
        }
        sleep(TRY_AGAIN).await;
    }
    Ok(())
}

/// buildkitd holds a lock on `ROOT/buildkitd.lock` for as long as it runs.
fn is_free(root: &Path) -> Result<bool, DaemonError> {
    let path = root.join("buildkitd.lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(DaemonError::file(phrase!("verb.open"), &path)(error)),
    };
    match rustix::io::retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockShared)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(DaemonError::file(phrase!("verb.lock"), &path)(error.into())),
    }
}

/// What is in a directory; one that is not there is empty.
fn list(dir: &Path) -> Result<Vec<PathBuf>, DaemonError> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(DaemonError::file(phrase!("verb.read"), dir)(error)),
    }
}

/// The bundles of containers that ran when the daemon died.
pub(super) fn bundles(root: &Path) -> Result<Vec<PathBuf>, DaemonError> {
    let workers = list(root)?.into_iter().filter(|path| name_of(path).starts_with("runc-"));
    let mut found = Vec::new();
    for worker in workers {
        let executor = list(&worker.join("executor"))?;
        found.extend(executor.into_iter().filter(|path| find::is_container_id(name_of(path)) && path.is_dir()));
    }
    found.sort();
    Ok(found)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

fn id_of(bundle: &Path) -> &str {
    name_of(bundle)
}

/// Has the runtime kill and forget a container; `false` when it knows none of that id, or one with another bundle.
async fn delete_container(record: &Record, bundle: &Path) -> Result<bool, DaemonError> {
    if record.rootlesskit.is_some() {
        // The runtime works in the namespace only, which died with the daemon.
        return Ok(false);
    }
    let runtime = |arguments: &[&str]| {
        let mut command = Command::new(&record.runtime);
        command.args(arguments).listed_environment(Receiver::Buildkitd);
        command.env("PATH", path_with_sbin(std::env::var("PATH").ok().as_deref()));
        set_runtime_dir(&mut command, None, &record.sockets);
        command
    };
    #[derive(serde::Deserialize)]
    struct State {
        bundle: PathBuf,
    }
    let id = id_of(bundle);
    let Ok(answer) = run(runtime(&["state", id])).await? else { return Ok(false) };
    // Asked because a copied root has the same ids as the one it was copied from.
    if !serde_json::from_slice::<State>(&answer).is_ok_and(|state| state.bundle == bundle) {
        return Ok(false);
    }
    run(runtime(&["delete", "--force", id])).await?.map(|_| true)
}

/// Runs a helper program: outside an error when it can't be run, inside one when it fails, else what it printed.
async fn run(mut command: Command) -> Result<Result<Vec<u8>, DaemonError>, DaemonError> {
    let program = PathBuf::from(command.as_std().get_program());
    let shown = format!("{:?}", command.as_std());
    command.current_dir("/");
    let failed = |status: Reason, stderr: String| DaemonError::Helper { command: shown, status, stderr };
    match command::run(command, b"", LIMITS).await {
        Ok(ended) if ended.status.success() => Ok(Ok(ended.stdout)),
        Ok(ended) => Ok(Err(failed(Reason::verbatim(ended.status.to_string()), ended.stderr.trim_end().to_owned()))),
        Err(RunError::Io { cause, .. }) => Err(DaemonError::Spawn { program, source: cause }),
        Err(error) => Ok(Err(failed(error.reason(), String::new()))),
    }
}

/// Kills what still runs in the containers of these bundles, and what it forks meanwhile.
async fn kill_processes(root: &Path, bundles: &[PathBuf]) -> Result<usize, DaemonError> {
    let ids: Vec<&str> = bundles.iter().map(|bundle| id_of(bundle)).collect();
    let mut killed = 0;
    for _ in 0..LOOKS {
        let found =
            find::processes_of(root, &ids).map_err(DaemonError::file(phrase!("verb.read"), Path::new("/proc")))?;
        if found.is_empty() {
            break;
        }
        for process in &found {
            signal(*process)?;
        }
        for process in &found {
            let waited = timeout(KILL_LIMIT, process.exited()).await;
            let ended = waited.map_err(|_| DaemonError::Survived { pid: process.pid, after: KILL_LIMIT })?;
            ended.map_err(|source| DaemonError::Process {
                doing: phrase!("verb.wait_for"),
                pid: process.pid,
                source,
            })?;
        }
        killed += found.len();
    }
    Ok(killed)
}

fn signal(process: ProcessId) -> Result<(), DaemonError> {
    let sent = process.signal(Signal::KILL).map(drop);
    sent.map_err(|source| DaemonError::Process { doing: phrase!("verb.end"), pid: process.pid, source })
}

fn unmount_below(root: &Path) -> Result<Vec<PathBuf>, DaemonError> {
    let mounts = find::mounts_below(&own_mounts()?, root);
    for mount in &mounts {
        unmount(mount.as_path(), UnmountFlags::DETACH)
            .map_err(|error| DaemonError::file(phrase!("verb.unmount"), mount)(error.into()))?;
    }
    Ok(mounts)
}

fn own_mounts() -> Result<String, DaemonError> {
    let path = Path::new("/proc/self/mountinfo");
    let bytes = fs::read(path).map_err(DaemonError::file(phrase!("verb.read"), path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
