//! Which lines of a log came from standard error: the sidecar that [`super::writer`] writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Two numbers of eight bytes: where a run of lines begins, and the byte after its end.
const RUN: u64 = 16;

/// The sidecar of a log; one without lines from standard error has none.
#[derive(Debug)]
pub struct Stderr {
    /// Where it will be, as long as there is none; none: whoever opened the log brings it.
    path: Option<PathBuf>,
    file: Option<File>,
    /// How many runs there were when it was looked at last.
    runs: u64,
}

impl Stderr {
    /// The sidecar of a log.
    pub fn of(log: &Path) -> Stderr {
        let mut stderr = Stderr { path: Some(Stderr::path_of(log)), file: None, runs: 0 };
        stderr.refresh();
        stderr
    }

    /// A sidecar that is open; none: there are no such lines yet.
    pub fn of_file(file: Option<File>) -> Stderr {
        let mut stderr = Stderr { path: None, file, runs: 0 };
        stderr.refresh();
        stderr
    }

    /// The file's name of the sidecar of a log.
    pub fn path_of(log: &Path) -> PathBuf {
        let mut path = log.as_os_str().to_owned();
        path.push(".stderr");
        PathBuf::from(path)
    }

    /// Whether there is a sidecar.
    pub fn is_there(&self) -> bool {
        self.file.is_some()
    }

    /// Looks how many runs there are now: the log has grown.
    pub fn refresh(&mut self) {
        if self.file.is_none() {
            // It comes with the first such line.
            self.file = self.path.as_ref().and_then(|path| File::open(path).ok());
        }
        let length = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
        self.runs = length / RUN;
    }

    /// Whether the line that begins at a byte came from standard error.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn has(&self, byte: u64) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        // The runs are in order: the last one that begins at the byte or before it is the one to look at.
        let (mut least, mut most) = (0, self.runs);
        while least < most {
            let middle = u64::midpoint(least, most);
            if number(file, middle * RUN)? <= byte { least = middle + 1 } else { most = middle }
        }
        Ok(least > 0 && byte < number(file, (least - 1) * RUN + 8)?)
    }
}

fn number(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::writer::LogWriter;

    #[test]
    fn lines_from_standard_error_are_known_by_where_they_begin() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut stderr = Stderr::of(&path);
        assert!(!stderr.has(0).unwrap());
        let mut log = LogWriter::create(&path, 0).unwrap();
        for (from_stderr, text) in [(false, "a"), (true, "b"), (true, "c"), (false, "d"), (true, "e")] {
            log.line(from_stderr, b"", text.as_bytes()).unwrap();
        }
        log.flush().unwrap();
        stderr.refresh();
        let found: Vec<bool> = (0..5).map(|line| stderr.has(line * 2).unwrap()).collect();
        assert_eq!(found, [false, true, true, false, true]);
    }
}
