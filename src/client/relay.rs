//! `slipway pool connect`: calls of a client elsewhere, on one stream, each handed to the pool over its socket as this
//! process's user.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::Client;
use super::socket::{LineReader, lost};
use crate::domain::reason::{Phrase, phrase, reason};
use crate::protocol::{Answer, Error, ErrorKind, NumberedAnswer, NumberedCall, Reply, Request};

/// A longer call is not from a client of ours.
const LONGEST_CALL: u64 = 4 * 1024 * 1024;

impl Client {
    /// Carries calls to the pool and answers back, until the input ends and every call is answered.
    ///
    /// # Errors
    /// When the input can't be read or is no call, or the output is gone. That the pool can't be reached is an answer.
    pub async fn relay(
        &self,
        input: impl AsyncRead + Unpin,
        output: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Result<(), Error> {
        let output = Arc::new(Mutex::new(output));
        let mut input = BufReader::new(input);
        let mut calls = JoinSet::new();
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut input).take(LONGEST_CALL);
            if limited.read_until(b'\n', &mut line).await.map_err(cannot(phrase!("verb.read_a_call")))? == 0 {
                break;
            }
            while let Some(ended) = calls.try_join_next() {
                flatten(ended)?;
            }
            let NumberedCall { id, call } = serde_json::from_slice::<NumberedCall<Box<RawValue>>>(&line)
                .map_err(|error| Error::new(ErrorKind::Usage, reason!("client.request_not_read", error)))?;
            let (client, output) = (self.clone(), output.clone());
            calls.spawn(async move { client.carry(id, &call, &output).await });
        }
        while let Some(ended) = calls.join_next().await {
            flatten(ended)?;
        }
        Ok(())
    }

    /// Carries one call to the pool and its answers back.
    async fn carry(&self, id: u64, call: &RawValue, output: &Mutex<impl AsyncWrite + Unpin>) -> Result<(), Error> {
        let watches = is_watch(call);
        let mut stream = match self.connect_or_start().await {
            Ok(stream) => stream,
            Err(error) => return write(output, numbered(id, true, &Answer::Error(error))?, &[]).await,
        };
        let line = format!("{}\n", call.get());
        stream.write_all(line.as_bytes()).await.map_err(lost)?;
        let mut reader = LineReader::default();
        loop {
            let answer = match reader.line(&stream).await {
                Ok(Some(line)) => line,
                // The last word of a pool that went away: nothing.
                Ok(None) | Err(_) => {
                    let gone = NumberedAnswer::<Answer> { id, last: true, bytes: 0, answer: None };
                    return write(output, text(&gone)?, &[]).await;
                }
            };
            // Only what may bring files or bytes is taken apart.
            let mut bytes = Vec::new();
            let mut answer: Box<RawValue> = serde_json::from_slice(&answer).map_err(not_json)?;
            if answer.get().starts_with("{\"reply\":{\"log_") {
                (answer, bytes) = self.with_bytes(&mut reader, &stream, answer).await?;
            }
            let last = !watches;
            let numbered = NumberedAnswer { id, last, bytes: bytes.len() as u64, answer: Some(answer) };
            write(output, text(&numbered)?, &bytes).await?;
            if last {
                return Ok(());
            }
        }
    }

    /// An answer about a log as it goes over a stream: with its bytes, and without descriptors.
    async fn with_bytes(
        &self,
        reader: &mut LineReader,
        stream: &tokio::net::UnixStream,
        answer: Box<RawValue>,
    ) -> Result<(Box<RawValue>, Vec<u8>), Error> {
        match serde_json::from_str(answer.get()) {
            Ok(Answer::Reply(Reply::LogOpened(mut opened))) => {
                reader.files.clear();
                (opened.log, opened.stderr) = (false, false);
                let answer = Answer::Reply(Reply::LogOpened(opened));
                Ok((serde_json::value::to_raw_value(&answer).map_err(not_json)?, Vec::new()))
            }
            Ok(Answer::Reply(reply)) => Ok((answer, reader.bytes(stream, reply.following_bytes()).await?)),
            _ => Ok((answer, Vec::new())),
        }
    }
}

/// Whether a call is answered more than once.
fn is_watch(call: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct AnyCall {
        request: serde_json::Value,
    }
    let call: Option<AnyCall> = serde_json::from_str(call.get()).ok();
    call.is_some_and(|call| serde_json::to_value(Request::Watch).is_ok_and(|watch| watch == call.request))
}

fn numbered(id: u64, last: bool, answer: &Answer) -> Result<Vec<u8>, Error> {
    text(&NumberedAnswer { id, last, bytes: 0, answer: Some(answer) })
}

fn text(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    let mut line = serde_json::to_vec(value).map_err(not_json)?;
    line.push(b'\n');
    Ok(line)
}

/// Writes an answer whole: others are written by other tasks.
async fn write(output: &Mutex<impl AsyncWrite + Unpin>, line: Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    let mut output = output.lock().await;
    output.write_all(&line).await.map_err(cannot(phrase!("verb.write_an_answer")))?;
    output.write_all(bytes).await.map_err(cannot(phrase!("verb.write_an_answer")))?;
    output.flush().await.map_err(cannot(phrase!("verb.write_an_answer")))
}

fn flatten(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    ended.unwrap_or_else(|error| Err(Error::new(ErrorKind::Failed, reason!("client.internal_task_failed", error))))
}

fn cannot(doing: Phrase) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::new(ErrorKind::Failed, reason!("cli.io", doing, source = error))
}

fn not_json(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Failed, reason!("client.answer_is_no_json", error))
}
