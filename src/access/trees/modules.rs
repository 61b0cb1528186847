//! Submodules: each is fetched from where the commit says, with the credentials of the platform that owns that server, and checked out
//! into its directory. One that can't be had fails the build.

use std::collections::VecDeque;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::{Origin, Unprepared, Work, is_temporary, lend};
use crate::access::sources;
use crate::domain::push::CommitId;
use crate::domain::repository::Source;
use crate::domain::source_platform::SourcePlatform;
use crate::source::SourceUrl;
use crate::source::git::{Fallback, Want};
use crate::source::tree::{Lender, Module, Part, Position, TreeError, TreeFile, address, is_behind_link, leads_back};

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
                let fail = |reason: String, temporary| TreeError::Submodule {
                    path: path.to_string(),
                    commit: parent.position.place.commit.clone(),
                    reason,
                    temporary,
                };
                if count > MOST || parent.depth >= DEEPEST {
                    let reason = format!("a tree may have {MOST} submodules, {DEEPEST} deep");
                    return Err(fail(reason, false).into());
                }
                if is_behind_link(&self.slot.root(), &path) {
                    let reason = "its directory is a symbolic link of the same commit, or behind one, which is refused";
                    return Err(fail(reason.into(), false).into());
                }
                let url = address(&parent.url, module.configured.as_ref()).map_err(|reason| fail(reason, false))?;
                if leads_back(&self.source, &url) {
                    let (commit, address) = (parent.position.place.commit.clone(), url.to_string());
                    return Err(TreeError::SubmoduleAddress { path: path.to_string(), commit, address }.into());
                }
                let brought = self.module(&parent.url, url.clone(), module, &path, before).await;
                let position = brought.map_err(|error| named(error, &fail))?;
                left.push_back(Parent { url, path: Some(path), position, depth: parent.depth + 1 });
            }
        }
        Ok(())
    }

    async fn module(
        &mut self,
        parent: &SourceUrl,
        url: SourceUrl,
        module: &Module,
        path: &TreeFile,
        before: &[Part],
    ) -> Result<Position, Unprepared> {
        let origin = self.origin_of_module(parent, url, &module.commit).await?;
        let moved = self.move_part(&origin, Some(path), &module.commit, before).await?;
        self.fill(&origin, Some(path), &moved).await?;
        Ok(moved.position)
    }

    /// Brings a submodule's commit to this machine.
    async fn origin_of_module(
        &mut self,
        parent: &SourceUrl,
        url: SourceUrl,
        commit: &str,
    ) -> Result<Origin, Unprepared> {
        let source = Source { platform: self.platform_of(&url), url: url.to_string(), ..Source::default() };
        let access = sources::access(self.home, self.settings, &source).await?;
        if let (Some(path), Some(of_parent)) = (url.local_path(), parent.local_path()) {
            let lender = lend(path, Some(of_parent)).await?;
            return Ok(Origin { url, access, clone: None, lender });
        }
        let clone = self.clone_of_module(&url);
        let lender = Lender { name: url.to_string(), repository: clone.clone() };
        let origin = Origin { url, access, clone: Some(clone), lender };
        let commit: CommitId = commit
            .parse()
            .map_err(|_| TreeError::NoCommit { repository: origin.url.to_string(), commit: commit.to_owned() })?;
        origin.fetch(&mut self.budget, Want { fallback: Fallback::Branches, commit: &commit, tags: false }).await?;
        Ok(origin)
    }

    /// The platform whose credentials may go to a server: the source's own, where it is one of its hosts, else another one's. One that has
    /// what the server asks for comes before one that only knows it.
    fn platform_of(&self, url: &SourceUrl) -> Option<String> {
        let server = url.credentials_go_to()?;
        let platforms = &self.settings.platforms;
        let known = || {
            let names = self.wish.source.platform.iter().chain(platforms.keys());
            names.filter_map(|name| platforms.get_key_value(name)).filter(|(_, platform)| platform.covers(server))
        };
        let opens = |(_, platform): &(&String, &SourcePlatform)| match server.over_http {
            true => platform.token.is_some(),
            false => platform.ssh_key.is_some(),
        };
        known().find(opens).or_else(|| known().next()).map(|(name, _)| name.clone())
    }

    /// The clone of a submodule, beside that of the repository.
    fn clone_of_module(&self, url: &SourceUrl) -> PathBuf {
        let name = hex::encode(&Sha256::digest(url.as_str())[..16]);
        self.home.modules_dir(self.wish.path).join(name)
    }
}

/// Says which submodule it is.
fn named(error: Unprepared, fail: &impl Fn(String, bool) -> TreeError) -> Unprepared {
    match error {
        // The disk is no submodule's fault.
        Unprepared::Tree(error @ (TreeError::DiskFull { .. } | TreeError::Io { .. })) => error.into(),
        Unprepared::Tree(error @ (TreeError::Submodule { .. } | TreeError::LfsAddress { .. })) => error.into(),
        Unprepared::Source(error) => {
            let temporary = is_temporary(&error);
            fail(error.to_string(), temporary).into()
        }
        other => {
            let temporary = other.kind().is_machinery();
            fail(other.to_string(), temporary).into()
        }
    }
}
