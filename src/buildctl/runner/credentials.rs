//! The registries' credentials of a build, asked for again while it runs.
//!
//! What a command or a helper printed may end before the build does. So buildctl has these from a credential helper of
//! slipway's own, a script in the build's private `DOCKER_CONFIG`: it asks the runner over a socket there, and the
//! runner asks the command or the helper, with the environment that is listed for those. Each is asked once a minute at
//! most; where it fails, what it said last is used.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;

use super::output::Output;
use crate::buildctl::job::Job;
use crate::domain::reason::{Reason, io_error, reason};
use crate::log::mask::Mask;
use crate::registry::credential_source::CredentialSource;
use crate::registry::credentials::{Credential, CredentialsError};
use crate::registry::docker_config::{DockerConfig, TOKEN_USER};
use crate::registry::docker_keys::canonical_host;
use crate::store::secrets::shell_quoted;
use crate::sys::{atomic, socket};

/// The hidden subcommand that the script runs; its arguments are the socket, and docker's verb.
pub const SUBCOMMAND: &str = "registry-credential";
/// How long an answer is given again: a build of some seconds asks nobody twice.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Names of hosts, and answers, are shorter, in bytes.
const LONGEST: u64 = 1 << 20;
/// The socket, in the private `DOCKER_CONFIG`.
const SOCKET: &str = "credentials.sock";
/// The directory of the script there, which is put before the others of buildctl's `PATH`.
const PROGRAMS: &str = "bin";
/// The mode of a program that only its owner runs.
const PROGRAM: u32 = 0o700;
/// What docker takes for "this helper has none".
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The registries' credentials of a build.
pub(super) struct Credentials {
    sources: BTreeMap<String, CredentialSource>,
    /// What the pool found when it started the build: the private configuration.
    first: Result<DockerConfig, Arc<CredentialsError>>,
    /// When each source was last asked, and what it said; with what the pool found until then.
    last: Mutex<BTreeMap<String, (Instant, Option<Credential>)>>,
    /// What must not appear in what the build leaves behind: every credential, before anybody has it.
    mask: Mask,
    began: Instant,
    fresh_for: Duration,
}

/// Answers buildctl until it is dropped.
pub(super) struct Server(Option<tokio::task::JoinHandle<()>>);

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Credentials {
    /// Those of a job, from its private `DOCKER_CONFIG`.
    pub(super) fn of(job: &Job, directory: Option<&Path>, mask: &Mask) -> Credentials {
        let read = directory
            .map_or_else(|| Ok(DockerConfig::default()), |there| DockerConfig::read(&there.join("config.json")));
        Credentials {
            sources: job.credentials.clone(),
            first: read.map_err(Arc::new),
            last: Mutex::default(),
            mask: mask.clone(),
            began: Instant::now(),
            fresh_for: FRESH_FOR,
        }
    }

    /// Lets buildctl ask for those that are asked for again. Why a source failed is said in the log.
    ///
    /// # Errors
    /// When the script or the socket can't be made.
    pub(super) fn serve(self: &Arc<Credentials>, directory: &Path, output: Output) -> io::Result<Server> {
        if self.sources.is_empty() {
            return Ok(Server(None));
        }
        let path = directory.join(SOCKET);
        // That of a runner that was killed.
        let _ = std::fs::remove_file(&path);
        let listener = socket::listen(&path)?;
        let program = std::env::current_exe()?;
        // The file of one that was replaced by an upgrade is the new one.
        let program = PathBuf::from(program.to_string_lossy().trim_end_matches(" (deleted)"));
        let script =
            format!("#!/bin/sh\nexec {} {SUBCOMMAND} {} \"$1\"\n", shell_quoted(&program), shell_quoted(&path));
        let programs = directory.join(PROGRAMS);
        atomic::make_dirs(&programs)?;
        let name = format!("docker-credential-{}", crate::registry::credentials::OWN_HELPER);
        atomic::write_volatile(&programs.join(name), script.as_bytes(), PROGRAM).map_err(io::Error::other)?;
        let credentials = self.clone();
        Ok(Server(Some(tokio::spawn(async move { credentials.answer_all(&listener, &output).await }))))
    }

    async fn answer_all(&self, listener: &UnixListener, output: &Output) {
        // One after the other: buildctl asks for one at a time.
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever went away needs no answer.
            let _ = self.answer(stream, output).await;
        }
    }

    async fn answer(&self, mut stream: UnixStream, output: &Output) -> io::Result<()> {
        let mut host = String::new();
        (&mut stream).take(LONGEST).read_to_string(&mut host).await?;
        let host = canonical_host(host.trim());
        let (credential, problem) = self.ask(host).await;
        if let Some(problem) = problem {
            output.say(&format!("slipway: {problem}"));
        }
        let answer = Answer { credential: credential.map(Docker::from) };
        stream.write_all(&serde_json::to_vec(&answer)?).await
    }

    /// The credential of a host, asked for again where that is due.
    ///
    /// # Errors
    /// When the private configuration can't be read.
    pub(super) async fn of_host(
        &self,
        host: &str,
    ) -> Result<(Option<Credential>, Option<Reason>), Arc<CredentialsError>> {
        let first = self.first.as_ref().map_err(Arc::clone)?;
        match self.sources.contains_key(canonical_host(host)) {
            true => Ok(self.ask(canonical_host(host)).await),
            false => Ok((first.stored(host).map_err(Arc::new)?, None)),
        }
    }

    /// What a source says now, or said lately; with why it can't be asked, where that is so.
    async fn ask(&self, host: &str) -> (Option<Credential>, Option<Reason>) {
        let mut last = self.last.lock().await;
        let first = || self.first.as_ref().ok().and_then(|first| first.stored(host).ok().flatten());
        let (at, known) = last.get(host).cloned().unwrap_or_else(|| (self.began, first()));
        let Some(source) = self.sources.get(host).filter(|_| at.elapsed() >= self.fresh_for) else {
            return (known, None);
        };
        let (credential, problem) = match source.ask(host).await {
            Ok(credential) => (credential, None),
            Err(why) => (known, Some(reason!("credentials.not_renewed", host, why))),
        };
        if let Some(credential) = &credential {
            self.mask.add(credential.secret().reveal().as_bytes());
        }
        last.insert(host.to_owned(), (Instant::now(), credential.clone()));
        (credential, problem)
    }
}

/// What buildctl is given in its environment: the private configuration, and the script in its `PATH`.
pub(super) fn variables() -> Vec<(&'static str, OsString)> {
    let Some(directory) = std::env::var_os("DOCKER_CONFIG") else { return Vec::new() };
    let programs = Path::new(&directory).join(PROGRAMS);
    let mut variables = vec![("DOCKER_CONFIG", directory)];
    if programs.is_dir() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(programs).chain(std::env::split_paths(&path));
        // A directory with a colon in its name can be in no PATH.
        variables.extend(std::env::join_paths(all).ok().map(|path| ("PATH", path)));
    }
    variables
}

/// What the runner answers to the script.
#[derive(Serialize, Deserialize)]
struct Answer {
    credential: Option<Docker>,
}

/// A credential as helpers of docker's print it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    username: String,
    secret: String,
}

impl From<Credential> for Docker {
    fn from(credential: Credential) -> Docker {
        let secret = credential.secret().reveal().to_owned();
        let username = match credential {
            Credential::Basic { user, .. } => user,
            Credential::IdentityToken(_) => TOKEN_USER.into(),
        };
        Docker { username, secret }
    }
}

/// Answers a question of buildctl's: what `slipway registry-credential SOCKET VERB` does. Whether there is a credential.
///
/// # Errors
/// When the runner can't be asked, or the answer can't be written.
pub fn serve(socket: &Path, verb: &str) -> io::Result<bool> {
    if verb != "get" {
        return Ok(true);
    }
    let mut host = String::new();
    io::stdin().lock().take(LONGEST).read_to_string(&mut host)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(ask_runner(socket, &host))?;
    #[expect(clippy::disallowed_methods, reason = "an answer to buildctl, through a pipe")]
    let mut output = io::stdout().lock();
    match answer {
        Some(credential) => writeln!(output, "{}", serde_json::to_string(&credential)?).map(|()| true),
        None => writeln!(output, "{NOT_FOUND}").map(|()| false),
    }
}

async fn ask_runner(path: &Path, host: &str) -> io::Result<Option<Docker>> {
    let mut stream = socket::connect(path).await?;
    stream.write_all(host.as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| io_error(reason!("credentials.no_answer")))?;
    Ok(answer.credential)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::ByteSize;
    use crate::registry::credentials::{Password, write_docker_config};

    fn basic(password: &str) -> Credential {
        Credential::Basic { user: "ada".into(), password: Password::new(password) }
    }

    /// A source that prints how often it was asked, and fails from the third time on.
    fn credentials(directory: &Path, fresh_for: Duration) -> Credentials {
        let first =
            BTreeMap::from([("r.example".to_owned(), basic("0")), ("other.example".to_owned(), basic("other"))]);
        let counted = directory.join("count").display().to_string();
        let command = format!("echo x >> {counted}; count=$(wc -l < {counted}); [ $count -lt 3 ] && echo $count");
        let source = CredentialSource::Command { user: "ada".into(), command };
        let sources = BTreeMap::from([("r.example".to_owned(), source)]);
        write_docker_config(directory, &first, sources.keys()).unwrap();
        Credentials {
            sources,
            first: DockerConfig::read(&directory.join("config.json")).map_err(Arc::new),
            last: Mutex::default(),
            mask: Mask::default(),
            began: Instant::now(),
            fresh_for,
        }
    }

    #[tokio::test]
    async fn what_a_source_said_is_used_while_it_is_fresh_and_then_it_is_asked_again() {
        let directory = tempfile::tempdir().unwrap();
        let fresh = credentials(directory.path(), FRESH_FOR);
        for (host, password) in [("r.example", "0"), ("other.example", "other"), ("r.example", "0")] {
            assert_eq!(fresh.of_host(host).await.unwrap(), (Some(basic(password)), None));
        }
        let due = credentials(directory.path(), Duration::ZERO);
        assert_eq!(due.of_host("other.example").await.unwrap().0, Some(basic("other")));
        for password in ["1", "2"] {
            assert_eq!(due.of_host("r.example").await.unwrap(), (Some(basic(password)), None));
        }
        let (last, problem) = due.of_host("r.example").await.unwrap();
        assert_eq!(last, Some(basic("2")), "what it said last may do yet");
        assert!(problem.unwrap().to_string().contains("r.example"));
    }

    #[tokio::test]
    async fn the_helper_of_buildctl_is_told_the_credential_of_the_hosts_that_have_a_source() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = Arc::new(credentials(directory.path(), Duration::ZERO));
        let stop = Arc::new(tokio::sync::watch::Sender::new(None));
        let output = Output::create(directory.path(), stop, Mask::default(), ByteSize(0)).unwrap();
        let server = credentials.serve(directory.path(), output).unwrap();
        let path = directory.path().join(SOCKET);
        let ask = async |host: &str| ask_runner(&path, host).await.unwrap().map(|told| (told.username, told.secret));
        assert_eq!(ask("r.example").await, Some(("ada".into(), "1".into())));
        assert_eq!(ask("https://r.example/v2/").await, Some(("ada".into(), "2".into())));
        assert_eq!(ask("unknown.example").await, None);
        let script = directory.path().join("bin/docker-credential-slipway");
        assert!(std::fs::read_to_string(script).unwrap().contains(SUBCOMMAND));
        drop(server);
    }
}
