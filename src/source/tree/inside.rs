//! Paths of a checked out tree, found without leaving it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::change::TreeFile;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::domain::tree_path::TreePath;

/// A path of a checkout that is not there, or not in it.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// There is nothing.
    Missing {
        /// The path from the root of the tree.
        path: TreePath,
    },
    /// A symbolic link on the way leaves the tree.
    Outside {
        /// The path from the root of the tree.
        path: TreePath,
    },
    /// It can't be looked at.
    Io {
        /// The path from the root of the tree.
        path: TreePath,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

display_as_reason!(InsideError);

impl AsReason for InsideError {
    fn reason(&self) -> Reason {
        match self {
            InsideError::Missing { path } => reason!("inside.missing", path),
            InsideError::Outside { path } => reason!("inside.outside", path),
            InsideError::Io { path, cause } => reason!("inside.io", path, cause),
        }
    }
}

/// The real path of a file or directory of a checkout, after all symbolic links, which may not leave `root`.
///
/// # Errors
/// When it is not there or not in the tree.
pub fn resolve_inside(root: &Path, path: &TreePath) -> Result<PathBuf, InsideError> {
    let fail = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => InsideError::Missing { path: path.clone() },
        _ => InsideError::Io { path: path.clone(), cause },
    };
    let root = fs::canonicalize(root).map_err(fail)?;
    // Links are followed first: what they leave for may not even exist.
    let mut at = root.clone();
    for part in path.as_str().split('/').filter(|part| !part.is_empty()) {
        at.push(part);
        if let Ok(target) = fs::read_link(&at)
            && !lexically(&at, &target).starts_with(&root)
        {
            return Err(InsideError::Outside { path: path.clone() });
        }
        at = fs::canonicalize(&at).map_err(fail)?;
        if !at.starts_with(&root) {
            return Err(InsideError::Outside { path: path.clone() });
        }
    }
    Ok(at)
}

/// Whether a path of a checkout, or a directory above it, is a symbolic link. A tree object of git's own making never
/// has a link and a directory of the same name; one that was made by hand can, and a submodule in that directory would
/// be written where the link points.
pub fn is_behind_link(root: &Path, path: &TreeFile) -> bool {
    let mut at = root.to_owned();
    path.as_bytes().split(|byte| *byte == b'/').any(|part| {
        at.push(OsStr::from_bytes(part));
        fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_symlink())
    })
}

/// Where a link points, by its words alone.
fn lexically(link: &Path, target: &Path) -> PathBuf {
    let mut at = link.parent().unwrap_or(Path::new("/")).to_owned();
    for part in target.components() {
        match part {
            std::path::Component::ParentDir => drop(at.pop()),
            std::path::Component::CurDir => {}
            part => at.push(part),
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_submodule_below_a_link_or_in_its_place_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/deep")).unwrap();
        symlink("/tmp", dir.path().join("link")).unwrap();
        symlink("nowhere", dir.path().join("real/link")).unwrap();
        let behind = |path: &str| is_behind_link(dir.path(), &TreeFile::parse(path.as_bytes()).unwrap());
        assert!(behind("link") && behind("link/module") && behind("real/link/module"));
        assert!(!behind("real/deep") && !behind("real/new") && !behind("none/module"));
    }

    #[test]
    fn links_inside_the_tree_are_followed_and_others_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir_all(root.join("svc/api")).unwrap();
        fs::write(root.join("svc/api/Dockerfile"), "").unwrap();
        fs::create_dir(dir.path().join("secret")).unwrap();
        symlink("svc/api", root.join("current")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("/no/such/place", root.join("nowhere")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("svc/../../secret", root.join("sly")).unwrap();
        let resolve = |path: &str| resolve_inside(&root, &TreePath::parse(path).unwrap());
        let real = fs::canonicalize(&root).unwrap();
        assert_eq!(resolve("/").unwrap(), real);
        assert_eq!(resolve("current/Dockerfile").unwrap(), real.join("svc/api/Dockerfile"));
        for path in ["out", "etc", "etc/passwd", "nowhere", "sly"] {
            let error = resolve(path).unwrap_err();
            assert!(matches!(error, InsideError::Outside { .. }), "{path}: {error}");
        }
        assert!(matches!(resolve("none").unwrap_err(), InsideError::Missing { .. }));
        assert!(matches!(resolve("svc/api/Dockerfile/x").unwrap_err(), InsideError::Missing { .. }));
        assert!(matches!(resolve("loop").unwrap_err(), InsideError::Io { .. }));
    }
}
