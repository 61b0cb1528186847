//! Conversations over the unix socket of a pool.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::address::{Client, Way};
use super::answer::{Answer, unexpected};
use super::held;
use crate::domain::reason::{Reason, reason};
use crate::protocol::{self, Call, Error, ErrorKind, Request, VERSION};
use crate::services::agent;
use crate::sys::{fd_passing, socket, users};

/// How long a request may go without an answer before the pool is asked whether it is alive, and how long it may take to
/// say so. Requests may take minutes; a pool that is alive answers this question at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest line of an answer: the settings of ten thousand repositories are shorter.
const LONGEST_LINE: usize = 256 * 1024 * 1024;
/// What is read at once.
const CHUNK: usize = 64 * 1024;

impl Client {
    /// Connects to the pool; none where nobody listens.
    ///
    /// What is said there may be a password: both the home and the process that listens must be this user's, but where
    /// the user names another's socket.
    pub(super) async fn connect(&self) -> Result<Option<UnixStream>, Error> {
        let home = &self.home;
        let path = match &self.way {
            Way::Socket(path) => {
                let cannot = |error: io::Error| {
                    Error::new(ErrorKind::Unreachable, reason!("client.no_pool_at", socket = path, error))
                };
                return socket::connect(path).await.map(Some).map_err(cannot);
            }
            Way::Home | Way::Stream(_) => home.pool_socket(),
        };
        home.check().map_err(untrusted)?;
        let Ok(stream) = socket::connect(&path).await else { return Ok(None) };
        let us = rustix::process::geteuid().as_raw();
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == us || peer.uid() == 0 => {
                agent::hand_over(home);
                Ok(Some(stream))
            }
            Ok(peer) => Err(untrusted(reason!(
                "client.pool_of_another_user",
                socket = path,
                uid = users::shown(peer.uid()),
                us = users::shown(us)
            ))),
            Err(_) => Ok(None),
        }
    }

    /// Connects to the pool where it runs; a process that holds its lock and does not listen is an error that names it.
    pub(super) async fn connect_to_running(&self) -> Result<Option<UnixStream>, Error> {
        match self.connect().await? {
            None if matches!(self.way, Way::Home) => held::wait(self).await,
            connected => Ok(connected),
        }
    }

    /// Connects to the pool; the home's is started where none runs.
    pub(super) async fn connect_or_start(&self) -> Result<UnixStream, Error> {
        match self.connect().await? {
            Some(stream) => Ok(stream),
            None => self.start().await,
        }
    }

    /// One call and its answer.
    pub(super) async fn converse(&self, mut stream: UnixStream, request: Request) -> Result<Answer, Error> {
        let asked_at = Utc::now();
        stream.write_all(&call(request)?).await.map_err(lost)?;
        let mut reader = LineReader::default();
        let line = loop {
            // What was read of the line stays in the reader when its turn is over.
            match tokio::time::timeout(PATIENCE, reader.line(&stream)).await {
                Ok(line) => break line?,
                Err(_) => self.check_alive(asked_at).await?,
            }
        };
        let Some(line) = line else {
            return Err(Error::new(ErrorKind::Unreachable, reason!("client.pool_gone_before_answer")));
        };
        let reply = match serde_json::from_slice(&line) {
            Ok(protocol::Answer::Reply(reply)) => reply,
            Ok(protocol::Answer::Error(error)) => return Err(error),
            Err(_) => return Err(unexpected()),
        };
        let bytes = reader.bytes(&stream, reply.following_bytes()).await?;
        Ok(Answer { reply, files: reader.files, bytes })
    }

    /// Asks the pool whether it is alive.
    ///
    /// # Errors
    /// When it does not answer that question either: since when, and which process it is.
    pub(super) async fn check_alive(&self, since: DateTime<Utc>) -> Result<(), Error> {
        let question = async {
            let Some(mut stream) = self.connect().await? else { return Ok(None) };
            let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
            stream.write_all(&call(Request::Status)?).await.map_err(lost)?;
            let answered = tokio::time::timeout(PATIENCE, LineReader::default().line(&stream)).await;
            Ok::<_, Error>(answered.is_err().then_some(pid))
        };
        match question.await? {
            // Whether it answers or went away, the conversation itself tells what became of it.
            None => Ok(()),
            Some(pid) => {
                let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
                let since = since.format("%H:%M:%SZ").to_string();
                Err(Error::new(ErrorKind::Unreachable, reason!("client.silent", pid, since)))
            }
        }
    }
}

fn untrusted(why: impl Into<Reason>) -> Error {
    Error::new(ErrorKind::Refused, why)
}

/// A call as it is sent.
pub(super) fn call(request: Request) -> Result<Vec<u8>, Error> {
    let mut line = serde_json::to_vec(&Call { version: VERSION, request })
        .map_err(|error| Error::new(ErrorKind::Failed, reason!("client.request_not_written", error)))?;
    line.push(b'\n');
    Ok(line)
}

pub(super) fn lost(error: io::Error) -> Error {
    Error::new(ErrorKind::Unreachable, reason!("client.pool_gone", error))
}

/// Reads lines and the files that come with them.
#[derive(Default)]
pub(super) struct LineReader {
    read: Vec<u8>,
    chunk: Vec<u8>,
    /// How much of `read` is known to hold no end of a line.
    searched: usize,
    pub(super) files: Vec<OwnedFd>,
}

impl LineReader {
    /// The next line, without its end; none at the end of the stream. Dropped before it is done, it goes on where it was.
    pub(super) async fn line(&mut self, stream: &UnixStream) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read[self.searched..]) {
                let rest = self.read.split_off(self.searched + end + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.read.len();
            if self.searched > LONGEST_LINE || !self.more(stream).await? {
                return Ok(None);
            }
        }
    }

    /// Bytes that follow a line.
    pub(super) async fn bytes(&mut self, stream: &UnixStream, length: u64) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(length).map_err(|_| unexpected())?;
        while self.read.len() < length {
            if !self.more(stream).await? {
                return Err(Error::new(ErrorKind::Unreachable, reason!("client.pool_gone_within_answer")));
            }
        }
        self.read.truncate(length);
        Ok(std::mem::take(&mut self.read))
    }

    async fn more(&mut self, stream: &UnixStream) -> Result<bool, Error> {
        // Not in the future, which lies on the stack; and not in `read`, should this be dropped before it is done.
        self.chunk.resize(CHUNK, 0);
        let received = fd_passing::receive(stream, &mut self.chunk, &mut self.files).await.map_err(lost)?;
        self.read.extend_from_slice(&self.chunk[..received]);
        Ok(received > 0)
    }
}
