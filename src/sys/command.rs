//! Programs that are run to their end: within a time, with what they print in memory up to a limit. Each is in a process
//! group of its own, which ends with it when it is given up. Every question that a program answers (a version, a
//! credential, whether a sandbox works) is asked here. Elsewhere are the children that outlive a question: daemons,
//! runners, the pool, processes that answer question after question, and an installation that shows its lines.
//!
//! What a program leaves running in the background holds nobody up, even where it keeps the program's pipes. People's
//! own commands, whose leftovers may go on to print, are run by [`super::shell`].

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::process::ProcessId;
use super::shell::Group;
use crate::domain::reason::{AsReason, Reason, display_as_reason, io_error, reason};

/// How much of a command's stderr is kept, in bytes: as much of its beginning, and of its end.
const STDERR_KEPT: usize = 8 * 1024;
/// How much is read at once.
const BLOCK: usize = 64 * 1024;
/// How soon a program is started again that another process still holds open for writing.
const BUSY_AGAIN: Duration = Duration::from_millis(10);

/// How much a command may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// It is killed, with what it started, when it has not ended by then.
    pub time: Duration,
    /// It is killed when it prints more, in bytes.
    pub output: usize,
}

/// A command that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr: its beginning and its end.
    pub stderr: String,
}

/// A command that did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It can't be started, or its output can't be read.
    Io {
        /// The program.
        program: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It took too long.
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        after: Duration,
    },
    /// It printed too much.
    TooMuch {
        /// The program.
        program: String,
        /// The limit in bytes.
        limit: usize,
    },
}

display_as_reason!(RunError);

impl AsReason for RunError {
    fn reason(&self) -> Reason {
        match self {
            RunError::Io { program, cause } => reason!("run.io", program, cause),
            RunError::TimedOut { program, after } => reason!("run.timed_out", program, seconds = after.as_secs()),
            RunError::TooMuch { program, limit } => reason!("run.too_much", program, limit),
        }
    }
}

/// Runs a command to its end; it reads `input` if it likes. When the future is dropped, it is killed with what it
/// started. A program that was just written is waited for until it can be executed.
///
/// # Errors
/// When it can't be run, or exceeds a limit: then it was killed with what it started.
pub async fn run(mut command: Command, input: &[u8], limits: Limits) -> Result<Ended, RunError> {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let program = name_of(&command);
    let started = timeout(limits.time, start_when_closed(command)).await;
    let mut running = match started {
        Err(_) => return Err(RunError::TimedOut { program, after: limits.time }),
        Ok(started) => started.map_err(|cause| RunError::Io { program, cause })?,
    };
    let Some(mut stdin) = running.child.stdin.take() else { return running.run(limits).await };
    // It need not read it.
    let write = async { drop(stdin.write_all(input).await.map(|()| drop::<ChildStdin>(stdin))) };
    let (ended, ()) = tokio::join!(running.run(limits), write);
    ended
}

/// [`run`] for callers outside of a runtime, or in one whose thread may wait.
///
/// # Errors
/// As [`run`]; also when the system has no thread for it.
pub fn run_blocking(command: Command, limits: Limits) -> Result<Ended, RunError> {
    let program = name_of(&command);
    let fail = |cause: io::Error| RunError::Io { program: program.clone(), cause };
    // A runtime can't be entered from within another on the same thread.
    std::thread::scope(|scope| {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
            runtime.block_on(run(command, b"", limits))
        };
        let thread = std::thread::Builder::new().spawn_scoped(scope, work).map_err(fail)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Starts a command, once no other thread's child holds the newly written program open for writing: it has it from the
/// fork to the exec.
async fn start_when_closed(mut command: Command) -> io::Result<Running> {
    loop {
        match Running::spawn(&mut command) {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => sleep(BUSY_AGAIN).await,
            started => return started,
        }
    }
}

/// The program's name, without its directory.
fn name_of(command: &Command) -> String {
    let program = Path::new(command.as_std().get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

/// A command that runs; it is killed, with what it started, when dropped.
#[derive(Debug)]
pub struct Running {
    /// What it prints.
    pub stdout: Receiver,
    program: String,
    child: Child,
    /// What was read of its stderr so far.
    kept: Arc<Mutex<Kept>>,
    /// Reads its stderr into `kept`.
    errors: tokio::task::JoinHandle<io::Result<()>>,
    /// Dropped when it has ended: what it wrote to stderr is in the pipe then.
    has_ended: oneshot::Sender<()>,
    group: Group,
}

impl Running {
    /// Starts a command in a process group of its own, with a pipe for what it prints and one for its errors.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(mut command: Command) -> io::Result<Running> {
        Running::spawn(&mut command)
    }

    fn spawn(command: &mut Command) -> io::Result<Running> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = Group::of(child.id());
        let gone = || io_error(reason!("process.no_pipes"));
        let stdout = Receiver::from_owned_fd(child.stdout.take().ok_or_else(gone)?.into_owned_fd()?)?;
        let stderr = Receiver::from_owned_fd(child.stderr.take().ok_or_else(gone)?.into_owned_fd()?)?;
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let (has_ended, ended) = oneshot::channel();
        let errors = tokio::spawn(keep(stderr, kept.clone(), ended));
        Ok(Running { stdout, program: name_of(command), child, kept, errors, has_ended, group })
    }

    /// Which process it is; none where it has ended.
    pub fn id(&self) -> Option<ProcessId> {
        ProcessId::of(self.child.id()?.cast_signed()).ok().flatten()
    }

    /// Reads what it prints, and waits for its end. When the future is dropped, it is killed with what it started.
    ///
    /// # Errors
    /// When it exceeds a limit: then it was killed with what it started.
    pub async fn run(mut self, limits: Limits) -> Result<Ended, RunError> {
        let program = self.program.clone();
        let work = async {
            let mut printed = Vec::new();
            let is_whole = self.read_to_end(&mut printed, limits.output).await?;
            let ended = if is_whole { Some(self.end().await?) } else { None };
            Ok::<_, io::Error>((printed, ended))
        };
        match timeout(limits.time, work).await {
            Err(_) => Err(RunError::TimedOut { program, after: limits.time }),
            Ok(Err(cause)) => Err(RunError::Io { program, cause }),
            Ok(Ok((_, None))) => Err(RunError::TooMuch { program, limit: limits.output }),
            Ok(Ok((stdout, Some((status, stderr))))) => Ok(Ended { status, stdout, stderr }),
        }
    }

    /// Reads until it closes its output or ends; whether that was no more than `limit`.
    async fn read_to_end(&mut self, printed: &mut Vec<u8>, limit: usize) -> io::Result<bool> {
        loop {
            let is_done = tokio::select! {
                biased;
                read = self.stdout.read_buf(printed) => read? == 0,
                status = self.child.wait() => {
                    status?;
                    drain(&self.stdout, |block| {
                        printed.extend_from_slice(block);
                        printed.len() <= limit
                    })?;
                    true
                }
            };
            if is_done || printed.len() > limit {
                return Ok(printed.len() <= limit);
            }
        }
    }

    /// Waits for its end, once all of its output was read; how it ended, and what it wrote to stderr.
    ///
    /// # Errors
    /// When it can't be waited for, or its errors can't be read.
    pub async fn end(mut self) -> io::Result<(ExitStatus, String)> {
        let status = self.child.wait().await?;
        // What it left running (a connection that ssh shares) may stay.
        self.group.leave();
        drop(self.has_ended);
        self.errors.await.map_err(io::Error::other)??;
        Ok((status, self.kept.lock().unwrap_or_else(PoisonError::into_inner).text()))
    }
}

/// Hands over what is in a pipe now, until `take` has enough.
fn drain(pipe: &Receiver, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match pipe.try_read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) if take(&block[..read]) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The beginning and the end of a stream.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Whether something between them was left out.
    is_cut: bool,
}

impl Kept {
    fn take(&mut self, block: &[u8]) {
        self.bytes.extend_from_slice(block);
        if self.bytes.len() > 2 * STDERR_KEPT {
            self.bytes.drain(STDERR_KEPT..self.bytes.len() - STDERR_KEPT);
            self.is_cut = true;
        }
    }

    fn text(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !self.is_cut {
            return text(&self.bytes);
        }
        format!("{}\n…\n{}", text(&self.bytes[..STDERR_KEPT]), text(&self.bytes[STDERR_KEPT..]))
    }
}

/// Reads a stream to its end, or until the command has ended: another process may keep the pipe for ever.
async fn keep(mut stream: Receiver, kept: Arc<Mutex<Kept>>, mut has_ended: oneshot::Receiver<()>) -> io::Result<()> {
    let take = |block: &[u8]| kept.lock().unwrap_or_else(PoisonError::into_inner).take(block);
    let mut block = vec![0; BLOCK];
    loop {
        tokio::select! {
            biased;
            read = stream.read(&mut block) => match read? {
                0 => return Ok(()),
                read => take(&block[..read]),
            },
            _ = &mut has_ended => return drain(&stream, |block| {
                take(block);
                true
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LIMITS: Limits = Limits { time: Duration::from_secs(60), output: 64 * 1024 };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn limits_of_time_and_output_end_a_command_with_what_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = shell("sleep 1000 & echo $! > pid; cat /dev/zero");
        command.current_dir(directory.path());
        let error = run(command, b"", LIMITS).await.unwrap_err();
        assert!(matches!(error, RunError::TooMuch { limit: 65_536, .. }), "{error}");
        let left: i32 = fs::read_to_string(directory.path().join("pid")).unwrap().trim().parse().unwrap();
        if let Some(left) = ProcessId::of(left).unwrap() {
            left.exited().await.unwrap();
        }
        let late = run(shell("sleep 1000"), b"", Limits { time: Duration::from_millis(20), ..LIMITS }).await;
        assert_eq!(late.unwrap_err().to_string(), "sh had not ended after 0 s");
        let none = run(Command::new("/nonexistent/program"), b"", LIMITS).await.unwrap_err();
        assert!(none.to_string().starts_with("program cannot be run: "), "{none}");
    }

    #[tokio::test]
    async fn a_caller_may_wait_for_a_command_inside_of_a_runtime_and_outside() {
        let outside = || run_blocking(shell("echo done; exit 3"), LIMITS).unwrap();
        for ended in [outside(), std::thread::spawn(outside).join().unwrap()] {
            assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(3), b"done\n".as_slice()));
        }
        let late = run_blocking(shell("sleep 1000"), Limits { time: Duration::from_millis(20), ..LIMITS });
        assert!(matches!(late, Err(RunError::TimedOut { .. })));
    }

    #[tokio::test]
    async fn a_program_that_is_still_open_for_writing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::copy("/bin/true", &program).unwrap();
        let open = fs::OpenOptions::new().append(true).open(&program).unwrap();
        let wait = run(Command::new(&program), b"", LIMITS);
        let close = async {
            tokio::task::yield_now().await;
            drop(open);
        };
        let (ended, ()) = tokio::join!(wait, close);
        assert!(ended.unwrap().status.success());
    }

    #[tokio::test]
    async fn a_command_reads_its_input_or_leaves_it() {
        let input = "x".repeat(1 << 20);
        let read = run(shell("wc -c"), input.as_bytes(), LIMITS).await.unwrap();
        assert_eq!(String::from_utf8(read.stdout).unwrap().trim(), "1048576");
        assert_eq!(run(shell("echo done"), input.as_bytes(), LIMITS).await.unwrap().stdout, b"done\n");
    }

    #[tokio::test]
    async fn all_that_was_printed_is_there_though_a_process_that_is_left_holds_the_pipes() {
        let ended = run(shell("sleep 1000 & echo $!; echo refused >&2; exit 3"), b"", LIMITS).await.unwrap();
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(3), "refused\n"));
        let left: i32 = String::from_utf8(ended.stdout).unwrap().trim().parse().unwrap();
        assert!(ProcessId::of(left).unwrap().unwrap().signal(rustix::process::Signal::KILL).unwrap(), "it may stay");
    }

    #[tokio::test]
    async fn errors_are_kept_at_their_beginning_and_their_end() {
        let script = "echo first >&2; yes | head -c 1000000 >&2; echo last >&2; exit 3";
        let ended = run(shell(script), b"", LIMITS).await.unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert!(ended.stderr.starts_with("first\n") && ended.stderr.ends_with("last\n") && ended.stderr.len() < 20_000);
    }
}
