//! Filtered text with its styles.

use super::style::Style;

/// Style of the text from a byte offset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first byte.
    pub start: usize,
    /// The style.
    pub style: Style,
}

/// Filtered text and its styles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Styled<'a> {
    /// The text: no control characters except tabs, no invisible characters.
    pub text: &'a str,
    /// Style changes, ordered by position.
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
