//! The mouse: click to select, wheel to scroll, drag in the log to select.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use crate::tui::app::App;
use crate::tui::effect::Effect;
use crate::tui::keymap::Action;
use crate::tui::place::Pane;

/// How many rows the wheel moves.
const WHEEL: isize = 3;

impl App {
    pub(super) fn mouse(&mut self, mouse: MouseEvent) -> Vec<Effect> {
        let at = Position { x: mouse.column, y: mouse.row };
        if self.modal.is_some() {
            return self.modal_mouse(mouse);
        }
        let Some(pane) = self.areas.pane_at(at) else { return Vec::new() };
        match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => {
                self.focus = pane;
                if pane == Pane::Log {
                    if let Some(log) = self.log.as_mut().filter(|_| !self.details) {
                        log.click(mouse.column, mouse.row);
                    }
                } else if let Some(row) = self.areas.rows.get(&pane).and_then(|rows| row_at(*rows, at))
                    && let Some(list) = self.list_mut(pane)
                {
                    let index = list.offset + row;
                    if index < list.rows.len() {
                        list.go_to(index);
                    }
                }
            }
            MouseEventKind::Drag(MouseButton::Left) if pane == Pane::Log && !self.details => {
                if let Some(log) = &mut self.log {
                    log.drag(mouse.column, mouse.row);
                }
            }
            MouseEventKind::Up(MouseButton::Left) if pane == Pane::Log && !self.details => {
                // What was dragged over is copied, as terminals do.
                if let Some(log) = self.log.as_mut().filter(|log| log.is_selecting()) {
                    let reply = log.act(Action::Copy);
                    return self.log_reply(reply);
                }
            }
            MouseEventKind::ScrollDown => self.wheel(pane, WHEEL),
            MouseEventKind::ScrollUp => self.wheel(pane, -WHEEL),
            _ => {}
        }
        Vec::new()
    }

    fn wheel(&mut self, pane: Pane, by: isize) {
        if pane == Pane::Log {
            if self.details {
                self.details_scroll = self.details_scroll.saturating_add_signed(by);
            } else if let Some(log) = &mut self.log {
                log.scroll(by);
            }
        } else if let Some(list) = self.list_mut(pane) {
            list.scroll(by);
        }
    }
}

/// Which row of an area is hit.
fn row_at(rows: ratatui::layout::Rect, at: Position) -> Option<usize> {
    rows.contains(at).then(|| usize::from(at.y - rows.y))
}
