//! The disk that RUN steps of a daemon use, by the trace of the build that they belong to.
//!
//! Control groups have no limit of disk space, so it is measured: buildkitd keeps a bundle for each step that runs,
//! `ROOT/runc-SNAPSHOTTER/executor/ID/config.json`. The environment in it has `TRACEPARENT` of the step, whose trace is
//! that of the buildctl which asked for the step (a step that two builds share has the trace of the first), and the
//! build cannot change the file. The daemon's mount table then says which directory the step writes to, and `du` how
//! much is in it. Of a rootless daemon `du` runs in its user namespace: images have files that only its ids may read.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use tokio::process::Command;

use super::leftovers::{self, find};
use super::running::Daemon;
use super::spec::config_file;
use crate::sys::command::{self, Limits};
use crate::sys::disk;
use crate::sys::environment::{ListedEnvironment as _, Receiver};
use crate::sys::process::ProcessId;

/// A configuration of a container takes 40 KB; a longer one is not read.
const LONGEST_CONFIG: u64 = 4 << 20;
/// Walking a tree of millions of files on a busy disk.
const LIMITS: Limits = Limits { time: Duration::from_secs(300), output: 64 << 20 };
/// Counts the steps of a daemon that were ended for what they wrote: a byte each.
const ENDED: &str = "ended-steps";

/// A directory that a step writes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// Its path below the daemon's root.
    pub directory: PathBuf,
    /// A cache mount, which earlier builds may have filled.
    pub is_cache: bool,
}

/// A RUN step that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStep {
    /// The id of its container.
    pub id: String,
    /// The trace of the build that it belongs to.
    pub trace: Option<String>,
    /// Where it writes; none where that is not seen: the daemon's snapshots are no overlays.
    pub written: Vec<Written>,
}

/// Looks at the steps of one daemon.
#[derive(Debug)]
pub struct StepUsage {
    dir: PathBuf,
    root: PathBuf,
    /// The root as the daemon was told it, maybe by a link: so the options of its mounts name it.
    told_root: PathBuf,
    is_rootless: bool,
    /// The command line of the buildkitd itself, which rootlesskit started.
    line: Vec<u8>,
    buildkitd: Option<ProcessId>,
    known: HashMap<String, RunStep>,
}

impl StepUsage {
    /// Of a daemon of this machine.
    pub fn of(daemon: &Daemon) -> StepUsage {
        let record = daemon.record();
        let line = [&record.buildkitd, Path::new("--config"), &config_file(&daemon.dir)];
        StepUsage {
            dir: daemon.dir.clone(),
            root: record.root.clone(),
            told_root: daemon.dir.join("root"),
            is_rootless: record.rootlesskit.is_some(),
            line: line.iter().flat_map(|part| part.as_os_str().as_encoded_bytes().iter().copied().chain([0])).collect(),
            buildkitd: None,
            known: HashMap::new(),
        }
    }

    /// The steps that run now.
    ///
    /// # Errors
    /// When the daemon's root or its mounts cannot be read.
    pub fn look(&mut self) -> io::Result<Vec<RunStep>> {
        let bundles = leftovers::bundles(&self.root).map_err(io::Error::other)?;
        let mut mounts = None;
        let mut running = HashMap::new();
        for bundle in bundles {
            let Some(id) = bundle.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
            let step = match self.known.remove(&id) {
                Some(step) => step,
                None => {
                    // A bundle that is just being made, or was just deleted.
                    let Some(config) = config_of(&bundle) else { continue };
                    if mounts.is_none() {
                        mounts = Some(self.mounts()?);
                    }
                    step_of(&id, &config, mounts.as_deref().unwrap_or_default(), [&self.told_root, &self.root])
                }
            };
            running.insert(id, step);
        }
        self.known = running;
        Ok(self.known.values().cloned().collect())
    }

    /// The free space of the daemon's file system, in bytes.
    ///
    /// # Errors
    /// When the root cannot be looked at.
    pub fn free(&self) -> io::Result<u64> {
        disk::free(&self.root)
    }

    /// The bytes on disk of directories of [`Written`]; those that are gone are left out.
    ///
    /// # Errors
    /// When `du` cannot be run, or takes more than five minutes.
    pub async fn measure(&mut self, directories: &[&Path]) -> io::Result<HashMap<PathBuf, u64>> {
        if directories.is_empty() {
            return Ok(HashMap::new());
        }
        let mut command = Command::new("du");
        command.args(["-s", "-x", "-k", "--"]).args(directories).current_dir(&self.root);
        command.listed_environment(Receiver::Buildkitd);
        if self.is_rootless {
            let pid = self.buildkitd()?.pid;
            let namespace = fs::File::open(format!("/proc/{pid}/ns/user"))?;
            // SAFETY: setns is async-signal-safe, the descriptor is open, and the process has one thread after fork.
            unsafe {
                command.pre_exec(move || match libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                });
            }
        }
        let ended = command::run(command, b"", LIMITS).await.map_err(io::Error::other)?;
        // It fails when a file vanishes meanwhile, and tells the rest all the same.
        let text = String::from_utf8_lossy(&ended.stdout);
        let sizes = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(sizes
            .filter_map(|(size, path)| Some((PathBuf::from(path), size.parse::<u64>().ok()?.saturating_mul(1024))))
            .collect())
    }

    /// Kills the processes of steps: a step that another build shares would write on when its first build ends.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or a process not be signalled.
    pub fn end(&self, steps: &[&RunStep]) -> io::Result<()> {
        let mut count = fs::File::options().create(true).append(true).open(self.dir.join(ENDED))?;
        io::Write::write_all(&mut count, &vec![b'.'; steps.len()])?;
        let ids: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
        let uppers = steps.iter().flat_map(|step| &step.written).filter(|written| !written.is_cache);
        let uppers: Vec<PathBuf> = uppers.map(|written| self.root.join(&written.directory)).collect();
        find::processes_of_steps(&ids, &uppers)?.iter().try_for_each(|process| process.signal(Signal::KILL).map(drop))
    }

    fn mounts(&mut self) -> io::Result<String> {
        let pid = self.buildkitd()?.pid;
        Ok(String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/mountinfo"))?).into_owned())
    }

    fn buildkitd(&mut self) -> io::Result<ProcessId> {
        if let Some(known) = self.buildkitd.filter(ProcessId::is_alive) {
            return Ok(known);
        }
        let found = find::process_with_line(&self.line)?.ok_or(io::ErrorKind::NotFound)?;
        self.buildkitd = Some(found);
        Ok(found)
    }
}

/// How many steps of the daemon in `dir` were ended so far for what they wrote.
pub fn ended_steps(dir: &Path) -> u64 {
    fs::metadata(dir.join(ENDED)).map_or(0, |meta| meta.len())
}

/// What is read of a container's `config.json` (the OCI runtime specification).
#[derive(Deserialize)]
struct ContainerConfig {
    process: ContainerProcess,
    root: ContainerRoot,
    #[serde(default)]
    mounts: Vec<ContainerMount>,
}

#[derive(Deserialize)]
struct ContainerProcess {
    #[serde(default)]
    env: Vec<String>,
}

#[derive(Deserialize)]
struct ContainerRoot {
    path: PathBuf,
}

#[derive(Deserialize)]
struct ContainerMount {
    #[serde(default)]
    source: PathBuf,
    #[serde(default)]
    options: Vec<String>,
}

fn config_of(bundle: &Path) -> Option<ContainerConfig> {
    let mut text = Vec::new();
    fs::File::open(bundle.join("config.json")).ok()?.take(LONGEST_CONFIG).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// What a container's configuration and the daemon's mounts say of a step.
/// `root` as the daemon was told, and where that leads: the kernel names mounts by the latter.
fn step_of(id: &str, config: &ContainerConfig, mounts: &str, [root, real_root]: [&Path; 2]) -> RunStep {
    // The last of a name is in force, and the one that BuildKit adds comes last.
    let parent = config.process.env.iter().rev().find_map(|variable| variable.strip_prefix("TRACEPARENT="));
    let trace = parent.and_then(|parent| parent.split('-').nth(1)).map(str::to_owned);
    let below = |path: PathBuf| path.strip_prefix(root).or(path.strip_prefix(real_root)).ok().map(Path::to_owned);
    let upper_of = |mounted: &Path| {
        let mounted = mounted.strip_prefix(root).map_or_else(|_| mounted.to_owned(), |rest| real_root.join(rest));
        find::upper_directory(mounts, &mounted)
    };
    let rootfs = upper_of(&config.root.path).and_then(below);
    let mut written: Vec<Written> =
        rootfs.map(|directory| Written { directory, is_cache: false }).into_iter().collect();
    let is_read_only = |mount: &ContainerMount| mount.options.iter().any(|option| option == "ro");
    for mount in config.mounts.iter().filter(|mount| !is_read_only(mount)) {
        let upper = mount.options.iter().find_map(|option| option.strip_prefix("upperdir=").map(PathBuf::from));
        let upper = upper.or_else(|| upper_of(&mount.source));
        let is_snapshot = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "snapshots");
        let directory = upper.or_else(|| Some(mount.source.clone()).filter(is_snapshot)).and_then(below);
        written.extend(directory.map(|directory| Written { directory, is_cache: true }));
    }
    RunStep { id: id.to_owned(), trace, written }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_the_trace_that_buildkit_wrote_and_the_directories_that_it_writes_to() {
        let config = r#"{"process": {"env": ["TRACEPARENT=00-forged-1-01", "TRACEPARENT=00-abc-2-01"]},
            "root": {"path": "/r/runc-overlayfs/executor/one/rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/etc/hosts", "source": "/r/runc-overlayfs/executor/hosts.x", "options": ["ro"]},
                {"destination": "/c", "source": "/r/runc-overlayfs/snapshots/snapshots/7/fs", "options": ["rbind"]},
                {"destination": "/d", "source": "/r/runc-overlayfs/cachemounts/buildkit1", "options": ["rbind"]},
                {"destination": "/o", "type": "overlay", "options": ["upperdir=/r/s/9/fs", "lowerdir=/r/s/8/fs"]}
            ]}"#;
        let mounts = "5 1 0:4 / /r/runc-overlayfs/executor/one/rootfs rw - overlay overlay rw,lowerdir=/r/s/4/fs,upperdir=/r/s/5/fs\n\
                      6 1 0:5 / /r/runc-overlayfs/cachemounts/buildkit1 rw - overlay overlay rw,lowerdir=/r/s/4/fs,upperdir=/r/s/6/fs\n";
        let step = step_of("one", &serde_json::from_str(config).unwrap(), mounts, [Path::new("/r"); 2]);
        assert_eq!(step.trace.as_deref(), Some("abc"));
        let written: Vec<_> = step.written.iter().map(|w| (w.directory.to_str().unwrap(), w.is_cache)).collect();
        assert_eq!(
            written,
            [("s/5/fs", false), ("runc-overlayfs/snapshots/snapshots/7/fs", true), ("s/6/fs", true), ("s/9/fs", true)]
        );
        let unseen = step_of("one", &serde_json::from_str(config).unwrap(), "", [Path::new("/r"); 2]);
        assert!(unseen.written.iter().all(|written| written.is_cache), "no overlay is mounted");

        let elsewhere = mounts.replace(" / /r/", " / /disk/r/");
        let linked =
            step_of("one", &serde_json::from_str(config).unwrap(), &elsewhere, [Path::new("/r"), Path::new("/disk/r")]);
        assert_eq!(linked.written, step.written, "the root is behind a link");
    }
}
