//! A line of text that is being typed.

use crate::log::sanitize::printable;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use tui_textarea::{CursorMove, TextArea};
use unicode_width::UnicodeWidthStr;

/// A line of text with a cursor, and the usual keys to edit it.
#[derive(Debug, Clone)]
pub struct Input {
    area: TextArea<'static>,
    /// The first column that was shown last.
    scrolled: usize,
    cursor: Option<Position>,
    masked: bool,
}

impl Input {
    /// With a text to begin with, the cursor at its end.
    pub fn new(text: &str) -> Input {
        let mut area = TextArea::new(vec![one_line(text)]);
        area.move_cursor(CursorMove::End);
        Input { area, scrolled: 0, cursor: None, masked: false }
    }

    /// Shows a star for each character, or the characters.
    pub fn set_masked(&mut self, masked: bool) {
        self.masked = masked;
    }

    /// Whether a star is shown for each character.
    pub fn is_masked(&self) -> bool {
        self.masked
    }

    /// What stands there.
    pub fn text(&self) -> &str {
        self.area.lines().first().map_or("", String::as_str)
    }

    /// Takes a key; whether it was one that edits or moves in the text.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        match key.code {
            // These belong to whoever owns the line.
            KeyCode::Enter | KeyCode::Esc | KeyCode::Tab | KeyCode::BackTab | KeyCode::Up | KeyCode::Down => false,
            KeyCode::Char('m' | 'j') if key.modifiers.contains(KeyModifiers::CONTROL) => false,
            // As in every shell: up to the line's beginning.
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                self.area.delete_line_by_head();
                true
            }
            _ => {
                self.area.input(key);
                true
            }
        }
    }

    /// Inserts what was pasted, as one line.
    pub fn paste(&mut self, text: &str) {
        self.area.insert_str(one_line(text));
    }

    /// Draws the text; what does not fit is scrolled so that the cursor is seen.
    pub fn render(&mut self, area: Rect, buf: &mut Buffer, style: Style) {
        let room = usize::from(area.width).max(1);
        let text = match self.masked {
            true => "*".repeat(self.text().chars().count()),
            false => printable(self.text()).into_owned(),
        };
        let before: String = text.chars().take(self.area.cursor().1).collect();
        let at = before.width();
        if at < self.scrolled {
            self.scrolled = at;
        } else if at >= self.scrolled + room {
            self.scrolled = at + 1 - room;
        }
        buf.set_style(area, style);
        let mut column = 0;
        let mut shown = String::new();
        for c in text.chars() {
            let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
            if column >= self.scrolled && column + wide <= self.scrolled + room {
                shown.push(c);
            } else if column < self.scrolled && column + wide > self.scrolled {
                // The second half of a wide character.
                shown.push(' ');
            }
            column += wide;
        }
        buf.set_stringn(area.x, area.y, shown, room, style);
        let x = area.x + u16::try_from(at - self.scrolled).unwrap_or(0);
        self.cursor = Some(Position { x: x.min(area.right().saturating_sub(1)), y: area.y });
    }

    /// Where the cursor was drawn.
    pub fn cursor(&self) -> Option<Position> {
        self.cursor
    }
}

fn one_line(text: &str) -> String {
    text.trim_end_matches(['\r', '\n']).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_and_pasted_is_one_line() {
        let mut input = Input::new("a");
        for c in "b宽".chars() {
            assert!(input.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)));
        }
        input.paste("c\nd\n");
        assert_eq!(input.text(), "ab宽c d");
        assert!(!input.key(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE)));
        assert!(input.key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
        assert_eq!(input.text(), "");
    }

    #[test]
    fn a_masked_line_shows_how_much_was_typed_and_not_what() {
        let mut input = Input::new("s3cret宽");
        input.set_masked(true);
        let area = Rect { x: 0, y: 0, width: 10, height: 1 };
        let mut buf = Buffer::empty(area);
        input.render(area, &mut buf, Style::new());
        assert_eq!(buf, Buffer::with_lines(["*******   "]));
        assert_eq!((input.text(), input.cursor()), ("s3cret宽", Some(Position { x: 7, y: 0 })));
    }

    #[test]
    fn the_cursor_is_seen_however_narrow_the_line_is() {
        let mut input = Input::new(&"宽".repeat(30));
        for columns in 1..20 {
            let area = Rect { x: 3, y: 0, width: columns, height: 1 };
            let mut buf = Buffer::empty(Rect { x: 0, y: 0, width: 40, height: 1 });
            input.render(area, &mut buf, Style::new());
            assert!(area.contains(input.cursor().unwrap()));
        }
    }
}
