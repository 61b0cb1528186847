//! One line of a log as it is drawn: its prefix told apart, its colours kept, everything else that a terminal obeys taken out.

use ratatui::style::{Color, Modifier, Style};

use crate::log::reader::parse;
use crate::log::sanitize::Sanitizer;

/// More of a line than this is not drawn; the end says how much there is.
const LONGEST_DRAWN: usize = 16 * 1024;
/// Columns between tab stops.
const TAB: usize = 8;

/// A line, ready to be laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The step that it belongs to.
    pub step: Option<u32>,
    /// Seconds since the step began, as the log has them.
    pub seconds: Option<String>,
    /// The text, in pieces of one style each.
    pub pieces: Vec<(String, Style)>,
}

impl Shown {
    /// Takes a line of a log, without its end.
    pub fn of(line: &[u8], sanitizer: &mut Sanitizer) -> Shown {
        let cut = &line[..line.len().min(LONGEST_DRAWN)];
        let clean = sanitizer.line(cut);
        let parsed = parse(clean);
        let text = String::from_utf8_lossy(parsed.text);
        let mut pieces = pieces(&text);
        if line.len() > cut.len() {
            let more = (line.len() - cut.len()) / 1024;
            pieces.push((format!(" ~ +{more} KB"), Style::new().add_modifier(Modifier::ITALIC)));
        }
        Shown {
            step: parsed.step,
            seconds: parsed.seconds.map(|seconds| String::from_utf8_lossy(seconds).into_owned()),
            pieces,
        }
    }

    /// The text without its styles.
    pub fn text(&self) -> String {
        self.pieces.iter().map(|(text, _)| text.as_str()).collect()
    }
}

/// Splits a text at its colours; tabs become blanks.
fn pieces(text: &str) -> Vec<(String, Style)> {
    let mut pieces = Vec::new();
    let (mut style, mut piece, mut column) = (Style::new(), String::new(), 0);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = rest.strip_prefix("\x1b[")
            && let Some(end) = sequence.find('m')
        {
            if !piece.is_empty() {
                pieces.push((std::mem::take(&mut piece), style));
            }
            style = apply(style, &sequence[..end]);
            rest = &sequence[end + 1..];
            continue;
        }
        if c == '\t' {
            let blanks = TAB - column % TAB;
            piece.push_str(&" ".repeat(blanks));
            column += blanks;
        } else if !c.is_control() {
            piece.push(c);
            column += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        }
        rest = &rest[c.len_utf8()..];
    }
    if !piece.is_empty() {
        pieces.push((piece, style));
    }
    pieces
}

/// A style after a select-graphic-rendition sequence: `1;31`, `38;5;208`, `38:2::1:2:3`.
fn apply(mut style: Style, parameters: &str) -> Style {
    let numbers: Vec<u16> = parameters.split([';', ':']).map(|number| number.parse().unwrap_or(0)).collect();
    let colons = parameters.contains(':');
    let mut at = 0;
    while at < numbers.len() {
        let number = numbers[at];
        at += 1;
        let modifier = |style: Style, on, modifier| {
            if on { style.add_modifier(modifier) } else { style.remove_modifier(modifier) }
        };
        style = match number {
            0 => Style::new(),
            1 => modifier(style, true, Modifier::BOLD),
            2 => modifier(style, true, Modifier::DIM),
            3 => modifier(style, true, Modifier::ITALIC),
            4 => modifier(style, true, Modifier::UNDERLINED),
            7 => modifier(style, true, Modifier::REVERSED),
            9 => modifier(style, true, Modifier::CROSSED_OUT),
            22 => modifier(style, false, Modifier::BOLD | Modifier::DIM),
            23 => modifier(style, false, Modifier::ITALIC),
            24 => modifier(style, false, Modifier::UNDERLINED),
            27 => modifier(style, false, Modifier::REVERSED),
            29 => modifier(style, false, Modifier::CROSSED_OUT),
            30..=37 => style.fg(indexed(number - 30)),
            39 => Style { fg: None, ..style },
            40..=47 => style.bg(indexed(number - 40)),
            49 => Style { bg: None, ..style },
            90..=97 => style.fg(indexed(number - 90 + 8)),
            100..=107 => style.bg(indexed(number - 100 + 8)),
            38 | 48 => {
                let (colour, taken) = extended(&numbers[at..], colons);
                at += taken;
                match (colour, number) {
                    (Some(colour), 38) => style.fg(colour),
                    (Some(colour), _) => style.bg(colour),
                    (None, _) => style,
                }
            }
            _ => style,
        };
    }
    style
}

fn indexed(number: u16) -> Color {
    Color::Indexed(u8::try_from(number).unwrap_or(u8::MAX))
}

/// A colour of 256 or of 16 million, and how many numbers it took.
fn extended(numbers: &[u16], colons: bool) -> (Option<Color>, usize) {
    let byte = |at: usize| numbers.get(at).and_then(|number| u8::try_from(*number).ok());
    match numbers.first() {
        Some(5) => (byte(1).map(Color::Indexed), 2),
        Some(2) => {
            // With colons a colour space, mostly empty, comes first.
            let first = if colons && numbers.len() >= 5 { 2 } else { 1 };
            let colour = match (byte(first), byte(first + 1), byte(first + 2)) {
                (Some(red), Some(green), Some(blue)) => Some(Color::Rgb(red, green, blue)),
                _ => None,
            };
            (colour, first + 3)
        }
        _ => (None, numbers.len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(line: &str) -> Shown {
        Shown::of(line.as_bytes(), &mut Sanitizer::default())
    }

    #[test]
    fn a_line_is_told_apart() {
        let line = shown("#5 0.123 \x1b[1;31mred\x1b[0m plain");
        assert_eq!((line.step, line.seconds.as_deref()), (Some(5), Some("0.123")));
        let red = Style::new().fg(Color::Indexed(1)).add_modifier(Modifier::BOLD);
        assert_eq!(line.pieces, [("red".to_owned(), red), (" plain".to_owned(), Style::new())]);
    }

    #[test]
    fn colours_of_every_kind_are_kept() {
        let first = |line: &str| shown(line).pieces[0].1.fg;
        assert_eq!(first("\x1b[38;5;208mx"), Some(Color::Indexed(208)));
        assert_eq!(first("\x1b[38;2;1;2;3mx"), Some(Color::Rgb(1, 2, 3)));
        assert_eq!(first("\x1b[38:2::1:2:3mx"), Some(Color::Rgb(1, 2, 3)));
        assert_eq!(first("\x1b[97mx"), Some(Color::Indexed(15)));
        assert_eq!(first("\x1b[31m\x1b[39mx"), None);
    }

    #[test]
    fn tabs_stop_where_terminals_stop() {
        assert_eq!(shown("a\tb").text(), "a       b");
        assert_eq!(shown("宽\tb").text(), "宽      b");
    }

    #[test]
    fn a_line_of_megabytes_says_how_much_there_is() {
        let line = shown(&"x".repeat(1024 * 1024));
        assert!(line.text().ends_with(" ~ +1008 KB"));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_nothing_that_a_terminal_obeys_is_drawn(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let line = Shown::of(&bytes, &mut Sanitizer::default());
            let text = line.text() + line.seconds.as_deref().unwrap_or_default();
            let bad = |c: char| {
                c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            };
            prop_assert!(!text.contains(bad), "{:?}", text);
        }
    }
}
