//! The messages so far, the newest first.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::Outcome;
use crate::domain::problem::Problem;
use crate::tui::look::Look;
use crate::tui::notice::{Level, Notice};
use crate::tui::theme::Role;
use crate::tui::widget::wrap::wrap;

/// The list of messages.
#[derive(Debug, Default)]
pub struct Messages {
    offset: u16,
}

impl Messages {
    /// At the newest.
    pub fn new() -> Messages {
        Messages::default()
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Outcome<()> {
        match key.code {
            KeyCode::Up | KeyCode::Char('k') => self.offset = self.offset.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.offset = self.offset.saturating_add(1),
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(10),
            KeyCode::PageDown => self.offset = self.offset.saturating_add(10),
            _ => return Outcome::Closed,
        }
        Outcome::Open
    }

    /// Draws it; `problems` are what is wrong now and stays until it is mended.
    pub fn render(&mut self, screen: Rect, buf: &mut Buffer, look: &Look, notices: &[Notice], problems: &[Problem]) {
        let inner = super::frame(screen, (100, screen.height), &look.text("messages.title"), buf, look);
        let mut lines: Vec<Line> = Vec::new();
        for problem in problems {
            lines.push(Line::styled(look.say(problem), look.style(Role::StatusFail)));
        }
        if !problems.is_empty() {
            lines.push(Line::default());
        }
        for notice in notices.iter().rev() {
            let time = notice.at.with_timezone(&look.zone).format("%H:%M:%S ").to_string();
            let role = if notice.level == Level::Error { Role::ToastError } else { Role::Text };
            for (index, text) in notice.text.lines().enumerate() {
                let head = if index == 0 { time.clone() } else { " ".repeat(time.len()) };
                lines.push(Line::from(vec![
                    Span::styled(head, look.style(Role::Muted)),
                    Span::styled(text.to_owned(), look.style(role)),
                ]));
            }
        }
        if lines.is_empty() {
            lines.push(Line::styled(look.text("messages.none"), look.style(Role::Muted)));
        }
        let lines = wrap(lines, usize::from(inner.width));
        self.offset = self.offset.min(u16::try_from(lines.len().saturating_sub(1)).unwrap_or(u16::MAX));
        Paragraph::new(lines).scroll((self.offset, 0)).render(inner, buf);
    }
}
