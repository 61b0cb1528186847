//! Bare clones of sources on other machines, which builds get their commits from.
//!
//! A clone is a directory that only slipway writes. It is fetched into by one at a time: others wait, and mostly find
//! that what they want came meanwhile. A lock file beside it holds off other processes; git has it as its standard
//! input, so that it holds for as long as a fetch runs, were slipway killed.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;

use super::access::Access;
use super::program::{Configuration, GitCommand, GitProgram, Limits, RunError};
use super::reach::Reach;
use super::stderr;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::{Reason, output, reason};
use crate::source::error::{Kind, SourceError};
use crate::source::url::SourceUrl;
use crate::sys::process::ProcessId;

/// A file of every clone; one without it is none of ours, or was not finished.
const MARK: &str = "slipway-clone";
/// The layout of a clone; one of another is made again.
const LAYOUT: &str = "1";
/// How often the size of a clone is looked at while it grows.
const MEASURE: Duration = Duration::from_millis(250);
/// How often a lock that another process holds is tried.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// So many packs are made one.
const MOST_PACKS: usize = 50;
/// What reads or makes a repository on this disk may take.
const ON_DISK: Limits = Limits { time: Duration::from_secs(60), output: 1 << 20, memory: None };
/// Packs that are made one are small: the large ones are left alone.
const REPACK: Limits = Limits { time: Duration::from_secs(600), output: 1 << 20, memory: None };

/// What is wanted of a source.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// Where else the commit is looked for where the server does not give it out by its id.
    pub fallback: Fallback<'a>,
    /// The commit.
    pub commit: &'a CommitId,
    /// All tags of the source as they are now, for `git describe`; otherwise no tag is fetched.
    pub tags: bool,
}

/// Where a commit may be that a server does not give out by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback<'a> {
    /// At the ref that the commit was seen at.
    Ref(&'a Ref),
    /// On any branch: all of them are fetched.
    Branches,
    /// Nowhere.
    None,
}

/// What a fetch may take.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// All of it, waiting for others included.
    pub time: Duration,
    /// The size of the clone on disk, in bytes.
    pub bytes: u64,
    /// What others that the limits hold for, too, have used of them.
    pub used: Used,
}

/// What fetches took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// How long they took.
    pub time: Duration,
    /// The size of what they brought, in bytes.
    pub bytes: u64,
}

impl FetchLimits {
    /// Limits of which nothing is used.
    pub const fn new(time: Duration, bytes: u64) -> FetchLimits {
        FetchLimits { time, bytes, used: Used { time: Duration::ZERO, bytes: 0 } }
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.time.saturating_sub(self.used.time)
    }

    /// Whether so many bytes, with those that are used, are over the limit.
    pub fn is_over(&self, bytes: u64) -> bool {
        bytes.saturating_add(self.used.bytes) > self.bytes
    }
}

/// What a fetch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Whether the commit was there before.
    pub was_there: bool,
}

/// Brings a commit into the clone of a source, which is made where it is not there, and made again where it is damaged.
/// Only what is not there yet is fetched.
///
/// # Errors
/// When the source can't be reached, does not have the commit, or a limit is exceeded; the error's kind tells which.
pub(super) async fn fetch(
    reach: &Reach,
    clone: &Path,
    url: &SourceUrl,
    access: &Access,
    want: Want<'_>,
    limits: FetchLimits,
) -> Result<Fetched, SourceError> {
    let program = GitProgram::find().map_err(|error| SourceError::no_git(url, &error))?;
    let fetch = Fetch { reach, program: &program, clone, url, access, want, limits };
    let work = async {
        let turn = Turn::take(clone, limits.left()).await.map_err(|error| fetch.on_disk(&error))?;
        let fetched = fetch.run(&turn).await?;
        turn.finish();
        Ok(fetched)
    };
    match tokio::time::timeout(limits.left(), work).await {
        Ok(done) => done,
        Err(_) => {
            let reason = reason!("clone.fetched_within", as_secs = limits.time.as_secs());
            Err(SourceError::new(Kind::Timeout, url, reason))
        }
    }
}

/// Removes a clone: what is wrong with it is not there the next time.
///
/// # Errors
/// When it can't be removed.
pub async fn discard(clone: &Path, limit: Duration) -> io::Result<()> {
    let turn = Turn::take(clone, limit).await?;
    remove(clone)?;
    turn.finish();
    Ok(())
}

/// Removes a clone that nobody fetches into now; false where somebody does. Blocks.
///
/// # Errors
/// When it can't be removed.
pub fn discard_unused(clone: &Path) -> io::Result<bool> {
    let Ok(_queue) = queue_of(clone).try_lock_owned() else { return Ok(false) };
    let lock = open_lock(clone)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    remove(clone)?;
    Ok(true)
}

/// Marks a clone as used now: those that were not used for long are removed first.
///
/// # Errors
/// When its mark can't be changed.
pub fn touch(clone: &Path) -> io::Result<()> {
    File::options().append(true).open(clone.join(MARK))?.set_modified(std::time::SystemTime::now())
}

/// When a clone was last used; none where it is no clone.
pub fn last_used(clone: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(clone.join(MARK)).and_then(|metadata| metadata.modified()).ok()
}

/// A command line that reads a clone, or writes it; without its subcommand.
pub fn on_disk(program: &GitProgram, clone: &Path) -> GitCommand {
    let mut command = program.command(Configuration::None);
    command.git_dir(clone);
    command
}

/// One fetch.
struct Fetch<'a> {
    reach: &'a Reach,
    program: &'a GitProgram,
    clone: &'a Path,
    url: &'a SourceUrl,
    access: &'a Access,
    want: Want<'a>,
    limits: FetchLimits,
}

impl Fetch<'_> {
    async fn run(&self, turn: &Turn) -> Result<Fetched, SourceError> {
        if turn.was_interrupted {
            clean(self.clone).map_err(|error| self.on_disk(&error))?;
        }
        let was_there = self.make().await?;
        let mut fetched = self.bring(turn).await;
        if let Err(error) = &fetched
            && (error.kind == Kind::Damaged || was_there && self.is_over(error).await)
        {
            // Commits that were pushed away by force stay in a clone: without them it may be small enough.
            tracing::warn!("{} is made again: {error}", self.clone.display());
            remove(self.clone).map_err(|error| self.on_disk(&error))?;
            self.make().await?;
            fetched = self.bring(turn).await;
        }
        if let Err(error) = &fetched
            && (error.kind == Kind::Damaged || self.is_over(error).await)
        {
            // Then it is the server's repository; nothing of it is kept for the next time.
            remove(self.clone).map_err(|error| self.on_disk(&error))?;
        }
        let fetched = fetched?;
        if !fetched.was_there {
            self.tidy().await;
        }
        Ok(fetched)
    }

    async fn bring(&self, turn: &Turn) -> Result<Fetched, SourceError> {
        let was_there = self.has().await?;
        if !was_there {
            self.fetch_commit(turn).await?;
        }
        if self.want.tags {
            self.fetch_refs(turn, &["--prune"], "+refs/tags/*:refs/tags/*").await?;
        }
        Ok(Fetched { was_there })
    }

    /// Fetches the commit: by its id, which most servers give out whatever their refs say by now; else by its ref; else
    /// with all branches, one of which may still have it, as the wish says.
    async fn fetch_commit(&self, turn: &Turn) -> Result<(), SourceError> {
        let commit = self.want.commit;
        let by_id = self.fetch_refs(turn, &[], &format!("+{commit}:{}", self.tip())).await;
        match by_id {
            Ok(()) if self.has().await? => return Ok(()),
            Ok(()) => return Err(self.no_commit("it gave out something else in its place")),
            Err(error) if error.kind == Kind::NoCommit => {}
            Err(error) => return Err(error),
        }
        let reference = match self.want.fallback {
            Fallback::Ref(reference) => reference,
            Fallback::Branches => {
                self.fetch_refs(turn, &["--prune"], "+refs/heads/*:refs/slipway/heads/*").await?;
                return if self.has().await? { Ok(()) } else { Err(self.no_commit("no branch of it has the commit")) };
            }
            Fallback::None => return Err(self.no_commit("it does not give the commit out by its id")),
        };
        match self.fetch_refs(turn, &[], &format!("+{reference}:{}", self.tip())).await {
            Ok(()) if self.has().await? => Ok(()),
            Ok(()) => Err(self.no_commit(reason!("clone.pushed_force_does_commit", reference))),
            Err(error) if error.kind == Kind::NoRef => Err(self.no_commit(reason!("clone.gone_commit", reference))),
            Err(error) => Err(error),
        }
    }

    /// Where what is fetched is kept: under a name of our own, since `feature` may have become `feature/x`.
    fn tip(&self) -> String {
        let name = match self.want.fallback {
            Fallback::Ref(reference) => reference.to_string(),
            Fallback::Branches | Fallback::None => self.want.commit.to_string(),
        };
        format!("refs/slipway/tip/{}", hex::encode(&Sha256::digest(name)[..16]))
    }

    fn no_commit(&self, why: impl Into<Reason>) -> SourceError {
        let commit = self.want.commit;
        SourceError::new(Kind::NoCommit, self.url, reason!("clone.does_commit", commit, why = why.into()))
    }

    /// Whether the clone has the commit.
    async fn has(&self) -> Result<bool, SourceError> {
        let mut command = on_disk(self.program, self.clone);
        command.args(["cat-file", "-t", self.want.commit.as_str()]);
        let ended = command.run(ON_DISK).await.map_err(|error| self.run_error(&error))?;
        let kind = String::from_utf8_lossy(&ended.stdout);
        match kind.trim() {
            "commit" => Ok(true),
            "" => {
                let error = stderr::error_of(self.url, self.access, &ended.stderr);
                if matches!(error.kind, Kind::Damaged | Kind::NotARepository | Kind::Configuration) {
                    return Err(SourceError::new(Kind::Damaged, self.url, error.reason));
                }
                Ok(false)
            }
            other => {
                let reason = reason!("clone.names_commit", commit = self.want.commit, other);
                Err(SourceError::new(Kind::NoRef, self.url, reason))
            }
        }
    }

    /// Runs `git fetch`, and ends it where the clone grows too large.
    async fn fetch_refs(&self, turn: &Turn, options: &[&str], refspec: &str) -> Result<(), SourceError> {
        let mut command = self.reach.command(self.program, self.url, self.access).await?;
        // Few objects are kept as a pack, too: then nothing but packs is ever written.
        command.config("fetch.unpackLimit", "1").git_dir(self.clone);
        command.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]);
        command.args(["--update-shallow", "--force"]).args(options).arg("--").arg(self.url.as_str()).arg(refspec);
        command.stdin(turn.lock().map_err(|error| self.on_disk(&error))?);
        let running = command.start(None).map_err(|error| self.on_disk(&error))?;
        turn.tell(running.id());
        let run = running.run(self.limits.left(), 1 << 20);
        tokio::pin!(run);
        let mut measure = tokio::time::interval(MEASURE);
        let ended = loop {
            tokio::select! {
                ended = &mut run => break ended.map_err(|error| self.run_error(&error))?,
                _ = measure.tick() => self.check_size().await?,
            }
        };
        self.check_size().await?;
        if ended.status.success() {
            return Ok(());
        }
        Err(stderr::error_of(self.url, self.access, &ended.stderr))
    }

    async fn check_size(&self) -> Result<(), SourceError> {
        let objects = self.clone.join("objects");
        let size = tokio::task::spawn_blocking(move || size_of(&objects)).await.unwrap_or_default();
        if !self.limits.is_over(size) {
            return Ok(());
        }
        let limit = crate::domain::config::ByteSize(self.limits.bytes);
        let reason = match self.limits.used.bytes {
            0 => reason!("clone.clone_larger_than_git", limit),
            used => {
                let used = crate::domain::config::ByteSize(used);
                reason!("clone.clone_same_build_other", used, limit)
            }
        };
        Err(SourceError::new(Kind::TooBig, self.url, reason))
    }

    /// Whether a fetch was ended because the clone grew too large.
    async fn is_over(&self, error: &SourceError) -> bool {
        error.kind == Kind::TooBig && self.check_size().await.is_err()
    }

    /// Makes the clone where it is not there, not finished, of another repository or of another kind of ids; whether it
    /// was there.
    async fn make(&self) -> Result<bool, SourceError> {
        let format = if self.want.commit.as_str().len() == 64 { "sha256" } else { "sha1" };
        let mark = self.clone.join(MARK);
        if fs::read_to_string(&mark).is_ok_and(|text| self.is_ours(&text, format)) {
            return Ok(true);
        }
        remove(self.clone).map_err(|error| self.on_disk(&error))?;
        fs::create_dir_all(self.clone).map_err(|error| self.on_disk(&error))?;
        let mut command = self.program.command(Configuration::None);
        command
            .args(["init", "--quiet", "--bare", "--template="])
            .arg(format!("--object-format={format}"))
            .arg(self.clone);
        let ended = command.run(ON_DISK).await.map_err(|error| self.run_error(&error))?;
        if !ended.status.success() {
            let kind = stderr::kind_on_disk(&ended.stderr);
            return Err(SourceError::new(kind, self.url, reason!("clone.cannot_make", said = output(&ended.stderr))));
        }
        // Last: without it the clone is made again.
        fs::write(mark, format!("{LAYOUT}\n{format}\n{}\n", self.url)).map_err(|error| self.on_disk(&error))?;
        Ok(false)
    }

    fn is_ours(&self, mark: &str, format: &str) -> bool {
        let mut lines = mark.lines();
        let same = |url: &str| SourceUrl::parse(url).is_ok_and(|url| url.is_same_repository(self.url));
        lines.next() == Some(LAYOUT) && lines.next() == Some(format) && lines.next().is_some_and(same)
    }

    /// Makes one pack of many small ones. A clone that is not tidied works all the same.
    async fn tidy(&self) {
        let packs = fs::read_dir(self.clone.join("objects/pack")).map_or(0, |entries| {
            entries.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "pack")).count()
        });
        if packs <= MOST_PACKS {
            return;
        }
        let mut command = on_disk(self.program, self.clone);
        command.args(["repack", "--quiet", "-d"]);
        // Before 2.32 git can only make one pack of all.
        if self.program.version() >= (super::program::GitVersion { major: 2, minor: 32, patch: 0 }) {
            command.arg("--geometric=2");
        } else {
            // What no ref leads to any more may be the commit of a build that runs now.
            command.args(["-a", "--keep-unreachable"]);
        }
        match command.run(REPACK).await {
            Ok(ended) if ended.status.success() => {}
            Ok(ended) => tracing::warn!("cannot tidy {}: {}", self.clone.display(), ended.stderr.trim()),
            Err(error) => tracing::warn!("cannot tidy {}: {error}", self.clone.display()),
        }
    }

    fn on_disk(&self, error: &io::Error) -> SourceError {
        SourceError::io(self.url, reason!("clone.unusable", clone = self.clone, error), error)
    }

    fn run_error(&self, error: &RunError) -> SourceError {
        match error {
            RunError::Io(cause) => SourceError::io(self.url, error, cause),
            RunError::TimedOut(_) => SourceError::new(Kind::Timeout, self.url, error),
            RunError::TooMuch(_) => SourceError::new(Kind::Local, self.url, error),
        }
    }
}

/// Somebody's turn to write a clone, or another directory that slipway fetches into; the next one's when dropped.
pub struct Turn {
    lock: File,
    /// The process that had it before was ended in the middle of it.
    was_interrupted: bool,
    _queue: OwnedMutexGuard<()>,
}

impl Turn {
    /// Waits for the turn.
    ///
    /// # Errors
    /// When others have it for longer than `limit`, or the lock file beside the directory can't be used.
    pub async fn take(clone: &Path, limit: Duration) -> io::Result<Turn> {
        let queue = queue_of(clone).lock_owned().await;
        let lock = open_lock(clone)?;
        let since = Instant::now();
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < limit => {
                    end_orphan(&lock);
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let was_interrupted = lock.metadata()?.len() > 0;
        let turn = Turn { lock, was_interrupted, _queue: queue };
        turn.tell(None);
        Ok(turn)
    }

    /// Writes down who fetches, and with which process: a git that outlived its slipway is ended by the next.
    pub fn tell(&self, git: Option<ProcessId>) {
        let word = |process: Option<ProcessId>| {
            process.map_or("- -".into(), |process| format!("{} {}", process.pid, process.start))
        };
        let text = format!("{} {}\n", word(ProcessId::current().ok()), word(git));
        // Without it, an orphan is waited for.
        let _ = self.lock.set_len(0).and_then(|()| self.lock.write_all_at(text.as_bytes(), 0));
    }

    /// The lock, for the standard input of a command: it holds until that, and what it started, has ended.
    ///
    /// # Errors
    /// When this process has too many files open.
    pub fn lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// The clone is whole.
    pub fn finish(self) {
        let _ = self.lock.set_len(0);
    }
}

/// The lock file beside a clone.
fn open_lock(clone: &Path) -> io::Result<File> {
    let (Some(above), Some(name)) = (clone.parent(), clone.file_name()) else {
        return Err(io::Error::other("a clone has a directory above it"));
    };
    fs::create_dir_all(above)?;
    // No repository's name begins with a dot.
    let path = above.join(format!(".{}.lock", name.to_string_lossy()));
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Ends the git that holds a lock where the slipway that started it is gone.
fn end_orphan(lock: &File) {
    let mut text = [0; 256];
    let Ok(length) = lock.read_at(&mut text, 0) else { return };
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let numbers: Vec<Option<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    let [Some(owner), Some(owner_start), Some(git), Some(git_start)] = numbers[..] else { return };
    let process = |pid: u64, start| Some(ProcessId { pid: i32::try_from(pid).ok()?, start });
    let (Some(owner), Some(git)) = (process(owner, owner_start), process(git, git_start)) else { return };
    if !owner.is_alive()
        && git.is_alive()
        && let Some(group) = Pid::from_raw(git.pid)
    {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Who waits for a clone in this process.
fn queue_of(clone: &Path) -> Arc<tokio::sync::Mutex<()>> {
    type Queues = Mutex<HashMap<PathBuf, Weak<tokio::sync::Mutex<()>>>>;
    static QUEUES: LazyLock<Queues> = LazyLock::new(Mutex::default);
    let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
    queues.retain(|_, queue| queue.strong_count() > 0);
    if let Some(queue) = queues.get(clone).and_then(Weak::upgrade) {
        return queue;
    }
    let queue = Arc::default();
    queues.insert(clone.to_owned(), Arc::downgrade(&queue));
    queue
}

/// Removes what a git that was killed leaves behind. Nobody else writes the clone now.
fn clean(clone: &Path) -> io::Result<()> {
    let is_lock = |name: &str| name.ends_with(".lock");
    let is_of_objects = |name: &str| {
        is_lock(name) || name.starts_with("tmp_") || name.starts_with("incoming-") || name.starts_with(".tmp-")
    };
    remove_in(clone, false, &is_lock)?;
    // Any other name may be that of a branch or tag: no ref ends in `.lock`.
    remove_in(&clone.join("refs"), true, &is_lock)?;
    remove_in(&clone.join("objects"), true, &is_of_objects)
}

/// Removes the entries of a directory with such names, of those below it too where `deep`.
fn remove_in(directory: &Path, deep: bool, is_leftover: &impl Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let is_directory = entry.file_type()?.is_dir();
        if is_leftover(&entry.file_name().to_string_lossy()) {
            if is_directory { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        } else if deep && is_directory {
            remove_in(&entry.path(), deep, is_leftover)?;
        }
    }
    Ok(())
}

/// Removes a clone: its mark first, so that half of one is none.
fn remove(clone: &Path) -> io::Result<()> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
    fs::remove_file(clone.join(MARK)).or_else(|error| match error.kind() {
        io::ErrorKind::NotADirectory => Ok(()),
        _ => gone(error),
    })?;
    fs::remove_dir_all(clone).or_else(|error| match error.kind() {
        io::ErrorKind::NotADirectory => fs::remove_file(clone),
        _ => gone(error),
    })
}

/// The bytes of all files below a directory, as they are long.
pub fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_git_leaves_behind_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = |path: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let kept = [
            "HEAD",
            "packed-refs",
            "objects/pack/pack-1.pack",
            "objects/pack/pack-1.idx",
            "refs/tags/v1",
            "refs/tags/tmp_1",
            "refs/tags/incoming-2",
            "refs/slipway/heads/.tmp-3/x",
            "trees/a.lock",
        ];
        let removed = [
            "HEAD.lock",
            "shallow.lock",
            "packed-refs.lock",
            "refs/slipway/tip/0.lock",
            "objects/pack/tmp_pack_x",
            "objects/pack/.tmp-1-pack-2.pack",
            "objects/ab/tmp_obj_x",
            "objects/tmp_objdir-incoming-x/pack/pack-3.pack",
        ];
        kept.iter().chain(&removed).for_each(|path| file(path));
        clean(directory.path()).unwrap();
        for path in kept {
            assert!(directory.path().join(path).exists(), "{path}");
        }
        for path in removed {
            assert!(!directory.path().join(path).exists(), "{path}");
        }
    }

    #[tokio::test]
    async fn a_clone_is_written_by_one_at_a_time_and_an_unfinished_turn_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let clone = directory.path().join("acme/api");
        let first = Turn::take(&clone, Duration::from_secs(60)).await.unwrap();
        assert!(!first.was_interrupted);
        let waiting = tokio::spawn({
            let clone = clone.clone();
            async move { Turn::take(&clone, Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let second = waiting.await.unwrap().unwrap();
        assert!(second.was_interrupted, "the first one was dropped before it was finished");
        second.finish();
        assert!(!Turn::take(&clone, Duration::from_secs(60)).await.unwrap().was_interrupted);
    }
}
