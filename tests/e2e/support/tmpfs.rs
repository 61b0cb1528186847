//! A file system that is soon full.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::background::run;

/// A mounted tmpfs; unmounted when dropped. Needs root.
pub struct Tmpfs {
    directory: TempDir,
}

impl Tmpfs {
    /// Mounts one that holds `bytes`.
    pub fn mount(bytes: u64) -> Tmpfs {
        let tmpfs = Tmpfs { directory: tempfile::tempdir().unwrap() };
        let size = format!("size={bytes},mode=700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(tmpfs.path())).ok();
        tmpfs
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount_all_below(self.path());
    }
}

/// Unmounts all that is mounted on or below a directory, in use or not.
pub fn unmount_all_below(directory: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = |line: &str| {
        let point = line.split(' ').nth(1)?.to_owned();
        Path::new(&point).starts_with(directory).then_some(point)
    };
    for point in mounts.lines().rev().filter_map(below) {
        // Fails only where it has been unmounted meanwhile.
        let _ = Command::new("umount").args(["--lazy", &point]).status();
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_small_tmpfs_is_soon_full_and_leaves_nothing_mounted() {
        let tmpfs = Tmpfs::mount(64 * 1024);
        let path = tmpfs.path().to_owned();
        let written = std::fs::write(path.join("large"), vec![0; 128 * 1024]);
        assert_eq!(written.unwrap_err().kind(), ErrorKind::StorageFull);
        drop(tmpfs);
        assert!(!std::fs::read_to_string("/proc/self/mounts").unwrap().contains(path.to_str().unwrap()));
        assert!(!path.exists());
    }
}
