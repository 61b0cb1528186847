//! The pool's socket in the file system: made, kept, and removed while it is still this pool's.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::sys::socket;

/// For this user alone.
const PRIVATE: u32 = 0o600;
/// For every user of the host: whom the pool serves, it decides by the number that the kernel tells.
const SHARED: u32 = 0o666;

/// A socket that is listened on.
pub(in crate::pool) struct Listener {
    path: PathBuf,
    listener: UnixListener,
    /// The socket's own file: another pool of the same home would make another.
    file: (u64, u64),
    mode: u32,
}

impl Listener {
    /// Makes the socket, for this user alone: the umask is 077, so nobody else can connect between its making and its
    /// mode. Whoever holds the lock may take the place of a dead pool's socket.
    pub(in crate::pool) fn begin(path: PathBuf) -> io::Result<Listener> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = socket::listen(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(PRIVATE))?;
        let file = identity(&path)?;
        Ok(Listener { path, listener, file, mode: PRIVATE })
    }

    /// The next client.
    pub(in crate::pool) async fn accept(&self) -> io::Result<tokio::net::UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Lets every user of the host connect, or this one alone.
    pub(in crate::pool) fn share(&mut self, with_others: bool) -> io::Result<()> {
        let mode = if with_others { SHARED } else { PRIVATE };
        if mode != self.mode && self.is_ours() {
            fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))?;
            self.mode = mode;
        }
        Ok(())
    }

    /// Makes the socket again where somebody removed it, such as a cleaner of old files. Another pool's is left alone.
    /// Whether it was made again.
    pub(in crate::pool) fn keep(&mut self) -> io::Result<bool> {
        if self.path.exists() || !self.path.parent().is_some_and(Path::is_dir) {
            return Ok(false);
        }
        let mode = self.mode;
        *self = Listener::begin(self.path.clone())?;
        self.share(mode == SHARED)?;
        Ok(true)
    }

    fn is_ours(&self) -> bool {
        identity(&self.path).is_ok_and(|file| file == self.file)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Another pool may have made its own since.
        if self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_that_was_removed_is_made_again_with_its_mode_and_anothers_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pool.sock");
        let mut listener = Listener::begin(path.clone()).unwrap();
        assert_eq!(mode(&path), 0o600);
        listener.share(true).unwrap();
        assert_eq!(mode(&path), 0o666);
        assert!(!listener.keep().unwrap());
        fs::remove_file(&path).unwrap();
        assert!(listener.keep().unwrap());
        assert_eq!(mode(&path), 0o666);
        let (connected, accepted) = tokio::join!(socket::connect(&path), listener.accept());
        assert!(connected.is_ok() && accepted.is_ok());
        let other = Listener::begin(path.clone()).unwrap();
        drop(listener);
        assert!(path.exists(), "it is another pool's");
        drop(other);
        assert!(!path.exists());
    }
}
