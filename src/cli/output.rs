//! How results and errors are printed: plain text in columns, or one JSON document.

use std::io;
use std::sync::LazyLock;

use clap::ValueEnum;
use clap::error::ErrorKind;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::terminal::{Door, To};
use super::{CliError, complaint, help};
use crate::client::Client;
use crate::client::preferences::Preferences;
use crate::domain::reason::{Phrase, Reason, as_texts, phrase, reason};
use crate::lang::{self, Lang};
use crate::log::sanitize::{printable, printable_lines};
use crate::tui::widget::text::{fit_middle, pad};

/// What our own words begin with, where a build's may stand beside them.
const OURS: &str = "slipway: ";

/// A cell that is wider would push all that follows it off a terminal.
const WIDEST: usize = 60;

/// The language of people's texts: as config.toml has it, else the locale's.
static LANGUAGE: LazyLock<Lang> = LazyLock::new(|| {
    // What is wrong with the home or its config.toml is told by whoever needs them.
    let preferences = Client::from_env().map(|client| client.preferences(&Preferences::default())).unwrap_or_default();
    Lang::choose(preferences.config.ui.language, |name| std::env::var(name).ok())
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
        Format::Json => as_texts(|| serde_json::to_string_pretty(value))
            .map_err(|error| CliError::failed(reason!("cli.json_not_written", error)))?,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    to_stdout(|door| match format {
        Format::Text => door.text(&text),
        Format::Json => door.json(&text),
    })
}

/// Prints a text for people.
pub(super) fn print_text(text: &str) -> Result<(), CliError> {
    to_stdout(|door| door.text(text))
}

/// Prints bytes that slipway made alone.
pub(super) fn print_own(bytes: &[u8]) -> Result<(), CliError> {
    to_stdout(|door| door.own(bytes))
}

fn to_stdout(print: impl FnOnce(&mut Door) -> io::Result<()>) -> Result<(), CliError> {
    let mut door = Door::to(To::Stdout);
    print(&mut door).and_then(|()| door.flush()).map_err(printing(phrase!("verb.print_the_result")))
}

/// What failed while something was printed; a reader that left early is no error worth words.
pub(super) fn printing(doing: Phrase) -> impl Fn(io::Error) -> CliError {
    move |error| match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::OutputGone,
        _ => CliError::io(doing)(error),
    }
}

/// Says on stderr what was done or is wrong, in the language of the person.
pub(super) fn say(reason: impl Into<Reason>) {
    write_line(&told(reason));
}

/// Says a warning on stderr, where a build's own words may stand beside it.
pub(super) fn warn(reason: impl Into<Reason>) {
    write_line(&format!("{OURS}{}", told(reason)));
}

/// A word or a reason in a cell, in the language of the person.
pub(super) fn told(reason: impl Into<Reason>) -> String {
    lang::render(&reason.into(), *LANGUAGE)
}

/// The language of the person.
pub(super) fn language() -> Lang {
    *LANGUAGE
}

/// Says what is wrong with the arguments, or shows the help that was asked for; the exit status.
pub(super) fn complain(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayVersion => drop(error.print()),
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => match *LANGUAGE {
            Lang::En => drop(error.print()),
            language => help::show(error, language),
        },
        _ if *LANGUAGE == Lang::En => complain_in_colours(error),
        _ => say(complaint::of(error)),
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// As clap would show it: it knows which of its words are worth a colour.
fn complain_in_colours(error: &clap::Error) {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let colours =
        To::Stderr.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb");
    let text = error.render();
    to_stderr(|door| match colours {
        true => text.ansi().to_string().trim_end().lines().try_for_each(|line| door.log_line(line.as_bytes())),
        false => door.text(&text.to_string()),
    });
}

fn write_line(line: &str) {
    to_stderr(|door| door.text(&format!("{line}\n")));
}

fn to_stderr(print: impl FnOnce(&mut Door) -> io::Result<()>) {
    let mut door = Door::to(To::Stderr);
    // A stderr that is gone is no reason to fail.
    let _ = print(&mut door).and_then(|()| door.flush());
}

/// Asks on stderr what is answered at the terminal; `answers` are those that there are, or "".
pub(super) fn ask(question: impl Into<Reason>, answers: &str) -> Result<(), CliError> {
    let mut door = Door::to(To::Stderr);
    let question = format!("{} {answers}", printable(&told(question)));
    door.text(&question).and_then(|()| door.flush()).map_err(CliError::io(phrase!("verb.ask")))
}

/// Prints an error: text, or `{"error": {"kind", "message"}}` on stderr.
pub(super) fn error(error: &CliError, format: Format) {
    match format {
        Format::Text => warn(error),
        Format::Json => {
            let kind = match error {
                CliError::Answer(answer) => serde_json::to_value(answer.kind).unwrap_or_default(),
                _ => "failed".into(),
            };
            let json = serde_json::json!({ "error": { "kind": kind, "message": error.to_string() } });
            to_stderr(|door| door.json(&format!("{json}\n")));
        }
    }
}

/// Columns of text, as wide as their widest cell; the last one is not padded.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(head: [Phrase; N]) -> Table {
        Table { rows: vec![head.map(|name| told(name).to_uppercase()).to_vec()] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        // A line break in a cell would break the table, a sequence without an end the next cell.
        self.rows.push(cells.map(|cell| printable(&cell).into_owned()).to_vec());
    }

    pub(super) fn text(&self) -> String {
        self.text_within(if To::Stdout.is_terminal() { WIDEST } else { usize::MAX })
    }

    /// Columns but the last are no wider than `widest`: of longer cells the middle is cut out.
    fn text_within(&self, widest: usize) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        let most = |column: usize| if column + 1 < columns { widest } else { usize::MAX };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).min(most(column))).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&pad(&fit_middle(cell, *width), width.saturating_add(2)));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Keys and values, one a line, the values aligned; empty values are left out.
pub(super) fn fields(pairs: &[(Phrase, String)]) -> String {
    let pairs: Vec<(String, &String)> = pairs.iter().map(|(name, value)| (told(*name), value)).collect();
    let width = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let line = |(name, value): &(String, &String)| {
        let value = printable_lines(value).replace('\n', &format!("\n{}", " ".repeat(width + 2)));
        format!("{}  {value}\n", pad(name, width))
    };
    pairs.iter().filter(|(_, value)| !value.is_empty()).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let mut table = Table::new([phrase!("label.name"), phrase!("label.state")]);
        table.row(["版本".into(), "ok".into()]);
        table.row(["a".into(), "line\nbreak".into()]);
        table.row(["\x1b[31mb\x1b]0;".into(), "\u{202e}ok".into()]);
        assert_eq!(table.text_within(usize::MAX), "NAME  STATE\n版本  ok\na     line break\nb0;   <202e>ok\n");
    }

    #[test]
    fn a_long_name_does_not_push_the_rest_off_a_terminal() {
        let mut table = Table::new([phrase!("label.ref"), phrase!("label.state")]);
        table.row(["feature/".to_owned() + &"x".repeat(200), "y".repeat(100)]);
        let text = table.text_within(10);
        assert_eq!(text, format!("REF         STATE\nfeat~xxxxx  {}\n", "y".repeat(100)));
    }
}
