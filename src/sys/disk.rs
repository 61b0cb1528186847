//! Space on file systems.

use std::io;
use std::path::Path;

/// The bytes that this user may still write to the file system of `path`.
///
/// # Errors
/// When the file system does not say.
pub fn free(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_says_how_much_is_free_and_a_path_that_is_not_there_does_not() {
        let directory = tempfile::tempdir().unwrap();
        assert!(free(directory.path()).unwrap() > 0);
        assert_eq!(free(&directory.path().join("lost")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
