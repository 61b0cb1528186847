//! Moving in a log: by lines that are shown, by pages, to what matches, to steps and errors.

use std::io;

use super::LogView;
use super::lens::{Both, Mark, OfStep};
use crate::log::file::FileLine;
use crate::log::scan::{self, Counts, Wanted};

/// So many blocks are searched before a person is answered; what lies further is found once it is counted.
const PATIENCE: u64 = 512;

impl LogView {
    /// The line that begins at a byte; none at the end.
    pub(super) fn line(&self, start: u64) -> Option<FileLine> {
        self.log.as_ref()?.line(start).ok()?
    }

    /// The next line that is shown, from a byte on.
    pub(super) fn shown_from(&self, from: u64) -> Option<u64> {
        let log = self.log.as_ref()?;
        if self.view.lens.is_clear() {
            return (from < log.length()).then_some(from);
        }
        scan::next(log, &self.lens_counts, &self.view.lens, from, PATIENCE).ok()?
    }

    /// The line that is shown after this one.
    pub(super) fn after(&self, start: u64) -> Option<u64> {
        self.shown_from(self.line(start)?.end)
    }

    /// The line that is shown before this one.
    pub(super) fn before(&self, start: u64) -> Option<u64> {
        let log = self.log.as_ref()?;
        if self.view.lens.is_clear() {
            return log.before(start).ok()?;
        }
        scan::previous(log, &self.lens_counts, &self.view.lens, start, PATIENCE).ok()?
    }

    /// Moves the cursor by lines; upwards it ends the following.
    pub(super) fn step(&mut self, by: isize) {
        if by < 0 {
            self.pause();
        }
        for _ in 0..by.unsigned_abs() {
            let next = if by < 0 { self.before(self.view.cursor) } else { self.after(self.view.cursor) };
            match next {
                Some(at) => self.view.cursor = at,
                None => break,
            }
        }
    }

    pub(super) fn go_to_top(&mut self) {
        self.pause();
        self.view.cursor = self.shown_from(0).unwrap_or(0);
        self.view.top = self.view.cursor;
    }

    /// To the end, and on with it where it grows.
    pub(super) fn go_to_end(&mut self) {
        self.view.following = true;
        self.paused_at = None;
        self.view.cursor = self.end();
    }

    /// The last line that is shown.
    pub(super) fn end(&self) -> u64 {
        let Some(log) = &self.log else { return 0 };
        self.before(log.length()).unwrap_or(0)
    }

    /// Stops following, and keeps where the log ended then.
    pub(super) fn pause(&mut self) {
        if self.view.following {
            self.view.following = false;
            self.paused_at = self.log.as_ref().map(|log| (log.length(), 0));
        }
    }

    /// Goes to a line, and shows some of what is before it.
    pub(super) fn go_to(&mut self, start: u64) {
        self.pause();
        self.view.cursor = start;
        if start < self.view.top || start >= self.bottom {
            let mut top = start;
            for _ in 0..self.height / 3 {
                top = self.before(top).unwrap_or(top);
            }
            self.view.top = top;
        }
    }

    /// Goes to the next line that is wanted, or the one before; from an end on to the other. Whether there is one.
    pub(super) fn jump(&mut self, wanted: &dyn Wanted, counts: &Counts, forwards: bool) -> bool {
        let found = self.find(wanted, counts, forwards).ok().flatten();
        if let Some(at) = found {
            self.go_to(at);
        }
        found.is_some()
    }

    fn find(&self, wanted: &dyn Wanted, counts: &Counts, forwards: bool) -> io::Result<Option<u64>> {
        let Some(log) = &self.log else { return Ok(None) };
        let both = Both(wanted, &self.view.lens);
        let at = self.view.cursor;
        let limit = if counts.covered > 0 { u64::MAX } else { PATIENCE * 8 };
        if forwards {
            let from = self.line(at).map_or(at, |line| line.end);
            Ok(match scan::next(log, counts, &both, from, limit)? {
                None => scan::next(log, counts, &both, 0, limit)?.filter(|found| *found < from),
                found => found,
            })
        } else {
            Ok(match scan::previous(log, counts, &both, at, limit)? {
                None => scan::previous(log, counts, &both, log.length(), limit)?.filter(|found| *found > at),
                found => found,
            })
        }
    }

    /// Goes to the next or the previous line of a kind.
    pub(super) fn jump_to(&mut self, mark: Mark, forwards: bool) -> bool {
        self.jump(&mark, &Counts::default(), forwards)
    }

    /// Goes to the first error: of the step that failed, where one did.
    pub(super) fn go_to_first_error(&mut self) -> bool {
        let failed = self.subject.build.as_ref().and_then(|build| build.failure.as_ref()?.step);
        let before = self.view.cursor;
        self.view.cursor = 0;
        let first = self.line(0).is_some_and(|line| Mark::Error.line(&line.text));
        let found = match failed {
            Some(step) => {
                let of_step = OfStep(step);
                let counts = Counts::default();
                self.jump(&Both(&Mark::Error, &of_step), &counts, true) || self.jump(&of_step, &counts, true)
            }
            None => first || self.jump_to(Mark::Error, true),
        };
        if !found {
            self.view.cursor = before;
        }
        found
    }
}
