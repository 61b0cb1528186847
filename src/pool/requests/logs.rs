//! Logs: handed over as open files, and for clients elsewhere read, indexed and searched here.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Answered, RequestContext, blocking, builds, failed};
use crate::domain::reason::{output, quoted, reason};
use crate::log::file::LogFile;
use crate::log::follow::Changes;
use crate::log::scan::{self, BLOCK, Counts, Search};
use crate::log::stderr::Stderr;
use crate::protocol::logs::{
    BuildLog, FoundLine, LONGEST_RANGE, LogFound, LogIndex, LogName, LogRange, LogSearch, MOST_HITS, MOST_PLACES,
    OpenedLog,
};
use crate::protocol::{Error, ErrorKind, Reply};
use crate::store;

/// The longest wait for output that is not there yet.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The most blocks that one search reads: 64 MiB.
const MOST_BLOCKS: u64 = 512;

/// The open files of the log of an attempt.
pub(super) async fn open(context: Arc<RequestContext>, log: BuildLog) -> Result<Answered, Error> {
    blocking(move || {
        let (attempt, path) = of_build(&context, log)?;
        let log = open_if_there(&path)?;
        let stderr = open_if_there(&Stderr::path_of(&path))?;
        let size = log.as_ref().map(File::metadata).transpose().map_err(cannot_read(&path))?.map(|meta| meta.len());
        let opened = OpenedLog { attempt, path, size, log: log.is_some(), stderr: log.is_some() && stderr.is_some() };
        // Without a log there is no list of its lines either.
        let files = log.map(|log| std::iter::once(log).chain(stderr).map(OwnedFd::from).collect()).unwrap_or_default();
        Ok(Answered { reply: Reply::LogOpened(opened), files, bytes: Vec::new() })
    })
    .await
}

/// A part of a log; with `wait`, once there is one or nothing more is to come.
pub(super) async fn read(
    context: Arc<RequestContext>,
    log: LogName,
    offset: u64,
    limit: u64,
    wait: bool,
) -> Result<Answered, Error> {
    let path = path_of(&context, log)?;
    let directory = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    // From before the first look: what changes in between is not missed.
    let mut changes = wait.then(|| Changes::of(&directory));
    let until = tokio::time::Instant::now() + LONGEST_WAIT;
    loop {
        let (path, context) = (path.clone(), context.clone());
        let (range, bytes) = blocking(move || {
            // Before the log is read: a final state comes after the last output.
            let is_final = is_final(&context, log);
            let (bytes, size) = read_part(&path, offset, limit.min(LONGEST_RANGE))?;
            Ok((LogRange { offset, length: bytes.len() as u64, size, is_final }, bytes))
        })
        .await?;
        let answered = Answered { reply: Reply::LogRange(range), files: Vec::new(), bytes };
        match &mut changes {
            Some(changes) if range.length == 0 && !range.is_final => {
                if tokio::time::timeout_at(until, changes.next()).await.is_err() {
                    return Ok(answered);
                }
            }
            _ => return Ok(answered),
        }
    }
}

fn read_part(path: &Path, offset: u64, limit: u64) -> Result<(Vec<u8>, u64), Error> {
    match LogFile::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        opened => {
            let log = opened.map_err(cannot_read(path))?;
            let bytes = log.read(offset, usize::try_from(limit).unwrap_or(usize::MAX)).map_err(cannot_read(path))?;
            Ok((bytes, log.length()))
        }
    }
}

/// How a log is divided into lines.
pub(super) async fn index(context: Arc<RequestContext>, log: LogName, every: u64) -> Result<LogIndex, Error> {
    blocking(move || {
        let path = path_of(&context, log)?;
        let Some(file) = open_if_there(&path)? else {
            return Ok(LogIndex { size: 0, lines: 0, places: Vec::new(), every });
        };
        let log = LogFile::of(file, None).map_err(cannot_read(&path))?;
        let (mut at, mut lines, mut every, mut places) = (0, 0u64, every, Vec::new());
        let mut at_start = true;
        while at < log.length() {
            let bytes = log.read(at, 1 << 20).map_err(cannot_read(&path))?;
            if bytes.is_empty() {
                break;
            }
            let starts = at_start.then_some(0).into_iter();
            let ends = memchr::memchr_iter(b'\n', &bytes).map(|end| end + 1).filter(|start| *start < bytes.len());
            for start in starts.chain(ends) {
                if every > 0 && lines.is_multiple_of(every) {
                    places.push(at + start as u64);
                }
                lines += 1;
                if places.len() as u64 > MOST_PLACES {
                    every *= 2;
                    let mut index = 0;
                    places.retain(|_| {
                        index += 1;
                        index % 2 == 1
                    });
                }
            }
            at_start = bytes.last() == Some(&b'\n');
            at += bytes.len() as u64;
        }
        Ok(LogIndex { size: at, lines, places, every })
    })
    .await
}

/// The lines of a log that match.
pub(super) async fn search(context: Arc<RequestContext>, log: LogName, search: LogSearch) -> Result<LogFound, Error> {
    blocking(move || {
        let path = path_of(&context, log)?;
        let wanted = Search::new(&search.pattern).map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().to_owned();
            Error::new(ErrorKind::Usage, reason!("request.regex", pattern = quoted(&search.pattern), why = output(why)))
        })?;
        let Some(file) = open_if_there(&path)? else { return Ok(LogFound { lines: Vec::new(), next: None, size: 0 }) };
        let log = LogFile::of(file, None).map_err(cannot_read(&path))?;
        find(&log, &wanted, &search).map_err(cannot_read(&path))
    })
    .await
}

fn find(log: &LogFile, wanted: &Search, search: &LogSearch) -> io::Result<LogFound> {
    let counts = Counts::default();
    let size = log.length();
    let mut found = LogFound { lines: Vec::new(), next: None, size };
    let from = search.from.min(size);
    // How far this answer reaches: a client that wants more asks again from there.
    let first_block = from / BLOCK;
    let end = match search.backwards {
        true => (from.div_ceil(BLOCK)).saturating_sub(MOST_BLOCKS) * BLOCK,
        false => ((first_block + MOST_BLOCKS) * BLOCK).min(size),
    };
    let mut at = from;
    loop {
        let start = if search.backwards {
            scan::previous(log, &counts, wanted, at, at.div_ceil(BLOCK) - end / BLOCK)?
        } else {
            scan::next(log, &counts, wanted, at, end.div_ceil(BLOCK).saturating_sub(at / BLOCK))?
        };
        let Some(line) = start.map(|start| log.line(start)).transpose()?.flatten() else {
            let done = if search.backwards { end == 0 } else { end == size };
            found.next = (!done).then_some(end);
            return Ok(found);
        };
        at = if search.backwards { line.start } else { line.end };
        if found.lines.len() == search.limit.clamp(1, MOST_HITS) {
            found.next = Some(if search.backwards { line.end } else { line.start });
            return Ok(found);
        }
        let text = String::from_utf8_lossy(&line.text).into_owned();
        found.lines.push(FoundLine { start: line.start, end: line.end, text });
    }
}

/// Where a log is; an error where there is no such build.
fn path_of(context: &RequestContext, log: LogName) -> Result<PathBuf, Error> {
    match log {
        LogName::Build(log) => of_build(context, log).map(|(_, log)| log),
        LogName::Stderr(log) => of_build(context, log).map(|(_, log)| Stderr::path_of(&log)),
        LogName::Pool => Ok(context.home.pool_log()),
    }
}

/// Where the log of an attempt is, with the number of the attempt.
fn of_build(context: &RequestContext, BuildLog { id, attempt }: BuildLog) -> Result<(u32, PathBuf), Error> {
    if !context.home.build_dir(id.0).is_dir() {
        return Err(builds::no_build(id));
    }
    let attempt = attempt.unwrap_or_else(|| store::builds::newest_with_output(&context.home, id));
    Ok((attempt, context.home.attempt_dir(id.0, attempt).join(store::builds::LOG)))
}

/// Whether nothing more is written into a log.
fn is_final(context: &RequestContext, log: LogName) -> bool {
    match log {
        LogName::Build(log) | LogName::Stderr(log) => {
            let is_past = |attempt| {
                let build = store::builds::load(&context.home, log.id).ok();
                build.is_some_and(|build| attempt < build.present_attempt())
            };
            !store::builds::is_open(&context.home, log.id) || log.attempt.is_some_and(is_past)
        }
        LogName::Pool => false,
    }
}

fn open_if_there(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(cannot_read(path)),
    }
}

fn cannot_read(path: &Path) -> impl Fn(io::Error) -> Error + use<'_> {
    move |error| failed(reason!("request.file", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &[u8]) -> (tempfile::TempDir, LogFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, text).unwrap();
        (directory, LogFile::open(&path).unwrap())
    }

    fn all(log: &LogFile, backwards: bool, limit: usize) -> Vec<String> {
        let wanted = Search::new("err").unwrap();
        let (mut lines, mut from) = (Vec::new(), if backwards { log.length() } else { 0 });
        loop {
            let search = LogSearch { pattern: "err".into(), from, backwards, limit };
            let found = find(log, &wanted, &search).unwrap();
            assert!(found.lines.len() <= limit);
            lines.extend(found.lines.into_iter().map(|line| line.text));
            match found.next {
                Some(next) => from = next,
                None => return lines,
            }
        }
    }

    #[test]
    fn a_search_that_is_asked_for_in_pieces_finds_each_line_once_in_either_direction() {
        let mut text = String::new();
        for number in 0..3000 {
            text.push_str(&format!("{number} {}\n", if number % 7 == 0 { "ERR" } else { "fine" }));
            // Over several blocks, one of which holds no beginning of a line.
            if number % 1000 == 500 {
                text.push_str(&"x".repeat(300 * 1024));
                text.push('\n');
            }
        }
        let (_directory, log) = log(text.as_bytes());
        let expected: Vec<String> = (0..3000).step_by(7).map(|number| format!("{number} ERR")).collect();
        for limit in [1, 10, 1000] {
            assert_eq!(all(&log, false, limit), expected);
            let mut backwards = all(&log, true, limit);
            backwards.reverse();
            assert_eq!(backwards, expected);
        }
    }
}
