//! Bare clones of sources on other machines, which builds get their commits from.
//!
//! A clone is a directory that only slipway writes. It is fetched into by one at a time: others wait, and mostly find
//! that what they want came meanwhile. A lock file beside it holds off other processes; git has it as its standard
//! input, so that it holds for as long as a fetch runs, were slipway killed.

mod files;
mod limits;
mod turn;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

pub use files::{last_used, size_of, touch};
pub use limits::{FetchLimits, Used};
pub use turn::Turn;

use super::access::Access;
use super::commits::not_a_commit;
use super::program::{Configuration, GitCommand, GitProgram, GitVersion, Limits};
use super::reach::Reach;
use super::stderr;
use crate::domain::config::ByteSize;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::{Reason, output, reason};
use crate::source::error::{Kind, SourceError};
use crate::source::url::SourceUrl;
use crate::sys::command::{self, RunError};
use files::{MARK, clean, remove};

/// The layout of a clone; one of another is made again.
const LAYOUT: &str = "1";
/// How often the size of a clone is looked at while it grows.
const MEASURE: Duration = Duration::from_millis(250);
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
            let reason = reason!("clone.too_slow", seconds = limits.time.as_secs());
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
    let Some(_turn) = Turn::take_free(clone)? else { return Ok(false) };
    remove(clone)?;
    Ok(true)
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
            Ok(()) => return Err(self.no_commit(reason!("clone.other_object"))),
            Err(error) if error.kind == Kind::NoCommit => {}
            Err(error) => return Err(error),
        }
        let reference = match self.want.fallback {
            Fallback::Ref(reference) => reference,
            Fallback::Branches => {
                self.fetch_refs(turn, &["--prune"], "+refs/heads/*:refs/slipway/heads/*").await?;
                return if self.has().await? { Ok(()) } else { Err(self.no_commit(reason!("clone.on_no_branch"))) };
            }
            Fallback::None => return Err(self.no_commit(reason!("clone.not_by_id"))),
        };
        match self.fetch_refs(turn, &[], &format!("+{reference}:{}", self.tip())).await {
            Ok(()) if self.has().await? => Ok(()),
            Ok(()) => Err(self.no_commit(reason!("clone.rewritten", reference))),
            Err(error) if error.kind == Kind::NoRef => Err(self.no_commit(reason!("clone.ref_gone", reference))),
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

    fn no_commit(&self, why: Reason) -> SourceError {
        let commit = self.want.commit;
        SourceError::new(Kind::NoCommit, self.url, reason!("clone.no_commit", commit, why))
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
            other => Err(not_a_commit(self.url, self.want.commit, other)),
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
        let run = running.run(command::Limits { time: self.limits.left(), output: 1 << 20 });
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
        let limit = ByteSize(self.limits.bytes);
        let reason = match self.limits.used.bytes {
            0 => reason!("clone.too_large", limit),
            used => {
                let used = ByteSize(used);
                reason!("clone.too_large_with_others", used, limit)
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
        if self.program.version() >= (GitVersion { major: 2, minor: 32, patch: 0 }) {
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
            RunError::Io { cause, .. } => SourceError::io(self.url, error, cause),
            RunError::TimedOut { .. } => SourceError::new(Kind::Timeout, self.url, error),
            RunError::TooMuch { .. } => SourceError::new(Kind::Local, self.url, error),
        }
    }
}
