//! Files of Git LFS: fetched by the host's `git-lfs`, with the credentials of the source, into a directory beside its
//! clone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Origin, Unprepared, Work, is_temporary, program, unexpected};
use crate::domain::config::ByteSize;
use crate::domain::reason::{AsReason, Reason, display_as_reason, phrase, quoted, reason};
use crate::services::sources;
use crate::source::git::program::Limits;
use crate::source::git::{FetchLimits, GitProgram, LfsSaid, Turn, clone};
use crate::source::tree::{
    Answer, LfsCommit, Moved, Pointer, Request, TreeError, TreeFile, is_stored, leads_back, named, remove_damaged,
};
use crate::source::{SourceError, SourceUrl, Transport, UrlError};
use crate::sys::command::{self, RunError};

/// The name that git-lfs knows the source by, in a repository that has no other remote.
const REMOTE: &str = "slipway";
/// Where git-lfs keeps a file that is not whole yet, below its storage.
const ARRIVING: &str = "incomplete";
/// How often the size of what arrives is looked at.
const MEASURE: Duration = Duration::from_millis(250);

impl Work<'_> {
    /// Puts the files in the place of the pointers that the checkout of an origin's tree wrote. A file that was damaged
    /// since it was fetched is fetched again, once.
    pub(super) async fn fill(
        &mut self,
        origin: &Origin,
        path: Option<&TreeFile>,
        moved: &Moved,
    ) -> Result<(), Unprepared> {
        let commit = moved.position.place.commit.as_str();
        let mut pointers = moved.pointers.clone();
        let mut storage = PathBuf::new();
        for are_damaged in [false, true] {
            if pointers.is_empty() {
                return Ok(());
            }
            storage = self.bring_lfs(origin, path, commit, &pointers, are_damaged).await?;
            let root = self.site(origin, path, "").root;
            let request = Request::Fill { root, pointers, storage: storage.clone() };
            let Answer::Filled(damaged) = self.ask(&request).await? else { return Err(unexpected().into()) };
            pointers = damaged;
        }
        if pointers.is_empty() {
            return Ok(());
        }
        let what = reason!("tree_step.store_lfs_files", files = named(&pointers.iter().collect::<Vec<_>>()));
        Err(TreeError::Io { what, reason: reason!("lfs.stored_otherwise", storage) }.into())
    }

    /// Fetches the files; where they are then. Those that are damaged are removed first.
    async fn bring_lfs(
        &mut self,
        origin: &Origin,
        path: Option<&TreeFile>,
        commit: &str,
        pointers: &[Pointer],
        are_damaged: bool,
    ) -> Result<PathBuf, Unprepared> {
        if origin.url.local_path().is_some() {
            let storage = origin.lender.repository.join("lfs");
            return of_local(storage, commit, pointers, are_damaged).map_err(Into::into);
        }
        let storage = self.home.lfs_dir(self.wish.path);
        // Only the order in which files are removed goes by it.
        let _ = fs::File::open(&storage).and_then(|storage| storage.set_modified(std::time::SystemTime::now()));
        if !are_damaged && missing(pointers, &storage).is_empty() {
            return Ok(storage);
        }
        let waiting = Instant::now();
        let io = |error: std::io::Error| TreeError::io(phrase!("tree_step.use"), &storage, &error);
        let left = self.budget.limits(None).left();
        let turn = tokio::time::timeout(left, Turn::take(&storage, left)).await;
        let turn = turn.unwrap_or_else(|elapsed| Err(elapsed.into())).map_err(io)?;
        self.budget.fetched_lfs(0, waiting.elapsed());
        let began = Instant::now();
        if are_damaged {
            let (damaged, at) = (pointers.to_vec(), storage.clone());
            let removed = tokio::task::spawn_blocking(move || remove_damaged(&damaged, &at)).await;
            removed.map_err(std::io::Error::other).and_then(|removed| removed).map_err(io)?;
        }
        // Another build may have fetched them meanwhile.
        let missing_now = missing(pointers, &storage);
        if !missing_now.is_empty() {
            self.fetch_lfs(origin, path, commit, &missing_now, (&storage, &turn)).await?;
        }
        turn.finish();
        let bytes = missing_now.iter().map(|pointer| pointer.size).fold(0, u64::saturating_add);
        self.budget.fetched_lfs(bytes, began.elapsed());
        Ok(storage)
    }

    /// Fetches files that are missing from the storage.
    async fn fetch_lfs(
        &self,
        origin: &Origin,
        path: Option<&TreeFile>,
        commit: &str,
        missing_now: &[&Pointer],
        (storage, turn): (&Path, &Turn),
    ) -> Result<(), Unprepared> {
        let fail = |error: LfsError| failed(missing_now, commit, &error);
        let limits = self.budget.limits(None);
        let size: u64 = missing_now.iter().map(|pointer| pointer.size).fold(0, u64::saturating_add);
        if limits.is_over(size) {
            return Err(fail(LfsError::TooLarge(limits)).into());
        }
        let git = program(&origin.url)?;
        if !has_lfs(&git).await {
            return Err(fail(LfsError::NoProgram).into());
        }
        let site = self.site(origin, path, commit);
        let repository = site.repository.clone();
        let pointers = missing_now.iter().map(|pointer| (*pointer).clone()).collect();
        let Answer::Pointers(lfs) = self.ask(&Request::Pointers { site, pointers }).await? else {
            return Err(unexpected().into());
        };
        let endpoint = endpoint(&origin.url, &lfs).map_err(fail)?;
        if endpoint.is_none() && origin.url.transport() == Transport::Git {
            return Err(fail(LfsError::NoServer).into());
        }
        if let Some(address) = endpoint.as_ref().filter(|endpoint| leads_back(&self.source, endpoint)) {
            return Err(TreeError::LfsAddress { commit: commit.to_owned(), address: address.to_string() }.into());
        }
        let endpoint = endpoint.as_ref().map(SourceUrl::as_str);
        let fetch = Fetch { git: &git, origin, repository: &repository, storage, turn, limits };
        let said = fetch.run(endpoint, &lfs.id).await;
        let still: Vec<&Pointer> = missing_now.iter().filter(|pointer| !is_stored(pointer, storage)).copied().collect();
        if still.is_empty() {
            return Ok(());
        }
        let said = said.map(|stderr| sources::git().explain_lfs(&origin.url, &origin.access, &stderr));
        Err(failed(&still, commit, &said.map_or_else(|error| error, LfsError::Said)).into())
    }
}

/// Files of Git LFS that are unavailable.
#[derive(Debug, thiserror::Error)]
enum LfsError {
    /// They are larger than what is left of a limit.
    TooLarge(FetchLimits),
    /// The server sends more than that.
    SentMore(FetchLimits),
    /// This machine has no git-lfs.
    NoProgram,
    /// A `git://` source names no server that has them.
    NoServer,
    /// `lfs.url` of `.lfsconfig` is no address.
    Url(#[from] UrlError),
    /// `lfs.url` of `.lfsconfig` is no address that a commit may name.
    Refused {
        /// Its beginning.
        url: String,
    },
    /// A source on this disk has them damaged.
    Damaged {
        /// Where it keeps them.
        storage: PathBuf,
    },
    /// A source on this disk does not have them.
    Absent {
        /// Where it keeps them.
        storage: PathBuf,
    },
    /// There is no way to the server.
    Source(#[from] SourceError),
    /// git can't be started.
    Io(#[from] std::io::Error),
    /// git-lfs did not run to its end.
    Run(#[from] RunError),
    /// git-lfs did not bring them, and says so.
    Said(LfsSaid),
}

display_as_reason!(LfsError);

impl AsReason for LfsError {
    fn reason(&self) -> Reason {
        match self {
            LfsError::TooLarge(limits) => reason!("lfs.too_large", limit = limit_of(*limits)),
            LfsError::SentMore(limits) => reason!("lfs.sent_more", limit = limit_of(*limits)),
            LfsError::NoProgram => reason!("lfs.no_program"),
            LfsError::NoServer => reason!("lfs.no_server"),
            LfsError::Url(error) => reason!("lfs.url_invalid", error),
            LfsError::Refused { url } => reason!("lfs.url_refused", url = quoted(url)),
            LfsError::Damaged { storage } => reason!("lfs.damaged", storage),
            LfsError::Absent { storage } => reason!("lfs.absent", storage),
            LfsError::Source(error) => error.reason(),
            LfsError::Io(error) => reason!("source.git_not_run", error),
            LfsError::Run(error) => error.reason(),
            // Of an object that is not there a server of ssh's own protocol lets git-lfs say nothing at all.
            LfsError::Said(LfsSaid::Nothing) => reason!("lfs.silent"),
            LfsError::Said(LfsSaid::NotOverSsh) => reason!("lfs.not_over_ssh"),
            LfsError::Said(LfsSaid::Missing(error)) => {
                reason!("lfs.said", said = error.reason, advice = reason!("lfs.push_all"))
            }
            LfsError::Said(LfsSaid::Other(error)) => reason!("lfs.said", said = error.reason, advice = error.advice),
        }
    }
}

impl LfsError {
    /// Whether trying again can help.
    fn is_temporary(&self) -> bool {
        match self {
            LfsError::Io(_) | LfsError::Run(_) => true,
            LfsError::Source(error) | LfsError::Said(LfsSaid::Other(error)) => is_temporary(error),
            _ => false,
        }
    }
}

fn failed(files: &[&Pointer], commit: &str, error: &LfsError) -> TreeError {
    TreeError::Lfs { files: named(files), commit: commit.into(), reason: error.into(), temporary: error.is_temporary() }
}

/// The limit of bytes, and what is used of it, for an error.
fn limit_of(limits: FetchLimits) -> Reason {
    let limit = ByteSize(limits.bytes);
    match limits.used.bytes {
        0 => reason!("lfs.limit", limit),
        used => reason!("lfs.limit_left", used = ByteSize(used), limit),
    }
}

/// The files of a source on this disk, which has to have them.
fn of_local(storage: PathBuf, commit: &str, pointers: &[Pointer], are_damaged: bool) -> Result<PathBuf, TreeError> {
    let files = if are_damaged { pointers.iter().collect() } else { missing(pointers, &storage) };
    if files.is_empty() {
        return Ok(storage);
    }
    let error = if are_damaged { LfsError::Damaged { storage } } else { LfsError::Absent { storage } };
    Err(failed(&files, commit, &error))
}

fn missing<'p>(pointers: &'p [Pointer], storage: &Path) -> Vec<&'p Pointer> {
    pointers.iter().filter(|pointer| !is_stored(pointer, storage)).collect()
}

async fn has_lfs(git: &Arc<GitProgram>) -> bool {
    let mut command = git.command(crate::source::git::Configuration::None);
    command.args(["lfs", "version"]);
    let limits = Limits { time: Duration::from_secs(30), output: 4096, memory: None };
    command.run(limits).await.is_ok_and(|ended| ended.status.success())
}

/// Where `.lfsconfig` has the files fetched; none: where git-lfs finds them by the source's address.
fn endpoint(source: &SourceUrl, lfs: &LfsCommit) -> Result<Option<SourceUrl>, LfsError> {
    let Some(url) = &lfs.url else { return Ok(None) };
    let parsed = SourceUrl::parse(url)?;
    match parsed.transport() {
        Transport::Https | Transport::Http => Ok(Some(parsed)),
        // A key of this user's would be offered to whatever host a commit names.
        Transport::Ssh if source.transport() == Transport::Ssh && parsed.host() == source.host() => Ok(Some(parsed)),
        _ => Err(LfsError::Refused { url: url.chars().filter(|c| !c.is_control()).take(80).collect() }),
    }
}

/// One run of git-lfs.
struct Fetch<'a> {
    git: &'a Arc<GitProgram>,
    origin: &'a Origin,
    repository: &'a Path,
    storage: &'a Path,
    turn: &'a Turn,
    limits: FetchLimits,
}

impl Fetch<'_> {
    /// Runs `git lfs fetch` for a commit that holds nothing but the pointers; what it says on stderr, else why it did
    /// not end.
    async fn run(&self, endpoint: Option<&str>, commit: &str) -> Result<String, LfsError> {
        let Fetch { origin, storage, limits, .. } = self;
        let mut command = sources::git().reach(self.git, &origin.url, &origin.access).await?;
        command.config(&format!("remote.{REMOTE}.url"), origin.url.as_str()).config("lfs.storage", storage);
        // Whatever the user has set for work of their own.
        for (key, value) in [("lfs.fetchinclude", ""), ("lfs.fetchexclude", ""), ("lfs.standalonetransferagent", "")] {
            command.config(key, value);
        }
        if let Some(endpoint) = endpoint {
            command.config("lfs.url", endpoint);
        }
        command.git_dir(self.repository).args(["lfs", "fetch", REMOTE, commit]);
        command.stdin(self.turn.lock()?);
        let running = command.start(None)?;
        self.turn.tell(running.id());
        let run = running.run(command::Limits { time: limits.left(), output: 16 << 20 });
        tokio::pin!(run);
        let mut measure = tokio::time::interval(MEASURE);
        loop {
            tokio::select! {
                ended = &mut run => return Ok(ended?.stderr),
                _ = measure.tick() => {
                    // A server may send more than the pointers say, without end: git-lfs looks at a file once it is
                    // whole.
                    let arriving = storage.join(ARRIVING);
                    if limits.is_over(clone::size_of(&arriving)) {
                        let _ = fs::remove_dir_all(arriving);
                        return Err(LfsError::SentMore(*limits));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_can_not_send_git_lfs_to_this_disk_or_a_key_to_another_host() {
        let of = |source: &str, url: &str| {
            let lfs = LfsCommit { id: String::new(), url: Some(url.into()) };
            endpoint(&SourceUrl::parse(source).unwrap(), &lfs)
        };
        assert_eq!(
            of("https://host/a", "https://lfs.example.com/x").unwrap().as_ref().map(SourceUrl::as_str),
            Some("https://lfs.example.com/x")
        );
        assert!(of("git@host:a", "ssh://git@host/a").is_ok());
        for url in [
            "file:///srv/secret",
            "/srv/secret",
            "ssh://git@other/a",
            "ext::sh -c x",
            "--help",
            "https://user:pw@host/x",
        ] {
            assert!(of("git@host:a", url).is_err(), "{url}");
        }
        assert!(of("https://host/a", "ssh://git@host/a").is_err());
    }
}
