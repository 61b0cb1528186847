//! Reading a log line by line: one step's lines, lines that match, lines without their prefix.

use std::io::{self, BufRead};

use regex::bytes::Regex;

use super::follow::Lines;

/// Which lines are wanted, and in what form.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only this step's lines.
    pub step: Option<u32>,
    /// Only lines that match, prefix included.
    pub grep: Option<Regex>,
    /// Without `#5 0.123 `: what the step itself printed; lines that no step printed are left out.
    pub plain: bool,
}

/// A line's prefix, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The step's number; none for lines of buildctl itself.
    pub step: Option<u32>,
    /// The seconds since the step began, as text; none for lines that BuildKit wrote about the step.
    pub seconds: Option<&'a [u8]>,
    /// The rest.
    pub text: &'a [u8],
}

/// Takes a line apart: `#5 0.123 text`.
pub fn parse(line: &[u8]) -> Line<'_> {
    let whole = Line { step: None, seconds: None, text: line };
    let Some(rest) = line.strip_prefix(b"#") else { return whole };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let step = std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok());
    let (Some(step), Some(rest)) = (step, rest[digits..].strip_prefix(b" ")) else { return whole };
    let time = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let has_point = rest[..time].contains(&b'.');
    match rest[time..].strip_prefix(b" ") {
        Some(text) if has_point => Line { step: Some(step), seconds: Some(&rest[..time]), text },
        _ => Line { step: Some(step), seconds: None, text: rest },
    }
}

impl Selection {
    /// Whether every line is wanted as it stands.
    pub fn takes_everything(&self) -> bool {
        self.step.is_none() && self.grep.is_none() && !self.plain
    }

    /// The part of a line that is wanted; none where it isn't.
    pub fn select<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        if self.grep.as_ref().is_some_and(|regex| !regex.is_match(line)) {
            return None;
        }
        if self.step.is_none() && !self.plain {
            return Some(line);
        }
        let parsed = parse(line);
        if self.step.is_some() && self.step != parsed.step {
            return None;
        }
        match (self.plain, parsed.seconds) {
            (false, _) => Some(line),
            (true, Some(_)) => Some(parsed.text),
            (true, None) => None,
        }
    }
}

/// Hands every wanted line to `take`, without its end.
///
/// # Errors
/// When the log can't be read, or what `take` returned.
pub fn each<E: From<io::Error>>(
    mut log: impl BufRead,
    selection: &Selection,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut lines = Lines::default();
    let mut line = |line: &[u8]| selection.select(line).map_or(Ok(()), &mut take);
    loop {
        let piece = log.fill_buf()?;
        if piece.is_empty() {
            return lines.finish(&mut line);
        }
        let length = piece.len();
        lines.push(piece, &mut line)?;
        log.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"#1 [internal] load\n#1 DONE 0.0s\n#12 0.123 error: x\n#12 1.5 \nerror: failed\n";

    fn lines(selection: &Selection) -> Vec<String> {
        let mut lines = Vec::new();
        let take = |line: &[u8]| -> io::Result<()> {
            lines.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        };
        each(LOG, selection, take).unwrap();
        lines
    }

    #[test]
    fn a_prefix_is_taken_apart() {
        assert_eq!(parse(b"#12 0.123 a b"), Line { step: Some(12), seconds: Some(b"0.123"), text: b"a b" });
        assert_eq!(parse(b"#12 DONE 0.1s"), Line { step: Some(12), seconds: None, text: b"DONE 0.1s" });
        assert_eq!(parse(b"#x"), Line { step: None, seconds: None, text: b"#x" });
        assert_eq!(parse(b"#12 5 apples"), Line { step: Some(12), seconds: None, text: b"5 apples" });
    }

    #[test]
    fn lines_are_selected_by_step_by_regex_and_without_prefix() {
        assert_eq!(lines(&Selection::default()).len(), 5);
        assert!(Selection::default().takes_everything());
        assert!(!Selection { step: Some(1), ..Selection::default() }.takes_everything());
        assert_eq!(lines(&Selection { step: Some(1), ..Selection::default() }).len(), 2);
        assert_eq!(lines(&Selection { plain: true, ..Selection::default() }), ["error: x", ""]);
        let grep = Some(Regex::new("error").unwrap());
        assert_eq!(lines(&Selection { grep, ..Selection::default() }), ["#12 0.123 error: x", "error: failed"]);
    }
}
