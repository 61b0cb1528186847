//! Logs of builds: as an open file where the pool can hand one over, else in ranges.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{Client, unexpected};
use crate::domain::step::StepsFile;
use crate::log::follow;
use crate::protocol::logs::{BuildLog, LONGEST_RANGE, LogName};
use crate::protocol::{Error, Reply, Request};
use crate::store::builds;

/// What is read at once.
const CHUNK: usize = 256 * 1024;

/// The log of an attempt of a build.
#[derive(Debug)]
pub struct OpenLog {
    /// The number of the attempt.
    pub attempt: u32,
    /// Where it is on the pool's host.
    pub path: PathBuf,
    /// Its size in bytes; none: there is no output yet.
    pub size: Option<u64>,
    /// The log itself, where the pool handed it over.
    pub log: Option<File>,
    /// Which of its lines came from standard error, where there are any and the log was handed over.
    pub stderr: Option<File>,
}

/// The steps in a file; none where there are none, or they are just being written.
pub fn steps_file(file: &Path) -> Option<StepsFile> {
    builds::load_if_there(file).ok()?
}

impl Client {
    /// Opens the log of an attempt of a build.
    ///
    /// # Errors
    /// When there is no such build, or the pool can't be reached.
    pub async fn open_log(&self, log: BuildLog) -> Result<OpenLog, Error> {
        let answer = self.ask_for_all(Request::OpenLog(log)).await?;
        let Reply::LogOpened(opened) = answer.reply else { return Err(unexpected()) };
        let mut files = answer.files.into_iter().map(File::from);
        let mut next = |wanted: bool| if wanted { files.next() } else { None };
        let (log, stderr) = (next(opened.log), next(opened.stderr));
        Ok(OpenLog { attempt: opened.attempt, path: opened.path, size: opened.size, log, stderr })
    }

    /// Hands the log of an attempt to `take`, piece by piece; false: there is no output.
    ///
    /// # Errors
    /// When it can't be read, or what `take` returned.
    pub async fn read_whole_log<E: From<Error> + From<io::Error>>(
        &self,
        log: BuildLog,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let opened = self.open_log(log).await?;
        // Another attempt may have output meanwhile.
        let name = LogName::Build(BuildLog { attempt: Some(opened.attempt), ..log });
        if let Some(mut log) = opened.log {
            let mut buffer = vec![0; CHUNK];
            loop {
                match log.read(&mut buffer)? {
                    0 => return Ok(true),
                    length => take(&buffer[..length])?,
                }
            }
        }
        let mut offset = 0;
        while let Some(size) = opened.size {
            let (range, bytes) = self.read_log(name, offset, LONGEST_RANGE, false).await?;
            take(&bytes)?;
            offset += range.length;
            if range.length == 0 || offset >= size {
                break;
            }
        }
        Ok(opened.size.is_some())
    }

    /// Hands every piece of the log of an attempt to `take` as it is written, until `ended` is ready and all of it was taken.
    ///
    /// # Errors
    /// When it can't be read, or what `take` returned.
    pub async fn follow_log<E: From<Error> + From<io::Error>>(
        &self,
        log: BuildLog,
        ended: impl Future<Output = ()>,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut ended = std::pin::pin!(ended);
        let name = LogName::Build(log);
        let (mut offset, mut last) = (0, false);
        loop {
            let opened = self.open_log(log).await?;
            if let Some(log) = opened.log {
                return if last {
                    follow::follow(log, async {}, take).await
                } else {
                    follow::follow(log, ended, take).await
                };
            }
            // No output yet, or none that can be handed over.
            let wait = !last;
            tokio::select! {
                part = self.read_log(name, offset, LONGEST_RANGE, wait) => {
                    let (range, bytes) = part?;
                    // What could be handed over is, from its beginning.
                    if opened.size.is_some() {
                        take(&bytes)?;
                        offset += range.length;
                        if last && range.length == 0 {
                            return Ok(());
                        }
                    } else if last {
                        return Ok(());
                    }
                    if range.is_final && range.length == 0 && !last {
                        // The end is at hand.
                        ended.as_mut().await;
                        last = true;
                    }
                }
                () = &mut ended, if !last => last = true,
            }
        }
    }
}
