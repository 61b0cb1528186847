//! Secrets: files under `secrets/` that only their owner may read, environment variables, and commands that print one.
//!
//! A secret never stands in TOML, in an argument list, in a log or in an error; only its [`SecretRef`] does.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;

use crate::domain::reason::{AsReason, Reason, display_as_reason, output, phrase, quoted, reason, use_as_reason};
use crate::log::sanitize::printable;
use crate::sys::atomic::{self, WriteError};
use crate::sys::command::{Limits, RunError, run};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

pub use crate::domain::secret_ref::SecretRef;
use crate::domain::secret_ref::is_file_name;
pub use crate::sys::secret::{LONGEST, Secret};

/// How long a command may take to print its secret: time for a hardware key to be touched.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a failed command's stderr an error shows, in characters.
const SHOWN_STDERR: usize = 500;

/// Failed to read or store a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A name that no secret can have.
    Name {
        /// What was given.
        name: String,
    },
    /// There is no such file.
    Missing {
        /// The secret's name.
        name: String,
        /// Where it is looked for.
        path: PathBuf,
    },
    /// Others may read the file.
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file can't be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// An environment variable that is not set.
    Env {
        /// The variable.
        name: String,
    },
    /// Empty, not UTF-8, or too long.
    Unusable {
        /// Where it came from.
        from: Reason,
        /// What is wrong with it.
        what: SecretFault,
    },
    /// A command that failed.
    Command {
        /// The command.
        command: String,
        /// How it ended, with what it wrote to stderr.
        what: CommandEnd,
    },
    /// The file can't be written.
    Write(#[from] WriteError),
}

display_as_reason!(SecretError);

impl AsReason for SecretError {
    fn reason(&self) -> Reason {
        match self {
            SecretError::Name { name } => reason!("secret.name", name = quoted(name)),
            SecretError::Missing { name, path } => reason!("secret.missing", name = quoted(name), path),
            SecretError::Exposed { path, mode } => {
                reason!("secret.exposed", path, mode = format!("{:04o}", mode), quoted = shell_quoted(path))
            }
            SecretError::Read { path, cause } => reason!("secret.read", path, cause),
            SecretError::Env { name } => reason!("secret.env", name),
            SecretError::Unusable { from, what } => reason!("secret.unusable", from, what),
            SecretError::Command { command, what } => {
                reason!("secret.command", command = quoted(program_of(command)), what)
            }
            SecretError::Write(error) => error.reason(),
        }
    }
}

/// What is wrong with a secret's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretFault {
    /// Its file is a directory, a device or a pipe.
    NoRegularFile,
    /// It is longer than [`LONGEST`].
    TooLong,
    /// It is no UTF-8.
    NotText,
    /// There is nothing in it.
    Empty,
    /// It has a NUL character.
    Nul,
}

use_as_reason!(SecretFault);

impl AsReason for SecretFault {
    fn reason(&self) -> Reason {
        match self {
            SecretFault::NoRegularFile => reason!("secret_fault.no_regular_file"),
            SecretFault::TooLong => reason!("secret_fault.too_long"),
            SecretFault::NotText => reason!("secret_fault.not_text"),
            SecretFault::Empty => reason!("secret_fault.empty"),
            SecretFault::Nul => reason!("secret_fault.nul"),
        }
    }
}

/// How a command for a secret failed.
#[derive(Debug)]
pub enum CommandEnd {
    /// It can't be started, or its output can't be read.
    NotRun(io::Error),
    /// It took too long and was ended.
    TimedOut(Duration),
    /// It ended with an exit status, with what it wrote to stderr.
    Exited(i32, String),
    /// A signal ended it, with what it wrote to stderr.
    Killed(i32, String),
}

use_as_reason!(CommandEnd);

impl AsReason for CommandEnd {
    fn reason(&self) -> Reason {
        let (how, said) = match self {
            CommandEnd::NotRun(error) => return reason!("secret_command.not_run", error),
            CommandEnd::TimedOut(after) => return reason!("secret_command.timed_out", seconds = after.as_secs()),
            CommandEnd::Exited(code, said) => (reason!("secret_command.exited", code), said),
            CommandEnd::Killed(signal, said) => (reason!("secret_command.killed", signal), said),
        };
        if said.is_empty() { how } else { reason!("secret_command.said", how, said = output(said)) }
    }
}

/// The secrets of one home.
#[derive(Debug, Clone)]
pub struct Secrets {
    dir: PathBuf,
}

impl Secrets {
    /// Those under `dir`: [`super::Home::secrets_dir`].
    pub fn at(dir: impl Into<PathBuf>) -> Secrets {
        Secrets { dir: dir.into() }
    }

    /// Keeps a secret under a name, mode 0600.
    ///
    /// # Errors
    /// When the name is none, the value could not be read again, or the file can't be written.
    pub fn put(&self, name: &str, value: &Secret) -> Result<(), SecretError> {
        let path = self.path(name)?;
        secret(value.expose().as_bytes(), || reason!("secret_from.request"))?;
        atomic::create_dir_all(&self.dir)?;
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700)).map_err(|cause| WriteError::Io {
            path: self.dir.clone(),
            action: phrase!("verb.set_its_permissions"),
            cause,
        })?;
        Ok(atomic::write(&path, value.expose().as_bytes(), atomic::PRIVATE)?)
    }

    /// Forgets a secret; one that is not there is as good.
    ///
    /// # Errors
    /// When the name is none, or the file can't be removed.
    pub fn remove(&self, name: &str) -> Result<(), SecretError> {
        Ok(atomic::remove(&self.path(name)?)?)
    }

    /// The names of the secrets, sorted; never their values.
    ///
    /// # Errors
    /// When the directory can't be read; one that does not exist holds none.
    pub fn list(&self) -> Result<Vec<String>, SecretError> {
        let fail = |cause| SecretError::Read { path: self.dir.clone(), cause };
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(fail)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(fail)?.file_name();
            names.extend(name.to_str().filter(|name| is_file_name(name)).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// The files of secrets that other users may read or write, each with its permissions.
    pub fn exposed(&self) -> Vec<(PathBuf, u32)> {
        let files = self.list().unwrap_or_default().into_iter().map(|name| self.dir.join(name));
        let mode = |file: PathBuf| fs::metadata(&file).ok().map(|meta| (file, meta.permissions().mode() & 0o7777));
        files.filter_map(mode).filter(|(_, mode)| mode & 0o077 != 0).collect()
    }

    /// Gets a secret. The newline that ends a file or a command's output is not part of it.
    ///
    /// # Errors
    /// When it is not there, others may read its file, or its command fails or takes longer than 30 s.
    pub async fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        match reference {
            SecretRef::File(name) => self.file(name),
            SecretRef::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| SecretError::Env { name: name.clone() })?;
                secret(value.as_encoded_bytes(), || reason!("secret_from.variable", name))
            }
            SecretRef::Command(command) => of_command(command).await,
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, SecretError> {
        if is_file_name(name) { Ok(self.dir.join(name)) } else { Err(SecretError::Name { name: name.to_owned() }) }
    }

    fn file(&self, name: &str) -> Result<Secret, SecretError> {
        let path = self.path(name)?;
        let fail = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => SecretError::Missing { name: name.to_owned(), path: path.clone() },
            _ => SecretError::Read { path: path.clone(), cause },
        };
        // Not blocking, for a FIFO in its place would wait for its writer.
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = fs::OpenOptions::new().read(true).custom_flags(nonblock).open(&path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        let mode = meta.permissions().mode() & 0o7777;
        if !meta.is_file() {
            return Err(SecretError::Unusable {
                from: Reason::verbatim(path.display().to_string()),
                what: SecretFault::NoRegularFile,
            });
        }
        if mode & 0o077 != 0 {
            return Err(SecretError::Exposed { path: path.clone(), mode });
        }
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
        secret(&bytes, || Reason::verbatim(path.display().to_string()))
    }
}

/// A secret from bytes that came from `from`, without the newline at their end.
///
/// # Errors
/// When they are no text, are empty or longer than [`LONGEST`], or hold a NUL character.
pub fn secret(bytes: &[u8], from: impl Fn() -> Reason) -> Result<Secret, SecretError> {
    let unusable = |what| SecretError::Unusable { from: from(), what };
    if bytes.len() as u64 > LONGEST {
        return Err(unusable(SecretFault::TooLong));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| unusable(SecretFault::NotText))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    match text {
        "" => Err(unusable(SecretFault::Empty)),
        // No environment variable can hold it, and buildctl gets the secrets of builds by these.
        text if text.contains('\0') => Err(unusable(SecretFault::Nul)),
        text => Ok(Secret::new(text)),
    }
}

/// The secret that a command prints.
///
/// # Errors
/// When the command fails or takes longer than 30 s, or prints no secret.
pub async fn of_command(command: &str) -> Result<Secret, SecretError> {
    from_command(command, COMMAND_TIMEOUT).await
}

/// Runs a command and takes what it prints; an agent that it started for the next time may stay.
async fn from_command(command: &str, timeout: Duration) -> Result<Secret, SecretError> {
    let failed = |what: CommandEnd| SecretError::Command { command: command.to_owned(), what };
    let from = || reason!("secret_from.command", command = quoted(program_of(command)));
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).listed_environment(Receiver::Command);
    let limits = Limits { time: timeout, output: LONGEST as usize };
    let ended = match run(shell, b"", limits).await {
        Ok(ended) => ended,
        Err(RunError::TooMuch { .. }) => {
            return Err(SecretError::Unusable { from: from(), what: SecretFault::TooLong });
        }
        Err(RunError::TimedOut { after, .. }) => return Err(failed(CommandEnd::TimedOut(after))),
        Err(RunError::Io { cause, .. }) => return Err(failed(CommandEnd::NotRun(cause))),
    };
    if !ended.status.success() {
        return Err(failed(ending(ended.status, &ended.stderr)));
    }
    secret(&ended.stdout, from)
}

/// The program that a command begins with: its arguments and variables may be secrets, and reasons are read by many.
fn program_of(command: &str) -> &str {
    // A value in quotes may go on behind a blank.
    let is_variable = |word: &&str| word.contains('=') && !word.contains(['\'', '"', '\\', '$', '`']);
    let first = command.split_whitespace().find(|word| !is_variable(word)).unwrap_or_default();
    let is_plain =
        !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if is_plain { first } else { "sh" }
}

/// Never what it printed to stdout: that may be half a secret.
fn ending(status: ExitStatus, stderr: &str) -> CommandEnd {
    use std::os::unix::process::ExitStatusExt;
    let said = printable(stderr.trim()).chars().take(SHOWN_STDERR).collect();
    match status.code() {
        Some(code) => CommandEnd::Exited(code, said),
        None => CommandEnd::Killed(status.signal().unwrap_or_default(), said),
    }
}

/// A path as a shell takes it, for commands that people copy.
pub fn shell_quoted(path: &Path) -> String {
    let text = OsStr::to_string_lossy(path.as_os_str()).into_owned();
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b)) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_command_is_named_by_its_program_alone() {
        assert_eq!(super::program_of("curl -H 'X-Token: abc' https://vault"), "curl");
        assert_eq!(super::program_of("TOKEN=abc /usr/bin/vault read x"), "/usr/bin/vault");
        for command in
            ["", "TOKEN='a b c' vault", "TOKEN=$(cat x y) vault", "TOKEN=a\\ b vault", "\"$HOME/x\" abc", "echo|cat"]
        {
            assert_eq!(super::program_of(command), "sh", "{command}");
        }
    }

    use super::*;

    fn file(name: &str) -> SecretRef {
        SecretRef::File(name.into())
    }

    fn command(text: &str) -> SecretRef {
        SecretRef::Command(text.into())
    }

    fn secrets() -> (tempfile::TempDir, Secrets) {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::at(dir.path().join("secrets"));
        (dir, secrets)
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
    }

    #[tokio::test]
    async fn what_is_put_is_private_and_comes_back() {
        let (dir, secrets) = secrets();
        assert!(secrets.list().unwrap().is_empty());
        secrets.put("github", &Secret::new("t0ken")).unwrap();
        secrets.put("b.c", &Secret::new("x")).unwrap();
        assert_eq!(secrets.list().unwrap(), ["b.c", "github"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("secrets")), 0o700);
        assert_eq!(mode(&dir.path().join("secrets/github")), 0o600);
        assert_eq!(secrets.resolve(&file("github")).await.unwrap().expose(), "t0ken");
        secrets.remove("github").unwrap();
        secrets.remove("github").unwrap();
        let error = secrets.resolve(&file("github")).await.unwrap_err().to_string();
        assert!(error.starts_with("there is no secret \"github\"; put it into /"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let (dir, secrets) = secrets();
        secrets.put("a", &Secret::new("x\n")).unwrap();
        let path = dir.path().join("secrets/a");
        assert_eq!(secrets.resolve(&file("a")).await.unwrap().expose(), "x");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = secrets.resolve(&file("a")).await.unwrap_err().to_string();
        assert!(error.ends_with(&format!("(mode 0640); run: chmod 600 {}", path.display())), "{error}");
    }

    #[test]
    fn what_could_not_be_read_again_is_not_kept() {
        let (_dir, secrets) = secrets();
        for value in ["", "a\0b", &"x".repeat(LONGEST as usize + 1)] {
            assert!(matches!(secrets.put("a", &Secret::new(value)), Err(SecretError::Unusable { .. })));
        }
        assert!(secrets.list().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_name_cannot_leave_the_directory() {
        let (_dir, secrets) = secrets();
        for name in ["../x", "", ".hidden", "a/b", "a b", &"x".repeat(81)] {
            assert!(matches!(secrets.resolve(&file(name)).await, Err(SecretError::Name { .. })), "{name}");
        }
    }

    #[tokio::test]
    async fn a_command_prints_the_secret_and_its_last_newline_is_none_of_it() {
        let (_dir, secrets) = secrets();
        assert_eq!(secrets.resolve(&command("printf 'a b\\n'")).await.unwrap().expose(), "a b");
        let empty = secrets.resolve(&command("true")).await.unwrap_err().to_string();
        assert!(empty.ends_with("is empty"), "{empty}");
        let endless = secrets.resolve(&command("yes")).await.unwrap_err().to_string();
        assert!(endless.contains("yes"), "{endless}");
    }

    #[tokio::test]
    async fn a_failed_command_shows_its_status_and_stderr_but_not_its_output() {
        let (_dir, secrets) = secrets();
        let error = secrets.resolve(&command("echo half; echo 'no key' >&2; exit 3")).await.unwrap_err().to_string();
        assert!(error.ends_with("failed with exit status 3: no key"), "{error}");
        let error = secrets.resolve(&command("cat /dev/stdin; kill -TERM $$")).await.unwrap_err().to_string();
        assert!(error.ends_with("was ended by signal 15"), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let text = format!("sleep 1000 & echo $! > '{0}.new'; mv '{0}.new' '{0}'; wait", pid.display());
        let error = from_command(&text, Duration::from_millis(500)).await.unwrap_err().to_string();
        assert!(error.ends_with("took longer than 0 s and was ended"), "{error}");
        let Ok(pid) = fs::read_to_string(&pid) else { return };
        let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
        let ended = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        while !ended() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_variable_that_is_not_set_is_named() {
        let (_dir, secrets) = secrets();
        let error = secrets.resolve(&SecretRef::Env("SLIPWAY_NO_SUCH".into())).await.unwrap_err().to_string();
        assert!(error.contains("SLIPWAY_NO_SUCH is not set") && error.contains("`slipway pool stop`"), "{error}");
        assert!(secrets.resolve(&SecretRef::Env("PATH".into())).await.is_ok());
    }
}
