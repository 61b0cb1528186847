//! The command line's only access to standard output and standard error. Foreign text is filtered here, so that it
//! cannot reach a terminal unfiltered; `clippy.toml` forbids `io::stdout` and `io::stderr` elsewhere.
#![expect(clippy::disallowed_methods, reason = "this is the door")]

use std::io::{self, BufWriter, IsTerminal as _, Write};

use crate::log::events::EventLines;
use crate::log::sanitize::{Sanitizer, printable, printable_json, printable_lines};

/// A terminal that does not know its size says 0.
const COLUMNS: usize = 80;

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The result of a command.
    Stdout,
    /// Its progress, and what went wrong.
    Stderr,
}

impl To {
    /// Whether a person reads it.
    pub(super) fn is_terminal(self) -> bool {
        match self {
            To::Stdout => io::stdout().is_terminal(),
            To::Stderr => io::stderr().is_terminal(),
        }
    }
}

/// How wide the terminal of standard error is.
pub(super) fn columns_of_stderr() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { COLUMNS } else { columns }
}

/// Whether standard input and this output are terminals.
pub(super) fn is_interactive(to: To) -> bool {
    io::stdin().is_terminal() && to.is_terminal()
}

/// The lines of the pool's own log, for a terminal.
pub(super) fn event_lines() -> EventLines<io::Stderr> {
    EventLines(io::stderr())
}

/// An open output stream that filters what is printed.
pub(super) struct Door {
    out: Box<dyn Write + Send>,
    terminal: bool,
    sanitizer: Sanitizer,
}

impl Door {
    pub(super) fn to(to: To) -> Door {
        match to {
            To::Stdout => Door::over(BufWriter::with_capacity(64 * 1024, io::stdout()), to.is_terminal()),
            To::Stderr => Door::over(BufWriter::new(io::stderr()), to.is_terminal()),
        }
    }

    /// Wraps a writer; `terminal` says whether it is a terminal.
    pub(super) fn over(out: impl Write + Send + 'static, terminal: bool) -> Door {
        Door { out: Box::new(out), terminal, sanitizer: Sanitizer::default() }
    }

    /// Whether log bytes pass unchanged, so that they can be copied in arbitrary pieces.
    pub(super) fn takes_pieces(&self) -> bool {
        !self.terminal
    }

    /// Prints text for people, without control sequences.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(printable_lines(text).as_bytes())
    }

    /// Prints a JSON document: ASCII on a terminal, else UTF-8.
    pub(super) fn json(&mut self, json: &str) -> io::Result<()> {
        match self.terminal {
            true => self.out.write_all(printable_json(json).as_bytes()),
            false => self.out.write_all(json.as_bytes()),
        }
    }

    /// Prints a log line, given without its line end: filtered, with its colours, on a terminal; else unchanged.
    pub(super) fn log_line(&mut self, line: &[u8]) -> io::Result<()> {
        let line = if self.terminal { self.sanitizer.line(line) } else { line };
        self.out.write_all(line)?;
        self.out.write_all(b"\n")
    }

    /// Prints a piece of a log unchanged; only where [`Door::takes_pieces`].
    pub(super) fn log_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        debug_assert!(self.takes_pieces());
        self.out.write_all(piece)
    }

    /// Prints bytes that hold no foreign text: completions, the manual page, a new secret.
    pub(super) fn own(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Replaces the current line of a terminal.
    pub(super) fn write_over(&mut self, line: &str) -> io::Result<()> {
        write!(self.out, "\r{}\x1b[K", printable(line))?;
        self.out.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
