//! Entries of trees, differences between them and chains of commits, as git's `-z --raw` formats name them.

use std::str;

use serde::{Deserialize, Serialize};

/// The longest path of a tree, in bytes: `PATH_MAX` of Linux.
const LONGEST_PATH: usize = 4096;

/// What a tree holds at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    Absent,
    /// A file.
    File,
    /// A file that may be executed.
    Executable,
    /// A symbolic link.
    Link,
    /// A commit of another repository: a submodule.
    Module,
}

impl Mode {
    /// Reads the octal number of a tree or of a raw difference.
    pub(super) fn parse(octal: &[u8]) -> Option<Mode> {
        Mode::of(u32::from_str_radix(str::from_utf8(octal).ok()?, 8).ok()?)
    }

    /// Of the number; none for a directory.
    pub(super) fn of(number: u32) -> Option<Mode> {
        match (number & 0o170_000, number & 0o100) {
            (0, _) => Some(Mode::Absent),
            (0o100_000, 0) => Some(Mode::File),
            (0o100_000, _) => Some(Mode::Executable),
            (0o120_000, _) => Some(Mode::Link),
            (0o160_000, _) => Some(Mode::Module),
            _ => None,
        }
    }

    /// As `git update-index --index-info` takes it.
    pub(super) fn octal(self) -> &'static str {
        match self {
            Mode::Absent => "0",
            Mode::File => "100644",
            Mode::Executable => "100755",
            Mode::Link => "120000",
            Mode::Module => "160000",
        }
    }

    /// Whether it is a file's contents.
    pub(super) fn is_file(self) -> bool {
        matches!(self, Mode::File | Mode::Executable)
    }
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mode: Mode,
    /// The object's id.
    pub(super) id: String,
    pub(super) path: TreeFile,
}

/// One path that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) old: Mode,
    /// What is there now; [`Mode::Absent`] where the path went.
    pub(super) new: Entry,
}

/// More files are not checked out.
pub(super) const MOST_FILES: usize = 2_000_000;

/// One commit of a first-parent chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// The commit.
    pub(super) id: String,
    /// When it was committed, in seconds since 1970.
    pub(super) time: i64,
}

/// The path of a tree's entry from the tree's root: bytes, for git knows no encoding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeFile(Vec<u8>);

impl TreeFile {
    /// A path that is safe to be joined with a directory; none for an absolute one, and for one with an empty, `.`,
    /// `..` or `.git` component.
    pub fn parse(path: &[u8]) -> Option<TreeFile> {
        let is_safe = |part: &[u8]| {
            !matches!(part, b"" | b"." | b"..") && !part.eq_ignore_ascii_case(b".git") && !part.contains(&0)
        };
        let is_path = path.len() <= LONGEST_PATH && path.split(|byte| *byte == b'/').all(is_safe);
        is_path.then(|| TreeFile(path.to_owned()))
    }

    /// A path below a `.git` of slipway's own making.
    pub(super) fn of_git(path: Vec<u8>) -> TreeFile {
        TreeFile(path)
    }

    /// A path in a submodule, from the root of the tree that has the submodule.
    pub fn join(submodule: Option<&TreeFile>, path: &TreeFile) -> TreeFile {
        match submodule {
            None => path.clone(),
            Some(above) => TreeFile([&above.0, &b"/"[..], &path.0].concat()),
        }
    }

    /// Whether it is in a directory.
    pub fn is_below(&self, directory: &TreeFile) -> bool {
        self.0.strip_prefix(directory.0.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory that it is in, empty for the root, and its name there.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (b"", &self.0),
        }
    }

    /// Whether it gives attributes to the files of its directory, and below it.
    pub(super) fn gives_attributes(&self) -> bool {
        self.split().1 == b".gitattributes"
    }
}

impl std::fmt::Display for TreeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for TreeFile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for TreeFile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<TreeFile, D::Error> {
        let text = String::deserialize(deserializer)?;
        let path = hex::decode(&text).ok().and_then(|path| TreeFile::parse(&path));
        path.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no path of a tree")))
    }
}

/// Reads `:OLDMODE NEWMODE OLDID NEWID STATUS` of `git diff-tree --raw`; the path follows in a field of its own.
pub(super) fn parse_raw(field: &[u8]) -> Option<(Mode, Mode, String)> {
    let mut words = field.strip_prefix(b":")?.split(|byte| *byte == b' ');
    let (old, new) = (Mode::parse(words.next()?)?, Mode::parse(words.next()?)?);
    let id = str::from_utf8(words.nth(1)?).ok()?.to_owned();
    Some((old, new, id))
}

/// Reads `MODE TYPE ID\tPATH` of `git ls-tree -z`.
pub(super) fn parse_listed(field: &[u8]) -> Option<(Mode, String, &[u8])> {
    let tab = field.iter().position(|byte| *byte == b'\t')?;
    let mut words = field[..tab].split(|byte| *byte == b' ');
    let mode = Mode::parse(words.next()?)?;
    let id = str::from_utf8(words.nth(1)?).ok()?.to_owned();
    Some((mode, id, &field[tab + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_their_tree_or_reach_git_directories_are_none() {
        for good in ["a", "a/b", ".gitattributes", "a b/\u{9700}\n", ".github/x", "..a/b.."] {
            assert!(TreeFile::parse(good.as_bytes()).is_some(), "{good}");
        }
        assert!(TreeFile::parse(b"caf\xe9").is_some());
        for bad in ["", "/a", "a/", "a//b", "../a", "a/..", "./a", ".git/config", "a/.GIT/x", "a\0b"] {
            assert_eq!(TreeFile::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(TreeFile::parse(&[b'a'; LONGEST_PATH + 1]), None);
    }

    #[test]
    fn raw_differences_and_listings_are_read() {
        let zeros = "0".repeat(40);
        let raw = format!(":100644 120000 {zeros} {} T", "a".repeat(40));
        assert_eq!(parse_raw(raw.as_bytes()), Some((Mode::File, Mode::Link, "a".repeat(40))));
        assert_eq!(parse_raw(b":100644"), None);
        let listed = b"160000 commit abc\tlib/\xe9";
        assert_eq!(parse_listed(listed), Some((Mode::Module, "abc".into(), &b"lib/\xe9"[..])));
        assert_eq!(Mode::parse(b"100664"), Some(Mode::File));
        assert_eq!(Mode::parse(b"040000"), None);
    }
}
