//! A table for lists: only what is visible costs anything, and columns give way to each other in a fixed order.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::text::{fit, fit_middle, width};
use super::wrap::wrap;
use crate::log::sanitize::printable;
use crate::tui::look::Look;
use crate::tui::theme::Role;

/// Between two columns.
const GAP: usize = 1;

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    title: String,
    least: usize,
    priority: u8,
    grows: bool,
    right: bool,
    middle: bool,
}

impl Column {
    /// A column at least so wide. Where there is no room, those with the highest priority number go first; those with 0
    /// stay.
    pub fn new(title: String, least: usize, priority: u8) -> Column {
        Column { title, least, priority, grows: false, right: false, middle: false }
    }

    /// It takes what the others leave.
    pub fn grows(self) -> Column {
        Column { grows: true, ..self }
    }

    /// What is too long loses its middle, not its end.
    pub fn cut_in_the_middle(self) -> Column {
        Column { middle: true, ..self }
    }

    /// Its cells stand at the right.
    pub fn right(self) -> Column {
        Column { right: true, ..self }
    }
}

/// A table whose rows are asked for when they are drawn.
#[derive(Debug, Clone)]
pub struct Table<'a> {
    columns: &'a [Column],
    header: bool,
    selected: usize,
    focused: bool,
    offset: usize,
    empty: &'a str,
}

impl<'a> Table<'a> {
    /// A table of these columns.
    pub fn new(columns: &'a [Column]) -> Table<'a> {
        Table { columns, header: false, selected: 0, focused: false, offset: 0, empty: "" }
    }

    /// Whether the titles are shown.
    pub fn header(self, header: bool) -> Table<'a> {
        Table { header, ..self }
    }

    /// Which row is selected, and whether the table has the focus.
    pub fn selected(self, selected: usize, focused: bool) -> Table<'a> {
        Table { selected, focused, ..self }
    }

    /// The first row that is shown.
    pub fn offset(self, offset: usize) -> Table<'a> {
        Table { offset, ..self }
    }

    /// What is said where there are no rows.
    pub fn empty(self, empty: &'a str) -> Table<'a> {
        Table { empty, ..self }
    }

    /// Draws the rows that fit; `row` gives a row's cells. Returns where the rows are.
    pub fn render(
        &self,
        area: Rect,
        buf: &mut Buffer,
        look: &Look,
        count: usize,
        row: impl Fn(usize) -> Vec<Span<'static>>,
    ) -> Rect {
        if count == 0 {
            let rows = wrap([Line::raw(self.empty)], usize::from(area.width));
            Paragraph::new(rows).style(look.style(Role::Muted)).render(area, buf);
            return area;
        }
        let header = u16::from(self.header).min(area.height);
        let rows = Rect { y: area.y + header, height: area.height - header, ..area };
        let shown = self.offset..count.min(self.offset + usize::from(rows.height));
        let cells: Vec<Vec<Span<'static>>> = shown.clone().map(row).collect();
        // The last column is the scroll bar's where there is something to scroll.
        let scrolls = count > usize::from(rows.height) && area.width > 10;
        let room = usize::from(area.width) - usize::from(scrolls);
        let widths = self.widths(room, &cells);
        if self.header && area.height > 0 {
            let titles: Vec<Span> = self.columns.iter().map(|column| Span::raw(column.title.clone())).collect();
            let line = self.line(&titles, &widths);
            line.style(look.style(Role::Header)).render(Rect { height: 1, ..area }, buf);
        }
        for (at, (index, cells)) in shown.zip(&cells).enumerate() {
            let y = rows.y + u16::try_from(at).unwrap_or(u16::MAX);
            let area = Rect { y, height: 1, width: area.width - u16::from(scrolls), ..rows };
            let selected = index == self.selected;
            let style = match (selected, self.focused) {
                (true, true) => look.style(Role::Selection),
                (true, false) => look.style(Role::SelectionElsewhere),
                (false, _) => Style::new(),
            };
            self.line(cells, &widths).render(area, buf);
            buf.set_style(area, style);
        }
        if scrolls {
            scroll_bar(Rect { x: area.right() - 1, width: 1, ..rows }, buf, look, self.offset, count);
        }
        rows
    }

    /// The columns' widths; none for one that gave way.
    fn widths(&self, room: usize, cells: &[Vec<Span>]) -> Vec<Option<usize>> {
        let needed: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let cells = cells.iter().filter_map(|cells| cells.get(index)).map(Span::width);
                let title = if self.header { width(&column.title) } else { 0 };
                let widest = if column.grows { WIDEST_GROWING } else { WIDEST };
                cells.max().unwrap_or(0).min(widest).max(1).max(title)
            })
            .collect();
        let mut widths: Vec<Option<usize>> = needed.iter().copied().map(Some).collect();
        let total = |widths: &[Option<usize>]| {
            let shown = widths.iter().flatten().count();
            widths.iter().flatten().sum::<usize>() + shown.saturating_sub(1) * GAP
        };
        while total(&widths) > room {
            let shrinks = |index: &usize| widths[*index].is_some_and(|wide| wide > self.columns[*index].least);
            let goes = |index: &usize| widths[*index].is_some() && self.columns[*index].priority > 0;
            // First what is wider than it has to be, then whole columns, then what is left.
            let excess = total(&widths) - room;
            let widest = (0..widths.len()).filter(shrinks).max_by_key(|index| (self.columns[*index].priority, *index));
            let last = (0..widths.len()).filter(goes).max_by_key(|index| (self.columns[*index].priority, *index));
            let priority = |index: usize| self.columns[index].priority;
            match (widest, last) {
                // What matters less goes before what matters more is cut.
                (Some(cut), Some(gone)) if priority(gone) > priority(cut) => widths[gone] = None,
                (Some(index), _) => {
                    let least = self.columns[index].least;
                    widths[index] = widths[index].map(|wide| wide.saturating_sub(excess).max(least));
                }
                (None, Some(index)) => widths[index] = None,
                (None, None) => {
                    let shown = widths.iter().flatten().count().max(1);
                    let each = (room + GAP) / shown;
                    for wide in widths.iter_mut().flatten() {
                        *wide = (*wide).min(each.saturating_sub(GAP));
                    }
                    break;
                }
            }
        }
        let left = room.saturating_sub(total(&widths));
        if let Some(index) = self.columns.iter().position(|column| column.grows)
            && let Some(wide) = &mut widths[index]
        {
            *wide += left;
        }
        widths
    }

    fn line(&self, cells: &[Span], widths: &[Option<usize>]) -> Line<'static> {
        let mut spans = Vec::with_capacity(widths.len() * 2);
        for (index, (column, wide)) in self.columns.iter().zip(widths).enumerate() {
            let Some(wide) = *wide else { continue };
            if !spans.is_empty() {
                spans.push(Span::raw(" ".repeat(GAP)));
            }
            let (text, style) = cells.get(index).map_or(("", Style::new()), |cell| (cell.content.as_ref(), cell.style));
            let text = printable(text);
            let text = if column.middle { fit_middle(&text, wide) } else { fit(&text, wide) };
            let blanks = " ".repeat(wide.saturating_sub(width(&text)));
            let text = if column.right { format!("{blanks}{text}") } else { format!("{text}{blanks}") };
            spans.push(Span::styled(text, style));
        }
        Line::from(spans)
    }
}

/// A column that does not grow is never wider: a single long name must not push all others out.
const WIDEST: usize = 24;
/// One that grows asks for no more than this before it is given what is left.
const WIDEST_GROWING: usize = 24;

/// Shows where in the whole the shown part is.
pub fn scroll_bar(area: Rect, buf: &mut Buffer, look: &Look, offset: usize, count: usize) {
    let height = usize::from(area.height);
    if height == 0 || count <= height {
        return;
    }
    let thumb = (height * height / count).max(1);
    let start = (offset * (height - thumb)).div_ceil(count - height).min(height - thumb);
    for at in start..start + thumb {
        let y = area.y + u16::try_from(at).unwrap_or(u16::MAX);
        buf.set_string(area.x, y, look.glyphs.choose("\u{2588}", "#"), look.style(Role::Scrollbar));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Lang;
    use crate::tui::testing::{look, screen};
    use crate::tui::theme::Theme;

    fn shown(columns: u16, rows: u16, count: usize, selected: usize) -> String {
        let theme = Theme::terminal();
        let look = look(&theme, Lang::En);
        let titles = [
            Column::new("BUILD".into(), 5, 0),
            Column::new("REPOSITORY".into(), 8, 1).grows(),
            Column::new("TAGS".into(), 4, 2),
            Column::new("TIME".into(), 4, 1).right(),
        ];
        screen((columns, rows), |frame| {
            let table = Table::new(&titles).header(true).selected(selected, true).offset(selected.saturating_sub(2));
            table.render(frame.area(), frame.buffer_mut(), &look, count, |index| {
                let cells = [format!("#{index}"), "命名空间/镜像仓库".into(), "v1 latest".into(), "12s".into()];
                cells.map(Span::raw).to_vec()
            });
        })
    }

    #[test]
    fn columns_give_way_in_their_order() {
        let at_widths = [50, 40, 30, 26, 20, 12, 6].map(|columns| shown(columns, 3, 9, 3));
        insta::assert_snapshot!(at_widths.join("\n"));
    }

    #[test]
    fn no_size_is_too_small() {
        for columns in 1..40 {
            for rows in 1..6 {
                shown(columns, rows, 100, 50);
            }
        }
    }
}
