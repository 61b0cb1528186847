//! A pane's border and title.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::symbols::border;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget};

use super::text::{fit, width};
use crate::tui::glyphs::Glyphs;
use crate::tui::look::Look;
use crate::tui::theme::Role;

/// Borders of characters that every font and every terminal has.
const ASCII: border::Set = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// As [`ASCII`], for what has the focus.
const ASCII_THICK: border::Set = border::Set { horizontal_top: "=", horizontal_bottom: "=", ..ASCII };

/// The signs of a border; who has the focus is told by their weight, not by colour alone.
pub fn borders(look: &Look, focused: bool) -> border::Set<'static> {
    match (look.glyphs, focused) {
        (Glyphs::Unicode, false) => border::PLAIN,
        (Glyphs::Unicode, true) => border::THICK,
        (Glyphs::Ascii, false) => ASCII,
        (Glyphs::Ascii, true) => ASCII_THICK,
    }
}

/// Empties a part of the screen for what comes in front, and what would reach into it from the left: half a wide character is none.
pub fn clear(area: Rect, buf: &mut Buffer) {
    Clear.render(area, buf);
    let before = area.x.checked_sub(1).filter(|x| *x >= buf.area.x);
    for (x, y) in before.into_iter().flat_map(|x| (area.y..area.bottom()).map(move |y| (x, y))) {
        if let Some(cell) = buf.cell_mut((x, y)).filter(|cell| width(cell.symbol()) > 1) {
            cell.set_symbol(" ");
        }
    }
}

/// `4 Builds 12  /api  newest`
#[derive(Debug, Clone, Copy)]
pub struct PaneBlock<'a> {
    number: usize,
    title: &'a str,
    count: &'a str,
    filter: &'a str,
    typing: bool,
    state: &'a str,
}

impl<'a> PaneBlock<'a> {
    /// A pane's border with its number and its name.
    pub fn new(number: usize, title: &'a str) -> PaneBlock<'a> {
        PaneBlock { number, title, count: "", filter: "", typing: false, state: "" }
    }

    /// How much is in it.
    pub fn count(self, count: &'a str) -> PaneBlock<'a> {
        PaneBlock { count, ..self }
    }

    /// What is searched for in it, and whether that is being typed.
    pub fn filter(self, filter: &'a str, typing: bool) -> PaneBlock<'a> {
        PaneBlock { filter, typing, ..self }
    }

    /// How else it differs from the usual, such as its order.
    pub fn state(self, state: &'a str) -> PaneBlock<'a> {
        PaneBlock { state, ..self }
    }

    fn label(&self) -> String {
        let gap = if self.count.is_empty() { "" } else { " " };
        format!(" {} {}{gap}{} ", self.number, self.title, self.count)
    }

    fn filter_label(&self) -> String {
        if self.filter.is_empty() && !self.typing { String::new() } else { format!(" /{} ", self.filter) }
    }

    /// Draws it; what is left inside. Where there is a single row, that row is the title.
    pub fn render(&self, area: Rect, buf: &mut Buffer, look: &Look, focused: bool) -> Rect {
        let title = if focused { Role::TitleFocus } else { Role::Title };
        let room = usize::from(area.width.saturating_sub(2));
        let label = fit(&self.label(), room).into_owned();
        let filter = fit(&self.filter_label(), room - width(&label)).into_owned();
        let left = room - width(&label) - width(&filter);
        let state = if self.state.is_empty() { String::new() } else { format!(" {} ", self.state) };
        let line = Line::from(vec![
            Span::styled(label, look.style(title)),
            Span::styled(filter, look.style(Role::Key)),
            Span::styled(fit(&state, left).into_owned(), look.style(Role::Muted)),
        ]);
        if area.height < 2 {
            line.render(Rect { height: area.height.min(1), ..area }, buf);
            return Rect { height: 0, ..area };
        }
        let border = if focused { Role::BorderFocus } else { Role::Border };
        let block =
            Block::bordered().border_set(borders(look, focused)).border_style(look.style(border)).title_top(line);
        let inner = block.inner(area);
        block.render(area, buf);
        inner
    }

    /// Where the cursor belongs while the filter is typed.
    pub fn filter_end(&self, area: Rect) -> Position {
        // The blank after the filter is where the next character goes.
        let columns = width(&self.label()) + width(&self.filter_label()).saturating_sub(1);
        let column = u16::try_from(columns + 1).unwrap_or(u16::MAX).min(area.width.saturating_sub(1));
        Position { x: area.x + column, y: area.y }
    }
}
