//! The lock that lets one setup work at a time, its temporary directory, and the step that puts binaries in place.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::InstallError;
use super::file_name::file_name;
use super::progress::{Progress, Report};
use crate::domain::reason::phrase;
use crate::store::home::Home;
use crate::sys::atomic;
use crate::sys::lock::{self, Held};

/// How often a lock that somebody else holds is asked for again.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// Temporary directories begin with this, beside `bin`, so that a rename never crosses a filesystem.
const PREFIX: &str = ".install-";

/// Held while one setup works on a home; the system releases it with the process.
pub(super) struct Lock(#[expect(dead_code, reason = "locked until dropped")] Held);

impl Lock {
    /// Waits for the lock, saying once who holds it.
    pub(super) async fn take(home: &Home, progress: Report<'_>) -> Result<Lock, InstallError> {
        let dir = home.buildkit_dir();
        atomic::make_dirs(&dir).map_err(|e| InstallError::file(phrase!("verb.creating"), &dir, e))?;
        let path = dir.join("install.lock");
        let mut told = false;
        let held = loop {
            match lock::try_exclusive(&path).map_err(|e| InstallError::file(phrase!("verb.locking"), &path, e))? {
                Some(held) => break held,
                None if !told => {
                    let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                    progress(Progress::Waiting { holder });
                    told = true;
                }
                None => {}
            }
            tokio::time::sleep(LOCK_POLL).await;
        };
        let write = |file: &File| {
            file.set_len(0)?;
            file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
        };
        write(held.file()).map_err(|e| InstallError::file(phrase!("verb.writing"), &path, e))?;
        Ok(Lock(held))
    }
}

/// A directory of our own, removed when it and every [`Scratch`] of it are dropped.
pub(super) struct Workspace(Arc<Scratch>);

/// What a thread keeps while it writes into the directory.
pub(super) struct Scratch {
    dir: PathBuf,
    abandoned: AtomicBool,
}

impl Workspace {
    /// A new, empty one. What a killed setup left is removed: the lock says that nobody is using it.
    pub(super) fn new(home: &Home) -> Result<Workspace, InstallError> {
        let parent = home.buildkit_dir();
        let entries = fs::read_dir(&parent).map_err(|e| InstallError::file(phrase!("verb.reading"), &parent, e))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                remove(&entry.path());
            }
        }
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .map_err(|e| InstallError::file(phrase!("verb.creating_a_directory_in"), &parent, e))?
            .keep();
        Ok(Workspace(Arc::new(Scratch { dir, abandoned: AtomicBool::new(false) })))
    }

    /// A new directory in it.
    pub(super) fn dir(&self, name: &str) -> Result<PathBuf, InstallError> {
        let dir = self.0.dir.join(name);
        atomic::make_dirs(&dir).map_err(|e| InstallError::file(phrase!("verb.creating"), &dir, e))?;
        Ok(dir)
    }

    /// For a thread that outlives the future that started it.
    pub(super) fn scratch(&self) -> Arc<Scratch> {
        Arc::clone(&self.0)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
    }
}

impl Scratch {
    /// Whether nobody waits for the result any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// Removes a directory while children that were just killed may still be writing their last bytes into it.
fn remove(dir: &Path) {
    for _attempt in 0..20 {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => return,
        }
    }
}

/// Moves whole, tried binaries into the home's `bin`, one by one, each on disk before it gets its name.
pub(super) fn publish(files: &[PathBuf], home: &Home, progress: Report<'_>) -> Result<(), InstallError> {
    let bin = home.buildkit_bin_dir();
    atomic::make_dirs(&bin).map_err(|e| InstallError::file(phrase!("verb.creating"), &bin, e))?;
    for file in files {
        let sync = || {
            fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
            File::open(file)?.sync_all()
        };
        sync().map_err(|e| InstallError::file(phrase!("verb.writing"), file, e))?;
    }
    for file in files {
        let path = bin.join(file_name(file));
        fs::rename(file, &path).map_err(|e| InstallError::file(phrase!("verb.putting_in_place"), &path, e))?;
        progress(Progress::Installed { path });
    }
    File::open(&bin).and_then(|dir| dir.sync_all()).map_err(|e| InstallError::file(phrase!("verb.writing"), &bin, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_setup_waits_and_says_who_holds_the_lock() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let first = Lock::take(&home, &mut |_| {}).await.unwrap();
        let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let waiting = tokio::spawn(async move {
            let mut report = |event| said.send(event).unwrap();
            Lock::take(&home, &mut report).await.map(drop)
        });
        assert_eq!(heard.recv().await, Some(Progress::Waiting { holder: Some(std::process::id()) }));
        drop(first);
        waiting.await.unwrap().unwrap();
    }

    #[test]
    fn what_a_killed_setup_left_is_removed_by_the_next() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path());
        let left = home.buildkit_dir().join(".install-old/out");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("buildctl"), "half").unwrap();
        let work = Workspace::new(&home).unwrap();
        assert!(!left.exists());
        work.dir("out").unwrap();
        drop(work);
        assert_eq!(fs::read_dir(home.buildkit_dir()).unwrap().count(), 0);
    }
}
