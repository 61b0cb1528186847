//! Where the panes are: side by side from 100 columns on, below that one at a time. Pure.

use std::collections::BTreeMap;

use ratatui::layout::{Position, Rect};

use crate::tui::place::Pane;

/// From so many columns on the panes stand side by side.
pub const WIDE: u16 = 100;
/// From so many rows on, too: each of the panes at the left has at least one row.
pub const HIGH: u16 = 24;
/// Less than this is too small for anything.
pub const LEAST: (u16, u16) = (40, 10);
/// The panes in the column at the left.
const SIDE: [Pane; 7] =
    [Pane::Namespaces, Pane::Repositories, Pane::Rules, Pane::Tags, Pane::Builders, Pane::Pushes, Pane::Platforms];

/// Where everything is on the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Areas {
    /// The bar in the first row.
    pub header: Rect,
    /// The panes' names, where one is shown at a time; else empty.
    pub tabs: Rect,
    /// The panes that are shown.
    pub panes: Vec<(Pane, Rect)>,
    /// The log's, or the details'.
    pub main: Rect,
    /// The hints in the last row.
    pub hints: Rect,
    /// The rows of the lists, inside their borders and below their headers.
    pub rows: BTreeMap<Pane, Rect>,
}

impl Areas {
    /// The pane at a place on the screen.
    pub fn pane_at(&self, at: Position) -> Option<Pane> {
        self.panes.iter().find(|(_, area)| area.contains(at)).map(|(pane, _)| *pane)
    }
}

/// What the layout depends on.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// The pane that has the focus.
    pub focus: Pane,
    /// It has the whole screen.
    pub zoomed: bool,
    /// How many rows each list would like to show, without border.
    pub rows: &'a dyn Fn(Pane) -> usize,
}

/// Whether a screen is too small.
pub fn is_too_small(area: Rect) -> bool {
    area.width < LEAST.0 || area.height < LEAST.1
}

/// Lays the panes out on a screen that is large enough.
pub fn layout(area: Rect, wish: Wish) -> Areas {
    let row = |y: u16| Rect { y: area.y + y, height: 1, ..area };
    let mut areas = Areas { header: row(0), hints: row(area.height - 1), ..Areas::default() };
    let narrow = area.width < WIDE || area.height < HIGH;
    let top = if narrow { 2 } else { 1 };
    if narrow {
        areas.tabs = row(1);
    }
    let body = Rect { y: area.y + top, height: area.height - top - 1, ..area };
    if wish.zoomed || narrow {
        areas.panes = vec![(wish.focus, body)];
        areas.main = if wish.focus == Pane::Log { body } else { Rect::default() };
        return areas;
    }
    let side = (area.width * 3 / 10).clamp(28, 44);
    let mut y = body.y;
    for (pane, height) in SIDE.into_iter().zip(heights(body.height, wish)) {
        areas.panes.push((pane, Rect { x: body.x, y, width: side, height }));
        y += height;
    }
    let right = Rect { x: body.x + side, width: body.width - side, ..body };
    let builds = builds_height(right.height, wish);
    areas.panes.push((Pane::Builds, Rect { height: builds, ..right }));
    areas.main = Rect { y: right.y + builds, height: right.height - builds, ..right };
    areas.panes.push((Pane::Log, areas.main));
    areas
}

/// The builds get a third, and half while they have the focus; never more than they need.
fn builds_height(height: u16, wish: Wish) -> u16 {
    let share = if wish.focus == Pane::Builds { height / 2 } else { height / 3 };
    // Border and header.
    let needed = u16::try_from((wish.rows)(Pane::Builds)).unwrap_or(u16::MAX).saturating_add(3);
    needed.clamp(6, share.max(6))
}

/// Shares the height of the column out: everybody gets a border and a row, who has the focus what it needs, the rest those
/// that need more, one row each in turn; what is left over goes to the repositories.
fn heights(height: u16, wish: Wish) -> [u16; SIDE.len()] {
    const LEAST: u16 = 3;
    let mut heights = [LEAST; SIDE.len()];
    let mut left = height.saturating_sub(heights.iter().sum());
    let needed = SIDE.map(|pane| u16::try_from((wish.rows)(pane)).unwrap_or(u16::MAX).saturating_add(3).max(LEAST));
    if let Some(at) = SIDE.iter().position(|pane| *pane == wish.focus) {
        let more = needed[at].saturating_sub(heights[at]).min(left);
        heights[at] += more;
        left -= more;
    }
    while left > 0 {
        let mut given = false;
        for at in 0..SIDE.len() {
            if left > 0 && heights[at] < needed[at] {
                heights[at] += 1;
                left -= 1;
                given = true;
            }
        }
        if !given {
            heights[1] += left;
            left = 0;
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_fill_every_screen_that_is_large_enough_and_never_overlap() {
        for width in [40, 60, 80, 99, 100, 120, 160, 300] {
            for height in [10, 15, 24, 36, 100] {
                for focus in Pane::ALL {
                    for rows in [0, 3, 500] {
                        let area = Rect { x: 0, y: 0, width, height };
                        let areas = layout(area, Wish { focus, zoomed: false, rows: &|_| rows });
                        let panes: u32 = areas.panes.iter().map(|(_, pane)| pane.area()).sum();
                        let bars = areas.header.area() + areas.hints.area() + areas.tabs.area();
                        assert_eq!(panes + bars, area.area(), "{width}x{height} {focus:?}");
                        for (index, (_, one)) in areas.panes.iter().enumerate() {
                            assert!(areas.panes[..index].iter().all(|(_, other)| !one.intersects(*other)));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn below_a_hundred_columns_there_is_one_pane() {
        let area = Rect { x: 0, y: 0, width: 99, height: 30 };
        let areas = layout(area, Wish { focus: Pane::Tags, zoomed: false, rows: &|_| 5 });
        assert_eq!(areas.panes.len(), 1);
        assert_eq!(areas.panes[0].0, Pane::Tags);
    }
}
