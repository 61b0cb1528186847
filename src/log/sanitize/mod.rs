//! Foreign text as a terminal may have it: text and colours, nothing that moves, asks, renames, hides or turns around.
//!
//! This is the one filter, for logs and for every name, subject, reason and error. Of all control sequences only colours and
//! emphasis pass, and those in logs only; characters that show nothing are made to be seen, as `<200b>`.

mod character;
mod painter;
mod style;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use character::is_hidden;
pub use painter::Run;
pub use style::{Colour, Style};

use super::reader;
use painter::{Kind, Painter};

/// Cleans the lines of a log.
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

/// A clean text and its looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Styled<'a> {
    /// No control but tabs, nothing hidden.
    pub text: &'a str,
    /// Where another style begins, in order.
    pub runs: &'a [Run],
}

impl<'a> Styled<'a> {
    /// The text in pieces of one style each.
    pub fn pieces(self) -> impl Iterator<Item = (&'a str, Style)> {
        let first = self.runs.first().map_or(self.text.len(), |run| run.start);
        let plain = Some((&self.text[..first], Style::default())).filter(|(text, _)| !text.is_empty());
        let ends = self.runs.iter().skip(1).map(|run| run.start).chain([self.text.len()]);
        let styled = self.runs.iter().zip(ends).map(move |(run, end)| (&self.text[run.start..end], run.style));
        plain.into_iter().chain(styled)
    }
}

impl Sanitizer {
    /// What a terminal may have of a log's line, given without its end. Colours are reset at its end; what a carriage return
    /// or a backspace writes over is not there.
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

    /// What is to be drawn of a text of one line.
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

/// A foreign text on one line, without colours: for names, subjects, reasons and errors. Ends of lines and tabs are blanks.
pub fn printable(text: &str) -> Cow<'_, str> {
    if is_clean(text.as_bytes()) && !text.contains('\t') {
        return Cow::Borrowed(text);
    }
    let mut painter = Painter::new(Kind::OneLine);
    painter.paint(text.as_bytes());
    Cow::Owned(painter.into_text())
}

/// A foreign text of several lines, without colours; it keeps its ends of lines and tabs.
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

/// A JSON document that is safe to show: every character beyond ASCII is escaped.
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

/// A foreign text in a line of a log that people and programs read: controls and what is hidden are escaped, so that no text
/// makes a line of its own.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if is_clean(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if c.is_control() || is_hidden(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Whether a line is fit for a terminal as it is: the quick way for nearly all of them.
fn is_clean(line: &[u8]) -> bool {
    if line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return true;
    }
    let clean = |c: char| c == '\t' || !c.is_control() && !is_hidden(c);
    std::str::from_utf8(line).is_ok_and(|text| text.chars().all(clean))
}
