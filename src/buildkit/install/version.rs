//! Versions: those that slipway installs, and those that programs say they are.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::file_name::file_name;
use crate::domain::reason::{Reason, reason};
use crate::sys::environment::{ListedEnvironment as _, Receiver};

/// The BuildKit release that slipway installs.
pub const BUILDKIT_VERSION: &str = "v0.34.2";

/// The release of rootlesskit that slipway compiles for ordinary users.
pub const ROOTLESSKIT_VERSION: &str = "v2.3.6";

/// The compiler: BuildKit's go.mod asks for it, and a daemon compiled with Go 1.27 panics in an eStargz export.
pub(super) const GO_VERSION: &str = "1.26.8";

/// A program that is asked for its version must answer within this.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

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
    let ask = async || {
        let mut command = tokio::process::Command::new(program);
        command.arg("--version").listed_environment(Receiver::Buildkitd).stdin(Stdio::null()).kill_on_drop(true);
        command.output().await
    };
    let asked = async {
        loop {
            match ask().await {
                // Another thread has just been forked with the file, newly written, still open.
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                answer => return answer,
            }
        }
    };
    match tokio::time::timeout(VERSION_TIMEOUT, asked).await {
        Err(_late) => Version::Broken(reason!("install.no_version_in_time", seconds = VERSION_TIMEOUT.as_secs())),
        Ok(Err(e)) => Version::Broken(Reason::verbatim(e.to_string())),
        Ok(Ok(output)) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or_default();
            Version::Broken(Reason::verbatim(format!("--version: {} {said}", output.status).trim_end()))
        }
        Ok(Ok(output)) => read_version(&file_name(program), &String::from_utf8_lossy(&output.stdout)),
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
