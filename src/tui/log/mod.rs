//! The log viewer: one log, of a build or a file, of any length.
//!
//! A place in the log is the byte at which a line begins, so that nothing has to be known of what is before it: opening at the end
//! costs the same for ten lines and for ten million. Counting goes on in the background, and only where somebody searches.

mod act;
mod card;
mod draw;
mod lens;
mod line;
mod motion;
mod steps;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use ratatui::layout::{Position, Rect};

pub use act::Reply;
pub use lens::prepare;
pub use work::Waker;

use crate::client;
use crate::domain::build::{Build, BuildId, BuildState};
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::domain::step::{Step, StepsFile};
use crate::log::file::{Change, LogFile};
use crate::log::sanitize::Sanitizer;
use crate::log::scan::{Counts, Search};
use crate::log::stderr::Stderr;
use lens::Lens;
use work::Counting;
pub(in crate::tui) use work::Watch;

use super::widget::input::Input;

/// The steps of a build that runs are asked for no more often.
const STEPS_EVERY: TimeDelta = TimeDelta::milliseconds(250);

/// What is shown.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The build that it is of; none for a mere file.
    pub build: Option<Build>,
    /// The log itself.
    pub origin: Origin,
    /// It may still grow.
    pub live: bool,
    /// What it is called.
    pub title: String,
}

impl Subject {
    /// The number of the attempt that it is of; none for a mere file.
    pub fn attempt(&self) -> Option<u32> {
        self.build.as_ref().map(Build::newest_attempt)
    }
}

/// Where a log comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file by its name, which another one may get.
    File {
        /// The log.
        log: PathBuf,
        /// The steps, where there are any.
        steps: Option<PathBuf>,
    },
    /// The files of a build, as the pool handed them over.
    Build(BuildFiles),
}

/// The files of a build.
#[derive(Debug, Clone, Default)]
pub struct BuildFiles {
    /// The log; none: there is no output yet.
    pub log: Option<Arc<fs::File>>,
    /// Which of its lines came from standard error; none: none so far.
    pub stderr: Option<Arc<fs::File>>,
    /// The steps.
    pub steps: StepsFile,
    /// The steps of the last good build of the same rule, to compare with.
    pub baseline: Vec<Step>,
}

/// How times are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Times {
    /// Not at all.
    Off,
    /// Seconds since the step began.
    #[default]
    Relative,
    /// The time of the day.
    Absolute,
}

/// What is beside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Beside {
    /// Nothing.
    #[default]
    Nothing,
    /// The steps with their times.
    Table,
    /// The steps along the time.
    Timeline,
}

/// How a person looks at the log: each part is changed without regard to the others.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// The first line on the screen.
    pub top: u64,
    /// The line that the keys are about.
    pub cursor: u64,
    /// The end stays on the screen while the log grows.
    pub following: bool,
    /// Columns that are scrolled off at the left.
    pub left: usize,
    /// Long lines go on in the next row.
    pub wrap: bool,
    pub times: Times,
    /// Step numbers are not shown.
    pub no_numbers: bool,
    pub lens: Lens,
    /// What is searched for, as it was typed.
    pub search: Option<(String, Search)>,
    pub marks: BTreeSet<u64>,
    /// Where a selection of lines began.
    pub selected_from: Option<u64>,
    pub beside: Beside,
    /// The error card is in the place of the log.
    pub card: bool,
}

/// What a text is being typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To find lines.
    Search,
    /// To see no others.
    Filter,
    /// To see one step.
    Step,
}

/// A log on the screen.
pub struct LogView {
    subject: Subject,
    waker: Waker,
    log: Option<LogFile>,
    stderr: Stderr,
    steps: StepsFile,
    /// The log grew since the pool was asked for the steps, and whether it is being asked.
    steps_wanted: bool,
    steps_asked: bool,
    steps_asked_at: DateTime<Utc>,
    /// Which file the steps were read from, and when it was last written.
    steps_version: Option<(u64, i64, i64)>,
    /// How long each step took in the build that is compared with.
    baseline: BTreeMap<String, TimeDelta>,
    watch: Option<Watch>,
    /// Something happened to the log since it was looked at.
    stale: bool,
    sanitizer: Sanitizer,
    view: View,
    /// What the lens lets through, and what the search finds, as far as it was counted.
    lens_counts: Counts,
    lens_counting: Option<Counting>,
    search_counts: Counts,
    search_counting: Option<Counting>,
    /// Which hit the cursor is on, once it was worked out.
    hit: Option<u64>,
    /// How long the log was when following ended, and how many lines came since.
    paused_at: Option<(u64, u64)>,
    prompt: Option<(Asked, Input)>,
    /// Why what was typed can't be searched for.
    prompt_error: Option<String>,
    card: Option<card::Card>,
    /// Where the lines were drawn last, the byte after the last of them, and how many rows there were.
    lines: Vec<(u16, u64)>,
    area: Rect,
    bottom: u64,
    height: usize,
}

/// Why a log can't be shown.
#[derive(Debug, thiserror::Error)]
pub struct OpenError {
    title: String,
    source: io::Error,
}

display_as_reason!(OpenError);

impl AsReason for OpenError {
    fn reason(&self) -> Reason {
        let OpenError { title, source } = self;
        reason!("log.open", path = title, source)
    }
}

impl LogView {
    /// Opens a log at its end; a build that failed, at its error.
    ///
    /// # Errors
    /// When the log can't be read. One that is not there yet is empty until it is.
    pub fn open(subject: Subject, waker: Waker) -> Result<LogView, OpenError> {
        let log = match &subject.origin {
            Origin::File { log, .. } => match LogFile::open(log) {
                Ok(log) => Some(log),
                Err(error) if error.kind() == io::ErrorKind::NotFound && subject.live => None,
                Err(source) => return Err(OpenError { title: subject.title, source }),
            },
            Origin::Build(files) => match open_handed(files) {
                Ok(log) => log,
                Err(source) => return Err(OpenError { title: subject.title, source }),
            },
        };
        let stderr = match &subject.origin {
            Origin::File { log, .. } => Stderr::of(log),
            Origin::Build(files) => Stderr::of_file(handed_stderr(files)),
        };
        let mut view = LogView {
            stderr,
            log,
            steps: StepsFile::default(),
            steps_wanted: false,
            steps_asked: false,
            steps_asked_at: DateTime::UNIX_EPOCH,
            steps_version: None,
            baseline: BTreeMap::new(),
            watch: None,
            stale: false,
            sanitizer: Sanitizer::default(),
            view: View { following: true, ..View::default() },
            lens_counts: Counts::default(),
            lens_counting: None,
            search_counts: Counts::default(),
            search_counting: None,
            hit: None,
            paused_at: None,
            prompt: None,
            prompt_error: None,
            card: None,
            lines: Vec::new(),
            area: Rect::default(),
            bottom: 0,
            height: 1,
            subject,
            waker,
        };
        view.watch_subject();
        view.read_baseline();
        view.look_at_subject();
        view.go_to_end();
        Ok(view)
    }

    /// The build that is shown.
    pub fn build(&self) -> Option<BuildId> {
        self.subject.build.as_ref().map(|build| build.id)
    }

    /// The number of the attempt that is shown; none of a mere file.
    pub fn attempt(&self) -> Option<u32> {
        self.subject.attempt()
    }

    /// The record of the build that is shown.
    pub fn record(&self) -> Option<&Build> {
        self.subject.build.as_ref()
    }

    /// Whether lines are being selected.
    pub fn is_selecting(&self) -> bool {
        self.view.selected_from.is_some()
    }

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
            && let Ok(Some(log)) = open_handed(files)
        {
            self.log = Some(log);
            self.go_to_end();
        }
        let Origin::Build(files) = &self.subject.origin else { return };
        if !self.stderr.is_there() {
            self.stderr = Stderr::of_file(handed_stderr(files));
        }
    }

    fn watch_subject(&mut self) {
        let watched = match (&self.subject.origin, &self.log) {
            (Origin::File { log, .. }, _) => log.parent().map(Path::to_path_buf),
            (Origin::Build(_), log) => log.as_ref().map(LogFile::watched_path),
        };
        self.watch = watched.filter(|_| self.subject.live).map(|path| Watch::path(&path, &self.waker));
    }

    fn read_baseline(&mut self) {
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

    fn look_at_subject(&mut self) {
        self.read_steps();
        let failed = |build: &&Build| matches!(build.state, BuildState::Failed | BuildState::TimedOut);
        self.card = match (self.subject.build.as_ref().filter(failed), &self.log) {
            (Some(build), log) => Some(card::Card::of(build, &self.steps.steps, log.as_ref())),
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

    /// Begins to count what is searched for and what the lens lets through, where nobody does it yet.
    fn count_again(&mut self) {
        let Some(log) = &self.log else { return };
        if let (Some((_, search)), None) = (&self.view.search, &self.search_counting)
            && self.search_counts.covered < log.length()
            && let Ok(another) = log.another()
        {
            let known = self.search_counts.clone();
            self.search_counting = Some(Counting::begin(another, known, search.clone(), self.waker.clone()));
        }
        if !self.view.lens.is_clear()
            && self.lens_counting.is_none()
            && self.lens_counts.covered < log.length()
            && let Ok(another) = log.another()
        {
            let (known, lens) = (self.lens_counts.clone(), self.view.lens.clone());
            self.lens_counting = Some(Counting::begin(another, known, lens, self.waker.clone()));
        }
    }

    fn take_counts(&mut self) -> bool {
        let search = self.search_counting.as_ref().and_then(Counting::take);
        let lens = self.lens_counting.as_ref().and_then(Counting::take);
        let news = search.is_some() || lens.is_some();
        if let Some(counts) = search {
            self.search_counts = counts;
            self.search_counting = None;
            self.work_out_hit();
        }
        if let Some(counts) = lens {
            self.lens_counts = counts;
            self.lens_counting = None;
            if self.view.following {
                self.view.cursor = self.end();
            }
        }
        if news {
            self.count_again();
        }
        news
    }

    /// Another lens: what was counted through the one before says nothing.
    fn lens_changed(&mut self) {
        self.lens_counts = Counts::default();
        self.lens_counting = None;
        // The line that was looked at stays, or the next that is still shown.
        let at = self.view.cursor;
        self.view.cursor = self.shown_from(at).or_else(|| self.before(at)).unwrap_or(at);
        self.view.top = self.view.cursor;
        self.count_again();
    }

    fn search_for(&mut self, text: &str) {
        self.search_counting = None;
        self.search_counts = Counts::default();
        self.hit = None;
        self.prompt_error = None;
        self.view.search = None;
        if text.is_empty() {
            return;
        }
        match Search::new(text) {
            Ok(search) => {
                self.view.search = Some((text.to_owned(), search));
                self.count_again();
            }
            Err(error) => self.prompt_error = Some(last_line(&error.to_string())),
        }
    }

    fn work_out_hit(&mut self) {
        self.hit = match (&self.view.search, &self.log) {
            (Some((_, search)), Some(log)) if self.search_counts.covered > 0 => {
                self.search_counts.hits_before(log, search, self.view.cursor).ok().map(|before| before + 1)
            }
            _ => None,
        };
    }

    /// Where the real cursor belongs.
    pub fn cursor(&self) -> Option<Position> {
        self.prompt.as_ref().and_then(|(_, input)| input.cursor())
    }
}

/// The log that the pool handed over.
fn open_handed(files: &BuildFiles) -> io::Result<Option<LogFile>> {
    files.log.as_ref().map(|log| LogFile::of(log.try_clone()?, None)).transpose()
}

fn handed_stderr(files: &BuildFiles) -> Option<fs::File> {
    files.stderr.as_ref().and_then(|file| file.try_clone().ok())
}

/// What a regex error ends with says what is wrong; the lines before draw a picture of it.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
