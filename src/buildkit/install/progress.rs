//! What an installation is doing, as typed events; each one also reads as a plain line.

use std::fmt;
use std::path::PathBuf;

use crate::domain::reason::{AsReason, Reason, argument_by_name, display_as_reason, reason};

/// Where progress goes.
pub type Report<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// A way of getting a part of BuildKit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The official release archive.
    Release,
    /// The pinned version, compiled as a Go module.
    Go,
    /// The distribution's package manager.
    Packages,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another setup of the same home is at work; this one waits until it ends.
    Waiting {
        /// Its process id, where it has written one.
        holder: Option<u32>,
    },
    /// A release is being looked up.
    LookingUp {
        /// The address asked.
        url: String,
    },
    /// Bytes of a download have come in.
    Downloading {
        /// The file's name.
        file: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where the server said.
        total: Option<u64>,
    },
    /// A download is whole.
    Downloaded {
        /// The file's name.
        file: String,
        /// Its SHA-256 digest in hexadecimal.
        sha256: String,
        /// Whether it was compared with a digest in slipway's source.
        checked: bool,
    },
    /// An archive is being unpacked.
    Unpacking {
        /// The archive's name.
        file: String,
    },
    /// Go modules are being fetched.
    GoModules {
        /// What for.
        what: &'static str,
        /// Modules downloaded so far.
        done: u64,
    },
    /// Go packages are being compiled.
    GoCompiling {
        /// What for.
        what: &'static str,
        /// Packages so far.
        done: u64,
        /// Packages in all; those in Go's cache are never counted as done.
        total: Option<u64>,
    },
    /// A command of the package manager is about to run.
    Package {
        /// The command, as one would type it.
        command: String,
    },
    /// The package manager said something.
    PackageSays {
        /// One line of it.
        line: String,
    },
    /// A way did not work; the next one is tried.
    Failed {
        /// Which way.
        way: Way,
        /// Why.
        why: Reason,
    },
    /// A binary is in place.
    Installed {
        /// Where.
        path: PathBuf,
    },
}

impl Progress {
    /// Whether a later event of the same kind replaces this one: a line that a terminal may overwrite.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Progress::Downloading { .. }
                | Progress::GoModules { .. }
                | Progress::GoCompiling { .. }
                | Progress::PackageSays { .. }
        )
    }
}

display_as_reason!(Way, Progress);

impl AsReason for Way {
    fn reason(&self) -> Reason {
        match self {
            Way::Release => reason!("install_way.release"),
            Way::Go => reason!("install_way.go"),
            Way::Packages => reason!("install_way.packages"),
        }
    }
}

impl AsReason for Progress {
    fn reason(&self) -> Reason {
        match self {
            Progress::Waiting { holder: Some(pid) } => reason!("progress.waiting_for_process", pid),
            Progress::Waiting { holder: None } => reason!("progress.waiting"),
            Progress::LookingUp { url } => reason!("progress.looking_up", url),
            Progress::Downloading { file, done, total: Some(total) } => {
                reason!("progress.downloading_of", file, done = Mega(*done), total = Mega(*total))
            }
            Progress::Downloading { file, done, total: None } => {
                reason!("progress.downloading", file, done = Mega(*done))
            }
            Progress::Downloaded { file, sha256, checked: true } => reason!("progress.checked", file, sha256),
            Progress::Downloaded { file, sha256, checked: false } => reason!("progress.downloaded", file, sha256),
            Progress::Unpacking { file } => reason!("progress.unpacking", file),
            Progress::GoModules { what, done: 0 } => reason!("progress.fetching_modules", what),
            Progress::GoModules { what, done } => reason!("progress.fetched_modules", what, done),
            Progress::GoCompiling { what, done: 0, .. } => reason!("progress.compiling", what),
            Progress::GoCompiling { what, done, total: Some(total) } => {
                reason!("progress.compiled_of", what, done, total)
            }
            Progress::GoCompiling { what, done, total: None } => reason!("progress.compiled", what, done),
            Progress::Package { command } => reason!("progress.running", command),
            Progress::PackageSays { line } => Reason::verbatim(format!("  {line}")),
            Progress::Failed { way, why } => reason!("progress.failed", way, why),
            Progress::Installed { path } => reason!("progress.installed", path),
        }
    }
}

argument_by_name!(Mega);

/// Bytes, shown in megabytes.
struct Mega(u64);

impl fmt::Display for Mega {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} MB", self.0 / 1_000_000, self.0 % 1_000_000 / 100_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_reads_as_one_plain_line() {
        let half = Progress::Downloading { file: "a.tar.gz".into(), done: 31_250_000, total: Some(62_500_000) };
        assert_eq!(half.to_string(), "downloading a.tar.gz: 31.2 MB of 62.5 MB");
        let waiting = Progress::Waiting { holder: Some(7) };
        assert_eq!(waiting.to_string(), "waiting for another setup (process 7) to end");
        assert!(half.is_transient() && !waiting.is_transient());
    }
}
