//! What a commit says and changes: its message, and the files that differ from an earlier one. Read by git from a
//! repository on this disk, and never more of it than a limit.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::access::Access;
use super::program::{GitCommand, Limits};
use super::stderr;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::reason;
use crate::source::error::{Kind, SourceError};
use crate::source::url::SourceUrl;
use crate::sys::command::RunError;

/// The longest message that is kept, in bytes.
pub const LONGEST_MESSAGE: usize = 64 * 1024;
/// The longest subject that is kept, in bytes.
pub const LONGEST_SUBJECT: usize = 1024;
/// The longest header of a commit that is looked at, in bytes.
const LONGEST_HEADER: usize = 4096;
/// More files than this are not listed: the caller takes all for changed.
pub const MOST_CHANGED: usize = 100_000;
/// Their paths are shorter together, in bytes.
const MOST_PATHS: usize = 16 << 20;
/// The address space of a git that reads a commit: it holds a whole object in memory. In bytes.
const MEMORY: u64 = 2 << 30;
/// Between trees of hundreds of thousands of files, on a disk that is busy.
const TIME: Duration = Duration::from_secs(60);

/// Which commit is looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wanted {
    /// The clone of the source, where it is on another machine.
    pub store: std::path::PathBuf,
    /// The ref that points at it.
    pub reference: Ref,
    /// The commit.
    pub commit: CommitId,
    /// The commits that it is compared with.
    pub since: Vec<CommitId>,
    /// The commit whose history it may be a part of.
    pub within: Option<CommitId>,
}

/// What is known of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its message, at most [`LONGEST_MESSAGE`] of it.
    pub message: String,
    /// When it was committed; none where the commit does not say so in a way that git writes.
    pub committed_at: Option<DateTime<Utc>>,
    /// The files that differ from each commit that it was to be compared with, by their paths from the root; those
    /// commits that are not to be had, or differ in more than [`MOST_CHANGED`] files, are left out.
    pub changed: BTreeMap<CommitId, Vec<String>>,
    /// Whether it is a part of the history that was asked for; none where none was, or that can't be told.
    pub is_within: Option<bool>,
}

/// That an id is one of a tree or a blob: a tag may name anything.
pub(super) fn not_a_commit(url: &SourceUrl, id: &CommitId, kind: &str) -> SourceError {
    SourceError::new(Kind::NoRef, url, reason!("source.not_a_commit", id = id.to_string(), kind))
}

/// Collects a message of any length, and keeps as much of it as the limits allow.
#[derive(Debug, Default)]
pub(crate) struct Message {
    kept: Vec<u8>,
    /// The subject was longer and is cut; what follows up to its line's end is dropped.
    cut: bool,
    has_subject: bool,
}

impl Message {
    /// Takes a part of it.
    pub(crate) fn take(&mut self, part: &[u8]) {
        for byte in part {
            if self.kept.is_empty() && byte.is_ascii_whitespace() {
                continue;
            }
            self.has_subject |= *byte == b'\n';
            self.cut |= !self.has_subject && self.kept.len() >= LONGEST_SUBJECT;
            if self.has_subject || !self.cut {
                if self.kept.len() >= LONGEST_MESSAGE {
                    return;
                }
                self.kept.push(*byte);
            }
        }
    }

    /// Whether no more is kept.
    pub(crate) fn is_full(&self) -> bool {
        self.kept.len() >= LONGEST_MESSAGE
    }

    /// What is kept, without half a character at a cut.
    pub(crate) fn text(self) -> String {
        let is_cut = self.cut || self.is_full();
        let text = String::from_utf8_lossy(&self.kept).into_owned();
        if !is_cut {
            return text;
        }
        let mut text = text;
        while text.ends_with(char::REPLACEMENT_CHARACTER) {
            text.pop();
        }
        match text.split_once('\n') {
            Some((subject, rest)) => format!("{}\n{rest}", subject.trim_end_matches(char::REPLACEMENT_CHARACTER)),
            None => text,
        }
    }
}

/// Reads a commit; `git` makes command lines for the repository.
pub(super) async fn read(
    git: impl Fn() -> GitCommand,
    url: &SourceUrl,
    wanted: &Wanted,
) -> Result<Commit, SourceError> {
    let Text { message, committed_at } = match tokio::time::timeout(TIME, text(git(), git(), url, &wanted.commit)).await
    {
        Ok(text) => text?,
        Err(_) => {
            return Err(SourceError::new(Kind::Local, url, reason!("source.commit_too_slow", commit = wanted.commit)));
        }
    };
    let mut changed = BTreeMap::new();
    for since in &wanted.since {
        if let Some(paths) = differing(git(), since, &wanted.commit).await {
            changed.insert(since.clone(), paths);
        }
    }
    let is_within = match &wanted.within {
        Some(later) => is_ancestor(git(), &wanted.commit, later).await,
        None => None,
    };
    Ok(Commit { message, committed_at, changed, is_within })
}

/// Whether a commit is a part of the history of a later one; none where that can't be told.
async fn is_ancestor(mut git: GitCommand, commit: &CommitId, later: &CommitId) -> Option<bool> {
    git.args(["merge-base", "--is-ancestor", commit.as_str(), later.as_str()]);
    let ended = git.run(Limits { time: TIME, output: MOST_PATHS, memory: Some(MEMORY) }).await;
    match ended.map(|ended| ended.status.code()) {
        Ok(Some(0)) => Some(true),
        Ok(Some(1)) => Some(false),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!("cannot tell whether {commit} is a part of the history of {later}: {error}");
            None
        }
    }
}

/// What a commit's object says.
#[derive(Debug, PartialEq, Eq)]
struct Text {
    message: String,
    committed_at: Option<DateTime<Utc>>,
}

async fn text(mut git: GitCommand, again: GitCommand, url: &SourceUrl, commit: &CommitId) -> Result<Text, SourceError> {
    let cannot = |error: std::io::Error| SourceError::io(url, reason!("source.git_not_run", error), &error);
    git.args(["cat-file", "commit", commit.as_str()]);
    let mut running = git.start(Some(MEMORY)).map_err(cannot)?;
    if let Some(text) = parse(&mut running.stdout).await.map_err(cannot)? {
        return Ok(text);
    }
    let (_, said) = running.end().await.map_err(cannot)?;
    let error = stderr::error_of(url, &Access::default(), &said);
    if let Some(kind) = kind_of(again, commit).await.filter(|kind| kind != "commit") {
        return Err(not_a_commit(url, commit, &kind));
    }
    Err(match error.kind {
        Kind::TooBig => error.advising(reason!("advice.shorten_message")),
        Kind::Damaged | Kind::Owner => error,
        _ => SourceError::new(Kind::NoCommit, url, reason!("source.no_commit", commit)),
    })
}

/// The kind of an object; none where it is not there.
async fn kind_of(mut git: GitCommand, id: &CommitId) -> Option<String> {
    git.args(["cat-file", "-t", id.as_str()]);
    let ended = git.run(Limits { time: TIME, output: 1024, memory: Some(MEMORY) }).await.ok()?;
    let kind = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    (!kind.is_empty()).then_some(kind)
}

/// Reads a commit's object: its headers, and the message that follows the first empty line; none where there is no such
/// line.
async fn parse(mut object: impl AsyncRead + Unpin) -> std::io::Result<Option<Text>> {
    let (mut block, mut message) = (vec![0; 64 * 1024], Message::default());
    let (mut in_body, mut line, mut committed_at) = (false, Vec::new(), None);
    loop {
        let read = object.read(&mut block).await?;
        if read == 0 {
            return Ok(in_body.then(|| Text { message: message.text(), committed_at }));
        }
        let mut part = &block[..read];
        while let (false, Some((byte, rest))) = (in_body, part.split_first()) {
            match byte {
                b'\n' => {
                    in_body = line.is_empty();
                    committed_at = committed_at.or_else(|| time_of(&line));
                    line.clear();
                }
                // A longer header, such as a signature of many lines, is none that is looked for.
                byte if line.len() < LONGEST_HEADER => line.push(*byte),
                _ => {}
            }
            part = rest;
        }
        message.take(part);
        if message.is_full() {
            return Ok(Some(Text { message: message.text(), committed_at }));
        }
    }
}

/// The time of a header `committer NAME <ADDRESS> SECONDS ZONE`.
fn time_of(header: &[u8]) -> Option<DateTime<Utc>> {
    let committer = header.strip_prefix(b"committer ")?;
    let after = committer.iter().rposition(|byte| *byte == b'>')? + 1;
    let seconds = std::str::from_utf8(&committer[after..]).ok()?.split_whitespace().next()?;
    DateTime::from_timestamp(seconds.parse().ok()?, 0)
}

/// The files that differ between two commits; none where that can't be told, or they are too many.
async fn differing(mut git: GitCommand, old: &CommitId, new: &CommitId) -> Option<Vec<String>> {
    // A file that was renamed is one that is gone and one that is new.
    git.args([
        "diff-tree",
        "-r",
        "-z",
        "--name-only",
        "--no-renames",
        "--no-ext-diff",
        old.as_str(),
        new.as_str(),
        "--",
    ]);
    let ended = git.run(Limits { time: TIME, output: MOST_PATHS, memory: Some(MEMORY) }).await;
    let printed = match ended {
        Ok(ended) if ended.status.success() => ended.stdout,
        Ok(_) | Err(RunError::TooMuch { .. }) => return None,
        Err(error) => {
            tracing::warn!("cannot compare {new} with {old}: {error}");
            return None;
        }
    };
    let paths = printed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    let paths: Vec<String> =
        paths.map(|path| String::from_utf8_lossy(path).into_owned()).take(MOST_CHANGED + 1).collect();
    (paths.len() <= MOST_CHANGED).then_some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(parts: &[&[u8]]) -> String {
        let mut message = Message::default();
        parts.iter().for_each(|part| message.take(part));
        message.text()
    }

    #[test]
    fn a_message_is_kept_as_it_is_up_to_its_limits() {
        assert_eq!(kept(&[b"\n a sub", b"ject\n\nbody\n"]), "a subject\n\nbody\n");
        assert_eq!(kept(&[b"caf\xe9"]), "caf\u{fffd}");
        let long = kept(&["é".repeat(5_000).as_bytes(), b"\nbody"]);
        assert_eq!(long.lines().next().unwrap().len(), LONGEST_SUBJECT);
        assert!(long.ends_with("\nbody"), "what follows a long subject is kept");
        let mut message = Message::default();
        message.take(b"subject\n");
        for _ in 0..1_000 {
            message.take("版".repeat(1_000).as_bytes());
        }
        let text = message.text();
        assert!(text.len() <= LONGEST_MESSAGE && text.ends_with('版'), "{}", text.len());
    }

    #[tokio::test]
    async fn a_message_begins_after_the_first_empty_line_of_its_commit() {
        let message = async |object: &[u8]| parse(object).await.unwrap().map(|text| text.message);
        assert_eq!(message(b"tree 1\nauthor Kim\n\nsubject\n\nbody\n").await.as_deref(), Some("subject\n\nbody\n"));
        assert_eq!(message(b"tree 1\nauthor Kim\n\n").await.as_deref(), Some(""));
        assert_eq!(message(b"").await, None);
    }

    #[tokio::test]
    async fn a_commit_says_when_it_was_committed_in_its_headers_and_not_in_its_message() {
        let time = async |object: &str| parse(object.as_bytes()).await.unwrap().unwrap().committed_at;
        let whole =
            "tree 1\nauthor Kim <k> 5 +0000\ncommitter Kim > Lee <k@x> 1600000000 +0800\ngpgsig a\n b\n\nsubject\n";
        assert_eq!(time(whole).await, DateTime::from_timestamp(1_600_000_000, 0));
        assert_eq!(time("tree 1\n\ncommitter Kim <k> 5 +0000\n").await, None);
        assert_eq!(time("committer Kim <k> soon +0000\n\n").await, None);
    }
}
