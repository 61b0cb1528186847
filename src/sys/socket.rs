//! Unix sockets by paths of any length: the kernel takes 107 bytes of a path, so a longer one is reached through its
//! directory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};

/// `sun_path` of unix(7), without the NUL at its end.
const LONGEST_PATH: usize = 107;

/// A path that fits, and the directory that it goes through, which must be open as long as the path is used.
fn short(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((path.to_path_buf(), None));
    };
    if path.as_os_str().len() <= LONGEST_PATH {
        return Ok((path.to_path_buf(), None));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::open(directory, flags, Mode::empty())?);
    let through = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
    Ok((Path::new(&through).join(name), Some(directory)))
}

/// Connects to a socket.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (path, _directory) = short(path)?;
    UnixStream::connect(path).await
}

/// Makes a socket and listens on it.
///
/// # Errors
/// When it can't be made, such as where there is one.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let (path, _directory) = short(path)?;
    UnixListener::bind(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_reached_by_a_path_of_any_length() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("long-name/".repeat(20));
        std::fs::create_dir_all(&deep).unwrap();
        for path in [directory.path().join("sock"), deep.join("sock")] {
            assert!(connect(&path).await.is_err());
            let listener = listen(&path).unwrap();
            let (connected, accepted) = tokio::join!(connect(&path), listener.accept());
            assert!(connected.is_ok() && accepted.is_ok());
        }
    }
}
