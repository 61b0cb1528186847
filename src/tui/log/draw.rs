//! Drawing the log: what is visible, and nothing else.

use chrono::TimeDelta;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};
use rust_i18n::t;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::lens::{begins_step, is_error, is_warning};
use super::line::Shown;
use super::subject::Origin;
use super::view::{Asked, Beside, Times};
use super::{LogView, steps};
use crate::log::file::FileLine;
use crate::log::reader::parse;
use crate::log::sanitize::printable;
use crate::log::scan::Wanted as _;
use crate::tui::look::Look;
use crate::tui::place::Pane;
use crate::tui::theme::Role;
use crate::tui::widget::pane::PaneBlock;
use crate::tui::widget::table::scroll_bar;
use crate::tui::widget::text::{fit, width};
use crate::tui::widget::wrap::wrap;

/// From so many columns on the steps stand beside the log, not in its place.
const BESIDE: u16 = 90;
/// Columns of the table of steps.
const TABLE: u16 = 44;

impl LogView {
    /// Draws the whole pane.
    pub fn render(&mut self, area: Rect, buf: &mut Buffer, look: &Look, focused: bool) {
        let title = format!("{} {}", look.text(Pane::Log.text_key()), self.subject.title);
        let state = self.state_text(look);
        let inner = PaneBlock::new(Pane::Log.number(), &title).state(&state).render(area, buf, look, focused);
        if inner.height == 0 || inner.width == 0 {
            return;
        }
        let mut text = inner;
        if let Some((asked, _)) = &self.prompt {
            let asked = *asked;
            text.height = text.height.saturating_sub(1);
            self.render_prompt(asked, Rect { y: inner.bottom() - 1, height: 1, ..inner }, buf, look);
        }
        if self.view.card
            && let Some(card) = &self.card
        {
            card.render(text, buf, look);
            return;
        }
        if let (None, Some(build)) = (&self.log, &self.subject.build) {
            let state = look.text(&format!("state.{}", build.state.word())).into_owned();
            let waits = t!("empty.log_waits", locale = look.lang.code(), id = build.id, state = state);
            let reason = printable(&look.say(&build.reason)).into_owned();
            let lines = wrap([Line::raw(waits), Line::raw(reason)], usize::from(text.width));
            Paragraph::new(lines).style(look.style(Role::Muted)).render(text, buf);
            return;
        }
        let bars = self.view.beside == Beside::Timeline;
        match self.view.beside {
            Beside::Nothing => {}
            _ if text.width >= BESIDE && !bars => {
                let table = Rect { x: text.right() - TABLE, width: TABLE, ..text };
                text.width -= TABLE + 1;
                self.render_steps(false, table, buf, look);
            }
            // A timeline needs the width; a narrow screen has room for one of the two.
            _ => {
                let half = if text.height >= 16 { text.height / 2 } else { text.height };
                self.render_steps(bars, Rect { height: half, ..text }, buf, look);
                text = Rect { y: text.y + half, height: text.height - half, ..text };
            }
        }
        if text.height > 0 {
            self.render_lines(text, buf, look, focused);
        }
    }

    fn render_steps(&self, bars: bool, area: Rect, buf: &mut Buffer, look: &Look) {
        let current = self.line(self.view.cursor).and_then(|line| parse(&line.text).step);
        steps::render(&self.steps.steps, &self.baseline, bars, current, area, buf, look);
    }

    /// `FOLLOW  3/17 /error  wrap`
    fn state_text(&self, look: &Look) -> String {
        let lang = look.lang.code();
        let mut parts = Vec::new();
        if self.subject.live || !self.view.following {
            parts.push(match (self.view.following, self.paused_at) {
                (true, _) if self.subject.live => look.text("log.follow").into_owned(),
                (false, Some((_, lines))) if lines > 0 => t!("log.paused_new", locale = lang, n = lines).into_owned(),
                (false, _) if self.subject.live => look.text("log.paused").into_owned(),
                _ => String::new(),
            });
        }
        if let Some(step) = self.view.lens.step {
            parts.push(t!("log.only_step", locale = lang, n = step).into_owned());
        }
        if !self.view.lens.folded.is_empty() {
            parts.push(t!("log.folded", locale = lang, n = self.view.lens.folded.len()).into_owned());
        }
        if let Some((text, _)) = &self.view.search {
            let count = match (self.search_counts.covered > 0, self.hit) {
                (false, _) => "...".to_owned(),
                (true, Some(hit)) => format!("{}/{}", hit.min(self.search_counts.hits), self.search_counts.hits),
                (true, None) => self.search_counts.hits.to_string(),
            };
            let sign = if self.view.lens.only.is_some() { "&" } else { "/" };
            parts.push(format!("{sign}{text} {count}"));
        }
        if self.view.wrap {
            parts.push(look.text("log.wrap").into_owned());
        }
        if self.view.left > 0 {
            parts.push(format!("+{}", self.view.left));
        }
        parts.retain(|part| !part.is_empty());
        parts.join("  ")
    }

    fn render_prompt(&mut self, asked: Asked, area: Rect, buf: &mut Buffer, look: &Look) {
        let label = match asked {
            Asked::Search => "/".into(),
            Asked::Filter => "&".into(),
            Asked::Step => look.text("log.which_step"),
        };
        let error = self.prompt_error.clone().unwrap_or_default();
        let before = u16::try_from(width(&label)).unwrap_or(0).min(area.width.saturating_sub(1));
        buf.set_stringn(area.x, area.y, label, usize::from(area.width), look.style(Role::Key));
        let right = fit(&error, usize::from(area.width / 2)).into_owned();
        let taken = u16::try_from(width(&right)).unwrap_or(0);
        let field = Rect { x: area.x + before, width: area.width.saturating_sub(taken + before + 1).max(1), ..area };
        if let Some((_, input)) = &mut self.prompt {
            input.render(field, buf, look.style(Role::FieldFocus));
        }
        buf.set_string(area.right() - taken, area.y, right, look.style(Role::FieldError));
    }

    /// The lines from `top` on that fit, or, where the end is followed, the last ones that fit.
    fn render_lines(&mut self, area: Rect, buf: &mut Buffer, look: &Look, focused: bool) {
        self.area = area;
        self.height = usize::from(area.height);
        let text = Rect { width: area.width.saturating_sub(1).max(1), ..area };
        let lines = self.visible(usize::from(text.width));
        self.lines.clear();
        self.bottom = lines.last().map_or(0, |line| line.end);
        let (from, to) = self.selection();
        let selecting = self.view.selected_from.is_some();
        let mut y = area.y;
        for line in &lines {
            if y >= area.bottom() {
                break;
            }
            self.lines.push((y, line.start));
            let stderr = self.stderr.has(line.start).unwrap_or(false);
            let drawn = self.layout(line, stderr, look);
            let left = if self.view.wrap { 0 } else { self.view.left };
            let rows = rows_of(&drawn, usize::from(text.width), left, self.view.wrap);
            let first = y;
            for row in rows.into_iter().take(usize::from(area.bottom() - y)) {
                Line::from(row).render(Rect { y, height: 1, ..text }, buf);
                y += 1;
            }
            let block = Rect { y: first, height: y - first, ..text };
            if selecting && (from..=to).contains(&line.start) {
                buf.set_style(block, look.style(Role::Marked));
            } else if line.start == self.view.cursor && focused && !self.view.following {
                buf.set_style(block, look.style(Role::SelectionElsewhere));
                buf.set_style(Rect { width: 1, ..block }, look.style(Role::Selection));
            }
        }
        if let Some(log) = &self.log {
            // In thousandths: the length of a log is in bytes, and may be more than a screen can count.
            let part = |byte: u64| usize::try_from(byte.saturating_mul(1000) / log.length().max(1)).unwrap_or(1000);
            let shown = part(self.bottom.saturating_sub(self.lines.first().map_or(0, |(_, start)| *start)));
            if shown < 999 && area.width > 1 {
                let bar = Rect { x: area.right() - 1, width: 1, ..area };
                let rows = usize::from(area.height);
                let count = (1000 * rows / shown.max(1)).max(rows + 1);
                let offset = part(self.lines.first().map_or(0, |(_, start)| *start)) * (count - rows) / (1000 - shown);
                scroll_bar(bar, buf, look, offset, count);
            }
        }
    }

    /// The lines that are on the screen; moves `top` where the cursor would not be.
    fn visible(&mut self, columns: usize) -> Vec<FileLine> {
        let height = self.height.max(1);
        if self.view.following {
            let end = self.end();
            self.view.cursor = end;
            let lines = self.upwards(end, height, columns);
            self.view.top = lines.first().map_or(0, |line| line.start);
            return lines;
        }
        if self.view.cursor < self.view.top {
            self.view.top = self.view.cursor;
        }
        let lines = self.downwards(self.view.top, height, columns);
        if lines.iter().any(|line| line.start == self.view.cursor) {
            let rows: usize = lines.iter().map(|line| self.rows(line, columns)).sum();
            // Where the end is on the screen, it is at the bottom, as long as there is enough before it.
            let Some(last) = lines.last().filter(|_| rows < height && self.before(self.view.top).is_some()) else {
                return lines;
            };
            let lines = self.upwards(last.start, height, columns);
            self.view.top = lines.first().map_or(self.view.top, |line| line.start);
            return lines;
        }
        let lines = self.upwards(self.view.cursor, height, columns);
        self.view.top = lines.first().map_or(self.view.cursor, |line| line.start);
        lines
    }

    fn downwards(&self, top: u64, height: usize, columns: usize) -> Vec<FileLine> {
        let (mut lines, mut rows, mut at) = (Vec::new(), 0, self.shown_from(top));
        while let Some(line) = at.filter(|_| rows < height).and_then(|start| self.line(start)) {
            rows += self.rows(&line, columns);
            at = self.shown_from(line.end);
            // A line of which only a part fits is shown, but can't hold the cursor.
            lines.push(line);
        }
        if rows > height && lines.len() > 1 && lines.last().is_some_and(|line| line.start == self.view.cursor) {
            return Vec::new();
        }
        lines
    }

    fn upwards(&self, bottom: u64, height: usize, columns: usize) -> Vec<FileLine> {
        let is_shown = |line: &FileLine| self.view.lens.is_clear() || self.view.lens.line(&line.text);
        let shown = self.line(bottom).filter(is_shown).map(|line| line.start).or_else(|| self.before(bottom));
        let (mut lines, mut rows, mut at) = (Vec::new(), 0, shown);
        while let Some(line) = at.and_then(|start| self.line(start)) {
            rows += self.rows(&line, columns);
            if rows > height && !lines.is_empty() {
                break;
            }
            at = self.before(line.start);
            lines.push(line);
            if rows >= height {
                break;
            }
        }
        lines.reverse();
        lines
    }

    /// How many rows a line takes.
    fn rows(&self, line: &FileLine, columns: usize) -> usize {
        if !self.view.wrap {
            return 1;
        }
        // An upper bound by bytes is exact enough for most lines, and the others are measured.
        if line.text.len() + 24 <= columns {
            return 1;
        }
        let shown = Shown::of(&line.text, &mut crate::log::sanitize::Sanitizer::default());
        let prefix = self.prefix_width();
        (prefix + width(&shown.text())).div_ceil(columns.max(1)).max(1)
    }

    /// Whether the lines have steps and times: those of a build have, and those of a file whose first line has.
    fn has_prefixes(&self) -> bool {
        let first = || self.line(0).is_some_and(|line| parse(&line.text).step.is_some());
        self.subject.build.is_some() || matches!(self.subject.origin, Origin::File { steps: Some(_), .. }) || first()
    }

    fn prefix_width(&self) -> usize {
        let numbers = if self.view.no_numbers || !self.has_prefixes() { 0 } else { 5 };
        let times = match self.view.times {
            Times::Off => 0,
            _ if !self.has_prefixes() => 0,
            Times::Relative => 9,
            Times::Absolute => 9,
        };
        1 + numbers + times
    }

    /// A line with its prefix, in pieces of one style each.
    fn layout(&mut self, line: &FileLine, stderr: bool, look: &Look) -> Laid {
        let shown = Shown::of(&line.text, &mut self.sanitizer);
        let parsed = parse(&line.text);
        let role = if is_error(&parsed) {
            Role::LogError
        } else if is_warning(&parsed) {
            Role::LogWarning
        } else if begins_step(&parsed) || (shown.step.is_some() && shown.seconds.is_none()) {
            Role::LogStep
        } else if stderr {
            Role::LogStderr
        } else {
            Role::LogText
        };
        let base = look.style(role);
        // Standard error is told by a sign, too: colour alone tells nobody who sees none.
        let sign = match (self.view.marks.contains(&line.start), stderr) {
            (true, _) => "*",
            (false, true) => "!",
            (false, false) => " ",
        };
        let mut pieces = vec![(sign.to_owned(), look.style(Role::LogStderr))];
        let has_prefixes = self.has_prefixes();
        if !self.view.no_numbers && has_prefixes {
            let number = shown.step.map_or_else(String::new, |step| format!("#{step}"));
            pieces.push((format!("{number:<4} "), look.style(Role::LogTime)));
        }
        let time = match self.view.times {
            Times::Off => None,
            _ if !has_prefixes => None,
            Times::Relative => Some(shown.seconds.clone().unwrap_or_default()),
            Times::Absolute => Some(self.time_of_day(&shown, look)),
        };
        pieces.extend(time.map(|time| (format!("{time:>8} "), look.style(Role::LogTime))));
        let fixed = pieces.len();
        pieces.extend(self.highlighted(shown.pieces, base, look));
        Laid { pieces, fixed }
    }

    /// When a line was printed, by the start of its step.
    fn time_of_day(&self, shown: &Shown, look: &Look) -> String {
        let step = self.steps.steps.iter().find(|step| Some(step.number) == shown.step && step.started.is_some());
        let seconds = shown.seconds.as_ref().and_then(|seconds| seconds.parse::<f64>().ok());
        match (step.and_then(|step| step.started), seconds) {
            (Some(started), Some(seconds)) => {
                let at = started + TimeDelta::milliseconds((seconds * 1000.0) as i64);
                at.with_timezone(&look.zone).format("%H:%M:%S").to_string()
            }
            _ => String::new(),
        }
    }

    /// Marks what the search finds.
    fn highlighted(&self, pieces: Vec<(String, Style)>, base: Style, look: &Look) -> Vec<(String, Style)> {
        let text: String = pieces.iter().map(|(text, _)| text.as_str()).collect();
        let found: Vec<std::ops::Range<usize>> = match &self.view.search {
            Some((_, search)) => search.find_iter(text.as_bytes()).collect(),
            None => Vec::new(),
        };
        if found.is_empty() {
            return pieces.into_iter().map(|(text, style)| (text, base.patch(style))).collect();
        }
        let (mut marked, mut at) = (Vec::new(), 0);
        for (text, style) in pieces {
            let mut rest = 0;
            for (index, _) in text.grapheme_indices(true) {
                let inside = found.iter().any(|range| range.contains(&(at + index)));
                let before = index > 0 && found.iter().any(|range| range.contains(&(at + index - 1)));
                if inside != before && index > rest {
                    marked.push((text[rest..index].to_owned(), before, style));
                    rest = index;
                }
            }
            let inside = found.iter().any(|range| range.contains(&(at + rest)));
            marked.push((text[rest..].to_owned(), inside, style));
            at += text.len();
        }
        let matched = look.style(Role::Match);
        marked
            .into_iter()
            .map(|(text, inside, style)| {
                let style = base.patch(style);
                (text, if inside { style.patch(matched) } else { style })
            })
            .collect()
    }
}

/// A line in pieces of one style each.
struct Laid {
    pieces: Vec<(String, Style)>,
    /// So many of them, the sign, the number and the time, stay where they are when the text is scrolled.
    fixed: usize,
}

/// Cuts a line into rows of so many columns; without wrapping there is one, from a column on.
fn rows_of(line: &Laid, columns: usize, left: usize, wrap: bool) -> Vec<Vec<Span<'static>>> {
    let mut rows: Vec<Vec<Span<'static>>> = vec![Vec::new()];
    let mut column = 0;
    let mut skipped = 0;
    for (index, (text, style)) in line.pieces.iter().enumerate() {
        let moves = index >= line.fixed;
        let mut piece = String::new();
        for grapheme in text.graphemes(true) {
            let wide = grapheme.width();
            if moves && skipped < left {
                skipped += wide;
                continue;
            }
            if column + wide > columns {
                if !wrap {
                    rows.last_mut().expect("there is a row").push(Span::styled(piece, *style));
                    return rows;
                }
                rows.last_mut().expect("there is a row").push(Span::styled(std::mem::take(&mut piece), *style));
                rows.push(Vec::new());
                column = 0;
            }
            piece.push_str(grapheme);
            column += wide;
        }
        rows.last_mut().expect("there is a row").push(Span::styled(piece, *style));
    }
    rows
}
