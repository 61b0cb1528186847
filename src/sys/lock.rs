//! Locks between processes: flock(2) on a file that is only there to be locked, and that only its owner can open. A
//! lock ends with its holder, however that ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock, major, minor};

use super::{atomic, users};
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};

/// A held lock; let go when dropped.
#[derive(Debug)]
pub struct Held {
    // It is close-on-exec, so no child keeps the lock.
    file: File,
}

impl Held {
    /// The locked file, which may hold a word about its holder.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether the locked file is still the one at `path`: with a directory that was removed, the lock keeps nobody out.
    /// What can't be looked at is taken to be there.
    pub fn is_at(&self, path: &Path) -> bool {
        let identity = |meta: &fs::Metadata| (meta.dev(), meta.ino());
        match (self.file.metadata(), fs::metadata(path)) {
            (Ok(ours), Ok(there)) => identity(&ours) == identity(&there),
            (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }
}

/// The file to lock, made for its owner alone; one of before loses the permissions by which other users could hold it.
/// Open for reading and writing: over NFS a shared lock needs the one, an exclusive one the other.
///
/// # Errors
/// When it can't be opened, or has another owner.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).read(true).write(true).truncate(false).mode(atomic::PRIVATE).open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(atomic::PRIVATE))?;
    }
    Ok(file)
}

/// Waits until nobody else has the lock.
///
/// # Errors
/// When the file can't be opened or locked.
pub fn exclusive(path: &Path) -> io::Result<Held> {
    let file = open(path)?;
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
    Ok(Held { file })
}

/// Waits until nobody has the lock to itself.
///
/// # Errors
/// When the file can't be opened or locked.
pub fn shared(path: &Path) -> io::Result<Held> {
    let file = open(path)?;
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockShared))?;
    Ok(Held { file })
}

/// The lock alone, or none where somebody has it.
///
/// # Errors
/// When the file can't be opened or locked.
pub fn try_exclusive(path: &Path) -> io::Result<Option<Held>> {
    attempt(open(path)?, FlockOperation::NonBlockingLockExclusive)
}

/// The lock together with others, or none where somebody has it alone.
///
/// # Errors
/// When the file can't be opened or locked.
pub fn try_shared(path: &Path) -> io::Result<Option<Held>> {
    attempt(open(path)?, FlockOperation::NonBlockingLockShared)
}

fn attempt(file: File, how: FlockOperation) -> io::Result<Option<Held>> {
    match rustix::io::retry_on_intr(|| flock(&file, how)) {
        Ok(()) => Ok(Some(Held { file })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: i32,
    /// The name of its program and its user; none where it has ended meanwhile.
    program: Option<(String, u32)>,
}

display_as_reason!(Holder);

impl AsReason for Holder {
    fn reason(&self) -> Reason {
        let pid = self.pid;
        match &self.program {
            Some((program, uid)) => reason!("lock.holder", pid, program, user = users::shown(*uid)),
            None => reason!("lock.ended_holder", pid),
        }
    }
}

impl Holder {
    fn of(pid: i32) -> Holder {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // Not the owner of /proc/PID, which is root for a process that can't be dumped.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok());
        Holder { pid, program: uid.map(|uid| (name.trim_end().to_owned(), uid)) }
    }
}

/// The processes that hold a lock of the file; empty where the kernel names none.
pub fn holders(path: &Path) -> Vec<Holder> {
    let Ok(meta) = fs::metadata(path) else { return Vec::new() };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    pids(&locks, meta.dev(), meta.ino()).into_iter().map(Holder::of).collect()
}

/// `1: FLOCK  ADVISORY  WRITE 4711 fe:01:3146017 0 EOF`; those that wait have an arrow after the number.
fn pids(locks: &str, device: u64, inode: u64) -> Vec<i32> {
    let wanted = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    let holder = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        (words.next()? == "FLOCK").then_some(())?;
        let pid = words.nth(2)?;
        (words.next()? == wanted).then(|| pid.parse().ok())?
    };
    locks.lines().filter_map(holder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_its_holder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(holders(&path), []);
        let held = try_exclusive(&path).unwrap().unwrap();
        assert!(try_exclusive(&path).unwrap().is_none() && try_shared(&path).unwrap().is_none());
        let holders = holders(&path);
        let told = holders[0].to_string();
        assert_eq!(holders.len(), 1);
        assert_eq!(holders[0].pid.unsigned_abs(), std::process::id());
        assert!(told.starts_with(&format!("process {} (", std::process::id())) && told.contains("uid"), "{told}");
        assert!(held.is_at(&path));
        fs::rename(&path, dir.path().join("moved")).unwrap();
        assert!(!held.is_at(&path), "nothing is there");
        drop(try_exclusive(&path).unwrap().unwrap());
        assert!(!held.is_at(&path), "another file is there");
        fs::rename(dir.path().join("moved"), &path).unwrap();
        drop(held);
        assert_eq!(super::holders(&path), []);
        assert!(try_shared(&path).unwrap().is_some());
    }

    #[test]
    fn only_its_owner_can_open_a_locks_file_also_one_of_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "4711").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        drop(exclusive(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "4711");
    }

    #[test]
    fn the_kernels_list_is_read_and_those_that_wait_are_left_out() {
        let locks = "1: FLOCK  ADVISORY  WRITE 71 fe:01:99 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 72 fe:01:99 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 73 fe:01:99 0 EOF\n3: FLOCK  ADVISORY  READ  74 fe:01:98 0 EOF\n";
        assert_eq!(pids(locks, rustix::fs::makedev(0xfe, 1), 99), [71]);
        assert_eq!(pids(locks, rustix::fs::makedev(0xfe, 1), 98), [74]);
    }
}
