//! Hearing of what changes in the pool, and waiting for a build.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::AsyncWriteExt;

use super::address::{Client, Way};
use super::answer::unexpected;
use super::socket::{LineReader, call, lost};
use crate::domain::build::{Build, BuildId};
use crate::domain::reason::{Reason, reason};
use crate::protocol::{Answer, Error, ErrorKind, News, Reply, Request};

/// How often a pool that has nothing to tell is asked whether it is alive.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What to do where no pool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfAbsent {
    /// Start one.
    Start,
    /// Leave it so.
    Leave,
}

/// How watching the pool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEnd {
    /// Nobody wants to hear more.
    Unheard,
    /// The pool was told to stop, or was to be left absent.
    Stopped,
}

/// What a client that watches hears.
#[derive(Debug)]
pub enum Heard {
    /// Something changed.
    News(Box<News>),
    /// The pool has not answered since then; it may again.
    Silent(DateTime<Utc>),
    /// The pool answers again.
    Answers,
}

impl Client {
    /// Hears of everything that changes in the pool, which is started when it is not there; until the pool ends, or
    /// `heard` says false.
    ///
    /// # Errors
    /// When the pool can't be reached or started, or went away.
    pub async fn watch(&self, if_absent: IfAbsent, mut heard: impl FnMut(Heard) -> bool) -> Result<WatchEnd, Error> {
        if let Way::Stream(stream) = &self.way {
            let mut lines = stream.begin(Request::Watch).await?;
            while let Some(answer) = lines.next().await? {
                if let Some(end) = take(answer, &mut heard)? {
                    return Ok(end);
                }
            }
            return Err(went_away());
        }
        let mut stream = match (self.connect().await?, if_absent) {
            (Some(stream), _) => stream,
            (None, IfAbsent::Start) => self.start().await?,
            (None, IfAbsent::Leave) => return Ok(WatchEnd::Stopped),
        };
        stream.write_all(&call(Request::Watch)?).await.map_err(lost)?;
        let mut reader = LineReader::default();
        let (mut asked_at, mut silent) = (Utc::now(), false);
        loop {
            match tokio::time::timeout(HEARTBEAT, reader.line(&stream)).await {
                Ok(line) => {
                    let Some(line) = line? else { return Err(went_away()) };
                    let answer = serde_json::from_slice(&line).map_err(|_| unexpected())?;
                    if let Some(end) = take(answer, &mut heard)? {
                        return Ok(end);
                    }
                }
                Err(_) => {
                    if !silent {
                        asked_at = Utc::now();
                    }
                    let go_on = match self.check_alive(asked_at).await {
                        Err(error) if error.kind == ErrorKind::Unreachable => {
                            silent = true;
                            heard(Heard::Silent(asked_at))
                        }
                        Err(error) => return Err(error),
                        Ok(()) if std::mem::take(&mut silent) => heard(Heard::Answers),
                        Ok(()) => true,
                    };
                    if !go_on {
                        return Ok(WatchEnd::Unheard);
                    }
                }
            }
        }
    }

    /// Waits until a build is final or `enough` says so of it, whatever happens to the pool meanwhile; `news` hears of
    /// every other reason on the way.
    ///
    /// # Errors
    /// When there is no such build, or no pool can be started any more.
    pub async fn wait_until(
        &self,
        id: BuildId,
        enough: impl Fn(&Build) -> bool,
        mut news: impl FnMut(&Build),
    ) -> Result<Build, Error> {
        // A pool that ends while it is waited on is started again, which adopts the build; not for ever.
        let mut tries = 0;
        let mut known = Reason::default();
        loop {
            match self.ask(Request::Wait { id, known: Some(known.clone()) }).await {
                Ok(Reply::Build(build)) if build.state.is_final() || enough(&build) => return Ok(*build),
                Ok(Reply::Build(build)) => {
                    news(&build);
                    known = build.reason;
                }
                Ok(_) => return Err(unexpected()),
                Err(error) if error.kind == ErrorKind::Unreachable && tries < 5 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Hands on what the pool told; how watching ends, where it does.
fn take(answer: Answer, heard: &mut impl FnMut(Heard) -> bool) -> Result<Option<WatchEnd>, Error> {
    match answer {
        Answer::Reply(Reply::News(news)) => Ok((!heard(Heard::News(news))).then_some(WatchEnd::Unheard)),
        Answer::Reply(Reply::Stopping) => Ok(Some(WatchEnd::Stopped)),
        Answer::Error(error) => Err(error),
        Answer::Reply(_) => Err(unexpected()),
    }
}

fn went_away() -> Error {
    Error::new(ErrorKind::Unreachable, reason!("client.connection_lost_builds_go_on"))
}
