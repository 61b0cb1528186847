//! The refs of a source on another machine, by `git ls-remote`: read as they come, up to a limit.

use std::time::Instant;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use super::access::Access;
use super::program::GitCommand;
use super::stderr;
use crate::domain::reason::reason;
use crate::source::error::{Kind, SourceError};
use crate::source::refs::{Collector, MOST_REFS, Refs, TooMany};
use crate::source::url::SourceUrl;

/// Besides branches and tags a server may list others, such as those of pull requests: up to so much in all, in bytes.
const MOST_BYTES: usize = 128 << 20;
/// The end of a longer line is not read, in bytes.
const LONGEST_LINE: usize = 8 * 1024;
/// git holds all refs in memory before it prints the first: the address space that it gets, in bytes.
const MEMORY: u64 = 1 << 30;
/// How much is read at once.
const BLOCK: usize = 64 * 1024;

/// Why a listing ended early.
enum Cut {
    TooMany,
    Io(std::io::Error),
}

/// Lists the refs of `address` with a command line that reaches it.
pub(super) async fn list(
    mut command: GitCommand,
    address: &std::ffi::OsStr,
    url: &SourceUrl,
    access: &Access,
) -> Result<Refs, SourceError> {
    command.args(["ls-remote", "--symref", "--"]).arg(address);
    let begun = Instant::now();
    let cannot = |error: std::io::Error| SourceError::io(url, reason!("source.git_not_run", error), &error);
    let mut running = command.start(Some(MEMORY)).map_err(cannot)?;
    let work = async {
        let mut collector = Collector::default();
        let read = collect(BufReader::with_capacity(BLOCK, &mut running.stdout), &mut collector).await;
        match read {
            Ok(()) => {}
            Err(Cut::TooMany) => return Err(too_many(url)),
            Err(Cut::Io(error)) => return Err(cannot(error)),
        }
        let (status, said) = running.end().await.map_err(cannot)?;
        if status.success() {
            return Ok(Refs { moved_to: stderr::redirect(&said), ..collector.finish() });
        }
        let error = stderr::error_of(url, access, &said);
        Err(if error.kind == Kind::TooBig { too_many(url) } else { error })
    };
    let limit = access.timeout.saturating_sub(begun.elapsed());
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(SourceError::no_answer(url, access.timeout)))
}

async fn collect(mut lines: impl AsyncBufRead + Unpin, collector: &mut Collector) -> Result<(), Cut> {
    let (mut line, mut total) = (Vec::new(), 0);
    loop {
        let block = lines.fill_buf().await.map_err(Cut::Io)?;
        if block.is_empty() {
            return Ok(());
        }
        let end = memchr::memchr(b'\n', block);
        let part = &block[..end.unwrap_or(block.len())];
        let room = LONGEST_LINE.saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let consumed = part.len() + usize::from(end.is_some());
        lines.consume(consumed);
        total += consumed;
        if total > MOST_BYTES {
            return Err(Cut::TooMany);
        }
        if end.is_some() {
            collector.line(&line).map_err(|TooMany| Cut::TooMany)?;
            line.clear();
        }
    }
}

fn too_many(url: &SourceUrl) -> SourceError {
    SourceError::new(Kind::TooManyRefs, url, reason!("source.too_many_refs", most = MOST_REFS))
}
