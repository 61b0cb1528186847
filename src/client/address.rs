//! Which pool a client speaks to.

use std::path::PathBuf;
use std::sync::Arc;

use super::stream::Stream;
use crate::domain::reason::{Reason, reason};
use crate::protocol::{Error, ErrorKind};
use crate::store::Home;

/// The environment variable that names the socket of a pool of another user, which is only talked to and never started.
pub const SOCKET_VARIABLE: &str = "SLIPWAY_SOCKET";

/// The way to a pool.
#[derive(Debug, Clone)]
pub struct Client {
    /// The user's own side; with [`Way::Home`] the pool's home, too.
    pub(super) home: Home,
    pub(super) way: Way,
}

#[derive(Debug, Clone)]
pub(super) enum Way {
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
}
