//! What is searched for and what the lens lets through, counted in the background.

use super::LogView;
use super::work::Counting;
use crate::log::scan::{Counts, Search};

impl LogView {
    /// Begins to count what is searched for and what the lens lets through, where nobody does it yet.
    pub(super) fn count_again(&mut self) {
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

    pub(super) fn take_counts(&mut self) -> bool {
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
    pub(super) fn lens_changed(&mut self) {
        self.lens_counts = Counts::default();
        self.lens_counting = None;
        // The line that was looked at stays, or the next that is still shown.
        let at = self.view.cursor;
        self.view.cursor = self.shown_from(at).or_else(|| self.before(at)).unwrap_or(at);
        self.view.top = self.view.cursor;
        self.count_again();
    }

    pub(super) fn search_for(&mut self, text: &str) {
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

    pub(super) fn work_out_hit(&mut self) {
        self.hit = match (&self.view.search, &self.log) {
            (Some((_, search)), Some(log)) if self.search_counts.covered > 0 => {
                self.search_counts.hits_before(log, search, self.view.cursor).ok().map(|before| before + 1)
            }
            _ => None,
        };
    }
}

/// What a regex error ends with says what is wrong; the lines before draw a picture of it.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}
