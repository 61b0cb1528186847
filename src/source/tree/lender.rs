//! Repositories on this machine's disk whose objects a tree is made of: where they are, and whether this user may read
//! them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::error::TreeError;
use super::objects::Lender;
use crate::domain::reason::{Reason, reason};
use crate::store::read::open_regular;

/// `.git` and `commondir` are files of one line: a longer one is none, in bytes.
const LONGEST_POINTER: u64 = 8192;

/// The repository at exactly that path: bare, or with a working tree, which may be one of several (git-worktree(1)).
///
/// # Errors
/// When there is none, or it belongs to another user whom git does not trust either.
pub fn local(path: &Path) -> Result<Lender, TreeError> {
    let none = |reason: Reason| TreeError::NoRepository { path: path.into(), reason };
    let inside = path.join(".git");
    let directory = match fs::symlink_metadata(&inside) {
        Ok(meta) if meta.is_file() => {
            let text = first_line(&inside).map_err(|error| none(error.into()))?;
            let to =
                text.strip_prefix("gitdir: ").ok_or_else(|| none(reason!("lender.no_directory", path = inside)))?;
            path.join(to)
        }
        Ok(_) => inside,
        Err(_) => path.to_owned(),
    };
    let common = match first_line(&directory.join("commondir")) {
        Ok(to) => directory.join(to),
        Err(error) if error.kind() == io::ErrorKind::NotFound => directory.clone(),
        Err(error) => return Err(none(error.into())),
    };
    if !common.join("objects").is_dir() {
        return Err(none(reason!("lender.no_objects", path = common.join("objects"))));
    }
    if !is_trusted(path, &[path, &directory, &common]) {
        return Err(TreeError::Owner { path: path.into() });
    }
    Ok(Lender { name: path.display().to_string(), repository: common })
}

/// Whether all of these are this user's; else whether git's `safe.directory` names the repository, which libgit2 knows.
fn is_trusted(path: &Path, places: &[&Path]) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let behind_sudo = std::env::var("SUDO_UID").ok().filter(|_| user == 0).and_then(|uid| uid.parse::<u32>().ok());
    let is_ours =
        |place: &&Path| fs::metadata(place).is_ok_and(|meta| meta.uid() == user || Some(meta.uid()) == behind_sudo);
    places.iter().all(is_ours)
        || git2::Repository::open(path).map_or_else(|error| error.code() != git2::ErrorCode::Owner, |_| true)
}

fn first_line(file: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    open_regular(file)?.take(LONGEST_POINTER).read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The repository at exactly that path, as a submodule of a local source.
///
/// # Errors
/// As [`local`], or when it is none that the source's commits may name.
pub(super) fn neighbour(source: &Path, path: &Path) -> Result<Lender, TreeError> {
    if is_neighbour(source, path) { local(path) } else { Err(not_beside(source, path)) }
}

fn not_beside(parent: &Path, path: &Path) -> TreeError {
    let reason = reason!("lender.not_beside", source = parent);
    TreeError::NoRepository { path: path.into(), reason }
}

/// Whether a submodule of a local source lies beside it: it belongs to the same user as the source, and is in the same
/// directory.
fn is_neighbour(source: &Path, other: &Path) -> bool {
    let check = || -> io::Result<bool> {
        let (source, other) = (fs::canonicalize(source)?, fs::canonicalize(other)?);
        let same_owner = fs::metadata(&source)?.uid() == fs::metadata(&other)?.uid();
        Ok(same_owner && source.parent() == other.parent())
    };
    check().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_repositories_working_trees_and_their_worktrees_lend_their_objects() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in ["bare/objects", "work/.git/objects", "work/.git/worktrees/w", "linked"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at("linked/.git"), format!("gitdir: {}\n", at("work/.git/worktrees/w").display())).unwrap();
        fs::write(at("work/.git/worktrees/w/commondir"), "../..\n").unwrap();
        assert_eq!(local(&at("bare")).unwrap().repository, at("bare"));
        assert_eq!(local(&at("work")).unwrap().repository, at("work/.git"));
        let linked = local(&at("linked")).unwrap().repository;
        assert_eq!(fs::canonicalize(linked).unwrap(), fs::canonicalize(at("work/.git")).unwrap());
        let none = local(directory.path()).unwrap_err();
        assert!(none.to_string().contains("is no git repository: there is no"), "{none}");
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("objects")).unwrap();
        let pipe = directory.path().join("commondir");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let error = local(directory.path()).unwrap_err();
        assert!(error.to_string().contains("is not a regular file"), "{error}");
    }

    #[test]
    fn only_what_is_beside_a_source_is_its_neighbour() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in ["srv/app", "srv/lib", "srv/app/deps/x", "home/secret"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        assert!(is_neighbour(&at("srv/app"), &at("srv/lib")));
        assert!(is_neighbour(&at("srv/app"), &at("srv/app/../lib")));
        assert!(!is_neighbour(&at("srv/app"), &at("srv/app/deps/x")));
        assert!(!is_neighbour(&at("srv/app"), &at("home/secret")));
        assert!(!is_neighbour(&at("srv/app"), &at("srv/app/../../home/secret")));
        assert!(!is_neighbour(&at("srv/app"), &at("srv/none")));
    }
}
