//! The one door of dashboard and command line to everything that a pool knows: records, settings, logs, refs, tags,
//! previews, checks. Nothing here reads the pool's files; what belongs to the user's own side is in [`preferences`].
//!
//! A [`Client`] reaches the pool of a home over its unix socket and starts it where none runs, or a pool elsewhere over
//! the standard input and output of `slipway pool connect`.

mod address;
mod answer;
pub mod checks;
mod files;
mod held;
pub mod log;
pub mod preferences;
mod questions;
mod relay;
mod socket;
mod start;
mod stream;
pub mod toml_file;
mod watch;

pub use address::{Client, SOCKET_VARIABLE};
pub use answer::unexpected;
pub use watch::{Heard, IfAbsent, WatchEnd};

use crate::protocol::{Error, ErrorKind, Reply, Request};
use address::Way;
use answer::Answer;

impl Client {
    /// Asks the pool; starts it where it is the home's and does not run.
    ///
    /// # Errors
    /// What the pool answered, or that it can't be reached or started.
    pub async fn ask(&self, request: Request) -> Result<Reply, Error> {
        self.ask_for_all(request).await.map(|answer| answer.reply)
    }

    /// As [`Client::ask`], with the files and bytes that come along.
    async fn ask_for_all(&self, request: Request) -> Result<Answer, Error> {
        if let Way::Stream(stream) = &self.way {
            return stream.ask(request).await;
        }
        let again = request.may_be_repeated().then(|| request.clone());
        let stream = self.connect_or_start().await?;
        match (self.converse(stream, request).await, again) {
            // It was about to end when we came: the next one answers.
            (Err(error), Some(again)) if error.kind == ErrorKind::Unreachable && self.connect().await?.is_none() => {
                let stream = self.connect_or_start().await?;
                self.converse(stream, again).await
            }
            (answer, _) => answer,
        }
    }

    /// Asks the pool if it runs; none when it doesn't.
    ///
    /// # Errors
    /// What the pool answered, or that a process holds its lock and does not listen.
    pub async fn ask_if_running(&self, request: Request) -> Result<Option<Reply>, Error> {
        if let Way::Stream(stream) = &self.way {
            return stream.ask(request).await.map(|answer| Some(answer.reply));
        }
        let Some(stream) = self.connect_to_running().await? else { return Ok(None) };
        match self.converse(stream, request).await {
            // It was dying when we came.
            Err(error) if error.kind == ErrorKind::Unreachable && self.connect().await?.is_none() => Ok(None),
            answer => answer.map(|answer| Some(answer.reply)),
        }
    }
}
