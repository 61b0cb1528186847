//! What stands beside a rule's fields: the refs of its source with the tags that they would get, or what the Dockerfile
//! offers.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use crossterm::event::KeyCode;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Widget};
use rust_i18n::t;

use super::content;
use super::kind::Kind;
use super::state::{Form, Refs};
use crate::domain::preview::{Answer, PreviewRow, preview};
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::Reason;
use crate::domain::repository::Source;
use crate::log::sanitize::printable;
use crate::protocol::Entity;
use crate::tui::look::Look;
use crate::tui::theme::Role;
use crate::tui::widget::table::scroll_bar;
use crate::tui::widget::text::{fit, fit_middle, pad, width};
use crate::tui::widget::wrap::wrap;

impl Form {
    /// Whether there is anything beside the fields.
    pub(super) fn has_beside(&self) -> bool {
        matches!(self.kind, Kind::Rule { .. }) && !matches!(self.refs, Refs::None)
    }

    /// What the rule, as it stands, makes of the refs.
    pub(super) fn look_at_refs(&mut self, now: DateTime<Utc>) {
        let (Kind::Rule { taken, .. }, Refs::There(refs)) = (&self.kind, &self.refs) else { return };
        let (entity, problems) = content::read(&self.kind, &self.pages);
        // Its name, its arguments and the like make no tags.
        const TAGS: [&str; 6] = ["ref_kind", "match", "pattern", "version", "time", "commit"];
        self.makes_tags = !problems.iter().any(|(key, ..)| TAGS.contains(&key.as_str()));
        let Some(Entity::Rule { value, .. }) = entity else { return };
        let none = BTreeSet::new();
        let tags = taken.as_ref().unwrap_or(&none);
        // What is wrong is told at its field; what it would come to is not guessed.
        let rows = self.makes_tags.then(|| preview(&value, refs, tags, taken.is_some(), now).ok()).flatten();
        self.preview = rows.unwrap_or_default();
    }

    /// Takes over the refs of a source, if it is the one that was asked.
    pub fn take_refs(&mut self, source: &Source, refs: Result<Vec<(Ref, CommitId)>, Reason>, now: DateTime<Utc>) {
        if self.source.as_ref() != Some(source) {
            return;
        }
        self.refs = refs.map_or_else(Refs::Failed, Refs::There);
        self.look_at_refs(now);
    }

    /// Scrolls what stands beside where it has the whole form; how far it goes is seen when it is drawn.
    pub(super) fn scroll_beside(&mut self, key: KeyCode) {
        self.beside_offset = scrolled(self.beside_offset, key, self.page_rows);
    }

    /// Draws what helps with the page: the refs, or what the Dockerfile offers.
    pub(super) fn render_beside(&mut self, area: Rect, buf: &mut Buffer, look: &Look) {
        let columns = area.width.saturating_sub(1).max(1);
        let lines =
            if self.shows_outline() { self.outline_lines(look) } else { self.refs_lines(usize::from(columns), look) };
        let lines = wrap(lines, usize::from(columns));
        let (rows, count) = (usize::from(area.height), lines.len());
        self.page_rows = rows;
        self.beside_offset = if self.shows_beside { self.beside_offset.min(count.saturating_sub(rows)) } else { 0 };
        Paragraph::new(lines.into_iter().skip(self.beside_offset).collect::<Vec<_>>()).render(area, buf);
        if self.shows_beside {
            scroll_bar(Rect { x: area.right() - 1, width: 1, ..area }, buf, look, self.beside_offset, count);
        } else if count > rows && area.height > 0 {
            // Beside the fields the keys are theirs.
            let last = Rect { y: area.bottom() - 1, height: 1, ..area };
            Clear.render(last, buf);
            let text = t!("form.beside.more", locale = look.lang.code(), count = count - rows + 1);
            Line::styled(fit(&text, usize::from(area.width)).into_owned(), look.style(Role::Muted)).render(last, buf);
        }
    }

    /// The refs of the source and the tags that the rule, as it stands, would give them.
    fn refs_lines(&self, room: usize, look: &Look) -> Vec<Line<'static>> {
        let mut lines = vec![Line::styled(look.text("form.refs.title").into_owned(), look.style(Role::Header))];
        match &self.refs {
            Refs::None => {}
            Refs::Asked => lines.push(Line::styled(look.text("form.refs.asked").into_owned(), look.style(Role::Muted))),
            Refs::Failed(why) => lines.push(Line::styled(look.say(why), look.style(Role::FieldError))),
            Refs::There(refs) if refs.is_empty() => {
                lines.push(Line::styled(look.text("form.refs.none").into_owned(), look.style(Role::Muted)));
            }
            Refs::There(_) if !self.makes_tags => {
                lines.push(Line::styled(look.text("form.refs.wrong").into_owned(), look.style(Role::Muted)));
            }
            Refs::There(_) => {
                let longest = self.preview.iter().map(|row| width(&row.reference.name)).max().unwrap_or(0);
                let names = longest.min(room / 3).max(6);
                lines.extend(self.preview.iter().flat_map(|row| ref_lines(row, names, room, look)));
            }
        }
        lines
    }
}

/// What becomes of one ref: its sign and tags, and below what is to be known of it.
fn ref_lines(row: &PreviewRow, names: usize, room: usize, look: &Look) -> Vec<Line<'static>> {
    let (sign, role) = match row.answer {
        Answer::Match => (look.glyphs.choose("\u{2713}", "+"), Role::StatusOk),
        Answer::Refused => ("!", Role::StatusWarn),
        Answer::Near => ("?", Role::StatusWait),
        Answer::None => ("-", Role::Muted),
    };
    let name = pad(&fit_middle(&printable(&row.reference.name), names), names);
    let tags = row.tags.join(" ");
    let mut lines = vec![Line::from(vec![
        Span::styled(format!("{sign} {name}  "), look.style(role)),
        Span::raw(fit(&tags, room.saturating_sub(names + 4)).into_owned()),
    ])];
    for text in row.notes.iter().filter(|_| row.answer != Answer::None) {
        for row in wrap([Line::raw(look.say(text))], room.saturating_sub(4).max(1)) {
            lines.push(Line::styled(format!("    {row}"), look.style(Role::FieldNote)));
        }
    }
    lines
}

/// Where scrolling by a key leads to from an offset; past the end is for who draws it to see.
pub(super) fn scrolled(offset: usize, key: KeyCode, page: usize) -> usize {
    match key {
        KeyCode::Down | KeyCode::Char('j') => offset + 1,
        KeyCode::Up | KeyCode::Char('k') => offset.saturating_sub(1),
        KeyCode::PageDown => offset + page,
        KeyCode::PageUp => offset.saturating_sub(page),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => usize::MAX / 2,
        _ => offset,
    }
}
