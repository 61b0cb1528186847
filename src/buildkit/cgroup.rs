//! Limits of memory, processes and processors for the RUN steps of a daemon: a control group that is the parent of
//! every step's own, in each hierarchy of this machine (version 1 or 2).
//!
//! Only root makes groups at the top of the hierarchy. Another user makes them in a subtree that was delegated to it: in
//! version 2 the topmost group above slipway's own that it may write (of systemd a user's `user@UID.service`, or a unit
//! with `Delegate=yes`), in version 1 one that root made for it, [`for_user`]. BuildKit gives the steps of a rootless
//! daemon no group of their own, so the whole daemon is started in the group, and its steps with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What all steps of a daemon may use together; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory; absent: nine tenths of the machine's.
    pub memory: Option<u64>,
    /// Processes and threads; absent: [`DEFAULT_PROCESSES`].
    pub processes: Option<u64>,
    /// Processors; absent: all.
    pub cpus: Option<u32>,
}

/// Enough for builds that use every core of a large machine; a fork bomb ends here.
pub const DEFAULT_PROCESSES: u64 = 16_384;

/// The period that a share of the processors is measured in, in microseconds (the kernel's default).
const CPU_PERIOD: u64 = 100_000;

/// Where every distribution mounts control groups.
const MOUNT: &str = "/sys/fs/cgroup";

/// Where the groups of all daemons are, in every hierarchy.
const PARENT: &str = "slipway";

/// The group of a rootless daemon in its limited one (version 2).
const DAEMON: &str = "daemon";

/// Where processes go that are in a group which has groups of builds (version 2).
const OTHERS: &str = "slipway-others";

/// The controllers that builds are limited by.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hierarchy {
    /// Version 2: one directory for all controllers.
    Unified(PathBuf),
    /// Version 1: a directory below this one for each controller.
    Separate(PathBuf),
}

/// The control group of one daemon's steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    hierarchy: Hierarchy,
    path: String,
}

/// The group that root makes for a user, in each hierarchy of version 1: its path.
pub fn for_user(uid: u32) -> String {
    format!("/{PARENT}-{uid}")
}

/// Whether this machine's groups are those of version 2.
pub fn is_unified() -> bool {
    matches!(Hierarchy::of(Path::new(MOUNT)), Hierarchy::Unified(_))
}

impl Hierarchy {
    fn of(cgroups: &Path) -> Hierarchy {
        if cgroups.join("cgroup.controllers").exists() {
            Hierarchy::Unified(cgroups.to_owned())
        } else {
            Hierarchy::Separate(cgroups.to_owned())
        }
    }

    /// The directory of a group, by its path.
    fn directory(&self, controller: &str, path: &str) -> PathBuf {
        let top = match self {
            Hierarchy::Unified(directory) => directory.clone(),
            Hierarchy::Separate(directory) => directory.join(controller),
        };
        top.join(path.trim_start_matches('/'))
    }
}

impl Group {
    /// The group of the daemon of root's whose state is in `root`; none where no groups can be made.
    pub fn of(root: &Path) -> Option<Group> {
        Group::in_directory(Path::new(MOUNT), path_for("", root))
    }

    /// The group of the daemon of this user's whose state is in `root`; none where nothing was delegated to it.
    pub fn delegated(root: &Path) -> Option<Group> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let uid = rustix::process::geteuid().as_raw();
        Group::delegated_in(Path::new(MOUNT), &own, uid, root)
    }

    fn delegated_in(cgroups: &Path, own: &str, uid: u32, root: &Path) -> Option<Group> {
        let hierarchy = Hierarchy::of(cgroups);
        let base = match &hierarchy {
            Hierarchy::Separate(_) => {
                Some(for_user(uid)).filter(|base| hierarchy.directory("memory", base).is_dir())?
            }
            Hierarchy::Unified(top) => topmost_writable(top, own)?,
        };
        Group::in_directory(cgroups, path_for(&base, root))
    }

    /// The group of a daemon that was started with this path.
    pub fn at(path: &str) -> Option<Group> {
        Group::in_directory(Path::new(MOUNT), path.to_owned())
    }

    fn in_directory(cgroups: &Path, path: String) -> Option<Group> {
        let hierarchy = Hierarchy::of(cgroups);
        let (top, directory) = (hierarchy.directory("memory", ""), hierarchy.directory("memory", &path));
        let nearest = directory.ancestors().find(|directory| directory.exists())?;
        (nearest.starts_with(top) && access(nearest, Access::WRITE_OK).is_ok()).then_some(Group { hierarchy, path })
    }

    /// The path in each hierarchy, for `defaultCgroupParent` of buildkitd.toml.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn directory(&self, controller: &str) -> PathBuf {
        self.hierarchy.directory(controller, &self.path)
    }

    /// Lets the group have a controller (version 2). Only groups without processes pass one on to those in them, so what
    /// runs in the topmost one that this user may write, such as slipway itself in a unit, moves into one of its own.
    fn pass_on(&self, top: &Path, controller: &str) -> bool {
        let directory = self.directory(controller);
        // Its path ends in two names of slipway's own.
        let Some(base) = directory.ancestors().nth(2) else { return false };
        if base != top {
            // One that cannot be moved shows below, as a controller that is lacking.
            let _ = move_processes(base, &base.join(OTHERS));
        }
        enable(base, controller) && enable(&base.join(PARENT), controller)
    }

    /// The files that a process writes `0` to in order to enter the group with all that it starts. In version 2 it is one
    /// below the limited group: a rootless runtime makes the groups of steps beside the one that it runs in.
    ///
    /// # Errors
    /// When the group cannot be made or entered.
    pub fn doors(&self) -> io::Result<Vec<fs::File>> {
        let directories = match &self.hierarchy {
            Hierarchy::Unified(_) => vec![self.directory("").join(DAEMON)],
            Hierarchy::Separate(_) => {
                let all = CONTROLLERS.map(|controller| self.directory(controller));
                all.into_iter().filter(|directory| directory.is_dir()).collect()
            }
        };
        let open = |directory: PathBuf| {
            fs::create_dir_all(&directory)?;
            fs::File::options().write(true).open(directory.join("cgroup.procs"))
        };
        directories.into_iter().map(open).collect()
    }

    /// Makes the group and sets its limits. A controller that this machine does not have, or not with the limit, is
    /// passed over; its name is returned.
    ///
    /// # Errors
    /// When a limit cannot be set.
    pub fn create(&self, limits: &Limits) -> io::Result<Vec<&'static str>> {
        let mut lacking = Vec::new();
        for (controller, file, value) in self.settings(limits) {
            let directory = self.directory(controller);
            let has_controller = match &self.hierarchy {
                Hierarchy::Unified(top) => {
                    fs::create_dir_all(&directory)?;
                    self.pass_on(top, controller)
                }
                Hierarchy::Separate(_) => {
                    // What root made for a user may lack a controller.
                    directory.parent().is_some_and(|parent| parent.is_dir() || fs::create_dir(parent).is_ok())
                }
            };
            if has_controller {
                fs::create_dir_all(&directory)?;
                let file = directory.join(file);
                match fs::write(&file, &value) {
                    // A kernel that was configured without this limit (CONFIG_CFS_BANDWIDTH of `cpu`) has no such file.
                    Err(_) if !file.exists() => lacking.push(controller),
                    written => written?,
                }
            } else {
                lacking.push(controller);
            }
        }
        Ok(lacking)
    }

    /// Controller, file and content of each limit. "No limit" is written too: the group may be an earlier daemon's.
    fn settings(&self, limits: &Limits) -> [(&'static str, &'static str, String); 3] {
        let unified = matches!(self.hierarchy, Hierarchy::Unified(_));
        let or = |value: u64, none: &str| if value == 0 { none.to_owned() } else { value.to_string() };
        let memory = limits.memory.unwrap_or_else(default_memory);
        let processes = limits.processes.unwrap_or(DEFAULT_PROCESSES);
        let quota = limits.cpus.map_or(0, |cpus| u64::from(cpus) * CPU_PERIOD);
        if unified {
            [
                ("memory", "memory.max", or(memory, "max")),
                ("pids", "pids.max", or(processes, "max")),
                ("cpu", "cpu.max", format!("{} {CPU_PERIOD}", or(quota, "max"))),
            ]
        } else {
            [
                ("memory", "memory.limit_in_bytes", or(memory, "-1")),
                ("pids", "pids.max", or(processes, "max")),
                ("cpu", "cpu.cfs_quota_us", or(quota, "-1")),
            ]
        }
    }

    /// Removes the group, when nothing runs in it any more; what is in use stays for the next time.
    pub fn remove(&self) {
        for controller in self.controllers() {
            let _ = remove_empty(&self.directory(&controller));
        }
    }

    /// All of them, and not only the limited ones: the runtime makes each step's group in every hierarchy.
    fn controllers(&self) -> Vec<String> {
        match &self.hierarchy {
            Hierarchy::Unified(_) => vec![String::new()],
            Hierarchy::Separate(top) => {
                let entries = fs::read_dir(top).into_iter().flatten().flatten();
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
        }
    }

    /// How often steps ran into a limit so far.
    pub fn hits(&self) -> Hits {
        let counter = |controller: &str, file: &str, key: &str| {
            let text = fs::read_to_string(self.directory(controller).join(file)).unwrap_or_default();
            let mut lines = text.lines().map(|line| line.split_once(' ').unwrap_or(("", line)));
            lines.find(|(name, _)| *name == key).and_then(|(_, count)| count.trim().parse().ok()).unwrap_or(0)
        };
        let memory = match self.hierarchy {
            Hierarchy::Unified(_) => counter("memory", "memory.events", "oom_kill"),
            // Version 1 counts kills in the step's own group, which is gone by the time; this counts full groups.
            Hierarchy::Separate(_) => counter("memory", "memory.failcnt", ""),
        };
        Hits { memory, processes: counter("pids", "pids.events", "max") }
    }
}

/// The path of the group of the daemon whose state is in `root`, below `base`.
fn path_for(base: &str, root: &Path) -> String {
    let hash = Sha256::digest(root.as_os_str().as_encoded_bytes());
    format!("{base}/{PARENT}/{}", hex::encode(&hash[..8]))
}

/// The topmost group above the one that `own` (`/proc/self/cgroup`) names, itself included, that this user may make
/// groups in and move its processes within: its path (version 2).
fn topmost_writable(top: &Path, own: &str) -> Option<String> {
    let own = Path::new(own.lines().find_map(|line| line.strip_prefix("0::/"))?);
    if own.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        // Outside of what this process sees.
        return None;
    }
    let is_ours = |group: &&Path| {
        let directory = top.join(group);
        let files = ["", "cgroup.procs", "cgroup.subtree_control"];
        files.iter().all(|file| access(directory.join(file), Access::WRITE_OK).is_ok())
    };
    let topmost = own.ancestors().take_while(is_ours).last()?;
    (!topmost.as_os_str().is_empty()).then(|| format!("/{}", topmost.display()))
}

/// Moves the processes of a group into another one, which is made.
fn move_processes(from: &Path, to: &Path) -> io::Result<()> {
    let processes = fs::read_to_string(from.join("cgroup.procs"))?;
    if processes.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    let moved = |pid: &str| fs::write(to.join("cgroup.procs"), pid);
    // One that has ended meanwhile is not there to be moved.
    processes.lines().for_each(|pid| drop(moved(pid)));
    Ok(())
}

/// How often the steps of a daemon ran into each limit since its group was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    /// Version 2: processes that the kernel killed; version 1: allocations that found the group full.
    pub memory: u64,
    /// Forks that were refused.
    pub processes: u64,
}

/// Nine tenths of the machine's memory: the host itself stays usable.
fn default_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let total = info.totalram.saturating_mul(u64::from(info.mem_unit.max(1)));
    total / 10 * 9
}

/// Lets the groups below a directory have a controller (version 2).
fn enable(directory: &Path, controller: &str) -> bool {
    fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}")).is_ok()
}

/// Removes a directory of groups from the bottom up: files in it are the kernel's and go with it.
fn remove_empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory: Some(1 << 20), processes: Some(0), cpus: Some(2) };

    #[test]
    fn the_limits_are_files_of_the_one_hierarchy_of_version_2() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory pids").unwrap();
        let group = Group::in_directory(dir.path(), path_for("", Path::new("/r"))).unwrap();
        assert_eq!(group.create(&LIMITS).unwrap(), [""; 0]);
        let below = dir.path().join(group.path().trim_start_matches('/'));
        let read = |file: &str| fs::read_to_string(below.join(file)).unwrap();
        assert_eq!(
            (read("memory.max"), read("pids.max"), read("cpu.max")),
            ("1048576".into(), "max".into(), "200000 100000".into())
        );
        fs::write(below.join("memory.events"), "low 0\noom 3\noom_kill 2\n").unwrap();
        fs::write(below.join("pids.events"), "max 7\n").unwrap();
        assert_eq!(group.hits(), Hits { memory: 2, processes: 7 });
    }

    #[test]
    fn the_limits_are_in_a_hierarchy_each_of_version_1_and_one_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("memory")).unwrap();
        fs::create_dir(dir.path().join("cpu")).unwrap();
        let group = Group::in_directory(dir.path(), path_for("", Path::new("/r"))).unwrap();
        assert_eq!(group.create(&Limits { cpus: None, ..LIMITS }).unwrap(), ["pids"]);
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        let path = group.path();
        assert_eq!(read(&format!("memory{path}/memory.limit_in_bytes")), "1048576");
        assert_eq!(read(&format!("cpu{path}/cpu.cfs_quota_us")), "-1");
        fs::write(dir.path().join(format!("memory{path}/memory.failcnt")), "5\n").unwrap();
        assert_eq!(group.hits().memory, 5);
    }

    #[test]
    fn who_may_not_make_groups_has_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Group::in_directory(dir.path(), path_for("", Path::new("/r"))), None);
    }

    /// A group of version 2 as the kernel shows it, as far as it matters.
    fn make(directory: &Path, processes: &str) {
        fs::create_dir_all(directory).unwrap();
        for (file, text) in [("cgroup.procs", processes), ("cgroup.subtree_control", "")] {
            fs::write(directory.join(file), text).unwrap();
        }
    }

    #[test]
    fn a_user_has_the_groups_of_the_topmost_one_above_its_own_that_it_may_write() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory pids").unwrap();
        let unit = dir.path().join("user.slice/user@7.service");
        make(&unit, "");
        make(&unit.join("app.slice/slipway.service"), "12\n");
        // root may write everything, but no group of this machine is in the way: `user.slice` has no such files.
        let own = "1:name=systemd:/x\n0::/user.slice/user@7.service/app.slice\n";
        make(&unit.join("app.slice"), "");
        let group = Group::delegated_in(dir.path(), own, 7, Path::new("/r")).unwrap();
        assert!(group.path().starts_with("/user.slice/user@7.service/slipway/"), "{}", group.path());
        make(&unit.join("slipway"), "");
        assert_eq!(group.create(&LIMITS).unwrap(), [""; 0]);
        assert_eq!(fs::read_to_string(unit.join("cgroup.subtree_control")).unwrap(), "+cpu");
        assert!(!unit.join(OTHERS).exists(), "nothing runs in it");
        for own in ["0::/../elsewhere\n", "0::/\n", "9:pids:/user.slice\n", "0::/user.slice\n"] {
            assert_eq!(Group::delegated_in(dir.path(), own, 7, Path::new("/r")), None, "{own}");
        }
    }

    #[test]
    fn what_runs_in_a_delegated_unit_makes_way_for_the_groups_of_builds() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory pids").unwrap();
        let unit = dir.path().join("system.slice/slipway.service");
        make(&unit, "12\n");
        let own = "0::/system.slice/slipway.service\n";
        let group = Group::delegated_in(dir.path(), own, 7, Path::new("/r")).unwrap();
        make(&unit.join("slipway"), "");
        group.create(&LIMITS).unwrap();
        assert_eq!(fs::read_to_string(unit.join(OTHERS).join("cgroup.procs")).unwrap(), "12");
    }

    #[test]
    fn a_user_has_the_group_of_version_1_that_root_made_for_it_and_of_each_controller_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let delegated = || Group::delegated_in(dir.path(), "4:memory:/\n", 7, Path::new("/r"));
        fs::create_dir(dir.path().join("cpu")).unwrap();
        assert_eq!(delegated(), None);
        fs::create_dir_all(dir.path().join("memory").join(&for_user(7)[1..])).unwrap();
        let group = delegated().unwrap();
        assert!(group.path().starts_with("/slipway-7/slipway/"), "{}", group.path());
        assert_eq!(group.create(&LIMITS).unwrap(), ["pids", "cpu"]);
    }

    #[test]
    fn the_machine_keeps_a_tenth_of_its_memory() {
        assert!(default_memory() > 1 << 24);
    }
}
