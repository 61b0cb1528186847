//! Following a build: its log as it is written, through all attempts until its state is final.

use std::io;

use super::terminal::{Door, To};
use super::{CliError, output};
use crate::client::{Client, unexpected};
use crate::domain::build::{Build, BuildId, BuildState};
use crate::domain::reason::{phrase, reason};
use crate::log::follow::Lines;
use crate::log::reader::Selection;
use crate::protocol::logs::BuildLog;

/// Prints the logs of a build's attempts as they are written, from this one on, and returns the final record.
pub(super) async fn until_final(
    client: &Client,
    id: BuildId,
    mut attempt: u32,
    selection: &Selection,
    to: To,
) -> Result<Build, CliError> {
    loop {
        let build = until_over(client, BuildLog::of(id, attempt), selection, to).await?;
        if build.state.is_final() {
            return Ok(build);
        }
        if let Some(past) = build.past_attempts.iter().find(|past| past.number == attempt) {
            let (most, state) = (build.most_attempts.unwrap_or(attempt), BuildState::from(past.outcome));
            output::warn(reason!("build.attempt_failed", id, attempt, most, state, why = past.reason));
        }
        attempt += 1;
    }
}

/// Prints the log of an attempt as it is written until it is over, and returns the build's record.
async fn until_over(client: &Client, log: BuildLog, selection: &Selection, to: To) -> Result<Build, CliError> {
    let mut last = None;
    let mut failed = None;
    let ended = async {
        let is_over = |build: &Build| log.attempt.is_some_and(|attempt| attempt < build.present_attempt());
        match client.wait_until(log.id, is_over, say_why_it_waits).await {
            Ok(build) => last = Some(build),
            Err(error) => failed = Some(error),
        }
    };
    let mut lines = Lines::default();
    let mut out = Door::to(to);
    let whole = selection.takes_everything();
    let take = |chunk: &[u8]| -> Result<(), CliError> {
        let printed = if whole && out.takes_pieces() {
            out.log_piece(chunk)
        } else {
            lines.push(chunk, |line| selection.select(line).map_or(Ok(()), |wanted| out.log_line(wanted)))
        };
        printed.and_then(|()| out.flush()).map_err(printing_log)
    };
    client.follow_log(log, ended, take).await?;
    // A runner that was killed may have left half a line.
    let finished = lines.finish(|line| selection.select(line).map_or(Ok(()), |wanted| out.log_line(wanted)));
    finished.and_then(|()| out.flush()).map_err(printing_log)?;
    match (last, failed) {
        (Some(build), _) => Ok(build),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(unexpected().into()),
    }
}

/// On the way to its end a build may wait for things that only a person can mend.
fn say_why_it_waits(build: &Build) {
    if build.state.is_waiting() && !build.reason.is_empty() {
        output::warn(reason!("build.with_reason", id = build.id, state = build.state, reason = build.reason));
    }
}

/// What failed while a log was printed.
pub(super) fn printing_log(error: io::Error) -> CliError {
    output::printing(phrase!("verb.print_the_log"))(error)
}

impl From<io::Error> for CliError {
    fn from(source: io::Error) -> CliError {
        CliError::Io { doing: phrase!("verb.follow_the_log").into(), source }
    }
}
