//! Writing a log: large writes, a limit, and a sidecar of what came from standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes are written once so many are there, or when the caller flushes.
const BUFFER_BYTES: usize = 256 * 1024;

/// What is kept for another try when the disk is full.
const MOST_KEPT_BYTES: usize = 4 * BUFFER_BYTES;

/// Appends lines to a log.
///
/// The sidecar, `<log>.stderr`, holds the runs of lines from standard error as pairs of little-endian 64-bit numbers:
/// the byte at which a run starts in the log, and the byte after its end.
#[derive(Debug)]
pub struct LogWriter {
    log: File,
    sidecar: PathBuf,
    runs_file: Option<File>,
    buffer: Vec<u8>,
    /// Bytes of the log so far, those in the buffer included.
    length: u64,
    /// What a build may write.
    limit: u64,
    /// A line did not fit; no other is taken.
    full: bool,
    run: Option<(u64, u64)>,
    runs: Vec<u8>,
}

impl LogWriter {
    /// A new, empty log of at most so many bytes; 0: of any length.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn create(path: &Path, limit: u64) -> io::Result<LogWriter> {
        let log = File::create(path)?;
        let mut sidecar = path.as_os_str().to_owned();
        sidecar.push(".stderr");
        Ok(LogWriter {
            log,
            sidecar: PathBuf::from(sidecar),
            runs_file: None,
            buffer: Vec::with_capacity(BUFFER_BYTES + 4096),
            length: 0,
            limit: if limit == 0 { u64::MAX } else { limit },
            full: false,
            run: None,
            runs: Vec::new(),
        })
    }

    /// Whether the limit is reached: lines are dropped.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Appends a line, given in two parts and without its end, unless the log is full.
    ///
    /// # Errors
    /// When a full buffer can't be written.
    pub fn line(&mut self, from_stderr: bool, prefix: &[u8], text: &[u8]) -> io::Result<()> {
        self.full |= self.length.saturating_add((prefix.len() + text.len() + 1) as u64) > self.limit;
        if self.full { Ok(()) } else { self.append(from_stderr, prefix, text) }
    }

    /// Appends a line of slipway's own, full or not.
    ///
    /// # Errors
    /// When a full buffer can't be written.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        self.append(false, b"", text.as_bytes())
    }

    fn append(&mut self, from_stderr: bool, prefix: &[u8], text: &[u8]) -> io::Result<()> {
        let start = self.length;
        self.buffer.extend_from_slice(prefix);
        self.buffer.extend_from_slice(text);
        self.buffer.push(b'\n');
        self.length += (prefix.len() + text.len() + 1) as u64;
        match (&mut self.run, from_stderr) {
            (Some((_, end)), true) => *end = self.length,
            (None, true) => self.run = Some((start, self.length)),
            (Some(_), false) => self.end_run(),
            (None, false) => {}
        }
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        let flushed = self.flush();
        if flushed.is_err() {
            // What can't be written must not fill the memory; the length keeps telling where lines would be.
            self.buffer.truncate(MOST_KEPT_BYTES);
        }
        flushed
    }

    fn end_run(&mut self) {
        if let Some((start, end)) = self.run.take() {
            self.runs.extend_from_slice(&start.to_le_bytes());
            self.runs.extend_from_slice(&end.to_le_bytes());
        }
    }

    /// Writes what is buffered, so that readers see it.
    ///
    /// # Errors
    /// When it can't be written; then it stays buffered, and the next flush tries again.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            let written = self.log.write(&self.buffer)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.buffer.drain(..written);
        }
        self.end_run();
        if !self.runs.is_empty() {
            let file = match &mut self.runs_file {
                Some(file) => file,
                None => {
                    let file = OpenOptions::new().create(true).write(true).truncate(true).open(&self.sidecar)?;
                    self.runs_file.insert(file)
                }
            };
            file.write_all(&self.runs)?;
            self.runs.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_runs_of_stderr_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::create(&path, 0).unwrap();
        log.line(false, b"#1 ", b"a").unwrap();
        log.line(true, b"#1 ", b"bad").unwrap();
        log.line(true, b"#1 ", b"worse").unwrap();
        log.line(false, b"", b"z").unwrap();
        log.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "#1 a\n#1 bad\n#1 worse\nz\n");
        let runs = std::fs::read(dir.path().join("log.stderr")).unwrap();
        let numbers: Vec<u64> = runs.chunks(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(numbers, [5, 5 + 7 + 9]);
    }

    #[test]
    fn a_log_without_stderr_has_no_sidecar() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(&dir.path().join("log"), 0).unwrap();
        log.line(false, b"", b"a").unwrap();
        log.flush().unwrap();
        assert!(!dir.path().join("log.stderr").exists());
    }

    #[test]
    fn a_full_log_takes_no_more_lines_but_slipways_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogWriter::create(&path, 6).unwrap();
        log.line(false, b"#1 ", b"ab").unwrap();
        assert!(!log.is_full());
        log.line(false, b"", b"cd").unwrap();
        assert!(log.is_full());
        log.line(false, b"", b"").unwrap();
        log.note("slipway: full").unwrap();
        log.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "#1 ab\nslipway: full\n");
    }
}
