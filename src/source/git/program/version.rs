//! Versions of git: which one is there, and which slipway works with.

use std::fmt;
use std::path::PathBuf;

use crate::domain::reason::{AsReason, Reason, argument_by_name, display_as_reason, reason};

/// The oldest git that slipway works with: it knows SHA-256 repositories, protocol v2 by default and `--update-shallow`
/// over it.
pub const OLDEST: GitVersion = GitVersion { major: 2, minor: 30, patch: 0 };

/// A version of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitVersion {
    /// `2` of `2.39.5`.
    pub major: u32,
    /// `39` of `2.39.5`.
    pub minor: u32,
    /// `5` of `2.39.5`; 0 where the program names none.
    pub patch: u32,
}

impl GitVersion {
    /// Reads what `git --version` prints; vendors append words and numbers of their own.
    pub fn parse(text: &str) -> Option<GitVersion> {
        let text = text.trim().strip_prefix("git version ")?;
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(GitVersion { major, minor, patch: numbers.next().and_then(Result::ok).unwrap_or_default() })
    }
}

impl fmt::Display for GitVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A `git` program that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoGit {
    /// There is none in `PATH`.
    Missing,
    /// It is too old.
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: GitVersion,
    },
    /// It does not run, or does not tell its version.
    Broken {
        /// The program.
        path: PathBuf,
        /// Why.
        reason: Reason,
    },
}

display_as_reason!(NoGit);

impl AsReason for NoGit {
    fn reason(&self) -> Reason {
        reason!("no_git.reason", problem = self.problem(), advice = self.advice())
    }
}

impl NoGit {
    /// Why it can't be used.
    pub fn problem(&self) -> Reason {
        match self {
            NoGit::Missing => reason!("no_git.missing", oldest = OLDEST),
            NoGit::TooOld { path, found } => reason!("no_git.too_old", oldest = OLDEST, path, found),
            NoGit::Broken { path, reason } => reason!("no_git.broken", path, reason),
        }
    }

    /// What to do.
    pub fn advice(&self) -> Reason {
        match self {
            NoGit::Missing => reason!("no_git.install"),
            NoGit::TooOld { .. } => reason!("no_git.upgrade"),
            NoGit::Broken { .. } => reason!("no_git.check", oldest = OLDEST),
        }
    }
}

argument_by_name!(GitVersion);
