//! What goes on beside the drawing: watching a log grow, and counting in it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Config, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};

use crate::log::file::LogFile;
use crate::log::scan::{Counts, Wanted, count};

/// Called when there is something new to draw.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// How often is looked where the kernel tells of no changes.
const POLL: Duration = Duration::from_millis(500);

/// Wakes when a file or anything in a directory changes; stops when dropped.
pub(in crate::tui) struct Watch {
    turn: Arc<Turn>,
    _watcher: Option<Box<dyn Watcher + Send>>,
}

/// Whose turn it is: a log that grows ten thousand times a second wakes once a frame.
#[derive(Default)]
struct Turn {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default, PartialEq)]
enum State {
    /// What changes wakes.
    #[default]
    Watching,
    /// Somebody was woken, and has not looked yet.
    Woken,
    /// Nobody looks any more.
    Closed,
}

impl Turn {
    /// Wakes, and waits until somebody has looked: meanwhile the kernel makes one event of the many that are the same.
    fn wake(&self, waker: &Waker) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Closed {
            return;
        }
        *state = State::Woken;
        waker();
        let waiting = self.changed.wait_while(state, |state| *state == State::Woken);
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
    }

    fn become_state(&self, new: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.changed.notify_all();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.turn.become_state(State::Closed);
    }
}

impl Watch {
    /// Watches a directory or a file, by inotify where it is to be had.
    pub(in crate::tui) fn path(path: &Path, waker: &Waker) -> Watch {
        let turn = Arc::new(Turn::default());
        let handler = || {
            let (turn, waker) = (turn.clone(), waker.clone());
            move |event: notify::Result<notify::Event>| {
                if event.map_or(true, |event| changes_something(event.kind)) {
                    turn.wake(&waker);
                }
            }
        };
        let mut watcher: Option<Box<dyn Watcher + Send>> =
            RecommendedWatcher::new(handler(), Config::default()).ok().map(|watcher| Box::new(watcher) as _);
        let watches = |watcher: &mut Option<Box<dyn Watcher + Send>>| {
            watcher.as_mut().is_some_and(|watcher| watcher.watch(path, RecursiveMode::NonRecursive).is_ok())
        };
        if !watches(&mut watcher) {
            let polled = Config::default().with_poll_interval(POLL);
            watcher = PollWatcher::new(handler(), polled).ok().map(|watcher| Box::new(watcher) as _);
            watches(&mut watcher);
        }
        Watch { turn, _watcher: watcher }
    }

    /// Whoever was woken looks now: what changes from here on wakes again.
    pub(in crate::tui) fn looking(&self) {
        self.turn.become_state(State::Watching);
    }
}

/// Whoever was woken reads, which must not wake it again.
fn changes_something(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
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
