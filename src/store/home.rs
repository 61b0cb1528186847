//! Where everything is: the paths under `$SLIPWAY_HOME`.
//!
//! Every other module asks here for a path and spells none itself.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::name::RepositoryPath;
use crate::domain::reason::{AsReason, Reason, display_as_reason, io_error_of, reason};

use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use crate::sys::atomic;

/// The directories that one slipway works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    state: PathBuf,
    config: PathBuf,
}

/// Why the environment names no home.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHome {
    /// No variable says where state belongs.
    Unset,
    /// Its path is not UTF-8, or has control characters: records and configurations, which are text, could not name
    /// what is in it.
    NotText {
        /// The directory.
        path: PathBuf,
    },
}

display_as_reason!(NoHome);

impl AsReason for NoHome {
    fn reason(&self) -> Reason {
        match self {
            NoHome::Unset => reason!("home.no_home"),
            NoHome::NotText { path } => reason!("home.not_text", path),
        }
    }
}

/// A unix socket's path holds at most 107 bytes (`sun_path` in unix(7)); room is left for the longest name we add.
const LONGEST_SOCKET_DIR: usize = 80;
/// A log of our own that is longer, in bytes, is put aside when it is opened: enough for weeks.
pub(super) const LONGEST_LOG: u64 = 5 * 1024 * 1024;

impl Home {
    /// Everything under one directory, as `SLIPWAY_HOME` asks.
    pub fn at(root: impl Into<PathBuf>) -> Home {
        let state = root.into();
        Home { config: state.clone(), state }
    }

    /// From the environment: `SLIPWAY_HOME`, else the XDG directories, else their defaults under `HOME`. A relative
    /// `SLIPWAY_HOME` is below the working directory; relative XDG directories and a relative `HOME` are ignored, as
    /// the XDG specification says.
    ///
    /// # Errors
    /// When none of the variables says.
    pub fn from_env() -> Result<Home, NoHome> {
        Home::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Home, NoHome> {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(root) = path("SLIPWAY_HOME") {
            return Home::at(std::path::absolute(&root).unwrap_or(root)).checked();
        }
        let absolute = |name| path(name).filter(|path| path.is_absolute());
        let under_home = |below: &str| absolute("HOME").map(|home| home.join(below));
        let state = absolute("XDG_STATE_HOME").or_else(|| under_home(".local/state")).ok_or(NoHome::Unset)?;
        let config = absolute("XDG_CONFIG_HOME").or_else(|| under_home(".config")).ok_or(NoHome::Unset)?;
        Home { state: state.join("slipway"), config: config.join("slipway") }.checked()
    }

    fn checked(self) -> Result<Home, NoHome> {
        let is_odd = |path: &&PathBuf| path.to_str().is_none_or(|text| text.contains(char::is_control));
        let odd = [&self.state, &self.config].into_iter().find(is_odd).cloned();
        match odd {
            Some(path) => Err(NoHome::NotText { path }),
            None => Ok(self),
        }
    }

    /// The variables by which another slipway process, whatever its working directory, finds this same home.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        if self.state == self.config {
            return vec![("SLIPWAY_HOME", self.state.clone().into())];
        }
        let above = |directory: &Path| directory.parent().unwrap_or(Path::new("/")).as_os_str().to_owned();
        vec![("XDG_STATE_HOME", above(&self.state)), ("XDG_CONFIG_HOME", above(&self.config))]
    }

    /// Makes the directories of the state and of the sockets, for their owner alone. A home that is there keeps its
    /// permissions.
    ///
    /// # Errors
    /// When one can't be made, or the sockets' directory is somebody else's.
    pub fn create(&self) -> io::Result<()> {
        for directory in [self.state.clone(), self.runtime_dir()] {
            atomic::make_dirs(&directory)?;
        }
        self.check_runtime_dir()
    }

    /// Where the sockets are not in the home, their directory has a name that anybody can guess: it must be ours alone.
    ///
    /// # Errors
    /// When it is another user's, or open to others. One that is not there yet is fine: [`Home::create`] makes it.
    pub fn check_runtime_dir(&self) -> io::Result<()> {
        let directory = self.runtime_dir();
        if directory == self.state {
            return Ok(());
        }
        let meta = match fs::symlink_metadata(&directory) {
            // Before the first pool: nobody listens there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            meta => meta?,
        };
        if meta.is_dir() && meta.uid() == geteuid().as_raw() && meta.mode() & 0o077 == 0 {
            return Ok(());
        }
        Err(io_error_of(io::ErrorKind::PermissionDenied, reason!("home.not_private", directory)))
    }

    /// The pool's log, to be appended to; a long one is put aside first as `pool.log.1`, in the place of an earlier
    /// one.
    ///
    /// # Errors
    /// When the home can't be made or the file can't be opened.
    pub fn open_pool_log(&self) -> io::Result<File> {
        self.create()?;
        let log = self.pool_log();
        atomic::put_aside_longer_than(LONGEST_LOG, &log)?;
        OpenOptions::new().create(true).append(true).mode(atomic::PRIVATE).open(&log)
    }

    /// The directory that holds the state.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// The directories of the home that hold settings, or what is run and believed later.
    pub fn directories(&self) -> Vec<PathBuf> {
        let settings = [self.platforms_dir(), self.builders_dir(), self.registries_dir(), self.namespaces_dir()];
        let others = ["git", "images", "cache", "tags", "pushes", "outbox", "watch", "last-good"]
            .map(|name| self.state.join(name));
        let programs = [self.buildkit_dir(), self.buildkit_bin_dir(), self.builds_dir()];
        settings.into_iter().chain(others).chain(programs).collect()
    }

    /// Copies of the last good text of each settings file.
    pub fn last_good_dir(&self) -> PathBuf {
        self.state.join("last-good")
    }

    /// Preferences: `config.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The user's own themes of the dashboard.
    pub fn themes_dir(&self) -> PathBuf {
        self.config.join("themes")
    }

    /// Bound source platforms, one file each.
    pub fn platforms_dir(&self) -> PathBuf {
        self.state.join("platforms")
    }

    /// Builders, one file each.
    pub fn builders_dir(&self) -> PathBuf {
        self.state.join("builders")
    }

    /// Registry settings, one file for each host.
    pub fn registries_dir(&self) -> PathBuf {
        self.state.join("registries")
    }

    /// Namespaces: `<namespace>.toml` beside a directory of its repositories.
    pub fn namespaces_dir(&self) -> PathBuf {
        self.state.join("namespaces")
    }

    /// A namespace's file.
    pub fn namespace_file(&self, namespace: &str) -> PathBuf {
        self.namespaces_dir().join(format!("{namespace}.toml"))
    }

    /// A repository's file.
    pub fn repository_file(&self, namespace: &str, repository: &str) -> PathBuf {
        self.namespaces_dir().join(namespace).join(format!("{repository}.toml"))
    }

    /// Secrets, mode 0700.
    pub fn secrets_dir(&self) -> PathBuf {
        self.state.join("secrets")
    }

    /// All builds.
    pub fn builds_dir(&self) -> PathBuf {
        self.state.join("builds")
    }

    /// The journal of pushes, one file each.
    pub fn pushes_dir(&self) -> PathBuf {
        self.state.join("pushes")
    }

    /// The refs of sources as they were last seen, one file for each repository.
    pub fn refs_seen_dir(&self) -> PathBuf {
        self.state.join("watch")
    }

    /// The catalog of builds and pushes: see [`super::catalog`].
    pub fn catalog_file(&self) -> PathBuf {
        self.state.join("catalog.db")
    }

    /// The settings as they were last parsed: see [`super::settings`].
    pub fn settings_cache(&self) -> PathBuf {
        self.state.join("settings.cache")
    }

    /// One build's directory: its record, and the files of its first attempt.
    pub fn build_dir(&self, id: u64) -> PathBuf {
        self.builds_dir().join(id.to_string())
    }

    /// The directory of an attempt of a build: log, steps, job, result. That of the first is the build's own.
    pub fn attempt_dir(&self, id: u64, attempt: u32) -> PathBuf {
        match attempt {
            0 | 1 => self.build_dir(id),
            _ => self.attempts_dir(id).join(attempt.to_string()),
        }
    }

    /// The directories of a build's attempts after the first, named by their numbers.
    pub fn attempts_dir(&self, id: u64) -> PathBuf {
        self.build_dir(id).join("attempts")
    }

    /// The OCI layout directory of a repository in the registry "local".
    pub fn image_layout(&self, namespace: &str, repository: &str) -> PathBuf {
        self.state.join("images").join(namespace).join(repository)
    }

    /// What people did to the tags of a repository: a directory for each tag.
    pub fn tag_changes_root(&self, path: &RepositoryPath) -> PathBuf {
        self.state.join("tags").join(&path.namespace).join(&path.repository)
    }

    /// What people did to a tag.
    pub fn tag_changes_dir(&self, path: &RepositoryPath, tag: &str) -> PathBuf {
        self.tag_changes_root(path).join(tag)
    }

    /// The cache directory of a rule whose repository lives in the registry "local".
    pub fn cache_layout(&self, namespace: &str, repository: &str, rule: &str) -> PathBuf {
        self.state.join("cache").join(namespace).join(repository).join(rule)
    }

    /// The link to the ssh agent of the client that connected last.
    pub fn agent_link(&self) -> PathBuf {
        self.state.join("agent.sock")
    }

    /// The bare clone of a source on another machine.
    pub fn git_dir(&self, path: &RepositoryPath) -> PathBuf {
        self.git_root().join(&path.namespace).join(&path.repository)
    }

    /// The bare clones of a repository's submodules, one directory each. No repository's name begins with a dot.
    pub fn modules_dir(&self, path: &RepositoryPath) -> PathBuf {
        self.git_root().join(&path.namespace).join(format!(".{}.modules", path.repository))
    }

    /// The files of Git LFS of a repository's source and submodules.
    pub fn lfs_dir(&self, path: &RepositoryPath) -> PathBuf {
        self.git_root().join(&path.namespace).join(format!(".{}.lfs", path.repository))
    }

    /// All clones, by namespace.
    pub fn git_root(&self) -> PathBuf {
        self.state.join("git")
    }

    /// All checked out trees, by namespace.
    pub fn trees_root(&self) -> PathBuf {
        self.state.join("trees")
    }

    /// The home's key for the times of files in trees.
    pub fn time_key_file(&self) -> PathBuf {
        self.trees_root().join(".key")
    }

    /// The checked out trees of a repository: a numbered directory for each build of it that runs at the same time.
    pub fn trees_dir(&self, path: &RepositoryPath) -> PathBuf {
        self.trees_root().join(&path.namespace).join(&path.repository)
    }

    /// Directories that live as long as one question: emptied when a pool starts.
    pub fn scratch_dir(&self) -> PathBuf {
        self.state.join("scratch")
    }

    /// The managed BuildKit: binaries, its state.
    pub fn buildkit_dir(&self) -> PathBuf {
        self.state.join("buildkit")
    }

    /// Where `slipway setup` puts binaries.
    pub fn buildkit_bin_dir(&self) -> PathBuf {
        self.buildkit_dir().join("bin")
    }

    /// The pool's own log.
    pub fn pool_log(&self) -> PathBuf {
        self.state.join("pool.log")
    }

    /// Who changed what: see [`super::audit`].
    pub fn audit_log(&self) -> PathBuf {
        self.state.join("audit.log")
    }

    /// Locked while a process writes into the audit log.
    pub fn audit_lock(&self) -> PathBuf {
        self.state.join("audit.lock")
    }

    /// Locked by the one pool of this home.
    pub fn pool_lock(&self) -> PathBuf {
        self.state.join("pool.lock")
    }

    /// The pool's socket: whatever the environment of a client, it is where the state is. See [`crate::sys::socket`] for
    /// long paths.
    pub fn pool_socket(&self) -> PathBuf {
        self.state.join("pool.sock")
    }

    /// Where the sockets of daemons live: the home itself, or, when its path is too long for a socket or has characters
    /// that an address can't hold, a private directory named after it under `XDG_RUNTIME_DIR` or `/tmp`.
    pub fn runtime_dir(&self) -> PathBuf {
        if self.state.as_os_str().len() <= LONGEST_SOCKET_DIR && fits_address(&self.state) {
            return self.state.clone();
        }
        // The same for every version of slipway, so that an upgraded one finds the pool that runs.
        let digest = Sha256::digest(self.state.as_os_str().as_encoded_bytes());
        let name = format!("slipway-{}-{}", geteuid().as_raw(), hex::encode(&digest[..8]));
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|v| !v.is_empty() && v.len() <= LONGEST_SOCKET_DIR - 40) {
            Some(dir) => PathBuf::from(dir).join(name),
            None => Path::new("/tmp").join(name),
        }
    }
}

/// Whether `unix://` with this path means this path: an address is read as a URL, where `#`, `?` and `%` have meanings
/// of their own, and control characters none.
fn fits_address(path: &Path) -> bool {
    path.to_str().is_some_and(|text| !text.contains(|c: char| matches!(c, '#' | '?' | '%') || c.is_control()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_whose_path_no_address_holds_keeps_its_sockets_elsewhere() {
        for odd in ["/srv/a#b", "/srv/a%20b", "/srv/a?b", "/srv/a\nb"] {
            let home = Home::at(odd);
            home.check_runtime_dir().expect("that no pool has run yet is no reason to distrust");
            let sockets = home.runtime_dir();
            assert!(!sockets.starts_with(odd) && fits_address(&sockets), "{odd:?}: {sockets:?}");
        }
        for fine in ["/srv/a b", "/srv/a,b=\"c\";$[d]", "/srv/需求"] {
            assert_eq!(Home::at(fine).runtime_dir(), Path::new(fine));
        }
    }

    #[test]
    fn a_home_whose_path_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        for odd in [b"/srv/caf\xe9", b"/srv/a\nbc"] {
            let path = OsString::from_vec(odd.to_vec());
            let found = Home::from_variables(|name| (name == "SLIPWAY_HOME").then(|| path.clone()));
            assert_eq!(found, Err(NoHome::NotText { path: path.into() }));
        }
    }

    #[test]
    fn a_long_log_is_put_aside_and_a_new_one_begun() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        home.open_pool_log().unwrap().set_len(LONGEST_LOG).unwrap();
        assert_eq!(home.open_pool_log().unwrap().metadata().unwrap().len(), LONGEST_LOG);
        home.open_pool_log().unwrap().set_len(LONGEST_LOG + 1).unwrap();
        assert_eq!(home.open_pool_log().unwrap().metadata().unwrap().len(), 0);
        assert_eq!(fs::metadata(home.state_dir().join("pool.log.1")).unwrap().len(), LONGEST_LOG + 1);
        assert_eq!(fs::metadata(home.state_dir()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn relative_directories_of_xdg_are_ignored_and_another_process_finds_the_same_home() {
        let home = |variables: &[(&str, &str)]| {
            let variables: std::collections::HashMap<_, _> = variables.iter().copied().collect();
            Home::from_variables(|name| variables.get(name).map(OsString::from))
        };
        let usual = home(&[("HOME", "/home/kim")]).unwrap();
        assert_eq!(usual.state_dir(), Path::new("/home/kim/.local/state/slipway"));
        let relative =
            home(&[("HOME", "/home/kim"), ("XDG_STATE_HOME", "state"), ("XDG_CONFIG_HOME", "./conf")]).unwrap();
        assert_eq!(relative, usual);
        assert!(home(&[("HOME", "."), ("XDG_STATE_HOME", "state")]).is_err());
        let one = home(&[("SLIPWAY_HOME", "rel"), ("HOME", "/home/kim")]).unwrap();
        assert_eq!(one.state_dir(), std::env::current_dir().unwrap().join("rel"));
        let elsewhere = home(&[("HOME", "/"), ("XDG_STATE_HOME", "/s"), ("XDG_CONFIG_HOME", "/c")]).unwrap();
        for found in [usual, one, elsewhere] {
            let variables = found.variables();
            let again = Home::from_variables(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
            });
            assert_eq!(again.unwrap(), found);
        }
    }

    #[test]
    fn a_home_with_a_long_path_keeps_the_sockets_of_daemons_where_they_fit() {
        let home = Home::at("/".to_owned() + &"long-name/".repeat(20));
        assert!(home.runtime_dir().join("pool.sock").as_os_str().len() < 108);
        assert_eq!(home.pool_socket(), home.state_dir().join("pool.sock"));
        assert_eq!(Home::at("/srv/slipway").runtime_dir(), Path::new("/srv/slipway"));
    }
}
