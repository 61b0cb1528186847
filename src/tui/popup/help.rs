//! The keys and what they do, searched as it is typed.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::Outcome;
use crate::tui::keymap::{Action, Keymap, Scope};
use crate::tui::look::Look;
use crate::tui::theme::Role;
use crate::tui::widget::input::Input;
use crate::tui::widget::text::{fit, pad};

/// Columns for the keys.
const KEYS: usize = 16;

/// The help.
pub struct Help {
    /// What is at hand comes first.
    scopes: Vec<Scope>,
    search: Input,
    offset: usize,
    rows: usize,
    height: usize,
}

impl Help {
    /// Help for where these scopes are at hand.
    pub fn new(scopes: &[Scope]) -> Help {
        let others = Scope::ALL.into_iter().filter(|scope| !scopes.contains(scope));
        let scopes = scopes.iter().copied().chain(others).collect();
        Help { scopes, search: Input::new(""), offset: 0, rows: 0, height: 1 }
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Outcome<()> {
        let last = self.rows.saturating_sub(self.height);
        match key.code {
            KeyCode::Esc | KeyCode::Enter => return Outcome::Closed,
            KeyCode::Char('?' | 'q') if self.search.text().is_empty() => return Outcome::Closed,
            KeyCode::Up => self.offset = self.offset.saturating_sub(1),
            KeyCode::Down => self.offset = (self.offset + 1).min(last),
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(self.height),
            KeyCode::PageDown => self.offset = (self.offset + self.height).min(last),
            _ => {
                self.search.key(key);
                self.offset = 0;
            }
        }
        Outcome::Open
    }

    /// Draws it.
    pub fn render(&mut self, screen: Rect, buf: &mut Buffer, look: &Look, keymap: &Keymap) {
        let inner = super::frame(screen, (78, screen.height), &look.text("help.title"), buf, look);
        if inner.height < 2 {
            return;
        }
        let label = format!("{} ", look.text("help.search"));
        let wide = u16::try_from(crate::tui::widget::text::width(&label)).unwrap_or(0);
        buf.set_stringn(inner.x, inner.y, &label, usize::from(inner.width), look.style(Role::Muted));
        let field = Rect { x: inner.x + wide, width: inner.width.saturating_sub(wide).max(1), height: 1, ..inner };
        self.search.render(field, buf, look.style(Role::FieldFocus));
        let list = Rect { y: inner.y + 1, height: inner.height - 1, ..inner };
        let lines = self.lines(usize::from(list.width), look, keymap);
        (self.rows, self.height) = (lines.len(), usize::from(list.height));
        self.offset = self.offset.min(self.rows.saturating_sub(self.height));
        for (line, y) in lines.into_iter().skip(self.offset).zip(list.y..list.bottom()) {
            line.render(Rect { y, height: 1, ..list }, buf);
        }
    }

    fn lines(&self, columns: usize, look: &Look, keymap: &Keymap) -> Vec<Line<'static>> {
        let wanted = self.search.text().to_lowercase();
        let mut lines = Vec::new();
        for scope in &self.scopes {
            let mut of_scope = Vec::new();
            for action in Action::ALL.iter().copied().filter(|action| action.scope() == *scope) {
                let text = look.text(&format!("action.{}", action.name())).into_owned();
                let keys = keymap.keys_text(action);
                let found = |text: &str| text.to_lowercase().contains(&wanted);
                if !wanted.is_empty() && !found(&text) && !found(action.name()) && keys != wanted {
                    continue;
                }
                of_scope.push(Line::from(vec![
                    Span::styled(pad(&fit(&keys, KEYS - 1), KEYS), look.style(Role::Key)),
                    Span::raw(fit(&text, columns.saturating_sub(KEYS)).into_owned()),
                ]));
            }
            if !of_scope.is_empty() {
                lines.push(Line::styled(look.text(scope.text_key()).into_owned(), look.style(Role::Header)));
                lines.append(&mut of_scope);
            }
        }
        if lines.is_empty() {
            lines.push(Line::styled(look.text("help.nothing").into_owned(), look.style(Role::Muted)));
        }
        lines
    }

    /// Where the cursor belongs.
    pub fn cursor(&self) -> Option<Position> {
        self.search.cursor()
    }
}
