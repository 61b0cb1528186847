//! Files of Git LFS: fetched by the host's `git-lfs`, with the credentials of the source, into a directory beside its
//! clone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Origin, Unprepared, Work, is_temporary, program, unexpected};
use crate::domain::config::ByteSize;
use crate::domain::reason::reason;
use crate::services::sources;
use crate::source::git::program::Limits;
use crate::source::git::{FetchLimits, GitProgram, Turn, clone};
use crate::source::tree::{
    Answer, LfsCommit, Moved, Pointer, Request, TreeError, TreeFile, is_stored, leads_back, named, remove_damaged,
};
use crate::source::{SourceUrl, Transport};
use crate::sys::command;

/// What a missing `git-lfs` is answered with.
const INSTALL: &str = "this machine has no git-lfs; install it (Debian, Ubuntu: apt-get install git-lfs; Fedora, RHEL: dnf install \
                       git-lfs; Alpine: apk add git-lfs)";
/// What the files of a `git://` source without `lfs.url` are answered with.
const NO_SERVER: &str = "a git:// source has no server of Git LFS files; name one in its .lfsconfig (lfs.url = https://…), or name the \
                         source by https or ssh";
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
        let what = format!("store the Git LFS files {}", named(&pointers.iter().collect::<Vec<_>>()));
        let reason = format!("what is read of them in {} is not what was written; check the disk", storage.display());
        Err(TreeError::Io { what, reason }.into())
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
        let io = |error: std::io::Error| TreeError::io("use", &storage, &error);
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
        let fail = |missing: &[&Pointer], reason: String, temporary| failed(missing, commit, reason, temporary);
        let limits = self.budget.limits(None);
        let size: u64 = missing_now.iter().map(|pointer| pointer.size).fold(0, u64::saturating_add);
        if limits.is_over(size) {
            return Err(fail(missing_now, format!("they are larger than {}", limit_of(limits)), false).into());
        }
        let git = program(&origin.url)?;
        if !has_lfs(&git).await {
            return Err(fail(missing_now, INSTALL.into(), false).into());
        }
        let site = self.site(origin, path, commit);
        let repository = site.repository.clone();
        let pointers = missing_now.iter().map(|pointer| (*pointer).clone()).collect();
        let Answer::Pointers(lfs) = self.ask(&Request::Pointers { site, pointers }).await? else {
            return Err(unexpected().into());
        };
        let endpoint = endpoint(&origin.url, &lfs).map_err(|reason| fail(missing_now, reason, false))?;
        if endpoint.is_none() && origin.url.transport() == Transport::Git {
            return Err(fail(missing_now, NO_SERVER.into(), false).into());
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
        let (reason, temporary) = match said {
            // Of an object that is not there a server of ssh's own protocol lets git-lfs say nothing at all.
            Ok(stderr) if stderr.trim().is_empty() => (reason!("lfs.silent").to_string(), false),
            Ok(stderr) if stderr.contains("git-lfs-authenticate") => (reason!("lfs.not_over_ssh").to_string(), false),
            Ok(stderr) => {
                let error = sources::git().explain(&origin.url, &origin.access, &stderr);
                // Of an object that is not there git-lfs says this, and its server nothing else.
                let is_missing = stderr.contains("object not found") || stderr.contains("Object does not exist");
                let advice = if is_missing { reason!("lfs.push_all") } else { error.advice.clone() };
                (reason!("lfs.said", said = error.reason, advice).to_string(), is_temporary(&error) && !is_missing)
            }
            Err(failed) => failed,
        };
        Err(fail(&still, reason, temporary).into())
    }
}

fn failed(files: &[&Pointer], commit: &str, reason: String, temporary: bool) -> TreeError {
    TreeError::Lfs { files: named(files), commit: commit.into(), reason, temporary }
}

/// The limit of bytes, and what is used of it, for an error.
fn limit_of(limits: FetchLimits) -> String {
    let limit = ByteSize(limits.bytes);
    match limits.used.bytes {
        0 => format!("git.fetch_limit ({limit})"),
        used => format!(
            "what the same build's other fetches left ({} are used) of git.fetch_limit ({limit})",
            ByteSize(used)
        ),
    }
}

/// The files of a source on this disk, which has to have them.
fn of_local(storage: PathBuf, commit: &str, pointers: &[Pointer], are_damaged: bool) -> Result<PathBuf, TreeError> {
    let at = storage.display();
    let (files, reason) = match are_damaged {
        true => {
            let reason = format!("they are damaged in {at}; run in the source: git lfs fsck, then git lfs fetch --all");
            (pointers.iter().collect(), reason)
        }
        false => {
            let reason = format!("the source does not have them; run there: git lfs fetch --all (looked in {at})");
            (missing(pointers, &storage), reason)
        }
    };
    if files.is_empty() { Ok(storage) } else { Err(failed(&files, commit, reason, false)) }
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
fn endpoint(source: &SourceUrl, lfs: &LfsCommit) -> Result<Option<SourceUrl>, String> {
    let Some(url) = &lfs.url else { return Ok(None) };
    let shown: String = url.chars().filter(|c| !c.is_control()).take(80).collect();
    let parsed = SourceUrl::parse(url).map_err(|error| format!("lfs.url of .lfsconfig is refused: {error}"))?;
    match parsed.transport() {
        Transport::Https | Transport::Http => Ok(Some(parsed)),
        // A key of this user's would be offered to whatever host a commit names.
        Transport::Ssh if source.transport() == Transport::Ssh && parsed.host() == source.host() => Ok(Some(parsed)),
        _ => Err(format!("lfs.url of .lfsconfig is {shown:?}, which is refused; name it with https://")),
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
    /// not end and whether trying again can help.
    async fn run(&self, endpoint: Option<&str>, commit: &str) -> Result<String, (String, bool)> {
        let temporary = |error: &dyn std::fmt::Display| (error.to_string(), true);
        let Fetch { origin, storage, limits, .. } = self;
        let command = sources::git().reach(self.git, &origin.url, &origin.access).await;
        let mut command = command.map_err(|error| (error.to_string(), is_temporary(&error)))?;
        command.config(&format!("remote.{REMOTE}.url"), origin.url.as_str()).config("lfs.storage", storage);
        // Whatever the user has set for work of their own.
        for (key, value) in [("lfs.fetchinclude", ""), ("lfs.fetchexclude", ""), ("lfs.standalonetransferagent", "")] {
            command.config(key, value);
        }
        if let Some(endpoint) = endpoint {
            command.config("lfs.url", endpoint);
        }
        command.git_dir(self.repository).args(["lfs", "fetch", REMOTE, commit]);
        command.stdin(self.turn.lock().map_err(|error| temporary(&error))?);
        let running = command.start(None).map_err(|error| temporary(&error))?;
        self.turn.tell(running.id());
        let run = running.run(command::Limits { time: limits.left(), output: 16 << 20 });
        tokio::pin!(run);
        let mut measure = tokio::time::interval(MEASURE);
        loop {
            tokio::select! {
                ended = &mut run => return ended.map(|ended| ended.stderr).map_err(|error| temporary(&error)),
                _ = measure.tick() => {
                    // A server may send more than the pointers say, without end: git-lfs looks at a file once it is
                    // whole.
                    let arriving = storage.join(ARRIVING);
                    if limits.is_over(clone::size_of(&arriving)) {
                        let _ = fs::remove_dir_all(arriving);
                        return Err((format!("the server sends more than {}", limit_of(*limits)), false));
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
