//! Following a build: its log as it is written, until its state is final, through every retry where that is wanted.

use std::io::{self, IsTerminal, Write};

use super::{CliError, output};
use crate::domain::build::{Build, BuildId, BuildState};
use crate::log::follow::{Lines, follow};
use crate::log::reader::Selection;
use crate::log::sanitize::Sanitizer;
use crate::pool::client;
use crate::store::{Home, builds};

/// Where a log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The result of a command.
    Stdout,
    /// Its progress.
    Stderr,
}

/// Prints a build's log as it is written and returns the final record.
pub(super) async fn until_final(home: &Home, id: BuildId, selection: &Selection, to: To) -> Result<Build, CliError> {
    let mut last = None;
    let mut failed = None;
    let ended = async {
        match client::wait_for(home, id, say_why_it_waits).await {
            Ok(build) => last = Some(build),
            Err(error) => failed = Some(error),
        }
    };
    let mut lines = Lines::default();
    let mut out = Printer::new(to);
    let log = home.build_dir(id.0).join(builds::LOG);
    let whole = selection.takes_everything();
    let take = |chunk: &[u8]| -> Result<(), CliError> {
        if whole && out.takes_pieces() {
            out.piece(chunk)?;
        } else {
            lines.push(chunk, |line| selection.select(line).map_or(Ok(()), |wanted| out.line(wanted)))?;
        }
        out.flush()
    };
    follow(&log, ended, take).await?;
    // A runner that was killed may have left half a line.
    lines.finish(|line| selection.select(line).map_or(Ok(()), |wanted| out.line(wanted)))?;
    out.flush()?;
    match (last, failed) {
        (Some(build), _) => Ok(build),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(client::unexpected().into()),
    }
}

/// On the way to its end a build may wait for things that only a person can mend.
fn say_why_it_waits(build: &Build) {
    if matches!(build.state, BuildState::Queued | BuildState::Held) && !build.reason.is_empty() {
        output::say(&format!("slipway: build {} {}: {}", build.id, build.state, build.reason));
    }
}

/// Prints the logs of a build and of the retries that follow it by themselves; the final record of the last one.
pub(super) async fn through_retries(home: &Home, mut id: BuildId, to: To) -> Result<Build, CliError> {
    loop {
        let build = until_final(home, id, &Selection::default(), to).await?;
        match build.retried_as.filter(|_| matches!(build.state, BuildState::Failed | BuildState::Interrupted)) {
            Some(next) => {
                output::say(&format!("slipway: build {id} {}: {}", build.state, build.reason));
                id = next;
            }
            None => return Ok(build),
        }
    }
}

/// Prints a log's lines: to a terminal only what a terminal may have, else every byte.
pub(super) struct Printer {
    out: Box<dyn Write>,
    sanitizer: Option<Sanitizer>,
}

impl Printer {
    pub(super) fn new(to: To) -> Printer {
        let (out, terminal): (Box<dyn Write>, bool) = match to {
            To::Stdout => (Box::new(io::BufWriter::with_capacity(64 * 1024, io::stdout())), io::stdout().is_terminal()),
            To::Stderr => (Box::new(io::BufWriter::new(io::stderr())), io::stderr().is_terminal()),
        };
        Printer { out, sanitizer: terminal.then(Sanitizer::default) }
    }

    /// Whether a log may be copied in pieces that are cut anywhere.
    fn takes_pieces(&self) -> bool {
        self.sanitizer.is_none()
    }

    /// Prints a piece of a log as it is.
    fn piece(&mut self, piece: &[u8]) -> Result<(), CliError> {
        self.out.write_all(piece).map_err(gone)
    }

    /// Prints a line, given without its end.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), CliError> {
        let written = match &mut self.sanitizer {
            // A colour that a line does not end would colour all that follows.
            Some(sanitizer) => match sanitizer.line(line) {
                line if line.contains(&0x1b) => self.out.write_all(line).and_then(|()| self.out.write_all(b"\x1b[0m")),
                line => self.out.write_all(line),
            },
            None => self.out.write_all(line),
        };
        written.and_then(|()| self.out.write_all(b"\n")).map_err(gone)
    }

    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(gone)
    }
}

fn gone(error: io::Error) -> CliError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return CliError::OutputGone;
    }
    CliError::Io { doing: "print the log".into(), source: error }
}

impl From<io::Error> for CliError {
    fn from(source: io::Error) -> CliError {
        CliError::Io { doing: "follow the log".into(), source }
    }
}
