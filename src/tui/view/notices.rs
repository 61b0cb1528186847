//! The messages that are up: above the hints, at the right.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Widget};

use crate::tui::app::App;
use crate::tui::notice::Level;
use crate::tui::theme::Role;
use crate::tui::widget::pane::{borders, clear};
use crate::tui::widget::text::width;
use crate::tui::widget::wrap::wrap;

/// A message is at most this wide; longer ones wrap.
const WIDEST: usize = 72;
/// A message is at most so many lines high; all of it is among the messages.
const HIGHEST: u16 = 5;

/// Draws the messages that are up, the newest lowest.
pub(super) fn draw(app: &App, buf: &mut Buffer) {
    let look = app.look();
    let screen = app.areas.hints;
    let top = app.areas.header.bottom();
    let mut bottom = screen.y;
    for notice in app.notices.up(app.now).into_iter().rev() {
        let most = usize::from(screen.width.saturating_sub(4)).clamp(1, WIDEST);
        let inner = notice.text.lines().map(width).max().unwrap_or(0).clamp(1, most);
        let rows = wrap(notice.text.lines().map(Line::raw), inner);
        let height = u16::try_from(rows.len()).unwrap_or(HIGHEST).clamp(1, HIGHEST) + 2;
        if bottom < top + height {
            break;
        }
        bottom -= height;
        let columns = u16::try_from(inner + 2).unwrap_or(screen.width).min(screen.width);
        let area = Rect { x: screen.right() - columns, y: bottom, width: columns, height };
        let role = match notice.level {
            Level::Info => Role::ToastInfo,
            Level::Refusal | Level::Error => Role::ToastError,
        };
        clear(area, buf);
        buf.set_style(area, look.style(Role::Popup));
        let block = Block::bordered().border_set(borders(&look, false)).border_style(look.style(role));
        let inside = block.inner(area);
        block.render(area, buf);
        Paragraph::new(rows).style(look.style(role)).render(inside, buf);
    }
}
