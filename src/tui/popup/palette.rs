//! Everything by name: what is typed is looked for as letters in that order.

use crossterm::event::{KeyCode, KeyEvent};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::{Outcome, scrolled};
use crate::log::sanitize::printable;
use crate::tui::look::Look;
use crate::tui::theme::Role;
use crate::tui::widget::input::Input;
use crate::tui::widget::text::{fit, pad, width};

/// Something that can be chosen.
#[derive(Debug, Clone)]
pub struct Candidate<T> {
    /// What it is called.
    pub text: String,
    /// What it is, or another name of it.
    pub detail: String,
    /// What it stands for.
    pub target: T,
}

/// A list to choose from by typing.
pub struct Palette<T> {
    candidates: Vec<Candidate<T>>,
    /// Those that fit what was typed, the best first.
    found: Vec<usize>,
    input: Input,
    selected: usize,
    offset: usize,
    matcher: Matcher,
}

impl<T: Clone> Palette<T> {
    /// Everything, in the order that it is given in.
    pub fn new(candidates: Vec<Candidate<T>>) -> Palette<T> {
        let found = (0..candidates.len()).collect();
        let matcher = Matcher::new(Config::DEFAULT);
        Palette { candidates, found, input: Input::new(""), selected: 0, offset: 0, matcher }
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Outcome<T> {
        match key.code {
            KeyCode::Esc => return Outcome::Closed,
            KeyCode::Enter => {
                return match self.found.get(self.selected) {
                    Some(index) => Outcome::Chosen(self.candidates[*index].target.clone()),
                    None => Outcome::Open,
                };
            }
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => self.selected = (self.selected + 1).min(self.found.len().saturating_sub(1)),
            _ => {
                if self.input.key(key) {
                    self.look_for();
                }
            }
        }
        Outcome::Open
    }

    /// Takes what was pasted.
    pub fn paste(&mut self, text: &str) {
        self.input.paste(text);
        self.look_for();
    }

    fn look_for(&mut self) {
        let pattern = Pattern::parse(self.input.text(), CaseMatching::Smart, Normalization::Smart);
        let mut buffer = Vec::new();
        let mut scored: Vec<(u32, usize)> = Vec::new();
        for (index, candidate) in self.candidates.iter().enumerate() {
            let text = format!("{} {}", candidate.text, candidate.detail);
            if let Some(score) = pattern.score(Utf32Str::new(&text, &mut buffer), &mut self.matcher) {
                scored.push((score, index));
            }
        }
        scored.sort_by_key(|(score, index)| (std::cmp::Reverse(*score), *index));
        self.found = scored.into_iter().map(|(_, index)| index).collect();
        self.selected = 0;
        self.offset = 0;
    }

    /// Draws it.
    pub fn render(&mut self, screen: Rect, buf: &mut Buffer, look: &Look) {
        self.render_titled(screen, buf, look, &look.text("palette.title"));
    }

    /// Draws it under another title.
    pub fn render_titled(&mut self, screen: Rect, buf: &mut Buffer, look: &Look, title: &str) {
        let inner = super::frame(screen, (76, 24), title, buf, look);
        if inner.height < 2 {
            return;
        }
        buf.set_string(inner.x, inner.y, ":", look.style(Role::Key));
        let field = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1).max(1), height: 1, ..inner };
        self.input.render(field, buf, look.style(Role::FieldFocus));
        let list = Rect { y: inner.y + 1, height: inner.height - 1, ..inner };
        self.offset = scrolled(self.offset, self.selected, usize::from(list.height));
        let columns = usize::from(list.width);
        let shown = self.found.iter().enumerate().skip(self.offset);
        for ((row, index), y) in shown.zip(list.y..list.bottom()) {
            let candidate = &self.candidates[*index];
            let detail = fit(&candidate.detail, columns / 3).into_owned();
            let room = columns.saturating_sub(width(&detail) + 2);
            let line = Line::from(vec![
                Span::raw(pad(&fit(&printable(&candidate.text), room), room)),
                Span::raw("  "),
                Span::styled(detail, look.style(Role::Muted)),
            ]);
            let area = Rect { y, height: 1, ..list };
            line.render(area, buf);
            if row == self.selected {
                buf.set_style(area, look.style(Role::Selection));
            }
        }
        if self.found.is_empty() {
            buf.set_stringn(list.x, list.y, look.text("help.nothing"), columns, look.style(Role::Muted));
        }
    }

    /// Where the cursor belongs.
    pub fn cursor(&self) -> Option<Position> {
        self.input.cursor()
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyModifiers;

    use super::*;

    #[test]
    fn letters_in_their_order_find_a_thing() {
        let candidate = |text: &str| Candidate { text: text.into(), detail: String::new(), target: text.to_owned() };
        let mut palette = Palette::new(["Build now", "Cancel", "acme/api", "命名空间"].map(candidate).to_vec());
        for c in "api".chars() {
            palette.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
        }
        let enter = KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE);
        assert_eq!(palette.key(enter), Outcome::Chosen("acme/api".into()));
        palette.key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
        palette.paste("空间");
        assert!(matches!(palette.key(enter), Outcome::Open | Outcome::Chosen(_)));
    }
}
