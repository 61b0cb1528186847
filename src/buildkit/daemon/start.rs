//! Starting the process, waiting until it answers, and reading what it said when it does not.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::error::DaemonError;
use super::log_tail::tail;
use super::record::Record;
use super::running::Daemon;
use super::spec::{Spec, set_runtime_dir};
use super::ssh;
use crate::buildkit::cgroup::{Group, Limits};
use crate::buildkit::rootless;
use crate::domain::reason::phrase;
use crate::sys::atomic;
use crate::sys::command;
use crate::sys::environment::{ListedEnvironment as _, Receiver, path_with_sbin};
use crate::sys::hardening;
use crate::sys::process::ProcessId;

/// How long a daemon may take from its start until it answers. It takes 0.25 s on an idle machine; opening the
/// databases of a large cache on a busy disk is what the rest is for.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(30);

/// A program that is asked for its version.
const VERSION_LIMITS: command::Limits = command::Limits { time: READY_LIMIT, output: 64 * 1024 };

/// A log longer than this is set aside when the daemon starts, so at most twice as much is kept.
const LOG_LIMIT_BYTES: u64 = 8 << 20;

/// How often a starting daemon is asked. A connection attempt costs microseconds.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// `sun_path` of unix(7), less the final NUL.
const LONGEST_SOCKET: usize = 107;

/// Makes the directories; refuses a socket that cannot be.
pub(super) fn prepare(spec: &Spec) -> Result<(), DaemonError> {
    if spec.socket().as_os_str().len() > LONGEST_SOCKET {
        return Err(DaemonError::LongSocket(spec.socket()));
    }
    let log_dir = spec.log.parent().unwrap_or(Path::new("."));
    for dir in [&spec.dir, &spec.root, &spec.sockets, log_dir, &rootless::runtime_dir(&spec.sockets)] {
        atomic::make_dirs(dir).map_err(DaemonError::file(phrase!("verb.create"), dir))?;
    }
    Ok(())
}

/// Starts the daemon and waits until it answers. The caller holds the lock and knows that none runs.
pub(super) async fn start(spec: &Spec) -> Result<Daemon, DaemonError> {
    atomic::put_aside_longer_than(LOG_LIMIT_BYTES, &spec.log)
        .map_err(DaemonError::file(phrase!("verb.set_aside"), &spec.log))?;
    atomic::write(&spec.config_file(), spec.config.as_bytes(), atomic::PRIVATE)?;
    if let Some(sandbox) = &spec.sandbox {
        sandbox.write()?;
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(&spec.log)
        .map_err(DaemonError::file(phrase!("verb.open"), &spec.log))?;
    let log_start = log.metadata().map_err(DaemonError::file(phrase!("verb.read"), &spec.log))?.len();
    if !spec.tools.buildkitd.is_file() {
        // Otherwise the script or rootlesskit that starts it would say so, in its own words.
        let source = ErrorKind::NotFound.into();
        return Err(DaemonError::Spawn { program: spec.tools.buildkitd.clone(), source });
    }
    let mut command = command(spec, &log)?;
    if let Some((group, limits)) = &spec.limits {
        limit(&mut command, spec, group, limits)?;
    }
    let child = command.spawn().map_err(|source| {
        // No record tells of the group yet, so nothing else would remove it.
        spec.limits.iter().for_each(|(group, _)| group.remove());
        DaemonError::Spawn { program: command.as_std().get_program().into(), source }
    })?;

    let pid = child.id().unwrap_or_default() as i32;
    let process = ProcessId::of(pid).and_then(|process| process.ok_or(ErrorKind::NotFound.into()));
    let process = process.map_err(|source| DaemonError::Process { doing: phrase!("verb.find"), pid, source })?;
    let mut daemon = Daemon { dir: spec.dir.clone(), record: Record::of(spec, process)?, child: Some(child) };
    // Before it is ready: should we die now, the next one finds it by this.
    daemon.record.save(&spec.dir)?;

    let (ready, version) = tokio::join!(wait_until_ready(&mut daemon, READY_LIMIT), version(&spec.tools.buildkitd));
    if let Err(error) = ready {
        let error = error.into_daemon_error(&spec.log, log_start);
        daemon.end_process(Duration::ZERO).await?;
        return Err(error);
    }
    daemon.record.version = version;
    daemon.record.save(&spec.dir)?;
    Ok(daemon)
}

/// Makes the control group of the daemon's steps; a rootless daemon enters it when it starts.
fn limit(command: &mut Command, spec: &Spec, group: &Group, limits: &Limits) -> Result<(), DaemonError> {
    let path = PathBuf::from(group.path());
    let lacking = group.create(limits).map_err(DaemonError::file(phrase!("verb.limit_the_control_group"), &path))?;
    if !lacking.is_empty() {
        tracing::warn!("there is no {} controller, so builds have no such limit", lacking.join(" and no "));
    }
    if spec.tools.rootlesskit.is_some() {
        let mut doors = group.doors().map_err(DaemonError::file(phrase!("verb.enter_the_control_group"), &path))?;
        // SAFETY: writing to a descriptor is async-signal-safe and touches no memory of ours.
        unsafe {
            command.pre_exec(move || doors.iter_mut().try_for_each(|door| door.write_all(b"0")));
        }
    }
    Ok(())
}

fn command(spec: &Spec, log: &File) -> Result<Command, DaemonError> {
    let output = || log.try_clone().map_err(DaemonError::file(phrase!("verb.open"), &spec.log));
    let path = ssh::install(&spec.dir, &path_with_sbin(std::env::var("PATH").ok().as_deref()))?;
    let line = spec.command_line();
    let mut command = Command::new(&line[0]);
    command
        .args(&line[1..])
        .listed_environment(Receiver::Buildkitd)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output()?)
        .stderr(output()?)
        .env("PATH", path)
        // By default a step's log is cut at 2 MiB and 200 KiB/s.
        .env("BUILDKIT_STEP_LOG_MAX_SIZE", "-1")
        .env("BUILDKIT_STEP_LOG_MAX_SPEED", "-1");
    set_runtime_dir(&mut command, spec.tools.rootlesskit.as_deref(), &spec.sockets);
    // SAFETY: both calls are async-signal-safe and touch no memory of ours.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            // Of a pool that a script ran: what the script holds open, or locked, is not the daemon's for as long as it
            // runs.
            hardening::close_on_exec();
            Ok(())
        });
    }
    Ok(command)
}

/// Why a daemon is not ready.
pub(super) enum NotReady {
    Ended(Option<ExitStatus>),
    Silent(Duration),
    Unknown(DaemonError),
}

impl NotReady {
    fn into_daemon_error(self, log: &Path, log_start: u64) -> DaemonError {
        let (log, tail) = (log.to_owned(), tail(log, log_start));
        match self {
            NotReady::Ended(status) => DaemonError::Died { status, log, tail },
            NotReady::Silent(after) => DaemonError::Silent { after, log, tail },
            NotReady::Unknown(error) => error,
        }
    }
}

/// Until it answers on its socket, its process ends, or the limit is reached.
pub(super) async fn wait_until_ready(daemon: &mut Daemon, limit: Duration) -> Result<(), NotReady> {
    let socket = daemon.record.socket().to_owned();
    let answers = async {
        while greet(&socket).await.is_err() {
            sleep(ASK_AGAIN).await;
        }
    };
    tokio::select! {
        biased;
        ended = daemon.exited() => Err(match ended {
            Ok(status) => NotReady::Ended(status),
            Err(error) => NotReady::Unknown(error),
        }),
        answered = timeout(limit, answers) => answered.map_err(|_| NotReady::Silent(limit)),
    }
}

/// Completes when the server of the socket begins to talk HTTP/2, as gRPC does. That it takes connections is not
/// enough: buildkitd listens first and only then opens its databases and looks for a worker, which may yet fail.
async fn greet(socket: &Path) -> std::io::Result<()> {
    /// The client's preface and an empty SETTINGS frame (RFC 9113, 3.4 and 6.5).
    const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const FRAME_HEADER_BYTES: usize = 9;
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(HELLO).await?;
    stream.read_exact(&mut [0; FRAME_HEADER_BYTES]).await.map(drop)
}

/// What the binary says of itself: the last but one word of `buildkitd github.com/moby/buildkit v0.34.2 REVISION`. One
/// that was compiled without the linker flag says `v0.0.0+unknown`, so this is for people to read, not to decide by.
async fn version(buildkitd: &Path) -> Option<String> {
    let mut command = Command::new(buildkitd);
    command.arg("--version").listed_environment(Receiver::Buildkitd);
    let ended = command::run(command, b"", VERSION_LIMITS).await.ok()?;
    let text = String::from_utf8_lossy(&ended.stdout);
    text.split_ascii_whitespace().nth(2).map(str::to_owned)
}

/// A daemon of ours that no record tells of, because its starter died within that millisecond or the record was
/// deleted: the process with exactly this command line.
pub(super) fn find_unrecorded(spec: &Spec) -> Result<Option<Record>, DaemonError> {
    let wanted: Vec<u8> = spec.process_line().iter().flat_map(|a| a.bytes().chain([0])).collect();
    let me = rustix::process::geteuid().as_raw();
    let processes = fs::read_dir("/proc").map_err(DaemonError::file(phrase!("verb.read"), Path::new("/proc")))?;
    for entry in processes.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted)
            && entry.metadata().is_ok_and(|meta| meta.uid() == me)
            && let Ok(Some(process)) = ProcessId::of(pid)
            && process.is_alive()
        {
            let mut record = Record::of(spec, process)?;
            // Nobody knows what configuration it was started with.
            record.fingerprint.clear();
            return Ok(Some(record));
        }
    }
    Ok(None)
}
