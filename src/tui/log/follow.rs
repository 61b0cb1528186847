//! Keeping up with a log that grows, and with its build.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::card::Card;
use super::subject::{Origin, Subject};
use super::work::Watch;
use super::{LogView, steps};
use crate::client;
use crate::domain::build::{Build, BuildId, BuildState};
use crate::domain::step::StepsFile;
use crate::log::file::{Change, LogFile};
use crate::log::scan::Counts;
use crate::log::stderr::Stderr;

/// The steps of a build that runs are asked for no more often.
const STEPS_EVERY: TimeDelta = TimeDelta::milliseconds(250);

impl LogView {
    /// Takes over how the build stands now; the place in the log stays.
    pub fn subject_changed(&mut self, subject: Subject) {
        let was_live = std::mem::replace(&mut self.subject, subject).live;
        let had_log = self.log.is_some();
        self.take_files();
        // To watch anew is not for nothing: the kernel takes its time to end a watch.
        if (had_log, was_live) != (self.log.is_some(), self.subject.live) {
            self.watch_subject();
        }
        self.read_baseline();
        self.look_at_subject();
        self.woken();
        self.catch_up();
    }

    /// Takes over the files that were not there before.
    fn take_files(&mut self) {
        let Origin::Build(files) = &self.subject.origin else { return };
        if self.log.is_none()
            && let Ok(Some(log)) = files.open_log()
        {
            self.log = Some(log);
            self.go_to_end();
        }
        let Origin::Build(files) = &self.subject.origin else { return };
        if !self.stderr.is_there() {
            self.stderr = Stderr::of_file(files.open_stderr());
        }
    }

    pub(super) fn watch_subject(&mut self) {
        let watched = match (&self.subject.origin, &self.log) {
            (Origin::File { log, .. }, _) => log.parent().map(Path::to_path_buf),
            (Origin::Build(_), log) => log.as_ref().map(LogFile::watched_path),
        };
        self.watch = watched.filter(|_| self.subject.live).map(|path| Watch::path(&path, &self.waker));
    }

    pub(super) fn read_baseline(&mut self) {
        if let Origin::Build(files) = &self.subject.origin {
            self.baseline = steps::durations(&files.baseline);
        }
    }

    /// Whether the pool is to be asked for the steps of this build again, because there is more output. To be answered
    /// by [`LogView::take_steps`].
    pub fn asks_for_steps(&mut self, now: DateTime<Utc>) -> Option<BuildId> {
        let due = now - self.steps_asked_at >= STEPS_EVERY || now < self.steps_asked_at;
        // A build that begins has no log yet: the pool tells when there is one.
        let wanted = self.steps_wanted || self.log.is_none();
        if !wanted || self.steps_asked || !due || !self.subject.live {
            return None;
        }
        (self.steps_wanted, self.steps_asked, self.steps_asked_at) = (false, true, now);
        self.build()
    }

    /// Whether the pool is to be asked for the files, too: there may be lines of standard error by now.
    pub fn asks_for_files(&self) -> bool {
        self.log.is_none() || !self.stderr.is_there()
    }

    /// Takes over what the pool says of the steps, and the files where they were asked for; none: it can't be asked.
    pub fn take_steps(&mut self, steps: Option<StepsFile>, log: Option<Arc<fs::File>>, stderr: Option<Arc<fs::File>>) {
        self.steps_asked = false;
        if let Some(steps) = steps {
            self.steps = steps;
        }
        if let Origin::Build(files) = &mut self.subject.origin {
            files.log = files.log.take().or(log);
            files.stderr = files.stderr.take().or(stderr);
        }
        let had_log = self.log.is_some();
        self.take_files();
        if self.log.is_some() != had_log {
            self.watch_subject();
        }
    }

    pub(super) fn look_at_subject(&mut self) {
        self.read_steps();
        let failed = |build: &&Build| matches!(build.state, BuildState::Failed | BuildState::TimedOut);
        self.card = match (self.subject.build.as_ref().filter(failed), &self.log) {
            (Some(build), log) => Some(Card::of(build, &self.steps.steps, log.as_ref())),
            _ => None,
        };
        self.view.card = self.card.is_some();
    }

    fn read_steps(&mut self) {
        let file = match &self.subject.origin {
            Origin::Build(files) => {
                self.steps = files.steps.clone();
                return;
            }
            Origin::File { steps: None, .. } => return,
            Origin::File { steps: Some(file), .. } => file,
        };
        // To look costs nothing; to read a new file may wait for the disk, which is busy while builds run.
        let version = fs::metadata(file).ok().map(|found| (found.ino(), found.mtime(), found.mtime_nsec()));
        if version == self.steps_version {
            return;
        }
        self.steps_version = version;
        // They are written anew as they change: a reader that comes too early comes again.
        if let Some(steps) = client::log::steps_file(file) {
            self.steps = steps;
        }
    }

    /// Something happened to the log: it is looked at before the next frame, however often it happens until then.
    pub fn woken(&mut self) {
        self.stale = true;
    }

    /// Takes over what happened to the log meanwhile; whether there is anything new to draw.
    pub fn catch_up(&mut self) -> bool {
        if !std::mem::take(&mut self.stale) {
            return false;
        }
        if let Some(watch) = &self.watch {
            watch.looking();
        }
        let mut news = self.take_counts();
        let was_absent = self.log.is_none();
        if let Origin::File { log, .. } = &self.subject.origin
            && (self.subject.live || self.log.is_none())
        {
            let opened = if self.log.is_none() { LogFile::open(log).ok() } else { None };
            self.read_steps();
            self.log = self.log.take().or(opened);
            if was_absent && self.log.is_some() {
                self.go_to_end();
                news = true;
            }
        }
        let change = self.log.as_mut().map_or(Change::None, |log| log.refresh().unwrap_or(Change::None));
        match change {
            Change::None => {}
            Change::Grown => {
                news = true;
                self.steps_wanted = true;
                self.stderr.refresh();
                self.grown();
            }
            Change::Another => {
                news = true;
                if let Origin::File { log, .. } = &self.subject.origin {
                    self.stderr = Stderr::of(log);
                }
                self.lens_counts = Counts::default();
                self.search_counts = Counts::default();
                self.view.marks.clear();
                self.view.selected_from = None;
                self.view.top = 0;
                self.go_to_end();
                self.count_again();
            }
        }
        news
    }

    fn grown(&mut self) {
        if self.view.following {
            self.view.cursor = self.end();
        } else if let (Some((from, lines)), Some(log)) = (&mut self.paused_at, &self.log) {
            // What came since it was looked at last.
            while let Ok(bytes) = log.read(*from, 1 << 20)
                && !bytes.is_empty()
            {
                *lines += memchr::memchr_iter(b'\n', &bytes).count() as u64;
                *from += bytes.len() as u64;
            }
        }
        self.count_again();
    }
}
