//! Versions of runc and buildkitd that builds are known to break out of (`advisories.toml`).
//!
//! A distribution repairs a program without changing its version: where a package brought the program, the package's
//! own changelog decides.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde::Deserialize;
use tokio::process::Command;

use super::file_name::file_name;
use super::find::Tool;
use super::version::Version;
use crate::sys::command::{Limits, run_blocking};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// A changelog is read up to here; Debian's of runc has 20 KB.
const MOST_CHANGELOG_BYTES: u64 = 8 << 20;

/// A database of packages that is locked or on a slow disk is waited for so long.
const PACKAGE_LIMITS: Limits = Limits { time: Duration::from_secs(30), output: MOST_CHANGELOG_BYTES as usize };

/// How the word behind a version's numbers begins that says that it came before the release.
const BEFORE_RELEASE: [&str; 5] = ["rc", "alpha", "beta", "dev", "pre"];

#[derive(Debug, Deserialize)]
struct Table {
    advisory: Vec<Advisory>,
}

#[derive(Debug, Deserialize)]
struct Advisory {
    programs: Vec<String>,
    ids: Vec<String>,
    fixed: Vec<String>,
}

/// What is known against a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Good,
    /// Builds can break out: by these, which the program's package does not name as repaired either.
    Vulnerable(Vec<String>),
    /// It may be so: the version is not known, or its package has no changelog here that would tell of repairs.
    Unknown(Vec<String>),
}

/// Judges a program that was found and asked for its version.
pub fn judge(tool: &Tool) -> Verdict {
    let version = match &tool.version {
        Version::Known(version) => Some(version.as_str()),
        Version::Unknown | Version::Broken(_) => None,
    };
    judge_version(&file_name(&tool.path), version, || changelog(&tool.path))
}

/// Judges a daemon elsewhere by its version; nobody can ask for its package.
pub fn judge_buildkitd(version: &str) -> Verdict {
    judge_version("buildkitd", Some(version), || Changelog::NoPackage)
}

/// What a package says of its repairs.
enum Changelog {
    /// The program came in no package.
    NoPackage,
    /// It did; its changelog is not here.
    Absent,
    /// Its changelog.
    Text(String),
}

fn judge_version(program: &str, version: Option<&str>, changelog: impl FnOnce() -> Changelog) -> Verdict {
    // A test reads the file: it parses.
    let Ok(table) = toml::from_str::<Table>(include_str!("advisories.toml")) else { return Verdict::Good };
    let of_program = table.advisory.into_iter().filter(|advisory| advisory.programs.iter().any(|one| one == program));
    let Some(numbers) = version.and_then(numbers) else {
        let ids: Vec<String> = of_program.flat_map(|advisory| advisory.ids).collect();
        return if ids.is_empty() { Verdict::Good } else { Verdict::Unknown(ids) };
    };
    let open: Vec<String> =
        of_program.filter(|advisory| !is_fixed(numbers, &advisory.fixed)).flat_map(|advisory| advisory.ids).collect();
    if open.is_empty() {
        return Verdict::Good;
    }
    match changelog() {
        Changelog::NoPackage => Verdict::Vulnerable(open),
        Changelog::Absent => Verdict::Unknown(open),
        Changelog::Text(text) => {
            let left: Vec<String> = open.into_iter().filter(|id| !text.contains(id.as_str())).collect();
            if left.is_empty() { Verdict::Good } else { Verdict::Vulnerable(left) }
        }
    }
}

/// Major, minor and patch of `v0.34.2`, `1.1.5+ds1`, `1.3.0-rc.1`, then 0 for a version before the release and 1 for
/// the release, with a distribution's revision or without; none of a development version.
fn numbers(version: &str) -> Option<[u64; 4]> {
    let mut words = version.trim_start_matches('v').split(['+', '-', '~']);
    let plain = words.next()?;
    let is_before = words.next().is_some_and(|word| BEFORE_RELEASE.iter().any(|name| word.starts_with(name)));
    let mut parts = plain.split('.').map(|part| part.parse().ok());
    let mut next = || parts.next().unwrap_or(Some(0));
    let numbers = [next()?, next()?, next()?];
    let [major, minor, patch] = numbers;
    (numbers != [0; 3]).then_some([major, minor, patch, u64::from(!is_before)])
}

fn is_fixed(version: [u64; 4], fixed: &[String]) -> bool {
    let fixed: Vec<[u64; 4]> = fixed.iter().filter_map(|text| numbers(text)).collect();
    let of_branch = fixed.iter().find(|first| first[..2] == version[..2]);
    match of_branch {
        Some(first) => version >= *first,
        None => fixed.iter().all(|first| version > *first),
    }
}

/// The changelog of the package that a file came in: dpkg's file of it, or what rpm keeps.
fn changelog(program: &Path) -> Changelog {
    // Where /sbin is a link, dpkg knows the file by its own place alone.
    let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    if let Some(owner) = output("dpkg", &["-S".as_ref(), program.as_os_str()]) {
        let package = owner.split(':').next().unwrap_or_default().to_owned();
        let file = Path::new("/usr/share/doc").join(package).join("changelog.Debian.gz");
        let mut text = Vec::new();
        let read = std::fs::File::open(file)
            .and_then(|file| GzDecoder::new(file).take(MOST_CHANGELOG_BYTES).read_to_end(&mut text));
        return match read {
            Ok(_) => Changelog::Text(String::from_utf8_lossy(&text).into_owned()),
            Err(_) => Changelog::Absent,
        };
    }
    match output("rpm", &["-q".as_ref(), "--changelog".as_ref(), "-f".as_ref(), program.as_os_str()]) {
        Some(text) => Changelog::Text(text),
        None => Changelog::NoPackage,
    }
}

/// What a command prints; none where it is not there, fails or exceeds its limits.
fn output(program: &str, arguments: &[&std::ffi::OsStr]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).listed_environment(Receiver::Installer);
    let ended = run_blocking(command, PACKAGE_LIMITS).ok()?;
    ended.status.success().then(|| String::from_utf8_lossy(&ended.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(verdict: Verdict) -> Vec<String> {
        match verdict {
            Verdict::Vulnerable(ids) => ids,
            other => panic!("{other:?}"),
        }
    }

    fn judged(program: &str, version: &str) -> Verdict {
        judge_version(program, Some(version), || Changelog::NoPackage)
    }

    #[test]
    fn a_version_is_measured_against_the_repair_of_its_own_branch() {
        for good in
            ["1.2.8", "1.3.3", "1.3.3-0ubuntu1~22.04.1", "1.3.3+ds1-1", "1.3.10", "1.4.0", "1.4.0-rc.1", "2.0.0"]
        {
            assert_eq!(judged("runc", good), Verdict::Good, "{good}");
        }
        for bad in ["1.2.7", "1.3.0-rc.1", "1.3.2", "1.3.3-rc.1", "1.2.8~rc2+ds1", "1.1.15"] {
            assert_eq!(ids(judged("buildkit-runc", bad)).len(), 3, "{bad}");
        }
        assert_eq!(ids(judged("runc", "1.1.11")).len(), 4);
        assert_eq!(ids(judge_buildkitd("v0.12.4")).len(), 3);
        assert_eq!(judge_buildkitd("v0.34.2"), Verdict::Good);
        assert_eq!(judged("crun", "1.8"), Verdict::Good);
    }

    #[test]
    fn a_package_that_names_the_repair_counts_and_one_without_a_changelog_cannot_be_told() {
        let debian = |text: &str| judge_version("runc", Some("1.1.5+ds1"), || Changelog::Text(text.into()));
        assert_eq!(ids(debian("* CVE-2024-21626: several container breakouts")).len(), 3);
        assert_eq!(debian("CVE-2024-21626 CVE-2025-31133 CVE-2025-52565 CVE-2025-52881"), Verdict::Good);
        let unknown = judge_version("runc", Some("1.1.5"), || Changelog::Absent);
        assert!(matches!(unknown, Verdict::Unknown(ids) if ids.len() == 4));
        let silent = judge_version("buildkitd", None, || panic!("what has no version is not compared"));
        assert!(matches!(silent, Verdict::Unknown(ids) if ids.len() == 3));
        assert!(matches!(judge_buildkitd("v0.0.0+unknown"), Verdict::Unknown(_)));
    }
}
