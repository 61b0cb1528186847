//! A one-line terminal: vte parses the control sequences, the actions here edit the line.

use std::fmt;

use unicode_width::UnicodeWidthChar;
use vte::{Params, Parser, Perform};

use super::character::{EMOJI_STYLE, JOINER, is_emoji, is_hidden, shown};
use super::style::Style;
use super::styled::{Run, Styled};

const ESCAPE: u8 = 0x1b;
/// Ends whatever sequence was begun.
const CANCEL: u8 = 0x18;
const BELL: u8 = 0x07;

/// Rules for a kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A log line: colours pass, overwritten text is removed.
    Log,
    /// A text that must stay on one line, without colours.
    OneLine,
    /// A line of a text of several lines, without colours, with tabs.
    Lines,
}

/// Applies control sequences to one line after the other.
pub(super) struct Painter {
    line: Line,
    parser: Parser,
    /// The line as valid UTF-8, with 8-bit controls (C1) as their 7-bit equivalents.
    normal: Vec<u8>,
}

impl fmt::Debug for Painter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.fmt(f)
    }
}

impl Painter {
    pub(super) fn new(kind: Kind) -> Painter {
        let line = Line {
            kind,
            text: String::new(),
            runs: Vec::new(),
            columns: 0,
            back: 0,
            style: Style::default(),
            joiner: false,
        };
        Painter { line, parser: Parser::new(), normal: Vec::new() }
    }

    /// Replaces the current line by this one, given without its line end.
    pub(super) fn paint(&mut self, line: &[u8]) {
        self.line.begin();
        // No line is left in a sequence that an earlier one began.
        self.parser = Parser::new();
        self.normalize(line);
        let mut rest = self.normal.as_slice();
        while let Some(at) = string_to_show(self.line.kind, rest) {
            self.parser.advance(&mut self.line, &rest[..at]);
            self.parser.advance(&mut self.line, &[CANCEL]);
            rest = &rest[at + 2..];
        }
        self.parser.advance(&mut self.line, rest);
        self.line.end_joiner();
    }

    pub(super) fn styled(&self) -> Styled<'_> {
        Styled { text: &self.line.text, runs: &self.line.runs }
    }

    pub(super) fn into_text(self) -> String {
        self.line.text
    }

    /// Bytes that are no UTF-8 become U+FFFD, so that no lone byte is a control to a terminal that reads Latin-1; the
    /// 8-bit controls, which vte does not take for what they are, become two bytes of 7 bits each.
    fn normalize(&mut self, line: &[u8]) {
        self.normal.clear();
        for chunk in line.utf8_chunks() {
            let mut rest = chunk.valid().as_bytes();
            // In UTF-8 this byte begins U+0080 to U+00BF, and nothing else has it.
            while let Some(at) = memchr::memchr(0xc2, rest) {
                self.normal.extend_from_slice(&rest[..at]);
                match rest[at + 1] {
                    control @ 0x80..=0x9f => self.normal.extend_from_slice(&[ESCAPE, control - 0x40]),
                    other => self.normal.extend_from_slice(&[0xc2, other]),
                }
                rest = &rest[at + 2..];
            }
            self.normal.extend_from_slice(rest);
            if !chunk.invalid().is_empty() {
                self.normal.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
}

/// Position of the next string sequence (OSC, DCS, …) whose content is shown instead of dropped. In logs that is an
/// unterminated one, which would swallow the rest of the line; in names and reasons every one, because nothing in them
/// may hide text.
fn string_to_show(kind: Kind, line: &[u8]) -> Option<usize> {
    if kind != Kind::Log {
        let begins = |at: &usize| line.get(at + 1).is_some_and(|byte| begins_string(*byte));
        return memchr::memchr_iter(ESCAPE, line).find(begins);
    }
    // Any escape ends a string, so only the last can have none.
    let at = memchr::memrchr(ESCAPE, line)?;
    let (introducer, rest) = line[at + 1..].split_first()?;
    let ended = rest.iter().any(|byte| matches!(byte, &CANCEL | 0x1a) || *introducer == b']' && *byte == BELL);
    (begins_string(*introducer) && !ended).then_some(at)
}

/// Whether ESC followed by this byte begins a string sequence: OSC, DCS, SOS, PM or APC.
fn begins_string(byte: u8) -> bool {
    matches!(byte, b']' | b'P' | b'X' | b'^' | b'_')
}

#[derive(Debug)]
struct Line {
    kind: Kind,
    text: String,
    runs: Vec<Run>,
    /// Width of the text in columns.
    columns: usize,
    /// Distance of the cursor from the text's end in columns. The next character removes everything from the cursor on.
    back: usize,
    style: Style,
    /// A joiner followed the last emoji; it is kept if another emoji follows.
    joiner: bool,
}

impl Line {
    fn begin(&mut self) {
        self.clear();
        self.style = Style::default();
        self.joiner = false;
    }

    fn clear(&mut self) {
        self.text.clear();
        self.runs.clear();
        self.columns = 0;
        self.back = 0;
    }

    fn put(&mut self, c: char) {
        self.write_over();
        let style = self.style.readable();
        if style != self.runs.last().map_or(Style::default(), |run| run.style) {
            self.runs.push(Run { start: self.text.len(), style });
        }
        self.text.push(c);
        self.columns += c.width().unwrap_or(0);
    }

    /// Removes the text from the cursor on.
    fn write_over(&mut self) {
        if self.back == 0 {
            return;
        }
        if self.back >= self.columns {
            return self.clear();
        }
        let keep = self.columns - self.back;
        while self.columns > keep {
            let Some(c) = self.text.pop() else { break };
            self.columns -= c.width().unwrap_or(0);
        }
        // A joiner without its second emoji would join whatever is written next.
        while self.text.ends_with(JOINER) {
            self.text.pop();
        }
        self.back = 0;
        while self.runs.pop_if(|run| run.start >= self.text.len()).is_some() {}
    }

    fn show(&mut self, c: char) {
        shown(c).chars().for_each(|c| self.put(c));
    }

    fn ends_in_emoji(&self) -> bool {
        self.back == 0 && self.text.chars().next_back().is_some_and(is_emoji)
    }

    /// Whether the text ends in an emoji, with or without a variation selector.
    fn ends_in_styled_emoji(&self) -> bool {
        let text = self.text.strip_suffix(EMOJI_STYLE).unwrap_or(&self.text);
        self.back == 0 && text.chars().next_back().is_some_and(is_emoji)
    }

    fn end_joiner(&mut self) {
        if std::mem::take(&mut self.joiner) {
            self.show(JOINER);
        }
    }

    fn go_back(&mut self, columns: usize) {
        self.back = self.back.saturating_add(columns).min(self.columns);
    }
}

impl Perform for Line {
    fn print(&mut self, c: char) {
        if self.joiner && is_emoji(c) {
            self.joiner = false;
            self.put(JOINER);
        }
        self.end_joiner();
        match c {
            JOINER if self.ends_in_styled_emoji() => self.joiner = true,
            EMOJI_STYLE if self.ends_in_emoji() => self.put(c),
            c if is_hidden(c) => self.show(c),
            c if c.is_control() => {}
            c => self.put(c),
        }
    }

    fn execute(&mut self, byte: u8) {
        self.end_joiner();
        match (byte, self.kind) {
            (b'\t', Kind::Log | Kind::Lines) => self.put('\t'),
            (b'\r', Kind::Log) => self.back = self.columns.max(1),
            (0x08, Kind::Log) => self.go_back(1),
            (b'\t' | b'\n' | b'\r', _) => self.put(' '),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        self.end_joiner();
        if self.kind != Kind::Log || ignore || !intermediates.is_empty() {
            return;
        }
        let number = params.iter().next().and_then(|group| group.first()).copied().unwrap_or_default();
        let count = usize::from(number.max(1));
        match action {
            'm' => self.style = self.style.after(params),
            // Erases from the cursor on; all of the line.
            'K' if number == 0 => self.write_over(),
            'K' => self.clear(),
            // To the left, to the right, to a column.
            'D' => self.go_back(count),
            'C' => self.back = self.back.saturating_sub(count),
            'G' | '`' => self.back = self.columns.saturating_sub(count - 1),
            _ => {}
        }
    }
}
