//! Noticing edits of files under some directories.
//!
//! inotify only says *when* to look; what changed is found by comparing the files with those seen before
//! ([`super::settings::Stamps`]). So atomic renames, directories that come late or go, and lost events all end in the right
//! answer, and polling is the same without inotify.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc as tokio_mpsc;

/// Changes this close together are one: editors write a file in several steps.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// A directory that never rests is looked at this often all the same.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(1);

/// How often files are compared where inotify is unavailable.
const POLL: Duration = Duration::from_secs(2);

/// Directories deeper than this hold nothing of ours; it also ends circles of symbolic links.
const DEPTH: usize = 4;

/// What a watcher reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Files may have come, changed or gone.
    Files,
    /// From now on files are to be compared every two seconds, and why.
    Polling {
        /// A sentence that says what to do about it.
        reason: String,
    },
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    changes: tokio_mpsc::Receiver<Change>,
    wake: mpsc::Sender<Wake>,
}

impl Watcher {
    /// The next change. What was there when the watcher was made is none.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
    }
}

/// Watches the files that are `targets` or are below them. Targets need not exist. Returns when it watches: what changes
/// after that is reported.
pub fn watch(targets: Vec<PathBuf>) -> Watcher {
    start(targets, true)
}

enum Wake {
    Look,
    Trouble(String),
    Stop,
}

fn start(targets: Vec<PathBuf>, with_inotify: bool) -> Watcher {
    // A slow reader holds the watching thread, which then finds all changes at once: 16 is plenty.
    let (report, changes) = tokio_mpsc::channel(16);
    // Unbounded for the sender is inotify's thread, which must not wait; each wake is a word, and looking takes all.
    let (wake, woken) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    let sender = wake.clone();
    let run = move || {
        let mut looker =
            Looker { arms: with_inotify.then(|| Arms::new(&targets, sender)), targets, watched: HashMap::new() };
        let trouble = looker.look();
        let _ = ready.send(());
        looker.run(trouble, &woken, &report);
    };
    // A machine that can't start a thread reports no edits: the channel ends at once, which `next` tells.
    if thread::Builder::new().name("watch".into()).spawn(run).is_ok() {
        let _ = is_ready.recv();
    }
    Watcher { changes, wake }
}

/// inotify, or why it is unavailable.
struct Arms(Result<RecommendedWatcher, String>);

impl Arms {
    fn new(targets: &[PathBuf], wake: mpsc::Sender<Wake>) -> Arms {
        let targets = targets.to_vec();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let wake_up = match event {
                Ok(event) if matters(&event, &targets) => Wake::Look,
                Ok(_) => return,
                Err(error) => Wake::Trouble(trouble(&error)),
            };
            let _ = wake.send(wake_up);
        });
        Arms(watcher.map_err(|error| trouble(&error)))
    }
}

/// Looking is itself seen by inotify (a directory is opened); only what changes something wakes.
fn matters(event: &Event, targets: &[PathBuf]) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    let near = |path: &PathBuf| targets.iter().any(|target| path.starts_with(target) || target.starts_with(path));
    event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(near)
}

fn trouble(error: &notify::Error) -> String {
    let exhausted = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => Some("fs.inotify.max_user_watches"),
        notify::ErrorKind::Io(e) if e.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) => {
            Some("fs.inotify.max_user_watches")
        }
        notify::ErrorKind::Io(e) if e.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            Some("fs.inotify.max_user_instances")
        }
        _ => None,
    };
    match exhausted {
        Some(limit) => format!(
            "edits are noticed within {} s only: inotify's limit is used up; raise it with: sysctl {limit}=8192",
            POLL.as_secs()
        ),
        None => format!("edits are noticed within {} s only: inotify is unavailable: {error}", POLL.as_secs()),
    }
}

/// The directories to watch, by device and inode: one that was replaced is another.
type Directories = BTreeMap<PathBuf, (u64, u64)>;

struct Looker {
    targets: Vec<PathBuf>,
    arms: Option<Arms>,
    watched: HashMap<PathBuf, (u64, u64)>,
}

impl Looker {
    fn run(mut self, mut trouble: Option<String>, woken: &mpsc::Receiver<Wake>, report: &tokio_mpsc::Sender<Change>) {
        loop {
            if let Some(reason) = trouble.take() {
                self.arms = None;
                if report.blocking_send(Change::Polling { reason }).is_err() {
                    return;
                }
            }
            match self.wait(woken) {
                Wake::Stop => return,
                Wake::Trouble(reason) => trouble = Some(reason),
                Wake::Look => {}
            }
            trouble = trouble.or(self.look());
            if report.blocking_send(Change::Files).is_err() {
                return;
            }
        }
    }

    /// Waits for a reason to look, and then until all is quiet.
    fn wait(&self, woken: &mpsc::Receiver<Wake>) -> Wake {
        let first = if self.arms.is_some() {
            woken.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            woken.recv_timeout(POLL)
        };
        match first {
            Ok(Wake::Look) => {}
            Ok(other) => return other,
            Err(RecvTimeoutError::Timeout) => return Wake::Look,
            Err(RecvTimeoutError::Disconnected) => return Wake::Stop,
        }
        let until = Instant::now() + LONGEST_DEBOUNCE;
        while Instant::now() < until {
            match woken.recv_timeout(DEBOUNCE) {
                Ok(Wake::Look) => {}
                Ok(other) => return other,
                Err(_) => break,
            }
        }
        Wake::Look
    }

    /// Watches the directories that are there. Those that came while it looked are looked at again, for others may have come
    /// into them before the watch did. Why they can't be watched.
    fn look(&mut self) -> Option<String> {
        while self.arms.is_some() {
            match self.arm(&directories(&self.targets)) {
                Ok(false) => break,
                Ok(true) => {}
                Err(reason) => {
                    self.arms = None;
                    return Some(reason);
                }
            }
        }
        None
    }

    /// Watches those directories and no others. Returns whether one was added.
    fn arm(&mut self, dirs: &Directories) -> Result<bool, String> {
        let Some(Arms(arms)) = &mut self.arms else { return Ok(false) };
        let arms = arms.as_mut().map_err(|reason| reason.clone())?;
        self.watched.retain(|path, id| {
            let stays = dirs.get(path) == Some(id);
            if !stays {
                // The watch of a directory that went is gone with it.
                let _ = arms.unwatch(path);
            }
            stays
        });
        let mut added = false;
        for (path, id) in dirs {
            if self.watched.contains_key(path) {
                continue;
            }
            match arms.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), *id);
                    added = true;
                }
                // It went again since it was listed; its parent's watch tells.
                Err(error) if gone(&error) => added = true,
                Err(error) => return Err(trouble(&error)),
            }
        }
        Ok(added)
    }
}

fn gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(e) => e.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn directories(targets: &[PathBuf]) -> Directories {
    let mut found = Directories::new();
    for target in targets {
        below(target, DEPTH, &mut found);
        // A target that does not exist comes into the nearest directory that does; one that does may be replaced there.
        let above = target.ancestors().skip(1).find_map(|dir| {
            let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
            fs::metadata(dir).ok().filter(Metadata::is_dir).map(|meta| (dir.to_owned(), (meta.dev(), meta.ino())))
        });
        found.extend(above);
    }
    found
}

fn below(dir: &Path, depth: usize, found: &mut Directories) {
    let Some(meta) = fs::metadata(dir).ok().filter(Metadata::is_dir) else { return };
    found.insert(dir.to_owned(), (meta.dev(), meta.ino()));
    // A directory that can't be read, or went, has no files for us.
    let Ok(entries) = fs::read_dir(dir) else { return };
    // Ten thousand files are passed over by their kinds alone.
    let others = entries.flatten().filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_file()));
    if depth > 0 {
        others.for_each(|entry| below(&entry.path(), depth - 1, found));
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
