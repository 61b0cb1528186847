//! Texts of a rule with `${capture}`s in them: the names of versions, the values of labels and annotations.

use super::pattern::{Captures, is_capture_name};

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text that stands as it is.
    Text(&'a str),
    /// The name of a capture.
    Capture(&'a str),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// `${` without `}`.
    Unclosed,
    /// Something in `${…}` that no capture can be called.
    CaptureName(String),
}

/// The pieces of a template, in order.
///
/// # Errors
/// When `${` is not closed, or what it encloses is no capture's name.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (text, opened) = rest.split_at(start);
        let end = opened.find('}').ok_or(TemplateError::Unclosed)?;
        let capture = &opened[2..end];
        if !is_capture_name(capture) {
            return Err(TemplateError::CaptureName(capture.into()));
        }
        pieces.extend((!text.is_empty()).then_some(Piece::Text(text)));
        pieces.push(Piece::Capture(capture));
        rest = &opened[end + 1..];
    }
    pieces.extend((!rest.is_empty()).then_some(Piece::Text(rest)));
    Ok(pieces)
}

/// The text with what the captures hold in their places; a template that does not parse stays as it is.
pub fn fill(text: &str, captures: &Captures) -> String {
    let Ok(pieces) = pieces(text) else { return text.to_owned() };
    let piece = |piece: Piece<'_>| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Capture(capture) => captures.get(capture).cloned().unwrap_or_default(),
    };
    pieces.into_iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_filled_in_and_what_they_bring_is_not_read_again() {
        let captures = Captures::from([("team".to_owned(), "a${b}".to_owned())]);
        assert_eq!(fill("x-${team}-$y ${none}.", &captures), "x-a${b}-$y .");
        assert_eq!(pieces("${"), Err(TemplateError::Unclosed));
        assert_eq!(pieces("${1}"), Err(TemplateError::CaptureName("1".into())));
    }
}
