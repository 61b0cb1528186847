//! Git, spoken by processes of their own: libgit2 can't be interrupted, and a server that hangs, or trickles for ever, ends with the
//! process that listens to it. What a private CA may vouch for stays in the process that was told to trust it.
//!
//! A process answers one question after another, a line of JSON each; secrets go to it through its standard input alone.

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::super::commits::{self, Commit, Wanted};
use super::super::error::{Kind, SourceError};
use super::super::refs::{self, Refs};
use super::super::remote::{Access, Credentials};
use super::super::url::SourceUrl;
use crate::store::environment::{ListedEnvironment as _, Receiver};
use crate::store::secrets::Secret;

/// The subcommand that answers.
pub const SUBCOMMAND: &str = "git";

/// A question to a process.
#[derive(Serialize, Deserialize)]
struct Question {
    url: String,
    username: Option<String>,
    token: Option<String>,
    ssh_key: Option<PathBuf>,
    ssh_passphrase: Option<String>,
    ca: Option<PathBuf>,
    proxy: Option<String>,
    what: What,
}

#[derive(Serialize, Deserialize)]
enum What {
    List,
    Look(Wanted),
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Refs(Refs),
    Commit(Commit),
    Error(SourceError),
}

/// The processes that speak git for this one; those that have nothing to do wait for more.
pub struct Git {
    program: PathBuf,
    idle: Mutex<Vec<Process>>,
}

struct Process {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The CA that it trusts; none: the system's alone.
    ca: Option<PathBuf>,
}

impl Git {
    /// Processes of that program: slipway itself.
    pub fn new(program: PathBuf) -> Git {
        Git { program, idle: Mutex::default() }
    }

    /// Reads the branches and tags of a source, without a clone.
    ///
    /// # Errors
    /// When the source can't be reached, opened or understood in time; the error's kind tells which.
    pub async fn list(&self, url: &SourceUrl, access: &Access) -> Result<Refs, SourceError> {
        match self.ask(url, access, What::List).await? {
            Answer::Refs(refs) => Ok(refs),
            Answer::Error(error) => Err(error),
            Answer::Commit(_) => Err(SourceError::new(Kind::Network, url, BROKE_OFF.into())),
        }
    }

    /// Looks at a commit of a source: what it says, and what it changes.
    ///
    /// # Errors
    /// When the source can't be read in time, or does not have the commit.
    pub async fn look(&self, url: &SourceUrl, access: &Access, wanted: Wanted) -> Result<Commit, SourceError> {
        match self.ask(url, access, What::Look(wanted)).await? {
            Answer::Commit(commit) => Ok(commit),
            Answer::Error(error) => Err(error),
            Answer::Refs(_) => Err(SourceError::new(Kind::Network, url, BROKE_OFF.into())),
        }
    }

    async fn ask(&self, url: &SourceUrl, access: &Access, what: What) -> Result<Answer, SourceError> {
        let network = |reason: String| SourceError::new(Kind::Network, url, reason);
        let credentials = &access.credentials;
        let expose = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let question = Question {
            url: url.to_string(),
            username: credentials.username.clone(),
            token: expose(&credentials.token),
            ssh_key: credentials.ssh_key.clone(),
            ssh_passphrase: expose(&credentials.ssh_passphrase),
            ca: access.ca.clone(),
            proxy: access.proxy.clone(),
            what,
        };
        let mut line = serde_json::to_vec(&question).map_err(|error| network(error.to_string()))?;
        line.push(b'\n');
        let mut process = self.process(&access.ca).map_err(|error| network(format!("cannot start git: {error}")))?;
        match tokio::time::timeout(access.timeout, process.converse(&line)).await {
            Ok(Ok(answer)) => {
                self.lock().push(process);
                Ok(answer)
            }
            // It is dropped, and with that killed.
            Ok(Err(_)) => Err(network(BROKE_OFF.into())),
            Err(_) => Err(network(format!("no answer within {:.1} s", access.timeout.as_secs_f64()))),
        }
    }

    /// One that waits and trusts that CA, or a new one.
    fn process(&self, ca: &Option<PathBuf>) -> io::Result<Process> {
        let mut idle = self.lock();
        while let Some(at) = idle.iter().position(|process| process.ca == *ca) {
            let mut process = idle.swap_remove(at);
            // It may have been killed while it waited.
            if process.child.try_wait()?.is_none() {
                return Ok(process);
            }
        }
        drop(idle);
        let mut child = Command::new(&self.program)
            .arg0("slipway")
            .arg(SUBCOMMAND)
            .listed_environment(Receiver::Git)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let gone = || io::Error::other("it has no pipes");
        let (questions, answers) =
            (child.stdin.take().ok_or_else(gone)?, BufReader::new(child.stdout.take().ok_or_else(gone)?));
        Ok(Process { child, questions, answers, ca: ca.clone() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What is said where a process ends without an answer.
const BROKE_OFF: &str = "the process that spoke with it broke off";

impl Process {
    async fn converse(&mut self, question: &[u8]) -> io::Result<Answer> {
        self.questions.write_all(question).await?;
        self.questions.flush().await?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).await?;
        Ok(serde_json::from_str(&answer)?)
    }
}

/// Answers the questions of standard input until it ends: what `slipway git` does. When whoever asks is gone, this process is, too, even
/// in the middle of an answer.
pub fn serve() -> io::Result<()> {
    let (questions, asked) = std::sync::mpsc::channel::<String>();
    std::thread::Builder::new().name("git".into()).spawn(move || {
        for line in asked {
            let answer = match serde_json::from_str(&line) {
                Ok(question) => answer(question),
                // Another version of slipway asks: it hears no answer.
                Err(_) => std::process::exit(2),
            };
            let told = serde_json::to_vec(&answer).map_err(io::Error::from).and_then(|mut text| {
                text.push(b'\n');
                let mut out = io::stdout().lock();
                out.write_all(&text).and_then(|()| out.flush())
            });
            if told.is_err() {
                std::process::exit(1);
            }
        }
    })?;
    for line in io::stdin().lock().lines() {
        if questions.send(line?).is_err() {
            break;
        }
    }
    // Without the clean-up of libraries that a thread is in the middle of.
    // SAFETY: it ends the process, and touches nothing of ours.
    unsafe { libc::_exit(0) }
}

fn answer(question: Question) -> Answer {
    let Ok(url) = SourceUrl::parse(&question.url) else { std::process::exit(2) };
    let access = Access {
        credentials: Credentials {
            username: question.username,
            token: question.token.map(Secret::new),
            ssh_key: question.ssh_key,
            ssh_passphrase: question.ssh_passphrase.map(Secret::new),
        },
        ca: question.ca,
        proxy: question.proxy,
        // Whoever asks has the clock.
        timeout: Duration::MAX,
    };
    let answered = match question.what {
        What::List => refs::list(&url, &access).map(Answer::Refs),
        What::Look(wanted) => commits::look(&url, &access, &wanted).map(Answer::Commit),
    };
    answered.unwrap_or_else(Answer::Error)
}
