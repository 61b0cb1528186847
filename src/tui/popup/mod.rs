//! What comes up over the panes to be read or searched: help, palette, messages.

mod help;
mod messages;
mod palette;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Padding, Widget};

pub use help::Help;
pub use messages::Messages;
pub use palette::{Candidate, Palette};

use super::look::Look;
use super::theme::Role;
use super::widget::pane::{borders, clear};

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It is still open.
    Open,
    /// It is to be closed.
    Closed,
    /// This was chosen.
    Chosen(T),
}

/// Draws the frame of a popup in the middle of the screen, the whole screen where that is narrow; what is inside.
pub(crate) fn frame(screen: Rect, wanted: (u16, u16), title: &str, buf: &mut Buffer, look: &Look) -> Rect {
    let area = if screen.width < 80 {
        screen
    } else {
        let (width, height) = (wanted.0.min(screen.width), wanted.1.min(screen.height.saturating_sub(2)));
        Rect { x: screen.x + (screen.width - width) / 2, y: screen.y + (screen.height - height) / 2, width, height }
    };
    clear(area, buf);
    buf.set_style(area, look.style(Role::Popup));
    let block = Block::bordered()
        .border_set(borders(look, true))
        .border_style(look.style(Role::PopupBorder))
        .title(format!(" {title} "))
        .padding(Padding::horizontal(1));
    let inner = block.inner(area);
    block.render(area, buf);
    inner
}

/// Scrolls so that a row is on the screen.
pub(crate) fn scrolled(offset: usize, row: usize, height: usize) -> usize {
    let height = height.max(1);
    if row < offset {
        row
    } else if row >= offset + height {
        row + 1 - height
    } else {
        offset
    }
}
