//! What was seen of a source as it is kept in memory: a million refs take 40 bytes each.

use std::collections::BTreeMap;
use std::path::Path;

use super::seen::{LastMove, Seen};
use crate::domain::journal::PushId;
use crate::domain::push::{CommitId, Ref, RefKind};
use crate::store::read;

/// The line that the refs of a file follow.
const REFS: &str = "\n[refs]\n";

/// [`Seen`] as it is kept in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) source: Box<str>,
    pub(super) remote_id: Option<Box<str>>,
    default_branch: Option<Box<str>>,
    pub(super) last_push: Option<PushId>,
    /// For each ref a byte for its kind, its name, a zero, the length of its commit and the commit's bytes.
    refs: Box<[u8]>,
    moved: BTreeMap<Ref, LastMove>,
}

impl From<&Seen> for Packed {
    fn from(seen: &Seen) -> Packed {
        let mut refs = Vec::new();
        seen.refs.iter().for_each(|(reference, commit)| pack(&mut refs, reference, commit));
        Packed {
            source: seen.source.as_str().into(),
            remote_id: seen.remote_id.as_deref().map(Into::into),
            default_branch: seen.default_branch.as_ref().map(|branch| branch.name.as_str().into()),
            last_push: seen.last_push,
            refs: refs.into(),
            moved: seen.moved.clone(),
        }
    }
}

impl From<&Packed> for Seen {
    fn from(packed: &Packed) -> Seen {
        Seen {
            source: packed.source.to_string(),
            remote_id: packed.remote_id.as_deref().map(str::to_owned),
            default_branch: packed.default_branch.as_deref().map(Ref::branch),
            last_push: packed.last_push,
            refs: packed.refs(),
            moved: packed.moved.clone(),
        }
    }
}

impl Packed {
    /// Reads a file that has the form in which [`super::keep`] writes it: the lines of `[refs]` one by one, and only what is
    /// around them as TOML. None: it has not, and must be parsed as a whole.
    pub(super) fn of_written(file: &Path, text: &str) -> Option<Packed> {
        let (head, below) = text.split_once(REFS)?;
        let (lines, tail) = below.split_at(below.find("\n[").map_or(below.len(), |end| end + 1));
        // A line within a text of several lines is none of the table.
        if ["\"\"\"", "'''"].iter().any(|quotes| head.contains(quotes)) {
            return None;
        }
        let around: Seen = read::parse(file, &format!("{head}\n{tail}")).ok()?;
        let (mut refs, mut last) = (Vec::with_capacity(lines.len() / 2), "");
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let (name, commit) = line.strip_prefix('"')?.strip_suffix('"')?.split_once("\" = \"")?;
            let is_plain = !name.contains(['"', '\\']) && name > last;
            let reference: Ref = name.parse().ok().filter(|_| is_plain)?;
            pack(&mut refs, &reference, &commit.parse().ok()?);
            last = name;
        }
        // Another table of refs would be merged without a word.
        let is_only = around.refs.is_empty() && !head.contains("[refs]") && !tail.contains("[refs]");
        is_only.then(|| Packed { refs: refs.into(), ..Packed::from(&around) })
    }

    fn refs(&self) -> BTreeMap<Ref, CommitId> {
        let mut refs = BTreeMap::new();
        let mut rest = &*self.refs;
        while let Some((reference, commit, after)) = unpack(rest) {
            refs.insert(reference, commit);
            rest = after;
        }
        refs
    }
}

fn pack(packed: &mut Vec<u8>, reference: &Ref, commit: &CommitId) {
    packed.push(match reference.kind {
        RefKind::Branch => b'b',
        RefKind::Tag => b't',
    });
    // No name of a ref holds a control character.
    packed.extend(reference.name.as_bytes());
    packed.push(0);
    let commit = hex::decode(commit.as_str()).unwrap_or_default();
    packed.push(u8::try_from(commit.len()).unwrap_or_default());
    packed.extend(commit);
}

/// The first ref of packed ones, and the others.
fn unpack(packed: &[u8]) -> Option<(Ref, CommitId, &[u8])> {
    let (kind, rest) = packed.split_first()?;
    let (name, rest) = rest.split_at_checked(memchr::memchr(0, rest)?)?;
    let (length, rest) = rest.get(1..)?.split_first()?;
    let (commit, rest) = rest.split_at_checked(usize::from(*length))?;
    let name = std::str::from_utf8(name).ok()?;
    let reference = if *kind == b'b' { Ref::branch(name) } else { Ref::tag(name) };
    Some((reference, hex::encode(commit).parse().ok()?, rest))
}
