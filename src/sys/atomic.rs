//! Files that are there whole or not at all: temporary file, fsync, rename, fsync of the directory.
//!
//! Everything that slipway keeps is written through here. A temporary file that a crash left behind is known by its
//! name and removed by [`clean`].

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, io_error_of, phrase, reason};

/// The mode of files that anyone who reaches the home may read.
pub const PUBLIC: u32 = 0o644;
/// The mode of files that only their owner may read.
pub const PRIVATE: u32 = 0o600;

const TEMP_MARK: &str = ".slipway-";
const TEMP_END: &str = ".tmp";

/// A file that could not be written. The file that was there before is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No space, or the quota is used up.
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Its directory.
        directory: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The permissions, or a file system that is mounted read-only.
    Denied {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Anything else.
    Io {
        /// The file.
        path: PathBuf,
        /// The step that failed.
        action: Phrase,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

display_as_reason!(WriteError);

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> io::Error {
        let (WriteError::DiskFull { cause, .. } | WriteError::Denied { cause, .. } | WriteError::Io { cause, .. }) =
            &error;
        io_error_of(cause.kind(), &error)
    }
}

impl AsReason for WriteError {
    fn reason(&self) -> Reason {
        match self {
            WriteError::DiskFull { path, directory, .. } => reason!("write.disk_full", path, directory),
            WriteError::Denied { path, cause } => reason!("write.denied", path, cause),
            WriteError::Io { path, action, cause } => reason!("write.io", path, action, cause),
        }
    }
}

impl WriteError {
    fn new(path: &Path, action: Phrase, cause: io::Error) -> WriteError {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                WriteError::DiskFull { directory: parent(&path).to_owned(), path, cause }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => WriteError::Denied { path, cause },
            _ => WriteError::Io { path, action, cause },
        }
    }
}

/// Writes `bytes` to `path` with the permissions `mode`, whatever the umask. Readers see the old file or the new one.
/// Where `path` is a symbolic link, the file that it points to is replaced and the link stays.
///
/// # Errors
/// When a step fails; no temporary file stays behind, and the old file is as it was.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    replace(path, bytes, mode, true)
}

/// Writes as [`write()`] does, without waiting for the disk: after a power cut the file may be empty. For files that
/// mean nothing after a reboot, such as those of a running build.
///
/// # Errors
/// As [`write()`].
pub fn write_volatile(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    replace(path, bytes, mode, false)
}

fn replace(path: &Path, bytes: &[u8], mode: u32, durable: bool) -> Result<(), WriteError> {
    let target = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => {
            fs::canonicalize(path).map_err(|e| WriteError::new(path, phrase!("verb.follow_the_symbolic_link"), e))?
        }
        _ => path.to_owned(),
    };
    let fail = |action| move |cause| WriteError::new(path, action, cause);
    let temp = Temp(temp_path(&target));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&temp.0)
        .map_err(fail(phrase!("verb.create_a_temporary_file_beside_it")))?;
    file.write_all(bytes).map_err(fail(phrase!("verb.write_the_temporary_file")))?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(fail(phrase!("verb.set_its_permissions")))?;
    if durable {
        file.sync_all().map_err(fail(phrase!("verb.bring_it_to_the_disk")))?;
    }
    fs::rename(&temp.0, &target).map_err(fail(phrase!("verb.put_it_in_place")))?;
    std::mem::forget(temp);
    if !durable {
        return Ok(());
    }
    sync_dir(parent(&target)).map_err(fail(phrase!("verb.bring_its_directory_to_the_disk")))
}

/// The permissions of the file that is there, else [`PUBLIC`].
pub fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).map_or(PUBLIC, |meta| meta.permissions().mode() & 0o777)
}

/// Removes a file and brings that to the disk. A file that is not there is as good.
///
/// # Errors
/// When the file can't be removed.
pub fn remove(path: &Path) -> Result<(), WriteError> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(parent(path))
            .map_err(|e| WriteError::new(path, phrase!("verb.bring_its_directory_to_the_disk"), e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(WriteError::new(path, phrase!("verb.remove_it"), e)),
    }
}

/// Makes a directory and those above it, readable by their owner alone. Directories that exist stay as they are.
///
/// # Errors
/// When one can't be made.
pub fn create_dir_all(path: &Path) -> Result<(), WriteError> {
    make_dirs(path).map_err(|e| WriteError::new(path, phrase!("verb.make_the_directory"), e))
}

/// As [`create_dir_all`], for those who word the error themselves.
///
/// # Errors
/// When one can't be made.
pub fn make_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Renames a log of more than `limit` bytes to `<log>.1`, in the place of an earlier one, so that at most twice as much is kept.
///
/// # Errors
/// When it can't be renamed.
pub fn put_aside_longer_than(limit: u64, log: &Path) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(meta) if meta.len() > limit => {
            let mut aside = log.as_os_str().to_owned();
            aside.push(".1");
            fs::rename(log, aside)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the temporary files in `directory` (not below it) whose writers are gone, and tells how many those were.
/// A directory that does not exist has none.
///
/// # Errors
/// When the directory can't be read or a file can't be removed.
pub fn clean(directory: &Path) -> Result<usize, WriteError> {
    let fail = |action| move |cause| WriteError::new(directory, action, cause);
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other.map_err(fail(phrase!("verb.list_it")))?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(fail(phrase!("verb.list_it")))?;
        let Some(pid) = temp_writer(&entry.file_name()) else { continue };
        if !Path::new("/proc").join(pid.to_string()).exists() {
            remove(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a file's name is that of one of our temporary files.
pub fn is_temp(name: &OsStr) -> bool {
    temp_writer(name).is_some()
}

/// The process that made a temporary file, by the file's name.
fn temp_writer(name: &OsStr) -> Option<u32> {
    let name = name.to_str()?.strip_prefix('.')?.strip_suffix(TEMP_END)?;
    let (_, writer) = name.rsplit_once(TEMP_MARK)?;
    writer.split_once('-')?.0.parse().ok()
}

fn temp_path(target: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // A long name is cut: a file's name holds 255 bytes.
    let name: String = target.file_name().unwrap_or_default().to_string_lossy().chars().take(40).collect();
    parent(target).join(format!(".{name}{TEMP_MARK}{}-{count}{TEMP_END}", std::process::id()))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removed when dropped.
struct Temp(PathBuf);

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_with_the_mode_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        write(&path, b"one", PUBLIC).unwrap();
        write(&path, b"two", PRIVATE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["a.toml"]);
    }

    #[test]
    fn a_symbolic_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real.toml");
        fs::write(&real, "old").unwrap();
        let link = dir.path().join("link.toml");
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        write(&link, b"new", PUBLIC).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write(&path, b"x", PUBLIC).unwrap_err().to_string();
        assert!(error.contains("taken") && error.contains("put it in place"), "{error}");
        assert_eq!(names(dir.path()), ["taken"]);
        let missing = write(&dir.path().join("no/where"), b"x", PUBLIC).unwrap_err();
        assert!(matches!(missing, WriteError::Io { .. }), "{missing}");
    }

    #[test]
    fn a_full_disk_and_missing_permissions_are_told_apart() {
        let error = |kind: io::ErrorKind| WriteError::new(Path::new("/h/a.toml"), phrase!("verb.write"), kind.into());
        let full = error(io::ErrorKind::StorageFull);
        assert_eq!(full.to_string(), "cannot write /h/a.toml: disk full: free space on the file system that holds /h");
        assert!(matches!(error(io::ErrorKind::PermissionDenied), WriteError::Denied { .. }));
    }

    #[test]
    fn a_write_to_a_full_disk_says_so_and_leaves_nothing() {
        // The one device that is always full.
        let error = OpenOptions::new().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        assert!(matches!(WriteError::new(Path::new("x"), phrase!("verb.write"), error), WriteError::DiskFull { .. }));
    }

    #[test]
    fn temporary_files_of_dead_writers_are_cleaned_and_others_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dead = ".a.toml.slipway-4294967295-0.tmp";
        let living = format!(".a.toml.slipway-{}-0.tmp", std::process::id());
        for name in [dead, &living, "a.toml", ".hidden.tmp"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(clean(dir.path()).unwrap(), 1);
        let mut left = names(dir.path());
        left.sort();
        let mut expected = vec![".hidden.tmp".to_owned(), living, "a.toml".to_owned()];
        expected.sort();
        assert_eq!(left, expected);
        assert_eq!(clean(&dir.path().join("none")).unwrap(), 0);
        assert!(is_temp(temp_path(Path::new("/x/y.toml")).file_name().unwrap()));
    }

    #[test]
    fn directories_are_made_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        create_dir_all(&path).unwrap();
        create_dir_all(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
