//! Labels and values, and how the values of the details are written.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use ratatui::text::{Line, Span};

use crate::log::sanitize::printable;
use crate::tui::look::Look;
use crate::tui::theme::Role;
use crate::tui::widget::text::{pad, width};

/// Labels and values, the values below each other.
pub(super) struct Fields<'a> {
    pub(super) look: &'a Look<'a>,
    fields: Vec<(String, Vec<Span<'static>>)>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(look: &'a Look<'a>) -> Fields<'a> {
        Fields { look, fields: Vec::new() }
    }

    pub(super) fn add(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.spans(key, vec![Span::raw(printable(&value).into_owned())]);
        }
    }

    pub(super) fn flag(&mut self, key: &str, on: bool) {
        let text = self.look.text(if on { "form.yes" } else { "form.no" }).into_owned();
        self.add(key, text);
    }

    pub(super) fn spans(&mut self, key: &str, spans: Vec<Span<'static>>) {
        self.fields.push((self.look.text(&format!("details.{key}")).into_owned(), spans));
    }

    pub(super) fn lines(self) -> Vec<Line<'static>> {
        let column = self.fields.iter().map(|(label, _)| width(label)).max().unwrap_or(0) + 2;
        let muted = self.look.style(Role::Muted);
        let line = |(label, mut spans): (String, Vec<Span<'static>>)| {
            spans.insert(0, Span::styled(pad(&label, column), muted));
            Line::from(spans)
        };
        self.fields.into_iter().map(line).collect()
    }
}

/// A time in the zone of the dashboard.
pub(super) fn time(at: DateTime<Utc>, look: &Look) -> String {
    at.with_timezone(&look.zone).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// What is said where nothing is selected.
pub(super) fn nothing(look: &Look) -> Vec<Line<'static>> {
    vec![Line::styled(look.text("notice.nothing_selected").into_owned(), look.style(Role::Muted))]
}

/// A path for people; "" where there is none on this machine.
pub(super) fn shown(path: Option<PathBuf>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}
