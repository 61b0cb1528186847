//! What keys and the mouse do to the log.

use crossterm::event::{KeyCode, KeyEvent};

use super::LogView;
use super::lens::{Lens, Mark};
use super::line::Shown;
use super::view::{Asked, Beside, Times};
use crate::log::reader::parse;
use crate::tui::keymap::Action;
use crate::tui::widget::input::Input;

/// Columns that a step to the side scrolls.
const SIDEWAYS: usize = 8;
/// At most so many selected lines are copied: more is what exporting is for.
const MOST_COPIED: usize = 20_000;

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was done, and there is nothing to say.
    Nothing,
    /// It is none of the log's.
    NotMine,
    /// This is to be copied.
    Copy(String),
    /// The key of a text that is to be said.
    Say(&'static str),
}

impl LogView {
    /// Does what an action of the keymap asks of the log.
    pub fn act(&mut self, action: Action) -> Reply {
        if self.view.card
            && let Some(reply) = self.act_on_card(action)
        {
            return reply;
        }
        let page = isize::try_from(self.height.max(2) - 1).unwrap_or(isize::MAX);
        match action {
            Action::Down => self.step(1),
            Action::Up => self.step(-1),
            Action::PageDown => self.step(page),
            Action::PageUp => self.step(-page),
            Action::HalfPageDown => self.step((page / 2).max(1)),
            Action::HalfPageUp => self.step(-(page / 2).max(1)),
            Action::Top => self.go_to_top(),
            Action::Bottom => self.go_to_end(),
            Action::In => self.view.left += SIDEWAYS,
            Action::Out if self.view.left > 0 => self.view.left = self.view.left.saturating_sub(SIDEWAYS),
            Action::Follow if self.view.following => self.pause(),
            Action::Follow => self.go_to_end(),
            Action::Wrap => {
                self.view.wrap = !self.view.wrap;
                self.view.left = 0;
            }
            Action::Timestamps => {
                self.view.times = match self.view.times {
                    Times::Off => Times::Relative,
                    Times::Relative => Times::Absolute,
                    Times::Absolute => Times::Off,
                };
            }
            Action::StepNumbers => self.view.no_numbers = !self.view.no_numbers,
            Action::Search => self.ask(Asked::Search),
            Action::Filter => return self.filter(),
            Action::PickStep => return self.pick_step(),
            Action::NextMatch => return self.go_to_match(true),
            Action::PreviousMatch => return self.go_to_match(false),
            Action::NextError => return said(self.jump_to(Mark::Error, true), "log.no_error"),
            Action::PreviousError => return said(self.jump_to(Mark::Error, false), "log.no_error"),
            Action::FirstError => return said(self.go_to_first_error(), "log.no_error"),
            Action::NextWarning => return said(self.jump_to(Mark::Warning, true), "log.no_warning"),
            Action::NextStep => return said(self.jump_to(Mark::Step, true), "log.no_step"),
            Action::PreviousStep => return said(self.jump_to(Mark::Step, false), "log.no_step"),
            Action::Fold => return self.fold(),
            Action::FoldAll => self.fold_all(),
            Action::StepTable => self.put_beside(Beside::Table),
            Action::Timeline => self.put_beside(Beside::Timeline),
            Action::Mark => {
                let at = self.view.cursor;
                if !self.view.marks.remove(&at) {
                    self.view.marks.insert(at);
                }
            }
            Action::NextMark => return self.go_to_mark(),
            Action::Select => {
                self.view.selected_from = match self.view.selected_from {
                    Some(_) => None,
                    None => Some(self.view.cursor),
                };
                self.pause();
            }
            Action::ErrorCard if self.card.is_some() => self.view.card = true,
            Action::ErrorCard => return Reply::Say("log.no_card"),
            Action::Copy => return self.copy(),
            Action::Back => return self.back(),
            _ => return Reply::NotMine,
        }
        Reply::Nothing
    }

    /// On the error card the keys that move lead into the log.
    fn act_on_card(&mut self, action: Action) -> Option<Reply> {
        match action {
            Action::ErrorCard | Action::Open => self.view.card = false,
            Action::FirstError | Action::NextError | Action::NextMatch | Action::PreviousMatch => {
                self.view.card = false;
                return None;
            }
            Action::Up | Action::Down | Action::Top | Action::Bottom | Action::PageUp | Action::PageDown => {
                self.view.card = false;
                return None;
            }
            Action::Search | Action::Filter | Action::PickStep | Action::Follow => {
                self.view.card = false;
                return None;
            }
            Action::Copy => return Some(Reply::Copy(self.card.as_ref().map(|card| card.text()).unwrap_or_default())),
            _ => return None,
        }
        Some(Reply::Nothing)
    }

    /// One step back: a selection, a filter, a search.
    fn back(&mut self) -> Reply {
        if self.view.selected_from.take().is_some() {
            return Reply::Nothing;
        }
        if !self.view.lens.is_clear() {
            self.view.lens = Lens::default();
            self.lens_changed();
            return Reply::Nothing;
        }
        if self.view.search.take().is_some() {
            self.search_for("");
            return Reply::Nothing;
        }
        if self.view.beside != Beside::Nothing {
            self.view.beside = Beside::Nothing;
            return Reply::Nothing;
        }
        if self.card.is_some() && !self.view.card {
            self.view.card = true;
            return Reply::Nothing;
        }
        Reply::NotMine
    }

    fn ask(&mut self, asked: Asked) {
        // The last text is there again, to be changed.
        let last = match (asked, &self.view.search) {
            (Asked::Search | Asked::Filter, Some((text, _))) => text.clone(),
            _ => String::new(),
        };
        self.prompt = Some((asked, Input::new(&last)));
        self.prompt_error = None;
    }

    /// Whether a text is being typed.
    pub fn has_prompt(&self) -> bool {
        self.prompt.is_some()
    }

    /// Takes a key while a text is being typed.
    pub fn key(&mut self, key: KeyEvent) -> Reply {
        let Some((asked, input)) = &mut self.prompt else { return Reply::NotMine };
        let asked = *asked;
        match key.code {
            KeyCode::Esc => {
                self.prompt = None;
                self.prompt_error = None;
                if asked == Asked::Search {
                    self.search_for("");
                }
                Reply::Nothing
            }
            KeyCode::Enter => {
                let text = input.text().to_owned();
                self.entered(asked, &text)
            }
            _ => {
                if input.key(key) && asked == Asked::Search {
                    let text = input.text().to_owned();
                    self.search_for(&text);
                }
                Reply::Nothing
            }
        }
    }

    fn entered(&mut self, asked: Asked, text: &str) -> Reply {
        if asked == Asked::Step {
            let number = text.trim().trim_start_matches('#').parse::<u32>().ok();
            if number.is_none() && !text.trim().is_empty() {
                self.prompt_error = Some(format!("{text:?}"));
                return Reply::Say("log.no_step_number");
            }
            self.prompt = None;
            self.view.lens.step = number;
            self.lens_changed();
            return Reply::Nothing;
        }
        self.search_for(text);
        if self.prompt_error.is_some() {
            return Reply::Nothing;
        }
        self.prompt = None;
        if asked == Asked::Filter {
            self.view.lens.only = self.view.search.as_ref().map(|(_, search)| search.clone());
            self.lens_changed();
            return Reply::Nothing;
        }
        if self.view.search.is_none() { Reply::Nothing } else { self.go_to_match(true) }
    }

    /// Takes what was pasted while a text is being typed.
    pub fn paste(&mut self, text: &str) {
        if let Some((asked, input)) = &mut self.prompt {
            input.paste(text);
            if *asked == Asked::Search {
                let text = input.text().to_owned();
                self.search_for(&text);
            }
        }
    }

    fn go_to_match(&mut self, forwards: bool) -> Reply {
        let Some((_, search)) = self.view.search.clone() else {
            self.ask(Asked::Search);
            return Reply::Nothing;
        };
        let counts = self.search_counts.clone();
        let found = self.jump(&search, &counts, forwards);
        self.work_out_hit();
        said(found, "log.no_match")
    }

    /// Only what matches, or everything again; without a search it is asked what for.
    fn filter(&mut self) -> Reply {
        match (&self.view.lens.only, &self.view.search) {
            (Some(_), _) => self.view.lens.only = None,
            (None, Some((_, search))) => self.view.lens.only = Some(search.clone()),
            (None, None) => {
                self.ask(Asked::Filter);
                return Reply::Nothing;
            }
        }
        self.lens_changed();
        Reply::Nothing
    }

    /// Only the step of the line at the cursor, or every step again; where the line has none it is asked which.
    fn pick_step(&mut self) -> Reply {
        if self.view.lens.step.take().is_none() {
            match self.step_at_cursor() {
                Some(step) => self.view.lens.step = Some(step),
                None => {
                    self.ask(Asked::Step);
                    return Reply::Nothing;
                }
            }
        }
        self.lens_changed();
        Reply::Nothing
    }

    fn step_at_cursor(&self) -> Option<u32> {
        parse(&self.line(self.view.cursor)?.text).step
    }

    fn fold(&mut self) -> Reply {
        let Some(step) = self.step_at_cursor() else { return Reply::Say("log.no_step") };
        if !self.view.lens.folded.remove(&step) {
            self.view.lens.folded.insert(step);
            self.pause();
        }
        self.lens_changed();
        Reply::Nothing
    }

    /// Folds what every finished step printed, or unfolds all.
    fn fold_all(&mut self) {
        if self.view.lens.folded.is_empty() {
            let finished = self.steps.steps.iter().filter(|step| step.state.is_final());
            self.view.lens.folded = finished.map(|step| step.number).collect();
        } else {
            self.view.lens.folded.clear();
        }
        self.lens_changed();
    }

    fn put_beside(&mut self, beside: Beside) {
        self.view.beside = if self.view.beside == beside { Beside::Nothing } else { beside };
        self.view.card = false;
    }

    /// The next marked line; after the last the first.
    fn go_to_mark(&mut self) -> Reply {
        let marks = &self.view.marks;
        match marks.range(self.view.cursor + 1..).next().or_else(|| marks.first()).copied() {
            Some(at) => {
                self.go_to(at);
                Reply::Nothing
            }
            None => Reply::Say("log.no_mark"),
        }
    }

    /// The line at the cursor or the selected ones, as text.
    fn copy(&mut self) -> Reply {
        let (from, to) = self.selection();
        let (mut text, mut at) = (String::new(), Some(from));
        let mut lines = 0;
        while let Some(start) = at.filter(|start| *start <= to && lines < MOST_COPIED) {
            let Some(line) = self.line(start) else { break };
            if lines > 0 {
                text.push('\n');
            }
            text.push_str(&Shown::of(&line.text, &mut self.sanitizer).text());
            lines += 1;
            at = self.shown_from(line.end);
        }
        self.view.selected_from = None;
        Reply::Copy(text)
    }

    /// The first and the last line that are selected: the cursor's own where none are.
    pub(super) fn selection(&self) -> (u64, u64) {
        let (one, other) = (self.view.selected_from.unwrap_or(self.view.cursor), self.view.cursor);
        (one.min(other), one.max(other))
    }

    /// Takes a click: the line there is the cursor's.
    pub fn click(&mut self, _column: u16, row: u16) {
        self.view.selected_from = None;
        if let Some(start) = self.line_at(row) {
            self.pause();
            self.view.cursor = start;
        }
    }

    /// Takes a drag: the lines from the click on are selected.
    pub fn drag(&mut self, _column: u16, row: u16) {
        if let Some(start) = self.line_at(row) {
            self.view.selected_from.get_or_insert(self.view.cursor);
            self.view.cursor = start;
        }
    }

    /// Takes a turn of the wheel.
    pub fn scroll(&mut self, by: isize) {
        if by > 0 && self.view.following {
            return;
        }
        self.step(by);
        for _ in 0..by.unsigned_abs() {
            let next = if by < 0 { self.before(self.view.top) } else { self.after(self.view.top) };
            self.view.top = next.unwrap_or(self.view.top);
        }
    }

    fn line_at(&self, row: u16) -> Option<u64> {
        self.lines.iter().rev().find(|(y, _)| *y <= row).map(|(_, start)| *start)
    }
}

fn said(found: bool, otherwise: &'static str) -> Reply {
    if found { Reply::Nothing } else { Reply::Say(otherwise) }
}
