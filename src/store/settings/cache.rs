//! The repositories of the settings as they were last parsed, in `settings.cache`: a start of ten thousand repositories reads
//! one file.
//!
//! The TOML files are the truth. An entry is believed where its file's stamp is the same, and the cache as a whole where it
//! was written by this very program; one that is damaged, or that another user may have written, is none. It may be deleted
//! at any time.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::loader::has_problem;
use super::stamps::{Stamp, Stamps};
use crate::domain::name::RepositoryPath;
use crate::domain::repository::Repository;
use crate::domain::settings::Settings;
use crate::store::{Home, trust};
use crate::sys::atomic;
use crate::sys::parallel::in_parallel;

/// A file that changed this short a time before it was read may have been changed again without another stamp: the
/// system's clock for files has ticks.
const TICK: Duration = Duration::from_secs(1);

/// The first line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// The program that wrote the cache: another one may read the same files otherwise.
    program: Stamp,
    /// CRC-32 of all that follows.
    checksum: u32,
}

/// One of the other lines: a repository as its file was read, and how that was.
type Entry<R> = (RepositoryPath, Stamp, R);

/// The repositories that the cache has as their files are now, and how the files of all that it has were; nothing where
/// there is no sound cache.
pub(super) fn load(home: &Home, now: &Stamps) -> (Settings, Stamps) {
    let entries = read(home).unwrap_or_default();
    let (mut settings, mut stamps) = (Settings::default(), Stamps::default());
    let (mut namespace, mut directory) = (String::new(), PathBuf::new());
    let mut repositories = Vec::with_capacity(entries.len());
    for (path, stamp, repository) in entries {
        if path.namespace != namespace {
            namespace.clone_from(&path.namespace);
            directory = home.namespaces_dir().join(&namespace);
        }
        stamps.add(&directory, &path.repository, stamp);
        // What another one was read as may be older than its last good copy.
        if now.directory(&directory).and_then(|now| now.get(&path.repository)) == Some(stamp) {
            repositories.push((path, repository));
        }
    }
    settings.repositories = repositories.into_iter().collect();
    (settings, stamps)
}

fn read(home: &Home) -> Option<Vec<Entry<Repository>>> {
    let file = home.settings_cache();
    trust::check_settings(&file).ok()?;
    let text = fs::read_to_string(file).ok()?;
    let (head, body) = text.split_once('\n')?;
    let head: Head = serde_json::from_str(head).ok()?;
    if head != (Head { program: program()?, checksum: checksum(body) }) {
        return None;
    }
    let lines: Vec<&str> = body.lines().collect();
    let parsed = in_parallel(&lines, |lines| {
        lines.iter().map(|line| serde_json::from_str(line).ok()).collect::<Option<Vec<_>>>()
    });
    let parsed: Option<Vec<Vec<_>>> = parsed.into_iter().collect();
    Some(parsed?.into_iter().flatten().collect())
}

/// What is to be kept of settings whose files had these stamps when reading them `began`; none where the cache has just
/// that already, which is where it was read from.
pub(super) fn outdated(
    home: &Home,
    settings: &Settings,
    stamps: &Stamps,
    cached: &Stamps,
    began: SystemTime,
) -> Option<String> {
    let rested = |stamp: &Stamp| {
        let changed = u64::try_from(stamp.changed.0).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(changed) + 2 * TICK <= began
    };
    let mut are_known = true;
    let mut kept: Vec<Entry<&Repository>> = Vec::new();
    let (mut namespace, mut files) = ("", None);
    for (path, repository) in &settings.repositories {
        if path.namespace != namespace {
            namespace = &path.namespace;
            let directory = home.namespaces_dir().join(namespace);
            files = stamps.directory(&directory).map(|files| (files, cached.directory(&directory)));
        }
        let Some((now, known)) = files else { continue };
        let Some(stamp) = now.get(&path.repository).filter(rested) else { continue };
        if !settings.problems.is_empty() && has_problem(settings, &home.repository_file(namespace, &path.repository)) {
            continue;
        }
        are_known &= known.and_then(|known| known.get(&path.repository)) == Some(stamp);
        kept.push((path.clone(), stamp, repository));
    }
    if kept.len() == cached.count() && are_known {
        return None;
    }
    let mut body = String::new();
    for entry in kept {
        body.push_str(&serde_json::to_string(&entry).ok()?);
        body.push('\n');
    }
    let head = serde_json::to_string(&Head { program: program()?, checksum: checksum(&body) }).ok()?;
    Some(format!("{head}\n{body}"))
}

/// Keeps a cache. Without it the next start reads all files.
pub(super) fn keep(home: &Home, text: &str) {
    let file = home.settings_cache();
    if let Err(error) = atomic::write(&file, text.as_bytes(), atomic::PRIVATE) {
        tracing::warn!("{error}");
    }
}

fn program() -> Option<Stamp> {
    fs::metadata("/proc/self/exe").ok().map(|meta| Stamp::of(&meta))
}

fn checksum(text: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}
