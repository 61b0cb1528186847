//! Lines broken into rows: after blanks, and between wide characters, which have no blanks between them. ratatui breaks neither
//! there, nor does it leave whole a wide character that half fits.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// No row begins with one of these.
const CLOSING: &str = "，。：；、！？）」》";
/// No row ends with one of these.
const OPENING: &str = "（「《";

/// Whether a row may end between two characters.
pub fn may_break(before: char, after: char) -> bool {
    let wide = |character: char| character.width() == Some(2);
    match (before, after) {
        (_, ' ') => false,
        (' ', _) => true,
        _ => (wide(before) || wide(after)) && !CLOSING.contains(after) && !OPENING.contains(before),
    }
}

/// The lines in rows of at most so many columns; a word that is longer is broken within.
pub fn wrap<'a>(lines: impl IntoIterator<Item = Line<'a>>, columns: usize) -> Vec<Line<'a>> {
    lines.into_iter().flat_map(|line| wrap_line(line, columns.max(1))).collect()
}

/// How many rows a text takes.
pub fn rows(text: &str, columns: usize) -> usize {
    wrap(text.lines().map(Line::raw), columns).len().max(1)
}

fn wrap_line(line: Line<'_>, columns: usize) -> Vec<Line<'_>> {
    if line.width() <= columns {
        return vec![line];
    }
    let text: Vec<(&str, Style)> = line
        .spans
        .iter()
        .flat_map(|span| span.content.graphemes(true).map(|grapheme| (grapheme, span.style)))
        .collect();
    let row = |text: &[(&str, Style)]| Line { spans: spans(text), ..line.clone() };
    let (mut rows, mut start, mut used, mut last_break) = (Vec::new(), 0, 0, None);
    for (at, (grapheme, _)) in text.iter().enumerate() {
        if at > start && ends_of(text[at - 1].0, grapheme).is_some_and(|(before, after)| may_break(before, after)) {
            last_break = Some(at);
        }
        if used + grapheme.width() > columns && at > start {
            let end = if *grapheme == " " { at } else { last_break.unwrap_or(at) };
            let blanks = text[start..end].iter().rev().take_while(|(grapheme, _)| *grapheme == " ").count();
            rows.push(row(&text[start..end - blanks]));
            start = end;
            used = text[start..at].iter().map(|(grapheme, _)| grapheme.width()).sum();
            last_break = None;
        }
        // The blanks that a row is broken at are on none.
        if at == start && *grapheme == " " && !rows.is_empty() {
            start += 1;
        } else {
            used += grapheme.width();
        }
    }
    if start < text.len() {
        rows.push(row(&text[start..]));
    }
    rows
}

/// The last character of one grapheme, and the first of the next.
fn ends_of(before: &str, after: &str) -> Option<(char, char)> {
    Some((before.chars().next_back()?, after.chars().next()?))
}

/// Graphemes with their styles, those of one style together.
fn spans(text: &[(&str, Style)]) -> Vec<Span<'static>> {
    let pieces = text.chunk_by(|(_, one), (_, other)| one == other);
    pieces.map(|piece| Span::styled(piece.iter().map(|(text, _)| *text).collect::<String>(), piece[0].1)).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::style::Stylize;

    use super::*;

    fn wrapped(text: &str, columns: usize) -> Vec<String> {
        wrap(text.lines().map(Line::raw), columns).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a verylongword b", 6), ["a", "verylo", "ngword", "b"]);
        assert_eq!(wrapped("  indented text", 10), ["  indented", "text"]);
        assert_eq!(wrapped("", 5), Vec::<String>::new());
    }

    #[test]
    fn wide_characters_are_broken_between_and_none_is_lost() {
        let text = "在 managed 上构建，然后等待空位（三个）";
        assert_eq!(wrapped(text, 19), ["在 managed 上构建，", "然后等待空位（三", "个）"]);
        for columns in 4..40 {
            let rows = wrapped(text, columns);
            assert!(rows.iter().all(|row| row.width() <= columns), "{columns}: {rows:?}");
            assert_eq!(rows.concat().replace(' ', ""), text.replace(' ', ""), "{columns}");
            assert!(columns < 8 || rows.iter().all(|row| !row.starts_with(['，', '）'])), "{columns}: {rows:?}");
            assert_eq!(super::rows(text, columns), rows.len());
        }
    }

    #[test]
    fn styles_stay_with_their_text() {
        let line = Line::from(vec!["state ".red(), "succeeded".green()]);
        let rows = wrap([line], 10);
        assert_eq!(rows, [Line::from(vec!["state".red()]), Line::from(vec!["succeeded".green()])]);
    }
}
