//! What is to be told to others, on disk until they have it: `outbox/<name>.toml`.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::builds::save;
use super::read::{self, ReadError};
use super::{Home, builds};
use crate::domain::build::BuildState;
use crate::domain::outbox::Message;
use crate::sys::atomic::{self, WriteError};

/// Where it is.
pub fn directory(home: &Home) -> PathBuf {
    home.state_dir().join("outbox")
}

fn file(home: &Home, message: &Message) -> PathBuf {
    directory(home).join(format!("{}.toml", message.name()))
}

/// Keeps a message until it is removed.
///
/// # Errors
/// When it can't be written whole.
pub fn put(home: &Home, message: &Message) -> Result<(), WriteError> {
    atomic::create_dir_all(&directory(home))?;
    save(&file(home, message), message)
}

/// Forgets a message; one that is not there is as good.
///
/// # Errors
/// When it can't be removed.
pub fn remove(home: &Home, message: &Message) -> Result<(), WriteError> {
    atomic::remove(&file(home, message))
}

/// All messages, the oldest first, and what is wrong with the files that hold none.
///
/// # Errors
/// When the directory can't be listed.
pub fn load(home: &Home) -> io::Result<(Vec<Message>, Vec<ReadError>)> {
    let entries = match fs::read_dir(directory(home)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        entries => entries?,
    };
    let (mut messages, mut problems) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        match read::load::<Message>(&path) {
            Ok(message) => messages.push(message),
            Err(error) => problems.push(error),
        }
    }
    messages.sort_by_key(|message| (message.at, message.build, message.state));
    Ok((messages, problems))
}

/// Removes what writers that are gone left half-written, and what tells of builds that were never recorded.
///
/// # Errors
/// When the outbox can't be listed, or a file can't be removed.
pub fn clean(home: &Home) -> Result<(), WriteError> {
    atomic::clean(&directory(home))?;
    let Ok((messages, _)) = load(home) else { return Ok(()) };
    // Only the first word of a build is written before its record; one whose record is deleted later was a build all the same.
    let never_was = |message: &&Message| {
        message.state == BuildState::Queued && !home.build_dir(message.build.0).join(builds::RECORD).exists()
    };
    messages.iter().filter(never_was).try_for_each(|message| remove(home, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::{BuildId, sample};
    use crate::domain::notification::Event;
    use crate::domain::outbox::Content;

    fn message(build: u64, state: BuildState, event: Event) -> Message {
        Message {
            id: format!("{build}"),
            at: chrono::DateTime::UNIX_EPOCH,
            build: BuildId(build),
            repository: "acme/api".into(),
            state,
            content: Content::Notification { to: "chat".into(), event, body: "{\"text\":\"'''\"}".into() },
        }
    }

    #[test]
    fn messages_are_kept_in_their_order_until_they_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        assert!(load(&home).unwrap().0.is_empty());
        let (one, two) =
            (message(2, BuildState::Failed, Event::Failed), message(10, BuildState::Failed, Event::Failed));
        put(&home, &two).unwrap();
        put(&home, &one).unwrap();
        fs::write(directory(&home).join("odd.toml"), "not toml").unwrap();
        let (messages, problems) = load(&home).unwrap();
        assert_eq!((messages, problems.len()), (vec![one.clone(), two.clone()], 1));
        remove(&home, &one).unwrap();
        remove(&home, &one).unwrap();
        assert_eq!(load(&home).unwrap().0, [two]);
    }

    #[test]
    fn what_tells_of_a_build_that_was_never_recorded_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        for build in [7, 8] {
            put(&home, &message(build, BuildState::Queued, Event::Queued)).unwrap();
        }
        put(&home, &message(9, BuildState::Failed, Event::Failed)).unwrap();
        let directory = builds::create(&home, BuildId(7)).unwrap();
        save(&directory.join(builds::RECORD), &sample()).unwrap();
        clean(&home).unwrap();
        let left: Vec<u64> = load(&home).unwrap().0.iter().map(|message| message.build.0).collect();
        assert_eq!(left, [7, 9], "a record may be deleted when it is no longer kept");
    }
}
