//! Reading TOML into types, with errors that a person can act on: file, line, column, and the key that was meant.
//!
//! The `schema` key is looked at and taken out before a type sees the file, so that no type has to know it.

use std::fmt::Write;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema;
use crate::domain::reason::{AsReason, Reason, display_as_reason, io_error_of, joined, output, quoted, reason};
use crate::log::sanitize::is_hidden;

/// A file that could not be read. It stays as it is.
///
/// Its display is one line, `file:line:column: what is wrong`; [`ReadError::excerpt`] shows the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// Where in it; none where the file as a whole can't be read.
    pub place: Option<Place>,
    /// What is wrong, one sentence.
    pub reason: Reason,
    /// The file does not exist.
    pub missing: bool,
}

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub width: usize,
    /// The line's text.
    pub text: String,
}

impl std::error::Error for ReadError {}

display_as_reason!(ReadError);

impl AsReason for ReadError {
    fn reason(&self) -> Reason {
        let ReadError { path, reason, .. } = self;
        match &self.place {
            Some(Place { line, column, .. }) => reason!("read.at_place", path, line, column, reason),
            None => reason!("read.file", path, reason),
        }
    }
}

impl ReadError {
    /// The line that is wrong with carets under the place, ending in a newline; empty where there is no place.
    ///
    /// ```text
    ///   |
    /// 3 | auot = true
    ///   | ^^^^
    /// ```
    pub fn excerpt(&self) -> String {
        let Some(place) = &self.place else { return String::new() };
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands where the terminal puts the place. Nothing else may control it, nor
        // take no place at all.
        let visible = |c: char| if c.is_control() && c != '\t' || is_hidden(c) { '\u{fffd}' } else { c };
        let text: String = place.text.chars().map(visible).collect();
        let indent: String =
            place.text.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let mut out = String::new();
        let _ = writeln!(out, "{gutter} |");
        let _ = writeln!(out, "{number} | {text}");
        let _ = writeln!(out, "{gutter} | {indent}{}", "^".repeat(place.width));
        out
    }

    /// The same error with the file named as seen from `directory`, such as the home.
    pub fn seen_from(mut self, directory: &Path) -> ReadError {
        if let Ok(relative) = self.path.strip_prefix(directory) {
            self.path = relative.to_owned();
        }
        self
    }

    fn io(path: &Path, error: &io::Error) -> ReadError {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => reason!("read.no_such_file"),
            io::ErrorKind::PermissionDenied => reason!("read.permission_denied"),
            _ => reason!("read.failed", error),
        };
        ReadError { path: path.to_owned(), place: None, reason, missing: error.kind() == io::ErrorKind::NotFound }
    }

    fn at(path: &Path, text: &str, span: Option<Range<usize>>, reason: impl Into<Reason>) -> ReadError {
        let place = span.map(|span| Place::of(text, span));
        ReadError { path: path.to_owned(), place, reason: reason.into(), missing: false }
    }
}

impl Place {
    /// The place of a range of bytes.
    fn of(text: &str, span: Range<usize>) -> Place {
        let start = floor(text, span.start);
        let end = floor(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let characters = |range: Range<usize>| text[range].chars().count();
        Place {
            line: text[..start].matches('\n').count() + 1,
            column: characters(line_start..start) + 1,
            width: characters(start..end.min(line_end).max(start)).max(1),
            text: text[line_start..line_end].trim_end_matches('\r').to_owned(),
        }
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Opens a file to read it. A pipe or a device is not waited for: it is none.
///
/// # Errors
/// When it is not there, can't be opened or is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io_error_of(io::ErrorKind::InvalidInput, reason!("read.not_regular", path))),
    }
}

/// Reads a file.
///
/// # Errors
/// When it is not there (`missing`), is no TOML, was written by a newer slipway, or does not say what `T` needs.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ReadError> {
    parse(path, &text(path)?)
}

/// Reads the text of a file, which must be UTF-8; the mark that some editors begin it with is left out.
///
/// # Errors
/// When it is not there (`missing`), can't be read, or is not UTF-8.
pub fn text(path: &Path) -> Result<String, ReadError> {
    let bytes = std::fs::read(path).map_err(|e| ReadError::io(path, &e))?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).map(<[u8]>::to_vec).unwrap_or(bytes);
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        // Up to there the lossy text is the same, byte for byte.
        ReadError::at(path, &text, Some(at..at), reason!("read.not_utf8"))
    })
}

/// Reads `text`, the content of the file `path`.
///
/// # Errors
/// As of [`load`].
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ReadError> {
    let syntax = |e: toml::de::Error| ReadError::at(path, text, e.span(), syntax_reason(&e, text));
    let mut root = DeTable::parse(text).map_err(syntax)?;
    if let Some(version) = root.get_mut().remove(schema::KEY) {
        check_schema(version.get_ref()).map_err(|reason| ReadError::at(path, text, Some(version.span()), reason))?;
    }
    T::deserialize(toml::de::Deserializer::from(root)).map_err(|error| {
        // The tree went into the deserialiser; it is made again to name the key that the error is about.
        let tree = DeTable::parse(text).ok();
        let key = error.span().and_then(|span| key_at(tree.as_ref()?.get_ref(), &span));
        let whole = error.span().is_some_and(|span| span.start == 0 && span.end >= text.trim_end().len());
        let span = if whole { Some(0..0) } else { error.span() };
        // Types that read themselves say only in which table the unknown key is.
        let unknown = split_unknown(error.message(), "unknown field ").map(|(key, _)| key);
        let inner = unknown.zip(error.span()).and_then(|(key, span)| key_span(tree.as_ref()?.get_ref(), &span, key));
        let span = inner.or(span);
        ReadError::at(path, text, span, meaning(error.message(), key.as_deref()))
    })
}

fn check_schema(value: &DeValue<'_>) -> Result<(), Reason> {
    let number = match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    match number {
        Some(schema::CURRENT) => Ok(()),
        Some(found) if found > schema::CURRENT => Err(schema::newer(found, schema::CURRENT)),
        Some(found) => Err(reason!("schema.written_by_older", found, current = schema::CURRENT)),
        None => Err(reason!("schema.no_number", current = schema::CURRENT)),
    }
}

/// The dotted path of the key whose value (or whose name) is at `span`.
fn key_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        if value.span() == *span || key.span() == *span {
            return Some(name.to_string());
        }
        let below = key_in(value.get_ref(), span)?;
        Some(if below.is_empty() { name.to_string() } else { format!("{name}.{below}") })
    })
}

/// Where the key `name` of the table at `span` is.
fn key_span(table: &DeTable<'_>, span: &Range<usize>, name: &str) -> Option<Range<usize>> {
    fn within(value: &Spanned<DeValue<'_>>, span: &Range<usize>, name: &str) -> Option<Range<usize>> {
        match value.get_ref() {
            DeValue::Table(table) if value.span() == *span => Some(table.get_key_value(name)?.0.span()),
            DeValue::Table(table) => key_span(table, span, name),
            DeValue::Array(array) => array.iter().find_map(|element| within(element, span, name)),
            _ => None,
        }
    }
    table.values().find_map(|value| within(value, span, name))
}

fn key_in(value: &DeValue<'_>, span: &Range<usize>) -> Option<String> {
    match value {
        DeValue::Table(table) => key_at(table, span),
        DeValue::Array(array) => array.iter().find_map(|element| {
            if element.span() == *span { Some(String::new()) } else { key_in(element.get_ref(), span) }
        }),
        _ => None,
    }
}

fn syntax_reason(error: &toml::de::Error, text: &str) -> Reason {
    let message = error.message();
    if message == "duplicate key" {
        let key = error.span().and_then(|span| text.get(span)).unwrap_or_default();
        return reason!("toml.key_twice", key = quoted(key.trim_matches(['"', '\''])));
    }
    reason!("toml.syntax", message = output(message))
}

/// What serde's message means.
fn meaning(message: &str, key: Option<&str>) -> Reason {
    if let Some((unknown, known)) = split_unknown(message, "unknown field ") {
        return with_nearest(reason!("toml.unknown_key", key = quoted(unknown)), unknown, &known);
    }
    if let Some(field) = message.strip_prefix("missing field ").map(|rest| rest.trim_matches('`')) {
        return match key {
            Some(key) => reason!("toml.key_missing_in", field = quoted(field), key),
            None => reason!("toml.key_missing", field = quoted(field)),
        };
    }
    let what = if let Some((unknown, known)) = split_unknown(message, "unknown variant ") {
        with_nearest(reason!("toml.unknown_value", value = quoted(unknown)), unknown, &known)
    } else if let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|message| message.split_once(", expected "))
    {
        reason!("toml.wrong_type", found = in_toml(&found.replace('`', "")), expected = in_toml(expected))
    } else {
        Reason::verbatim(message)
    };
    match key {
        Some(key) => reason!("toml.inside", key, what),
        None => what,
    }
}

/// Serde's word for a type in the words of TOML.
fn in_toml(word: &str) -> Reason {
    match word {
        "map" | "a map" => reason!("toml_type.table"),
        "sequence" | "a sequence" => reason!("toml_type.array"),
        "u8" | "u16" | "u32" | "u64" | "usize" => reason!("toml_type.natural"),
        "i8" | "i16" | "i32" | "i64" | "isize" => reason!("toml_type.integer"),
        word if word.starts_with("struct ") => reason!("toml_type.table"),
        "a boolean" => reason!("toml_type.boolean"),
        "a string" => reason!("toml_type.string"),
        word => Reason::verbatim(word),
    }
}

/// The unknown word of serde's message, and those that it knows.
fn split_unknown<'a>(message: &'a str, prefix: &str) -> Option<(&'a str, Vec<&'a str>)> {
    // A key may hold anything, a backquote and a comma too; what serde adds follows the last such mark.
    let rest = message.strip_prefix(prefix)?.strip_prefix('`')?;
    let (unknown, known) = ["`, expected ", "`, there are no "].iter().find_map(|mark| rest.rsplit_once(mark))?;
    Some((unknown, known.split('`').skip(1).step_by(2).collect()))
}

fn with_nearest(problem: Reason, unknown: &str, known: &[&str]) -> Reason {
    match nearest(unknown, known) {
        Some(near) => reason!("toml.did_you_mean", problem, near = quoted(near)),
        None if known.is_empty() => reason!("toml.no_key_belongs", problem),
        None => reason!("toml.known_here", problem, known = joined(known)),
    }
}

/// The word that was probably meant; none where all are far off.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&lower, &known.to_lowercase());
    let (distance, near) = known.iter().map(|known| (distance(known), *known)).min_by_key(|(distance, _)| *distance)?;
    // One slip for every three characters, and one in short words.
    (distance <= (word.chars().count() / 3).max(1)).then_some(near)
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
