//! A pool at the other end of a program's standard input and output, which speaks for `slipway pool connect`: many calls
//! share the stream, and each has a number.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::answer::{Answer, unexpected};
use crate::domain::reason::{Reason, reason};
use crate::protocol::logs::LONGEST_RANGE;
use crate::protocol::{self, Call, Error, ErrorKind, NumberedAnswer, NumberedCall, Request, VERSION};

/// The longest line of an answer.
const LONGEST_LINE: u64 = 256 * 1024 * 1024;

/// An answer of the stream: none where the pool at the other end went away.
type Arrived = (Option<protocol::Answer>, Vec<u8>);

/// The stream.
#[derive(Debug)]
pub(super) struct Stream {
    input: tokio::sync::Mutex<ChildStdin>,
    calls: Arc<Mutex<Calls>>,
    /// Ends when dropped.
    _program: Child,
}

/// The calls that wait for answers.
#[derive(Debug, Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, UnboundedSender<Arrived>>,
    /// Why the stream ended; none: it has not.
    ended: Option<Reason>,
}

/// The answers to one call.
pub(super) struct Answers {
    id: u64,
    arriving: UnboundedReceiver<Arrived>,
    calls: Arc<Mutex<Calls>>,
}

fn table(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreachable(why: impl Into<Reason>) -> Error {
    Error::new(ErrorKind::Unreachable, why)
}

impl Stream {
    /// Starts the program.
    pub(super) fn open(mut program: Command) -> Result<Stream, Error> {
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let shown = format!("{:?}", program.as_std().get_program());
        let cannot = |error: std::io::Error| unreachable(reason!("client.program_not_started", shown, error));
        let mut child = program.spawn().map_err(cannot)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(unreachable(reason!("client.program_without_pipe", shown)));
        };
        let calls = Arc::new(Mutex::new(Calls::default()));
        tokio::spawn(receive(output, calls.clone()));
        Ok(Stream { input: tokio::sync::Mutex::new(input), calls, _program: child })
    }

    /// Sends a call; its answers come later.
    pub(super) async fn begin(&self, request: Request) -> Result<Answers, Error> {
        let (sender, arriving) = unbounded_channel();
        let id = {
            let mut calls = table(&self.calls);
            if let Some(why) = &calls.ended {
                return Err(unreachable(why.clone()));
            }
            calls.last += 1;
            let id = calls.last;
            calls.waiting.insert(id, sender);
            id
        };
        let answers = Answers { id, arriving, calls: self.calls.clone() };
        let call = NumberedCall { id, call: Call { version: VERSION, request } };
        let mut line = serde_json::to_vec(&call)
            .map_err(|error| Error::new(ErrorKind::Failed, reason!("client.request_not_written", error)))?;
        line.push(b'\n');
        let mut input = self.input.lock().await;
        let lost = |error| unreachable(reason!("client.connection_lost", error));
        input.write_all(&line).await.map_err(lost)?;
        input.flush().await.map_err(lost)?;
        Ok(answers)
    }

    /// Sends a call and waits for its answer.
    pub(super) async fn ask(&self, request: Request) -> Result<Answer, Error> {
        match self.begin(request).await?.arriving().await {
            Some((Some(protocol::Answer::Reply(reply)), bytes)) => Ok(Answer { reply, files: Vec::new(), bytes }),
            Some((Some(protocol::Answer::Error(error)), _)) => Err(error),
            Some((None, _)) => Err(unreachable(reason!("client.pool_gone_before_answer"))),
            None => Err(unreachable(table(&self.calls).ended.clone().unwrap_or_default())),
        }
    }
}

impl Answers {
    async fn arriving(&mut self) -> Option<Arrived> {
        self.arriving.recv().await
    }

    /// The next answer; none: there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<protocol::Answer>, Error> {
        match self.arriving().await {
            Some((answer, _)) => Ok(answer),
            None => match table(&self.calls).ended.clone() {
                Some(why) => Err(unreachable(why)),
                None => Ok(None),
            },
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        table(&self.calls).waiting.remove(&self.id);
    }
}

/// Hands the answers to those that wait, until the stream ends.
async fn receive(output: ChildStdout, calls: Arc<Mutex<Calls>>) {
    let mut output = BufReader::new(output);
    let why = loop {
        match arrived(&mut output).await {
            Ok(Some((id, last, arrived))) => {
                let mut calls = table(&calls);
                // One that is not waited for any more is dropped.
                let waiting = if last { calls.waiting.remove(&id) } else { calls.waiting.get(&id).cloned() };
                if let Some(waiting) = waiting {
                    let _ = waiting.send(arrived);
                }
            }
            Ok(None) => break reason!("client.connection_ended"),
            Err(error) => break error.reason,
        }
    };
    let mut calls = table(&calls);
    calls.ended = Some(why);
    calls.waiting.clear();
}

/// Reads one answer.
async fn arrived(output: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<(u64, bool, Arrived)>, Error> {
    let lost = |error| unreachable(reason!("client.connection_lost", error));
    let mut line = Vec::new();
    (&mut *output).take(LONGEST_LINE).read_until(b'\n', &mut line).await.map_err(lost)?;
    if line.is_empty() {
        return Ok(None);
    }
    let NumberedAnswer { id, last, bytes, answer } = serde_json::from_slice(&line).map_err(|_| unexpected())?;
    if bytes > LONGEST_RANGE {
        return Err(unexpected());
    }
    let mut following = vec![0; usize::try_from(bytes).unwrap_or_default()];
    output.read_exact(&mut following).await.map_err(lost)?;
    Ok(Some((id, last, (answer, following))))
}
