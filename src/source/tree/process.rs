//! The process that makes a tree: `slipway tree`. What a large tree takes of memory ends with it, and so does what it
//! started when its pool is killed or the build is cancelled.
//!
//! It reads one request, a line of JSON, from a pipe, and answers with another. The request holds the repository's
//! [`TimeKey`].

use std::fs::File;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::checkout::{self, Moved, Position};
use super::error::TreeError;
use super::files::Root;
use super::keep_git;
use super::lender;
use super::lfs;
use super::objects::{Lender, Objects};
use super::pointer::{LfsCommit, Pointer};
use super::room::Room;
use super::time_key::TimeKey;
use crate::domain::reason::{io_error, phrase, reason};
use crate::source::git::GitProgram;
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "tree";
/// A request or an answer is shorter, in bytes: some hundred thousand LFS pointers.
const LONGEST: u64 = 64 << 20;
/// How long a process whose request is given up may take to end what it started.
const LEAVING: Duration = Duration::from_secs(2);

/// A repository, and where its tree goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Site {
    /// Whose objects are borrowed.
    pub lender: Lender,
    /// The bare repository that borrows them.
    pub repository: PathBuf,
    /// The directory of the tree.
    pub root: PathBuf,
    /// The commit.
    pub commit: String,
    /// What the nanoseconds of its files are made with.
    pub key: TimeKey,
}

/// What a process does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Finds a repository on this machine's disk.
    Lend {
        /// The repository.
        path: PathBuf,
        /// The local source that names it as a submodule.
        source: Option<PathBuf>,
    },
    /// Moves a tree to the commit of a site.
    Move {
        /// Where.
        site: Site,
        /// Where the tree is now; none: it is made again.
        from: Option<Position>,
        /// How much it may take.
        room: Room,
    },
    /// Says where Git LFS is by the commit's `.lfsconfig`, and makes a commit that holds nothing but these pointers.
    Pointers {
        /// Where.
        site: Site,
        /// The pointers.
        pointers: Vec<Pointer>,
    },
    /// Puts files in the place of their pointers.
    Fill {
        /// The directory of the tree.
        root: PathBuf,
        /// The pointers.
        pointers: Vec<Pointer>,
        /// Where git-lfs keeps the files.
        storage: PathBuf,
    },
    /// Makes the tree's `.git`, or removes it.
    Git {
        /// Where.
        site: Site,
        /// Whether there is one.
        keep: bool,
    },
}

/// What a process did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The repository's objects.
    Lent(Lender),
    /// The tree was moved.
    Moved(Moved),
    /// What git-lfs is to fetch.
    Pointers(LfsCommit),
    /// The files are in place, but for these: what is stored of them is not what their pointers say.
    Filled(Vec<Pointer>),
    /// It is done.
    Done,
    /// It failed.
    Error(TreeError),
}

/// Starts processes.
#[derive(Debug, Clone)]
pub struct Trees {
    /// slipway itself.
    pub program: PathBuf,
}

impl Trees {
    /// Has a request done by a process that holds the lock of its slot, if it has one, until it, and what it started,
    /// has ended. A request that is given up (its future is dropped) is ended.
    ///
    /// # Errors
    /// When it fails, or the process does.
    pub async fn ask(&self, request: &Request, lock: Option<&Arc<File>>) -> Result<Answer, TreeError> {
        let io = |error: io::Error| TreeError::step(reason!("tree_step.run_slipway_tree"), &error);
        let mut line = serde_json::to_vec(request).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        let mut command = Command::new(&self.program);
        command.listed_environment(Receiver::Git).arg0("slipway").arg(SUBCOMMAND).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        if let Some(number) = lock.map(|lock| lock.as_raw_fd()) {
            // SAFETY: fcntl is async-signal-safe.
            unsafe {
                command.pre_exec(move || match libc::fcntl(number, libc::F_SETFD, 0) {
                    -1 => Err(io::Error::last_os_error()),
                    _ => Ok(()),
                });
            }
        }
        let mut child = command.spawn().map_err(io)?;
        let gone = || io(io_error(reason!("process.no_pipes")));
        let mut input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        // When this future is dropped, so is its input: the process then ends what it started, and itself.
        let mut reaped = Reaped(Some(child));
        input.write_all(&line).await.map_err(io)?;
        let mut answer = Vec::new();
        tokio::io::BufReader::new(output).take(LONGEST).read_until(b'\n', &mut answer).await.map_err(io)?;
        drop(input);
        reaped.wait().await.map_err(io)?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::Error(error)) => Err(error),
            Ok(answer) => Ok(answer),
            Err(_) => Err(io(io_error(reason!("tree.broke_off")))),
        }
    }
}

/// A process that is waited for, also where nobody waits for its answer any more.
struct Reaped(Option<tokio::process::Child>);

impl Reaped {
    async fn wait(&mut self) -> io::Result<()> {
        if let Some(child) = &mut self.0 {
            child.wait().await?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let (Some(mut child), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            if tokio::time::timeout(LEAVING, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        });
    }
}

/// Does the request of standard input: what `slipway tree` does. When the asking process is gone, so is this one, with
/// what it started.
///
/// # Errors
/// When there is no request, or the answer can't be written.
pub fn serve() -> io::Result<()> {
    // Modes are git's own, whatever umask we were started with.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut line = Vec::new();
    io::stdin().lock().take(LONGEST).read_until(b'\n', &mut line)?;
    let request: Request = serde_json::from_slice(&line)?;
    let (given_up, is_given_up) = tokio::sync::oneshot::channel::<()>();
    std::thread::Builder::new().name("input".into()).spawn(move || {
        let _ = io::stdin().lock().read(&mut [0; 1]);
        drop(given_up);
    })?;
    let answer = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        tokio::select! {
            // Git that still runs is killed with what this drops.
            _ = is_given_up => None,
            answer = do_it(request) => Some(answer.unwrap_or_else(Answer::Error)),
        }
    });
    if let Some(answer) = answer {
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        #[expect(clippy::disallowed_methods, reason = "an answer to the pool, through a pipe")]
        let mut output = io::stdout().lock();
        output.write_all(&text).and_then(|()| output.flush())?;
    }
    Ok(())
}

async fn do_it(request: Request) -> Result<Answer, TreeError> {
    match request {
        Request::Lend { path, source: None } => lender::local(&path).map(Answer::Lent),
        Request::Lend { path, source: Some(source) } => lender::neighbour(&source, &path).map(Answer::Lent),
        Request::Move { site, from, room } => {
            let objects = open(&site)?;
            checkout::move_to(&objects, &site.key, &site.root, from.as_ref(), &site.commit, room)
                .await
                .map(Answer::Moved)
        }
        Request::Pointers { site, pointers } => {
            let objects = open(&site)?;
            objects.lfs_commit(&site.commit, &pointers).await.map(Answer::Pointers)
        }
        Request::Fill { root, pointers, storage } => fill(&root, pointers, &storage).map(Answer::Filled),
        Request::Git { site, keep: true } => {
            let objects = open(&site)?;
            keep_git::make(&objects, &site.key, &site.lender, &site.root, &site.commit).await.map(|()| Answer::Done)
        }
        Request::Git { site, keep: false } => {
            let removed = keep_git::remove(&site.root)
                .and_then(|()| Root::open(&site.root)?.set_directory_times(&Default::default()));
            removed
                .map(|()| Answer::Done)
                .map_err(|error| TreeError::io(phrase!("tree_step.change"), &site.root, &error))
        }
    }
}

fn open(site: &Site) -> Result<Objects, TreeError> {
    Objects::open(GitProgram::find().ok(), &site.lender, &site.repository, &site.root, &site.commit)
}

fn fill(root: &Path, pointers: Vec<Pointer>, storage: &Path) -> Result<Vec<Pointer>, TreeError> {
    let mut files = Root::open(root).map_err(|error| TreeError::io(phrase!("verb.open"), root, &error))?;
    let mut damaged = Vec::new();
    for pointer in pointers {
        if !lfs::fill(&mut files, root, &pointer, storage)? {
            damaged.push(pointer);
        }
    }
    Ok(damaged)
}
