//! Submodules: each is fetched from where the commit says, with the credentials that `submodule_access` allows, and
//! checked out into its directory. One that is unavailable fails the build.

use std::collections::VecDeque;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::submodule_access::{Way, is_listed, is_listed_path, way};
use super::{Origin, Unprepared, Work, is_temporary, lend};
use crate::domain::push::CommitId;
use crate::domain::reason::{Reason, quoted, reason};
use crate::domain::repository::Source;
use crate::services::{ServiceError, sources};
use crate::source::git::{Fallback, Want};
use crate::source::tree::{Lender, Module, Part, Position, TreeError, TreeFile, address, is_behind_link, leads_back};
use crate::source::{Kind, SourceUrl};

/// How deep submodules are in each other.
const DEEPEST: usize = 8;
/// How many a tree has, those in submodules included.
const MOST: usize = 256;

/// A tree whose submodules are still to come.
struct Parent {
    /// Where its repository is.
    url: SourceUrl,
    path: Option<TreeFile>,
    position: Position,
    depth: usize,
}

impl Work<'_> {
    /// Brings the submodules of the source's tree, and theirs.
    pub(super) async fn modules(
        &mut self,
        origin: &Origin,
        position: &Position,
        before: &[Part],
    ) -> Result<(), Unprepared> {
        let of_source = Parent { url: origin.url.clone(), path: None, position: position.clone(), depth: 0 };
        let mut left = VecDeque::from([of_source]);
        let mut count = 0;
        while let Some(parent) = left.pop_front() {
            for module in &parent.position.modules {
                count += 1;
                let path = TreeFile::join(parent.path.as_ref(), &module.path);
                let fail = |reason: Reason, temporary| TreeError::Submodule {
                    path: path.to_string(),
                    commit: parent.position.place.commit.clone(),
                    reason,
                    temporary,
                };
                if count > MOST || parent.depth >= DEEPEST {
                    let reason = reason!("module.too_many", most = MOST, deepest = DEEPEST);
                    return Err(fail(reason, false).into());
                }
                if is_behind_link(&self.slot.root(), &path) {
                    return Err(fail(reason!("module.behind_link"), false).into());
                }
                let url =
                    address(&parent.url, module.configured.as_ref()).map_err(|error| fail(error.into(), false))?;
                if leads_back(&self.source, &url) && !is_listed(&self.wish.source.submodules, &url) {
                    let (commit, address) = (parent.position.place.commit.clone(), url.to_string());
                    return Err(TreeError::SubmoduleAddress { path: path.to_string(), commit, address }.into());
                }
                let brought = self.module(&origin.url, url.clone(), module, &path, before).await;
                let position = brought.map_err(|error| named(error, &fail))?;
                left.push_back(Parent { url, path: Some(path), position, depth: parent.depth + 1 });
            }
        }
        Ok(())
    }

    async fn module(
        &mut self,
        source: &SourceUrl,
        url: SourceUrl,
        module: &Module,
        path: &TreeFile,
        before: &[Part],
    ) -> Result<Position, Unprepared> {
        let origin = self.origin_of_module(source, url, module).await?;
        let moved = self.move_part(&origin, Some(path), &module.commit, before).await?;
        self.fill(&origin, Some(path), &moved).await?;
        Ok(moved.position)
    }

    /// Brings a submodule's commit to this machine.
    async fn origin_of_module(
        &mut self,
        source: &SourceUrl,
        url: SourceUrl,
        module: &Module,
    ) -> Result<Origin, Unprepared> {
        let listed = &self.wish.source.submodules;
        if let Some(path) = url.local_path() {
            let is_relative = module.configured.as_ref().is_some_and(|configured| configured.url.starts_with("../"));
            let is_listed = is_listed_path(listed, path);
            let beside = source.local_path().filter(|_| is_relative && !is_listed);
            if beside.is_none() && !is_listed {
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
                return Err(refused(reason!("module.of_this_disk", advice = self.advice(&path), path)));
            }
            let (access, lender) = (sources::anonymous_access(None), lend(path, beside).await?);
            return Ok(Origin { url, access, clone: None, lender });
        }
        let address = url.address().unwrap_or_else(|| url.to_string());
        let Some(way) = way(self.wish.source, source, &self.settings.platforms, &url) else {
            return Err(refused(reason!("module.needs_key", url, advice = self.advice(&address))));
        };
        let access = match &way {
            Way::With(platform) => {
                let platform = platform.clone();
                let source = Source { platform, url: url.to_string(), ..Source::default() };
                sources::access(self.home, self.settings, &source).await?
            }
            Way::Anonymous(platform) => {
                let platform = platform.as_ref().and_then(|name| self.settings.platforms.get(name));
                sources::anonymous_access(platform)
            }
        };
        let clone = self.clone_of_module(&url, &way);
        let lender = Lender { name: url.to_string(), repository: clone.clone() };
        let origin = Origin { url, access, clone: Some(clone), lender };
        let commit: CommitId = module
            .commit
            .parse()
            .map_err(|_| TreeError::NoCommit { repository: origin.url.to_string(), commit: module.commit.clone() })?;
        match origin.fetch(&mut self.budget, Want { fallback: Fallback::Branches, commit: &commit, tags: false }).await
        {
            Err(error)
                if origin.access.anonymous
                    && matches!(error.kind, Kind::Credentials | Kind::NotFound | Kind::NotARepository) =>
            {
                let url = &origin.url;
                let (why, advice) = (error.reason, self.advice(&address));
                Err(refused(reason!("module.needs_credentials", url, why, advice)))
            }
            fetched => fetched.map(|()| origin).map_err(Unprepared::from),
        }
    }

    /// The clone of a submodule, beside that of the repository. One that was fetched with credentials is not used
    /// without.
    fn clone_of_module(&self, url: &SourceUrl, way: &Way) -> PathBuf {
        let opened = if matches!(way, Way::Anonymous(_)) { "anonymous " } else { "" };
        let name = hex::encode(&Sha256::digest(format!("{opened}{url}"))[..16]);
        self.home.modules_dir(self.wish.path).join(name)
    }

    /// What to write so that a submodule is fetched with credentials.
    fn advice(&self, address: &str) -> Reason {
        reason!("module.list_it", path = self.wish.path, quoted = quoted(address), address)
    }
}

fn refused(reason: Reason) -> Unprepared {
    ServiceError::unusable(reason).into()
}

/// Says which submodule it is.
fn named(error: Unprepared, fail: &impl Fn(Reason, bool) -> TreeError) -> Unprepared {
    match error {
        // The disk is no submodule's fault.
        Unprepared::Tree(error @ (TreeError::DiskFull { .. } | TreeError::NoSpace { .. } | TreeError::Io { .. })) => {
            error.into()
        }
        Unprepared::Tree(error @ (TreeError::Submodule { .. } | TreeError::LfsAddress { .. })) => error.into(),
        // Nor is this machine.
        Unprepared::Source(error) if error.kind.is_of_this_machine() => error.into(),
        Unprepared::Source(error) => {
            let temporary = is_temporary(&error);
            fail(error.into(), temporary).into()
        }
        other => {
            let temporary = other.kind().is_machinery();
            fail(other.into(), temporary).into()
        }
    }
}
