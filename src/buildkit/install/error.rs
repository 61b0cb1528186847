//! Why an installation failed, one variant a cause.

use std::io;
use std::path::{Path, PathBuf};

use super::missing::Missing;
use super::progress::Way;
use super::version::{BUILDKIT_VERSION, GO_VERSION};

/// Why BuildKit, or a part of it, could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No answer from a server.
    #[error("cannot reach {url}: {why}")]
    Unreachable {
        /// The address.
        url: String,
        /// What the connection said.
        why: String,
    },
    /// The server does not have it.
    #[error("{url} does not exist (404 Not Found); check the address")]
    NotFound {
        /// The address.
        url: String,
    },
    /// An address that programs must not come from.
    #[error("{url} is not taken: {why}; name an https:// address (http:// only on this machine's loopback)")]
    NotHttps {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// An answer without end.
    #[error("{url} sent more than {most} bytes, far more than what was asked for takes; nothing was installed")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit.
        most: u64,
    },
    /// Nothing but TLS vouches for the archive, and nobody said that this will do.
    #[error(
        "this slipway knows no digest of {archive}, so nothing but the TLS connection to {host} would vouch for what is \
         then run; `slipway setup --trust-tls` takes it all the same, `slipway setup --from FILE` takes an archive that \
         you checked"
    )]
    NotVouchedFor {
        /// The archive.
        archive: String,
        /// Where it would come from.
        host: String,
    },
    /// The server refuses or is broken.
    #[error("{url} answered {status}{hint}")]
    Status {
        /// The address.
        url: String,
        /// Status code and its name.
        status: String,
        /// What to do, with its own punctuation; may be empty.
        hint: String,
    },
    /// The transfer ended before the file did.
    #[error("the download of {url} was cut after {got} bytes{}: {why}; run it again", of(*.expected))]
    Cut {
        /// The address.
        url: String,
        /// Bytes that came.
        got: u64,
        /// Bytes announced.
        expected: Option<u64>,
        /// What the connection said.
        why: String,
    },
    /// The releases API answered with something else than a release.
    #[error("{url} does not describe a release: {why}; SLIPWAY_RELEASES_URL must name a releases API like GitHub's")]
    BadAnswer {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The release has no archive for this machine.
    #[error("the release {BUILDKIT_VERSION} has no archive for this machine ({asset})")]
    NoAsset {
        /// The archive looked for.
        asset: String,
    },
    /// The releases API states no digest to check against.
    #[error(
        "{url} states no SHA-256 digest for {asset}, so the download could not be checked; to install an archive \
         that you trust, use `slipway setup --from FILE`"
    )]
    NoDigest {
        /// The address asked.
        url: String,
        /// The archive.
        asset: String,
    },
    /// What came is not what the release says.
    #[error(
        "{url} is not the file that the release describes: its SHA-256 is {actual}, not {expected}; nothing was \
         installed. A proxy or mirror may have changed it: try again, or another network"
    )]
    WrongDigest {
        /// Where it came from.
        url: String,
        /// The digest that the release states.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// The archive is cut short, damaged or not a .tar.gz.
    #[error("{archive} is not a whole .tar.gz archive: {why}")]
    BrokenArchive {
        /// The archive.
        archive: String,
        /// What the unpacker said.
        why: String,
    },
    /// The archive holds something else.
    #[error(
        "{archive} does not hold {missing} under bin/; an official archive is called \
         buildkit-{BUILDKIT_VERSION}.linux-ARCH.tar.gz"
    )]
    NotBuildkit {
        /// The archive.
        archive: String,
        /// The first binary that it lacks.
        missing: &'static str,
    },
    /// A new binary does not run on this machine.
    #[error("the new {name} does not run on this machine: {why}; nothing was installed")]
    DoesNotRun {
        /// The binary.
        name: String,
        /// What it said.
        why: String,
    },
    /// The disk is full.
    #[error("no space left while {doing} {}; free some on that disk and run it again", .path.display())]
    NoSpace {
        /// What was being done.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
    },
    /// The directory cannot be written.
    #[error("{doing} {} is not permitted ({why}); give yourself the directory, or set SLIPWAY_HOME to another", .path.display())]
    Unwritable {
        /// What was being done.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Another failure of a file.
    #[error("{doing} {} failed: {why}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// There is no Go, or one that cannot fetch the version needed.
    #[error("{why}; install Go {} or newer (https://go.dev/dl)", GO_VERSION)]
    NoGo {
        /// What was found.
        why: String,
    },
    /// A command failed.
    #[error("`{command}` {how}{}", quoted(.said))]
    Command {
        /// The command, as one would type it.
        command: String,
        /// How it ended.
        how: String,
        /// The last lines that it printed.
        said: Vec<String>,
    },
    /// No package manager that slipway knows.
    #[error("no package manager that slipway knows (apt-get, dnf, apk, pacman, zypper)")]
    NoPackageManager,
    /// It was told to stop.
    #[error("interrupted; nothing was installed by halves, and `slipway setup` starts again")]
    Interrupted,
    /// No way worked.
    #[error("{}", no_way(.attempts, .archive))]
    NoWay {
        /// What each way said.
        attempts: Vec<Attempt>,
        /// The archive to look for.
        archive: String,
    },
    /// Something is missing that slipway could not or may not install.
    #[error("{}", still_missing(.0))]
    StillMissing(Vec<Missing>),
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
    pub(super) fn file(doing: &'static str, path: &Path, why: io::Error) -> InstallError {
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

fn of(expected: Option<u64>) -> String {
    expected.map(|bytes| format!(" of {bytes}")).unwrap_or_default()
}

fn quoted(said: &[String]) -> String {
    if said.is_empty() { String::new() } else { format!(":\n    {}", said.join("\n    ")) }
}

fn no_way(attempts: &[Attempt], archive: &str) -> String {
    let mut text = format!("BuildKit {BUILDKIT_VERSION} could not be installed:");
    for attempt in attempts {
        text += &format!("\n  {}: {}", attempt.way, attempt.error);
    }
    text + &format!(
        "\nWhat to do: fetch {archive} from https://github.com/moby/buildkit/releases where that can be reached, and \
         run `slipway setup --from FILE`; or install Go {} or newer and run `slipway setup` again; or set \
         SLIPWAY_RELEASES_URL to a mirror of the releases API",
        GO_VERSION
    )
}

fn still_missing(missing: &[Missing]) -> String {
    let mut text = "still missing:".to_owned();
    for part in missing {
        text += &format!("\n  {part}");
    }
    text
}
