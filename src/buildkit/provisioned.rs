//! Builders that a user's own command makes and another takes away: a pod, a VM, a container.
//!
//! The first command prints the builder's address on the first line of its output; the second gets that address as `$1` and
//! as `SLIPWAY_BUILDER`. Both run under `sh -c`.

use std::io;
use std::time::Duration;

use crate::domain::reason::{AsReason, Reason, display_as_reason, quoted, reason};
use crate::sys::shell::{Shell, ShellError, said};

/// An address takes far less; what a command prints beyond it is not read.
const ADDRESS_BYTES: u64 = 4_096;

/// A provisioning command failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named in the messages")]
pub enum ProvisionError {
    /// `sh` cannot be run, or its output cannot be kept.
    Run { role: &'static str, command: String, source: io::Error },

    /// It exited with an error.
    Failed { role: &'static str, command: String, status: String, stderr: String },

    /// It took too long and was ended.
    TimedOut { role: &'static str, command: String, after: Duration, stderr: String },

    /// It printed something else.
    NoAddress { role: &'static str, command: String, line: String, stderr: String },
}

display_as_reason!(ProvisionError);

impl AsReason for ProvisionError {
    fn reason(&self) -> Reason {
        match self {
            ProvisionError::Run { role, command, source } => reason!("provision.run", role, command, source),
            ProvisionError::Failed { role, command, status, stderr } => {
                reason!("provision.failed", role, command, status, stderr = said(stderr))
            }
            ProvisionError::TimedOut { role, command, after, stderr } => {
                reason!("provision.timed_out", role, command, after = after.as_secs(), stderr = said(stderr))
            }
            ProvisionError::NoAddress { role, command, line, stderr } => {
                reason!("provision.no_address", role, command, line = quoted(line), stderr = said(stderr))
            }
        }
    }
}

/// Runs `command` and gives the address that it prints.
///
/// # Errors
/// When it fails, does not end within `limit` (then it and its children are killed), or prints no address.
pub async fn provision(command: &str, limit: Duration) -> Result<String, ProvisionError> {
    let finished = run("provision", command, "", limit).await?;
    let line = finished.stdout.lines().next().unwrap_or_default().trim();
    if !is_address(line) {
        let (line, stderr) = (line.to_owned(), finished.stderr);
        return Err(ProvisionError::NoAddress { role: "provision", command: command.into(), line, stderr });
    }
    Ok(line.to_owned())
}

/// Runs `command`, which takes down the builder at `address`.
///
/// # Errors
/// When it fails, or does not end within `limit` (then it and its children are killed).
pub async fn release(command: &str, address: &str, limit: Duration) -> Result<(), ProvisionError> {
    run("release", command, address, limit).await.map(drop)
}

fn is_address(line: &str) -> bool {
    line.split_once("://").is_some_and(|(scheme, rest)| {
        let scheme_fits = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        !scheme.is_empty() && scheme_fits && !rest.is_empty() && !rest.contains(char::is_whitespace)
    })
}

struct Finished {
    stdout: String,
    stderr: String,
}

async fn run(role: &'static str, command: &str, address: &str, limit: Duration) -> Result<Finished, ProvisionError> {
    let failed_to_run = |source| ProvisionError::Run { role, command: command.into(), source };
    let shell = Shell { command, arguments: &[address], variables: &[("SLIPWAY_BUILDER", address)], input: b"", limit };
    let ended = shell.run().await.map_err(|error| match error {
        ShellError::Run(source) => failed_to_run(source),
        ShellError::TimedOut { after, stderr } => {
            ProvisionError::TimedOut { role, command: command.into(), after, stderr }
        }
    })?;
    let stderr = ended.stderr();
    if !ended.status.success() {
        return Err(ProvisionError::Failed { role, command: command.into(), status: ended.how(), stderr });
    }
    let stdout = ended.stdout(ADDRESS_BYTES).map_err(failed_to_run)?;
    Ok(Finished { stdout, stderr })
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_first_line_is_the_address_and_a_child_in_the_background_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let command = format!("echo tcp://10.0.0.7:1234; echo more; sleep 1000 & echo $! > {}", pid_file.display());
        assert_eq!(provision(&command, LONG).await.unwrap(), "tcp://10.0.0.7:1234");
        let pid = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        let sleeper = crate::sys::process::ProcessId::of(pid).unwrap().unwrap();
        assert!(sleeper.signal(Signal::KILL).unwrap(), "it goes on after a success");
    }

    #[tokio::test]
    async fn the_release_command_gets_the_address_both_ways() {
        release("test \"$1\" = tcp://a:1 && test \"$SLIPWAY_BUILDER\" = tcp://a:1", "tcp://a:1", LONG).await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_carries_the_status_and_the_end_of_stderr() {
        let error = provision("echo no quota left >&2; exit 3", LONG).await.unwrap_err().to_string();
        assert!(error.contains("exit status 3") && error.ends_with("no quota left"), "{error}");
        let error = release("kill -9 $$", "tcp://a:1", LONG).await.unwrap_err().to_string();
        assert!(error.contains("signal 9") && error.contains("nothing on stderr"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_with_what_was_printed() {
        for printed in ["", "ready", "://x", "tcp://", "tcp://a b", "please wait: tcp://a"] {
            let error = provision(&format!("echo '{printed}'"), LONG).await.unwrap_err();
            assert!(matches!(&error, ProvisionError::NoAddress { line, .. } if line == printed), "{error}");
        }
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        // The child holds the fifo's writing end: the reader's end of file tells that it died.
        let command = format!("mkfifo {0}; sleep 1000 > {0} & cat {0}; sleep 1000", fifo.display());
        let error = provision(&command, Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, ProvisionError::TimedOut { .. }), "{error}");
        let gone = tokio::task::spawn_blocking(move || {
            loop {
                // Opening for writing without waiting fails as long as nobody reads, that is, once `cat` is dead too.
                let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
                match rustix::fs::open(&fifo, flags, rustix::fs::Mode::empty()) {
                    Err(rustix::io::Errno::NXIO | rustix::io::Errno::NOENT) => break,
                    _ => std::thread::yield_now(),
                }
            }
        });
        timeout(LONG, gone).await.unwrap().unwrap();
    }
}
