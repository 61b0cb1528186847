//! How results and errors are printed: plain text in columns, or one JSON document.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;

use clap::ValueEnum;
use clap::error::ErrorKind;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::{CliError, help};
use crate::domain::config::Config;
use crate::lang::{self, Lang, translate};
use crate::log::sanitize::Sanitizer;
use crate::store::{Home, read};
use crate::tui::widget::text::pad;

/// What our own words begin with, where a build's may stand beside them.
const OURS: &str = "slipway: ";

/// The language of people's texts: as config.toml has it, else the locale's.
static LANGUAGE: LazyLock<Lang> = LazyLock::new(|| {
    // What is wrong with the home or its config.toml is told by whoever needs them.
    let home = Home::from_env().ok().filter(|home| home.check().is_ok());
    let config = home.and_then(|home| read::load::<Config>(&home.config_file()).ok());
    Lang::choose(config.unwrap_or_default().ui.language, |name| std::env::var(name).ok())
});

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// Prints a value as JSON, or as the text that is made of it.
pub(super) fn print<T: Serialize>(format: Format, value: &T, text: impl FnOnce() -> String) -> Result<(), CliError> {
    let mut text = match format {
        Format::Text => text(),
        Format::Json => serde_json::to_string_pretty(value)
            .map_err(|error| CliError::failed(format!("cannot write JSON: {error}")))?,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    if format == Format::Text && io::stdout().is_terminal() {
        text = harmless(&text);
    }
    print_bytes(text.as_bytes())
}

/// Prints bytes to stdout; a reader that left early is no error worth words.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(CliError::OutputGone),
        other => other.map_err(CliError::io("print the result")),
    }
}

/// Says on stderr what was done or is wrong, in the language of the person.
pub(super) fn say(line: &str) {
    write_line(&match line.strip_prefix(OURS) {
        Some(line) => format!("{OURS}{}", translated(line)),
        None => translated(line).into_owned(),
    });
}

/// A text in the language of the person.
pub(super) fn translated(text: &str) -> Cow<'_, str> {
    translate(text, *LANGUAGE)
}

/// A word or a reason in a cell, in the language of the person.
pub(super) fn told(text: &str) -> String {
    translated(text).into_owned()
}

/// The language of the person.
pub(super) fn language() -> Lang {
    *LANGUAGE
}

/// Says what is wrong with the arguments, or shows the help that was asked for; the exit status.
pub(super) fn complain(error: &clap::Error) -> u8 {
    match error.kind() {
        _ if *LANGUAGE == Lang::En => drop(error.print()),
        ErrorKind::DisplayVersion => drop(error.print()),
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => help::show(error, *LANGUAGE),
        _ => {
            for line in error.render().to_string().trim_end().lines() {
                let text = line.trim_start();
                write_line(&format!("{}{}", &line[..line.len() - text.len()], translated(text)));
            }
        }
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

fn write_line(line: &str) {
    let mut err = io::stderr();
    let line = if err.is_terminal() { harmless(line) } else { line.to_owned() };
    // A stderr that is gone is no reason to fail.
    let _ = writeln!(err, "{line}");
}

/// What others wrote, such as a Dockerfile's error, moves no cursor and renames no window.
fn harmless(text: &str) -> String {
    let mut sanitizer = Sanitizer::default();
    let lines = text.split('\n').map(|line| String::from_utf8_lossy(sanitizer.line(line.as_bytes())).into_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Prints an error: text, or `{"error": {"kind", "message"}}` on stderr.
pub(super) fn error(error: &CliError, format: Format) {
    match format {
        Format::Text => say(&format!("{OURS}{error}")),
        Format::Json => {
            let kind = match error {
                CliError::Answer(answer) => serde_json::to_value(answer.kind).unwrap_or_default(),
                _ => "failed".into(),
            };
            write_line(&serde_json::json!({ "error": { "kind": kind, "message": error.to_string() } }).to_string());
        }
    }
}

/// Columns of text, as wide as their widest cell; the last one is not padded.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Table {
        Table::named(head.map(labelled))
    }

    fn named<const N: usize>(head: [&str; N]) -> Table {
        Table { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        // A line break in a cell would break the table.
        self.rows.push(cells.map(|cell| cell.replace(['\n', '\r', '\t'], " ")).to_vec());
    }

    pub(super) fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&pad(cell, width + 2));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Keys and values, one a line, the values aligned; empty values are left out.
pub(super) fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(key, _)| labelled(key).width()).max().unwrap_or(0);
    let line = |(key, value): &(&str, String)| {
        let value = value.replace('\n', &format!("\n{}", " ".repeat(width + 2)));
        format!("{}  {value}\n", pad(labelled(key), width))
    };
    pairs.iter().filter(|(_, value)| !value.is_empty()).map(line).collect()
}

/// The name of a column or field, in the language of the person.
fn labelled(name: &str) -> &str {
    lang::label(name, *LANGUAGE).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_harmless_and_stays_in_its_lines() {
        assert_eq!(harmless("a\x1b[2J\n\nb\x1b[1mc\n"), "a\n\nb\x1b[1mc\n");
    }

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let mut table = Table::named(["NAME", "STATE"]);
        table.row(["版本".into(), "ok".into()]);
        table.row(["a".into(), "line\nbreak".into()]);
        assert_eq!(table.text(), "NAME  STATE\n版本  ok\na     line break\n");
    }
}
