//! Files of Git LFS: fetched by the host's `git-lfs`, with the credentials of the source, into a directory beside its clone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Origin, Unprepared, Work, is_temporary, program, unexpected};
use crate::access::sources;
use crate::source::git::program::Limits;
use crate::source::git::{FetchLimits, GitProgram, clone};
use crate::source::tree::{Answer, LfsCommit, Moved, Pointer, Request, TreeError, TreeFile, is_stored, named};
use crate::source::{SourceUrl, Transport};

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
    /// Puts the files in the place of the pointers that the checkout of an origin's tree wrote.
    pub(super) async fn fill(&self, origin: &Origin, path: Option<&TreeFile>, moved: &Moved) -> Result<(), Unprepared> {
        let pointers = &moved.pointers;
        if pointers.is_empty() {
            return Ok(());
        }
        let storage = self.bring_lfs(origin, path, moved).await?;
        let root = self.site(origin, path, "").root;
        self.ask(&Request::Fill { root, pointers: pointers.clone(), storage }).await?;
        Ok(())
    }

    /// Fetches the files; where they are then.
    async fn bring_lfs(&self, origin: &Origin, path: Option<&TreeFile>, moved: &Moved) -> Result<PathBuf, Unprepared> {
        let commit = &moved.position.place.commit;
        let fail = |missing: &[&Pointer], reason: String, temporary| TreeError::Lfs {
            files: named(missing),
            commit: commit.clone(),
            reason,
            temporary,
        };
        if origin.url.local_path().is_some() {
            let storage = origin.lender.repository.join("lfs");
            let missing = missing(&moved.pointers, &storage);
            if missing.is_empty() {
                return Ok(storage);
            }
            let advice = format!(
                "the source does not have them; run there: git lfs fetch --all (looked in {})",
                storage.display()
            );
            return Err(fail(&missing, advice, false).into());
        }
        let storage = self.home.lfs_dir(self.wish.path);
        // Only the order in which files are removed goes by it.
        let _ = fs::File::open(&storage).and_then(|storage| storage.set_modified(std::time::SystemTime::now()));
        let missing_now = missing(&moved.pointers, &storage);
        if missing_now.is_empty() {
            return Ok(storage);
        }
        let limits = sources::fetch_limits(self.settings);
        let size: u64 = missing_now.iter().map(|pointer| pointer.size).fold(0, u64::saturating_add);
        if size > limits.bytes {
            let limit = crate::domain::config::ByteSize(limits.bytes);
            return Err(fail(&missing_now, format!("they are larger than git.fetch_limit ({limit})"), false).into());
        }
        let git = program(&origin.url)?;
        if !has_lfs(&git).await {
            return Err(fail(&missing_now, INSTALL.into(), false).into());
        }
        let site = self.site(origin, path, commit);
        let repository = site.repository.clone();
        let pointers = missing_now.iter().map(|pointer| (*pointer).clone()).collect();
        let Answer::Pointers(lfs) = self.ask(&Request::Pointers { site, pointers }).await? else {
            return Err(unexpected().into());
        };
        let endpoint = endpoint(&origin.url, &lfs).map_err(|reason| fail(&missing_now, reason, false))?;
        if endpoint.is_none() && origin.url.transport() == Transport::Git {
            return Err(fail(&missing_now, NO_SERVER.into(), false).into());
        }
        let said = fetch(&git, origin, &repository, &storage, endpoint.as_deref(), &lfs.id, limits).await;
        let still = missing(&moved.pointers, &storage);
        if still.is_empty() {
            return Ok(storage);
        }
        let (reason, temporary) = match said {
            Ok(stderr) => {
                let error = sources::git().explain(&origin.url, &origin.access, &stderr);
                // Of an object that is not there git-lfs says this, and its server nothing else.
                let is_missing = stderr.contains("object not found") || stderr.contains("Object does not exist");
                let advice = if is_missing { "push it there with `git lfs push --all`" } else { &error.advice };
                (format!("git-lfs says: {}; {advice}", error.reason), is_temporary(&error) && !is_missing)
            }
            Err(failed) => failed,
        };
        Err(fail(&still, reason, temporary).into())
    }
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
fn endpoint(source: &SourceUrl, lfs: &LfsCommit) -> Result<Option<String>, String> {
    let Some(url) = &lfs.url else { return Ok(None) };
    let shown: String = url.chars().filter(|c| !c.is_control()).take(80).collect();
    let parsed = SourceUrl::parse(url).map_err(|error| format!("lfs.url of .lfsconfig is refused: {error}"))?;
    match parsed.transport() {
        Transport::Https | Transport::Http => Ok(Some(url.clone())),
        // A key of this user's would be offered to whatever host a commit names.
        Transport::Ssh if source.transport() == Transport::Ssh && parsed.host() == source.host() => {
            Ok(Some(url.clone()))
        }
        _ => Err(format!("lfs.url of .lfsconfig is {shown:?}, which is refused; name it with https://")),
    }
}

/// Runs `git lfs fetch` for a commit that holds nothing but the pointers; what it says on stderr, else why it did not end and whether
/// trying again can help.
async fn fetch(
    git: &Arc<GitProgram>,
    origin: &Origin,
    repository: &Path,
    storage: &Path,
    endpoint: Option<&str>,
    commit: &str,
    limits: FetchLimits,
) -> Result<String, (String, bool)> {
    let temporary = |error: &dyn std::fmt::Display| (error.to_string(), true);
    let command = sources::git().reach(git, &origin.url, &origin.access).await;
    let mut command = command.map_err(|error| (error.to_string(), is_temporary(&error)))?;
    command.config(&format!("remote.{REMOTE}.url"), origin.url.as_str()).config("lfs.storage", storage);
    // Whatever the user has set for work of their own.
    for (key, value) in [("lfs.fetchinclude", ""), ("lfs.fetchexclude", ""), ("lfs.standalonetransferagent", "")] {
        command.config(key, value);
    }
    if let Some(endpoint) = endpoint {
        command.config("lfs.url", endpoint);
    }
    command.git_dir(repository).args(["lfs", "fetch", REMOTE, commit]);
    let running = command.start(None).map_err(|error| temporary(&error))?;
    let run = running.run(limits.time, 16 << 20);
    tokio::pin!(run);
    let mut measure = tokio::time::interval(MEASURE);
    loop {
        tokio::select! {
            ended = &mut run => return ended.map(|ended| ended.stderr).map_err(|error| temporary(&error)),
            _ = measure.tick() => {
                // A server may send more than the pointers say, without end: git-lfs looks at a file once it is whole.
                let arriving = storage.join(ARRIVING);
                if clone::size_of(&arriving) > limits.bytes {
                    let _ = fs::remove_dir_all(arriving);
                    let limit = crate::domain::config::ByteSize(limits.bytes);
                    return Err((format!("the server sends more than git.fetch_limit ({limit})"), false));
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
            of("https://host/a", "https://lfs.example.com/x").unwrap().as_deref(),
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
