//! What the pool hands a runner on its standard input, once its process is on record: the values of secrets, which
//! stand in no file, no argument and no environment but that of `buildctl`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// The most that a runner reads: every secret of a rule and its namespace, as long as they may be, in JSON.
const LONGEST: u64 = 32 * 1024 * 1024;

/// The values of a build's secrets.
#[derive(Default, Serialize, Deserialize)]
pub struct Handover {
    /// The credential of a source that the builder fetches itself.
    pub source: Option<String>,
    /// By id: those that the job names.
    pub secrets: BTreeMap<String, String>,
}

impl Handover {
    /// Writes it. What is cut off, because the pool died, does not read.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        to.write_all(&text)?;
        to.flush()
    }

    /// Reads it to the end; none where it was cut off or never came.
    ///
    /// # Errors
    /// When the pipe can't be read.
    pub fn read(from: impl Read) -> io::Result<Option<Handover>> {
        let mut text = Vec::new();
        from.take(LONGEST).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_anywhere_begins_no_build() {
        let secrets = [("npm".to_owned(), "line 1\nline \"2\" 版\u{1}".to_owned())].into();
        let handover = Handover { source: Some("t0ken".into()), secrets };
        let mut whole = Vec::new();
        handover.write(&mut whole).unwrap();
        for length in 0..whole.len() {
            assert!(Handover::read(&whole[..length]).unwrap().is_none(), "{length}");
        }
        let read = Handover::read(&whole[..]).unwrap().unwrap();
        assert_eq!(read.secrets, handover.secrets);
        assert_eq!(read.source, handover.source);
    }
}
