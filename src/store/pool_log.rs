//! The pool's log file, rotated while the pool runs: `pool.log` and `pool.log.1` together stay below twice the limit.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use super::Home;
use super::home::LONGEST_LOG;

/// The open log of a home's pool.
#[derive(Debug)]
pub struct PoolLog {
    home: Home,
    file: File,
    length: u64,
}

impl PoolLog {
    /// Opens the log, to be appended to.
    ///
    /// # Errors
    /// When the home can't be made or the file can't be opened.
    pub fn open(home: &Home) -> io::Result<PoolLog> {
        let file = home.open_pool_log()?;
        let length = file.metadata()?.len();
        Ok(PoolLog { home: home.clone(), file, length })
    }

    /// Renames the log to `pool.log.1` and opens a new one.
    fn rotate(&mut self) -> io::Result<()> {
        let file = self.home.open_pool_log()?;
        // A pool that a client started has the log for its standard output and error; what a panic says goes to the new
        // one.
        if is_same_file(&self.file, rustix::stdio::stdout()) {
            rustix::stdio::dup2_stdout(&file)?;
        }
        if is_same_file(&self.file, rustix::stdio::stderr()) {
            rustix::stdio::dup2_stderr(&file)?;
        }
        self.length = file.metadata()?.len();
        self.file = file;
        Ok(())
    }
}

fn is_same_file(one: impl AsFd, other: impl AsFd) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

impl Write for PoolLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length > LONGEST_LOG {
            // If rotation fails, logging goes on in the old file.
            let _ = self.rotate();
        }
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grows_long_is_put_aside_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        let mut log = PoolLog::open(&home).unwrap();
        let line = [b'x'; 64 * 1024];
        for _ in 0..3 * LONGEST_LOG / line.len() as u64 {
            log.write_all(&line).unwrap();
        }
        log.write_all(b"last\n").unwrap();
        let bound = LONGEST_LOG + line.len() as u64 + 5;
        for name in ["pool.log", "pool.log.1"] {
            let length = std::fs::metadata(home.state_dir().join(name)).unwrap().len();
            assert!(length > 0 && length <= bound, "{name}: {length}");
        }
        assert!(std::fs::read(home.pool_log()).unwrap().ends_with(b"last\n"));
        assert!(!is_same_file(&log.file, rustix::stdio::stderr()));
    }
}
