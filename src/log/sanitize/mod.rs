//! Filters foreign text for terminals: removes control sequences, makes invisible and bidirectional characters visible.
//!
//! The only filter of slipway, for logs and for every name, subject, reason and error. Of all control sequences only
//! colours and emphasis (SGR) pass, and only in logs; invisible characters are shown as `<200b>`.

mod character;
mod painter;
mod style;
mod styled;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use character::is_hidden;
pub use style::{Colour, Style};
pub use styled::{Run, Styled};

use super::reader;
use painter::{Kind, Painter};

/// Filter for the lines of a log. Reuse one for many lines: it keeps its buffers.
#[derive(Debug)]
pub struct Sanitizer {
    painter: Painter,
    out: Vec<u8>,
}

impl Default for Sanitizer {
    fn default() -> Sanitizer {
        Sanitizer { painter: Painter::new(Kind::Log), out: Vec::new() }
    }
}

impl Sanitizer {
    /// Filters a log line, given without its line end, for a terminal. Colours are reset at the end; text that a
    /// carriage return, a backspace or an erase sequence overwrites is left out.
    pub fn line<'a>(&'a mut self, line: &'a [u8]) -> &'a [u8] {
        if is_clean(line) {
            return line;
        }
        // `#5 0.123 ` is slipway's, not the step's: nothing writes over it.
        let text = reader::parse(line).text;
        let prefix = &line[..line.len() - text.len()];
        self.painter.paint(text);
        let styled = self.painter.styled();
        if prefix.is_empty() && styled.runs.is_empty() {
            return styled.text.as_bytes();
        }
        self.out.clear();
        self.out.extend_from_slice(prefix);
        let mut last = Style::default();
        for (piece, style) in styled.pieces() {
            if style != last {
                style.write(last, &mut self.out);
                last = style;
            }
            self.out.extend_from_slice(piece.as_bytes());
        }
        if last != Style::default() {
            Style::default().write(last, &mut self.out);
        }
        &self.out
    }

    /// Filters a text of one line for a renderer that applies the styles itself.
    pub fn text<'a>(&'a mut self, text: &'a [u8]) -> Styled<'a> {
        if is_clean(text)
            && let Ok(text) = std::str::from_utf8(text)
        {
            return Styled { text, runs: &[] };
        }
        self.painter.paint(text);
        self.painter.styled()
    }
}

/// Filters a name, subject, reason or error: one line without colours. Line ends and tabs become spaces.
pub fn printable(text: &str) -> Cow<'_, str> {
    if is_clean(text.as_bytes()) && !text.contains('\t') {
        return Cow::Borrowed(text);
    }
    let mut painter = Painter::new(Kind::OneLine);
    painter.paint(text.as_bytes());
    Cow::Owned(painter.into_text())
}

/// Filters a text of several lines: no colours, line ends and tabs are kept.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    if text.split('\n').all(|line| is_clean(line.as_bytes())) {
        return Cow::Borrowed(text);
    }
    let mut painter = Painter::new(Kind::Lines);
    let mut lines = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            lines.push('\n');
        }
        painter.paint(line.strip_suffix('\r').unwrap_or(line).as_bytes());
        lines.push_str(painter.styled().text);
    }
    Cow::Owned(lines)
}

/// Escapes every character of a JSON document beyond printable ASCII, so that a terminal can show it.
pub fn printable_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, '\n' | ' '..='~') {
            text.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            text.extend(units.into_iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

/// Escapes control and invisible characters (`\n`, `\u{1b}`), so that foreign text cannot forge a line of slipway's own
/// log.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if is_clean(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if c.is_control() || is_hidden(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Whether a line needs no filtering: the fast path, taken by nearly all lines.
fn is_clean(line: &[u8]) -> bool {
    if line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return true;
    }
    let clean = |c: char| c == '\t' || !c.is_control() && !is_hidden(c);
    std::str::from_utf8(line).is_ok_and(|text| text.chars().all(clean))
}
