//! Whether a home may be trusted: what is read from it decides which commands run, with whose rights, and who gets
//! which token.
//!
//! As ssh does, slipway refuses files and directories that another user owns or may write, and names the command that
//! fixes them. Every process that uses a home asks [`Home::check`] before it reads a setting or connects to a socket;
//! each settings file is checked again whenever it is read.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::Home;
use super::secrets::shell_quoted;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::sys::users;

const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// A file or directory of a home that another user controls.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// Another user owns it.
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Its owner, for people.
        owner: String,
        /// Who this process runs as, for people.
        us: String,
        /// Who this process runs as.
        us_uid: u32,
    },
    /// Other users may write it.
    Writable {
        /// The file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Its owner, for people.
        owner: String,
        /// Who this process runs as, for people.
        us: String,
    },
    /// It can't be looked at.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

display_as_reason!(Untrusted);

impl AsReason for Untrusted {
    fn reason(&self) -> Reason {
        match self {
            Untrusted::Owner { path, owner, us, .. } => reason!("untrusted.owner", path, owner, us, fix = self.fix()),
            Untrusted::Writable { path, mode, owner, us } => {
                reason!("untrusted.writable", path, mode = format!("{:04o}", mode), owner, us, fix = self.fix())
            }
            Untrusted::Io { path, source } => reason!("untrusted.io", path, source),
        }
    }
}

impl Untrusted {
    /// The command that fixes it.
    pub fn fix(&self) -> String {
        match self {
            Untrusted::Owner { path, us_uid, .. } => format!("chown -hR {us_uid} {}", shell_quoted(path)),
            Untrusted::Writable { path, .. } => format!("chmod go-w {}", shell_quoted(path)),
            Untrusted::Io { path, .. } => format!("ls -ld {}", shell_quoted(path)),
        }
    }
}

/// How much is asked of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Ours alone: the home itself and its secrets.
    Ours,
    /// Ours or root's, and written by nobody else: settings. Where the umask is 002 a file that a person makes is
    /// writable by that person's own group, which is as good as nobody.
    Settings,
    /// Somewhere above: others may not put another directory in the place of ours.
    Above,
}

/// What is known of the process, and of a file: plain data, so that the rules can be tested without other users.
#[derive(Debug, Clone, Copy)]
struct Facts {
    us: u32,
    owner: u32,
    mode: u32,
    is_directory: bool,
    /// Nobody but us and root belongs to its group.
    group_is_private: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    ForeignOwner,
    WritableByOthers,
}

fn judge(rule: Rule, facts: Facts) -> Verdict {
    let Facts { us, owner, mode, is_directory, group_is_private } = facts;
    let owner_is_fine = match rule {
        Rule::Ours => owner == us,
        Rule::Settings => owner == us || owner == 0,
        // Its owner could move our directory away, and cannot make another one that is ours.
        Rule::Above => true,
    };
    let group_may_write = match rule {
        Rule::Ours => false,
        Rule::Settings => group_is_private && us != 0,
        Rule::Above => group_is_private,
    };
    let writable = mode & WRITABLE_BY_OTHERS != 0 || mode & WRITABLE_BY_GROUP != 0 && !group_may_write;
    // In a sticky directory, such as /tmp, nobody moves what belongs to others.
    let is_sticky = rule == Rule::Above && is_directory && mode & STICKY != 0;
    match (owner_is_fine, writable && !is_sticky) {
        (false, _) => Verdict::ForeignOwner,
        (true, true) => Verdict::WritableByOthers,
        (true, false) => Verdict::Fine,
    }
}

fn check(rule: Rule, path: &Path, meta: &Metadata) -> Result<(), Untrusted> {
    let (us, mode) = (geteuid().as_raw(), meta.mode() & 0o7777);
    let facts = Facts {
        us,
        owner: meta.uid(),
        mode,
        is_directory: meta.is_dir(),
        group_is_private: mode & WRITABLE_BY_GROUP != 0 && users::is_private_group(meta.gid(), us),
    };
    let (path, owner) = (path.to_owned(), || users::shown(meta.uid()));
    match judge(rule, facts) {
        Verdict::Fine => Ok(()),
        Verdict::ForeignOwner => Err(Untrusted::Owner { path, owner: owner(), us: users::shown(us), us_uid: us }),
        Verdict::WritableByOthers => Err(Untrusted::Writable { path, mode, owner: owner(), us: users::shown(us) }),
    }
}

/// As the rule has it, through symbolic links; what is not there is fine.
fn check_path(rule: Rule, path: &Path) -> Result<(), Untrusted> {
    let cannot = |source| Untrusted::Io { path: path.to_owned(), source };
    let link = match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        // What is above it is not ours to look into, and is reported by itself.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        other => other.map_err(cannot)?,
    };
    if !link.is_symlink() {
        return check(rule, path, &link);
    }
    // A link has no mode of its own: who made it, and whether others may replace it, is what counts.
    let facts =
        Facts { us: geteuid().as_raw(), owner: link.uid(), mode: 0, is_directory: false, group_is_private: false };
    if judge(Rule::Settings, facts) != Verdict::Fine {
        check(Rule::Ours, path, &link)?;
    }
    match fs::metadata(path) {
        Ok(meta) => check(rule, path, &meta),
        // It leads nowhere yet.
        Err(_) => Ok(()),
    }
}

/// Whether a settings file, or a directory of them, may be read: only its owner or root decides what is in it.
///
/// # Errors
/// When another user owns it or may write it.
pub fn check_settings(path: &Path) -> Result<(), Untrusted> {
    check_path(Rule::Settings, path)
}

/// Whether other users may read a file, through all of the directories above it.
pub fn others_may_read(file: &Path) -> bool {
    let has = |path: &Path, bits: u32| fs::metadata(path).is_ok_and(|meta| meta.mode() & bits != 0);
    has(file, 0o044)
        && file.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).all(|path| has(path, 0o011))
}

impl Home {
    /// Whether the home belongs to the user that this process runs as, and nobody else may write it or put another in
    /// its place.
    ///
    /// # Errors
    /// The first thing that another user controls.
    pub fn check(&self) -> Result<(), Untrusted> {
        match self.untrusted().into_iter().next() {
            Some(untrusted) => Err(untrusted),
            None => Ok(()),
        }
    }

    /// Everything of the home that another user controls.
    pub fn untrusted(&self) -> Vec<Untrusted> {
        let state = self.state_dir();
        let config = self.config_file();
        let mut found = above(state);
        found.extend(check_path(Rule::Ours, state).err());
        if let Some(directory) = config.parent().filter(|directory| *directory != state) {
            found.extend(above(directory));
            found.extend(check_path(Rule::Settings, directory).err());
        }
        found.extend(check_path(Rule::Settings, &config).err());
        found.extend(check_path(Rule::Ours, &self.secrets_dir()).err());
        for directory in self.directories() {
            found.extend(check_path(Rule::Settings, &directory).err());
        }
        found
    }
}

/// What is above a directory, as it is reached without symbolic links, that others may write.
fn above(directory: &Path) -> Vec<Untrusted> {
    // A home that does not exist yet is made below the nearest directory that does.
    let real = directory.ancestors().find_map(|path| Some((path == directory, fs::canonicalize(path).ok()?)));
    let Some((exists, real)) = real else { return Vec::new() };
    let skipped = usize::from(exists);
    real.ancestors().skip(skipped).filter_map(|path| check_path(Rule::Above, path).err()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn facts(us: u32, owner: u32, mode: u32) -> Facts {
        Facts { us, owner, mode, is_directory: true, group_is_private: false }
    }

    #[test]
    fn a_home_is_ours_alone_and_settings_may_be_roots() {
        for (rule, us, owner, expected) in [
            (Rule::Ours, 1000, 1000, Verdict::Fine),
            (Rule::Ours, 0, 0, Verdict::Fine),
            (Rule::Ours, 0, 1000, Verdict::ForeignOwner),
            (Rule::Ours, 1000, 0, Verdict::ForeignOwner),
            (Rule::Settings, 1000, 0, Verdict::Fine),
            (Rule::Settings, 1000, 1001, Verdict::ForeignOwner),
            (Rule::Settings, 0, 1001, Verdict::ForeignOwner),
            (Rule::Above, 1000, 1001, Verdict::Fine),
        ] {
            assert_eq!(judge(rule, facts(us, owner, 0o755)), expected, "{rule:?} {us} {owner}");
        }
    }

    #[test]
    fn nothing_is_writable_by_others_but_a_sticky_directory_above() {
        for rule in [Rule::Ours, Rule::Settings, Rule::Above] {
            for mode in [0o777, 0o757, 0o775, 0o722] {
                assert_eq!(judge(rule, facts(1000, 1000, mode)), Verdict::WritableByOthers, "{rule:?} {mode:o}");
            }
            let sticky = if rule == Rule::Above { Verdict::Fine } else { Verdict::WritableByOthers };
            assert_eq!(judge(rule, facts(1000, 1000, 0o1777)), sticky, "{rule:?}");
        }
        assert_eq!(judge(Rule::Above, Facts { is_directory: false, ..facts(0, 0, 0o1777) }), Verdict::WritableByOthers);
    }

    #[test]
    fn a_group_of_ones_own_may_write_settings_but_not_the_home() {
        let private = |rule, us, mode| judge(rule, Facts { group_is_private: true, ..facts(us, us, mode) });
        assert_eq!(private(Rule::Settings, 1000, 0o664), Verdict::Fine);
        assert_eq!(private(Rule::Above, 0, 0o2775), Verdict::Fine, "as Debian's /usr/local");
        assert_eq!(private(Rule::Settings, 0, 0o664), Verdict::WritableByOthers);
        assert_eq!(private(Rule::Ours, 1000, 0o770), Verdict::WritableByOthers);
        assert_eq!(private(Rule::Settings, 1000, 0o666), Verdict::WritableByOthers);
    }

    #[test]
    fn each_part_of_a_home_that_others_may_write_is_named_with_the_command_that_fixes_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("a home"));
        home.create().unwrap();
        fs::write(home.config_file(), "").unwrap();
        fs::set_permissions(home.config_file(), fs::Permissions::from_mode(0o644)).unwrap();
        home.check().unwrap();
        let mut parts = home.directories();
        parts.extend([home.state_dir().to_path_buf(), home.config_file(), home.secrets_dir()]);
        for part in parts {
            if !part.exists() {
                fs::create_dir(&part).unwrap();
            }
            let mode = fs::metadata(&part).unwrap().permissions();
            fs::set_permissions(&part, fs::Permissions::from_mode(0o777)).unwrap();
            let error = home.check().unwrap_err().to_string();
            assert!(error.contains(&format!("{} (mode 0777", part.display())), "{error}");
            assert!(error.ends_with(&format!("run: chmod go-w '{}'", part.display())), "{error}");
            fs::set_permissions(&part, mode).unwrap();
            fs::set_permissions(&part, fs::Permissions::from_mode(0o700)).unwrap();
            home.check().unwrap();
        }
    }

    #[test]
    fn a_directory_above_that_others_may_write_is_named_also_where_a_link_leads_through_it() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let home = Home::at(open.join("not/there/yet"));
        let error = home.check().unwrap_err().to_string();
        assert!(error.contains(&format!("chmod go-w {}", open.display())), "{error}");
        fs::create_dir(open.join("home")).unwrap();
        fs::set_permissions(open.join("home"), fs::Permissions::from_mode(0o700)).unwrap();
        let link = dir.path().join("link");
        symlink(open.join("home"), &link).unwrap();
        assert!(Home::at(&link).check().is_err());
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        Home::at(&link).check().unwrap();
    }
}
