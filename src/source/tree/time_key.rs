//! What a commit's nanoseconds are made with: a key that only the home knows.
//!
//! BuildKit keeps one copy of the contexts of all repositories and takes a file from it where path, size, mode and time
//! are the same. A commit's id and date are public and can be chosen, so a time that is made from them alone could be
//! forged in another repository, which would then get, or replace, the file's contents.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::sys::atomic;

/// How long a key is, in bytes.
const LENGTH: usize = 32;

/// The key of one repository.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeKey([u8; LENGTH]);

impl TimeKey {
    /// The key of a repository (`NAMESPACE/NAME`), from the home's in `file`, which is made on first use. Blocks.
    ///
    /// # Errors
    /// When the file can't be read or made.
    pub fn of(file: &Path, repository: &str) -> io::Result<TimeKey> {
        if let Some(directory) = file.parent() {
            atomic::make_dirs(directory)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).mode(atomic::PRIVATE).open(file)?;
        // The process that makes the key holds the lock until it is whole. One that is not whole was not used yet.
        file.lock()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let key = match <[u8; LENGTH]>::try_from(bytes) {
            Ok(key) => key,
            Err(_) => make(&mut file)?,
        };
        Ok(TimeKey(digest(&key, repository)))
    }

    /// The nanoseconds of what a commit changed last.
    pub(super) fn nanoseconds(&self, commit: &str) -> u32 {
        let [a, b, c, d, e, f, g, h, ..] = digest(&self.0, commit);
        // Less than 2^30: it fits.
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]) % 1_000_000_000) as u32
    }
}

impl fmt::Debug for TimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimeKey(…)")
    }
}

fn make(file: &mut File) -> io::Result<[u8; LENGTH]> {
    let mut key = [0; LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

fn digest(key: &[u8; LENGTH], text: &str) -> [u8; LENGTH] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_commit_has_other_nanoseconds_in_each_repository_and_each_home_and_the_same_ones_again() {
        let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let of = |home: usize, repository: &str, commit: &str| {
            TimeKey::of(&homes[home].path().join("trees/.key"), repository).unwrap().nanoseconds(commit)
        };
        let first = of(0, "acme/api", commit);
        assert!(first < 1_000_000_000);
        assert_eq!(of(0, "acme/api", commit), first);
        for (home, repository, commit) in
            [(0, "acme/evil", commit), (1, "acme/api", commit), (0, "acme/api", "0123456789abcdef")]
        {
            assert_ne!(of(home, repository, commit), first, "{home} {repository} {commit}");
        }
        let mode = std::fs::metadata(homes[0].path().join("trees/.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_is_made_by_many_at_once_is_one_and_a_torn_one_is_made_again() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".key");
        std::fs::write(&file, "torn").unwrap();
        let made: Vec<TimeKey> = std::thread::scope(|scope| {
            let making: Vec<_> = (0..8).map(|_| scope.spawn(|| TimeKey::of(&file, "a/b").unwrap())).collect();
            making.into_iter().map(|making| making.join().unwrap()).collect()
        });
        assert!(made.iter().all(|key| *key == made[0]));
        assert_eq!(std::fs::read(&file).unwrap().len(), LENGTH);
        assert_eq!(format!("{:?}", made[0]), "TimeKey(…)");
    }
}
