//! When each file of a tree was last changed: seconds are a function of the commit alone, the same on every host;
//! nanoseconds are the repository's own.
//!
//! A file's time is that of the newest commit, of the commit's first-parent chain, that changed the file or a
//! `.gitattributes` above it: seconds are when that was committed, nanoseconds come from its id and the repository's
//! key (`time_key`). So:
//!
//! * BuildKit, which compares sizes and times in nanoseconds, transfers what changed, and never misses a change of the
//!   same size;
//! * no other repository can give a file the time of one of this repository, and so be given its contents in its place
//!   or replace them;
//! * a file that did not change keeps its time, whichever commit is built next;
//! * files of one commit are equally old, and those of a later one are newer: `make` finds nothing to do in a tree that
//!   has generated files committed.
//!
//! The walk is bounded. Commits of a first-parent chain are counted from its root; the newest whose number is one more
//! than a multiple of [`STRIDE`] is the *boundary*, and every file that did not change after it has its time. A chain
//! crosses a boundary once in `STRIDE` commits, and then every file's time changes. The chain of a shallow clone begins
//! where its history ends, so its times are its own.
//!
//! A tree that is moved from one commit to another needs the times of what differs alone: see [`Course`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::change::{Change, Entry, Link, Mode, TreeFile};
use super::error::TreeError;
use super::files::Stamp;
use super::objects::Objects;
use super::time_key::TimeKey;

/// How many commits of a first-parent chain share a boundary.
const STRIDE: u64 = 4096;
/// How many commits are looked at first: a push has few.
const FEW: usize = 64;
/// The latest time that every file system keeps: 2038, as ext3 and XFS without big timestamps do.
const LATEST: i64 = i32::MAX as i64;

/// A commit, and how many commits its first-parent chain has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The commit.
    pub commit: String,
    /// The length of its chain, itself included.
    pub number: u64,
}

impl Place {
    /// The number of the boundary of this place.
    fn boundary(&self) -> u64 {
        (self.number - 1) / STRIDE * STRIDE + 1
    }
}

/// The time of the files that a commit changed last.
pub(super) fn stamp(link: &Link, key: &TimeKey) -> Stamp {
    Stamp { seconds: link.time.clamp(0, LATEST), nanoseconds: key.nanoseconds(&link.id) }
}

/// The way from one commit's tree to another's.
pub(super) struct Course {
    /// Where it leads.
    pub(super) to: Place,
    /// What differs between the trees.
    pub(super) changes: Vec<Change>,
    /// The times of the files whose time is another one.
    pub(super) stamps: BTreeMap<TreeFile, Stamp>,
}

impl Course {
    /// Finds the way; none where the whole tree has to be made again: its boundary is another one, attributes changed,
    /// or the old commit is gone.
    ///
    /// # Errors
    /// When the new commit can't be read.
    pub(super) async fn find(
        objects: &Objects,
        key: &TimeKey,
        from: &Place,
        to: &str,
    ) -> Result<Option<Course>, TreeError> {
        let mut chain = objects.chain(to, FEW).await?;
        let mut joint = chain.iter().position(|link| link.id == from.commit);
        let mut back = Vec::new();
        let number = if let Some(at) = joint {
            from.number + at as u64
        } else {
            let most = usize::try_from(STRIDE).unwrap_or(usize::MAX);
            chain = objects.chain(to, most).await?;
            // The old commit may be gone: then there is no way from it.
            let Ok(old) = objects.chain(&from.commit, most).await else { return Ok(None) };
            let places: BTreeMap<&str, usize> =
                chain.iter().enumerate().map(|(at, link)| (link.id.as_str(), at)).collect();
            let Some((behind, ahead)) =
                old.iter().enumerate().find_map(|(behind, link)| Some((behind, *places.get(link.id.as_str())?)))
            else {
                return Ok(None);
            };
            joint = Some(ahead);
            back = old[..=behind].to_vec();
            from.number.saturating_sub(behind as u64) + ahead as u64
        };
        let to = Place { commit: to.to_owned(), number };
        let of_joint = from.number.saturating_sub(back.len().saturating_sub(1) as u64);
        if to.boundary() != from.boundary() || of_joint < from.boundary() {
            return Ok(None);
        }
        let joint = joint.unwrap_or_default();
        Course::compare(objects, key, from, to, &chain, joint, &back).await
    }

    /// Compares the trees and the commits between them: `chain[..=joint]` and `back` end at the same commit.
    async fn compare(
        objects: &Objects,
        key: &TimeKey,
        from: &Place,
        to: Place,
        chain: &[Link],
        joint: usize,
        back: &[Link],
    ) -> Result<Option<Course>, TreeError> {
        // Links of the new chain after the boundary and the joint may be needed for what only the old side changed.
        let after_boundary = usize::try_from(to.number - to.boundary()).unwrap_or(usize::MAX);
        let mut pairs = vec![(to.commit.as_str(), from.commit.as_str())];
        let steps =
            |links: &'_ [Link]| links.windows(2).map(|two| (two[0].id.clone(), two[1].id.clone())).collect::<Vec<_>>();
        let (behind, ahead) = (steps(back), steps(&chain[..=joint]));
        pairs.extend(behind.iter().chain(&ahead).map(|(new, old)| (new.as_str(), old.as_str())));
        let ahead_begins = 1 + behind.len();
        let (mut changes, mut stamps) = (Vec::new(), BTreeMap::new());
        let (mut wanted, mut seen, mut attributes) = (BTreeSet::new(), BTreeSet::new(), false);
        objects
            .compare(&pairs, |pair, change| {
                attributes |= change.new.path.gives_attributes();
                let path = &change.new.path;
                if pair == 0 {
                    changes.push(change);
                } else if pair < ahead_begins {
                    wanted.insert(path.clone());
                } else if seen.insert(path.clone()) && has_time(change.new.mode) {
                    stamps.insert(path.clone(), stamp(&chain[pair - ahead_begins], key));
                }
                if attributes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .await?;
        if attributes {
            return Ok(None);
        }
        wanted.retain(|path| !seen.contains(path));
        if !wanted.is_empty() {
            let rest = chain.get(joint..=after_boundary.min(chain.len() - 1)).unwrap_or_default();
            let wanted: Vec<TreeFile> = wanted.into_iter().collect();
            stamps.extend(walk(objects, key, rest, wanted).await?);
        }
        Ok(Some(Course { to, changes, stamps }))
    }
}

/// The times of all files of a commit, which are sorted by their paths.
pub(super) async fn stamps(
    objects: &Objects,
    key: &TimeKey,
    commit: &str,
    entries: &[Entry],
) -> Result<(Place, BTreeMap<TreeFile, Stamp>), TreeError> {
    let number = objects.count(commit).await?;
    let place = Place { commit: commit.to_owned(), number: number.max(1) };
    let after_boundary = usize::try_from(place.number - place.boundary()).unwrap_or(usize::MAX);
    let chain = objects.chain(commit, after_boundary.saturating_add(1)).await?;
    let paths = entries.iter().filter(|entry| has_time(entry.mode)).map(|entry| entry.path.clone()).collect();
    Ok((place, walk(objects, key, &chain, paths).await?))
}

/// Walks a chain from its newest commit to the boundary, its last: each path gets the time of the first commit that
/// touched it, what is left over that of the boundary.
async fn walk(
    objects: &Objects,
    key: &TimeKey,
    chain: &[Link],
    paths: Vec<TreeFile>,
) -> Result<BTreeMap<TreeFile, Stamp>, TreeError> {
    let Some(boundary) = chain.last() else { return Ok(BTreeMap::new()) };
    let mut found: Vec<Option<Stamp>> = vec![None; paths.len()];
    let mut left = paths.len();
    let pairs: Vec<(&str, &str)> = chain.windows(2).map(|two| (two[0].id.as_str(), two[1].id.as_str())).collect();
    objects
        .compare(&pairs, |pair, change| {
            let path = &change.new.path;
            for at in touched(&paths, path) {
                if found[at].is_none() {
                    found[at] = Some(stamp(&chain[pair], key));
                    left -= 1;
                }
            }
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
    Ok(paths
        .into_iter()
        .zip(found)
        .map(|(path, found)| (path, found.unwrap_or_else(|| stamp(boundary, key))))
        .collect())
}

/// Which of the sorted paths a change of `path` gives a new time.
fn touched(paths: &[TreeFile], path: &TreeFile) -> std::ops::Range<usize> {
    if !path.gives_attributes() {
        return match paths.binary_search(path) {
            Ok(at) => at..at + 1,
            Err(_) => 0..0,
        };
    }
    let (directory, _) = path.split();
    if directory.is_empty() {
        return 0..paths.len();
    }
    let below = [directory, b"/"].concat();
    let begin = paths.partition_point(|path| path.as_bytes() < below.as_slice());
    let length = paths[begin..].partition_point(|path| path.as_bytes().starts_with(&below));
    begin..begin + length
}

/// Whether the checkout writes something there that has a time of its own. A submodule is a directory.
fn has_time(mode: Mode) -> bool {
    !matches!(mode, Mode::Absent | Mode::Module)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &[&str]) -> Vec<TreeFile> {
        list.iter().map(|path| TreeFile::parse(path.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn a_boundary_is_shared_by_a_whole_stride() {
        let boundary = |number| Place { commit: String::new(), number }.boundary();
        assert_eq!(
            (boundary(1), boundary(STRIDE), boundary(STRIDE + 1), boundary(3 * STRIDE)),
            (1, 1, STRIDE + 1, 2 * STRIDE + 1)
        );
    }

    #[test]
    fn times_are_of_a_commit_and_fit_every_file_system() {
        let home = tempfile::tempdir().unwrap();
        let key = TimeKey::of(&home.path().join(".key"), "acme/api").unwrap();
        let link = |id: &str, time| stamp(&Link { id: id.to_owned(), time }, &key);
        let nanoseconds = key.nanoseconds("ff");
        assert_eq!(link("ff", 1_600_000_000), Stamp { seconds: 1_600_000_000, nanoseconds });
        assert_eq!(link("ff", -5), Stamp { seconds: 0, nanoseconds });
        assert_eq!(link("ff", i64::MAX).seconds, LATEST);
    }

    #[test]
    fn attributes_touch_everything_below_their_directory() {
        let all = paths(&["a", "b-c", "b/.gitattributes", "b/x", "b/y/z", "b0", "c"]);
        let touched = |path: &str| touched(&all, &paths(&[path])[0]);
        assert_eq!(touched("b/x"), 3..4);
        assert_eq!(touched("b/none").len(), 0);
        assert_eq!(touched("b/.gitattributes"), 2..5);
        assert_eq!(touched(".gitattributes"), 0..7);
    }
}
