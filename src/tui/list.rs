//! The state of a list pane: what it shows, what is selected, how it is filtered and sorted.

use std::collections::BTreeSet;

use crate::domain::build::BuildId;
use crate::domain::journal::PushId;

/// As many rows as the screen of nearly everybody.
const MOST_ON_SCREEN: usize = 100;
/// Another order than the newest first is one of so many of the newest.
pub const MOST_SORTED: usize = 10_000;

/// What names a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The first row of a list that narrows the next: everything.
    All,
    /// A thing with a name; a repository's is `namespace/name`.
    Name(String),
    /// A build.
    Build(BuildId),
    /// A push.
    Push(PushId),
}

/// How a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sort {
    /// Which of the pane's orders, from 0.
    pub by: usize,
    /// The other way round.
    pub reversed: bool,
}

/// A list pane.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// The rows that are shown, in their order.
    pub rows: Vec<Key>,
    /// Which of them is selected.
    pub index: usize,
    /// The first that is on the screen.
    pub offset: usize,
    /// Only rows with this text are shown; empty: all.
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    /// The order.
    pub sort: Sort,
    /// How many rows the screen holds, as it was last drawn.
    pub height: usize,
    /// The rows that are marked: what is done is done to all of them.
    pub marked: BTreeSet<Key>,
    /// The screen was moved by itself, and shows what it shows until the selection moves.
    scrolled: bool,
    /// The selection follows this row wherever it moves; none: the selection stays at the first row.
    chosen: Option<Key>,
}

impl List {
    /// The selected row.
    pub fn selected(&self) -> Option<&Key> {
        self.rows.get(self.index)
    }

    /// The name that is selected; none where all are, or nothing is.
    pub fn name(&self) -> Option<&str> {
        match self.selected() {
            Some(Key::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// The build that is selected.
    pub fn build(&self) -> Option<BuildId> {
        match self.selected() {
            Some(Key::Build(id)) => Some(*id),
            _ => None,
        }
    }

    /// The build that the selection follows.
    pub fn chosen_build(&self) -> Option<BuildId> {
        match self.chosen {
            Some(Key::Build(id)) => Some(id),
            _ => None,
        }
    }

    /// How many rows there should be: those on the screen, and as many again for whoever goes on.
    pub fn rows_wanted(&self) -> usize {
        match self.sort {
            Sort { by: 0, reversed: false } => self.index.max(self.offset) + 2 * self.height.max(MOST_ON_SCREEN / 2),
            _ => MOST_SORTED,
        }
    }

    /// The push that is selected.
    pub fn push(&self) -> Option<PushId> {
        match self.selected() {
            Some(Key::Push(id)) => Some(*id),
            _ => None,
        }
    }

    /// The builds that something is to be done to: those that are marked, else the selected one.
    pub fn builds(&self) -> Vec<BuildId> {
        let id = |key: &Key| match key {
            Key::Build(id) => Some(*id),
            _ => None,
        };
        if self.marked.is_empty() {
            self.build().into_iter().collect()
        } else {
            self.marked.iter().filter_map(id).collect()
        }
    }

    /// Marks the selected row, or takes its mark away, and goes to the next one.
    pub fn mark(&mut self) {
        let Some(key) = self.selected().cloned() else { return };
        if !self.marked.remove(&key) {
            self.marked.insert(key);
        }
        self.step(1);
    }

    /// Takes other rows over; what was chosen stays selected where it is still there, else its place.
    pub fn set_rows(&mut self, rows: Vec<Key>) {
        let found = self.chosen.as_ref().and_then(|chosen| rows.iter().position(|key| key == chosen));
        if !self.marked.is_empty() {
            // What is not seen is not acted on.
            let there: BTreeSet<&Key> = rows.iter().collect();
            self.marked.retain(|key| there.contains(key));
        }
        let top = self.rows.get(self.offset).filter(|_| self.scrolled);
        if let Some(offset) = top.and_then(|top| rows.iter().position(|key| key == top)) {
            self.offset = offset;
        }
        self.rows = rows;
        match (found, &self.chosen) {
            (Some(index), _) => self.index = index,
            (None, None) => self.index = 0,
            (None, Some(_)) => self.index = self.index.min(self.rows.len().saturating_sub(1)),
        }
        if self.scrolled { self.fill_screen() } else { self.show_selected() }
    }

    /// Selects a row by what it names, now or as soon as it is there.
    pub fn choose(&mut self, key: Key) {
        if let Some(index) = self.rows.iter().position(|row| *row == key) {
            self.index = index;
        }
        self.chosen = Some(key);
        self.scrolled = false;
        self.show_selected();
    }

    /// Moves the selection by rows; at the ends it stops.
    pub fn step(&mut self, by: isize) {
        self.go_to(self.index.saturating_add_signed(by));
    }

    /// Moves the selection to a row, or the last one.
    pub fn go_to(&mut self, index: usize) {
        self.index = index.min(self.rows.len().saturating_sub(1));
        // At the top a list of builds shows the newest, whichever it is.
        self.chosen = if self.index == 0 { None } else { self.selected().cloned() };
        self.scrolled = false;
        self.show_selected();
    }

    /// Shows other rows; the selection stays where it is, and is on the screen again as soon as it moves.
    pub fn scroll(&mut self, by: isize) {
        self.offset = self.offset.saturating_add_signed(by);
        self.scrolled = true;
        // What is not seen must not become another row.
        self.chosen = self.selected().cloned();
        self.fill_screen();
    }

    /// Brings the selection back onto the screen; whether it was not there.
    pub fn bring_back(&mut self) -> bool {
        let is_seen = (self.offset..self.offset + self.height.max(1)).contains(&self.index);
        self.scrolled = false;
        self.show_selected();
        !is_seen
    }

    /// The screen holds so many rows now.
    pub fn set_height(&mut self, height: usize) {
        if self.height != height {
            self.height = height;
            if self.scrolled { self.fill_screen() } else { self.show_selected() }
        }
    }

    /// The screen is full where it can be.
    fn fill_screen(&mut self) {
        self.offset = self.offset.min(self.rows.len().saturating_sub(self.height.max(1)));
    }

    /// Scrolls so that the selection is on the screen, and the screen is full where it can be.
    pub fn show_selected(&mut self) {
        let height = self.height.max(1);
        self.fill_screen();
        if self.index < self.offset {
            self.offset = self.index;
        } else if self.index >= self.offset + height {
            self.offset = self.index + 1 - height;
        }
    }

    /// The rows that are on the screen.
    pub fn visible(&self) -> &[Key] {
        let end = (self.offset + self.height).min(self.rows.len());
        &self.rows[self.offset.min(end)..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builds(ids: &[u64]) -> Vec<Key> {
        ids.iter().map(|id| Key::Build(BuildId(*id))).collect()
    }

    #[test]
    fn a_build_that_was_chosen_stays_selected_when_new_ones_come() {
        let mut list = List { height: 3, ..List::default() };
        list.set_rows(builds(&[5, 4, 3, 2, 1]));
        list.step(3);
        list.set_rows(builds(&[7, 6, 5, 4, 3, 2, 1]));
        assert_eq!(list.build(), Some(BuildId(2)));
        assert!(list.visible().contains(&Key::Build(BuildId(2))));
    }

    #[test]
    fn the_wheel_moves_the_rows_and_a_key_brings_the_selection_back() {
        let mut list = List { height: 2, ..List::default() };
        list.set_rows(builds(&[6, 5, 4, 3, 2, 1]));
        list.scroll(3);
        list.set_rows(builds(&[6, 5, 4, 3, 2, 1]));
        assert_eq!((list.build(), list.visible()), (Some(BuildId(6)), &builds(&[3, 2])[..]));
        list.set_rows(builds(&[7, 6, 5, 4, 3, 2, 1]));
        assert_eq!((list.build(), list.visible()), (Some(BuildId(6)), &builds(&[3, 2])[..]), "a new row moves nothing");
        assert!(list.bring_back() && !list.bring_back());
        assert!(list.visible().contains(&Key::Build(BuildId(6))));
        list.scroll(9);
        assert_eq!(list.visible(), builds(&[2, 1]), "it ends at the last row");
        list.step(1);
        assert_eq!(list.build(), Some(BuildId(5)));
        assert!(list.visible().contains(&Key::Build(BuildId(5))));
    }

    #[test]
    fn at_the_top_the_newest_is_selected() {
        let mut list = List { height: 3, ..List::default() };
        list.set_rows(builds(&[5, 4]));
        list.step(1);
        list.step(-1);
        list.set_rows(builds(&[6, 5, 4]));
        assert_eq!(list.build(), Some(BuildId(6)));
    }

    #[test]
    fn marks_stay_with_their_rows_and_go_with_them() {
        let mut list = List { height: 3, ..List::default() };
        list.set_rows(builds(&[5, 4, 3]));
        assert_eq!(list.builds(), [BuildId(5)]);
        list.mark();
        list.mark();
        assert_eq!(list.build(), Some(BuildId(3)));
        list.set_rows(builds(&[6, 5, 3]));
        assert_eq!(list.builds(), [BuildId(5)], "what is no longer shown is not acted on");
        list.go_to(1);
        list.mark();
        assert_eq!(list.builds(), [BuildId(3)], "without a mark it is the selected one");
    }

    #[test]
    fn where_the_selected_row_goes_its_neighbour_is_selected() {
        let mut list = List { height: 3, ..List::default() };
        list.set_rows(builds(&[5, 4, 3]));
        list.go_to(9);
        assert_eq!(list.build(), Some(BuildId(3)));
        list.set_rows(builds(&[5, 4]));
        assert_eq!(list.build(), Some(BuildId(4)));
        list.set_rows(Vec::new());
        assert_eq!(list.selected(), None);
    }
}
