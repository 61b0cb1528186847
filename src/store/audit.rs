//! `audit.log`: one line of JSON for each change, only ever appended to.
//!
//! Each line is on the disk before the requester hears the answer. A log that grew long is put aside as `audit.log.1`,
//! older ones as `.2` to `.10`; the oldest is dropped. Writers of one home take turns by a lock, whose file also holds
//! the last number and the length that the log had after it: one that was written by a process which was killed then is
//! found in the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::Utc;

use super::Home;
use crate::domain::audit::{AuditEntry, AuditEvent, AuditPage, AuditQuery};
use crate::domain::reason::{AsReason, Reason, display_as_reason, reason};
use crate::log::sanitize::is_hidden;
use crate::sys::atomic;
use crate::sys::lock;

/// A longer log, in bytes, is put aside before the next line.
const LONGEST: u64 = 8 << 20;
/// So many logs that were put aside are kept.
const KEPT: u32 = 10;
/// No page holds more entries.
pub const LARGEST_PAGE: usize = 1_000;
/// No page is longer, in bytes of the log.
const LONGEST_PAGE: usize = 2 << 20;

/// An entry that could not be written.
#[derive(Debug, thiserror::Error)]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

display_as_reason!(AuditError);

impl AsReason for AuditError {
    fn reason(&self) -> Reason {
        let AuditError { path, source } = self;
        reason!("audit.audit", path, source)
    }
}

/// Appends an entry and brings it to the disk; its number.
///
/// # Errors
/// When it can't be written. The line may be there in part: the next entry begins a new one.
pub fn append(home: &Home, event: AuditEvent) -> Result<u64, AuditError> {
    let path = home.audit_log();
    write(home, &path, event).map_err(|source| AuditError { path, source })
}

fn write(home: &Home, path: &Path, event: AuditEvent) -> io::Result<u64> {
    atomic::make_dirs(home.state_dir())?;
    let turn = lock::exclusive(&home.audit_lock())?;
    put_aside(path)?;
    let mut log = OpenOptions::new().read(true).append(true).create(true).mode(atomic::PRIVATE).open(path)?;
    let id = last_id(turn.file(), path, log.metadata()?.len()) + 1;
    let mut line = String::new();
    if !ends_with_newline(&mut log)? {
        // A writer died, or the disk was full: that line is damaged, this one is not.
        line.push('\n');
    }
    line.push_str(&harmless(&serde_json::to_string(&event.at(id, Utc::now()))?));
    line.push('\n');
    log.write_all(line.as_bytes())?;
    log.sync_data()?;
    // Only speed depends on it: a number that is not there is found in the log.
    let _ = turn.file().write_all_at(format!("{id:020} {:020}\n", log.metadata()?.len()).as_bytes(), 0);
    Ok(id)
}

fn ends_with_newline(log: &mut File) -> io::Result<bool> {
    if log.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    log.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    log.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The number of the last entry: as the lock's file says, if it was written at this length of the log, else as the logs
/// do.
fn last_id(lock: &File, path: &Path, length: u64) -> u64 {
    let noted = noted(lock).filter(|(_, at)| *at == length).map(|(id, _)| id);
    noted.unwrap_or_else(|| {
        let newest = |file: PathBuf| {
            let lines = lines(File::open(file).ok()?).ok()?;
            lines.iter().rev().find_map(|line| parse(line)).map(|entry| entry.id)
        };
        newest(path.to_owned()).or_else(|| newest(aside(path, 1))).unwrap_or(0)
    })
}

/// The last number, and the log's length after it.
fn noted(lock: &File) -> Option<(u64, u64)> {
    let mut text = [0; 41];
    lock.read_exact_at(&mut text, 0).ok()?;
    let (id, length) = std::str::from_utf8(&text).ok()?.split_once(' ')?;
    Some((id.parse().ok()?, length.parse().ok()?))
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn put_aside(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > LONGEST => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(()),
    }
    for number in (1..KEPT).rev() {
        match fs::rename(aside(path, number), aside(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, aside(path, 1))
}

/// JSON with the characters escaped that would steer a terminal or hide in it: people read the file with
/// `cat`.
fn harmless(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_control() || is_hidden(character) {
            // All of them stand inside of strings: JSON itself is ASCII, and serde_json writes no white space.
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(character);
        }
    }
    safe
}

/// The page of the log that is asked for, the newest entry first. Lines that are damaged are passed over.
///
/// # Errors
/// When a log can't be read.
pub fn page(home: &Home, query: &AuditQuery) -> io::Result<AuditPage> {
    let path = home.audit_log();
    let limit = query.limit.clamp(1, LARGEST_PAGE);
    let mut page = AuditPage::default();
    let mut bytes = 0;
    for file in open_all(home, &path)? {
        for line in lines(file)?.iter().rev() {
            let Some(entry) = parse(line) else { continue };
            if query.since.is_some_and(|since| entry.at < since) && query.before.is_none_or(|before| entry.id < before)
            {
                // Older ones only follow.
                return Ok(page);
            }
            if !query.takes(&entry) {
                continue;
            }
            if page.entries.len() == limit || bytes > LONGEST_PAGE {
                page.next = page.entries.last().map(|entry| entry.id);
                return Ok(page);
            }
            bytes += line.len();
            page.entries.push(entry);
        }
    }
    Ok(page)
}

/// The logs that are there, the newest first. While they are opened none is put aside, which would list it twice or
/// never.
fn open_all(home: &Home, path: &Path) -> io::Result<Vec<File>> {
    let _turn = match lock::shared(&home.audit_lock()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut files = Vec::new();
    for file in std::iter::once(path.to_owned()).chain((1..=KEPT).map(|number| aside(path, number))) {
        match File::open(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => files.push(other?),
        }
    }
    Ok(files)
}

/// A log's lines. Not more than a writer puts into one, were it longer.
fn lines(mut file: File) -> io::Result<Vec<String>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(2 * LONGEST)))?;
    let mut bytes = Vec::new();
    file.take(2 * LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}

fn parse(line: &str) -> Option<AuditEntry> {
    serde_json::from_str(line).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::audit::Outcome;
    use crate::domain::requester::Requester;

    fn event(object: &str) -> AuditEvent {
        let by = Requester { name: "kim".into(), uid: Some(1000), login: None };
        AuditEvent {
            by,
            verb: "rule.edit".into(),
            object: object.into(),
            outcome: Outcome::Done,
            detail: Reason::default(),
            changes: Vec::new(),
        }
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        (dir, home)
    }

    fn objects(page: &AuditPage) -> Vec<&str> {
        page.entries.iter().map(|entry| entry.object.as_str()).collect()
    }

    #[test]
    fn entries_are_numbered_private_and_read_in_pages_the_newest_first() {
        let (_dir, home) = home();
        for number in 1..=5 {
            assert_eq!(append(&home, event(&format!("acme/api rule r{number}"))).unwrap(), number);
        }
        append(&home, event("other/thing")).unwrap();
        for file in [home.audit_log(), home.audit_lock()] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let mut query = AuditQuery { object: Some("acme/api".into()), limit: 2, ..AuditQuery::default() };
        let first = page(&home, &query).unwrap();
        assert_eq!((objects(&first), first.next), (vec!["acme/api rule r5", "acme/api rule r4"], Some(4)));
        query.before = first.next;
        query.limit = 3;
        let last = page(&home, &query).unwrap();
        assert_eq!((last.entries.len(), last.next), (3, None));
        assert_eq!(
            page(&home, &AuditQuery { by: Some("ann".into()), limit: 9, ..AuditQuery::default() }).unwrap().entries,
            []
        );
        assert_eq!(
            page(&home, &AuditQuery { since: Some(Utc::now()), limit: 9, ..AuditQuery::default() }).unwrap().entries,
            []
        );
    }

    #[test]
    fn a_line_that_broke_off_damages_no_other() {
        let (_dir, home) = home();
        append(&home, event("one")).unwrap();
        let mut log = OpenOptions::new().append(true).open(home.audit_log()).unwrap();
        log.write_all(b"{\"id\":2,\"at\":").unwrap();
        fs::remove_file(home.audit_lock()).unwrap();
        assert_eq!(append(&home, event("two")).unwrap(), 2);
        let page = page(&home, &AuditQuery { limit: 10, ..AuditQuery::default() }).unwrap();
        assert_eq!(objects(&page), ["two", "one"]);
    }

    #[test]
    fn a_writer_that_was_killed_before_it_noted_its_number_leads_to_none_twice() {
        let (_dir, home) = home();
        append(&home, event("one")).unwrap();
        let note = fs::read(home.audit_lock()).unwrap();
        append(&home, event("two")).unwrap();
        fs::write(home.audit_lock(), note).unwrap();
        assert_eq!(append(&home, event("three")).unwrap(), 3);
        assert_eq!(append(&home, event("four")).unwrap(), 4);
    }

    #[test]
    fn a_home_without_a_log_has_no_entries() {
        let (dir, home) = home();
        drop(dir);
        assert_eq!(page(&home, &AuditQuery { limit: 1, ..AuditQuery::default() }).unwrap().entries, []);
    }

    #[test]
    fn a_long_log_is_put_aside_ten_are_kept_and_all_are_read() {
        let (_dir, home) = home();
        for number in 0..14 {
            append(&home, event(&format!("n{number}"))).unwrap();
            // A hole: a long line that is no entry.
            let log = OpenOptions::new().append(true).open(home.audit_log()).unwrap();
            log.set_len(LONGEST + 1).unwrap();
        }
        assert!(aside(&home.audit_log(), KEPT).exists() && !aside(&home.audit_log(), KEPT + 1).exists());
        let page = page(&home, &AuditQuery { limit: 100, ..AuditQuery::default() }).unwrap();
        assert_eq!((page.entries.len(), page.entries[10].object.as_str()), (11, "n3"));
    }

    #[test]
    fn nothing_in_the_file_steers_a_terminal_and_the_entry_is_read_as_it_was() {
        let (_dir, home) = home();
        let nasty = "a\u{1b}[2J\u{9b}2J\u{202e}b\u{200b}\u{e0041}\nc\u{2028}";
        append(&home, event(nasty)).unwrap();
        let text = fs::read_to_string(home.audit_log()).unwrap();
        assert!(text.trim_end().chars().all(|c| (' '..='~').contains(&c)), "{text:?}");
        let page = page(&home, &AuditQuery { limit: 1, ..AuditQuery::default() }).unwrap();
        assert_eq!(page.entries[0].object, nasty);
    }

    #[test]
    fn a_page_is_bounded_in_entries_and_in_bytes() {
        let (_dir, home) = home();
        let big = AuditEvent { object: "x".repeat(600_000), ..event("") };
        for _ in 0..6 {
            append(&home, big.clone()).unwrap();
        }
        let page = page(&home, &AuditQuery { limit: usize::MAX, ..AuditQuery::default() }).unwrap();
        assert_eq!((page.entries.len(), page.next), (4, Some(3)));
    }
}
