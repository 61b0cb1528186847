//! The machine as an installation sees it: where programs are looked for, and who is asking.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use crate::sys::users;

/// Directories that an ordinary user's PATH may lack: Debian keeps runc in /usr/sbin.
const SYSTEM_DIRS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/local/bin"];

/// Where the official Go archives and some distributions put `go`.
const GO_DIRS: [&str; 2] = ["/usr/local/go/bin", "/usr/lib/go/bin"];

/// Where programs are looked for, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Directories, in the order of their search.
    pub path: Vec<PathBuf>,
    /// The ordinary user for whom BuildKit is to run rootless; none for root.
    pub user: Option<User>,
    /// Where `subuid` and `subgid` are: /etc.
    pub etc: PathBuf,
}

/// An ordinary user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The number.
    pub uid: u32,
}

impl Machine {
    /// This machine, this process's PATH and user.
    pub fn this() -> Machine {
        let mut path: Vec<PathBuf> = std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect())
            .unwrap_or_default();
        path.extend(SYSTEM_DIRS.iter().chain(&GO_DIRS).map(PathBuf::from));
        let uid = geteuid().as_raw();
        let user = (uid != 0).then(|| User { name: users::name(uid).unwrap_or_else(|| uid.to_string()), uid });
        Machine { path, user, etc: PathBuf::from("/etc") }
    }

    /// Whether everything may be done as root.
    pub fn is_root(&self) -> bool {
        self.user.is_none()
    }

    /// The first program of that name that may be run.
    pub fn which(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|dir| dir.join(name)).find(|file| is_program(file))
    }
}

/// Whether this is a file that we may run.
pub(super) fn is_program(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}
