//! Following a log that grows, woken by the file system where it tells of changes.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// What is read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// How often is looked where the kernel tells of no changes.
const POLL: Duration = Duration::from_millis(250);

/// Tells of changes in a directory, or of a file: by inotify where there is a watch left, else by looking now and then.
pub struct Changes {
    changed: mpsc::Receiver<()>,
    /// Stops when dropped; none where the kernel gives none.
    watcher: Option<RecommendedWatcher>,
}

impl Changes {
    /// Watches from now on.
    pub fn of(path: &Path) -> Changes {
        // One waiting wake-up is enough: it means "look again".
        let (wake, changed) = mpsc::channel::<()>(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Whoever is woken reads, which must not wake it again.
            if event.map_or(true, |event| !event.kind.is_access()) {
                let _ = wake.try_send(());
            }
        });
        let watch = |mut watcher: RecommendedWatcher| {
            watcher.watch(path, RecursiveMode::NonRecursive).ok()?;
            Some(watcher)
        };
        Changes { changed, watcher: watcher.ok().and_then(watch) }
    }

    /// Waits for the next change; where the kernel tells of none, for as long as nobody would call slow.
    pub async fn next(&mut self) {
        if self.watcher.is_none() || self.changed.recv().await.is_none() {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Hands every piece of a log to `take` as it is written, until `ended` is ready and all of it was taken.
///
/// # Errors
/// When the log can't be read, or what `take` returned.
pub async fn follow<E: From<io::Error>>(
    mut log: File,
    ended: impl Future<Output = ()>,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    // The very file, whatever it is called and wherever it is.
    let mut changes = Changes::of(&PathBuf::from(format!("/proc/self/fd/{}", log.as_raw_fd())));
    let mut ended = std::pin::pin!(ended);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut last = false;
    loop {
        loop {
            let length = log.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            take(&buffer[..length])?;
        }
        if last {
            return Ok(());
        }
        tokio::select! {
            () = &mut ended => last = true,
            () = changes.next() => {}
        }
    }
}

/// A longer line is taken as several.
const LONGEST_LINE_BYTES: usize = 16 * 1024 * 1024;

/// Cuts pieces into lines. It keeps no more than 16 MiB, however long a line is.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes a piece and hands on every line that it completes, without its end.
    ///
    /// # Errors
    /// What `take` returned.
    pub fn push<E>(&mut self, mut chunk: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            if self.partial.is_empty() {
                take(&chunk[..end])?;
            } else {
                self.partial.extend_from_slice(&chunk[..end]);
                take(&self.partial)?;
                self.partial.clear();
            }
            chunk = &chunk[end + 1..];
        }
        self.partial.extend_from_slice(chunk);
        if self.partial.len() > LONGEST_LINE_BYTES {
            take(&self.partial)?;
            self.partial = Vec::new();
        }
        Ok(())
    }

    /// Hands on a last line that has no end.
    ///
    /// # Errors
    /// What `take` returned.
    pub fn finish<E>(&mut self, take: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.partial.is_empty() { Ok(()) } else { take(&std::mem::take(&mut self.partial)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[tokio::test]
    async fn everything_is_taken_even_what_is_written_just_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (seen, mut saw) = mpsc::unbounded_channel();
        let writer = {
            let mut file = File::create(&path).unwrap();
            tokio::spawn(async move {
                file.write_all(b"one\ntw").unwrap();
                // The reader has it while the file is still written.
                let first: Vec<u8> = saw.recv().await.unwrap();
                assert!(b"one\ntw".starts_with(&first));
                file.write_all(b"o\n").unwrap();
                end.send(()).unwrap();
            })
        };
        let mut text = Vec::new();
        let take = |chunk: &[u8]| -> io::Result<()> {
            text.extend_from_slice(chunk);
            let _ = seen.send(chunk.to_vec());
            Ok(())
        };
        follow(File::open(&path).unwrap(), async { drop(ended.await) }, take).await.unwrap();
        writer.await.unwrap();
        assert_eq!(text, b"one\ntwo\n");
    }

    #[tokio::test]
    async fn a_log_is_followed_where_the_kernel_has_no_watch_left() {
        let mut changes = Changes { changed: mpsc::channel(1).1, watcher: None };
        changes.next().await;
        let gone = Changes::of(Path::new("/nowhere/at/all"));
        assert!(gone.watcher.is_none());
    }

    #[test]
    fn lines_are_whole_wherever_the_pieces_are_cut() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        for piece in [b"on".as_slice(), b"e\ntwo\nth", b"ree\n"] {
            let take = |line: &[u8]| -> Result<(), ()> {
                got.push(line.to_vec());
                Ok(())
            };
            lines.push(piece, take).unwrap();
        }
        lines.push(b"half", |_| -> Result<(), ()> { Err(()) }).unwrap();
        let last = |line: &[u8]| -> Result<(), ()> {
            got.push(line.to_vec());
            Ok(())
        };
        lines.finish(last).unwrap();
        assert_eq!(got, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec(), b"half".to_vec()]);
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_a_long_one() {
        let (mut lines, mut taken) = (Lines::default(), 0);
        for _ in 0..100 {
            let take = |line: &[u8]| -> Result<(), ()> {
                taken += line.len();
                Ok(())
            };
            lines.push(&[b'y'; 1024 * 1024], take).unwrap();
            assert!(lines.partial.capacity() <= 2 * LONGEST_LINE_BYTES);
        }
        assert!(taken > 80 * 1024 * 1024);
    }
}
