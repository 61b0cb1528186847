//! Sources, asked: on this machine's disk libgit2 answers, of other machines the host's `git`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::Access;
use super::clone::{self, Fallback, FetchLimits, Fetched, Want};
use super::commits::{self, Commit, Wanted};
use super::listing;
use super::program::{Configuration, GitCommand, GitProgram};
use super::questions::{Answer, Readers, What};
use super::reach::Reach;
use super::stderr::LfsSaid;
use crate::source::error::{Kind, SourceError};
use crate::source::refs::Refs;
use crate::source::url::SourceUrl;

/// The way to all sources.
pub struct Git {
    reach: Reach,
    readers: Readers,
}

impl Git {
    /// With that program as slipway itself: it reads repositories on this disk, and answers git's questions for
    /// credentials.
    pub fn new(slipway: PathBuf) -> Git {
        Git { readers: Readers::new(slipway.clone()), reach: Reach { slipway } }
    }

    /// A command line of git that reaches the server of a source with its credentials; without its subcommand. What it
    /// starts (git-lfs) reaches the same server with the same credentials, and no other.
    ///
    /// # Errors
    /// When the CA or the key of the source can't be read.
    pub async fn reach(
        &self,
        program: &GitProgram,
        url: &SourceUrl,
        access: &Access,
    ) -> Result<GitCommand, SourceError> {
        self.reach.command(program, url, access).await
    }

    /// What it means that a `git lfs fetch` of [`Git::reach`] did not bring all files, with that on its stderr.
    pub fn explain_lfs(&self, url: &SourceUrl, access: &Access, stderr: &str) -> LfsSaid {
        super::stderr::lfs_said(url, access, stderr)
    }

    /// Brings a commit into the clone of a source on another machine, which is made where it is not there, and made
    /// again where it is damaged. Only what is not there yet is fetched; one fetches into a clone at a time, and others
    /// wait.
    ///
    /// # Errors
    /// When the source can't be reached, does not have the commit, or a limit is exceeded; the error's kind tells
    /// which.
    pub async fn fetch(
        &self,
        clone: &Path,
        url: &SourceUrl,
        access: &Access,
        want: Want<'_>,
        limits: FetchLimits,
    ) -> Result<Fetched, SourceError> {
        clone::fetch(&self.reach, clone, url, access, want, limits).await
    }

    /// Reads the branches and tags of a source, without a clone.
    ///
    /// # Errors
    /// When the source can't be reached, opened or understood in time, or has too many refs; the error's kind tells
    /// which.
    pub async fn list(&self, url: &SourceUrl, access: &Access) -> Result<Refs, SourceError> {
        if url.local_path().is_some() {
            match self.readers.ask(url, What::List, access.timeout).await? {
                Answer::Refs(refs) => return Ok(refs),
                Answer::Error(error) => return Err(error),
                Answer::Sha256 | Answer::Commit(_) | Answer::Origin(_) => {}
            }
        }
        let program = GitProgram::find().map_err(|error| SourceError::no_git(url, &error))?;
        let work = async {
            let command = self.reach(&program, url, access).await?;
            let address = url.local_path().map_or_else(|| url.as_str().as_ref(), Path::as_os_str);
            listing::list(command, address, url, access).await
        };
        tokio::time::timeout(access.timeout, work)
            .await
            .unwrap_or_else(|_| Err(SourceError::no_answer(url, access.timeout)))
    }

    /// The URL that a source on this disk was cloned from; none where it is on no other machine, has credentials, or
    /// can't be read in time.
    pub async fn origin(&self, url: &SourceUrl, limit: Duration) -> Option<SourceUrl> {
        match self.readers.ask(url, What::Origin, limit).await {
            Ok(Answer::Origin(origin)) => SourceUrl::parse(&origin?).ok(),
            _ => None,
        }
    }

    /// Looks at a commit of a source: what it says, and what it changes. Of a source on another machine it is fetched
    /// first.
    ///
    /// # Errors
    /// When the source can't be read in time, or does not have the commit.
    pub async fn look(
        &self,
        url: &SourceUrl,
        access: &Access,
        wanted: Wanted,
        limits: FetchLimits,
    ) -> Result<Commit, SourceError> {
        let Some(path) = url.local_path() else { return self.look_in_clone(url, access, &wanted, limits).await };
        match self.readers.ask(url, What::Look(wanted.clone()), limits.time).await? {
            Answer::Commit(commit) => return Ok(commit),
            Answer::Error(error) => return Err(error),
            Answer::Sha256 | Answer::Refs(_) | Answer::Origin(_) => {}
        }
        let program = GitProgram::find().map_err(|error| SourceError::no_git(url, &error))?;
        commits::read(|| in_repository(&program, path), url, &wanted).await
    }

    async fn look_in_clone(
        &self,
        url: &SourceUrl,
        access: &Access,
        wanted: &Wanted,
        limits: FetchLimits,
    ) -> Result<Commit, SourceError> {
        let program = GitProgram::find().map_err(|error| SourceError::no_git(url, &error))?;
        let store = wanted.store.as_path();
        let want = Want { fallback: Fallback::Ref(&wanted.reference), commit: &wanted.commit, tags: false };
        self.fetch(store, url, access, want, limits).await?;
        for since in wanted.since.iter().chain(&wanted.within) {
            // Most are there, as its ancestors. One that is lost is not compared with, and not worth a fetch of all
            // branches.
            let want = Want { fallback: Fallback::None, commit: since, tags: false };
            if let Err(error) = self.fetch(store, url, access, want, limits).await
                && error.kind != Kind::NoCommit
            {
                tracing::debug!("{since} is not compared with: {error}");
            }
        }
        commits::read(|| clone::on_disk(&program, store), url, wanted).await
    }
}

/// A command line that reads a repository of somebody's on this disk: exactly there and not above, and no one's but its
/// owner's.
fn in_repository(program: &GitProgram, path: &Path) -> GitCommand {
    let mut command = program.command(Configuration::Users);
    command.config("safe.bareRepository", "all").current_dir(path);
    if let Some(above) = path.parent() {
        command.env("GIT_CEILING_DIRECTORIES", above);
    }
    command
}
