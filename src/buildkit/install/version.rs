//! Versions: those that slipway installs, and those that programs say they are.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::file_name::file_name;
use crate::domain::reason::{AsReason as _, Reason, reason};
use crate::sys::command::{Limits, RunError, run};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// The BuildKit release that slipway installs.
pub const BUILDKIT_VERSION: &str = "v0.34.2";

/// The release of rootlesskit that slipway compiles for ordinary users.
pub const ROOTLESSKIT_VERSION: &str = "v2.3.6";

/// The compiler: BuildKit's go.mod asks for it, and a daemon compiled with Go 1.27 panics in an eStargz export.
pub(super) const GO_VERSION: &str = "1.26.8";

/// A program that is asked for its version must answer within this.
const VERSION_LIMITS: Limits = Limits { time: Duration::from_secs(10), output: 64 * 1024 };

/// What a program says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// Not asked, or the answer says nothing: a BuildKit compiled without its linker flag answers `v0.0.0+unknown`.
    Unknown,
    /// As the program writes it.
    Known(String),
    /// It does not run; why.
    Broken(Reason),
}

/// Runs `program --version`.
pub(super) async fn version_of(program: &Path) -> Version {
    let mut command = Command::new(program);
    command.arg("--version").listed_environment(Receiver::Buildkitd);
    match run(command, b"", VERSION_LIMITS).await {
        Err(RunError::TimedOut { after, .. }) => {
            Version::Broken(reason!("install.no_version_in_time", seconds = after.as_secs()))
        }
        Err(RunError::Io { cause, .. }) => Version::Broken(Reason::verbatim(cause.to_string())),
        Err(error @ RunError::TooMuch { .. }) => Version::Broken(error.reason()),
        Ok(ended) if !ended.status.success() => {
            let said = ended.stderr.lines().next().unwrap_or_default();
            Version::Broken(Reason::verbatim(format!("--version: {} {said}", ended.status).trim_end()))
        }
        Ok(ended) => read_version(&file_name(program), &String::from_utf8_lossy(&ended.stdout)),
    }
}

/// The version in the first line of an answer: `buildctl github.com/moby/buildkit v0.34.2 1fca…`, `runc version 1.1.5`.
fn read_version(program: &str, answer: &str) -> Version {
    let line = answer.lines().next().unwrap_or_default();
    line.split_whitespace()
        .filter(|word| *word != program)
        .find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()))
        .filter(|word| !word.starts_with("v0.0.0") && !word.contains("unknown"))
        .map_or(Version::Unknown, |word| Version::Known(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_the_linker_did_not_set_is_unknown() {
        assert_eq!(read_version("buildctl", "buildctl github.com/moby/buildkit v0.0.0+unknown \n"), Version::Unknown);
        assert_eq!(
            read_version("buildkitd", "buildkitd github.com/moby/buildkit v0.34.2 abc\n"),
            Version::Known("v0.34.2".to_owned())
        );
        assert_eq!(read_version("runc", "runc version 1.1.5+ds1\ncommit: x"), Version::Known("1.1.5+ds1".to_owned()));
        assert_eq!(read_version("crun", ""), Version::Unknown);
    }
}
