//! Pointers of Git LFS: what git keeps of a large file (`docs/spec.md` of git-lfs).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::change::{Entry, TreeFile};
use crate::domain::reason::{Reason, joined, reason};

/// How much of a file is read at once, in bytes.
const BLOCK: usize = 128 * 1024;
/// How many paths an error names.
const NAMED: usize = 5;

/// A pointer in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Where it is.
    pub path: TreeFile,
    /// The id of the pointer itself.
    pub blob: String,
    /// The SHA-256 of the file.
    pub oid: String,
    /// The file's size, in bytes.
    pub size: u64,
}

impl Pointer {
    /// Reads a pointer: `version`, then keys in the order of the alphabet, among them `oid` and `size`.
    pub(super) fn parse(entry: &Entry, text: &[u8]) -> Option<Pointer> {
        let text = std::str::from_utf8(text).ok()?;
        let mut lines = text.lines();
        let version = lines.next()?.strip_prefix("version ")?;
        if !matches!(
            version,
            "https://git-lfs.github.com/spec/v1" | "https://hawser.github.com/spec/v1" | "http://git-media.io/v/2"
        ) {
            return None;
        }
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let oid = value("oid")?.strip_prefix("sha256:")?;
        let is_digest =
            oid.len() == 64 && oid.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let size = value("size")?.parse().ok()?;
        is_digest.then(|| Pointer { path: entry.path.clone(), blob: entry.id.clone(), oid: oid.to_owned(), size })
    }

    /// Where git-lfs keeps the file, below its storage.
    pub fn stored(&self, storage: &Path) -> PathBuf {
        storage.join("objects").join(&self.oid[..2]).join(&self.oid[2..4]).join(&self.oid)
    }
}

/// A commit for `git lfs fetch`, in the site's repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LfsCommit {
    /// The commit.
    pub id: String,
    /// `lfs.url` of `.lfsconfig`.
    pub url: Option<String>,
}

/// The first of their paths, for an error.
pub fn named(pointers: &[&Pointer]) -> Reason {
    let names = joined(pointers.iter().take(NAMED).map(|pointer| &pointer.path));
    match pointers.len().saturating_sub(NAMED) {
        0 => reason!("lfs.files", names),
        more => reason!("lfs.files_and_more", names, more),
    }
}

/// Whether the storage has a file of that name and size. What is in it is looked at when it is copied into the tree.
pub fn is_stored(pointer: &Pointer, storage: &Path) -> bool {
    fs::metadata(pointer.stored(storage)).is_ok_and(|meta| meta.is_file() && meta.len() == pointer.size)
}

/// Removes files of the storage that are not what their pointers say, since a disk or a crash damaged them. Blocks.
///
/// # Errors
/// When a file can't be read or removed.
pub fn remove_damaged(pointers: &[Pointer], storage: &Path) -> io::Result<()> {
    for pointer in pointers.iter().filter(|pointer| is_stored(pointer, storage)) {
        let path = pointer.stored(storage);
        if digest_of(&mut fs::File::open(&path)?, &mut io::sink())? != pointer.oid {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Copies a file; the SHA-256 of its contents, in hexadecimal digits.
pub(super) fn digest_of(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<String> {
    let (mut digest, mut block) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        let read = match from.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&block[..read]);
        to.write_all(&block[..read])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_is_not_what_its_pointer_says_is_removed() {
        let storage = tempfile::tempdir().unwrap();
        let pointer = |contents: &str| Pointer {
            path: TreeFile::parse(b"big").unwrap(),
            blob: String::new(),
            oid: hex::encode(Sha256::digest(contents)),
            size: contents.len() as u64,
        };
        let (good, bad, missing) = (pointer("good"), pointer("well"), pointer("none"));
        for (pointer, contents) in [(&good, "good"), (&bad, "hell")] {
            let path = pointer.stored(storage.path());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        assert!(is_stored(&bad, storage.path()));
        remove_damaged(&[good.clone(), bad.clone(), missing], storage.path()).unwrap();
        assert!(is_stored(&good, storage.path()) && !bad.stored(storage.path()).exists());
    }

    #[test]
    fn a_pointer_is_read_and_other_text_is_none() {
        let path = TreeFile::parse(b"big").unwrap();
        let entry = Entry { mode: super::super::change::Mode::File, id: "blob".into(), path };
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");
        let pointer = Pointer::parse(&entry, text.as_bytes()).unwrap();
        assert_eq!((pointer.oid.as_str(), pointer.size), (oid, 12345));
        assert!(pointer.stored(Path::new("/s")).starts_with("/s/objects/4d/7a"));
        for other in [
            "",
            "version 1\n",
            &text.replace("4d7a", "4D7A"),
            &text.replace("sha256:", "sha256:../"),
            &text.replace("12345", "-1"),
        ] {
            assert_eq!(Pointer::parse(&entry, other.as_bytes()), None, "{other}");
        }
    }
}
