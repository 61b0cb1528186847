//! Moving in lists.

use crate::tui::app::App;
use crate::tui::keymap::Action;
use crate::tui::rows;

impl App {
    /// The actions that only change what a list shows or selects.
    pub(super) fn act_in_list(&mut self, action: Action) {
        let orders = rows::orders(self.focus).len();
        let Some(list) = self.list_mut(self.focus) else { return };
        let page = isize::try_from(list.height.max(2) - 1).unwrap_or(isize::MAX);
        match action {
            Action::Down => list.step(1),
            Action::Up => list.step(-1),
            Action::PageDown => list.step(page),
            Action::PageUp => list.step(-page),
            Action::HalfPageDown => list.step((page / 2).max(1)),
            Action::HalfPageUp => list.step(-(page / 2).max(1)),
            Action::Top => list.go_to(0),
            Action::Bottom => list.go_to(usize::MAX),
            Action::Search => list.typing = true,
            Action::SortNext => {
                list.sort.by = (list.sort.by + 1) % orders.max(1);
                list.sort.reversed = false;
            }
            Action::SortReverse => list.sort.reversed = !list.sort.reversed,
            _ => {}
        }
    }

    /// Scrolling in the details, which are read and not selected in.
    pub(super) fn scroll_details(&mut self, action: Action) {
        let page = usize::from(self.areas.main.height.saturating_sub(3)).max(1);
        let at = &mut self.details_scroll;
        *at = match action {
            Action::Down => at.saturating_add(1),
            Action::Up => at.saturating_sub(1),
            Action::PageDown => at.saturating_add(page),
            Action::PageUp => at.saturating_sub(page),
            Action::HalfPageDown => at.saturating_add(page / 2),
            Action::HalfPageUp => at.saturating_sub(page / 2),
            Action::Top => 0,
            Action::Bottom => usize::MAX,
            _ => *at,
        };
    }
}
