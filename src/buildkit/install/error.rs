//! Why an installation failed, one variant a cause.

use std::io;
use std::path::{Path, PathBuf};

use super::missing::Missing;
use super::progress::Way;
use super::version::{BUILDKIT_VERSION, GO_VERSION};
use crate::domain::reason::{AsReason, Phrase, Reason, display_as_reason, output, reason};

/// Why BuildKit, or a part of it, could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No answer from a server.
    Unreachable {
        /// The address.
        url: String,
        /// What the connection said.
        why: Reason,
    },
    /// The server does not have it.
    NotFound {
        /// The address.
        url: String,
    },
    /// An address that programs must not come from.
    NotHttps {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: Reason,
    },
    /// An answer without end.
    TooLarge {
        /// The address.
        url: String,
        /// The limit.
        most: u64,
    },
    /// Nothing but TLS vouches for the archive, and nobody said that this will do.
    NotVouchedFor {
        /// The archive.
        archive: String,
        /// Where it would come from.
        host: String,
    },
    /// The server refuses or is broken.
    Status {
        /// The address.
        url: String,
        /// Status code and its name.
        status: String,
        /// What to do.
        hint: Option<Phrase>,
    },
    /// The transfer ended before the file did.
    Cut {
        /// The address.
        url: String,
        /// Bytes that came.
        got: u64,
        /// Bytes announced.
        expected: Option<u64>,
        /// What the connection said.
        why: Reason,
    },
    /// The releases API answered with something else than a release.
    BadAnswer {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: Reason,
    },
    /// The release has no archive for this machine.
    NoAsset {
        /// The archive looked for.
        asset: String,
    },
    /// The releases API states no digest to check against.
    NoDigest {
        /// The address asked.
        url: String,
        /// The archive.
        asset: String,
    },
    /// What came is not what the release says.
    WrongDigest {
        /// Where it came from.
        url: String,
        /// The digest that the release states.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// The archive is cut short, damaged or not a .tar.gz.
    BrokenArchive {
        /// The archive.
        archive: String,
        /// What the unpacker said.
        why: Reason,
    },
    /// The archive holds something else.
    NotBuildkit {
        /// The archive.
        archive: String,
        /// The first binary that it lacks.
        missing: &'static str,
    },
    /// A new binary does not run on this machine.
    DoesNotRun {
        /// The binary.
        name: String,
        /// What it said.
        why: Reason,
    },
    /// The disk is full.
    NoSpace {
        /// What was being done.
        doing: Phrase,
        /// On which path.
        path: PathBuf,
    },
    /// The directory cannot be written.
    Unwritable {
        /// What was being done.
        doing: Phrase,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// Another failure of a file.
    File {
        /// What was being done.
        doing: Phrase,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// There is no Go, or one that cannot fetch the version needed.
    NoGo {
        /// What was found.
        why: Reason,
    },
    /// A command failed.
    Command {
        /// The command, as one would type it.
        command: String,
        /// How it ended.
        how: Reason,
        /// The last lines that it printed.
        said: Vec<String>,
    },
    /// No package manager that slipway knows.
    NoPackageManager,
    /// It was told to stop.
    Interrupted,
    /// No way worked.
    NoWay {
        /// What each way said.
        attempts: Vec<Attempt>,
        /// The archive to look for.
        archive: String,
    },
    /// Something is missing that slipway could not or may not install.
    StillMissing(Vec<Missing>),
}

display_as_reason!(InstallError);

impl AsReason for InstallError {
    fn reason(&self) -> Reason {
        match self {
            InstallError::Unreachable { url, why } => reason!("install.unreachable", url, why),
            InstallError::NotFound { url } => reason!("install.not_found", url),
            InstallError::NotHttps { url, why } => reason!("install.not_https", url, why),
            InstallError::TooLarge { url, most } => reason!("install.too_large", url, most),
            InstallError::NotVouchedFor { archive, host } => reason!("install.not_vouched_for", archive, host),
            InstallError::Status { url, status, hint: None } => reason!("install.status", url, status),
            InstallError::Status { url, status, hint: Some(hint) } => {
                reason!("install.status_with_hint", url, status, hint)
            }
            InstallError::Cut { url, got, expected: None, why } => reason!("install.cut", url, got, why),
            InstallError::Cut { url, got, expected: Some(expected), why } => {
                reason!("install.cut_before_its_end", url, got, expected, why)
            }
            InstallError::BadAnswer { url, why } => reason!("install.bad_answer", url, why),
            InstallError::NoAsset { asset } => reason!("install.no_asset", version = BUILDKIT_VERSION, asset),
            InstallError::NoDigest { url, asset } => reason!("install.no_digest", url, asset),
            InstallError::WrongDigest { url, expected, actual } => {
                reason!("install.wrong_digest", url, actual, expected)
            }
            InstallError::BrokenArchive { archive, why } => reason!("install.broken_archive", archive, why),
            InstallError::NotBuildkit { archive, missing } => {
                reason!("install.not_buildkit", archive, missing, version = BUILDKIT_VERSION)
            }
            InstallError::DoesNotRun { name, why } => reason!("install.does_not_run", name, why),
            InstallError::NoSpace { doing, path } => reason!("install.no_space", doing, path),
            InstallError::Unwritable { doing, path, why } => reason!("install.unwritable", doing, path, why),
            InstallError::File { doing, path, why } => reason!("install.file", doing, path, why),
            InstallError::NoGo { why } => reason!("install.no_go", why, version = GO_VERSION),
            InstallError::Command { command, how, said } if said.is_empty() => {
                reason!("install.command", command, how)
            }
            InstallError::Command { command, how, said } => {
                reason!("install.command_said", command, how, said = output(said.join("\n    ")))
            }
            InstallError::NoPackageManager => reason!("install.no_package_manager"),
            InstallError::Interrupted => reason!("install.interrupted"),
            InstallError::NoWay { attempts, archive } => no_way(attempts, archive),
            InstallError::StillMissing(missing) => {
                let parts = missing.iter().map(|part| reason!("install.listed_part", part));
                reason!("install.still_missing", parts = Reason::lines(parts))
            }
        }
    }
}

/// A way that was tried.
#[derive(Debug)]
pub struct Attempt {
    /// Which one.
    pub way: Way,
    /// Why it failed.
    pub error: InstallError,
}

impl InstallError {
    /// A failure of a file, told apart by its cause.
    pub(super) fn file(doing: Phrase, path: &Path, why: io::Error) -> InstallError {
        let path = path.to_path_buf();
        match why.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => InstallError::NoSpace { doing, path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                InstallError::Unwritable { doing, path, why }
            }
            _ => InstallError::File { doing, path, why },
        }
    }

    /// Whether another way must not, or cannot, be tried after this: a full disk stays full, and a file that is not
    /// what the release states is for a person to look at.
    pub(super) fn ends_the_search(&self) -> bool {
        matches!(
            self,
            InstallError::WrongDigest { .. }
                | InstallError::NoSpace { .. }
                | InstallError::Unwritable { .. }
                | InstallError::File { .. }
                | InstallError::Interrupted
        )
    }
}

fn no_way(attempts: &[Attempt], archive: &str) -> Reason {
    let attempts = attempts.iter().map(|Attempt { way, error }| reason!("install.listed_attempt", way, error));
    let attempts = Reason::lines(attempts);
    reason!("install.no_way", version = BUILDKIT_VERSION, attempts, archive, go = GO_VERSION)
}
