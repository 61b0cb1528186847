//! The way to the pool: connect to its socket, starting the pool when it is not there.

use std::io;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::domain::build::{Build, BuildId};
use crate::domain::reason::{Reason, reason};
use crate::protocol::{Answer, Call, Error, ErrorKind, News, Reply, Request, VERSION};
use crate::services::agent;
use crate::store::Home;
use crate::store::settings::Settings;
use crate::sys::environment::{self, ListedEnvironment as _, Receiver};
use crate::sys::{lock, process, users};

/// A pool answers within 0.2 s of its start even with ten thousand builds on disk; a busy machine gets the rest.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often it is tried to take the place of a pool that is about to end.
const RETRY_START: Duration = Duration::from_millis(100);
/// How often a starting pool's socket is tried.
const START_POLL: Duration = Duration::from_millis(5);

/// Asks the pool of a home; starts it when it is not there.
///
/// # Errors
/// What the pool answered, or that it can't be reached or started.
pub async fn ask(home: &Home, request: Request) -> Result<Reply, Error> {
    let again = request.may_be_repeated().then(|| request.clone());
    let stream = match connect(home).await? {
        Some(stream) => stream,
        None => start(home).await?,
    };
    match (converse(stream, request).await, again) {
        // It was about to end when we came: the next one answers.
        (Err(error), Some(again)) if error.kind == ErrorKind::Unreachable && connect(home).await?.is_none() => {
            converse(start(home).await?, again).await
        }
        (answer, _) => answer,
    }
}

/// Asks the pool of a home if it runs; none when it doesn't.
///
/// # Errors
/// What the pool answered.
pub async fn ask_if_running(home: &Home, request: Request) -> Result<Option<Reply>, Error> {
    let Some(stream) = connect(home).await? else { return Ok(None) };
    match converse(stream, request).await {
        // It was dying when we came.
        Err(error) if error.kind == ErrorKind::Unreachable && connect(home).await?.is_none() => Ok(None),
        answer => answer.map(Some),
    }
}

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

/// Hears of everything that changes in the pool of a home, which is started when it is not there; until the pool ends,
/// or `heard` says false.
///
/// # Errors
/// When the pool can't be reached or started, or went away.
pub async fn watch(home: &Home, if_absent: IfAbsent, mut heard: impl FnMut(News) -> bool) -> Result<WatchEnd, Error> {
    let mut stream = match (connect(home).await?, if_absent) {
        (Some(stream), _) => stream,
        (None, IfAbsent::Start) => start(home).await?,
        (None, IfAbsent::Leave) => return Ok(WatchEnd::Stopped),
    };
    let (read, mut write) = stream.split();
    write.write_all(&call(Request::Watch)?).await.map_err(lost)?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await.map_err(lost)? {
        match serde_json::from_str(&line) {
            Ok(Answer::Reply(Reply::News(news))) => {
                if !heard(*news) {
                    return Ok(WatchEnd::Unheard);
                }
            }
            Ok(Answer::Reply(Reply::Stopping)) => return Ok(WatchEnd::Stopped),
            Ok(Answer::Error(error)) => return Err(error),
            _ => return Err(unexpected()),
        }
    }
    Err(Error::new(ErrorKind::Unreachable, reason!("client.pool_went_away_builds")))
}

/// Waits until a build is final, whatever happens to the pool meanwhile; `news` hears of every other reason on the way.
///
/// # Errors
/// When there is no such build, or no pool can be started any more.
pub async fn wait_for(home: &Home, id: BuildId, mut news: impl FnMut(&Build)) -> Result<Build, Error> {
    // A pool that ends while it is waited on is started again, which adopts the build; not for ever.
    let mut tries = 0;
    let mut known = Reason::default();
    loop {
        match ask(home, Request::Wait { id, known: Some(known.clone()) }).await {
            Ok(Reply::Build(build)) if build.state.is_final() => return Ok(*build),
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

/// Waits until no pool holds the home's lock: one that was told to stop is gone then.
///
/// # Errors
/// When the lock can't be opened.
pub async fn wait_for_end(home: &Home) -> Result<(), Error> {
    let path = home.pool_lock();
    let wait = move || lock::shared(&path).map(drop);
    let waited = tokio::task::spawn_blocking(wait).await.map_err(io::Error::other).and_then(|result| result);
    waited.map_err(|error| Error::new(ErrorKind::Failed, reason!("client.cannot_wait_pool_end", error)))
}

/// The pool answered something that was not asked.
pub fn unexpected() -> Error {
    Error::new(ErrorKind::Unreachable, reason!("client.pool_gave_answer_does"))
}

/// Connects to the pool of a home; none where nobody listens.
///
/// What is said there may be a password: both the home and the process that listens must be this user's.
async fn connect(home: &Home) -> Result<Option<UnixStream>, Error> {
    home.check().map_err(untrusted)?;
    home.check_runtime_dir().map_err(|error| untrusted(&error))?;
    let socket = home.pool_socket();
    let Ok(stream) = UnixStream::connect(&socket).await else { return Ok(None) };
    let us = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == us || peer.uid() == 0 => {
            agent::hand_over(home);
            Ok(Some(stream))
        }
        Ok(peer) => Err(untrusted(reason!(
            "client.pool_listens_runs_as",
            socket,
            uid = users::shown(peer.uid()),
            us = users::shown(us)
        ))),
        Err(_) => Ok(None),
    }
}

fn untrusted(error: impl ToString) -> Error {
    Error::new(ErrorKind::Refused, error.to_string())
}

/// A call as it is sent.
fn call(request: Request) -> Result<Vec<u8>, Error> {
    let mut line = serde_json::to_vec(&Call { version: VERSION, request })
        .map_err(|error| Error::new(ErrorKind::Failed, reason!("client.cannot_write_request", error)))?;
    line.push(b'\n');
    Ok(line)
}

fn lost(error: io::Error) -> Error {
    Error::new(ErrorKind::Unreachable, reason!("client.pool_went_away", error))
}

async fn converse(mut stream: UnixStream, request: Request) -> Result<Reply, Error> {
    let (read, mut write) = stream.split();
    write.write_all(&call(request)?).await.map_err(lost)?;
    let mut text = String::new();
    BufReader::new(read).read_line(&mut text).await.map_err(lost)?;
    if text.is_empty() {
        return Err(Error::new(ErrorKind::Unreachable, reason!("client.pool_went_away_before")));
    }
    match serde_json::from_str(&text) {
        Ok(Answer::Reply(reply)) => Ok(reply),
        Ok(Answer::Error(error)) => Err(error),
        Err(_) => Err(unexpected()),
    }
}

/// Starts the pool in a session of its own and connects to it.
///
/// # Errors
/// When it can't be started, or ends at once: with the last lines of its log.
pub async fn start(home: &Home) -> Result<UnixStream, Error> {
    let unreachable = |why: String| Error::new(ErrorKind::Unreachable, why);
    let log = home.pool_log();
    let secrets = settings_variables(home);
    let spawn = || -> io::Result<std::process::Child> {
        let output = home.open_pool_log()?;
        let errors = output.try_clone()?;
        let mut command = Command::new(process::own_program()?);
        command.args(["pool", "run"]).stdin(Stdio::null()).stdout(output).stderr(errors).current_dir("/");
        command.listed_environment(Receiver::Slipway).envs(secrets.iter().cloned()).envs(home.variables());
        process::in_own_session(&mut command);
        command.spawn()
    };
    let cannot =
        |error: io::Error| unreachable(format!("cannot start the pool in {}: {error}", home.state_dir().display()));
    let mut child = spawn().map_err(cannot)?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(stream) = connect(home).await? {
            return Ok(stream);
        }
        match child.try_wait().map_err(cannot)? {
            None => {}
            // Another client's pool has the lock and answers soon; or one that was told to stop has it still.
            Some(status) if status.code() == Some(i32::from(crate::protocol::ALREADY_RUNS)) => {
                tokio::time::sleep(RETRY_START).await;
                if let Some(stream) = connect(home).await? {
                    return Ok(stream);
                }
                child = spawn().map_err(cannot)?;
            }
            Some(_) => {
                let tail = last_lines(&log);
                return Err(unreachable(format!("the pool ended as soon as it was started:\n{tail}")));
            }
        }
        if Instant::now() > deadline {
            return Err(unreachable(format!(
                "the pool did not answer within {} s; its log is {}{}",
                START_LIMIT.as_secs(),
                log.display(),
                match lock::holders(&home.pool_lock()) {
                    holders if holders.is_empty() => String::new(),
                    holders => format!("; its lock is held by {holders}"),
                }
            )));
        }
        tokio::time::sleep(START_POLL).await;
    }
}

/// The variables of this process that settings name as secrets; also puts `[pool] environment` in force.
fn settings_variables(home: &Home) -> Vec<(String, std::ffi::OsString)> {
    let settings = Settings::load(home, &Settings::default());
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
