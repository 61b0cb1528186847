//! The log viewer: one log, of a build or a file, of any length.
//!
//! A place in the log is the byte at which a line begins, so that nothing has to be known of what is before it: opening at the end
//! costs the same for ten lines and for ten million. Counting goes on in the background, and only where somebody searches.

mod act;
mod card;
mod counting;
mod draw;
mod follow;
mod lens;
mod line;
mod motion;
mod steps;
mod subject;
mod view;
mod work;

use std::collections::BTreeMap;
use std::io;

use chrono::{DateTime, TimeDelta, Utc};
use ratatui::layout::{Position, Rect};

pub use act::Reply;
pub use lens::prepare;
pub use subject::{BuildFiles, OpenError, Origin, Subject};
pub use work::Waker;
pub(in crate::tui) use work::Watch;

use super::widget::input::Input;
use crate::domain::build::{Build, BuildId};
use crate::domain::step::StepsFile;
use crate::log::file::LogFile;
use crate::log::sanitize::Sanitizer;
use crate::log::scan::Counts;
use crate::log::stderr::Stderr;
use view::{Asked, View};
use work::Counting;

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
            Origin::Build(files) => match files.open_log() {
                Ok(log) => log,
                Err(source) => return Err(OpenError { title: subject.title, source }),
            },
        };
        let stderr = match &subject.origin {
            Origin::File { log, .. } => Stderr::of(log),
            Origin::Build(files) => Stderr::of_file(files.open_stderr()),
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

    /// Where the real cursor belongs.
    pub fn cursor(&self) -> Option<Position> {
        self.prompt.as_ref().and_then(|(_, input)| input.cursor())
    }
}

#[cfg(test)]
mod tests;
