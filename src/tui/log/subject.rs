//! The log that is shown: of which build it is, and where its bytes come from.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::build::Build;
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::domain::step::{Step, StepsFile};
use crate::log::file::LogFile;

/// What is shown.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The build that it is of; none for a mere file.
    pub build: Option<Build>,
    /// The log itself.
    pub origin: Origin,
    /// It may still grow.
    pub live: bool,
    /// What it is called.
    pub title: String,
}

impl Subject {
    /// The number of the attempt that it is of; none for a mere file.
    pub fn attempt(&self) -> Option<u32> {
        self.build.as_ref().map(Build::newest_attempt)
    }
}

/// Where a log comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file by its name, which another one may get.
    File {
        /// The log.
        log: PathBuf,
        /// The steps, where there are any.
        steps: Option<PathBuf>,
    },
    /// The files of a build, as the pool handed them over.
    Build(BuildFiles),
}

/// The files of a build.
#[derive(Debug, Clone, Default)]
pub struct BuildFiles {
    /// The log; none: there is no output yet.
    pub log: Option<Arc<fs::File>>,
    /// Which of its lines came from standard error; none: none so far.
    pub stderr: Option<Arc<fs::File>>,
    /// The steps.
    pub steps: StepsFile,
    /// The steps of the last good build of the same rule, to compare with.
    pub baseline: Vec<Step>,
}

impl BuildFiles {
    /// Opens the log that the pool handed over.
    pub(super) fn open_log(&self) -> io::Result<Option<LogFile>> {
        self.log.as_ref().map(|log| LogFile::of(log.try_clone()?, None)).transpose()
    }

    /// Opens the file that says which lines came from standard error.
    pub(super) fn open_stderr(&self) -> Option<fs::File> {
        self.stderr.as_ref().and_then(|file| file.try_clone().ok())
    }
}

/// Why a log can't be shown.
#[derive(Debug, thiserror::Error)]
pub struct OpenError {
    pub(super) title: String,
    pub(super) source: io::Error,
}

display_as_reason!(OpenError);

impl AsReason for OpenError {
    fn reason(&self) -> Reason {
        let OpenError { title, source } = self;
        reason!("log.open", path = title, source)
    }
}
