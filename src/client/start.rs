//! Starting the pool of a home where none runs, and waiting for the end of one.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use super::address::{Client, Way};
use super::held;
use crate::domain::reason::{Reason, output, reason};
use crate::protocol::{ALREADY_RUNS, Error, ErrorKind};
use crate::store::Home;
use crate::store::settings;
use crate::sys::environment::{self, ListedEnvironment as _, Receiver};
use crate::sys::{lock, process};

/// A pool answers within 0.2 s of its start even with ten thousand builds on disk; a busy machine gets the rest.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often it is tried to take the place of a pool that is about to end.
const RETRY_START: Duration = Duration::from_millis(100);
/// A pool that holds the lock for so long and does not listen has lost its socket.
const LOST_SOCKET: Duration = Duration::from_secs(10);
/// How often a starting pool's socket is tried.
const START_POLL: Duration = Duration::from_millis(5);

impl Client {
    /// Makes the directories of the home.
    ///
    /// # Errors
    /// When they can't be made.
    pub fn create_home(&self) -> Result<(), Error> {
        let state = self.home.state_dir();
        let cannot = |error: io::Error| Error::new(ErrorKind::Failed, reason!("client.home_not_made", state, error));
        self.home.create().map_err(cannot)
    }

    /// Starts the pool in a session of its own and connects to it.
    ///
    /// # Errors
    /// When it can't be started, or ends at once: with the last lines of its log.
    pub(super) async fn start(&self) -> Result<UnixStream, Error> {
        let home = &self.home;
        if let Way::Socket(path) = &self.way {
            return Err(unreachable(reason!("client.no_pool_listens", path)));
        }
        let cannot = |error: io::Error| unreachable(reason!("client.pool_not_started", home = home.state_dir(), error));
        let secrets = settings_variables(home);
        let mut child = spawn(home, &secrets).map_err(cannot)?;
        let begun = Instant::now();
        loop {
            if let Some(stream) = self.connect().await? {
                return Ok(stream);
            }
            match child.try_wait().map_err(cannot)? {
                None => {}
                // Another client's pool has the lock and answers soon; or one that was told to stop has it still.
                Some(status) if status.code() == Some(i32::from(ALREADY_RUNS)) => {
                    tokio::time::sleep(RETRY_START).await;
                    if let Some(stream) = self.connect().await? {
                        return Ok(stream);
                    }
                    let holders = held::holders(self);
                    if begun.elapsed() > LOST_SOCKET && !holders.is_empty() {
                        return Err(unreachable(held::said(self, &holders)));
                    }
                    child = spawn(home, &secrets).map_err(cannot)?;
                }
                Some(_) => {
                    let tail = last_lines(&home.pool_log());
                    return Err(unreachable(reason!("client.pool_ended_at_once", tail = output(tail))));
                }
            }
            if begun.elapsed() > START_LIMIT {
                let (seconds, log) = (START_LIMIT.as_secs(), home.pool_log());
                let holders = held::holders(self);
                return Err(unreachable(match holders.is_empty() {
                    false => reason!("client.no_answer_while_held", seconds, log, holders),
                    true => reason!("client.no_answer_at_start", seconds, log),
                }));
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    /// Waits until no pool holds the home's lock: one that was told to stop is gone then.
    ///
    /// # Errors
    /// When the lock can't be opened.
    pub async fn wait_for_end(&self) -> Result<(), Error> {
        let Way::Home = self.way else { return Ok(()) };
        let path = self.home.pool_lock();
        let wait = move || lock::shared(&path).map(drop);
        let waited = tokio::task::spawn_blocking(wait).await.map_err(io::Error::other).and_then(|result| result);
        waited.map_err(|error| Error::new(ErrorKind::Failed, reason!("client.end_not_awaited", error)))
    }
}

fn unreachable(why: impl Into<Reason>) -> Error {
    Error::new(ErrorKind::Unreachable, why)
}

fn spawn(home: &Home, secrets: &[(String, std::ffi::OsString)]) -> io::Result<Child> {
    let output = home.open_pool_log()?;
    let errors = output.try_clone()?;
    let mut command = Command::new(process::own_program()?);
    command.args(["pool", "run"]).stdin(Stdio::null()).stdout(output).stderr(errors).current_dir("/");
    command.listed_environment(Receiver::Slipway).envs(secrets.iter().cloned()).envs(home.variables());
    process::in_own_session(&mut command);
    command.spawn()
}

/// The variables of this process that settings name as secrets; also puts `[pool] environment` in force.
fn settings_variables(home: &Home) -> Vec<(String, std::ffi::OsString)> {
    let settings = settings::look(home);
    environment::pass_on(&settings.config.pool.environment);
    let names = settings.secret_variables().into_iter();
    names.filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?))).collect()
}

fn last_lines(log: &std::path::Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
