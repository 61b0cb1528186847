//! `deliveries`: digests of the webhook bodies that were believed, so that none is believed twice, after a restart
//! either.
//!
//! A line each: the digest, and when the body is too old to be believed anyway (seconds since 1970; `-` where its
//! platform signs no time).

use std::collections::{HashSet, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::Home;
use crate::sys::atomic;

/// How many bodies are remembered: the oldest are forgotten first.
const MOST: usize = 32_768;
/// The file is written again when it has so many lines that are remembered no more.
const SUPERFLUOUS: usize = MOST;

/// The first half of a body's SHA-256.
type Short = [u8; 16];

/// The bodies that were believed.
pub struct Deliveries {
    file: PathBuf,
    known: HashSet<Short>,
    /// In the order in which they came, with the time from which they are too old.
    order: VecDeque<(Short, Option<i64>)>,
    /// The lines of the file.
    lines: usize,
}

impl Deliveries {
    /// Reads what earlier pools believed.
    ///
    /// # Errors
    /// When the file can't be read. One that is not there is empty.
    pub fn open(home: &Home) -> io::Result<Deliveries> {
        let file = home.state_dir().join("deliveries");
        let text = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text?,
        };
        let mut deliveries = Deliveries { file, known: HashSet::new(), order: VecDeque::new(), lines: 0 };
        let text = String::from_utf8_lossy(&text);
        for (digest, until) in text.lines().filter_map(parse) {
            deliveries.insert(digest, until);
        }
        deliveries.lines = text.lines().count();
        if !text.is_empty() && !text.ends_with('\n') {
            // A pool that was killed left half a line.
            deliveries.write_anew(Utc::now())?;
        }
        Ok(deliveries)
    }

    /// Remembers a body for good; false where it was known already. From `until` on it is too old to be believed.
    ///
    /// # Errors
    /// When it can't be written: then it must not be believed.
    pub fn remember(&mut self, body: &[u8], until: Option<DateTime<Utc>>) -> io::Result<bool> {
        let mut digest = Short::default();
        digest.copy_from_slice(&Sha256::digest(body)[..16]);
        if self.known.contains(&digest) {
            return Ok(false);
        }
        if self.lines >= MOST + SUPERFLUOUS {
            self.write_anew(Utc::now())?;
        }
        let until = until.map(|until| until.timestamp());
        let mut file = OpenOptions::new().create(true).append(true).mode(atomic::PRIVATE).open(&self.file)?;
        file.write_all(line(&digest, until).as_bytes())?;
        file.sync_data()?;
        self.lines += 1;
        self.insert(digest, until);
        Ok(true)
    }

    fn insert(&mut self, digest: Short, until: Option<i64>) {
        if !self.known.insert(digest) {
            return;
        }
        self.order.push_back((digest, until));
        if self.order.len() > MOST
            && let Some((oldest, _)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Leaves out what is too old.
    fn write_anew(&mut self, now: DateTime<Utc>) -> io::Result<()> {
        self.order.retain(|(_, until)| until.is_none_or(|until| until >= now.timestamp()));
        self.known = self.order.iter().map(|(digest, _)| *digest).collect();
        let text: String = self.order.iter().map(|(digest, until)| line(digest, *until)).collect();
        atomic::write(&self.file, text.as_bytes(), atomic::PRIVATE)?;
        self.lines = self.order.len();
        Ok(())
    }
}

fn line(digest: &Short, until: Option<i64>) -> String {
    let until = until.map_or_else(|| "-".to_owned(), |until| until.to_string());
    format!("{} {until}\n", hex::encode(digest))
}

fn parse(line: &str) -> Option<(Short, Option<i64>)> {
    let (digest, until) = line.split_once(' ')?;
    let until = if until == "-" { None } else { Some(until.parse().ok()?) };
    Some((hex::decode(digest).ok()?.try_into().ok()?, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_new_once_however_often_the_pool_starts() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let later = Some(Utc::now() + chrono::TimeDelta::hours(1));
        let mut deliveries = Deliveries::open(&home).unwrap();
        assert!(deliveries.remember(b"one", None).unwrap() && deliveries.remember(b"two", later).unwrap());
        assert!(!deliveries.remember(b"one", None).unwrap());
        // Killed in the middle of a line.
        let file = home.state_dir().join("deliveries");
        let mut text = fs::read_to_string(&file).unwrap();
        text.push_str("0123");
        fs::write(&file, text).unwrap();
        let mut deliveries = Deliveries::open(&home).unwrap();
        assert!(deliveries.remember(b"three", None).unwrap());
        let mut deliveries = Deliveries::open(&home).unwrap();
        for known in [&b"one"[..], b"two", b"three"] {
            assert!(!deliveries.remember(known, None).unwrap());
        }
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let old = |number: usize| line(&u128::to_be_bytes(number as u128), Some(1));
        let text: String = (0..MOST + SUPERFLUOUS).map(old).collect();
        fs::write(home.state_dir().join("deliveries"), text).unwrap();
        let mut deliveries = Deliveries::open(&home).unwrap();
        assert_eq!(deliveries.order.len(), MOST);
        assert!(deliveries.remember(b"new", None).unwrap());
        assert_eq!((deliveries.order.len(), deliveries.lines), (1, 1), "what was too old is gone");
    }
}
