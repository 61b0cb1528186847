//! One line of a log as it is drawn: its prefix told apart, its colours kept, everything else that a terminal obeys
//! taken out.

use ratatui::style::{Color, Modifier, Style};

use crate::log::reader::parse;
use crate::log::sanitize::{self, Sanitizer};

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
        let parsed = parse(cut);
        let mut column = 0;
        let drawn = sanitizer.text(parsed.text).pieces();
        let mut pieces: Vec<_> = drawn.map(|(text, look)| (with_blanks(text, &mut column), style(look))).collect();
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

/// A style as ratatui has it.
fn style(style: sanitize::Style) -> Style {
    let flags = [
        (style.bold, Modifier::BOLD),
        (style.dim, Modifier::DIM),
        (style.italic, Modifier::ITALIC),
        (style.underlined, Modifier::UNDERLINED),
        (style.reversed, Modifier::REVERSED),
        (style.crossed_out, Modifier::CROSSED_OUT),
    ];
    let modifiers = flags.iter().filter(|(set, _)| *set).map(|(_, modifier)| *modifier).collect();
    Style { fg: style.foreground.map(colour), bg: style.background.map(colour), ..Style::new() }.add_modifier(modifiers)
}

fn colour(colour: sanitize::Colour) -> Color {
    match colour {
        sanitize::Colour::Indexed(number) => Color::Indexed(number),
        sanitize::Colour::Rgb(red, green, blue) => Color::Rgb(red, green, blue),
    }
}

/// A text with blanks for its tabs; `column` is where it begins, and then where it ends.
fn with_blanks(text: &str, column: &mut usize) -> String {
    let mut drawn = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\t' {
            let blanks = TAB - *column % TAB;
            drawn.push_str(&" ".repeat(blanks));
            *column += blanks;
        } else {
            drawn.push(c);
            *column += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        }
    }
    drawn
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
        assert_eq!(first("\x1b[31;41mx"), None);
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
            let bad = |c: char| c.is_control() || sanitize::is_hidden(c) && !matches!(c, '\u{200d}' | '\u{fe0f}');
            prop_assert!(!text.contains(bad), "{:?}", text);
        }
    }
}
