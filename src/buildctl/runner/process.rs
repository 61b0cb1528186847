//! A `buildctl` process: started so that it dies with its runner, read by a thread of its own, stopped in three steps.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::output::{Output, StepsOf};
use crate::domain::reason::{io_error, reason};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// What is read from the pipe at once; the pipe itself is widened to as much.
const BUFFER_BYTES: usize = 256 * 1024;
/// While output keeps coming, the log is written this often, or when its buffer is full.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// Output that pauses for so long is written at once.
const MORE_WITHIN_NANOSECONDS: i64 = 10_000_000;
/// How long each step of stopping may take: SIGINT, SIGINT, SIGKILL. The first ends the container within 0.1 s
/// (measured).
const STOP_STEP: Duration = Duration::from_secs(5);

/// A running `buildctl`.
pub(super) struct Buildctl {
    child: Child,
    reader: Option<JoinHandle<String>>,
}

/// How a `buildctl` ended.
pub(super) struct Finished {
    pub status: ExitStatus,
    /// What it printed after its stream: why it failed.
    pub text: String,
}

impl Buildctl {
    /// Starts it with the values of the build's secrets in its environment; its progress goes to `output`.
    pub(super) fn start(
        program: &Path,
        arguments: &[String],
        secrets: &[(String, &str)],
        output: &Output,
        of: StepsOf,
    ) -> io::Result<Buildctl> {
        let mut command = std::process::Command::new(program);
        command.listed_environment(Receiver::Buildctl);
        command.envs(super::credentials::variables());
        command.envs(secrets.iter().map(|(name, value)| (name, value)));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: both calls are async-signal-safe and touch no memory of ours.
        unsafe {
            command.pre_exec(|| {
                // Away from signals that a terminal or a service manager sends to our group.
                rustix::process::setpgid(None, None)?;
                // A build never outlives the process that writes its log.
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(())
            });
        }
        let mut child = Command::from(command).kill_on_drop(true).spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io_error(reason!("buildctl.no_stderr")))?.into_owned_fd()?;
        // A wide pipe saves buildctl from waiting for us; without the right to widen it, it is only slower.
        let _ = rustix::pipe::fcntl_setpipe_size(&stderr, BUFFER_BYTES);
        // tokio's pipes are non-blocking; the thread reads like any other file.
        rustix::io::ioctl_fionbio(&stderr, false)?;
        let (place, parser) = output.begin(of);
        let output = output.clone();
        let reader = std::thread::Builder::new()
            .name("read".into())
            .spawn(move || read(std::fs::File::from(stderr), place, parser, &output))?;
        Ok(Buildctl { child, reader: Some(reader) })
    }

    /// Waits for its end and for the end of its stream.
    pub(super) async fn finished(&mut self) -> io::Result<Finished> {
        let status = self.child.wait().await?;
        let text = match self.reader.take() {
            // The stream ends with the process: nobody else has its stderr.
            Some(reader) => tokio::task::spawn_blocking(move || reader.join())
                .await
                .map_err(io::Error::other)?
                .map_err(|_| io_error(reason!("buildctl.reader_failed")))?,
            None => String::new(),
        };
        Ok(Finished { status, text })
    }

    /// Stops it: asks twice, then kills.
    pub(super) async fn stop(&mut self) -> io::Result<Finished> {
        for signal in [Signal::INT, Signal::INT] {
            self.signal(signal);
            if let Ok(finished) = tokio::time::timeout(STOP_STEP, self.child.wait()).await {
                finished?;
                return self.finished().await;
            }
        }
        self.signal(Signal::KILL);
        self.finished().await
    }

    fn signal(&self, signal: Signal) {
        // Not collected yet, so the number is still its own.
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Whether more arrives before a person would notice that the log waits for it.
fn has_more(stream: &std::fs::File) -> bool {
    let wait = Timespec { tv_sec: 0, tv_nsec: MORE_WITHIN_NANOSECONDS };
    matches!(poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&wait)), Ok(1..))
}

fn read(
    mut stream: std::fs::File,
    place: usize,
    mut parser: crate::buildctl::progress::Parser,
    output: &Output,
) -> String {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut flushed = Instant::now();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                // A flood is written in large pieces; a follower is woken seldom, and still soon.
                let drained = flushed.elapsed() >= FLUSH_EVERY || !has_more(&stream);
                output.take(place, &mut parser, &buffer[..length], drained);
                if drained {
                    flushed = Instant::now();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    output.end(place, &mut parser);
    parser.text_after().to_owned()
}
