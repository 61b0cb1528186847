//! The one door of dashboard and command line to everything that a pool knows: records, settings, logs, refs, tags,
//! previews, checks. Nothing here reads the pool's files; what belongs to the user's own side is in [`preferences`].
//!
//! A [`Client`] reaches the pool of a home over its unix socket and starts it where none runs, or a pool elsewhere over
//! the standard input and output of `slipway pool connect`.

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

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::reason::{Reason, reason};
use crate::protocol::{Error, ErrorKind, Reply, Request};
use crate::store::Home;
use socket::Answer;
use stream::Stream;
pub use watch::{Heard, IfAbsent, WatchEnd};

/// The environment variable that names the socket of a pool of another user, which is only talked to and never started.
pub const SOCKET_VARIABLE: &str = "SLIPWAY_SOCKET";

/// The way to a pool.
#[derive(Debug, Clone)]
pub struct Client {
    /// The user's own side; with [`Way::Home`] the pool's home, too.
    home: Home,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    /// The pool of the home.
    Home,
    /// A pool of another user, by its socket.
    Socket(PathBuf),
    /// A pool at the other end of a stream.
    Stream(Arc<Stream>),
}

impl Client {
    /// The pool of a home.
    pub fn of(home: Home) -> Client {
        Client { home, way: Way::Home }
    }

    /// The pool that the environment names: of its home, or by [`SOCKET_VARIABLE`].
    ///
    /// # Errors
    /// When the environment names no home, or one that can't be used.
    pub fn from_env() -> Result<Client, Error> {
        let home = Home::from_env().map_err(|error| Error::new(ErrorKind::Usage, error))?;
        let state = home.state_dir();
        let is_directory = match std::fs::metadata(state) {
            Ok(meta) => meta.is_dir(),
            Err(error) => error.kind() != std::io::ErrorKind::NotADirectory,
        };
        if !is_directory {
            let text = reason!("client.home_is_no_directory", state);
            return Err(Error::new(ErrorKind::Failed, text));
        }
        let socket = std::env::var_os(SOCKET_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let way = socket.map_or(Way::Home, Way::Socket);
        Ok(Client { home, way })
    }

    /// The pool of a home that is nowhere.
    #[cfg(test)]
    pub fn nowhere() -> Client {
        Client::of(Home::at("/nowhere"))
    }

    /// A pool at the other end of a program's standard input and output, such as `ssh HOST slipway pool connect`.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn through(home: Home, program: tokio::process::Command) -> Result<Client, Error> {
        Ok(Client { home, way: Way::Stream(Arc::new(Stream::open(program)?)) })
    }

    /// Refuses a home that another user controls.
    ///
    /// # Errors
    /// What of the home is whose, with the command that fixes it.
    pub fn check_home(&self) -> Result<(), Error> {
        let untrusted = Reason::lines(self.home.untrusted().iter().map(Reason::from));
        if untrusted.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Refused, untrusted)) }
    }

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

/// The pool answered something that was not asked.
pub fn unexpected() -> Error {
    Error::new(ErrorKind::Unreachable, reason!("client.unexpected_answer"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Rooms that only the pool and this door may know.
    const BEHIND_THE_DOOR: [&str; 6] = ["store", "services", "registry", "source", "buildctl", "buildkit"];
    /// Commands that are no clients, which their heads say.
    const NO_CLIENTS: [&str; 5] = ["children.rs", "doctor.rs", "pool.rs", "setup.rs", "view.rs"];

    fn files(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn dashboard_and_command_line_know_the_pool_by_this_door_alone() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();
        files(&source.join("cli"), &mut found);
        files(&source.join("tui"), &mut found);
        let mut breaches = Vec::new();
        for path in found {
            let text = fs::read_to_string(&path).unwrap();
            let room = |room: &&&str| {
                let import = format!("crate::{room}");
                text.match_indices(&import).any(|(at, _)| !text[at + import.len()..].starts_with(char::is_alphanumeric))
            };
            let name = path.strip_prefix(&source).unwrap().to_str().unwrap();
            let is_no_client = NO_CLIENTS.iter().any(|file| name == format!("cli/{file}"));
            match BEHIND_THE_DOOR.iter().find(room) {
                Some(room) if !is_no_client => breaches.push(format!("{name} imports {room}")),
                None if is_no_client => breaches.push(format!("{name} is no exception any more")),
                _ => {}
            }
        }
        assert_eq!(breaches, Vec::<String>::new());
    }
}
