//! A log file as a person moves in it: by lines, from any place, at the same cost whatever its length.
//!
//! A line is named by the byte at which it begins. Only what is asked for is read, and never mapped: a file that is cut while
//! it is read is an end, not a crash.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// So much is read at once, in bytes: the lines of a screen, most often.
const PIECE: u64 = 16 * 1024;
/// So many pieces are kept that were read last.
const PIECES: usize = 4;
/// More of a line than this is not kept in memory: nobody reads it on a screen.
pub const LONGEST_LINE: usize = 256 * 1024;

/// A log that may still grow.
#[derive(Debug)]
pub struct LogFile {
    /// Its name, where another file may get it: then that is the log. None: it is this very file for ever.
    path: Option<PathBuf>,
    file: File,
    inode: u64,
    length: u64,
    /// What was read last. A log only grows, so it stays right.
    pieces: Mutex<VecDeque<Piece>>,
}

/// A part of a log that begins at a multiple of [`PIECE`].
#[derive(Debug, Clone)]
struct Piece {
    start: u64,
    bytes: Arc<[u8]>,
}

impl Piece {
    /// Its bytes from a place in it on.
    fn from(&self, at: u64) -> &[u8] {
        let skipped = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        self.bytes.get(skipped..).unwrap_or_default()
    }

    /// Its bytes before a place.
    fn before(&self, end: u64) -> &[u8] {
        let length = usize::try_from(end - self.start).unwrap_or(usize::MAX).min(self.bytes.len());
        &self.bytes[..length]
    }
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// The byte at which it begins.
    pub start: u64,
    /// The byte after its end, its newline included.
    pub end: u64,
    /// What it says, without its end; cut at [`LONGEST_LINE`].
    pub text: Vec<u8>,
}

impl LogFile {
    /// Opens a log.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path) -> io::Result<LogFile> {
        LogFile::of(File::open(path)?, Some(path.to_owned()))
    }

    /// A log that is open.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn of(file: File, path: Option<PathBuf>) -> io::Result<LogFile> {
        let meta = file.metadata()?;
        Ok(LogFile { path, inode: meta.ino(), length: meta.len(), file, pieces: Mutex::default() })
    }

    /// Bytes, as far as they were looked at.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// A name under which the kernel tells of changes of this very file.
    pub fn watched_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Another handle on the same file, for a thread.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn another(&self) -> io::Result<LogFile> {
        Ok(LogFile {
            path: self.path.clone(),
            file: self.file.try_clone()?,
            inode: self.inode,
            length: self.length,
            pieces: Mutex::default(),
        })
    }

    /// Looks how long it is now, and whether another file has its name.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub fn refresh(&mut self) -> io::Result<Change> {
        let length = self.file.metadata()?.len();
        if let Some(path) = &self.path {
            let same = std::fs::metadata(path).is_ok_and(|meta| meta.ino() == self.inode);
            if (!same || length < self.length) && path.exists() {
                *self = LogFile::open(&path.clone())?;
                return Ok(Change::Another);
            }
        } else if length < self.length {
            *self = LogFile::of(self.file.try_clone()?, None)?;
            return Ok(Change::Another);
        }
        let grown = length > self.length;
        self.length = length;
        Ok(if grown { Change::Grown } else { Change::None })
    }

    /// Reads bytes from a place on; fewer at the end.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read(&self, start: u64, most: usize) -> io::Result<Vec<u8>> {
        let most = usize::try_from(self.length.saturating_sub(start)).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; most];
        let mut filled = 0;
        while filled < most {
            match self.file.read_at(&mut bytes[filled..], start + filled as u64) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// The line that begins at a place; none at the end.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn line(&self, start: u64) -> io::Result<Option<FileLine>> {
        let (mut text, mut at) = (Vec::new(), start);
        loop {
            let piece = self.piece(at)?;
            let bytes = piece.from(at);
            if bytes.is_empty() {
                return Ok((at > start).then_some(FileLine { start, end: at, text }));
            }
            let newline = memchr::memchr(b'\n', bytes);
            let length = newline.unwrap_or(bytes.len());
            let room = LONGEST_LINE.saturating_sub(text.len());
            text.extend_from_slice(&bytes[..length.min(room)]);
            at += length as u64;
            if newline.is_some() {
                return Ok(Some(FileLine { start, end: at + 1, text }));
            }
        }
    }

    /// Where the line before a place begins; none at the beginning.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn before(&self, start: u64) -> io::Result<Option<u64>> {
        if start == 0 {
            return Ok(None);
        }
        // The byte before is that line's own end.
        self.start_of(start - 1).map(Some)
    }

    /// Where the line begins that a byte belongs to.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn start_of(&self, byte: u64) -> io::Result<u64> {
        let mut end = byte.min(self.length);
        while end > 0 {
            let piece = self.piece(end - 1)?;
            if let Some(newline) = memchr::memrchr(b'\n', piece.before(end)) {
                return Ok(piece.start + newline as u64 + 1);
            }
            end = piece.start;
        }
        Ok(0)
    }

    /// The piece that a byte is in, read where it is not known yet, or has grown.
    fn piece(&self, at: u64) -> io::Result<Piece> {
        let start = at - at % PIECE;
        let whole = usize::try_from(self.length.saturating_sub(start).min(PIECE)).unwrap_or_default();
        // A thread that panicked left pieces behind that are as good as they were.
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = pieces.iter().find(|piece| piece.start == start && piece.bytes.len() >= whole) {
            return Ok(known.clone());
        }
        let piece = Piece { start, bytes: self.read(start, whole)?.into() };
        pieces.retain(|known| known.start != start);
        pieces.truncate(PIECES - 1);
        pieces.push_front(piece.clone());
        Ok(piece)
    }

    /// Where the last line begins; 0 in an empty log.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn last(&self) -> io::Result<u64> {
        Ok(self.before(self.length)?.unwrap_or(0))
    }
}

/// What became of a log since it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// There is more of it.
    Grown,
    /// It was cut, or another file has its place: no place in it is what it was.
    Another,
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

    /// All lines, forwards and backwards.
    fn both_ways(log: &LogFile) -> (Vec<u64>, Vec<u64>) {
        let (mut down, mut at) = (Vec::new(), 0);
        while let Some(line) = log.line(at).unwrap() {
            down.push(line.start);
            at = line.end;
        }
        let (mut up, mut at) = (Vec::new(), log.length());
        while let Some(start) = log.before(at).unwrap() {
            up.push(start);
            at = start;
        }
        up.reverse();
        (down, up)
    }

    #[test]
    fn lines_are_the_same_forwards_and_backwards_wherever_the_pieces_are_cut() {
        let long = "x".repeat(3 * PIECE as usize + 17);
        for text in ["", "a", "a\n", "\n\n", "one\ntwo\nthree", &format!("a\n{long}\nb\n{long}")] {
            let (_directory, log) = log(text.as_bytes());
            let (down, up) = both_ways(&log);
            assert_eq!(down, up, "{} bytes", text.len());
            assert_eq!(down.len(), text.lines().count());
        }
    }

    #[test]
    fn a_line_that_grew_is_read_again_whatever_was_read_before() {
        let (directory, mut log) = log(b"one\ntw");
        assert_eq!(log.line(4).unwrap().unwrap().text, b"tw");
        std::fs::write(directory.path().join("log"), b"one\ntwo\nthree\n").unwrap();
        assert_eq!(log.line(4).unwrap().unwrap().text, b"tw", "nothing is new before it is looked at");
        log.refresh().unwrap();
        assert_eq!(log.line(4).unwrap().unwrap().text, b"two");
        assert_eq!(log.last().unwrap(), 8);
    }

    #[test]
    fn a_line_without_an_end_takes_bounded_memory() {
        let (_directory, log) = log(&vec![b'x'; LONGEST_LINE * 3]);
        let line = log.line(0).unwrap().unwrap();
        assert_eq!((line.text.len(), line.end), (LONGEST_LINE, LONGEST_LINE as u64 * 3));
    }

    #[test]
    fn growing_cutting_and_replacing_are_told_apart() {
        let (directory, mut log) = log(b"one\n");
        assert_eq!(log.refresh().unwrap(), Change::None);
        let path = directory.path().join("log");
        std::fs::write(&path, b"one\ntwo\n").unwrap();
        assert_eq!(log.refresh().unwrap(), Change::Grown);
        std::fs::write(&path, b"1\n").unwrap();
        assert_eq!(log.refresh().unwrap(), Change::Another);
        std::fs::write(directory.path().join("other"), b"another, and longer\n").unwrap();
        std::fs::rename(directory.path().join("other"), &path).unwrap();
        assert_eq!(log.refresh().unwrap(), Change::Another);
        assert_eq!(log.length(), 20);
    }
}
