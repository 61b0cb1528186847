//! What goes on beside the drawing: watching a log grow, and counting in it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{Config, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};

use crate::log::file::LogFile;
use crate::log::scan::{Counts, Wanted, count};

/// Called when there is something new to draw.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// How often is looked where the kernel tells of no changes.
const POLL: Duration = Duration::from_millis(500);

/// Wakes when anything in a directory changes; stops when dropped.
pub(in crate::tui) struct Watch {
    /// Somebody was woken, and has not looked yet.
    woken: Arc<AtomicBool>,
    _watcher: Option<Box<dyn Watcher + Send>>,
}

impl Watch {
    /// Watches a directory, by inotify where it is to be had.
    pub(in crate::tui) fn directory(directory: &Path, waker: &Waker) -> Watch {
        let woken = Arc::new(AtomicBool::new(false));
        let handler = || {
            let (woken, waker) = (woken.clone(), waker.clone());
            move |_: notify::Result<notify::Event>| {
                if !woken.swap(true, Ordering::SeqCst) {
                    waker();
                }
            }
        };
        let mut watcher: Option<Box<dyn Watcher + Send>> =
            RecommendedWatcher::new(handler(), Config::default()).ok().map(|watcher| Box::new(watcher) as _);
        let watches = |watcher: &mut Option<Box<dyn Watcher + Send>>| {
            watcher.as_mut().is_some_and(|watcher| watcher.watch(directory, RecursiveMode::NonRecursive).is_ok())
        };
        if !watches(&mut watcher) {
            let polled = Config::default().with_poll_interval(POLL);
            watcher = PollWatcher::new(handler(), polled).ok().map(|watcher| Box::new(watcher) as _);
            watches(&mut watcher);
        }
        Watch { woken, _watcher: watcher }
    }

    /// Whoever was woken looks now: what changes from here on wakes again.
    pub(in crate::tui) fn looking(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }
}

/// Counting in the background; cancelled when dropped.
pub(super) struct Counting {
    cancelled: Arc<AtomicBool>,
    result: Arc<Mutex<Option<Counts>>>,
}

impl Counting {
    /// Begins to count what is wanted, from where `known` ends.
    pub(super) fn begin(log: LogFile, known: Counts, wanted: impl Wanted + Send + 'static, waker: Waker) -> Counting {
        let (cancelled, result) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let counting = Counting { cancelled: cancelled.clone(), result: result.clone() };
        std::thread::spawn(move || {
            // A log that can't be read is told where it is drawn.
            if let Ok(Some(counts)) = count(&log, &known, &wanted, &cancelled) {
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(counts);
                waker();
            }
        });
        counting
    }

    /// What was counted, once it was.
    pub(super) fn take(&self) -> Option<Counts> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }
}
