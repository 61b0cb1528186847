//! Drawing a form: its fields, what is wrong with them, the refs beside, and the TOML before it is saved.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};
use rust_i18n::t;

use super::field::{Field, Value};
use super::kind::Kind;
use super::output::{ANNOTATION, LABEL};
use super::reader::SECRET;
use super::rule;
use super::state::Form;
use crate::domain::reason::Reason;
use crate::log::sanitize::printable;
use crate::protocol::EntityName;
use crate::tui::look::Look;
use crate::tui::popup;
use crate::tui::theme::Role;
use crate::tui::widget::table::scroll_bar;
use crate::tui::widget::text::{fit, pad, width};
use crate::tui::widget::wrap::{rows, wrap};

/// From so many columns on the refs stand beside the fields.
const BESIDE: u16 = 100;
/// So many of the times that a schedule runs at are shown: enough to see its pattern.
const SHOWN_TIMES: usize = 3;

impl Form {
    /// Draws it.
    pub fn render(&mut self, screen: Rect, buf: &mut Buffer, look: &Look) {
        self.cursor = None;
        if let Some(picker) = &mut self.picker {
            picker.render(screen, buf, look);
            return;
        }
        let has_beside = self.has_beside();
        let wide = if has_beside { 140 } else { 84 };
        let inner = popup::frame(screen, (wide, 28), &self.title(look), buf, look);
        if inner.height < 3 {
            return;
        }
        let foot = Rect { y: inner.bottom() - 1, height: 1, ..inner };
        self.render_foot(foot, buf, look);
        let mut body = Rect { height: inner.height - 1, ..inner };
        if let Some(error) = self.error.as_ref().map(|error| look.say(error)) {
            let rows = wrap([Line::raw(error.as_str())], usize::from(body.width));
            let lines = u16::try_from(rows.len()).unwrap_or(4).min(4);
            let area = Rect { y: body.bottom().saturating_sub(lines), height: lines.min(body.height), ..body };
            let text = Paragraph::new(rows).style(look.style(Role::FieldError));
            text.render(area, buf);
            body.height = body.height.saturating_sub(lines);
        }
        if let Some(diff) = &self.diff {
            self.page_rows = usize::from(body.height);
            self.offset = render_diff(diff, &self.warnings, self.offset, body, buf, look);
            return;
        }
        if self.shows_beside {
            self.render_beside(body, buf, look);
            return;
        }
        if has_beside && body.width >= BESIDE {
            let left = body.width / 2;
            let refs = Rect { x: body.x + left + 2, width: body.width - left - 2, ..body };
            self.render_beside(refs, buf, look);
            body.width = left;
        }
        self.render_fields(body, buf, look);
    }

    fn title(&self, look: &Look) -> String {
        let lang = look.lang.code();
        let what = match &self.kind {
            Kind::Namespace { name: None, .. } => look.text("form.title.new_namespace").into_owned(),
            Kind::Namespace { name: Some(name), .. } => {
                t!("form.title.namespace", locale = lang, name = name).into_owned()
            }
            Kind::Repository { path: None, .. } => look.text("form.title.new_repository").into_owned(),
            Kind::Repository { path: Some(path), .. } => {
                t!("form.title.repository", locale = lang, name = path).into_owned()
            }
            Kind::Rule { path, is_new: true, .. } => t!("form.title.new_rule", locale = lang, name = path).into_owned(),
            Kind::Rule { path, base, .. } => {
                t!("form.title.rule", locale = lang, name = base.name, path = path).into_owned()
            }
            Kind::Builder { name: None, .. } => look.text("form.title.new_builder").into_owned(),
            Kind::Builder { name: Some(name), .. } => t!("form.title.builder", locale = lang, name = name).into_owned(),
            Kind::Platform { name: None, .. } => look.text("form.title.new_platform").into_owned(),
            Kind::Platform { name: Some(name), .. } => {
                t!("form.title.platform", locale = lang, name = name).into_owned()
            }
            Kind::Delete { name, .. } => t!("form.title.delete", locale = lang, name = name).into_owned(),
        };
        if self.pages.len() < 2 {
            return what;
        }
        let page = look.text(self.pages[self.page].title);
        format!("{what} - {}/{} {page}", self.page + 1, self.pages.len())
    }

    fn render_foot(&self, area: Rect, buf: &mut Buffer, look: &Look) {
        let key = match (&self.kind, self.saving, self.diff.is_some()) {
            (Kind::Delete { .. }, true, _) | (_, true, true) => "form.saving",
            (_, true, false) => "form.previewing",
            (_, _, true) => "form.keys.diff",
            (Kind::Delete { .. }, ..) => "form.keys.delete",
            (Kind::Rule { .. }, ..) if self.shows_beside => "form.keys.beside",
            (Kind::Rule { .. }, ..) if self.shows_outline() => "form.keys.outline",
            (Kind::Rule { .. }, ..) => "form.keys.rule",
            _ if self.can_pick() => "form.keys.pick",
            _ if self.pages.len() > 1 => "form.keys.pages",
            _ => "form.keys.fields",
        };
        let text = look.text(key);
        Line::styled(fit(&text, usize::from(area.width)).into_owned(), look.style(Role::KeyText)).render(area, buf);
    }

    fn render_fields(&mut self, area: Rect, buf: &mut Buffer, look: &Look) {
        let narrow = area.width < 60;
        let labels: Vec<String> = self.pages[self.page].fields.iter().map(|field| label(field, look)).collect();
        let column = labels.iter().map(|label| width(label)).max().unwrap_or(0).min(26) + 2;
        let room = usize::from(area.width).saturating_sub(if narrow { 2 } else { column }).max(1);
        // A field takes its own row, its label's where it is narrow, and what is wrong with it or to know of it.
        let height =
            |form: &Form, index: usize| 1 + usize::from(narrow) + note_rows(form.note(index, look).as_ref(), room);
        let rows = usize::from(area.height);
        self.offset = self.offset.min(self.focus);
        while (self.offset..=self.focus).map(|index| height(self, index)).sum::<usize>() > rows
            && self.offset < self.focus
        {
            self.offset += 1;
        }
        let mut y = area.y;
        let (offset, focus) = (self.offset, self.focus);
        for (index, label) in labels.iter().enumerate().skip(offset) {
            let focused = index == focus;
            if y >= area.bottom() {
                break;
            }
            let style = look.style(if focused { Role::Strong } else { Role::Text });
            let field_area = if narrow {
                buf.set_stringn(area.x, y, label, usize::from(area.width), style);
                y += 1;
                Rect { x: area.x + 2, y, width: area.width.saturating_sub(2).max(1), height: 1 }
            } else {
                let label = pad(&fit(label, column - 1), column);
                buf.set_string(area.x, y, label, style);
                let left = u16::try_from(column).unwrap_or(0);
                Rect { x: area.x + left, y, width: area.width.saturating_sub(left).max(1), height: 1 }
            };
            if y >= area.bottom() {
                break;
            }
            let field = &mut self.pages[self.page].fields[index];
            render_value(field, focused, field_area, buf, look);
            if let (true, Value::Text(input)) = (focused, &field.value) {
                self.cursor = input.cursor();
            }
            y += 1;
            if let Some(note) = self.note(index, look) {
                let rows =
                    u16::try_from(note_rows(Some(&note), room)).unwrap_or(1).min(area.bottom().saturating_sub(y));
                let text = Paragraph::new(wrap([Line::raw(note.0)], room)).style(look.style(note.1));
                text.render(Rect { y, height: rows, ..field_area }, buf);
                y += rows;
            }
        }
    }

    /// What is wrong with a field of the page that is shown, what it comes to, or, where it has the focus, what to know
    /// of it.
    fn note(&self, index: usize, look: &Look) -> Option<(String, Role)> {
        let field = &self.pages[self.page].fields[index];
        // What nobody has typed yet is not wrong yet.
        let typed = self.tried || !field.content().is_empty();
        if let Some(error) = field.error.as_ref().filter(|_| typed) {
            return Some((printable(&look.say(error)).into_owned(), Role::FieldError));
        }
        if let ("cron", Some(schedule)) = (field.key, rule::schedule(&self.pages))
            && let Ok(times) = look.upcoming(&schedule, SHOWN_TIMES)
        {
            let text = t!("form.schedule", locale = look.lang.code(), times = times).into_owned();
            return Some((text, Role::FieldNote));
        }
        let key = match &self.kind {
            Kind::Delete { name: EntityName::Namespace(_) | EntityName::Repository(_), .. } => {
                "form.note.typed_name_with_images".to_owned()
            }
            _ => format!("form.note.{}", field.key),
        };
        let text = look.text(&key).into_owned();
        // How a secret is written has to be seen before anybody comes to its line.
        let shown = index == self.focus || (field.key == SECRET && field.content().is_empty());
        (shown && text != key && !text.ends_with(&key)).then_some((text, Role::FieldNote))
    }
}

/// The name of a field on the screen; of several with one key, with its number.
fn label(field: &Field, look: &Look) -> String {
    let name = look.text(&format!("form.field.{}", field.key)).into_owned();
    match field.key {
        "version" | "time" | "commit" | "arg" | SECRET | LABEL | ANNOTATION => format!("{name} {}", field.number + 1),
        _ => name,
    }
}

/// How many rows a note takes: what is wrong has to be read to its end.
fn note_rows(note: Option<&(String, Role)>, columns: usize) -> usize {
    note.map_or(0, |(text, _)| rows(text, columns).clamp(1, 6))
}

fn render_value(field: &mut Field, focused: bool, area: Rect, buf: &mut Buffer, look: &Look) {
    let style = look.style(if focused { Role::FieldFocus } else { Role::Field });
    let columns = usize::from(area.width);
    match &mut field.value {
        Value::Text(input) => input.render(area, buf, style),
        Value::Toggle(on) => {
            let text = look.text(if *on { "form.yes" } else { "form.no" });
            let text = format!("[{}] {text}", if *on { "x" } else { " " });
            buf.set_stringn(area.x, area.y, text, columns, style);
        }
        Value::Choice { options, at } => {
            let word = options.get(*at).map_or("", String::as_str);
            // Words that TOML does not have are said in the language of the dashboard.
            let key = format!("form.option.{}.{word}", field.key);
            let text = look.text(&key);
            let text = if text.ends_with(&key) { word } else { &text };
            buf.set_stringn(area.x, area.y, format!("< {text} >"), columns, style);
        }
    }
}

/// Draws the change from a row on; the row that it could be.
fn render_diff(diff: &str, warnings: &[Reason], offset: usize, area: Rect, buf: &mut Buffer, look: &Look) -> usize {
    let warning = |text: &Reason| Line::styled(printable(&look.say(text)).into_owned(), look.style(Role::FieldError));
    let mut lines: Vec<Line> = warnings.iter().map(warning).collect();
    lines.push(Line::styled(look.text("form.diff.title").into_owned(), look.style(Role::Header)));
    if diff.is_empty() {
        lines.push(Line::styled(look.text("form.diff.none").into_owned(), look.style(Role::Muted)));
    }
    for line in diff.lines() {
        let role = match line.as_bytes().first() {
            Some(b'+') => Role::DiffAdded,
            Some(b'-') => Role::DiffRemoved,
            Some(b'@') => Role::Muted,
            _ => Role::Text,
        };
        lines.push(Line::styled(printable(line).into_owned(), look.style(role)));
    }
    let (rows, columns) = (usize::from(area.height), area.width.saturating_sub(1).max(1));
    let lines = wrap(lines, usize::from(columns));
    let count = lines.len();
    let offset = offset.min(count.saturating_sub(rows));
    Paragraph::new(lines.into_iter().skip(offset).collect::<Vec<_>>()).render(area, buf);
    if count > rows {
        scroll_bar(Rect { x: area.right() - 1, width: 1, ..area }, buf, look, offset, count);
    }
    offset
}
