//! Builds on disk: their records, and which of them are not final.
//!
//! `builds/<id>/open` exists from before a build is queued until after its final record is written, so that a starting pool
//! finds what it has to carry on with without reading ten thousand records.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::read::{self, ReadError};
use super::{Home, schema};
use crate::domain::build::{Build, BuildId};
use crate::sys::atomic;

/// The file's name of a build's record.
pub const RECORD: &str = "build.toml";
/// The file's name of a build's output.
pub const LOG: &str = "log";
/// The file's name of a build's steps.
pub const STEPS: &str = "steps.toml";
/// The file's name of the runner's work.
pub const JOB: &str = "job.toml";
/// The file's name of what a runner leaves behind.
pub const RESULT: &str = "result.toml";
/// The file's name of a runner's process.
pub const RUNNER: &str = "runner.toml";
/// Exists while a build is not final.
const OPEN: &str = "open";

/// All builds of a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Every build's number.
    pub ids: BTreeSet<BuildId>,
    /// Those that are not final.
    pub open: BTreeSet<BuildId>,
}

/// Lists the builds of a home without reading any.
///
/// # Errors
/// When the directory can't be listed.
pub fn list(home: &Home) -> io::Result<Listing> {
    let ids: BTreeSet<BuildId> = ids(home)?.into_iter().collect();
    let open = ids.iter().filter(|id| home.build_dir(id.0).join(OPEN).exists()).copied().collect();
    Ok(Listing { ids, open })
}

/// The numbers of the builds of a home, in no order.
///
/// # Errors
/// When the directory can't be listed.
pub fn ids(home: &Home) -> io::Result<Vec<BuildId>> {
    let entries = match fs::read_dir(home.builds_dir()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        // `7`, not `007`: a number has one directory.
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && !name.starts_with('0');
        ids.extend(name.parse().ok().filter(|_| is_number).map(BuildId));
    }
    Ok(ids)
}

/// The newest attempt of a build that has output; 1 where none has any.
pub fn newest_with_output(home: &Home, id: BuildId) -> u32 {
    let entries = fs::read_dir(home.attempts_dir(id.0)).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_output = |attempt: &u32| home.attempt_dir(id.0, *attempt).join(LOG).exists();
    numbers.filter(has_output).max().unwrap_or(1)
}

/// Whether a build is marked as open.
pub fn is_open(home: &Home, id: BuildId) -> bool {
    home.build_dir(id.0).join(OPEN).exists()
}

/// Makes a build's directory, marked as open.
///
/// # Errors
/// When it can't be made, or is there already.
pub fn create(home: &Home, id: BuildId) -> io::Result<PathBuf> {
    atomic::create_dir_all(&home.builds_dir())?;
    let directory = home.build_dir(id.0);
    fs::create_dir(&directory)?;
    fs::File::create(directory.join(OPEN))?;
    // The record brings what is in the directory to the disk, and this the directory itself.
    fs::File::open(home.builds_dir())?.sync_all()?;
    Ok(directory)
}

/// Marks a build as final. Its record must say so already.
///
/// # Errors
/// When the mark can't be removed.
pub fn close(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(OPEN)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Reads a build's record.
///
/// # Errors
/// When there is none, or it does not parse.
pub fn load(home: &Home, id: BuildId) -> Result<Build, ReadError> {
    read::load(&home.build_dir(id.0).join(RECORD))
}

/// Writes a file that only slipway writes: a record, a job, a result, the steps.
///
/// # Errors
/// When it can't be written whole.
pub fn save<T: Serialize>(file: &Path, value: &T) -> Result<(), atomic::WriteError> {
    atomic::write(file, text_of(value).as_bytes(), atomic::PRIVATE)
}

/// Writes a file that means nothing after a reboot, such as the job of a running build, without waiting for the disk.
///
/// # Errors
/// When it can't be written whole.
pub fn save_volatile<T: Serialize>(file: &Path, value: &T) -> Result<(), atomic::WriteError> {
    atomic::write_volatile(file, text_of(value).as_bytes(), atomic::PRIVATE)
}

fn text_of<T: Serialize>(value: &T) -> String {
    let body = toml::to_string(value).expect("records hold nothing that TOML can't");
    format!("schema = {}\n{body}", schema::CURRENT)
}

/// Reads what [`save`] wrote; none where there is no such file.
///
/// # Errors
/// When it does not parse.
pub fn load_if_there<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, ReadError> {
    if !file.exists() {
        return Ok(None);
    }
    read::load(file).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::sample;

    #[test]
    fn a_build_is_open_from_its_directory_on_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let directory = create(&home, BuildId(7)).unwrap();
        save(&directory.join(RECORD), &sample()).unwrap();
        fs::create_dir(home.builds_dir().join("007")).unwrap();
        let seven = BTreeSet::from([BuildId(7)]);
        assert_eq!(list(&home).unwrap(), Listing { ids: seven.clone(), open: seven.clone() });
        assert_eq!(load(&home, BuildId(7)).unwrap(), sample());
        close(&directory).unwrap();
        close(&directory).unwrap();
        assert_eq!(list(&home).unwrap(), Listing { ids: seven, open: BTreeSet::new() });
        assert!(create(&home, BuildId(7)).is_err(), "a number is given once");
    }

    #[test]
    fn the_newest_output_is_that_of_the_last_attempt_that_has_some() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let id = BuildId(7);
        assert_eq!((newest_with_output(&home, id), home.attempt_dir(7, 1)), (1, home.build_dir(7)));
        for attempt in [2, 3, 10] {
            fs::create_dir_all(home.attempt_dir(7, attempt)).unwrap();
        }
        for attempt in [2, 3] {
            fs::write(home.attempt_dir(7, attempt).join(LOG), "").unwrap();
        }
        assert_eq!(newest_with_output(&home, id), 3);
    }

    #[test]
    fn a_record_is_replaced_whatever_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(RECORD);
        fs::write(&file, "not toml").unwrap();
        save(&file, &sample()).unwrap();
        assert_eq!(read::load::<Build>(&file).unwrap(), sample());
    }
}
