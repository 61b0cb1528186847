//! Which processes and mounts belong to one daemon's root: reading `/proc`, deciding on its text alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::process::ProcessId;

/// buildkitd's container ids are ASCII letters and digits (its `executor.ValidContainerID`); the other things in that
/// directory (`hosts.…`, `resolv.conf`, `runc-log.json`) have other characters too.
pub(super) fn is_container_id(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The processes that run in containers of `root` with these ids.
pub(super) fn processes_of(root: &Path, ids: &[&str]) -> io::Result<Vec<ProcessId>> {
    matching(|read| is_in_cgroup_of(&read("cgroup"), ids) || has_rootfs_of(&read("mountinfo"), root))
}

/// The processes in containers with these ids, as their control groups tell, or where they have none of their own their
/// root directory.
pub(in crate::buildkit::daemon) fn processes_of_steps(ids: &[&str], uppers: &[PathBuf]) -> io::Result<Vec<ProcessId>> {
    matching(|read| is_in_cgroup_of(&read("cgroup"), ids) || has_upper_of(&read("mountinfo"), uppers))
}

/// The process with exactly this command line, each argument ended by a zero.
pub(in crate::buildkit::daemon) fn process_with_line(line: &[u8]) -> io::Result<Option<ProcessId>> {
    let line = String::from_utf8_lossy(line).into_owned();
    Ok(matching(|read| read("cmdline") == line)?.into_iter().next())
}

/// The processes whose files in `/proc` are as wanted.
fn matching(is_wanted: impl Fn(&dyn Fn(&str) -> String) -> bool) -> io::Result<Vec<ProcessId>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Identity first: if the pid changes hands while its files are read, the signal will not be delivered.
        let Ok(Some(process)) = ProcessId::of(pid) else { continue };
        let read = |name: &str| {
            fs::read(entry.path().join(name))
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default()
        };
        if is_wanted(&read) && process.is_alive() {
            found.push(process);
        }
    }
    Ok(found)
}

/// buildkitd puts each container in a cgroup that ends in its id, 25 random characters.
fn is_in_cgroup_of(cgroup: &str, ids: &[&str]) -> bool {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/')).any(|part| ids.contains(&part))
}

/// Whether the process's own `/` is an overlay whose layers lie under `root`. (The daemon's mount points can be seen by
/// every process of the machine; only a container has one as its root.)
fn has_rootfs_of(mountinfo: &str, root: &Path) -> bool {
    let snapshots = format!("{}/", escape(root));
    mountinfo.lines().filter_map(Mount::parse).any(|mount| {
        let layers = mount
            .options
            .split(',')
            .filter_map(|option| option.strip_prefix("upperdir=").or_else(|| option.strip_prefix("lowerdir=")));
        mount.point == "/" && mount.kind == "overlay" && { layers }.any(|dirs| dirs.starts_with(&snapshots))
    })
}

/// Whether the process's own `/` is an overlay that writes to one of these directories.
fn has_upper_of(mountinfo: &str, uppers: &[PathBuf]) -> bool {
    upper_directory(mountinfo, Path::new("/")).is_some_and(|upper| uppers.contains(&upper))
}

/// The directory that the overlay which is mounted at `point` writes to.
pub(in crate::buildkit::daemon) fn upper_directory(mountinfo: &str, point: &Path) -> Option<PathBuf> {
    let point = escape(point);
    let mut mounts = mountinfo.lines().filter_map(Mount::parse).filter(|mount| mount.kind == "overlay");
    let of_point = mounts.rfind(|mount| mount.point == point)?;
    let upper = of_point.options.split(',').find_map(|option| option.strip_prefix("upperdir="))?;
    Some(PathBuf::from(unescape(upper)))
}

/// Where something is mounted at or below `root`; what was mounted last comes first.
pub(super) fn mounts_below(mountinfo: &str, root: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(Mount::parse).map(|mount| PathBuf::from(unescape(mount.point)));
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(root) && point != root).collect();
    below.reverse();
    below
}

/// A line of `/proc/PID/mountinfo` (proc(5)).
struct Mount<'a> {
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl Mount<'_> {
    fn parse(line: &str) -> Option<Mount<'_>> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        Some(Mount { point: before.split(' ').nth(4)?, kind: after.next()?, options: after.nth(1)? })
    }
}

/// The kernel writes these four as three octal digits.
const ESCAPED: [(char, &str); 4] = [('\\', "\\134"), (' ', "\\040"), ('\t', "\\011"), ('\n', "\\012")];

fn escape(path: &Path) -> String {
    ESCAPED.iter().fold(path.display().to_string(), |text, (plain, octal)| text.replace(*plain, octal))
}

fn unescape(text: &str) -> String {
    ESCAPED.iter().rev().fold(text.to_owned(), |text, (plain, octal)| text.replace(octal, &plain.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: &str =
        "71 47 0:39 / / rw,relatime - overlay overlay rw,lowerdir=/a b/r/s/4/fs,upperdir=/x,uuid=on";

    #[test]
    fn a_container_of_this_root_is_told_from_those_of_others_and_from_the_host() {
        let info = CONTAINER.replace("/a b/", "/a\\040b/");
        assert!(has_rootfs_of(&info, Path::new("/a b/r")));
        assert!(!has_rootfs_of(&info, Path::new("/a b/r2")));
        assert!(!has_rootfs_of(&info, Path::new("/a b/r/s/4/f")));
        let host = info.replacen("/ / rw", "/ /a/r/rootfs rw", 1);
        assert!(!has_rootfs_of(&host, Path::new("/a b/r")), "the host sees the mount, and does not live in it");
        assert!(!has_rootfs_of("", Path::new("/a b/r")));
    }

    #[test]
    fn a_cgroup_belongs_to_a_container_by_its_whole_id() {
        let ids = ["rs1z3my1uk0c7y1q9l4421m3d"];
        assert!(is_in_cgroup_of("9:name=systemd:/buildkit/rs1z3my1uk0c7y1q9l4421m3d\n", &ids));
        assert!(is_in_cgroup_of("0::/user.slice/buildkit/rs1z3my1uk0c7y1q9l4421m3d/init", &ids));
        assert!(!is_in_cgroup_of("0::/buildkit/rs1z3my1uk0c7y1q9l4421m3dx", &ids));
        assert!(!is_in_cgroup_of("0::/", &ids));
    }

    #[test]
    fn mounts_below_a_root_come_deepest_first_and_with_plain_names() {
        let info = "1 0 8:1 / / rw - ext4 /dev/vda rw\n\
                    2 1 0:39 / /r/a\\040b rw - overlay overlay rw\n\
                    3 2 0:40 / /r/a\\040b/proc rw shared:1 - proc proc rw\n\
                    4 1 0:41 / /rr rw - tmpfs tmpfs rw\n\
                    5 1 0:41 / /r rw - tmpfs tmpfs rw\n";
        assert_eq!(mounts_below(info, Path::new("/r")), [Path::new("/r/a b/proc"), Path::new("/r/a b")]);
    }

    #[test]
    fn files_of_the_executor_are_no_containers() {
        assert!(is_container_id("rs1z3my1uk0c7y1q9l4421m3d"));
        for name in ["resolv.conf", "hosts.gwmjukybq7307iggs02l8z573", "runc-log.json", ""] {
            assert!(!is_container_id(name), "{name}");
        }
    }
}
