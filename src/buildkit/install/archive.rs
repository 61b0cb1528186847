//! Way (a): a release archive, from a file or an address; and unpacking, which way (b) shares.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::file_name::file_name;
use super::progress::{Progress, Report};
use super::version::{Version, version_of};
use super::workspace::{Scratch, Workspace, publish};
use super::{InstallError, Options, download};
use crate::domain::reason::{Reason, phrase, reason};
use crate::store::home::Home;

/// A limit against archives that unpack without end; BuildKit and its emulators are a small part of it.
const MOST_BYTES: u64 = 4 << 30;

/// What every official archive holds, in the order in which they are put in place.
const RUNTIME: &str = "buildkit-runc";
const REQUIRED: [&str; 3] = [RUNTIME, "buildkitd", "buildctl"];

/// Installs everything that the archive `from` (a file, or an address) holds. A file is the operator's own; what an
/// address names is checked against slipway's digests, or taken with the operator's consent.
pub(super) async fn install(
    from: &str,
    options: &Options,
    work: &Workspace,
    home: &Home,
    progress: Report<'_>,
) -> Result<(), InstallError> {
    if !from.contains("://") || from.starts_with("file://") {
        let file = Path::new(from.strip_prefix("file://").unwrap_or(from));
        return install_file(file, false, work, home, progress).await;
    }
    let host = download::check_url(from)?.host_str().unwrap_or_default().to_owned();
    let path = from.split(['?', '#']).next().unwrap_or(from);
    let name = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("archive").to_owned();
    let pinned = options.digests.of(&name);
    if pinned.is_none() {
        options.consent(&name, &host).await?;
    }
    let file = work.dir("download")?.join("archive.tar.gz");
    let sha256 = download::fetch(&download::client()?, from, &name, &file, progress).await?;
    if let Some(expected) = pinned.as_ref().filter(|expected| **expected != sha256) {
        let expected = expected.clone();
        return Err(InstallError::WrongDigest { url: from.to_owned(), expected, actual: sha256 });
    }
    progress(Progress::Downloaded { file: name.clone(), sha256, checked: pinned.is_some() });
    // Errors are about what was asked for, not about our copy of it.
    install_file(&file, false, work, home, progress).await.map_err(|error| match error {
        InstallError::BrokenArchive { why, .. } => InstallError::BrokenArchive { archive: from.to_owned(), why },
        InstallError::NotBuildkit { missing, .. } => InstallError::NotBuildkit { archive: from.to_owned(), missing },
        other => other,
    })
}

/// Unpacks `file`, tries what came out, and puts it in place: all of it, or the OCI runtime alone.
pub(super) async fn install_file(
    file: &Path,
    only_runtime: bool,
    work: &Workspace,
    home: &Home,
    progress: Report<'_>,
) -> Result<(), InstallError> {
    progress(Progress::Unpacking { file: file_name(file) });
    let into = work.dir("unpacked")?;
    let (archive, scratch) = (file.to_path_buf(), work.scratch());
    let mut files = tokio::task::spawn_blocking(move || unpack(&archive, &into, &scratch)).await.map_err(|e| {
        InstallError::BrokenArchive { archive: file.display().to_string(), why: Reason::verbatim(e.to_string()) }
    })??;
    if only_runtime {
        files.retain(|path| file_name(path) == RUNTIME);
    }
    try_out(&files).await?;
    publish(&files, home, progress)
}

/// Runs what can be asked for its version, so that an archive for another machine is never put in place.
pub(super) async fn try_out(files: &[PathBuf]) -> Result<(), InstallError> {
    for path in files {
        let name = file_name(path);
        if !REQUIRED.contains(&name.as_str()) && name != "rootlesskit" {
            continue;
        }
        // With emulators registered, a program of another architecture would run, and crawl.
        let broken = match foreign(path) {
            true => Some(reason!("install.another_architecture")),
            false => match version_of(path).await {
                Version::Broken(why) => Some(why),
                Version::Known(_) | Version::Unknown => None,
            },
        };
        if let Some(why) = broken {
            return Err(InstallError::DoesNotRun { name, why });
        }
    }
    Ok(())
}

/// Whether an ELF file is for another kind of processor than this very program. What cannot be read is not judged.
fn foreign(path: &Path) -> bool {
    let head = |path: &Path| {
        let mut head = [0_u8; 20];
        File::open(path).and_then(|mut file| file.read_exact(&mut head)).map(|()| head)
    };
    match (head(path), head(Path::new("/proc/self/exe"))) {
        // Class and byte order are bytes 4 and 5, the machine is bytes 18 and 19 (elf(5)).
        (Ok(it), Ok(own)) if it.starts_with(b"\x7fELF") => it[4..6] != own[4..6] || it[18..20] != own[18..20],
        _ => false,
    }
}

/// Unpacks BuildKit's programs from `bin/` of the archive into `into` and returns their paths, the required ones first.
/// Other entries are passed over: nothing is written outside `into`.
fn unpack(archive: &Path, into: &Path, scratch: &Scratch) -> Result<Vec<PathBuf>, InstallError> {
    let shown = || archive.display().to_string();
    let broken = |e: io::Error| InstallError::BrokenArchive { archive: shown(), why: Reason::verbatim(e.to_string()) };
    let file = File::open(archive).map_err(|e| InstallError::file(phrase!("verb.reading"), archive, e))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(InstallError::BrokenArchive { archive: shown(), why: reason!("install.archive_is_directory") });
    }
    let mut tar = tar::Archive::new(GzDecoder::new(file).take(MOST_BYTES));
    let mut files = Vec::new();
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let Some(name) = entry.path().ok().and_then(|path| program(&path)) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = into.join(&name);
        copy(&mut entry, &path, scratch, &broken)?;
        if !files.contains(&path) {
            files.push(path);
        }
    }
    // Behind the last entry comes the checksum of it all.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
    for required in REQUIRED {
        if !files.contains(&into.join(required)) {
            return Err(InstallError::NotBuildkit { archive: shown(), missing: required });
        }
    }
    let rank = |path: &PathBuf| REQUIRED.iter().position(|name| into.join(name) == *path).map_or(0, |at| at + 1);
    files.sort_by_key(rank);
    Ok(files)
}

/// The name of one of BuildKit's programs, for an entry `bin/NAME`.
fn program(path: &Path) -> Option<String> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let name = path.strip_prefix("bin").ok()?.to_str()?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (plain && (name == "buildctl" || name == "buildkitd" || name.starts_with("buildkit-"))).then(|| name.to_owned())
}

/// Writes one program, looking now and then whether anybody still waits for it.
fn copy(
    from: &mut impl Read,
    to: &Path,
    scratch: &Scratch,
    broken: &impl Fn(io::Error) -> InstallError,
) -> Result<(), InstallError> {
    let failed = |e: io::Error| InstallError::file(phrase!("verb.writing"), to, e);
    let mut file = File::create(to).map_err(failed)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        if scratch.is_abandoned() {
            return Err(InstallError::Interrupted);
        }
        let n = from.read(&mut buffer).map_err(broken)?;
        if n == 0 {
            break;
        }
        file.write_all(&buffer[..n]).map_err(failed)?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_of_buildkit_under_bin_are_taken() {
        let name = |path: &str| program(Path::new(path));
        assert_eq!(name("bin/buildctl").as_deref(), Some("buildctl"));
        assert_eq!(name("./bin/buildkit-qemu-aarch64").as_deref(), Some("buildkit-qemu-aarch64"));
        for other in ["bin", "bin/", "bin/../buildctl", "/bin/buildctl", "bin/sub/buildctl", "bin/sh", "buildctl"] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    #[test]
    fn a_program_for_another_processor_is_told_by_its_head() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("buildctl");
        let mut head = std::fs::read("/proc/self/exe").unwrap()[..64].to_vec();
        std::fs::write(&path, &head).unwrap();
        assert!(!foreign(&path));
        head[18] ^= 0x55;
        std::fs::write(&path, &head).unwrap();
        assert!(foreign(&path));
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(!foreign(&path));
    }
}
