//! Trees of commits, made ready for builds: fetched with the credentials of their platform, checked out with their
//! submodules and files of Git LFS.

mod budget;
mod cache;
mod failure;
mod lfs;
mod modules;
mod submodule_access;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::sources;
use crate::domain::name::RepositoryPath;
use crate::domain::push::{CommitId, Ref};
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::repository::Source;
use crate::services::ServiceError;
use crate::source::git::{Fallback, GitProgram, Want, clone};
use crate::source::tree::{
    Answer, Lender, Moved, Part, Position, Request, Room, Site, Slot, State, TimeKey, TreeError, TreeFile, Trees,
};
use crate::source::{Access, SourceError, SourceUrl};
use crate::store::Home;
use crate::store::settings::Settings;
use budget::Budget;

pub use cache::{make_room, tidy};
pub use failure::Unprepared;

static TREES: LazyLock<Trees> = LazyLock::new(|| {
    // This very program, whatever an upgrade puts in its place meanwhile: another one may speak otherwise.
    Trees { program: PathBuf::from("/proc/self/exe") }
});

/// A repository on this machine's disk that could not be looked at by then is given up: its disk hangs.
const LEND_LIMIT: Duration = Duration::from_secs(30);

/// As long as an error waits for the address that a local repository was cloned from.
const ORIGIN_LIMIT: Duration = Duration::from_secs(5);

/// Which tree is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The repository that it is for: it has its own clone and trees.
    pub path: &'a RepositoryPath,
    /// Where it comes from.
    pub source: &'a Source,
    /// The ref that the commit was seen at.
    pub reference: &'a Ref,
    /// The commit.
    pub commit: &'a CommitId,
    /// Whether it has a `.git`.
    pub keep_git: bool,
}

/// What making a tree ready goes by.
struct Work<'a> {
    home: &'a Home,
    settings: &'a Settings,
    wish: Wish<'a>,
    /// Where the source is.
    source: SourceUrl,
    /// What fetches may still take.
    budget: Budget,
    slot: Slot,
    key: TimeKey,
    parts: Vec<Part>,
    /// The directories of trees that were made again: what was below them is gone.
    remade: Vec<Option<TreeFile>>,
}

/// A repository that parts of the tree come from, and the way to it.
struct Origin {
    url: SourceUrl,
    access: Access,
    /// The clone of one on another machine.
    clone: Option<PathBuf>,
    lender: Lender,
}

/// Makes the tree of a commit ready. The slot that is returned holds it for as long as its lock is held.
///
/// Dropping the future gives it up: what it started ends, and the slot's tree is made again the next time.
///
/// # Errors
/// When the source can't be reached, or its tree can't be made.
pub async fn prepare(home: &Home, settings: &Settings, wish: Wish<'_>) -> Result<Slot, Unprepared> {
    let url = sources::parse_url(&wish.source.url).map_err(ServiceError::from)?;
    let access = sources::access(home, settings, wish.source).await?;
    let clone = home.git_dir(wish.path);
    let mut budget = Budget::new(sources::fetch_limits(settings));
    let origin = Origin::bring(&mut budget, url, access, clone, wish).await?;
    let trees = home.trees_dir(wish.path);
    let (commit, reference) = (wish.commit.to_string(), wish.reference.to_string());
    let (key_file, repository) = (home.time_key_file(), wish.path.to_string());
    let take = move || Ok((Slot::take(&trees, &commit, &reference)?, TimeKey::of(&key_file, &repository)?));
    let taken = tokio::task::spawn_blocking(take).await.map_err(std::io::Error::other).and_then(|taken| taken);
    let (slot, key) =
        taken.map_err(|error| TreeError::step(reason!("tree_step.take_a_tree", path = wish.path), &error))?;
    let state = slot.state();
    let is_ready = |state: &State| state.commit() == Some(wish.commit.as_str()) && !state.keep_git && !wish.keep_git;
    if state.as_ref().is_some_and(is_ready) {
        // Only the order in which slots are removed goes by it.
        let _ = slot.touch();
        return Ok(slot);
    }
    let source = origin.url.clone();
    let mut work = Work { home, settings, wish, source, budget, slot, key, parts: Vec::new(), remade: Vec::new() };
    let made = work.make(&origin, state).await;
    let slot = work.slot;
    let Err(error) = made else { return Ok(slot) };
    let path = wish.path.to_string();
    let discarded = tokio::task::spawn_blocking(|| slot.discard()).await.map_err(std::io::Error::other);
    if let Err(error) = discarded.and_then(|discarded| discarded) {
        tracing::warn!("cannot remove a tree of {path} that was not made: {error}");
    }
    Err(error)
}

impl Work<'_> {
    async fn make(&mut self, origin: &Origin, before: Option<State>) -> Result<(), Unprepared> {
        let io = |error: std::io::Error| TreeError::step(reason!("tree_step.write_the_state"), &error);
        self.slot.begin().map_err(io)?;
        let had_git = before.as_ref().is_none_or(|state| state.keep_git);
        let before = before.map(|state| state.parts).unwrap_or_default();
        let commit = self.wish.commit.as_str();
        let moved = self.move_part(origin, None, commit, &before).await?;
        self.fill(origin, None, &moved).await?;
        self.modules(origin, &moved.position, &before).await?;
        if self.wish.keep_git || had_git {
            let site = self.site(origin, None, commit);
            self.ask(&Request::Git { site, keep: self.wish.keep_git }).await?;
        }
        let state = State::new(self.wish.reference.to_string(), self.wish.keep_git, std::mem::take(&mut self.parts));
        self.slot.finish(&state).map_err(io)?;
        Ok(())
    }

    async fn ask(&self, request: &Request) -> Result<Answer, TreeError> {
        TREES.ask(request, Some(self.slot.lock_file())).await
    }

    fn site(&self, origin: &Origin, path: Option<&TreeFile>, commit: &str) -> Site {
        use std::os::unix::ffi::OsStrExt as _;
        let root = self.slot.root();
        let root = path.map_or_else(|| root.clone(), |path| root.join(std::ffi::OsStr::from_bytes(path.as_bytes())));
        let (lender, repository) = (origin.lender.clone(), self.slot.repository(path));
        Site { lender, repository, root, commit: commit.to_owned(), key: self.key.clone() }
    }

    /// Moves the tree at a path to a commit of an origin. A clone that turns out to be damaged is made again, once.
    async fn move_part(
        &mut self,
        origin: &Origin,
        path: Option<&TreeFile>,
        commit: &str,
        before: &[Part],
    ) -> Result<Moved, Unprepared> {
        let from = self.position(path, before);
        let site = self.site(origin, path, commit);
        let used = self.parts.iter().map(|part| part.position.bytes).fold(0, u64::saturating_add);
        let config = &self.settings.config;
        let room = Room { limit: config.git.tree_limit.0, used, min_free: config.pool.min_free.0 };
        let moved = match self.ask(&Request::Move { site: site.clone(), from, room }).await {
            Err(TreeError::Damaged { .. } | TreeError::NoCommit { .. }) if origin.clone.is_some() => {
                origin.renew(&mut self.budget, self.wish, commit).await?;
                self.ask(&Request::Move { site: site.clone(), from: None, room }).await
            }
            Err(TreeError::Damaged { repository, reason }) => {
                // What is missing from a partial clone is not fetched for it: from where, and with whose keys, would be
                // the word of whoever may write the repository's configuration. SECURITY.md says more.
                let known = sources::git().origin(&origin.url, ORIGIN_LIMIT).await;
                let clone_of = known.map_or_else(|| reason!("tree.its_origin"), |url| Reason::verbatim(url.as_str()));
                let reason = reason!("tree.partial_clone", reason, clone_of);
                Err(TreeError::Checkout { repository, commit: commit.to_owned(), reason })
            }
            answer => answer,
        };
        let Answer::Moved(mut moved) = moved? else { return Err(unexpected().into()) };
        let mut of_lfs = moved.bytes_of_lfs();
        if !moved.made && !room.holds(moved.position.bytes.saturating_add(of_lfs)) {
            // Files that were replaced are counted, which a new tree does not have.
            let request = Request::Move { site, from: None, room };
            let Answer::Moved(again) = self.ask(&request).await? else { return Err(unexpected().into()) };
            of_lfs = again.bytes_of_lfs();
            moved = again;
        }
        moved.position.bytes = moved.position.bytes.saturating_add(of_lfs);
        room.check_limit(commit, moved.position.bytes)?;
        room.check_space(&self.slot.root(), of_lfs)?;
        if moved.made {
            self.remade.push(path.cloned());
        }
        self.parts.push(Part { path: path.cloned(), position: moved.position.clone() });
        Ok(moved)
    }

    /// Where the tree at a path is now; none where it is gone with the tree that it was in.
    fn position(&self, path: Option<&TreeFile>, before: &[Part]) -> Option<Position> {
        let is_gone = self.remade.iter().any(|remade| match (remade, path) {
            (None, _) => true,
            (Some(remade), Some(path)) => path.is_below(remade),
            (Some(_), None) => false,
        });
        let part = before.iter().find(|part| part.path.as_ref() == path).filter(|_| !is_gone);
        part.map(|part| part.position.clone())
    }
}

/// Finds the repository at a path of this machine's disk, which is one that `source` may name as a submodule where
/// there is one.
async fn lend(path: &Path, source: Option<&Path>) -> Result<Lender, TreeError> {
    let request = Request::Lend { path: path.into(), source: source.map(Path::to_owned) };
    match tokio::time::timeout(LEND_LIMIT, TREES.ask(&request, None)).await {
        Ok(Ok(Answer::Lent(lender))) => Ok(lender),
        Ok(Ok(_)) => Err(unexpected()),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let reason = reason!("lender.too_slow", seconds = LEND_LIMIT.as_secs());
            Err(TreeError::NoRepository { path: path.into(), reason })
        }
    }
}

fn unexpected() -> TreeError {
    TreeError::Io { what: reason!("tree_step.run_slipway_tree"), reason: reason!("tree.other_answer") }
}

impl Origin {
    /// Brings the wanted commit to this machine.
    async fn bring(
        budget: &mut Budget,
        url: SourceUrl,
        access: Access,
        clone: PathBuf,
        wish: Wish<'_>,
    ) -> Result<Origin, Unprepared> {
        if let Some(path) = url.local_path() {
            let lender = lend(path, None).await?;
            return Ok(Origin { url, access, clone: None, lender });
        }
        let lender = Lender { name: url.to_string(), repository: clone.clone() };
        let origin = Origin { url, access, clone: Some(clone), lender };
        let want = Want { fallback: Fallback::Ref(wish.reference), commit: wish.commit, tags: wish.keep_git };
        origin.fetch(budget, want).await?;
        Ok(origin)
    }

    async fn fetch(&self, budget: &mut Budget, want: Want<'_>) -> Result<(), SourceError> {
        let Some(clone) = &self.clone else { return Ok(()) };
        let began = Instant::now();
        sources::git().fetch(clone, &self.url, &self.access, want, budget.limits(Some(clone))).await?;
        budget.fetched(clone, began.elapsed()).await;
        // Only the order in which clones are removed goes by it.
        let _ = clone::touch(clone);
        Ok(())
    }

    /// Fetches a commit into a new clone.
    async fn renew(&self, budget: &mut Budget, wish: Wish<'_>, commit: &str) -> Result<(), Unprepared> {
        let Some(clone) = &self.clone else { return Ok(()) };
        tracing::warn!("{} is damaged and made again", clone.display());
        clone::discard(clone, budget.limits(None).left())
            .await
            .map_err(|error| SourceError::io(&self.url, reason!("clone.not_made_again", error), &error))?;
        let commit: CommitId = commit
            .parse()
            .map_err(|_| SourceError::local(&self.url, reason!("source.id_of_no_commit", id = quoted(commit))))?;
        let fallback = if commit == *wish.commit { Fallback::Ref(wish.reference) } else { Fallback::Branches };
        self.fetch(budget, Want { fallback, commit: &commit, tags: wish.keep_git }).await?;
        Ok(())
    }
}

/// The host's git, which submodules and Git LFS need.
fn program(url: &SourceUrl) -> Result<std::sync::Arc<GitProgram>, SourceError> {
    GitProgram::find().map_err(|error| SourceError::no_git(url, &error))
}

/// Whether trying again can help.
fn is_temporary(error: &SourceError) -> bool {
    error.kind.is_transient() || error.kind.is_of_this_machine()
}
