//! Following a build: its log as it is written, until its state is final, through every retry where that is wanted.

use std::io;

use super::terminal::{Door, To};
use super::{CliError, output};
use crate::client::{Client, unexpected};
use crate::domain::build::{Build, BuildId, BuildState};
use crate::domain::reason::{phrase, reason};
use crate::log::follow::Lines;
use crate::log::reader::Selection;

/// Prints a build's log as it is written and returns the final record.
pub(super) async fn until_final(
    client: &Client,
    id: BuildId,
    selection: &Selection,
    to: To,
) -> Result<Build, CliError> {
    let mut last = None;
    let mut failed = None;
    let ended = async {
        match client.wait_for(id, say_why_it_waits).await {
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
    client.follow_log(id, ended, take).await?;
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
    if matches!(build.state, BuildState::Queued | BuildState::Held) && !build.reason.is_empty() {
        output::warn(reason!("build.with_reason", id = build.id, state = build.state, reason = build.reason));
    }
}

/// Prints the logs of a build and of the retries that follow it by themselves; the final record of the last one.
pub(super) async fn through_retries(client: &Client, mut id: BuildId, to: To) -> Result<Build, CliError> {
    loop {
        let build = until_final(client, id, &Selection::default(), to).await?;
        match build.retried_as.filter(|_| matches!(build.state, BuildState::Failed | BuildState::Interrupted)) {
            Some(next) => {
                output::warn(reason!("build.with_reason", id, state = build.state, reason = build.reason));
                id = next;
            }
            None => return Ok(build),
        }
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
