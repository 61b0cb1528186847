//! Questions to libgit2, answered in processes of their own: what a source on this machine's disk makes libgit2 do (a
//! panic, gigabytes of memory, a disk that hangs) ends with that process.
//!
//! A process answers one question after another, a line of JSON each.

use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::commits::{Commit, Wanted};
use super::local::{self, LocalError};
use crate::domain::reason::{Reason, io_error, reason};
use crate::source::error::{Kind, SourceError};
use crate::source::origin::origin;
use crate::source::refs::Refs;
use crate::source::url::SourceUrl;
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// The subcommand that answers.
pub const SUBCOMMAND: &str = "git";
/// An answer is shorter, in bytes.
const LONGEST_ANSWER: u64 = 256 << 20;

/// A question to a process.
#[derive(Serialize, Deserialize)]
pub(super) struct Question {
    url: String,
    what: What,
}

#[derive(Serialize, Deserialize)]
pub(super) enum What {
    List,
    Look(Wanted),
    /// Where it was cloned from.
    Origin,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    Refs(Refs),
    Commit(Commit),
    Origin(Option<String>),
    /// Git itself has to be asked.
    Sha256,
    Error(SourceError),
}

/// An answer, and whether the process ends after it.
#[derive(Serialize, Deserialize)]
struct Said {
    answer: Answer,
    ends: bool,
}

/// The processes that answer; those that have nothing to do wait for more.
pub(super) struct Readers {
    program: PathBuf,
    idle: Mutex<Vec<Process>>,
}

struct Process {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Readers {
    /// Processes of that program: slipway itself.
    pub(super) fn new(program: PathBuf) -> Readers {
        Readers { program, idle: Mutex::default() }
    }

    /// Asks about a source on this disk.
    pub(super) async fn ask(&self, url: &SourceUrl, what: What, limit: Duration) -> Result<Answer, SourceError> {
        let cannot = |reason: Reason| SourceError::new(Kind::Local, url, reason);
        let mut line = serde_json::to_vec(&Question { url: url.to_string(), what })
            .map_err(|error| cannot(reason!("reader.not_asked", error)))?;
        line.push(b'\n');
        let mut process = self.process().map_err(|error| cannot(reason!("reader.not_started", error)))?;
        match tokio::time::timeout(limit, process.converse(&line)).await {
            Ok(Ok(Said { answer, ends })) => {
                if !ends {
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
                }
                Ok(answer)
            }
            // It is dropped, and with that killed.
            Ok(Err(_)) => Err(cannot(reason!("reader.broke_off"))),
            Err(_) => Err(SourceError::no_answer(url, limit)),
        }
    }

    /// One that waits, or a new one.
    fn process(&self) -> io::Result<Process> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut process) = idle.pop() {
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
        let gone = || io_error(reason!("process.no_pipes"));
        let questions = child.stdin.take().ok_or_else(gone)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(gone)?);
        Ok(Process { child, questions, answers })
    }
}

impl Process {
    async fn converse(&mut self, question: &[u8]) -> io::Result<Said> {
        self.questions.write_all(question).await?;
        self.questions.flush().await?;
        let mut answer = Vec::new();
        (&mut self.answers).take(LONGEST_ANSWER).read_until(b'\n', &mut answer).await?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

/// Answers the questions of standard input until it ends: what `slipway git` does. When the asking process is gone, this
/// process is, too, even in the middle of an answer.
///
/// # Errors
/// When no question can be read.
pub fn serve() -> io::Result<()> {
    // A thread that panics would leave a process that never answers.
    std::panic::set_hook(Box::new(|_| leave(101)));
    let (questions, asked) = std::sync::mpsc::channel::<String>();
    std::thread::Builder::new().name("git".into()).spawn(move || {
        for line in asked {
            // Another version of slipway asks: it hears no answer.
            let Ok(question) = serde_json::from_str(&line) else { leave(2) };
            let said = answer(question);
            let told = serde_json::to_vec(&said).map_err(io::Error::from).and_then(|mut text| {
                text.push(b'\n');
                #[expect(clippy::disallowed_methods, reason = "an answer in JSON, through a pipe")]
                let mut out = io::stdout().lock();
                out.write_all(&text).and_then(|()| out.flush())
            });
            if told.is_err() || said.ends {
                leave(1);
            }
        }
    })?;
    for line in io::stdin().lock().lines() {
        if questions.send(line?).is_err() {
            break;
        }
    }
    leave(0)
}

/// Ends the process without the clean-up of libraries that a thread is in the middle of.
fn leave(status: i32) -> ! {
    // SAFETY: it ends the process, and touches nothing of ours.
    unsafe { libc::_exit(status) }
}

fn answer(question: Question) -> Said {
    let Ok(url) = SourceUrl::parse(&question.url) else { leave(2) };
    let path = url.local_path().unwrap_or(Path::new("")).to_owned();
    let mut ends = false;
    let answered = match question.what {
        What::Origin => Ok(Answer::Origin(origin(&path).map(|url| url.to_string()))),
        What::List => local::list(&url, &path).map(Answer::Refs),
        What::Look(wanted) => local::look(&url, &path, &wanted).map(|(commit, size)| {
            ends = size > local::LARGE;
            Answer::Commit(commit)
        }),
    };
    let answer = answered.unwrap_or_else(|error| match error {
        LocalError::Sha256 => Answer::Sha256,
        LocalError::Source(error) => Answer::Error(error),
    });
    Said { answer, ends }
}
